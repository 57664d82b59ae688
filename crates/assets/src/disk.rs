//! The cache's dealings with the disk: checked copies, atomic replacement, locks, free space.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

/// Why a copy ended early.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// The reader failed.
    Read(io::Error),
    /// The writer failed.
    Write(io::Error),
    /// There is more than the limit.
    TooLong,
    /// The caller said stop.
    Stopped,
}

/// Copies all of `from` to `to`, at most `limit` bytes. After each block `on_bytes` gets the count so far and says
/// whether to go on. Returns the count.
pub(crate) fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    limit: u64,
    on_bytes: &mut dyn FnMut(u64) -> bool,
) -> Result<u64, CopyError> {
    let mut block = vec![0; 256 * 1024];
    let mut count = 0;
    loop {
        let read = match from.read(&mut block) {
            Ok(0) => return Ok(count),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        count += read as u64;
        if count > limit {
            return Err(CopyError::TooLong);
        }
        to.write_all(&block[..read]).map_err(CopyError::Write)?;
        if !on_bytes(count) {
            return Err(CopyError::Stopped);
        }
    }
}

/// A writer that hashes what passes through it.
pub(crate) struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    /// Starts with nothing hashed.
    pub(crate) fn new(to: W) -> Self {
        Hashing { to, hash: Sha256::new() }
    }

    /// The checksum in hexadecimal, and the writer.
    pub(crate) fn finish(self) -> (String, W) {
        let mut text = String::with_capacity(64);
        for byte in self.hash.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        (text, self.to)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The checksum of a file.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut hashing = Hashing::new(io::sink());
    match copy(&mut File::open(path)?, &mut hashing, u64::MAX, &mut |_| true) {
        Ok(_) => Ok(hashing.finish().0),
        Err(CopyError::Read(error) | CopyError::Write(error)) => Err(error),
        Err(CopyError::TooLong | CopyError::Stopped) => Err(io::Error::other("the file never ends")),
    }
}

/// Writes a whole file so that a reader sees the old one or the new one, after a crash too.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let result = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&beside);
    }
    result
}

/// Puts the folder `new` in the place of `target`. `aside` is where the old one goes meanwhile.
pub(crate) fn replace_folder(new: &Path, target: &Path, aside: &Path) -> io::Result<()> {
    remove_all(aside)?;
    match fs::rename(target, aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(new, target)?;
    sync_folder(target.parent().unwrap_or(target))?;
    remove_all(aside)
}

/// Makes renames in a folder durable, where the system can.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Removes a folder or file with all it holds; fine if there is none.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The length of all files below a folder; what can't be read counts nothing.
pub(crate) fn folder_size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_size(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
            _ => 0,
        })
        .sum()
}

/// Opens the lock file and holds it until dropped. While another holds it, `wait` is called ten times a second and says
/// whether to go on; none is returned if not. The system gives a dead process's lock free.
pub(crate) fn lock(path: &Path, wait: &mut dyn FnMut() -> bool) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) if wait() => std::thread::sleep(Duration::from_millis(100)),
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_hashes_counts_and_stops_at_its_limit() {
        let mut hashing = Hashing::new(Vec::new());
        assert_eq!(copy(&mut &b"abc"[..], &mut hashing, 3, &mut |_| true).unwrap(), 3);
        let (sha, bytes) = hashing.finish();
        assert_eq!(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(bytes, b"abc");
        let mut to = Vec::new();
        assert!(matches!(copy(&mut &b"abcd"[..], &mut to, 3, &mut |_| true), Err(CopyError::TooLong)));
        assert!(to.is_empty(), "nothing beyond the limit is written");
        assert!(matches!(copy(&mut &b"abc"[..], &mut to, 3, &mut |_| false), Err(CopyError::Stopped)));
    }

    #[test]
    fn a_folder_takes_the_place_of_another() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for (folder, file) in [("new", "n"), ("target", "t"), ("aside", "rubbish")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join(file), file).unwrap();
        }
        assert_eq!(folder_size(root.path()), 9);
        replace_folder(&at("new"), &at("target"), &at("aside")).unwrap();
        assert!(at("target").join("n").exists() && !at("target").join("t").exists());
        assert!(!at("new").exists() && !at("aside").exists());
    }

    #[test]
    fn a_lock_is_waited_for_as_long_as_the_caller_wants() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = lock(&path, &mut || false).unwrap().unwrap();
        let mut waited = 0;
        let mut patience = || {
            waited += 1;
            waited < 3
        };
        assert!(lock(&path, &mut patience).unwrap().is_none());
        assert_eq!(waited, 3);
        drop(held);
        assert!(lock(&path, &mut || false).unwrap().is_some());
    }

    #[test]
    fn a_failed_atomic_write_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(write_atomic(&path, b"bytes").is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
