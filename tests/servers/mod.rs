//! Servers that scripts beside this file install, start and describe in a line of JSON; they end with their input.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::de::DeserializeOwned;

/// Starts the servers of a script and waits until they answer; gives the script's process and what it says of them.
pub fn start<T: DeserializeOwned>(script: &str, arguments: &[&OsStr]) -> (Child, T) {
    let mut child = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script))
        .args(arguments)
        .arg("--cache")
        .arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("servers"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the script writes UTF-8");
    let said = serde_json::from_str(&line).unwrap_or_else(|error| {
        panic!("{script} did not start its servers, see above ({error}); LUMOS_TEST_SERVERS=off leaves them out")
    });
    (child, said)
}
