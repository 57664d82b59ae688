//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use lumos_report::ExportError;

use super::failure::{COMMAND_LINE, Failure};

/// Has a file written beside `path` that takes its place once it is whole. Pipes and devices are written as they are.
pub fn to_file(path: &Path, write: impl FnOnce(&File) -> Result<(), Failure>) -> Result<(), Failure> {
    let broken = |error: io::Error| failed(ExportError::Io(error), Some(path));
    // What a link leads to is written, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        return write(&OpenOptions::new().write(true).open(&target).map_err(broken)?);
    }
    let beside = beside(&target).ok_or_else(|| Failure::invalid(COMMAND_LINE, "`-o` needs a file's name", None))?;
    let file = File::create(&beside).map_err(broken)?;
    let result =
        write(&file).and_then(|()| file.sync_all().and_then(|()| fs::rename(&beside, &target)).map_err(broken));
    if result.is_err() {
        // What is not whole is of no use.
        let _ = fs::remove_file(&beside);
    }
    result
}

/// The name of an unfinished file, of this process alone.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{}.tmp", std::process::id()));
    Some(path.with_file_name(name))
}

/// What kept an export from being written; to stdout without a `path`.
pub fn failed(error: ExportError, path: Option<&Path>) -> Failure {
    match error {
        ExportError::Io(error) => {
            let place = path.map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
            Failure::failed(format!("cannot write to {place}: {error}"))
        }
        ExportError::Record { .. } => Failure::failed(error.to_string()),
    }
}
