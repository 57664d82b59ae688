//! The invariants of ARCHITECTURE.md: what must be absent, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our packages and the ones of ours that each may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("lumos-core", &[]),
    ("lumos-assets", &[]),
    ("lumos-agents", &["lumos-core"]),
    ("lumos-local", &["lumos-core"]),
    ("lumos-remote", &["lumos-core"]),
    ("lumos-faults", &["lumos-core"]),
    ("lumos-engine", &["lumos-core"]),
    ("lumos-report", &["lumos-core"]),
    ("lumos-sim", &["lumos-core"]),
    ("lumos-decide", &["lumos-core", "lumos-engine", "lumos-sim"]),
    ("lumos-telemetry", &["lumos-core", "lumos-engine"]),
    (
        "lumos",
        &[
            "lumos-core",
            "lumos-assets",
            "lumos-agents",
            "lumos-local",
            "lumos-remote",
            "lumos-engine",
            "lumos-report",
            "lumos-telemetry",
            "lumos-sim",
            "lumos-decide",
        ],
    ),
];

/// What makes a package depend on a runtime, on HTTP or on a model library.
const RUNTIMES: &[&str] = &["tokio", "async-std", "smol"];
const HTTP: &[&str] = &["reqwest", "hyper", "ureq", "rustls"];
const MODELS: &[&str] = &["candle-core", "candle-nn", "candle-transformers", "tokenizers", "llguidance"];
const PROVIDERS: &[&str] = &["genai", "async-openai", "anthropic-sdk"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every workspace package with all that it depends on, through normal dependencies of the default features.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let packages = ARROWS.iter().map(|(package, _)| *package);
    packages
        .map(|package| {
            let output = Command::new(env!("CARGO"))
                .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
                .args(["--frozen"])
                .current_dir(root())
                .output()
                .expect("cargo runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
            let names = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
            (package.to_owned(), names.filter(|name| name != package && !name.is_empty()).collect())
        })
        .collect()
}

/// Every package's direct dependencies among our own, from its manifest.
fn direct(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|it| it["name"] == package).unwrap_or_else(|| panic!("no package {package}"));
    let dependencies = found["dependencies"].as_array().expect("dependencies");
    let normal = dependencies.iter().filter(|it| it["kind"].is_null());
    let names = normal.filter_map(|it| it["name"].as_str()).map(str::to_owned);
    names.filter(|name| name.starts_with("lumos")).collect()
}

#[test]
fn arrows_between_packages_point_where_the_architecture_says() {
    for (package, allowed) in ARROWS {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let unwanted: Vec<String> = direct(package).difference(&allowed).cloned().collect();
        assert!(unwanted.is_empty(), "{package} must not depend on {unwanted:?}");
    }
}

#[test]
fn core_depends_on_no_runtime_no_http_and_no_model_library() {
    let all = dependencies();
    for name in RUNTIMES.iter().chain(HTTP).chain(MODELS).chain(PROVIDERS) {
        assert!(!all["lumos-core"].contains(*name), "lumos-core depends on {name}");
    }
    for name in HTTP.iter().chain(MODELS).chain(PROVIDERS) {
        assert!(!all["lumos-engine"].contains(*name), "lumos-engine depends on {name}");
    }
    for name in RUNTIMES.iter().chain(HTTP).chain(MODELS).chain(PROVIDERS) {
        assert!(!all["lumos-sim"].contains(*name), "lumos-sim depends on {name}");
    }
    assert!(all["lumos-local"].contains("candle-core"), "the test looks at the right thing");
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines of our crates' sources, tests left out, that contain one of `words`; as `path:line`.
fn lines_with(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).expect("crates") {
        sources(&entry.expect("a crate").path().join("src"), &mut files);
    }
    files.sort();
    assert!(files.len() > 30, "the test looks at the right thing");
    let mut found = Vec::new();
    for file in files {
        let shown = file.strip_prefix(root()).expect("below the root").display().to_string();
        let is_named =
            |name: &std::ffi::OsStr| ["tests.rs", "properties.rs", "coverage.rs"].iter().any(|it| name == *it);
        let is_test = file.file_name().is_some_and(is_named);
        if is_test || allowed.iter().any(|allowed| shown.starts_with(allowed)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if !is_comment && words.iter().any(|word| line.contains(word)) {
                found.push(format!("{shown}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_command_line_prints_exits_and_reads_the_environment() {
    let words = ["println!", "eprintln!", "print!(", "eprint!(", "process::exit", "env::var", "env::args"];
    let found = lines_with(&words, &["crates/lumos/src/cli", "crates/lumos/src/main.rs"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn clocks_are_read_in_the_drivers_clock_module_only() {
    let words = ["Instant::now", "SystemTime::now", "thread_rng", "rand::rng(", "rand::random"];
    let found = lines_with(&words, &["crates/engine/src/clock.rs"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn order_that_can_be_seen_comes_from_ordered_maps() {
    // Where a library's signature has one; what comes out of it is sorted.
    let foreign = ["crates/local/src/gguf.rs", "crates/core/src/template/mod.rs"];
    // Where entries are only ever looked up, millions of times a second.
    let lookup = [
        "crates/sim/src/replica/cache.rs",
        "crates/engine/src/store/writer.rs",
        "crates/engine/src/store/statements.rs",
    ];
    let found = lines_with(&["HashMap", "HashSet"], &[&foreign[..], &lookup].concat());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_source_file_says_what_it_is_responsible_for() {
    let mut files = Vec::new();
    for folder in ["crates", "tests", "benches"] {
        let folder = root().join(folder);
        if folder.exists() {
            sources(&folder, &mut files);
        }
    }
    let silent: Vec<_> = files
        .iter()
        .filter(|file| !std::fs::read_to_string(file).expect("UTF-8").starts_with("//!"))
        .map(|file| file.display().to_string())
        .filter(|file| !file.contains("/target/"))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}
