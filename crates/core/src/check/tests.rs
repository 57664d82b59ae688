//! Validation: every kind of mistake, with the message a stranger reads; right files give none.

#![allow(clippy::format_push_string, clippy::format_collect)] // Tables of a few lines.

use indexmap::IndexMap;
use serde_json::json;

use super::*;
use crate::load::tests::{folder, listing};
use crate::problem::Severity;
use crate::read::{parse_claim, read_agent, read_deployment, read_workflow};

const AGENTS: [(&str, &str); 11] = [
    ("agents/plan.ron", "Planner(prompt: \"{{ input }} {{ context | default('') }}\", field: \"steps\")"),
    ("agents/write.ron", "Generator(prompt: (system: \"Be brief.\", user: \"{{ input }}\"))"),
    ("agents/cite.ron", "Generator(model: \"large\", prompt: \"{{ input }} {{ sources }}\")"),
    (
        "agents/data.ron",
        "Generator(prompt: \"{{ input }}\", format: Json({\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}}))",
    ),
    ("agents/judge.ron", "Judge(prompt: \"{{ input }}\")"),
    ("agents/find.ron", "Retriever(sources: [\"notes\"])"),
    ("agents/demand.ron", "Forecaster()"),
    ("agents/guard.ron", "Guard(detect: [Email])"),
    ("agents/sort.ron", "Router(prompt: \"{{ input }}: {{ labels }}\")"),
    ("agents/calc.ron", "Tool(tool: Calculator)"),
    ("agents/get.ron", "Tool(tool: HttpGet(allow: [\"https://example.org/\"]))"),
];

const INNER: &str = "Workflow(name: \"inner\", inputs: {\"q\": Text(required: true), \"n\": Integer(default: 1)}, \
    nodes: {\"a\": Generator(agent: \"write\", input: \"{{ inputs.q }}{{ inputs.n }}\")}, output: \"Answer: {{ a.text }}\")";

const LOCAL: &str = r#"Deployment(
    name: "local",
    backends: { "tiny": Local(model: "m", cost: PerHour(usd: "0.2")), "vectors": Local(model: "e", cost: PerHour(usd: "0.2")) },
    bind: { "embedder": "vectors", "*": "tiny" },
)"#;

fn problems(workflow: &str, deployment: &str) -> String {
    let mut files = AGENTS.to_vec();
    files.extend([("w.ron", workflow), ("inner.ron", INNER), ("d.ron", deployment)]);
    let folder = folder(&files);
    let deployment = folder.path().join("d.ron");
    let (bundle, mut problems) = Bundle::load(&folder.path().join("w.ron"), Some(&deployment));
    problems.extend(bundle.iter().flat_map(check_bundle));
    problems.sort_by(Problem::by_place);
    listing(folder.path(), &problems)
}

/// A workflow with these nodes; `extra` is what else its value has.
fn workflow(nodes: &str, output: &str, extra: &str) -> String {
    format!(
        "Workflow(name: \"w\", inputs: {{\"question\": Text(required: true), \"n\": Number(default: 2), \"any\": Json()}}, {extra}\nnodes: {{\n{nodes}\n}},\noutput: \"{output}\")"
    )
}

const RIGHT: &str = r#"
"screen": Guard(agent: "guard", input: "{{ inputs.question }}", on_block: Redact),
"find": Retriever(agent: "find", query: "{{ screen.text }}", top_k: 3),
"plan": Planner(agent: "plan", input: "{{ inputs.question }}", context: "{{ find.passages }}"),
"each": Generator(agent: "write", input: "{{ item }} {{ index }} {{ inputs.any.deep.er }}", map: "{{ plan.steps }}", concurrency: 2),
"sort": Router(agent: "sort", input: "{{ each | map(attribute='text') | join }}", routes: {"short": ["brief"], "long": ["full"]}),
"brief": Generator(agent: "write", input: "{{ previous is defined }}{{ previous.text if previous else 'x' }}",
    repeat: (until: "{{ output.text | length > 3 or previous.text == 'x' }}", at_most: 3)),
"full": Generator(agent: "cite", input: "x", with: {"sources": "{{ find.passages }}"}, fallback: ["tiny"], retry: (attempts: 2)),
"data": Generator(agent: "data", input: "{{ brief.text | default(full.text) }}", join: Any, after: ["brief", "full"]),
"score": Judge(agent: "judge", input: "{{ data.data.city }}", when: "{{ sort.choice == 'short' or inputs.n > 1 }}"),
"sum": Tool(agent: "calc", with: {"expression": "{{ score.score }} + 1"}, join: Any, after: ["data"]),
"demand": Forecaster(agent: "demand", series: "{{ [1, 2, 3] }}", horizon: 2),
"sub": Workflow(path: "inner.ron", with: {"q": "{{ sum.result }}", "n": "{{ 3 }}"}, approve: (ask: "Go on with {{ sum.result }}?", timeout_s: 60, default: Approve)),
"end": Guard(agent: "guard", input: "{{ sub }} {{ demand.mean }} {{ demand.total }} {{ demand.backtest.error }}"),
"#;

#[test]
fn a_right_workflow_has_no_problems() {
    assert_eq!(
        problems(&workflow(RIGHT, "{{ end.text }}", "limits: (cost_usd: \"0.1\", deadline_s: 9, steps: 90),"), LOCAL),
        ""
    );
}

#[test]
fn a_right_workflow_needs_no_deployment_to_be_checked() {
    let mut files = AGENTS.to_vec();
    let text = workflow(RIGHT, "{{ end.text }}", "");
    files.extend([("w.ron", text.as_str()), ("inner.ron", INNER)]);
    let folder = folder(&files);
    assert_eq!(listing(folder.path(), &check_file(&folder.path().join("w.ron"))), "");
}

#[test]
fn broken_workflows() {
    let write = |options: &str| format!("\"a\": Generator(agent: \"write\", input: \"x\", {options}),");
    let plan = "\"plan\": Planner(agent: \"plan\", input: \"x\"),";
    let sort = "\"sort\": Router(agent: \"sort\", input: \"x\", routes: {\"short\": [\"a\"], \"long\": []}),";
    let one = |nodes: &str| workflow(nodes, "{{ a }}", "");
    let cases = [
        ("no nodes", "Workflow(name: \"\", nodes: {}, output: \"\")".to_owned()),
        ("unknown node", one("\"a\": Generator(agent: \"write\", input: \"{{ pln.steps }} {{ whatever.x }}\"), \"plan\": Planner(agent: \"plan\", input: \"{{ a.text }}\"),")),
        ("input without its prefix", one("\"a\": Generator(agent: \"write\", input: \"{{ question }}\"),")),
        ("unknown input", one("\"a\": Generator(agent: \"write\", input: \"{{ inputs.qestion }} {{ inputs.zzz }} {{ inputs.question.text }}\"),")),
        ("unknown fields", one(&format!("{plan}\"j\": Judge(agent: \"judge\", input: \"{{{{ plan.items }}}} {{{{ plan.stps }}}} {{{{ plan.steps.first }}}}\"), \"f\": Retriever(agent: \"find\", query: \"{{{{ j.reason }}}} {{{{ j.scor }}}}\"), \"g\": Guard(agent: \"guard\", input: \"{{{{ f.documents }}}} {{{{ f.passages.text }}}}\"), \"a\": Generator(agent: \"data\", input: \"{{{{ g.output }}}} {{{{ g.text.x }}}}\"), \"b\": Generator(agent: \"write\", input: \"{{{{ a.data.ctiy }}}} {{{{ a.json }}}}\"), \"c\": Tool(agent: \"calc\", with: {{\"expression\": \"{{{{ b.data }}}}\"}}), \"d\": Forecaster(agent: \"demand\", horizon: 1, series: \"{{{{ c.reslt }}}}\"), \"e\": Workflow(path: \"inner.ron\", with: {{\"q\": \"{{{{ d.men }}}}\"}}), \"h\": Guard(agent: \"guard\", input: \"{{{{ e.text }}}}\"),"))),
        ("field of a mapped node", one(&format!("{plan}{}\"b\": Guard(agent: \"guard\", input: \"{{{{ a.text }}}}\"),", write("map: \"{{ plan.steps }}\"")))),
        ("map names where there is no map", one(&write("with: {\"x\": \"{{ item }} {{ index }}\"}"))),
        ("map and when read item", one(&format!("{plan}{}", write("map: \"{{ item }}\", when: \"{{ item }}\"")))),
        ("map over what is no list", one(&format!("{plan}{}", ["plan", "inputs.question", "5", "[1, 2]", "plan.steps"].iter().enumerate().map(|(at, map)| format!("\"n{at}\": Guard(agent: \"guard\", input: \"x\", map: \"{{{{ {map} }}}}\"),\n")).collect::<String>() + &write("")))),
        ("loop names where there is no loop", one(&write("with: {\"x\": \"{{ previous.text }} {{ output.text }}\"}"))),
        ("loop names in the wrong place", one(&write("when: \"{{ previous }}\", repeat: (until: \"{{ output.score > 3 }}\", at_most: 2)"))),
        ("a node that reads itself", one("\"a\": Generator(agent: \"write\", input: \"{{ a.text }}\", after: [\"a\"]),")),
        ("circle", one("\"a\": Generator(agent: \"write\", input: \"{{ c.text }}\"), \"b\": Generator(agent: \"write\", input: \"x\", after: [\"a\"]), \"c\": Generator(agent: \"write\", input: \"{{ b.text }}\"), \"d\": Guard(agent: \"guard\", input: \"{{ c.text }}\"),")),
        ("circle through a route", one("\"sort\": Router(choose: \"{{ a.text }}\", routes: {\"x\": [\"a\"]}), \"a\": Generator(agent: \"write\", input: \"x\"),")),
        ("branches of which only one is taken", one(
            "\"sort\": Router(agent: \"sort\", input: \"x\", routes: {\"s\": [\"b\", \"d\"], \"l\": [\"c\"], \"m\": [\"c\", \"d\"]}),
             \"b\": Generator(agent: \"write\", input: \"x\"), \"c\": Generator(agent: \"write\", input: \"x\"), \"d\": Generator(agent: \"write\", input: \"x\"),
             \"b2\": Guard(agent: \"guard\", input: \"{{ b.text }}\"),
             \"never\": Guard(agent: \"guard\", input: \"{{ b2.text or c.text }}\"),
             \"after\": Guard(agent: \"guard\", input: \"{{ never.text }}\"),
             \"both\": Guard(agent: \"guard\", input: \"{{ c.text }} {{ d.text }}\"),
             \"any\": Guard(agent: \"guard\", input: \"{{ b2.text or c.text }}\", join: Any),
             \"a\": Guard(agent: \"guard\", input: \"{{ any.text }} {{ both.text }} {{ after.text }}\"),",
        )),
        ("unused", workflow(&format!("{plan}{}\"u\": Guard(agent: \"guard\", input: \"\", on_block: Redact),", write("")), "fixed", "")),
        ("names of nodes", one(&["item", "inputs", "loop", "range", "9lives", "a-b", "", "é"].map(|name| format!("\"{name}\": Guard(agent: \"guard\", input: \"x\"),")).join("") .replace("\"x\"", "\"{{ inputs.n }}\""))),
        ("names of inputs", "Workflow(name: \"w\", inputs: {\"a b\": Text()}, nodes: {\"a\": Guard(agent: \"guard\", input: \"x\")}, output: \"\")".to_owned()),
        ("not one expression", one(&write("when: \"a.score > 3\", map: \"plan\", repeat: (until: \"yes {{ output }}\", at_most: 1)"))),
        ("conditions that never hold", one(&(format!(
            "{sort}\"g\": Guard(agent: \"guard\", input: \"x\"),{}",
            [
                "{{ false }}", "{{ 1 > 2 }}", "{{ true }}", "{{ sort.choice == 'shrot' }}", "{{ 'medium' == sort.choice }}",
                "{{ sort.choice == 'short' and sort.choice == 'long' }}", "{{ sort.choice == 'x' or sort.choice == 'y' }}",
                "{{ inputs.n > 5 and inputs.n < 3 }}", "{{ inputs.n == 1 and inputs.n != 1 }}", "{{ 5 <= inputs.n and inputs.n < 5 }}",
                "{{ g.outcome == 'blocked' }}", "{{ 1 / 0 }}",
            ].iter().enumerate().map(|(at, when)| format!("\"n{at}\": Guard(agent: \"guard\", input: \"x\", when: \"{when}\"),\n")).collect::<String>()
        ) + &write("")))),
            ("conditions that may hold", one(&format!(
            "{sort}{}{}",
            [
                "{{ sort.choice != 'medium' }}", "{{ sort.choice == 'short' or sort.choice == 'x' }}", "{{ inputs.n > 3 and inputs.n < 5 }}",
                "{{ not (sort.choice == 'x') }}", "{{ inputs.question == 'a and b' }}", "{{ inputs.n >= 5 and inputs.n <= 5 }}",
                "{{ 'x' if sort.choice == 'y' else 'z' }}",
            ].iter().enumerate().map(|(at, when)| format!("\"n{at}\": Guard(agent: \"guard\", input: \"x\", when: \"{when}\"),\n")).collect::<String>(),
            write("")
        ))),
        ("templates", workflow("\"a\": Generator(agent: \"write\", input: \"{{ x\", context: \"{% if %}\", with: {\"y\": \"{% include 'x' %}\", \"z\": \"{{ inputs.n | nofilter }}\"}),", "{{ a.text", "")),
        ("numbers", workflow(&format!("\"r\": Retriever(agent: \"find\", query: \"x\", top_k: 0), \"f\": Forecaster(agent: \"demand\", series: \"s\", horizon: 0), {}", write("timeout_s: -1, concurrency: 0, repeat: (until: \"{{ true }}\", at_most: 0), retry: (attempts: 0, backoff: (base_s: -1, max_s: -2))")), "{{ a }}{{ r }}{{ f }}", "limits: (cost_usd: \"-0.1\", deadline_s: 0, steps: 0),")),
        ("approvals", one("\"b\": Guard(agent: \"guard\", input: \"x\", approve: \"{{ item }} {{ b }} {{ lost.text }}\"), \"c\": Guard(agent: \"guard\", input: \"x\", approve: (ask: \" \", default: Approve)), \"d\": Guard(agent: \"guard\", input: \"x\", approve: (ask: \"{{ x\", timeout_s: 0)), \"a\": Generator(agent: \"write\", input: \"x\", approve: (ask: \"{{ d.txt }} {{ previous }}\", timeout_s: -1)),")),
        ("agents", one("\"a\": Generator(agent: \"plan\", input: \"x\"), \"b\": Planner(agent: \"wirte\", input: \"{{ a.text }}\"), \"c\": Tool(agent: \"calc\", with: {\"expresion\": \"{{ b }}\"}), \"d\": Tool(agent: \"get\"), \"e\": Generator(agent: \"cite\", input: \"{{ c }}{{ d }}\"), \"g\": Generator(agent: \"cite\", input: \"x\", with: {\"source\": \"x\", \"input\": \"y\", \"a-b\": \"\"}, after: [\"e\", \"h\"]),")),
        ("routers", one(&format!("\"r1\": Router(routes: {{}}), \"r2\": Router(agent: \"sort\", choose: \"{{{{ inputs.n }}}}\", routes: {{\"x\": [\"b\", \"r2\"]}}, default: \"y\"), \"r3\": Router(agent: \"sort\", routes: {{\"\": []}}), \"r4\": Router(choose: \"inputs.n\", routes: {{\"x\": [\"a\"]}}),{}", write("")))),
        ("sub-workflows", workflow("\"s\": Workflow(path: \"inner.ron\", with: {\"quest\": \"x\", \"n\": \"three\"}), \"a\": Workflow(path: \"inner.ron\", with: {\"q\": \"x\", \"n\": \"{{ inputs.n }}\"}),", "{{ a.text }}", "")),
        ("places in long texts", workflow("\"a\": Generator(agent: \"write\", input: r#\"first\n  {{ inputs.zzz }}\n\"é\" {{ lost.text }}\"#, context: \"a \\\" {{ lost.text }}\", with: {\"more\": \"\n{% nothing %}\"}),", "é {{ a.txt }}", "")),
        ("required with a default", "Workflow(name: \"w\", inputs: {\"a\": Text(required: true, default: \"x\")}, nodes: {\"a\": Guard(agent: \"guard\", input: \"x\")}, output: \"\")".to_owned()),
        ("shape and meaning together", one("\"b\": Generator(agent: 5), \"a\": Generator(agent: \"write\", input: \"{{ b.text }} {{ c.text }}\"),")),
    ];
    let mut table = String::new();
    for (title, workflow) in cases {
        table += &format!("# {title}\n{}\n", problems(&workflow, LOCAL));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn broken_deployments() {
    let nodes = "\"find\": Retriever(agent: \"find\", query: \"x\"), \"a\": Generator(agent: \"cite\", input: \"{{ find.passages }}\", with: {\"sources\": \"\"}, fallback: [\"lagre\", \"tiny\"]), \"p\": Planner(agent: \"plan\", input: \"{{ a.text }}\"),";
    let workflow = workflow(nodes, "{{ p.steps }}", "limits: (cost_usd: \"1\"),");
    let cases = [
        ("no backends", "Deployment(name: \"\", backends: {}, bind: {})"),
        ("no bindings", "Deployment(name: \"d\", backends: {\"tiny\": Local(model: \"m\")}, bind: {})"),
        (
            "only the rest",
            "Deployment(name: \"d\", backends: {\"tiny\": Local(model: \"\", context: 0, cost: PerHour(usd: \"-1\"))}, bind: {\"*\": \"tiny\"})",
        ),
        (
            "typing errors",
            "Deployment(name: \"d\", backends: {\"tiny\": Local(model: \"m\"), \"spare\": Custom(name: \"x\", cost: Unknown)}, bind: {\"embeder\": \"tiny\", \"small\": \"tinny\", \"large\": \"tiny\", \"other\": \"tiny\"}, boundary: (inside: [\"tny\"], hosts: [\"wiki.example.org\", \"https://wiki.example.org:443/a\", \"::1\"]))",
        ),
    ];
    let mut table = String::new();
    for (title, deployment) in cases {
        table += &format!("# {title}\n{}\n", problems(&workflow, deployment));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn broken_agents() {
    let mut table = String::new();
    for text in [
        "Planner(model: \" \", prompt: \"\", field: \"a b\", items: (min: 3, max: 2, max_chars: 0), decoding: (temperature: -1, top_p: 1.5, top_k: 0, max_tokens: 0, repetition_penalty: 0.5, stop: [\"\"]))",
        "Planner(prompt: \"{{ x\", items: (min: 3, choices: [\"a\", \"\"]))",
        "Planner(prompt: (system: \"a\\nb\\n{% if %}\", user: \"x\"), items: (min: 0))",
        "Retriever(sources: [], chunk: (max_chars: 10, overlap_chars: 10), rrf_k: 0, bm25_weight: 1.5)",
        "Retriever(sources: [\"\"], chunk: (max_chars: 0))",
        "Forecaster(season: 0, folds: 0, level: 1.0, models: [])",
        "Guard()",
        "Guard(max_chars: 0, deny: [\"\"])",
        "Judge(prompt: \"x\", min: 5, max: 5)",
        "Generator(prompt: \"x\", format: Json([1]))",
        "Generator(prompt: \"x\", format: Regex(\"\"))",
        "Tool(tool: HttpGet(allow: [], max_bytes: 0, timeout_s: 0))",
        "Tool(tool: HttpGet(allow: [\"example.org\", \"https://example.org\", \"ftp://x/\", \"https:///x\"]))",
    ] {
        let problems = check_agent(&read_agent("a.ron", text).unwrap());
        assert!(!problems.is_empty(), "{text}");
        table += &format!("{text}\n{}\n", listing(std::path::Path::new("/"), &problems));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn inputs_are_converted_to_their_type() {
    let workflow = read_workflow(
        "w.ron",
        "Workflow(name: \"w\", output: \"\", nodes: {}, inputs: {\n\"q\": Text(required: true, description: \"what to ask\"), \"n\": Number(default: 1.5), \"i\": Integer(), \"b\": Bool(), \"j\": Json()})",
    )
    .unwrap();
    let texts = |pairs: &[(&str, &str)]| -> IndexMap<String, Given> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Given::Text((*text).to_owned()))).collect()
    };
    let values = |given: &IndexMap<String, Given>| check_inputs(&workflow, given).map(|values| json!(values));
    assert_eq!(values(&texts(&[("q", "5")])).unwrap(), json!({"q": "5", "n": 1.5, "i": 0, "b": false, "j": null}));
    let all = texts(&[("j", "[1, \"x\"]"), ("b", "true"), ("i", " -7"), ("n", "2e3"), ("q", "")]);
    assert_eq!(values(&all).unwrap(), json!({"q": "", "n": 2000.0, "i": -7, "b": true, "j": [1, "x"]}));
    let json =
        |value| IndexMap::from([("q".to_owned(), Given::Text("x".to_owned())), ("i".to_owned(), Given::Json(value))]);
    assert_eq!(values(&json(json!(3.0))).unwrap()["i"], json!(3));
    let mut table = String::new();
    for given in [
        texts(&[("qq", "x"), ("other", "y")]),
        texts(&[("q", "x"), ("n", "NaN"), ("i", "1.5"), ("b", "yes"), ("j", "{oops")]),
        texts(&[("q", "x"), ("n", "1e999"), ("i", "99999999999999999999"), ("b", ""), ("j", "text")]),
        json(json!("3")),
        json(json!(1.5)),
        IndexMap::from([("q".to_owned(), Given::Json(json!(5)))]),
    ] {
        table += &listing(std::path::Path::new("/"), &check_inputs(&workflow, &given).unwrap_err());
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_order_of_bindings_is_node_then_agent_then_alias_then_the_rest() {
    let nodes = "\"a\": Generator(agent: \"cite\", input: \"x\", with: {\"sources\": \"\"}),";
    for key in ["a", "cite", "large", "*"] {
        let deployment = format!(
            "Deployment(name: \"d\", backends: {{\"tiny\": Local(model: \"m\")}}, bind: {{\"{key}\": \"tiny\"}})"
        );
        assert_eq!(problems(&workflow(nodes, "{{ a.text }}", ""), &deployment), "", "{key}");
    }
}

#[test]
fn replicas_start_after_some_time_and_not_before() {
    let check = |times: &str| {
        let scaling = format!("scaling: (min: 1, max: 4, target: 4, {times})");
        let text = format!(
            "Deployment(name: \"d\", backends: {{\"m\": Simulated(model: \"m\", hardware: \"h\", {scaling})}}, bind: {{\"*\": \"m\"}})"
        );
        let found = check_deployment(&read_deployment("d.ron", &text).unwrap());
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(check("cold_start_s: 0, idle_s: 60"), "");
    assert!(check("cold_start_s: -10").contains("-10.0 seconds"), "{}", check("cold_start_s: -10"));
    assert!(check("idle_s: 1e300").contains("1e300 seconds"), "{}", check("idle_s: 1e300"));
}

#[test]
fn deployments_alone_are_checked_too() {
    let deployment = read_deployment("d.ron", LOCAL).unwrap();
    assert_eq!(check_deployment(&deployment), []);
    let folder = folder(&[("d.ron", &LOCAL.replace("\"tiny\" }", "\"tinny\" }")), ("a.ron", "Guard()"), ("x.ron", "")]);
    let check = |name: &str| listing(folder.path(), &check_file(&folder.path().join(name)));
    assert!(check("d.ron").starts_with("d.ron:4:41: there is no backend `tinny`"), "{}", check("d.ron"));
    assert!(check("a.ron").contains("lets everything through"));
    assert!(check("x.ron").contains("empty"));
    assert!(check("y.ron").contains("no such file"));
}

#[test]
fn large_files_are_checked_in_good_time() {
    let nodes = |node: &dyn Fn(usize) -> String| (0..8_000).map(node).collect::<String>();
    let ring =
        nodes(&|at| format!("\"n{at}\": Guard(agent: \"guard\", input: \"{{{{ n{}.text }}}}\"),\n", (at + 1) % 8_000));
    let lost = nodes(&|at| format!("\"n{at}\": Guard(agent: \"guard\", input: \"{{{{ x{at}.text }}}}\"),\n"));
    for nodes in [ring, lost] {
        let found = problems(&workflow(&nodes, "x", ""), LOCAL);
        assert!(found.lines().count() > 1 && found.lines().count() < 1_000);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn what_passes_the_checks_compiles_and_no_mutation_panics(
        edits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..12_usize, "[(){}:,\"'|.a-z0-9é -]{0,3}"), 1..3),
    ) {
        let mut text: Vec<char> = workflow(RIGHT, "{{ end.text }}", "").chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        let (parsed, misshapen) = crate::read::parse_workflow("w.ron", &text);
        if let Some(parsed) = parsed {
            let inner = read_workflow("inner.ron", INNER).unwrap().spec;
            let mut bundle = Bundle::in_memory(parsed.spec.clone()).with_subworkflow("inner.ron", inner);
            for (path, agent) in AGENTS {
                let name = path.trim_start_matches("agents/").trim_end_matches(".ron");
                bundle = bundle.with_agent(name, read_agent(path, agent).unwrap().spec);
            }
            std::sync::Arc::make_mut(&mut bundle.workflow).parsed = parsed;
            let problems = check_bundle(&bundle);
            let sound = misshapen.is_empty() && problems.iter().all(|problem| problem.severity == Severity::Warning);
            let compiled = crate::program::Program::compile(&bundle.workflows()).map(drop);
            proptest::prop_assert!(!sound || compiled.is_ok(), "{:?}", compiled);
            // With the file's text, places inside templates are looked for too.
            std::sync::Arc::make_mut(&mut bundle.workflow).text = text;
            proptest::prop_assert!(check_bundle(&bundle).len() <= problems.len());
        }
    }
}

#[test]
fn warnings_do_not_keep_a_bundle_from_running() {
    let mut files = AGENTS.to_vec();
    let text = workflow("\"a\": Generator(agent: \"write\", input: \"x\"),", "fixed", "");
    files.extend([("w.ron", text.as_str()), ("d.ron", LOCAL)]);
    let folder = folder(&files);
    let (_, warnings) = Bundle::open(&folder.path().join("w.ron"), Some(&folder.path().join("d.ron"))).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].severity, Severity::Warning);
    assert!(Bundle::open(&folder.path().join("d.ron"), None).is_err());
}

/// What a claim says of one question and a figure over its answer.
fn claim_problems(question: &str, figure: &str) -> Vec<String> {
    let text = format!(
        "Claim(name: \"c\", claim: \"c\", source: \"s\", asked: {{\"s\": {question}}}, parts: [Figure(says: \"x\", figure: \"{figure}\", must_be: AtMost(1))])"
    );
    let (claim, mut problems) = parse_claim("c.ron", &text);
    problems.extend(claim.iter().flat_map(check_claim));
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn one_simulation_decides_about_no_claim() {
    let seeds = |seeds: u32| {
        claim_problems(&format!("Simulate(scenario: \"s.ron\", deployment: \"d\", seeds: {seeds})"), "{{ s.runs }}")
    };
    assert_eq!(seeds(1), ["seeds are 1, and fewer than 2 show nothing of chance"]);
    assert_eq!(seeds(0).len(), 1);
    assert_eq!((seeds(2), seeds(100)), (Vec::new(), Vec::new()));
    assert_eq!(seeds(101), ["there are 101 seeds"]);
    let plan = |figure: &str| claim_problems("Plan(scenario: \"s.ron\", deployment: \"d\")", figure);
    assert_eq!(
        plan("{{ s.together.latency_s.p95 * 1000 }}"),
        ["`s.together.latency_s.p95` is from one simulation, which shows nothing of chance"]
    );
    assert_eq!(plan("{{ s.devices }}"), Vec::<String>::new());
}
