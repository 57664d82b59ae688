//! What was verified in an asset's folder, so that using it doesn't mean reading a hundred megabytes again.
//!
//! A file counts as verified while its length and modification time are those of when it was hashed, and the hash is
//! the catalog's.

use crate::catalog::Asset;
use crate::disk;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The manifest's name in the asset's folder.
pub(crate) const FILE: &str = ".manifest.json";

/// The manifest of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    version: u32,
    files: BTreeMap<String, Stamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    sha256: String,
    size: u64,
    modified_ns: u64,
}

impl Manifest {
    /// Describes files that were just found to match the catalog.
    pub(crate) fn of(asset: &Asset, folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for file in &asset.files {
            let metadata = std::fs::metadata(folder.join(&file.name))?;
            let stamp =
                Stamp { sha256: file.sha256.clone(), size: metadata.len(), modified_ns: modified_ns(&metadata) };
            files.insert(file.name.clone(), stamp);
        }
        Ok(Manifest { version: 1, files })
    }

    /// Reads the folder's manifest; none if it is absent, cut short or from another version.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read(folder.join(FILE)).ok()?;
        let manifest: Self = serde_json::from_slice(&text).ok()?;
        (manifest.version == 1).then_some(manifest)
    }

    /// Writes it into the folder, atomically.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        disk::write_atomic(&folder.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Whether the file, as it is now, is the one that was verified against this checksum.
    pub(crate) fn vouches(&self, name: &str, sha256: &str, metadata: &Metadata) -> bool {
        self.files.get(name).is_some_and(|stamp| {
            stamp.sha256 == sha256 && stamp.size == metadata.len() && stamp.modified_ns == modified_ns(metadata)
        })
    }
}

/// Nanoseconds since 1970, zero where the system doesn't know.
fn modified_ns(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}
