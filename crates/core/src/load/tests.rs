//! Loading: what is found where, and what is said about files that are not there or no files.

#![allow(clippy::format_push_string, clippy::format_collect)] // Tables of a few lines.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::read::MAX_FILE_BYTES;
use crate::spec::{GuardSpec, PlannerItems};

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Problems as people read them, with the folder's own name cut off.
pub(crate) fn listing(folder: &Path, problems: &[Problem]) -> String {
    let canonical = fs::canonicalize(folder).unwrap();
    let mut text = String::new();
    for problem in problems {
        let owner: Vec<&str> = [problem.node.as_deref(), problem.field.as_deref()].into_iter().flatten().collect();
        text += &format!("{problem}  [{}]\n", owner.join(" / "));
        if let Some(hint) = &problem.hint {
            text += &format!("    hint: {hint}\n");
        }
    }
    for prefix in [&canonical, folder] {
        text = text.replace(&format!("{}/", prefix.display()), "").replace(&prefix.display().to_string(), ".");
    }
    text
}

fn load(folder: &TempDir, workflow: &str, deployment: Option<&str>) -> (Option<Bundle>, String) {
    let deployment = deployment.map(PathBuf::from);
    let (bundle, problems) = Bundle::load(&folder.path().join(workflow), deployment.as_deref());
    let listing = listing(folder.path(), &problems);
    (bundle, listing)
}

const TOOL: &str = "Workflow(name: \"w\", nodes: {\"a\": Tool(agent: \"calc\", with: {\"expression\": \"1\"})}, output: \"{{ a.result }}\")";

#[test]
fn names_are_looked_up_in_the_folder_then_in_its_parents() {
    let folder = folder(&[
        ("flows/deep/w.ron", TOOL),
        ("flows/deep/v.ron", &TOOL.replace("\"calc\"", "\"../near.ron\"")),
        ("flows/near.ron", "Tool(tool: Calculator)"),
        ("agents/calc.ron", "Tool(tool: Calculator)"),
        ("deployments/far.ron", "Deployment(name: \"far\", backends: {}, bind: {})"),
        ("flows/deployments/far.ron", "Deployment(name: \"near\", backends: {}, bind: {})"),
    ]);
    let (bundle, problems) = load(&folder, "flows/deep/w.ron", Some("far"));
    let bundle = bundle.unwrap();
    assert_eq!(problems, "");
    assert_eq!(bundle.agents["calc"].spec().role(), "tool");
    assert!(bundle.agents["calc"].folder.ends_with("agents"));
    assert_eq!(bundle.deployment.unwrap().parsed.spec.name, "near");
    let (bundle, problems) = load(&folder, "flows/deep/v.ron", None);
    assert_eq!(problems, "");
    assert!(bundle.unwrap().agents.contains_key("../near.ron"));
}

#[test]
fn sub_workflows_and_prompt_files_are_read_once() {
    let sub = |path: &str| {
        format!(
            "Workflow(name: \"w\", nodes: {{\"a\": Workflow(path: \"{path}\"), \"b\": Workflow(path: \"{path}\")}}, output: \"{{{{ a }}}}\")"
        )
    };
    let folder = folder(&[
        ("w.ron", &sub("sub/x.ron")),
        ("sub/x.ron", &sub("../sub/y.ron")),
        (
            "sub/y.ron",
            "Workflow(name: \"y\", nodes: {\"a\": Generator(agent: \"g\", input: \"i\")}, output: \"{{ a.text }}\")",
        ),
        ("agents/g.ron", "Generator(prompt: (user_file: \"ask.txt\"))"),
        ("agents/ask.txt", "Say {{ input }}"),
    ]);
    let (bundle, problems) = load(&folder, "w.ron", None);
    assert_eq!(problems, "");
    let bundle = bundle.unwrap();
    assert_eq!(bundle.subworkflows.len(), 2);
    assert_eq!(bundle.agents["g"].user_prompt.as_deref(), Some("Say {{ input }}"));
    let list = bundle.workflows().list;
    assert_eq!(list[0].1.len(), 1);
    let child = &list[list[0].1["sub/x.ron"]];
    assert_eq!(list[child.1["../sub/y.ron"]].0.name, "y");
    crate::program::Program::compile(&bundle.workflows()).unwrap();
}

#[test]
fn what_is_not_there_is_named() {
    let folder = folder(&[
        ("w.ron", &TOOL.replace("\"calc\"", "\"clac\"")),
        ("path.ron", &TOOL.replace("\"calc\"", "\"agents/clac.ron\"")),
        ("far.ron", &TOOL.replace("\"calc\"", "\"zzz\"")),
        ("broken.ron", &TOOL.replace("\"calc\"", "\"broken\"")),
        ("prompt.ron", "Workflow(name: \"w\", nodes: {\"a\": Generator(agent: \"lost\", input: \"\")}, output: \"\")"),
        ("agents/lost.ron", "Generator(prompt: (user_file: \"lots.txt\"))"),
        ("agents/lost.txt", ""),
        ("agents/calc.ron", "Tool(tool: Calculator)"),
        ("agents/broken.ron", "Tool(tool: Calc)"),
        ("deployments/local.ron", "Deployment(name: \"l\", backends: {}, bind: {})"),
        (
            "sub.ron",
            "Workflow(name: \"w\", nodes: {\"a\": Workflow(path: \"subb.ron\"), \"b\": Workflow(path: \"agents\")}, output: \"\")",
        ),
        ("loop.ron", "Workflow(name: \"w\", nodes: {\"a\": Workflow(path: \"loop2.ron\")}, output: \"\")"),
        ("loop2.ron", "Workflow(name: \"w\", nodes: {\"a\": Workflow(path: \"./loop.ron\")}, output: \"\")"),
        (
            "two.ron",
            "Workflow(name: \"w\", nodes: {\"a\": Tool(agent: \"calc\"), \"b\": Workflow(path: \"inner/two.ron\")}, output: \"\")",
        ),
        ("inner/two.ron", TOOL),
        ("inner/agents/calc.ron", "Tool(tool: Calculator)"),
    ]);
    let mut text = String::new();
    for (workflow, deployment) in [
        ("ww.ron", None),
        ("agents", None),
        ("nowhere/w.ron", None),
        ("w.ron/x.ron", None),
        ("w.ron", None),
        ("path.ron", None),
        ("far.ron", None),
        ("broken.ron", None),
        ("prompt.ron", None),
        ("sub.ron", None),
        ("loop.ron", None),
        ("two.ron", None),
        ("two.ron", Some("lcoal")),
        ("two.ron", Some("no/local.ron")),
        ("agents/calc.ron", None),
    ] {
        let (_, problems) = load(&folder, workflow, deployment);
        assert!(!problems.is_empty(), "{workflow}");
        text += &format!("# {workflow} {}\n{problems}\n", deployment.unwrap_or_default());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_no_text_file_of_reasonable_size_is_refused() {
    let folder = folder(&[("agents/calc.ron", "Tool(tool: Calculator)")]);
    let at = |name: &str| folder.path().join(name);
    fs::File::create(at("large.ron")).unwrap().set_len(100 << 20).unwrap();
    fs::write(at("latin.ron"), b"Workflow(\n  name: \"caf\xe9\")").unwrap();
    fs::write(at("bom.ron"), format!("\u{feff}{TOOL}")).unwrap();
    fs::write(at("full.ron"), format!("{TOOL}//{}", "x".repeat(MAX_FILE_BYTES as usize - TOOL.len() - 2))).unwrap();
    let mut text = String::new();
    for name in ["large.ron", "latin.ron", ".", "bom.ron", "full.ron"] {
        text += &format!("# {name}\n{}", load(&folder, name, None).1);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_chain_of_sub_workflows_is_bounded() {
    let files: Vec<(String, String)> = (0..40)
        .map(|at| {
            let next = at + 1;
            let text = format!("Workflow(name: \"w\", nodes: {{\"a\": Workflow(path: \"{next}.ron\")}}, output: \"\")");
            (format!("{at}.ron"), text)
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (_, problems) = load(&folder(&files), "0.ron", None);
    assert!(problems.contains("sub-workflows are nested too deep"), "{problems}");
}

#[test]
fn a_bundle_can_be_made_without_files() {
    let workflow = crate::read::read_workflow(
        "w",
        "Workflow(name: \"w\", nodes: {\"g\": Guard(agent: \"guard\", input: \"x\"), \"s\": Workflow(path: \"inner\")}, output: \"{{ s }}\")",
    )
    .unwrap();
    let inner = crate::read::read_workflow(
        "i",
        "Workflow(name: \"i\", nodes: {\"g\": Guard(agent: \"guard\", input: \"x\")}, output: \"{{ g.text }}\")",
    );
    let bundle = Bundle::in_memory(workflow.spec)
        .with_subworkflow("inner", inner.unwrap().spec)
        .with_agent("guard", AgentSpec::Guard(GuardSpec { max_chars: Some(9), ..GuardSpec::default() }));
    assert_eq!(crate::check::check_bundle(&bundle), []);
    crate::program::Program::compile(&bundle.workflows()).unwrap();
}

#[test]
fn agents_given_as_values_need_no_file() {
    let folder = folder(&[(
        "w.ron",
        "Workflow(name: \"w\", nodes: {\"p\": Planner(agent: \"mine\", input: \"x\")}, output: \"{{ p.steps }}\")",
    )]);
    let spec = crate::read::read_agent("a", "Planner(prompt: \"{{ input }}\", field: \"steps\")").unwrap().spec;
    let AgentSpec::Planner(planner) = &spec else { panic!() };
    assert_eq!(planner.items, PlannerItems::default());
    let agents = IndexMap::from([("mine".to_owned(), spec)]);
    let (bundle, problems) = Bundle::load_with(&folder.path().join("w.ron"), None, &agents);
    assert_eq!(problems, []);
    assert_eq!(crate::check::check_bundle(&bundle.unwrap()), []);
}
