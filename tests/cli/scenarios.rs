//! Scenarios on the command line: what is simulated and planned, and why nothing is.

use super::Sandbox;

/// A desk at which tools are waited for, and replicas that could be sized.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "desk.ron",
        r#"Workflow(
    name: "desk",
    inputs: { "note": Text(default: "x") },
    nodes: {
        "add": Tool(agent: "sum", with: { "expression": "1" }),
        "say": Generator(agent: "writer", input: "{{ inputs.note }}", after: ["add"]),
    },
    output: "{{ say.text }}",
)
"#,
    );
    sandbox.write(
        "deployments/own.ron",
        r#"Deployment(
    name: "own",
    backends: { "llama": Simulated(model: "llama-3.1-8b", hardware: "l40s", cost: PerHour(usd: "0.90")) },
    bind: { "*": "llama" },
)
"#,
    );
    sandbox.write("scenario.ron", SCENARIO);
    sandbox
}

/// Runs of which a third warms up.
pub const SCENARIO: &str = r#"Scenario(
    name: "queue",
    workflow: "desk.ron",
    deployments: ["own"],
    workload: (arrivals: Poisson(per_s: 2), runs: 300, warmup_runs: 100),
    nodes: { "add": (service: "desk", duration_s: 0.1), "say": (input_tokens: 300, output_tokens: 20) },
    services: { "desk": Station(servers: 1) },
    slo: (run_s: 3, share: 0.9),
)
"#;

#[test]
fn a_load_of_which_nothing_counts_is_an_error_with_its_place() {
    let sandbox = sandbox();
    let error = |arguments: &[&str]| {
        let output = sandbox.lumos(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let expected = "error: scenario.ron:5:69: no run counts: 100 runs arrive, and the first 100 warm up\n\
                    hint: lower `warmup_runs`, or let more runs arrive: `runs`, `duration_s`, `--runs`\n";
    for command in ["simulate", "plan"] {
        assert_eq!(error(&[command, "scenario.ron", "--runs", "100"]), (Some(2), expected.to_owned()), "{command}");
    }
    let (code, document) = sandbox.json(&["simulate", "scenario.ron", "--runs", "101", "--format", "json"]);
    assert_eq!((code, &document["results"][0]["runs"]), (0, &serde_json::json!(1)));
}
