//! The cache: which assets are there, and how they get there.

use crate::catalog::{Asset, AssetFile, Catalog, Kind};
use crate::disk;
use crate::error::{AssetError, SourceFailure, Trouble};
use crate::fetch::{Job, partial};
use crate::manifest::{self, Manifest};
use crate::progress::{Meter, Progress};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The assets of one home folder.
#[derive(Debug, Clone)]
pub struct AssetStore {
    root: PathBuf,
    catalog: Catalog,
    pip: Option<Vec<String>>,
}

/// What is known of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AssetState {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// One line.
    pub description: String,
    /// Its terms.
    pub licence: String,
    /// What its users should know.
    pub notes: Option<String>,
    /// Length of all files together, in bytes.
    pub size_bytes: u64,
    /// Whether it is there.
    pub state: State,
    /// Why it isn't `Present` or `Absent`.
    pub reason: Option<String>,
    /// Where it is, or would be: see [`AssetStore::path`].
    pub path: PathBuf,
    /// Where it comes from, in the order of trying.
    pub sources: Vec<String>,
}

/// Whether an asset is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing of it.
    Absent,
    /// Complete and verified.
    Present,
    /// Files of the right length, but changed or put there since the last verification: the next use verifies them.
    Unverified,
    /// A file is missing or has the wrong length or checksum.
    Damaged,
}

/// A [`State`] with its reason.
enum Standing {
    Absent,
    Present,
    Unverified,
    Damaged(String),
}

impl AssetStore {
    /// The assets below `home`. Nothing is created before the first pull.
    pub fn new(home: PathBuf, catalog: Catalog) -> Self {
        AssetStore { root: home.join("assets"), catalog, pip: None }
    }

    /// Uses this command (program and leading arguments) for wheels, instead of looking for a pip.
    #[must_use]
    pub fn with_pip(mut self, command: Vec<String>) -> Self {
        self.pip = Some(command).filter(|command| !command.is_empty());
        self
    }

    /// What can be pulled.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The state of every asset, in the catalog's order. Reads no file's content.
    pub fn list(&self) -> Vec<AssetState> {
        self.catalog.assets().iter().map(|asset| self.state(asset)).collect()
    }

    /// The folder in which an asset's files are, or would be.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the asset is, if it is there and verified: the file itself if it is just one, the folder if there are
    /// several. Files that changed since they were verified, or were put there by hand, are verified now, which takes a
    /// second for some hundred megabytes.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let asset = self.catalog.get(name)?;
        self.usable(asset).then(|| self.location(asset))
    }

    /// The path of one file of an asset, under the same conditions as [`AssetStore::path`].
    pub fn file(&self, name: &str, file: &str) -> Option<PathBuf> {
        let asset = self.catalog.get(name)?;
        let file = asset.files.iter().find(|candidate| candidate.name == file)?;
        self.usable(asset).then(|| self.folder(name).join(&file.name))
    }

    /// Makes the asset present and gives its path, as [`AssetStore::path`] does. At once if it is there; otherwise the
    /// sources are tried in order. A second pull of the same asset, in this process or another, waits for the first.
    /// Either all files get their place, verified, or none.
    pub fn pull(&self, name: &str, progress: &dyn Progress) -> Result<PathBuf, AssetError> {
        let asset = self.asset(name)?;
        if self.usable(asset) {
            return Ok(self.location(asset));
        }
        let staging = self.root.join(".staging").join(name);
        let locks = self.root.join(".locks");
        create(&locks)?;
        let lock = locks.join(format!("{name}.lock"));
        let mut told = false;
        let mut wait = || {
            if !std::mem::replace(&mut told, true) {
                progress.message(&format!("waiting for another pull of {name}"));
            }
            !progress.cancelled()
        };
        let held = disk::lock(&lock, &mut wait).map_err(|error| AssetError::Io {
            action: "lock",
            path: lock.clone(),
            error,
        })?;
        let Some(_held) = held else { return Err(AssetError::Cancelled { name: name.to_owned() }) };
        if self.usable(asset) {
            return Ok(self.location(asset));
        }
        tidy(asset, &staging);
        create(&staging.join("new"))?;
        let fetched = self.fetch(asset, &staging, progress).and_then(|()| self.place(asset, &staging));
        match &fetched {
            // The asset is in its place: what can't be removed now is cleared by a later pull.
            Ok(()) | Err(AssetError::NoSpace { .. }) => drop(disk::remove_all(&staging)),
            Err(_) => tidy(asset, &staging),
        }
        fetched.map(|()| self.location(asset))
    }

    /// Reads every file of a cached asset and compares checksums. Files that were put there by hand are accepted if they
    /// are right. Damaged ones stay where they are, but won't be used any more.
    pub fn verify(&self, name: &str) -> Result<(), AssetError> {
        let asset = self.asset(name)?;
        match self.standing(asset) {
            Standing::Absent => Err(AssetError::Absent { name: name.to_owned() }),
            Standing::Damaged(reason) => Err(self.distrust(asset, reason)),
            Standing::Present | Standing::Unverified => match self.wrong_file(asset) {
                Ok(None) => {
                    self.vouch(asset);
                    Ok(())
                }
                Ok(Some(reason)) => Err(self.distrust(asset, reason)),
                Err((path, error)) => Err(AssetError::Io { action: "read", path, error }),
            },
        }
    }

    /// Verifies every asset of which there is something, in the catalog's order.
    pub fn verify_all(&self) -> Vec<(String, Result<(), AssetError>)> {
        let there = |asset: &&Asset| !matches!(self.standing(asset), Standing::Absent);
        self.catalog.assets().iter().filter(there).map(|asset| (asset.name.clone(), self.verify(&asset.name))).collect()
    }

    fn asset(&self, name: &str) -> Result<&Asset, AssetError> {
        self.catalog.get(name).ok_or_else(|| AssetError::Unknown {
            name: name.to_owned(),
            known: self.catalog.assets().iter().map(|asset| asset.name.clone()).collect(),
        })
    }

    fn location(&self, asset: &Asset) -> PathBuf {
        match asset.files.as_slice() {
            [only] => self.folder(&asset.name).join(&only.name),
            _ => self.folder(&asset.name),
        }
    }

    fn state(&self, asset: &Asset) -> AssetState {
        let (state, reason) = match self.standing(asset) {
            Standing::Absent => (State::Absent, None),
            Standing::Present => (State::Present, None),
            Standing::Unverified => (State::Unverified, Some("its files changed since they were verified".to_owned())),
            Standing::Damaged(reason) => (State::Damaged, Some(reason)),
        };
        AssetState {
            name: asset.name.clone(),
            kind: asset.kind,
            description: asset.description.clone(),
            licence: asset.licence.clone(),
            notes: asset.notes.clone(),
            size_bytes: asset.size(),
            state,
            reason,
            path: self.location(asset),
            sources: asset.sources.iter().map(|source| asset.source_label(source)).collect(),
        }
    }

    /// Judges by lengths, times and the manifest.
    fn standing(&self, asset: &Asset) -> Standing {
        let folder = self.folder(&asset.name);
        let manifest = Manifest::read(&folder);
        let mut problem = None;
        let (mut there, mut vouched) = (0, 0);
        for file in &asset.files {
            match fs::metadata(folder.join(&file.name)) {
                Ok(metadata) if !metadata.is_file() => {
                    there += 1;
                    problem.get_or_insert(format!("{} is not a file", file.name));
                }
                Ok(metadata) if metadata.len() != file.size => {
                    there += 1;
                    let length = metadata.len();
                    problem.get_or_insert(format!("{}: expected {} bytes, found {length}", file.name, file.size));
                }
                Ok(metadata) => {
                    there += 1;
                    if manifest.as_ref().is_some_and(|known| known.vouches(&file.name, &file.sha256, &metadata)) {
                        vouched += 1;
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    problem.get_or_insert(format!("{} is missing", file.name));
                }
                Err(error) => {
                    there += 1;
                    problem.get_or_insert(format!("{}: {error}", file.name));
                }
            }
        }
        match problem {
            _ if there == 0 => Standing::Absent,
            Some(problem) => Standing::Damaged(problem),
            None if vouched == asset.files.len() => Standing::Present,
            None => Standing::Unverified,
        }
    }

    /// Whether the asset can be used now; verifies it if its files have changed.
    fn usable(&self, asset: &Asset) -> bool {
        match self.standing(asset) {
            Standing::Present => true,
            Standing::Absent | Standing::Damaged(_) => false,
            Standing::Unverified => match self.wrong_file(asset) {
                Ok(None) => {
                    self.vouch(asset);
                    true
                }
                _ => false,
            },
        }
    }

    /// The first file with a wrong checksum, described.
    fn wrong_file(&self, asset: &Asset) -> Result<Option<String>, (PathBuf, io::Error)> {
        for AssetFile { name, sha256, .. } in &asset.files {
            let path = self.folder(&asset.name).join(name);
            let found = disk::sha256(&path).map_err(|error| (path, error))?;
            if found != *sha256 {
                return Ok(Some(format!("{name}: expected sha256 {sha256}, found {found}")));
            }
        }
        Ok(None)
    }

    /// Notes that the files are right. Without write permission the next use verifies them again, that is all.
    fn vouch(&self, asset: &Asset) {
        let folder = self.folder(&asset.name);
        if let Ok(manifest) = Manifest::of(asset, &folder)
            && Manifest::read(&folder).as_ref() != Some(&manifest)
        {
            let _ = manifest.write(&folder);
        }
    }

    /// Withdraws what was noted, so that files with the right length but wrong content aren't used.
    fn distrust(&self, asset: &Asset, reason: String) -> AssetError {
        let _ = disk::remove_all(&self.folder(&asset.name).join(manifest::FILE));
        AssetError::Damaged { name: asset.name.clone(), reason }
    }

    /// Tries the sources. Success leaves all files in the staging folder's `new`.
    fn fetch(&self, asset: &Asset, staging: &Path, progress: &dyn Progress) -> Result<(), AssetError> {
        let mut failures = Vec::new();
        let mut short_of_room = false;
        for source in &asset.sources {
            let meter = Meter::start(progress, &asset.name, asset.size());
            let label = asset.source_label(source);
            meter.message(&format!("trying {label}"));
            let job = Job { asset, staging, meter: &meter, pip: self.pip.as_deref() };
            let reason = match job.fetch(source) {
                Ok(()) => {
                    meter.reach(asset.size());
                    return Ok(());
                }
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Source(reason)) => reason,
                Err(Trouble::Room(reason)) => {
                    short_of_room = true;
                    reason
                }
            };
            meter.message(&format!("{label}: {reason}"));
            failures.push(SourceFailure { source: label, reason });
        }
        let folder = self.folder(&asset.name);
        let files: Vec<String> = asset
            .files
            .iter()
            .map(|file| format!("{} (sha256 {})", folder.join(&file.name).display(), file.sha256))
            .collect();
        Err(AssetError::Sources { name: asset.name.clone(), failures, by_hand: files.join(", "), short_of_room })
    }

    /// Moves the complete files to their place, all at once.
    fn place(&self, asset: &Asset, staging: &Path) -> Result<(), AssetError> {
        let new = staging.join("new");
        let failed = |action, path: &Path, error: io::Error| match Trouble::write(&asset.name, action, path, error) {
            Trouble::Fatal(error) => error,
            Trouble::Source(reason) | Trouble::Room(reason) => AssetError::Damaged { name: asset.name.clone(), reason },
        };
        Manifest::of(asset, &new)
            .and_then(|manifest| manifest.write(&new))
            .and_then(|()| disk::sync_folder(&new))
            .map_err(|error| failed("write", &new, error))?;
        let target = self.folder(&asset.name);
        disk::replace_folder(&new, &target, &staging.join("old")).map_err(|error| failed("replace", &target, error))
    }
}

fn create(folder: &Path) -> Result<(), AssetError> {
    fs::create_dir_all(folder).map_err(|error| AssetError::Io { action: "create", path: folder.to_owned(), error })
}

/// Removes from the staging folder what no later pull can go on with, and the folder itself if nothing remains. What
/// can't be removed is in nobody's way.
fn tidy(asset: &Asset, staging: &Path) {
    let new = staging.join("new");
    for path in entries(&new) {
        if !asset.files.iter().any(|file| path == new.join(&file.name)) {
            let _ = disk::remove_all(&path);
        }
    }
    for path in entries(staging) {
        if path != new && !asset.files.iter().any(|file| path == partial(staging, file)) {
            let _ = disk::remove_all(&path);
        }
    }
    let _ = fs::remove_dir(new);
    let _ = fs::remove_dir(staging);
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or(Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
}
