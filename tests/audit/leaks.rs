//! Leaks, planted one each.

use super::{CASE, Case};

const LEAKS: &[Case] = &[
    Case {
        name: "directly",
        nodes: r#""ask": Generator(agent: "api", input: "Who is {{ inputs.who }}?"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "through the answer of a model inside",
        nodes: r#"
        "sum": Generator(agent: "home", input: "{{ inputs.who }}"),
        "ask": Generator(agent: "api", input: "{{ sum.text }}"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "through the entries of a list",
        nodes: r#"
        "plan": Planner(agent: "home_plan", input: "{{ inputs.who }}"),
        "each": Generator(agent: "home", map: "{{ plan.items }}", input: "{{ inputs.topic }} {{ item }}"),
        "ask": Generator(agent: "api", map: "{{ each }}", input: "{{ item.text }}"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "through a loop, from its second round on",
        nodes: r#"
        "rounds": Workflow(path: "round.ron", with: { "who": "nobody", "topic": "{{ inputs.topic }} {{ previous }}" },
            repeat: (until: "{{ output == 'done' }}", at_most: 3)),"#,
        files: &[(
            "round.ron",
            r#"Workflow(
    name: "round",
    inputs: { "who": Text(), "topic": Text() },
    nodes: {
        "ask": Generator(agent: "api", input: "{{ inputs.topic }}"),
        "look": Retriever(agent: "words", query: "{{ ask.text }}", labels: [Secret]),
    },
    output: "{{ look.passages | join(' ', attribute='text') }}",
)"#,
        )],
        leaks: &[("Secret", "cloud", "round/ask")],
        ..CASE
    },
    Case {
        name: "in a sub-workflow",
        nodes: r#""run": Workflow(path: "inner.ron", with: { "text": "{{ inputs.who }}" }),"#,
        output: "{{ run }}",
        files: &[(
            "inner.ron",
            r#"Workflow(
    name: "inner",
    inputs: { "text": Text() },
    nodes: { "ask": Generator(agent: "api", input: "{{ inputs.text }}") },
    output: "{{ ask.text }}",
)"#,
        )],
        leaks: &[("Pii", "cloud", "inner/ask")],
        ..CASE
    },
    Case {
        name: "out of a sub-workflow, two deep",
        nodes: r#"
        "run": Workflow(path: "outer.ron", with: { "text": "{{ inputs.who }}" }),
        "ask": Generator(agent: "api", input: "{{ run }}"),"#,
        files: &[
            (
                "outer.ron",
                r#"Workflow(
    name: "outer",
    inputs: { "text": Text() },
    nodes: { "deep": Workflow(path: "deep.ron", with: { "text": "{{ inputs.text }}" }) },
    output: "{{ deep }}",
)"#,
            ),
            (
                "deep.ron",
                r#"Workflow(
    name: "deep",
    inputs: { "text": Text() },
    nodes: { "say": Generator(agent: "home", input: "{{ inputs.text }}") },
    output: "{{ say.text }}",
)"#,
            ),
        ],
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "in a cached answer",
        nodes: r#"
        "sum": Generator(agent: "home", input: "{{ inputs.who }}", cache: On),
        "ask": Generator(agent: "api", input: "{{ sum.text }}", cache: On),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "in a retried attempt that falls back",
        nodes: r#""ask": Generator(agent: "home", input: "{{ inputs.who }}", retry: (attempts: 3), fallback: ["cloud"]),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "in a hedged attempt",
        nodes: r#""ask": Generator(agent: "home", input: "{{ inputs.who }}", hedge_after_ms: 500, fallback: ["cloud"]),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "in a cascade",
        nodes: r#""ask": Generator(agent: "home", input: "{{ inputs.who }}", cascade: (accept: "{{ output.text | length > 9 }}", to: "cloud")),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "where the deployment escalates",
        nodes: r#""ask": Generator(agent: "home", input: "{{ inputs.who }}"),"#,
        deployment: r#"escalate: { "home": (accept: "{{ output.text | length > 9 }}", to: "cloud") },
            boundary: (inside: ["house"], forbid_outside: [Pii])"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "to a judge",
        nodes: r#""ask": Generator(agent: "home", input: "{{ inputs.who }}",
            cascade: (judge: "api_judge", accept: "{{ output.score > 5 }}", to: "house")),"#,
        leaks: &[("Pii", "cloud", "w/ask.judge")],
        ..CASE
    },
    Case {
        name: "to a router",
        nodes: r#"
        "route": Router(agent: "api_router", input: "{{ inputs.who }}", routes: { "a": ["one"], "b": ["two"] }),
        "one": Generator(agent: "home", input: "{{ inputs.topic }}"),
        "two": Generator(agent: "home", input: "{{ inputs.topic }}"),"#,
        output: "{{ one.text or two.text }}",
        leaks: &[("Pii", "cloud", "w/route")],
        ..CASE
    },
    Case {
        name: "in the branch that a router takes by default",
        nodes: r#"
        "route": Router(agent: "home_router", input: "{{ inputs.who }}", routes: { "private": ["inside"], "public": ["ask"] }, default: "public"),
        "inside": Generator(agent: "home", input: "{{ inputs.who }}"),
        "ask": Generator(agent: "api", input: "{{ inputs.who }}"),"#,
        output: "{{ inside.text or ask.text }}",
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "in a message of error",
        nodes: r#""sum": Tool(agent: "sum", with: { "expression": "{{ inputs.who }}" }),"#,
        output: "{{ sum.result }}",
        environment: &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example.com")],
        leaks: &[("Pii", "collector.example.com", "w/sum")],
        ..CASE
    },
    Case {
        name: "in the address that a tool fetches",
        nodes: r#""look": Tool(agent: "wiki", with: { "url": "https://wiki.example.org/?q={{ inputs.who }}" }),"#,
        output: "{{ look.result }}",
        leaks: &[("Pii", "wiki.example.org", "w/look")],
        ..CASE
    },
    Case {
        name: "in a query that is embedded",
        nodes: r#""look": Retriever(agent: "api_dense", query: "{{ inputs.who }}"),"#,
        output: "{{ look.passages }}",
        leaks: &[("Pii", "cloud_vectors", "w/look")],
        ..CASE
    },
    Case {
        name: "in documents that are embedded",
        nodes: r#""look": Retriever(agent: "api_dense", query: "{{ inputs.topic }}", labels: [Secret]),"#,
        output: "{{ look.passages }}",
        leaks: &[("Secret", "cloud_vectors", "w/look")],
        ..CASE
    },
    Case {
        name: "past a guard that refuses what it knows",
        nodes: r#"
        "screen": Guard(agent: "redact", input: "{{ inputs.who }}", on_block: Refuse),
        "ask": Generator(agent: "api", input: "{{ screen.text }}"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "past a guard that looks for nothing",
        nodes: r#"
        "screen": Guard(agent: "blind", input: "{{ inputs.who }}", on_block: Redact),
        "ask": Generator(agent: "api", input: "{{ screen.text }}"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "beside the guard",
        nodes: r#"
        "screen": Guard(agent: "redact", input: "{{ inputs.who }}", on_block: Redact),
        "ask": Generator(agent: "api_context", input: "{{ screen.text }}", context: "{{ inputs.who if screen.findings else '' }}"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "with all inputs, by a variable and a loop of the template",
        nodes: r#""ask": Generator(agent: "api", input: "{% set all = inputs %}{% for name in all %}{{ all[name] }} {% endfor %}"),"#,
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "out of labelled documents, through whichever branch is taken",
        nodes: r#"
        "route": Router(agent: "home_router", input: "{{ inputs.topic }}", routes: { "old": ["archive"], "new": ["fresh"] }),
        "archive": Retriever(agent: "words", query: "{{ inputs.topic }}", labels: [Secret]),
        "fresh": Retriever(agent: "words", query: "{{ inputs.topic }}"),
        "ask": Generator(agent: "api", join: Any, input: "{{ archive.passages if archive is defined else fresh.passages }}"),"#,
        leaks: &[("Secret", "cloud", "w/ask")],
        ..CASE
    },
    Case {
        name: "where nothing is said to be forbidden",
        nodes: r#""ask": Generator(agent: "api", input: "{{ inputs.who }}"),"#,
        deployment: "boundary: (inside: [\"house\"])",
        leaks: &[("Pii", "cloud", "w/ask")],
        ..CASE
    },
];

#[test]
fn every_planted_leak_is_found_and_nothing_else() {
    assert!(LEAKS.len() >= 20);
    for case in LEAKS {
        let planted = case.leaks.iter().map(|(label, to, node)| ((*label).into(), (*to).into(), (*node).into()));
        assert_eq!(case.found(), (planted.collect(), 1), "{}", case.name);
    }
}
