//! `lumos audit` as people run it: every leak that is planted is found, and nothing is said of workflows without one.

mod clean;
mod leaks;
mod mistakes;
mod sent;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::Sandbox;

/// A workflow, what it runs on, and what else it needs.
struct Case {
    name: &'static str,
    /// The entries of `nodes`; inputs are `who` (Pii) and `topic`.
    nodes: &'static str,
    output: &'static str,
    /// Further files.
    files: &'static [(&'static str, &'static str)],
    /// More bindings.
    bind: &'static str,
    /// More of the deployment, after its bindings.
    deployment: &'static str,
    /// Variables of the environment.
    environment: &'static [(&'static str, &'static str)],
    /// Each label, destination and node that sends, as `workflow/node`.
    leaks: &'static [(&'static str, &'static str, &'static str)],
}

const CASE: Case = Case {
    name: "",
    nodes: "",
    output: "",
    files: &[],
    bind: "",
    deployment: "boundary: (inside: [\"house\", \"vectors\"], forbid_outside: [Pii, Secret])",
    environment: &[],
    leaks: &[],
};

/// Agents by where their model is: `home…` is asked inside, `api…` outside.
const AGENTS: &[(&str, &str)] = &[
    ("home", r#"Generator(model: "home", prompt: "{{ input }}")"#),
    ("home_context", r#"Generator(model: "home", prompt: "{{ input }} {{ context }}")"#),
    ("home_plan", r#"Planner(model: "home", prompt: "{{ input }}")"#),
    ("home_judge", r#"Judge(model: "home", prompt: "{{ input }}")"#),
    ("home_router", r#"Router(model: "home", prompt: "{{ input }}: {{ labels }}")"#),
    ("api", r#"Generator(model: "api", prompt: "{{ input }}")"#),
    ("api_context", r#"Generator(model: "api", prompt: "{{ input }} {{ context }}")"#),
    ("api_judge", r#"Judge(model: "api", prompt: "{{ input }}")"#),
    ("api_router", r#"Router(model: "api", prompt: "{{ input }}: {{ labels }}")"#),
    ("words", r#"Retriever(sources: ["../notes"], mode: Bm25)"#),
    ("home_dense", r#"Retriever(model: "home_vectors", sources: ["../notes"], mode: Dense)"#),
    ("api_dense", r#"Retriever(model: "api_vectors", sources: ["../notes"], mode: Dense)"#),
    ("redact", "Guard(detect: [Email, Phone, Card, Iban, Ssn, Ip])"),
    ("blind", "Guard(max_chars: 500)"),
    ("wiki", r#"Tool(tool: HttpGet(allow: ["https://wiki.example.org/"]))"#),
    ("here", r#"Tool(tool: HttpGet(allow: ["http://127.0.0.1:8080/"]))"#),
    ("sum", "Tool(tool: Calculator)"),
];

const BACKENDS: &str = r#"
    "house": Remote(provider: OpenAiCompatible, base_url: "http://10.0.0.7:8000/v1", model: "m", cost: Unknown),
    "vectors": Remote(provider: OpenAiCompatible, base_url: "http://10.0.0.7:8000/v1", model: "e", embedder: true, cost: Unknown),
    "cloud": Remote(provider: OpenAi, model: "gpt-4o-mini", api_key: Env("KEY")),
    "cloud_vectors": Remote(provider: OpenAi, model: "text-embedding-3-small", embedder: true, api_key: Env("KEY")),
"#;

impl Case {
    fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("notes/a.md", "Orders arrive within two weeks.");
        for (name, agent) in AGENTS {
            sandbox.write(&format!("agents/{name}.ron"), agent);
        }
        for (name, text) in self.files {
            sandbox.write(name, text);
        }
        sandbox.write("w.ron", &workflow("w", self.nodes, self.output));
        let bind = r#""home": "house", "home_vectors": "vectors", "api": "cloud", "api_vectors": "cloud_vectors""#;
        let (own, more) = (self.bind, self.deployment);
        sandbox.write(
            "d.ron",
            &format!("Deployment(name: \"d\", backends: {{ {BACKENDS} }}, bind: {{ {bind}, {own} }}, {more})"),
        );
        sandbox
    }

    /// What is found to be able to leave although it must not, and the exit code.
    fn found(&self) -> (BTreeSet<(String, String, String)>, i32) {
        let sandbox = self.sandbox();
        let check = sandbox.lumos(&["check", "w.ron", "-d", "d.ron"]);
        let problems = String::from_utf8_lossy(&check.stdout);
        assert_eq!(check.status.code(), Some(0), "{}: {problems}", self.name);
        let mut command = sandbox.command();
        command.args(["audit", "w.ron", "-d", "d.ron", "--format", "json"]).envs(self.environment.iter().copied());
        let output = command.output().expect("the command starts");
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}: {}", self.name, String::from_utf8_lossy(&output.stderr)));
        let leaks = document["static"]["leaks"].as_array().expect("leaks");
        let forbidden: Vec<&Value> = leaks.iter().filter(|leak| leak["is_forbidden"] == true).collect();
        assert_eq!(document["findings"].as_array().map(Vec::len), Some(forbidden.len()), "{}", self.name);
        let text = |leak: &Value, field: &str| leak[field].as_str().expect("a text").to_owned();
        let found = forbidden.into_iter().map(|leak| {
            assert!(leak["ways"].as_array().is_some_and(|ways| !ways.is_empty()), "{}: no way", self.name);
            let node = format!("{}/{}", text(leak, "workflow"), text(leak, "node"));
            (text(leak, "label"), text(leak, "destination"), node)
        });
        (found.collect(), output.status.code().expect("an exit code"))
    }
}

/// A workflow whose inputs are `who`, which is labelled, and `topic`, which is not.
fn workflow(name: &str, nodes: &str, output: &str) -> String {
    format!(
        r#"Workflow(
    name: "{name}",
    inputs: {{ "who": Text(required: true, labels: [Pii]), "topic": Text(required: true) }},
    nodes: {{
{nodes}
    }},
    output: "{output}",
)"#
    )
}
