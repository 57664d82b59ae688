//! Which process owns a run or a request in flight: a file that the process keeps locked, so that others can tell when
//! it has died.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lumos_core::admission::OwnerId;

/// This process's locked file; the lock goes with the process.
pub(crate) struct Owner {
    pub(crate) id: String,
    /// The same as a number.
    pub(crate) number: OwnerId,
    path: PathBuf,
    _lock: File,
}

impl Owner {
    /// Registers the owner of something in a home; a process may be several owners.
    pub(crate) fn register(home: &Path) -> io::Result<Self> {
        let folder = folder(home);
        std::fs::create_dir_all(&folder)?;
        clear(&folder);
        let ulid = crate::clock::Stamp::now().id();
        let id = ulid.to_string();
        let path = folder.join(&id);
        loop {
            let lock = File::create(&path)?;
            lock.lock()?;
            // Another process may have cleared the file away before it was locked; now nobody does any more.
            if path.exists() {
                return Ok(Self { id, number: OwnerId(ulid.0), path, _lock: lock });
            }
        }
    }

    /// Whether the process that registered as `id` still lives.
    pub(crate) fn is_alive(home: &Path, id: &str) -> bool {
        match File::open(folder(home).join(id)) {
            // Shared, so that several processes may look at the same time.
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Which of others have died.
    pub(crate) fn dead(&self, home: &Path, mut others: BTreeSet<OwnerId>) -> BTreeSet<OwnerId> {
        others.retain(|other| *other != self.number && !Self::is_alive(home, &ulid::Ulid(other.0).to_string()));
        others
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A file left behind says the same as none: nobody holds its lock.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the files of processes that were killed. What cannot be removed stays: it says the same as none.
fn clear(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        // Shared, so that whoever asks meanwhile whether its process lives is not told that it does.
        if File::open(&path).is_ok_and(|file| file.try_lock_shared().is_ok() && std::fs::remove_file(&path).is_ok()) {
            tracing::debug!(file = %path.display(), "cleared away what a killed process left");
        }
    }
}

fn folder(home: &Path) -> PathBuf {
    home.join("processes")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_files_of_the_dead_are_cleared_away() {
        let home = tempfile::tempdir().unwrap();
        let living = Owner::register(home.path()).unwrap();
        File::create(folder(home.path()).join("01DEAD")).unwrap();
        let newcomer = Owner::register(home.path()).unwrap();
        let entries = std::fs::read_dir(folder(home.path())).unwrap();
        let left: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(left, BTreeSet::from([living.id.clone(), newcomer.id.clone()]));
        assert!(Owner::is_alive(home.path(), &living.id) && !Owner::is_alive(home.path(), "01DEAD"));
    }

    #[test]
    fn the_dead_are_told_from_the_living_and_from_oneself() {
        let home = tempfile::tempdir().unwrap();
        let [me, living, dying] = [(); 3].map(|()| Owner::register(home.path()).unwrap());
        let all = BTreeSet::from([me.number, living.number, dying.number]);
        assert_eq!(me.dead(home.path(), all.clone()), BTreeSet::new());
        let died = dying.number;
        drop(dying);
        assert_eq!(me.dead(home.path(), all), BTreeSet::from([died]));
    }

    #[test]
    fn processes_that_begin_and_end_together_do_not_take_each_other_for_dead() {
        let home = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let owner = Owner::register(home.path()).unwrap();
                        assert!(Owner::is_alive(home.path(), &owner.id));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(folder(home.path())).unwrap().count(), 0);
    }
}
