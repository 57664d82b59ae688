//! What recorded runs have sent, looked at again.

use std::sync::Arc;

use lumos::engine::UnixClock;
use lumos_faults::{FaultServer, Reply, Script};
use serde_json::Value;

use crate::cli::Sandbox;

/// A server that answers everything alike, on a runtime of its own.
struct Served {
    server: FaultServer,
    _runtime: tokio::runtime::Runtime,
}

fn serve() -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let script = Script::by(|request| {
        let body = request.json();
        let said = body["messages"].to_string();
        if said.contains("fail") {
            return Reply::status(400);
        }
        if said.contains("busy") && body["model"] == "m" {
            return Reply::status(503);
        }
        lumos_faults::Answer::new("fine").into()
    });
    let server = runtime.block_on(FaultServer::start(script, Arc::new(UnixClock))).expect("a free port");
    Served { server, _runtime: runtime }
}

fn sandbox(served: &Served) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox
        .write("agents/writer.ron", r#"Generator(model: "small", prompt: (system: "Be brief.", user: "{{ input }}"))"#);
    sandbox.write("agents/gate.ron", "Guard(detect: [Email])");
    sandbox.write(
        "w.ron",
        r#"Workflow(
    name: "w",
    inputs: { "who": Text(required: true, labels: [Pii]) },
    nodes: {
        "screen": Guard(agent: "gate", input: "{{ inputs.who }}", on_block: Redact),
        "ask": Generator(agent: "writer", input: "{{ screen.text }}", cache: On),
    },
    output: "{{ ask.text }}",
)"#,
    );
    let url = served.server.url();
    sandbox.write(
        "d.ron",
        &format!(
            r#"Deployment(
    name: "d",
    backends: {{ "api": Remote(provider: OpenAiCompatible, model: "m", base_url: "{url}/v1", cost: Unknown,
        region: "eu-central-1", retention: "none, by contract") }},
    bind: {{ "*": "api" }},
    boundary: (forbid_outside: [Pii]),
)"#
        ),
    );
    sandbox
}

fn run(sandbox: &Sandbox, who: &str) -> String {
    let (_, record) = sandbox.json(&["run", "w.ron", "-d", "d.ron", "-i", &format!("who={who}"), "--format", "json"]);
    record["run_id"].as_str().expect("an id").to_owned()
}

fn kinds(document: &Value) -> Vec<&str> {
    document["findings"].as_array().expect("findings").iter().map(|it| it["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn personal_data_that_the_guard_of_the_workflow_did_not_look_for_is_found_in_the_bytes() {
    let served = serve();
    let sandbox = sandbox(&served);
    let harmless = run(&sandbox, "bob@example.com");
    let (code, document) = sandbox.json(&["audit", &harmless, "--format", "json"]);
    assert_eq!((code, kinds(&document)), (0, vec![]), "{document:#}");
    let sent = &document["sent"][0];
    assert_eq!(sent["destination"]["region"], "eu-central-1");
    assert_eq!(sent["destination"]["retention"]["note"], "none, by contract");
    let bytes = document["runs"][0]["requests"][0]["bytes"].as_u64();
    let received: u64 = served.server.requests().iter().map(lumos_faults::Received::bytes).sum();
    assert!(bytes.is_some_and(|bytes| bytes > 0 && bytes <= received), "{bytes:?} of {received}");
    assert_eq!(document["runs"][0]["requests"][0]["is_as_recorded"], true);

    let harmful = run(&sandbox, "card 4111 1111 1111 1111 of 123-45-6789");
    let (code, document) = sandbox.json(&["audit", &harmful, "--format", "json"]);
    assert_eq!((code, kinds(&document)), (1, vec!["personal_data_sent"]), "{document:#}");
    assert_eq!(document["sent"][0]["found"], serde_json::json!({"card": 1, "ssn": 1}));
    assert!(!document.to_string().contains("4111"), "the report repeats what was found");
    let (code, _) = sandbox.json(&["audit", &harmful, "--allow", "card", "--allow", "ssn", "--format", "json"]);
    assert_eq!(code, 0);

    // All runs of the workflow, with what may leave.
    let (code, document) = sandbox.json(&["audit", "w.ron", "-d", "d.ron", "--runs", "--format", "json"]);
    assert_eq!((code, kinds(&document)), (1, vec!["personal_data_sent"]), "{document:#}");
    assert_eq!(document["sent"][0]["runs"], 2);
    let screen = sandbox.screen(&["audit", "w.ron", "-d", "d.ron", "--runs"]);
    assert!(screen.contains("1 × card, 1 × ssn") && screen.contains("2 recorded runs"), "{screen}");
}

#[test]
fn an_attempt_that_failed_has_been_sent_and_a_cached_answer_has_not() {
    let served = serve();
    let sandbox = sandbox(&served);
    let failed = run(&sandbox, "fail for 123-45-6789");
    let (code, document) = sandbox.json(&["audit", &failed, "--format", "json"]);
    assert_eq!((code, kinds(&document)), (1, vec!["personal_data_sent"]), "{document:#}");
    let first = run(&sandbox, "call +44 20 7946 0958");
    let again = run(&sandbox, "call +44 20 7946 0958");
    assert_eq!(sandbox.json(&["audit", &first, "--format", "json"]).0, 1);
    let (code, document) = sandbox.json(&["audit", &again, "--format", "json"]);
    assert_eq!((code, &document["sent"][0]["cached"]), (0, &1.into()), "{document:#}");
}

#[test]
fn a_tool_is_refused_before_it_fetches_what_must_not_leave() {
    let sandbox = Sandbox::new();
    sandbox.write("agents/wiki.ron", r#"Tool(tool: HttpGet(allow: ["https://wiki.example.org/"]))"#);
    sandbox.write(
        "w.ron",
        r#"Workflow(
    name: "w",
    inputs: { "who": Text(required: true, labels: [Pii]) },
    nodes: { "look": Tool(agent: "wiki", with: { "url": "https://wiki.example.org/{{ inputs.who }}" }) },
    output: "{{ look.result }}",
)"#,
    );
    sandbox.write(
        "d.ron",
        r#"Deployment(
    name: "d",
    backends: { "b": Local(model: "m") },
    bind: {},
    boundary: (forbid_outside: [Pii]),
)"#,
    );
    let (code, record) = sandbox.json(&["run", "w.ron", "-d", "d.ron", "-i", "who=bob", "--format", "json"]);
    assert_eq!((code, record["status"].as_str()), (3, Some("refused")), "{record:#}");
    let message = record["error"]["message"].as_str().expect("a message");
    assert!(message.contains("`look` would send data labelled `Pii` outside, to `wiki.example.org`"), "{message}");
}

#[test]
fn what_was_sent_from_lists_loops_sub_workflows_and_fallbacks_is_found_where_it_was() {
    let served = serve();
    let sandbox = sandbox(&served);
    sandbox.write(
        "inner.ron",
        r#"Workflow(
    name: "inner",
    inputs: { "text": Text(), "before": Text() },
    nodes: { "say": Generator(agent: "writer", input: "{{ inputs.text }} {{ inputs.before }}", retry: (attempts: 2, backoff: (base_s: 0.001)), fallback: ["second"]) },
    output: "{{ say.text }}",
)"#,
    );
    sandbox.write(
        "nested.ron",
        r#"Workflow(
    name: "nested",
    inputs: { "texts": Json(required: true) },
    nodes: {
        "each": Workflow(path: "inner.ron", map: "{{ inputs.texts }}", with: { "text": "{{ item }}" }),
        "again": Workflow(path: "inner.ron", with: { "text": "round of {{ inputs.texts[0] }}", "before": "{{ previous or '' }}" },
            repeat: (until: "{{ false }}", at_most: 2)),
    },
    output: "{{ each | join(' ') }} {{ again }}",
)"#,
    );
    let url = served.server.url();
    let backend = |model: &str| {
        format!(r#"Remote(provider: OpenAiCompatible, model: "{model}", base_url: "{url}/v1", cost: Unknown)"#)
    };
    let (first, second) = (backend("m"), backend("n"));
    sandbox.write(
        "two.ron",
        &format!(
            r#"Deployment(name: "two", backends: {{ "first": {first}, "second": {second} }}, bind: {{ "*": "first" }})"#
        ),
    );
    sandbox.write("in.json", r#"{ "texts": ["nothing", "busy for 123-45-6789"] }"#);
    let (_, record) = sandbox.json(&["run", "nested.ron", "-d", "two.ron", "--inputs", "in.json", "--format", "json"]);
    let id = record["run_id"].as_str().expect("an id");
    let (code, document) = sandbox.json(&["audit", id, "--format", "json"]);
    assert_eq!(code, 1, "{document:#}");
    let requests = document["runs"][0]["requests"].as_array().expect("requests");
    let found: Vec<(&str, &str)> = requests
        .iter()
        .filter(|request| !request["found"].as_object().expect("kinds").is_empty())
        .map(|request| (request["step"].as_str().expect("a step"), request["destination"].as_str().expect("a name")))
        .collect();
    // Tried twice where it is bound to, then elsewhere.
    let planted = [("each[1]/say", "first"), ("each[1]/say", "first"), ("each[1]/say", "second")];
    assert_eq!(found, planted);
    assert!(requests.iter().all(|request| request["is_as_recorded"] == true), "{document:#}");
    assert!(requests.iter().any(|request| request["step"] == "again#1/say"), "{document:#}");
    // All that the server received is accounted for.
    let received: u64 = served.server.requests().iter().map(lumos_faults::Received::bytes).sum();
    let told: u64 = requests.iter().filter_map(|request| request["bytes"].as_u64()).sum();
    assert!(told > 0 && told <= received && served.server.requests().len() == requests.len(), "{told} of {received}");
}
