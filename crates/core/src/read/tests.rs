//! Reading: what is right is read as meant, what is wrong gives a message a stranger can act on, nothing panics.

use std::fmt::Write as _;

use indexmap::IndexMap;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::money::Usd;
use crate::spec::{BackendSpec, Cost, Device, GeneratorFormat, InputKind, Join, Label, NodeKind, OnBlock, ToolKind};

const WORKFLOW: &str = r##"// A comment.
#![enable(implicit_some)]
Workflow(
    version: 1,
    name: "supply_chain",
    description: r#"A "raw" text"#,
    inputs: {
        "question": Text(required: true, labels: [Pii, "Secret"]),
        "share": Number(default: 1.5),
        "count": Integer(default: -3),
        "deep": Bool(default: Some(true), description: "how"),
        "extra": Json(default: {"a": [1, 2.5, None, true, "x"], "b": {}}),
        "plain": Text,
    },
    nodes: {
        "screen": Guard(agent: "g", input: "{{ inputs.question }}", on_block: Redact),
        "find": Retriever(agent: "r", query: "q", top_k: 6, after: ["screen"], when: "{{ true }}", join: Any),
        "plan": Planner(agent: "p", input: "i", context: "c", /* within */ labels: ["Pii"]), // after
        "forecast": Forecaster(agent: "f", map: "{{ plan.items }}", series: "{{ item }}", horizon: 8, concurrency: 2),
        "route": Router(choose: "{{ 'x' }}", routes: {"x": ["answer"], "y": []}, default: "y"),
        "score": Judge(agent: "j", input: "i", repeat: (until: "{{ output.score > 3 }}", at_most: 3)),
        "answer": Generator(agent: "w", input: "i", timeout_s: 2, retry: (attempts: 3, backoff: (base_s: 0.1)),
            fallback: ["large"]),
        "calc": Tool(agent: "t", with: {"expression": "1 + 1"}),
        "sub": Workflow(path: "other.ron", with: {"q": "x"}),
        "own": Custom(agent: "mine"),
    },
    output: "{{ answer.text }}",
    limits: (cost_usd: "0.05", deadline_s: 60, steps: 200),
)
"##;

#[test]
fn a_workflow_is_read_as_written() {
    let parsed = read_workflow("w.ron", WORKFLOW).unwrap();
    let spec = &parsed.spec;
    assert_eq!((spec.name.as_str(), spec.description.as_str()), ("supply_chain", "A \"raw\" text"));
    let input = &spec.inputs["question"];
    assert_eq!((input.kind, input.required), (InputKind::Text, true));
    assert_eq!(input.labels, [Label("Pii".into()), Label("Secret".into())]);
    let defaults: Vec<_> = spec.inputs.values().map(|input| input.default.clone().unwrap_or_default()).collect();
    let extra = json!({"a": [1, 2.5, null, true, "x"], "b": {}});
    assert_eq!(defaults, [json!(null), json!(1.5), json!(-3), json!(true), extra, json!(null)]);
    let names: Vec<&str> = spec.nodes.keys().map(String::as_str).collect();
    assert_eq!(names, ["screen", "find", "plan", "forecast", "route", "score", "answer", "calc", "sub", "own"]);
    assert!(matches!(&spec.nodes["screen"].kind, NodeKind::Guard { on_block: OnBlock::Redact, .. }));
    let find = &spec.nodes["find"].options;
    assert_eq!((find.join, find.after.as_slice()), (Join::Any, &["screen".to_owned()][..]));
    let retry = spec.nodes["answer"].options.retry.clone().unwrap();
    assert_eq!((retry.attempts, retry.backoff.base_s, retry.backoff.max_s), (3, 0.1, 30.0));
    let NodeKind::Router { routes, default, .. } = &spec.nodes["route"].kind else { panic!() };
    assert_eq!(routes, &IndexMap::from([("x".to_owned(), vec!["answer".to_owned()]), ("y".to_owned(), vec![])]));
    assert_eq!(default.as_deref(), Some("y"));
    assert_eq!(spec.limits.cost_usd, Some(Usd::from_nanos(50_000_000)));
    assert_eq!(spec.limits.deadline_s, Some(60.0));
}

#[test]
fn positions_point_at_names_and_values() {
    let parsed = read_workflow("w.ron", WORKFLOW).unwrap();
    let at = |path: &str| parsed.positions.of(path).map(|position| (position.line, position.column));
    assert_eq!(at("nodes.screen"), Some((16, 9)));
    assert_eq!(at("nodes.screen.input"), Some((16, 44)));
    assert_eq!(at("nodes.answer.retry.backoff.base_s"), Some((22, 106)));
    assert_eq!(at("nodes.screen.nothing"), at("nodes.screen"));
    assert_eq!(at("inputs.share.default"), Some((9, 34)));
    assert_eq!(at("output"), Some((28, 13)));
    assert_eq!(at("nowhere"), at(""));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_trouble() {
    let text = format!("\u{feff}{}", WORKFLOW.replace('\n', "\r\n"));
    let parsed = read_workflow("w.ron", &text).unwrap();
    assert_eq!(parsed.spec, read_workflow("w.ron", WORKFLOW).unwrap().spec);
    assert_eq!(parsed.positions, read_workflow("w.ron", WORKFLOW).unwrap().positions);
}

#[test]
fn agents_are_read_as_written() {
    for (text, role, model) in [
        ("Retriever(sources: [\"notes\"])", "retriever", Some("embedder")),
        ("Retriever(sources: [\"notes\"], mode: Bm25)", "retriever", None),
        ("Planner(prompt: \"{{ input }}\", items: (max: 3))", "planner", Some("small")),
        (
            "Forecaster(season: 52, source: (path: \"x.csv\", columns: (series: \"s\", time: \"t\", value: \"v\")))",
            "forecaster",
            None,
        ),
        ("Guard(detect: [Email, Iban], deny: [\"secret\"])", "guard", None),
        ("Guard", "guard", None),
        ("Router(model: \"large\", prompt: (system: \"s\", user: \"u\"))", "router", Some("large")),
        ("Judge(prompt: \"u\", max: 5)", "judge", Some("small")),
        ("Tool(tool: Calculator)", "tool", None),
    ] {
        let spec = read_agent("a.ron", text).unwrap().spec;
        assert_eq!((spec.role(), spec.model()), (role, model), "{text}");
    }
    let spec = read_agent(
        "a.ron",
        r#"Generator(prompt: (user_file: "p.txt"), decoding: (temperature: 0, stop: ["\n"]), format: Json({"type": "object"}))"#,
    );
    let AgentSpec::Generator(spec) = spec.unwrap().spec else { panic!() };
    assert_eq!(spec.format, GeneratorFormat::Json(json!({"type": "object"})));
    assert_eq!(spec.decoding.temperature, Some(0.0));
    let AgentSpec::Tool(tool) = read_agent("a.ron", "Tool(tool: HttpGet(allow: [\"https://a/\"]))").unwrap().spec
    else {
        panic!()
    };
    assert_eq!(tool.tool, ToolKind::HttpGet { allow: vec!["https://a/".into()], max_bytes: 1 << 20, timeout_s: 10.0 });
}

#[test]
fn what_the_types_would_read_by_derive_is_read_alike() {
    for text in [
        "Planner(prompt: (system: \"s\", user: \"u\"))",
        "Generator(prompt: (user: \"u\"), format: Regex(\"[a-z]+\"))",
        "Judge(prompt: (user: \"u\"))",
        "Forecaster()",
        "Guard()",
        "Retriever(sources: [])",
        "Tool(tool: HttpGet(allow: []))",
    ] {
        let options = raw::options().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
        let derived: AgentSpec = options.from_str(text).unwrap();
        assert_eq!(read_agent("a.ron", text).unwrap().spec, derived, "{text}");
    }
}

#[test]
fn a_deployment_is_read_as_written() {
    let text = r#"Deployment(
        name: "local",
        backends: {
            "small": Local(model: "m", device: Cuda(1), cost: PerHour(usd: "0.20"), context: 512),
            "mine": Custom(name: "mine", cost: Unknown),
        },
        bind: { "*": "small", "planner": "mine" },
        boundary: (inside: ["small"], forbid_outside: [Pii]),
    )"#;
    let spec = read_deployment("d.ron", text).unwrap().spec;
    let BackendSpec::Local(local) = &spec.backends["small"] else { panic!() };
    assert_eq!((local.device, local.context), (Device::Cuda(1), Some(512)));
    assert_eq!(local.cost, Some(Cost::PerHour { usd: Usd::from_nanos(200_000_000) }));
    assert_eq!(spec.bind["planner"], "mine");
    assert_eq!(spec.boundary.forbid_outside, [Label("Pii".into())]);
}

#[test]
fn the_kind_of_a_file_is_the_name_of_its_value() {
    assert_eq!(file_kind(WORKFLOW), Some(FileKind::Workflow));
    assert_eq!(file_kind("/* a */ Deployment(broken"), Some(FileKind::Deployment));
    assert_eq!(file_kind("Judge(prompt: \"\")"), Some(FileKind::Agent));
    assert_eq!(file_kind("\"text\""), None);
}

fn table(read: impl Fn(&str) -> Vec<Problem>, files: &[&str]) -> String {
    let mut table = String::new();
    for file in files {
        let problems = read(file);
        assert!(!problems.is_empty(), "{file} was read");
        writeln!(table, "{}", file.trim()).unwrap();
        for problem in problems {
            let place =
                [problem.node.clone(), problem.field.clone()].into_iter().flatten().collect::<Vec<_>>().join(" / ");
            writeln!(table, "    {problem}  [{place}]").unwrap();
            if let Some(hint) = problem.hint {
                writeln!(table, "        hint: {hint}").unwrap();
            }
        }
        table.push('\n');
    }
    table
}

fn node(fields: &str) -> String {
    format!("Workflow(name: \"w\", output: \"\", nodes: {{\n\"a\": {fields},\n}})")
}

#[test]
fn broken_workflows() {
    insta::assert_snapshot!(table(
        |text| read_workflow("w.ron", text).map(|_| ()).unwrap_err(),
        &[
            "",
            "// nothing",
            "Workflow",
            "Workflow()",
            "Workflow(name: \"w\"",
            "Workflow(name: \"w)",
            "Workflow(name: \"w\" nodes: {}, output: \"\")",
            "Workflow(name = \"w\")",
            "Workflow(name: 'w', nodes: {}, output: \"\")",
            "Workflow(name: “w”, nodes: {}, output: \"\")",
            "Workflow(name: \"w\", nodes: {}, output: \"\") x",
            "Workflow(name: w, nodes: {}, output: 5)",
            "(name: \"w\", nodes: {}, output: \"\")",
            "{\"name\": \"w\"}",
            "Workfow(name: \"w\", nodes: {}, output: \"\")",
            "Deployment(name: \"d\")",
            "Planner(prompt: \"\")",
            "Scenario(name: \"d\")",
            "#![enable(explicit_some)]\nWorkflow(name: \"w\", nodes: {}, output: \"\")",
            "Workflow(version: 2, name: \"w\", nodes: {}, output: \"\")",
            "Workflow(name: \"w\", name: \"v\", nodes: {}, output: \"\", profile: ())",
            "Workflow(name: \"w\", nodes: [], output: \"\", nodse: {}, colour: 1)",
            "Workflow(name: \"w\", nodes: {}, output: \"\", inputs: {\"a\": Txt(), \"b\": 5, \"c\": Text(requird: true), \"a\": Text()})",
            "Workflow(name: \"w\", nodes: {}, output: \"\", inputs: {\"a\": Number(default: \"x\"), \"b\": Integer(default: 1.5), \"c\": Bool(default: 1), \"d\": Number(default: NaN), \"e\": Json(default: {\"a\": inf}), \"f\": Json(default: {\"a\": 1, \"a\": 2})})",
            "Workflow(name: \"w\", nodes: {}, output: \"\", limits: (cost_usd: 0.05, deadline_s: NaN, steps: -1, cost: 1))",
            "Workflow(name: \"w\", nodes: {}, output: \"\", limits: (cost_usd: \"NaN\", deadline_s: 1e400, steps: 99999999999))",
            "Workflow(name: \"w\", nodes: {\"a\": Tool(agent: \"t\"), \"a\": Tool(agent: \"u\"), b: Tool(agent: \"t\"), 5: Tool(agent: \"t\")}, output: \"\")",
            &node("Generater(agent: \"x\")"),
            &node("Generator"),
            &node("\"generator\""),
            &node("Generator(\"x\")"),
            &node("Generator(agent: \"x\", inputt: \"i\")"),
            &node("Generator(agent: 5, input: [\"x\"], context: true, when: {}, after: \"b\", with: [])"),
            &node(
                "Generator(agent: \"x\", input: \"i\", cascade: (judge: \"g\"), hedge_after_ms: 5, cache: On, approve: \"ok?\", profile: ())"
            ),
            &node(
                "Generator(agent: \"x\", input: \"i\", approve: (question: \"ok?\", timeout_s: \"1\", default: Maybe))"
            ),
            &node("Generator(agent: \"x\", input: \"i\", approve: 5)"),
            &node(
                "Generator(agent: \"x\", input: \"i\", retry: (attempts: 0.5, backof: ()), repeat: (until: \"x\"), join: any, labels: [5])"
            ),
            &node("Guard(agent: \"x\", input: \"i\", on_block: \"Refuse\")"),
            &node("Guard(agent: \"x\", input: \"i\", on_block: Refuze)"),
            &node("Forecaster(agent: \"x\", series: \"s\", horizon: -8)"),
            &node("Forecaster(agent: \"x\", series: \"s\", horizon: eight)"),
            &node("Router(routes: {\"x\": \"a\", \"x\": []})"),
        ]
    ));
}

#[test]
fn broken_agents_and_deployments() {
    insta::assert_snapshot!(table(
        |text| read_agent("a.ron", text).map(|_| ()).unwrap_err(),
        &[
            "Plannr(prompt: \"x\")",
            "Workflow(name: \"x\")",
            "Planner",
            "Planner(promt: \"x\")",
            "Planner(prompt: (systm: \"x\"), decoding: (temperature: \"hot\", top_k: -1), items: (min: 1.5), tools: [])",
            "Planner(prompt: (user: \"a\", user_file: \"b\"))",
            "Retriever(mode: Hybird)",
            "Retriever(sources: \"notes\", chunk: (max_chars: true))",
            "Guard(detect: [Email, Mail, \"Card\"], max_chars: \"many\")",
            "Forecaster(models: [Arima], source: (path: \"x\", columns: (series: \"s\")))",
            "Generator(prompt: \"x\", format: Json)",
            "Generator(prompt: \"x\", format: Json({\"type\": NaN}))",
            "Generator(prompt: \"x\", format: Regex(5))",
            "Generator(prompt: \"x\", format: Yaml)",
            "Tool(tool: Shell(\"rm\"))",
            "Tool(tool: HttpGet)",
            "Tool(tool: HttpGet(allow: \"x\", timeout_s: inf))",
            "Judge(prompt: Prompt(user: \"x\"), max: 1e3)",
        ]
    ));
    insta::assert_snapshot!(table(
        |text| read_deployment("d.ron", text).map(|_| ()).unwrap_err(),
        &[
            "Deployment(name: \"d\")",
            "Workflow(name: \"w\")",
            "Deployment(name: \"d\", backends: {\"a\": Remote(provider: Anthropic), \"b\": Simulated(model: \"x\"), \"c\": Loacl(model: \"x\"), \"d\": Local}, bind: {})",
            "Deployment(name: \"d\", backends: {\"a\": Local(modle: \"x\", device: Gpu, cost: 5)}, bind: {\"x\": 5})",
            "Deployment(name: \"d\", backends: {\"a\": Local(model: \"x\", device: Cuda, cost: PerHour(\"0.2\"))}, bind: {\"x\": \"a\", \"x\": \"b\"})",
            "Deployment(name: \"d\", backends: {\"a\": Local(model: \"x\", device: Cuda(-1), cost: PerHour(usd: NaN), context: 0.5), \"b\": Custom(name: \"x\")}, bind: {})",
            "Deployment(name: \"d\", backends: {}, bind: {}, boundary: (inside: \"a\", forbid_outside: [1, Pii]), durability: Ful)",
        ]
    ));
}

#[test]
fn deep_nesting_is_an_error_without_a_stack_overflow() {
    for (left, right) in
        [("(", ")"), ("[", "]"), ("{\"a\": ", "}"), ("Some(", ")"), ("a(", ")"), ("(a: ", ")"), ("a(b: ", ")")]
    {
        for count in [10_000, 100_000] {
            let deep = format!("{}1{}", left.repeat(count), right.repeat(count));
            for text in [
                deep.clone(),
                format!("#![enable(unwrap_variant_newtypes)]{deep}"),
                format!("Workflow(name: \"w\", nodes: {{}}, output: \"\", inputs: {{\"x\": Json(default: {deep})}})"),
                format!("Generator(prompt: \"\", format: Json({deep}))"),
            ] {
                let problems = [
                    read_workflow("w.ron", &text).unwrap_err(),
                    read_agent("a.ron", &text).unwrap_err(),
                    read_deployment("d.ron", &text).unwrap_err(),
                ];
                for problem in problems.concat() {
                    assert!(problem.message.contains("nested too deep") || text.len() > 1 << 20, "{left}: {problem}");
                }
            }
        }
    }
    let comments = format!("{}{}", "/*".repeat(200_000), "*/".repeat(200_000));
    assert!(read_workflow("w.ron", &comments).is_err());
}

#[test]
fn the_size_of_a_file_is_limited() {
    let text = format!("{WORKFLOW}//{}", " ".repeat(1 << 20));
    let problems = read_workflow("w.ron", &text).unwrap_err();
    assert_eq!(problems[0].message, "the file has 1.0 MiB");
}

#[test]
fn parts_that_are_sound_are_kept_beside_broken_ones() {
    let (parsed, problems) = parse_workflow(
        "w.ron",
        "Workflow(name: \"w\", output: \"\", nodes: {\"a\": Tool(agent: 5), \"b\": Tool(agent: \"t\"), \"c\": Nonsense()})",
    );
    let parsed = parsed.unwrap();
    assert_eq!(problems.len(), 2);
    assert_eq!(parsed.spec.nodes.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(parsed.broken.iter().collect::<Vec<_>>(), ["a", "c"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics(text in "(Workflow|Planner|Deployment)?[(){}\\[\\]:,\"'#/*a-z0-9. \n\u{e9}-]{0,80}") {
        let _ = (read_workflow("f", &text), read_agent("f", &text), read_deployment("f", &text), file_kind(&text));
    }

    #[test]
    fn no_mutation_of_a_valid_file_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..20_usize, "[(){}:,\"'#/*a-z0-9é-]{0,3}"), 1..4),
    ) {
        let mut text: Vec<char> = WORKFLOW.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = read_workflow("f", &text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(!problem.message.is_empty() && problem.line.is_some() && problem.column.is_some());
            }
        }
    }
}
