//! The files behind a retriever: found, listed in a fixed order, looked at for changes, and read.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lumos_core::AgentError;

/// Extensions that are read, without case.
pub(super) const EXTENSIONS: [&str; 5] = ["txt", "text", "md", "markdown", "csv"];
/// Most bytes of one file.
const MOST_FILE_BYTES: u64 = 64 << 20;
/// Most bytes of all files.
const MOST_BYTES: u64 = 512 << 20;
/// Most files.
const MOST_FILES: usize = 200_000;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Markdown,
    Csv,
}

/// A file of a source, and what tells whether it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its path below the source, with `/`: the `source` of its passages.
    pub(super) name: String,
    /// What it holds.
    pub(super) format: Format,
    /// Size and times; equal stamps mean equal contents.
    pub(super) stamp: String,
    /// Bytes.
    size: u64,
}

impl SourceFile {
    /// Reads the file as UTF-8, without a byte order mark.
    pub(super) fn read(&self) -> Result<String, AgentError> {
        let fail =
            |error: std::io::Error| AgentError::fatal(format!("cannot read source {}: {error}", self.path.display()));
        let mut bytes = Vec::new();
        // A file that grew since it was listed must not be read without end.
        fs::File::open(&self.path).map_err(fail)?.take(MOST_FILE_BYTES).read_to_end(&mut bytes).map_err(fail)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            AgentError::fatal(format!("source {} is not UTF-8 at byte {at}", self.path.display()))
                .with_hint("convert it to UTF-8, e.g. with `iconv -f latin1 -t utf-8`")
        })?;
        Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
    }
}

/// Lists the files of `roots` (each as written and as found), sorted by name, every file once.
///
/// Folders are read to any depth; links are followed, a folder that contains itself is entered once. Hidden files
/// and other extensions are passed over inside folders; a file named by itself must have a known extension.
pub(super) fn list(roots: &[(String, PathBuf)]) -> Result<Vec<SourceFile>, AgentError> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for (written, root) in roots {
        let about = fs::metadata(root).map_err(|error| {
            AgentError::fatal(format!("cannot read source {}: {error}", root.display()))
                .with_hint(format!("`{written}` is looked for beside the agent's file"))
        })?;
        let first = files.len();
        if about.is_dir() {
            walk(root, root, &mut seen, &mut files)?;
        } else {
            let format = format_of(root).ok_or_else(|| {
                AgentError::fatal(format!("source {} is of no known kind", root.display()))
                    .with_hint(format!("files end in .{}", EXTENSIONS.join(", .")))
            })?;
            let name = root.file_name().map_or_else(|| written.clone(), |name| name.to_string_lossy().into_owned());
            add(root, name, format, &about, &mut seen, &mut files)?;
        }
        // Two folders may hold files of the same name: the later ones carry the source's name too.
        for at in first..files.len() {
            if files[..first].iter().any(|earlier: &SourceFile| earlier.name == files[at].name) {
                files[at].name = format!("{}/{}", written.trim_end_matches('/'), files[at].name);
            }
        }
    }
    if files.is_empty() {
        let written: Vec<_> = roots.iter().map(|(written, _)| format!("`{written}`")).collect();
        return Err(AgentError::fatal(format!("no documents in {}", written.join(", ")))
            .with_hint(format!("put files there that end in .{}", EXTENSIONS.join(", ."))));
    }
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    if bytes > MOST_BYTES {
        return Err(AgentError::fatal(format!("the sources hold {bytes} bytes, more than the {MOST_BYTES} allowed")));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.path.cmp(&b.path)));
    Ok(files)
}

/// Adds the files below `folder`, by the order of their names.
fn walk(
    root: &Path,
    folder: &Path,
    seen: &mut BTreeSet<PathBuf>,
    files: &mut Vec<SourceFile>,
) -> Result<(), AgentError> {
    let fail = |error: std::io::Error| AgentError::fatal(format!("cannot read folder {}: {error}", folder.display()));
    if !seen.insert(fs::canonicalize(folder).map_err(fail)?) {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link that leads nowhere is no document.
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() {
            walk(root, &path, seen, files)?;
        } else if let (true, Some(format)) = (about.is_file(), format_of(&path)) {
            let below = path.strip_prefix(root).unwrap_or(&path);
            let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            add(&path, parts.join("/"), format, &about, seen, files)?;
        }
    }
    Ok(())
}

fn add(
    path: &Path,
    name: String,
    format: Format,
    about: &Metadata,
    seen: &mut BTreeSet<PathBuf>,
    files: &mut Vec<SourceFile>,
) -> Result<(), AgentError> {
    let place = fs::canonicalize(path)
        .map_err(|error| AgentError::fatal(format!("cannot read source {}: {error}", path.display())))?;
    if !seen.insert(place) {
        return Ok(());
    }
    if about.len() > MOST_FILE_BYTES {
        return Err(AgentError::fatal(format!(
            "source {} has {} bytes, more than the {MOST_FILE_BYTES} allowed",
            path.display(),
            about.len()
        ))
        .with_hint("split it"));
    }
    if files.len() == MOST_FILES {
        return Err(AgentError::fatal(format!("the sources hold more than {MOST_FILES} files")));
    }
    files.push(SourceFile { path: path.to_owned(), name, format, stamp: stamp(about), size: about.len() });
    Ok(())
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "txt" | "text" => Some(Format::Text),
        "md" | "markdown" => Some(Format::Markdown),
        "csv" => Some(Format::Csv),
        _ => None,
    }
}

/// Size and times of a file. The time of the last change of its entry catches a file that was replaced by another of
/// the same size and age.
#[cfg(unix)]
fn stamp(about: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!("{} {}.{:09} {}.{:09}", about.size(), about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec())
}

/// Size and time of a file.
#[cfg(not(unix))]
fn stamp(about: &Metadata) -> String {
    let modified = about.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{} {}", about.len(), modified.map_or(0, |time| time.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(roots: &[&Path]) -> Result<Vec<String>, AgentError> {
        let roots: Vec<_> = roots.iter().map(|root| (root.display().to_string(), root.to_path_buf())).collect();
        list(&roots).map(|files| files.into_iter().map(|file| file.name).collect())
    }

    #[test]
    fn folders_are_read_to_any_depth_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        for name in ["z.md", "b/c/deep.TXT", "b/table.csv", "a.txt", ".hidden.md", "photo.png"] {
            fs::write(root.join(name), "x").unwrap();
        }
        assert_eq!(names(&[root]).unwrap(), ["a.txt", "b/c/deep.TXT", "b/table.csv", "z.md"]);
        assert_eq!(names(&[&root.join("z.md"), root]).unwrap(), ["a.txt", "b/c/deep.TXT", "b/table.csv", "z.md"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_that_loop_or_lead_nowhere_are_safe() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/x.md"), "x").unwrap();
        std::os::unix::fs::symlink(root, root.join("a/loop")).unwrap();
        std::os::unix::fs::symlink(root.join("a/x.md"), root.join("again.md")).unwrap();
        std::os::unix::fs::symlink("/nowhere.md", root.join("dangling.md")).unwrap();
        assert_eq!(names(&[root]).unwrap(), ["a/x.md"]);
    }

    #[test]
    fn files_of_one_name_in_two_sources_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        for side in ["one", "two"] {
            fs::create_dir(folder.path().join(side)).unwrap();
            fs::write(folder.path().join(side).join("notes.md"), "x").unwrap();
        }
        let roots = [("one".to_owned(), folder.path().join("one")), ("two/".to_owned(), folder.path().join("two"))];
        let names: Vec<_> = list(&roots).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["notes.md", "two/notes.md"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(names(&[root]).unwrap_err().message.starts_with("no documents in"));
        assert!(names(&[&root.join("no")]).unwrap_err().message.contains("/no: "));
        fs::write(root.join("x.pdf"), "x").unwrap();
        assert!(names(&[&root.join("x.pdf")]).unwrap_err().hint.unwrap().contains(".md"));
        fs::write(root.join("latin.txt"), b"caf\xe9").unwrap();
        let files = list(&[("r".into(), root.to_owned())]).unwrap();
        assert!(files[0].read().unwrap_err().message.ends_with("latin.txt is not UTF-8 at byte 3"));
    }
}
