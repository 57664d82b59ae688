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

#[test]
fn a_backend_that_cannot_be_is_an_error_where_its_deployment_says_so() {
    let sandbox = sandbox();
    let shown = |from: &str, to: &str| {
        let own = std::fs::read_to_string(sandbox.folder().join("deployments/own.ron")).expect("it was written");
        sandbox.write("deployments/own.ron", &own.replace(from, to));
        let found = sandbox.screen(&["simulate", "scenario.ron"]);
        sandbox.write("deployments/own.ron", &own);
        found
    };
    // The name of what no catalog knows; the backend, where several fields are to blame.
    let hardware = shown("\"l40s\"", "\"l4os\"");
    assert!(hardware.contains("own.ron:3:69: backend `llama`: there is no hardware `l4os`"), "{hardware}");
    let model = shown("llama-3.1-8b", "llama-3.1-70b");
    assert!(model.contains("own.ron:3:26: backend `llama`: `llama-3.1-70b` does not fit"), "{model}");
    let scaling = shown("cost:", "scaling: (min: 4, max: 2, target: 3), cost:");
    assert!(scaling.contains("own.ron:3:26: backend `llama`: scaling between 4 and 2"), "{scaling}");
}

/// The order of the sandbox under load, of whose nodes nothing is declared but what `nodes` says.
fn order(arrivals: &str, nodes: &str) -> String {
    format!(
        r#"Scenario(
    name: "orders",
    workflow: "order.ron",
    deployments: ["own"],
    workload: (arrivals: {arrivals}),
    nodes: {{ {nodes} }},
)
"#
    )
}

#[test]
fn nodes_are_described_by_recorded_runs_and_runs_arrive_when_those_did() {
    let sandbox = sandbox();
    sandbox.write("orders.ron", &order("Poisson(per_s: 20), runs: 4000", "\"total\": (duration_s: 5, fail: 0.125)"));
    let learning = ["simulate", "orders.ron", "--profile-from", "runs", "--format", "json"];
    let refused = |arguments: &[&str], part: &str| {
        let output = sandbox.lumos(arguments);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(part) && told.contains("lumos load"), "{told}");
    };
    refused(&learning, "no run is of `order` recorded and over; a profile needs 10");
    for number in 0..12 {
        let price = if number % 4 == 0 { "price=100" } else { "price=1" };
        assert!(sandbox.lumos(&["run", "order.ron", "-i", "note=hello", "-i", price]).status.success());
        if number == 0 {
            refused(&learning, "1 run is of `order` recorded and over; a profile needs 10");
        }
    }
    let home = sandbox.home().display().to_string();
    for from in ["runs", &home] {
        let output = sandbox.lumos(&["simulate", "orders.ron", "--profile-from", from, "--format", "json"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains("learned from 12 runs of order:\n") && told.contains("  size: duration_s, branches\n"),
            "{told}"
        );
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let learned = &document["profile_from"];
        assert_eq!((&learned["runs"], &learned["unknown"]), (&12.into(), &serde_json::json!([])));
        let nodes = document["results"][0]["nodes"].as_array().expect("nodes");
        let node = |name: &str| nodes.iter().find(|node| node["node"] == name).expect("the node");
        let large = node("discount")["attempts"].as_f64().expect("a count") / 4000.0;
        assert!((0.22..0.28).contains(&large), "a quarter is large: {large}");
        assert!(node("total")["duration_s"]["max"].as_f64() < Some(1.0), "five seconds are what was declared");
        assert!(node("total")["failed"].as_u64() > Some(0), "what is not seen stays as it was declared");
    }
    // Nothing says how often which branch is taken.
    assert_eq!(sandbox.lumos(&["simulate", "orders.ron"]).status.code(), Some(2));

    let exported = sandbox.lumos(&["runs", "export", "--format", "csv", "--table", "runs", "-o", "then.csv"]);
    assert!(exported.status.success());
    sandbox.write("again.ron", &order("Trace(file: \"then.csv\", speed: 2)", ""));
    let (code, document) = sandbox.json(&["simulate", "again.ron", "--profile-from", "runs", "--format", "json"]);
    assert_eq!((code, &document["results"][0]["runs"]), (0, &12.into()));
    let (_, runs) = sandbox.json(&["runs", "list", "--format", "json"]);
    let starts: Vec<&str> =
        runs["runs"].as_array().expect("runs").iter().filter_map(|run| run["started_at"].as_str()).collect();
    let seconds = |text: &str| {
        text[14..]
            .trim_end_matches('Z')
            .split(':')
            .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
    };
    // The newest comes first.
    let took = (seconds(starts[0]) - seconds(starts[11])).rem_euclid(3600.0);
    let simulated = document["results"][0]["duration_s"].as_f64().expect("seconds");
    assert!((simulated - took / 2.0).abs() < 1e-6 * took.max(1.0), "{simulated} instead of half of {took}");
}
