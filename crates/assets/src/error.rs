//! What can go wrong with an asset.

use std::io;
use std::path::PathBuf;

/// What helps against a full disk.
const ROOM: &str = "free some space or point LUMOS_HOME to another disk";

/// Why an asset isn't to be had. `Display` gives a lowercase fragment; [`AssetError::hint`] what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// The catalog has no such name.
    #[error("unknown asset `{name}`; known are {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Every name in the catalog.
        known: Vec<String>,
    },
    /// A catalog can't be read or contradicts itself.
    #[error("asset catalog {origin}: {message}")]
    Catalog {
        /// The file, or "built in".
        origin: String,
        /// What is wrong, with line and column for a syntax error.
        message: String,
    },
    /// No source gave the asset.
    #[error("no source gave asset `{name}`: {}", list(failures))]
    Sources {
        /// The asset.
        name: String,
        /// Every source that was tried and why it failed, in order.
        failures: Vec<SourceFailure>,
        /// Where its files can be put by hand, and their checksums.
        by_hand: String,
        /// Whether a source failed only because the disk has too little room for it.
        short_of_room: bool,
    },
    /// There is nothing to verify.
    #[error("asset `{name}` is not there")]
    Absent {
        /// The asset.
        name: String,
    },
    /// A file of a cached asset isn't what the catalog says.
    #[error("asset `{name}` is damaged: {reason}")]
    Damaged {
        /// The asset.
        name: String,
        /// The file and what is wrong with it; for a wrong checksum the expected and the found one.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left for asset `{name}` at {}", path.display())]
    NoSpace {
        /// The asset.
        name: String,
        /// Where it was to be written.
        path: PathBuf,
    },
    /// The cache can't be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was being done: "create", "write", …
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The caller stopped the pull.
    #[error("pulling asset `{name}` was cancelled")]
    Cancelled {
        /// The asset.
        name: String,
    },
}

impl AssetError {
    /// What would help, if anything is known to.
    pub fn hint(&self) -> Option<String> {
        match self {
            AssetError::Sources { short_of_room: true, .. } | AssetError::NoSpace { .. } => Some(ROOM.to_owned()),
            AssetError::Sources { name, by_hand, .. } => {
                Some(format!("put it there by hand and run `lumos assets verify {name}`: {by_hand}"))
            }
            AssetError::Absent { name } | AssetError::Damaged { name, .. } => {
                Some(format!("run `lumos assets pull {name}`"))
            }
            AssetError::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => Some(ROOM.to_owned()),
            AssetError::Io { error, .. }
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                Some("point LUMOS_HOME to a folder that can be written".to_owned())
            }
            AssetError::Io { .. }
            | AssetError::Unknown { .. }
            | AssetError::Catalog { .. }
            | AssetError::Cancelled { .. } => None,
        }
    }
}

/// One source that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    /// The source, as in `lumos assets list`.
    pub source: String,
    /// Why it failed.
    pub reason: String,
}

fn list(failures: &[SourceFailure]) -> String {
    let parts: Vec<String> = failures.iter().map(|failure| format!("{}: {}", failure.source, failure.reason)).collect();
    parts.join("; ")
}

/// Why one source failed, inside this crate: on to the next source, or the end of the pull.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The source is to blame: the next one may do better.
    Source(String),
    /// The disk has too little room for what this source needs: the next one may need less.
    Room(String),
    /// The cache is to blame, or the caller has had enough: no other source can help.
    Fatal(AssetError),
}

impl Trouble {
    /// A failure to write to the cache.
    pub(crate) fn write(name: &str, action: &'static str, path: &std::path::Path, error: io::Error) -> Self {
        Trouble::Fatal(if error.kind() == io::ErrorKind::StorageFull {
            AssetError::NoSpace { name: name.to_owned(), path: path.to_owned() }
        } else {
            AssetError::Io { action, path: path.to_owned(), error }
        })
    }

    /// The caller stopped the pull.
    pub(crate) fn cancelled(name: &str) -> Self {
        Trouble::Fatal(AssetError::Cancelled { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let trouble = |kind: io::ErrorKind| match Trouble::write("x", "write", Path::new("/p"), kind.into()) {
            Trouble::Fatal(error) => error,
            Trouble::Source(reason) | Trouble::Room(reason) => panic!("{reason}"),
        };
        let full = trouble(io::ErrorKind::StorageFull);
        assert_eq!(full.to_string(), "no space left for asset `x` at /p");
        let denied = trouble(io::ErrorKind::PermissionDenied);
        assert_eq!(denied.to_string(), "cannot write /p: permission denied");
        assert!(denied.hint().unwrap().contains("LUMOS_HOME"), "{:?}", denied.hint());
    }
}
