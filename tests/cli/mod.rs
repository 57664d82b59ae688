//! The command line, run as people run it: screens, documents and exit codes. One test needs models, and fetches them.

mod approvals;
mod durable;
mod interrupt;
mod loads;
mod plans;
mod prices;
mod runs;
pub mod scenarios;
pub mod screens;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with workflows of tools, guards and routers, and a home of its own.
pub struct Sandbox(TempDir);

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().expect("a folder"));
        sandbox.write("agents/sum.ron", "Tool(tool: Calculator)");
        sandbox.write("agents/gate.ron", "Guard(detect: [Email], deny: [\"bomb\"])");
        sandbox.write("agents/writer.ron", "Generator(model: \"small\", prompt: (user: \"Say {{ input }}.\"))");
        sandbox.write("order.ron", ORDER);
        sandbox
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lumos"));
        command.current_dir(self.folder()).env("LUMOS_HOME", self.home()).env("COLUMNS", "100").env_remove("NO_COLOR");
        command
    }

    pub fn home(&self) -> PathBuf {
        self.folder().join("home")
    }

    pub fn lumos(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("the command starts")
    }

    /// Exit code, stdout and stderr as one text, for snapshots.
    pub fn screen(&self, arguments: &[&str]) -> String {
        let output = self.lumos(arguments);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let mut screen = format!("$ lumos {}\n{}", arguments.join(" "), text(&output.stdout));
        if !output.stderr.is_empty() {
            screen.extend(["--- stderr\n", &text(&output.stderr)]);
        }
        screen + &format!("--- exit {}\n", output.status.code().expect("an exit code"))
    }

    /// Exit code and the JSON document on stdout.
    pub fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.lumos(arguments);
        let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{arguments:?} printed no JSON ({error}):\n{}", String::from_utf8_lossy(&output.stderr))
        });
        (output.status.code().expect("an exit code"), document)
    }
}

/// Screens an order, adds it up, and takes a branch: every way to end without a model.
const ORDER: &str = r#"Workflow(
    name: "order",
    description: "Adds up an order.",
    inputs: { "note": Text(required: true), "price": Number(default: 2), "count": Integer(default: 3) },
    nodes: {
        "screen": Guard(agent: "gate", input: "{{ inputs.note }}", on_block: Refuse),
        "total": Tool(agent: "sum", after: ["screen"], with: { "expression": "{{ inputs.price }} * {{ inputs.count }}" }),
        "size": Router(choose: "{{ 'large' if total.result > 100 else 'small' }}", routes: { "large": ["discount"], "small": ["plain"] }),
        "discount": Tool(agent: "sum", with: { "expression": "{{ total.result }} * 0.9" }),
        "plain": Tool(agent: "sum", with: { "expression": "{{ total.result }}" }),
    },
    output: "{{ discount.result if discount is defined else plain.result }}",
    limits: (steps: 20),
)
"#;
