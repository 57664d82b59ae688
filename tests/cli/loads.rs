//! Loads that are made for real and backends that are calibrated, on a server that counts tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lumos::engine::UnixClock;
use lumos_faults::{Answer, FaultServer, Received, Reply, Script, Tokens};
use serde_json::json;

use super::Sandbox;

/// Answers with as many tokens as are asked for, and counts the words of the prompt.
fn reply(request: &Received) -> Reply {
    let body = request.json();
    let words = body["messages"][0]["content"].as_str().unwrap_or_default().split_whitespace().count() as u64;
    let output = body["max_tokens"].as_u64().unwrap_or(8);
    let between = Duration::from_millis(1);
    let answer = Answer { first: Duration::from_millis(2), between, ..Answer::new(&"word ".repeat(output as usize)) };
    Reply::Answer(Answer { tokens: Tokens::new(words + 8, output), ..answer })
}

/// Runs `check` in a folder with a scenario whose backend is a server that replies.
async fn with_server(check: impl FnOnce(&Sandbox) + Send + 'static) {
    with_script(Script::by(reply), check).await;
}

/// The same with a server of which more is said.
async fn with_script(script: Script, check: impl FnOnce(&Sandbox) + Send + 'static) {
    let server = FaultServer::start(script, Arc::new(UnixClock)).await.expect("a port");
    let sandbox = Sandbox::new();
    sandbox.write(
        "agents/writer.ron",
        r#"Generator(model: "small", prompt: (user: "{{ input }}"), decoding: (max_tokens: 12))"#,
    );
    sandbox.write(
        "ask.ron",
        r#"Workflow(
    name: "ask",
    inputs: { "note": Text(required: true) },
    nodes: { "say": Generator(agent: "writer", input: "{{ inputs.note }}") },
    output: "{{ say.text }}",
)
"#,
    );
    let deployment = r#"Deployment(
    name: "server",
    backends: { "api": Remote(provider: OpenAiCompatible, base_url: "URL/v1", model: "m", context: 2048, cost: Unknown) },
    bind: { "*": "api" },
)
"#;
    sandbox.write("deployments/server.ron", &deployment.replace("URL", &server.url()));
    sandbox.write("load.ron", LOAD);
    tokio::task::spawn_blocking(move || check(&sandbox)).await.expect("the check passes");
}

const LOAD: &str = r#"Scenario(
    name: "notes",
    workflow: "ask.ron",
    deployments: ["server"],
    workload: (
        arrivals: Poisson(per_s: 100),
        runs: 30,
        warmup_runs: 5,
        inputs: { "note": ["one two", "one two three four"] },
    ),
    nodes: { "say": (input_tokens: 300, output_tokens: 300) },
    services: { "api": Api(ttft_s: 0.002, tokens_per_s: 1000) },
)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_is_compared_with_the_simulation_of_the_same_arrivals_and_lengths() {
    with_server(|sandbox| {
        let arguments = ["load", "load.ron", "--load-factor", "2", "--against", "simulated", "--format", "json"];
        let (code, document) = sandbox.json(&arguments);
        assert_eq!(code, 0);
        let [measured, simulated] = [&document["results"][0], &document["results"][1]];
        assert_eq!((&measured["basis"], &simulated["basis"]), (&json!("measured"), &json!("simulated")));
        for key in ["runs", "succeeded", "load_factor", "duration_s"] {
            assert_eq!(measured[key], simulated[key], "{key}: the same arrivals");
        }
        assert_eq!((&measured["runs"], &measured["succeeded"]), (&json!(25), &json!(25)));
        for key in ["node", "attempts", "input_tokens", "output_tokens"] {
            assert_eq!(measured["nodes"][0][key], simulated["nodes"][0][key], "{key}: the same lengths");
        }
        assert_eq!(measured["nodes"][0]["output_tokens"], json!(25 * 12));
        assert!(document["errors"].as_array().is_some_and(|errors| errors.iter().any(|error| error["node"] == "say")));
        // The runs are there like any others.
        let (_, runs) = sandbox.json(&["runs", "list", "--format", "json", "-n", "100"]);
        assert_eq!(runs["runs"].as_array().map(Vec::len), Some(30));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_need_not_be_declared_for_a_load_that_records_them() {
    with_server(|sandbox| {
        let bare = LOAD.replace(r#""say": (input_tokens: 300, output_tokens: 300)"#, "");
        sandbox.write("bare.ron", &bare);
        let against = |name| ["load", name, "--load-factor", "2", "--against", "simulated", "--format", "json"];
        let (code, document) = sandbox.json(&against("bare.ron"));
        assert_eq!(code, 0, "{document}");
        let [measured, simulated] = [&document["results"][0], &document["results"][1]];
        for key in ["node", "attempts", "input_tokens", "output_tokens"] {
            assert_eq!(measured["nodes"][0][key], simulated["nodes"][0][key], "{key}: as recorded");
        }
        assert_eq!(sandbox.lumos(&["simulate", "bare.ron"]).status.code(), Some(2), "nothing says how long they are");
        // What no record shows is asked for before anything is sent.
        sandbox.write("unknown.ron", &bare.replace(r#""api": Api(ttft_s: 0.002, tokens_per_s: 1000)"#, ""));
        let (_, before) = sandbox.json(&["runs", "list", "--format", "json", "-n", "100"]);
        assert_eq!(sandbox.lumos(&against("unknown.ron")).status.code(), Some(2));
        let (_, after) = sandbox.json(&["runs", "list", "--format", "json", "-n", "100"]);
        assert_eq!(before, after);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_is_as_fast_as_recorded_attempts_were() {
    with_server(|sandbox| {
        let declared = "\"api\": Api(ttft_s: 50, tokens_per_s: 1, limits: (rpm: 60000))";
        sandbox.write("slow.ron", &LOAD.replace(r#""api": Api(ttft_s: 0.002, tokens_per_s: 1000)"#, declared));
        sandbox.write("none.ron", &LOAD.replace(r#""api": Api(ttft_s: 0.002, tokens_per_s: 1000)"#, ""));
        let (code, document) = sandbox.json(&["load", "slow.ron", "--load-factor", "2", "--format", "json"]);
        assert_eq!(code, 0, "{document}");
        let measured = &document["results"][0]["nodes"][0];
        for name in ["slow.ron", "none.ron"] {
            let arguments = ["simulate", name, "--runs", "2000", "--profile-from", "runs", "--format", "json"];
            let output = sandbox.lumos(&arguments);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("  api: times to the first token and speeds of 30 attempts\n"), "{told}");
            assert!(!told.contains("nothing is known of the backend"), "{told}");
            let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(document["profile_from"]["apis"], json!({ "api": 30 }));
            let simulated = &document["results"][0];
            assert_eq!(simulated["services"][0]["basis"], "estimated from 30 attempts");
            for figure in ["ttft_s", "tpot_ms"] {
                let of = |node: &serde_json::Value, at: &str| node[figure][at].as_f64().expect("a figure");
                let [found, seen] = [&simulated["nodes"][0], measured];
                // Of 30 attempts 25 count, so the extremes need not be the same; what is typical is.
                assert!(of(found, "p50") <= of(seen, "p99") && of(found, "p50") * 4.0 >= of(seen, "p50"), "{figure}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_calibrated_profile_serves_in_scenarios() {
    with_server(|sandbox| {
        let (code, document) =
            sandbox.json(&["calibrate", "api", "-d", "server", "--quick", "--clients", "4", "--format", "json"]);
        assert_eq!(code, 0);
        assert_eq!(document["file"], "profiles/api.ron");
        let profile = &document["calibration"]["profile"];
        assert!(profile["held_out"].as_array().is_some_and(|loads| loads.len() == 1), "{profile}");
        let scenario = LOAD.replace("Api(ttft_s: 0.002, tokens_per_s: 1000)", r#"Profile(file: "api", replicas: 2)"#);
        sandbox.write("profiled.ron", &scenario);
        let (code, document) = sandbox.json(&["simulate", "profiled.ron", "--format", "json"]);
        assert_eq!(code, 0);
        assert_eq!(document["results"][0]["succeeded"], json!(25));
    })
    .await;
}

/// A scenario whose server takes at least 1 ms for a token, and by its profile 100 µs.
fn write_profile(sandbox: &Sandbox) {
    let profile = r#"Profile(
    name: "api", of: "a server that was faster", measured_on: "2026-01-01",
    iteration_us: 100, sequence_us: 0, prompt_token_us: 0, prompt_pair_ns: 0, kv_token_ns: 0, request_us: 200,
    max_seqs: 64, max_batched_tokens: 2048, kv_tokens: 131072,
)
"#;
    sandbox.write("profiles/api.ron", profile);
    let scenario = LOAD.replace("Api(ttft_s: 0.002, tokens_per_s: 1000)", r#"Profile(file: "api", replicas: 1)"#);
    sandbox.write("profiled.ron", &scenario);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prediction_is_as_fast_as_the_backend_is_now() {
    with_server(|sandbox| {
        write_profile(sandbox);
        let against = ["load", "profiled.ron", "--against", "simulated", "--format", "json"];
        let (code, before) = sandbox.json(&against);
        assert_eq!((code, &before["rechecked"]), (0, &json!([])));
        let (code, document) = sandbox.json(&[&against[..], &["--recheck", "3"]].concat());
        assert_eq!(code, 0, "{document}");
        let found = &document["rechecked"][0];
        assert_eq!((&found["backend"], &found["requests"]), (&json!("api"), &json!(6)), "three before and three after");
        let factor = found["factor"].as_f64().expect("a factor");
        let p50 = |document: &serde_json::Value| document["results"][1]["latency_s"]["p50"].as_f64().expect("a time");
        let ratio = p50(&document) / p50(&before);
        assert!(factor > 4.0 && (ratio / factor - 1.0).abs() < 0.05, "{factor}, {ratio}");
        let basis = document["results"][1]["services"][0]["basis"].as_str().expect("a basis");
        assert!(basis.ends_with(&format!(", × {factor:.3}")), "{basis}");
        // An API has no profile to be checked.
        let output = sandbox.lumos(&["load", "load.ron", "--against", "simulated", "--recheck", "3"]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("no backend of the load has a profile"), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_is_not_lost_when_its_backend_is_gone_afterwards() {
    // Two requests of the first check tell a word's length, three are measured; then comes the load.
    let rest = AtomicU32::new(2 + 3 + 30);
    let ends = move |request: &Received| {
        let is_over = rest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rest| rest.checked_sub(1)).is_err();
        if is_over { Reply::status(400) } else { reply(request) }
    };
    with_script(Script::by(ends), |sandbox| {
        write_profile(sandbox);
        let arguments = ["load", "profiled.ron", "--against", "simulated", "--recheck", "3", "--format", "json"];
        let output = sandbox.lumos(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("not all checked again after the load: backend `api`: request 1 failed"), "{said}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(document["results"].as_array().map(Vec::len), Some(2));
        assert_eq!(document["rechecked"][0]["requests"], json!(3), "as before the load");
        assert!(document["unchecked"].as_str().is_some_and(|why| why.starts_with("backend `api`")), "{document}");
        // Without a first check nothing is known of today.
        let output = sandbox.lumos(&arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.starts_with(b"{\"error\""), "{}", String::from_utf8_lossy(&output.stdout));
    })
    .await;
}

#[test]
fn what_keeps_a_load_from_being_made_is_said() {
    let sandbox = Sandbox::new();
    let scenario = |deployments: &str, workload: &str| {
        format!(
            r#"Scenario(
    name: "orders",
    workflow: "order.ron",
    deployments: [{deployments}],
    workload: ({workload}),
    nodes: {{ "size": (branches: {{ "large": 0.1, "small": 0.9 }}) }},
)
"#
        )
    };
    // Nothing asks it.
    let none = r#"Deployment(
    name: "NAME",
    backends: { "far": Remote(provider: OpenAiCompatible, base_url: "http://127.0.0.1:9/v1", model: "m", cost: Unknown) },
    bind: { "*": "far" },
)
"#;
    sandbox.write("deployments/a.ron", &none.replace("NAME", "a"));
    sandbox.write("deployments/b.ron", &none.replace("NAME", "b"));
    let mut screens = Vec::new();
    for (name, text) in [
        ("two.ron", scenario(r#""a", "b""#, r#"arrivals: Constant(per_s: 50), runs: 3, inputs: { "note": "x" }"#)),
        ("never.ron", scenario(r#""a""#, r#"runs: 3, inputs: { "note": "x" }"#)),
        ("nothing.ron", scenario(r#""a""#, "arrivals: Constant(per_s: 50), runs: 3")),
        ("empty.ron", scenario(r#""a""#, r#"arrivals: Constant(per_s: 50), runs: 3, inputs: { "note": [] }"#)),
        (
            "talk.ron",
            scenario(
                r#""a""#,
                r#"arrivals: Constant(per_s: 50), runs: 3, inputs: { "note": "x" }, sessions: (turns: 2, think_s: 1)"#,
            ),
        ),
    ] {
        sandbox.write(name, &text);
        screens.push(sandbox.screen(&["load", name]));
    }
    screens.push(sandbox.screen(&["load", "two.ron", "-d", "a", "--format", "json", "--load-factor", "0"]));
    screens.push(sandbox.screen(&["calibrate", "gpu", "-d", "a"]));
    insta::assert_snapshot!("loads-that-cannot-be", screens.concat());
    let (code, document) = sandbox.json(&["load", "two.ron", "-d", "b", "--format", "json"]);
    assert_eq!((code, &document["results"][0]["succeeded"]), (0, &json!(3)));
}
