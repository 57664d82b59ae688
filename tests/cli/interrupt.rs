//! Ctrl-C: the first ends the run and keeps what finished, the second ends the process.
#![cfg(unix)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::Sandbox;

/// A run that waits for a server that never answers; returns once it waits.
fn waiting(sandbox: &Sandbox) -> (Child, std::net::TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    sandbox.write("agents/fetch.ron", &format!("Tool(tool: HttpGet(allow: [\"http://{address}/\"], timeout_s: 120))"));
    sandbox.write(
        "waits.ron",
        &format!(
            "Workflow(name: \"waits\", nodes: {{\
             \"first\": Tool(agent: \"sum\", with: {{ \"expression\": \"1 + 1\" }}),\
             \"wait\": Tool(agent: \"fetch\", after: [\"first\"], with: {{ \"url\": \"http://{address}/\" }}),\
             }}, output: \"{{{{ wait.result }}}}\")"
        ),
    );
    let mut command = sandbox.command();
    command.args(["run", "waits.ron", "--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let (connection, _) = server.accept().unwrap();
    (child, connection)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn what_finished_is_kept() {
    let sandbox = Sandbox::new();
    for name in ["-INT", "-TERM"] {
        let (child, _connection) = waiting(&sandbox);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["status"], "cancelled");
        assert_eq!(record["steps"][0]["status"], "succeeded");
        assert_eq!(record["steps"][1]["status"], "cancelled");
        let (_, shown) = sandbox.json(&["runs", "show", record["run_id"].as_str().unwrap(), "--format", "json"]);
        assert_eq!(shown, record);
    }
}
