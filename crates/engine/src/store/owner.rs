//! Which process owns a run: a file that the process keeps locked, so that others can tell when it has died.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// This process's locked file; the lock goes with the process.
pub(super) struct Owner {
    pub(super) id: String,
    path: PathBuf,
    _lock: File,
}

impl Owner {
    pub(super) fn register(home: &Path) -> io::Result<Self> {
        let folder = folder(home);
        std::fs::create_dir_all(&folder)?;
        let id = crate::clock::Stamp::now().run_id();
        let path = folder.join(&id);
        let lock = File::create(&path)?;
        lock.lock()?;
        Ok(Self { id, path, _lock: lock })
    }

    /// Whether the process that registered as `id` still lives.
    pub(super) fn is_alive(home: &Path, id: &str) -> bool {
        let Ok(file) = File::open(folder(home).join(id)) else { return false };
        // Shared, so that several processes may look at the same time.
        file.try_lock_shared().is_err()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A file left behind says the same as none: nobody holds its lock.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn folder(home: &Path) -> PathBuf {
    home.join("processes")
}
