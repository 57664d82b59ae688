//! Where lumos keeps things: the layout of `LUMOS_HOME`.

use std::path::{Path, PathBuf};

/// A `LUMOS_HOME`: assets, converted weights, indexes and the record store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// A home in this folder; nothing is made until it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder itself; the record store and the assets are in it.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Weights converted for this machine.
    pub fn converted(&self) -> PathBuf {
        self.0.join("converted")
    }

    /// Indexes of retrievers.
    pub fn indexes(&self) -> PathBuf {
        self.0.join("indexes")
    }
}
