//! Where a name leads: `x` is `agents/x.ron` in the file's folder, then in its parents, then in the current folder;
//! anything with a `/` or ending in `.ron` is a path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::problem::nearest;

/// Most names that a hint lists.
const LISTED: usize = 12;

pub(super) enum Found {
    At(PathBuf),
    Nowhere { hint: Option<String> },
}

/// The file that `name`, written in a file of `folder`, means.
pub(super) fn named(name: &str, kind: &str, folder: &Path) -> Found {
    if is_path(name) { Found::At(folder.join(name)) } else { look_up(name, kind, folder) }
}

/// The file that a command's argument means: a path from the current folder, or a name.
pub(super) fn argument(named: &Path, kind: &str, folder: &Path) -> Found {
    match named.to_str() {
        Some(name) if !is_path(name) && !named.is_file() => look_up(name, kind, folder),
        _ => Found::At(named.to_owned()),
    }
}

/// The folder that a file's relative paths start from.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// One name for one file, however it was reached.
pub(super) fn identity(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A path as a reader would write it: without detours, relative to the current folder where it is inside it.
pub(super) fn shown(path: &Path) -> String {
    let path = if path.components().any(|part| part.as_os_str() == "..") { identity(path) } else { path.to_owned() };
    let here = std::env::current_dir().ok();
    let inside = here.as_ref().and_then(|here| path.strip_prefix(here).ok());
    inside.unwrap_or(&path).display().to_string()
}

fn is_path(name: &str) -> bool {
    name.contains(['/', '\\']) || Path::new(name).extension().is_some_and(|extension| extension == "ron")
}

fn look_up(name: &str, kind: &str, folder: &Path) -> Found {
    let file = format!("{name}.ron");
    let folders = folders(folder);
    let plain = !name.is_empty() && !name.contains('\0') && name != "." && name != "..";
    if let Some(found) = folders.iter().map(|folder| folder.join(kind).join(&file)).find(|path| plain && path.is_file())
    {
        return Found::At(found);
    }
    let names: BTreeSet<String> = folders.iter().flat_map(|folder| names(&folder.join(kind))).collect();
    let hint = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => {
            let first = folders.first().map(|folder| shown(&folder.join(kind).join(&file)));
            format!("write it in {}", first.unwrap_or(file))
        }
        None => {
            let more = if names.len() > LISTED { ", …" } else { "" };
            let listed: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
            format!("there is {}{more}", listed.join(", "))
        }
    };
    Found::Nowhere { hint: Some(hint) }
}

/// The folder, its parents, and the current folder, each once.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let start = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let absolute = fs::canonicalize(start).unwrap_or_else(|_| start.to_owned());
    let mut folders: Vec<PathBuf> = absolute.ancestors().map(Path::to_owned).collect();
    if let Ok(here) = std::env::current_dir()
        && !folders.contains(&here)
    {
        folders.push(here);
    }
    folders
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .take(1000)
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_ron = path.extension().is_some_and(|extension| extension == "ron");
            is_ron.then(|| path.file_stem()?.to_str().map(str::to_owned))?
        })
        .collect()
}
