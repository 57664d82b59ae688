//! Workflows that let nothing out, though they look as if they did.

use super::{CASE, Case};

const CLEAN: &[Case] = &[
    Case {
        name: "redacted before it is sent",
        nodes: r#"
        "screen": Guard(agent: "redact", input: "{{ inputs.who }}", on_block: Redact),
        "ask": Generator(agent: "api", input: "{{ screen.text }}"),"#,
        ..CASE
    },
    Case {
        name: "each entry redacted",
        nodes: r#"
        "plan": Planner(agent: "home_plan", input: "{{ inputs.who }}"),
        "screen": Guard(agent: "redact", map: "{{ plan.items }}", input: "{{ item }}", on_block: Redact),
        "ask": Generator(agent: "api", map: "{{ screen }}", input: "{{ item.text }}"),"#,
        ..CASE
    },
    Case {
        name: "a router that keeps the private branch inside",
        nodes: r#"
        "route": Router(agent: "home_router", input: "{{ inputs.who }}", routes: { "private": ["inside"], "public": ["ask"] }),
        "inside": Generator(agent: "home", input: "{{ inputs.who }}"),
        "ask": Generator(agent: "api", input: "{{ inputs.topic }}"),"#,
        output: "{{ inside.text or ask.text }}",
        ..CASE
    },
    Case {
        name: "the other branch, of which nothing is there when this one is taken",
        nodes: r#"
        "route": Router(agent: "home_router", input: "{{ inputs.topic }}", routes: { "private": ["inside"], "public": ["begin", "ask"] }),
        "inside": Generator(agent: "home", input: "{{ inputs.who }}"),
        "begin": Generator(agent: "home", input: "{{ inputs.topic }}"),
        "ask": Generator(agent: "api", join: Any, input: "{{ inside.text if inside is defined else begin.text }}"),"#,
        output: "{{ inside.text or ask.text }}",
        ..CASE
    },
    Case {
        name: "a judge inside",
        nodes: r#""answer": Generator(agent: "home", input: "{{ inputs.who }}",
            cascade: (judge: "home_judge", accept: "{{ output.score > 5 }}", to: "house")),"#,
        ..CASE
    },
    Case {
        name: "a judge outside, of what was redacted",
        nodes: r#"
        "screen": Guard(agent: "redact", input: "{{ inputs.who }}", on_block: Redact),
        "answer": Generator(agent: "home", input: "{{ screen.text }}",
            cascade: (judge: "api_judge", accept: "{{ output.score > 5 }}", to: "cloud")),"#,
        ..CASE
    },
    Case {
        name: "one sub-workflow run twice, of which only the public run goes on to the outside",
        nodes: r#"
        "private": Workflow(path: "say.ron", with: { "text": "{{ inputs.who }}" }),
        "public": Workflow(path: "say.ron", with: { "text": "{{ inputs.topic }}" }),
        "ask": Generator(agent: "api", input: "{{ public }}"),"#,
        output: "{{ private }} {{ ask.text }}",
        files: &[(
            "say.ron",
            r#"Workflow(
    name: "say",
    inputs: { "text": Text() },
    nodes: { "say": Generator(agent: "home", input: "{{ inputs.text }}") },
    output: "{{ say.text }}",
)"#,
        )],
        ..CASE
    },
    Case {
        name: "only whether something is asked depends on it",
        nodes: r#""ask": Generator(agent: "api", when: "{{ inputs.who != '' }}", input: "{{ inputs.topic }}"),"#,
        ..CASE
    },
    Case {
        name: "given to an agent that does not read it",
        nodes: r#""ask": Generator(agent: "api", input: "{{ inputs.topic }}", context: "{{ inputs.who }}"),"#,
        ..CASE
    },
    Case {
        name: "a loop whose rounds are redacted",
        nodes: r#"
        "rounds": Workflow(path: "round.ron", with: { "who": "{{ inputs.who }}", "so_far": "{{ previous }}" },
            repeat: (until: "{{ output == 'done' }}", at_most: 3)),"#,
        output: "{{ rounds }}",
        files: &[(
            "round.ron",
            r#"Workflow(
    name: "round",
    inputs: { "who": Text(), "so_far": Text() },
    nodes: {
        "ask": Generator(agent: "api", input: "{{ inputs.so_far }}"),
        "answer": Generator(agent: "home_context", input: "{{ ask.text }}", context: "{{ inputs.who }}"),
        "screen": Guard(agent: "redact", input: "{{ answer.text }}", on_block: Redact),
    },
    output: "{{ screen.text }}",
)"#,
        )],
        ..CASE
    },
    Case {
        name: "cached answers of what is public",
        nodes: r#"
        "ask": Generator(agent: "api", input: "{{ inputs.topic }}", cache: On),
        "merge": Generator(agent: "home_context", input: "{{ ask.text }}", context: "{{ inputs.who }}", cache: On),"#,
        output: "{{ merge.text }}",
        ..CASE
    },
    Case {
        name: "retried and hedged inside",
        nodes: r#""answer": Generator(agent: "home", input: "{{ inputs.who }}", retry: (attempts: 3), hedge_after_ms: 100, fallback: ["house"]),"#,
        ..CASE
    },
    Case {
        name: "bound inside by the node's name though its alias is bound outside",
        nodes: r#""answer": Generator(agent: "api", input: "{{ inputs.who }}"),"#,
        bind: r#""answer": "house""#,
        ..CASE
    },
    Case {
        name: "fetched from this machine",
        nodes: r#"
        "look": Tool(agent: "here", with: { "url": "http://127.0.0.1:8080/{{ inputs.who }}" }),
        "wiki": Tool(agent: "wiki", with: { "url": "https://wiki.example.org/{{ inputs.topic }}" }),"#,
        output: "{{ look.result }} {{ wiki.result }}",
        ..CASE
    },
    Case {
        name: "fetched from a host that counts as inside",
        nodes: r#""look": Tool(agent: "wiki", with: { "url": "https://wiki.example.org/{{ inputs.who }}" }),"#,
        output: "{{ look.result }}",
        deployment: "boundary: (hosts: [\"wiki.example.org\"], forbid_outside: [Pii])",
        ..CASE
    },
    Case {
        name: "looked up by words, without an embedder",
        nodes: r#"
        "look": Retriever(agent: "words", query: "{{ inputs.who }}", labels: [Secret]),
        "answer": Generator(agent: "home_context", input: "{{ inputs.topic }}", context: "{{ look.passages }}"),
        "screen": Guard(agent: "redact", input: "{{ answer.text }}", on_block: Redact),
        "ask": Generator(agent: "api", input: "{{ screen.text }}"),"#,
        ..CASE
    },
    Case {
        name: "embedded inside, and outside only what is public",
        nodes: r#"
        "private": Retriever(agent: "home_dense", query: "{{ inputs.who }}", labels: [Secret]),
        "public": Retriever(agent: "api_dense", query: "{{ inputs.topic }}"),"#,
        output: "{{ private.passages }} {{ public.passages }}",
        ..CASE
    },
    Case {
        name: "a label that may leave",
        nodes: r#""ask": Generator(agent: "api", input: "{{ inputs.who }}"),"#,
        deployment: "boundary: (inside: [\"house\"], forbid_outside: [Secret])",
        ..CASE
    },
    Case {
        name: "telemetry on this machine",
        nodes: r#""answer": Generator(agent: "home", input: "{{ inputs.who }}"),"#,
        environment: &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
            ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT"),
        ],
        ..CASE
    },
    Case {
        name: "metrics outside, which are only figures",
        nodes: r#""answer": Generator(agent: "home", input: "{{ inputs.who }}"),"#,
        environment: &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://collector.example.com/v1/metrics")],
        ..CASE
    },
    Case {
        name: "given back to whoever asked, and to the person who approves",
        nodes: r#"
        "ask": Generator(agent: "api", input: "{{ inputs.topic }}", approve: "Ask about this for {{ inputs.who }}?"),"#,
        output: "{{ inputs.who }}: {{ ask.text }}",
        ..CASE
    },
    Case {
        name: "a constant in the place of a labelled input of a sub-workflow",
        nodes: r#"
        "run": Workflow(path: "inner.ron", with: { "text": "{{ inputs.topic }}" }),"#,
        output: "{{ run }}",
        files: &[(
            "inner.ron",
            r#"Workflow(
    name: "inner",
    inputs: { "text": Text(), "secret": Text(default: "none", labels: [Secret]) },
    nodes: {
        "ask": Generator(agent: "api", input: "{{ inputs.text }}"),
        "keep": Generator(agent: "home", input: "{{ inputs.secret }}"),
    },
    output: "{{ ask.text }} {{ keep.text }}",
)"#,
        )],
        ..CASE
    },
];

#[test]
fn nothing_is_said_of_workflows_that_let_nothing_out() {
    assert!(CLEAN.len() >= 20);
    for case in CLEAN {
        let output = Case { output: if case.output.is_empty() { "done" } else { case.output }, ..*case };
        assert_eq!(output.found(), (std::collections::BTreeSet::new(), 0), "{}", case.name);
    }
}
