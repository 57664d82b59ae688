//! Disks that fill up or can no longer be written in the middle of a run: it stops, says so, and can be resumed later.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::{Setting, check, document, essence, exit, said};
use crate::damage::SmallDisk;

/// Where the run is when something happens to the disk.
const AT: &str = "c3/-/-";

/// The last step that doesn't wait for [`AT`].
///
/// Once it has been asked for, nothing is begun any more. A system that fails while a file is being synchronised may say
/// that the file is on disk when it is not, as ext4 does (seen with Linux 6.18: an `fsync` that waits while the error
/// happens returns 0), and no program can know better.
const BESIDE: &str = "again/-/6";

/// Runs until the disk is broken by `break_it`; what the process said at its end.
fn run_into(setting: &Setting, run: &str, break_it: impl FnOnce()) -> Output {
    let server = &setting.server;
    server.hold(run, AT);
    let mut child = setting.begin(run);
    let held =
        server.wait_for(run, AT, || child.has_ended()) && server.wait_for_success(run, BESIDE, || child.has_ended());
    if held {
        break_it();
        server.let_go(run, AT);
    }
    let output = child.end();
    assert!(held, "{}", said(&output));
    assert_eq!(exit(output.status), 1, "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
    output
}

/// Resumes the run once the disk is well: nothing of it is lost.
fn goes_on(setting: &Setting, run: &str) {
    let (id, status) = setting.newest();
    assert_eq!(status, "interrupted");
    setting.verify(&[]);
    check(&setting.show(&id), &setting.server.answers(run));
    let output = setting.resume(&id).end();
    assert_eq!(exit(output.status), 0, "{}", said(&output));
    let record = document(&output);
    check(&record, &setting.server.answers(run));
    let elsewhere = Setting::new(Duration::ZERO);
    assert_eq!(essence(&record), essence(&elsewhere.undisturbed()));
    setting.verify(&[]);
}

#[test]
fn a_disk_that_fills_up_stops_the_run_and_loses_nothing() {
    let Some(disk) = SmallDisk::new(4096) else { return };
    let setting = Setting::new(Duration::from_millis(2)).at(disk.home());
    let mut filling = PathBuf::new();
    let output = run_into(&setting, "full", || filling = disk.fill());
    assert!(said(&output).contains("the disk is full"), "{}", said(&output));

    // Full as it is, it can be read, and nothing can be begun.
    let (id, status) = setting.newest();
    assert_eq!(status, "interrupted");
    setting.verify(&[&id]);
    let asked = setting.server.count("full");
    let refused = setting.resume(&id).end();
    assert_eq!(exit(refused.status), 1, "{}", said(&refused));
    assert!(said(&refused).contains("the disk is full"), "{}", said(&refused));
    assert_eq!(setting.server.count("full"), asked, "something was done that could not be kept");

    fs::remove_file(filling).expect("room again");
    goes_on(&setting, "full");
}

/// A disk of its own whose system finds an error and allows no more writing, as happens to broken hardware.
struct FailingDisk {
    folder: tempfile::TempDir,
    device: String,
}

impl FailingDisk {
    /// `None`, with the reason printed, where no such disk can be made.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).expect("a file");
        fs::create_dir(folder.path().join("disk")).expect("a folder");
        let done = (|| {
            tell(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
            let device = tell(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
            Ok::<_, String>(device.trim().to_owned())
        })();
        let device = done.map_err(|why| eprintln!("skipped, no disk to break: {why}")).ok()?;
        let disk = Self { folder, device };
        disk.mount().map_err(|why| eprintln!("skipped, no disk to break: {why}")).ok()?;
        disk.trigger().exists().then_some(disk)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) -> Result<String, String> {
        tell(Command::new("mount").args(["-o", "errors=remount-ro", &self.device]).arg(self.root()))
    }

    /// Where an error can be made up.
    fn trigger(&self) -> PathBuf {
        let name = self.device.rsplit('/').next().unwrap_or_default();
        Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error")
    }

    fn fail(&self) {
        fs::write(self.trigger(), "1").expect("an error");
        fs::write(self.root().join("more"), "more").expect_err("a disk that cannot be written");
    }

    /// Repairs the disk.
    fn repair(&self) {
        tell(Command::new("umount").arg(self.root())).expect("nobody uses it");
        // It has something to repair, and says so by its exit code.
        let _ = Command::new("fsck.ext4").args(["-y", &self.device]).output();
        self.mount().expect("a disk again");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.root()).output();
        let _ = Command::new("losetup").args(["--detach", &self.device]).output();
    }
}

/// What a command prints, or why there is nothing.
fn tell(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn a_disk_that_can_no_longer_be_written_stops_the_run_and_loses_nothing() {
    let Some(disk) = FailingDisk::new() else { return };
    let setting = Setting::new(Duration::from_millis(2)).at(disk.root().join("home"));
    let output = run_into(&setting, "broken", || disk.fail());
    assert!(said(&output).contains("lumos.db"), "{}", said(&output));

    // Nothing is begun that could not be kept.
    let asked = setting.server.count("broken");
    let refused = setting.output(&["resume", "--all"]);
    assert_ne!(exit(refused.status), 0, "{}", said(&refused));
    assert!(said(&refused).contains("hint:") && !said(&refused).contains("panicked"), "{}", said(&refused));
    assert_eq!(setting.server.count("broken"), asked, "something was done that could not be kept");

    disk.repair();
    goes_on(&setting, "broken");
}
