//! Reading a file's text, with errors that say what is wrong with the file itself.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::problem::{Problem, nearest};

/// Largest file that is read.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

pub(super) const SIZE_HINT: &str = "files are at most 1 MiB; data belongs into an agent's sources";

pub(super) fn too_large(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("the file has {mebibytes:.1} MiB")
}

/// The text of a file of at most [`MAX_FILE_BYTES`], without its byte order mark.
///
/// # Errors
/// A missing file (with the nearest name beside it), a folder, a file that is too large, unreadable or not UTF-8.
pub fn read_file(path: &Path) -> Result<String, Box<Problem>> {
    read_file_up_to(path, MAX_FILE_BYTES, SIZE_HINT)
}

/// [`read_file`] for files of another size; `hint` says what is too large.
///
/// # Errors
/// As for [`read_file`].
pub fn read_file_up_to(path: &Path, most: u64, hint: &str) -> Result<String, Box<Problem>> {
    let shown = path.display().to_string();
    let fail = |message: String, hint: Option<String>| Box::new(Problem::of_file(&shown, message, hint));
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => fail("there is no such file".to_owned(), beside(path)),
        ErrorKind::PermissionDenied => fail("no permission to read the file".to_owned(), None),
        _ => fail(format!("can't read the file: {error}"), None),
    })?;
    if metadata.is_dir() {
        return Err(fail("this is a folder, not a file".to_owned(), inside(path)));
    }
    if !metadata.is_file() {
        return Err(fail("this is no regular file".to_owned(), None));
    }
    if metadata.len() > most {
        return Err(fail(too_large(metadata.len()), Some(hint.to_owned())));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes)).map_err(|error| {
        match error.kind() {
            ErrorKind::PermissionDenied => fail("no permission to read the file".to_owned(), None),
            _ => fail(format!("can't read the file: {error}"), None),
        }
    })?;
    if bytes.len() as u64 > most {
        return Err(fail(too_large(bytes.len() as u64), Some(hint.to_owned())));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let hint = Some("save it as UTF-8 text".to_owned());
        let mut problem = fail("the file is not UTF-8 text".to_owned(), hint);
        (problem.line, problem.column) = (Some(line as u32), Some(column as u32));
        problem
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The nearest of the files beside a missing one.
fn beside(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let Some(names) = names(folder) else {
        return Some(format!("there is no folder `{}` either", folder.display()));
    };
    if let Some(near) = nearest(&wanted, names.iter().map(String::as_str)) {
        return Some(format!("did you mean `{}`?", path.with_file_name(near).display()));
    }
    listed(&names).map(|listed| format!("`{}` has {listed}", folder.display()))
}

/// The files of a folder that was given as a file.
fn inside(folder: &Path) -> Option<String> {
    listed(&names(folder)?).map(|listed| format!("it has {listed}"))
}

fn names(folder: &Path) -> Option<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .take(1000)
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Some(names)
}

fn listed(names: &[String]) -> Option<String> {
    let ron: Vec<String> = names
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "ron"))
        .take(8)
        .map(|n| format!("`{n}`"))
        .collect();
    (!ron.is_empty()).then(|| ron.join(", "))
}
