//! `lumos report` as people read it: the page in headless Chromium, on a screen, on paper and by keyboard.
//!
//! Playwright comes from PyPI and Chromium from the system. `LUMOS_TEST_SERVERS=off` leaves them out, for machines without.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cli::Sandbox;

/// A workflow that lets a label out, for its audit.
const LEAK: &str = r#"Workflow(
    name: "leak",
    inputs: { "who": Text(required: true, labels: [Pii]) },
    nodes: { "look": Tool(agent: "wiki", with: { "url": "https://wiki.example.org/{{ inputs.who }}" }) },
    output: "{{ look.result }}",
)"#;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A sandbox with a document of every sort that takes seconds to make, and the id of a run.
fn documents() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let shipped = |file: &str| root().join("scenarios").join(file).display().to_string();
    let (scenario, workflow) = (shipped("support_day.ron"), shipped("workflows/agentic_rag.ron"));
    let (mixed, bought) = (shipped("deployments/mixed.ron"), shipped("deployments/bought.ron"));
    let write = |name: &str, arguments: &[&str], code: i32| {
        let output = sandbox.lumos(&[arguments, &["--format", "json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        sandbox.write(name, &String::from_utf8(output.stdout).expect("UTF-8"));
    };
    write("simulate.json", &["simulate", &scenario, "--runs", "1500"], 0);
    write("plan.json", &["plan", &scenario, "--runs", "1200"], 0);
    let sides = ["compare", &workflow, "-d", &mixed, "-d", &bought, "--scenario", &scenario, "--runs", "1200"];
    write("compare.json", &sides, 0);
    sandbox.write("optimize.json", &crate::eval::optimize::optimized());
    sandbox.write("agents/wiki.ron", r#"Tool(tool: HttpGet(allow: ["https://wiki.example.org/"]))"#);
    sandbox.write("leak.ron", LEAK);
    write("audit.json", &["audit", "leak.ron"], 1);
    let (_, record) = sandbox.json(&["run", "order.ron", "-i", "note=hello", "--format", "json"]);
    let id = record["run_id"].as_str().expect("an id").to_owned();
    (sandbox, id)
}

fn open(page: &Path) -> Value {
    let output = Command::new("python3")
        .arg(root().join("tests/browser/report.py"))
        .arg(page)
        .arg("--cache")
        .arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("browser"))
        .output()
        .expect("python3 starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\nLUMOS_TEST_SERVERS=off leaves the browser out");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_report_draws_its_plots_asks_for_nothing_and_is_read_in_the_dark_on_paper_and_by_keyboard() {
    let (sandbox, run) = documents();
    let claims = root().join("scenarios/claims").display().to_string();
    let subjects = ["compare.json", "simulate.json", "plan.json", "audit.json", "optimize.json", &claims, &run];
    let output = sandbox.lumos(&[&["report"], &subjects[..], &["-o", "report.html"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let html = std::fs::read_to_string(sandbox.folder().join("report.html")).expect("the page");
    assert!(html.find("id=\"verdict\"") < html.find("id=\"section-1\""), "the verdict comes first");
    for part in [
        "held against mixed, simulated",
        "audit of leak: 1 finding",
        "own machines are cheaper",
        "Backends for the nodes of pipeline",
        "Claims, checked",
        "pennies: does not hold",
        "Assumptions and sources",
    ] {
        assert!(html.contains(part), "{part}");
    }
    if std::env::var("LUMOS_TEST_SERVERS").is_ok_and(|servers| servers == "off") {
        return;
    }
    let said = open(&sandbox.folder().join("report.html"));
    for theme in ["light", "dark"] {
        let page = &said[theme];
        assert_eq!(
            (&page["left"], &page["errors"]),
            (&Value::from(Vec::<Value>::new()), &Value::from(Vec::<Value>::new())),
            "{theme}"
        );
        assert_eq!(page["plots"], page["drawn"], "{theme}");
        assert!(page["plots"].as_u64() >= Some(10), "{theme}: {page}");
        let marks = page["marks"].as_array().expect("a number for each plot");
        assert!(marks.iter().all(|marks| marks.as_u64() > Some(0)), "{theme}: a plot shows nothing: {marks:?}");
        assert_eq!((&page["overflow"], &page["narrow_overflow"]), (&Value::from(0), &Value::from(0)), "{theme}");
        let keyboard = &page["keyboard"];
        assert_eq!(
            (keyboard["theme_changes"].as_bool(), keyboard["opens_figures"].as_bool()),
            (Some(true), Some(true))
        );
        assert!(keyboard["skip"].as_str().is_some_and(|first| first.contains("skip")), "{keyboard}");
    }
    assert_ne!(said["light"]["background"], said["dark"]["background"]);
    assert_eq!(
        (&said["print"]["background"], &said["print"]["navigation"]),
        (&Value::from("rgb(255, 255, 255)"), &Value::from("none"))
    );
    assert_eq!(said["print"]["errors"], Value::from(Vec::<Value>::new()));
}

#[test]
fn mistakes() {
    let sandbox = Sandbox::new();
    sandbox.write("list.json", "[1, 2]");
    sandbox.write("other.json", "{\"a\": 1}");
    sandbox.write("text.json", "nothing");
    let screens = [
        &["report"][..],
        &["report", "list.json", "-o", "r.html"],
        &["report", "other.json", "-o", "r.html"],
        &["report", "text.json", "-o", "r.html"],
        &["report", "none.json", "-o", "r.html"],
        &["report", "01ABC", "-o", "r.html"],
        &["report", "--workflow", "none.ron", "-o", "r.html"],
        &["report", "--workflow", "order.ron", "-o", "nowhere/r.html"],
    ];
    let screens: Vec<String> = screens.iter().map(|arguments| sandbox.screen(arguments)).collect();
    insta::assert_snapshot!("report-mistakes", screens.join("\n"));
    assert!(!sandbox.folder().join("r.html").exists());
    assert!(sandbox.lumos(&["report", "--workflow", "order.ron", "-o", "r.html"]).status.success());
}
