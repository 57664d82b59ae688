//! Why shared limits could not be used.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Version of the schema, kept in SQLite's `user_version`.
pub(super) const VERSION: i32 = 1;

/// Why `limits.db` could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LimitsError {
    /// The file cannot be opened, read or written.
    #[error("the shared limits {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system says.
        reason: String,
    },
    /// The file was written by a later lumos.
    #[error("the shared limits {} have schema {found}, but this lumos knows up to {VERSION}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
    },
}

impl LimitsError {
    pub(super) fn unusable(path: &Path, reason: &dyn Display) -> Self {
        Self::Unusable { path: path.to_path_buf(), reason: reason.to_string() }
    }

    /// What the reader can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => {
                "make the folder writable, remove the file while no lumos runs (it only holds what was used of limits \
                 lately), or set LUMOS_HOME to another folder"
            }
            Self::TooNew { .. } => "use the newer lumos that wrote it, or set LUMOS_HOME to another folder",
        }
    }
}
