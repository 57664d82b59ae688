//! A `LUMOS_HOME` that all tests share, so that models and data are fetched once and kept with the build's outputs.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// The shared home.
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lumos-home")
}

/// Held by whoever computes with a model: several at once on few cores only wait for each other.
static MODELS: Mutex<()> = Mutex::new(());

/// Waits for the right to compute with a model.
pub fn turn() -> MutexGuard<'static, ()> {
    MODELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `lumos` command in the repository's root with the shared home; missing assets are fetched by the command.
pub fn lumos(arguments: &[&str]) -> Output {
    let _turn = turn();
    Command::new(env!("CARGO_BIN_EXE_lumos"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("LUMOS_HOME", home())
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .expect("the command starts")
}

/// What a command that must succeed prints, as JSON.
pub fn json(arguments: &[&str]) -> Value {
    let output = lumos(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}:\n{errors}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?} printed no JSON: {error}"))
}
