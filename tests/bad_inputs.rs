//! Bad input of every sort: each ends in a clear error with a hint and the documented exit code, and nothing panics.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What surrounds the part of a workflow that a case is about.
fn workflow(nodes: &str, output: &str) -> String {
    format!(
        "Workflow(\n    name: \"w\",\n    inputs: {{ \"q\": Text(default: \"x\") }},\n    nodes: {{\n{nodes}\n    }},\n    output: \"{output}\",\n)\n"
    )
}

fn deployment(backend: &str, bind: &str) -> String {
    format!("Deployment(\n    name: \"d\",\n    backends: {{ \"b\": {backend} }},\n    bind: {{ {bind} }},\n)\n")
}

const TOOL: &str = r#""a": Tool(agent: "calc", with: { "expression": "1 + 1" })"#;
const ASK: &str = r#""a": Generator(agent: "writer", input: "{{ inputs.q }}")"#;
const RUN: &[&str] = &["run", "w.ron"];
const CHECK: &[&str] = &["check", "w.ron"];
const WITH: &[&str] = &["run", "w.ron", "-d", "d.ron"];
const CHECK_WITH: &[&str] = &["check", "w.ron", "-d", "d.ron"];

struct Case {
    name: &'static str,
    /// The workflow `w.ron`.
    workflow: String,
    /// The deployment `d.ron`; empty for none.
    deployment: String,
    arguments: &'static [&'static str],
    code: i32,
}

fn case(name: &'static str, workflow: String, arguments: &'static [&'static str], code: i32) -> Case {
    Case { name, workflow, deployment: String::new(), arguments, code }
}

fn deployed(name: &'static str, deployment: String, arguments: &'static [&'static str], code: i32) -> Case {
    Case { name, workflow: workflow(ASK, "{{ a.text }}"), deployment, arguments, code }
}

fn cases() -> Vec<Case> {
    let node = |text: &str| workflow(text, "{{ a.result }}");
    let tool = |options: &str| node(&format!(r#""a": Tool(agent: "calc", with: {{ "expression": "1" }}, {options})"#));
    let calculate =
        |expression: &str| node(&format!(r#""a": Tool(agent: "calc", with: {{ "expression": "{expression}" }})"#));
    let series = |list: &str| {
        workflow(
            &format!(r#""a": Forecaster(agent: "demand", series: "{{{{ {list} }}}}", horizon: 4)"#),
            "{{ a.total }}",
        )
    };
    vec![
        case("empty file", String::new(), CHECK, 2),
        case("broken RON", "Workflow(name: \"w\", nodes: {".to_owned(), CHECK, 2),
        case("not a workflow", "(1, 2, 3)".to_owned(), CHECK, 2),
        case("nested 10,000 deep", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)), CHECK, 2),
        case("missing file", String::new(), &["check", "nowhere.ron"], 2),
        case("directory as file", String::new(), &["check", "agents"], 2),
        case("run of a missing file", String::new(), &["run", "nowhere.ron"], 2),
        case("100 MB file", String::new(), &["check", "huge.ron"], 2),
        case("not UTF-8", String::new(), &["check", "latin.ron"], 2),
        case(
            "cycle",
            workflow(
                &format!(
                    "{TOOL}, \"b\": Tool(agent: \"calc\", with: {{ \"expression\": \"{{{{ c.result }}}}\" }}), \"c\": Tool(agent: \"calc\", with: {{ \"expression\": \"{{{{ b.result }}}}\" }})"
                ),
                "{{ a.result }} {{ c.result }}",
            ),
            CHECK,
            2,
        ),
        case("node that waits for itself", tool("after: [\"a\"]"), CHECK, 2),
        case("two nodes of one name", workflow(&format!("{TOOL}, {TOOL}"), "{{ a.result }}"), CHECK, 2),
        case("reserved name", workflow(&TOOL.replace("\"a\"", "\"item\""), "x"), CHECK, 2),
        case("unknown node in a template", workflow(TOOL, "{{ b.result }}"), CHECK, 2),
        case("unknown field of a node", workflow(TOOL, "{{ a.resul }}"), CHECK, 2),
        case("unknown option", tool("timeout: 3"), CHECK, 2),
        case("unknown kind", node(r#""a": Toll(agent: "calc")"#), CHECK, 2),
        case("unknown agent", node(r#""a": Tool(agent: "clac")"#), CHECK, 2),
        case("agent of another role", node(r#""a": Judge(agent: "calc", input: "x")"#), CHECK, 2),
        case("template that does not end", workflow(TOOL, "{{ a.result"), CHECK, 2),
        case("condition that is no expression", tool("when: \"yes\""), CHECK, 2),
        case("condition that never holds", tool("when: \"{{ false }}\""), CHECK, 2),
        case("map over a text with a template inside", tool("map: \"x {{ inputs.q }}\""), CHECK, 2),
        case("loop of no rounds", tool("repeat: (until: \"{{ output.result == 1 }}\", at_most: 0)"), CHECK, 2),
        case("negative timeout", tool("timeout_s: -1"), CHECK, 2),
        case("infinite timeout", tool("timeout_s: 1e400"), CHECK, 2),
        case(
            "negative limit",
            workflow(TOOL, "{{ a.result }}").replace("output:", "limits: (deadline_s: -5),\n    output:"),
            CHECK,
            2,
        ),
        case(
            "budget that is no amount",
            workflow(TOOL, "{{ a.result }}").replace("output:", "limits: (cost_usd: \"NaN\"),\n    output:"),
            CHECK,
            2,
        ),
        case("cascade", tool("cascade: (judge: \"g\", accept: \"x\", to: \"b\")"), CHECK, 2),
        case("version of the future", workflow(TOOL, "x").replace("name:", "version: 9, name:"), CHECK, 2),
        case(
            "default of another type",
            workflow(TOOL, "{{ a.result }}").replace("Text(default: \"x\")", "Number(default: \"x\")"),
            CHECK,
            2,
        ),
        case("pattern that does not compile", String::new(), &["check", "pattern.ron"], 2),
        case("schema that is none", String::new(), &["check", "schema.ron"], 2),
        case("sources that are not there", String::new(), &["check", "sources.ron"], 2),
        case(
            "attempts of a sub-workflow",
            workflow(
                r#""a": Workflow(path: "inner.ron", timeout_s: 5, retry: (attempts: 2), fallback: ["b"])"#,
                "{{ a }}",
            ),
            CHECK,
            2,
        ),
        case("unknown input", node(TOOL), &["run", "w.ron", "-i", "question=1"], 2),
        case("input without a value", node(TOOL), &["run", "w.ron", "-i", "q"], 2),
        case(
            "missing required input",
            workflow(TOOL, "{{ a.result }}").replace("default: \"x\"", "required: true"),
            RUN,
            2,
        ),
        case("inputs that are no JSON", node(TOOL), &["run", "w.ron", "--inputs", "latin.ron"], 2),
        case("unknown option of the command", node(TOOL), &["run", "w.ron", "--sed", "3"], 2),
        case("unknown asset", node(TOOL), &["assets", "pull", "smolm2"], 2),
        case("unknown run", node(TOOL), &["runs", "show", "01ZZZ"], 2),
        case("home that cannot be made", node(TOOL), &["run", "w.ron", "--home", "w.ron/home"], 1),
        case("home below a device", node(TOOL), &["run", "w.ron", "--home", "/dev/full/home"], 1),
        case(
            "template bomb",
            workflow(TOOL, "{% for a in range(9999) %}{% for b in range(9999) %}xxxxxxxx{% endfor %}{% endfor %}"),
            RUN,
            1,
        ),
        case("division by zero", calculate("1 / 0"), RUN, 1),
        case("formula that does not end", calculate("(1 + "), RUN, 1),
        case("formula nested 2,000 deep", calculate(&format!("{}1{}", "(".repeat(2000), ")".repeat(2000))), RUN, 1),
        case(
            "division by zero in the map of a sub-workflow",
            workflow(
                r#""b": Workflow(path: "inner.ron", map: "{{ [1, 0] }}", with: { "n": "{{ item }}" })"#,
                "{{ b }}",
            ),
            RUN,
            1,
        ),
        case("series of no length", series("[]"), RUN, 1),
        case("series that is too short", series("[1, 2]"), RUN, 1),
        case("series of texts", series("['a', 'b']"), RUN, 1),
        case(
            "text that a guard refuses",
            workflow(
                r#""a": Guard(agent: "screen", input: "mail me: someone@example.com", on_block: Refuse)"#,
                "{{ a.text }}",
            ),
            RUN,
            3,
        ),
        case(
            "more steps than allowed",
            tool("map: \"{{ [1, 2, 3] }}\"")
                .replace("{{ a.result }}", "{{ a | length }}")
                .replace("output:", "limits: (steps: 2),\n    output:"),
            RUN,
            4,
        ),
        deployed("no deployment", String::new(), &["run", "w.ron"], 2),
        deployed("missing deployment", String::new(), WITH, 2),
        deployed("unknown alias", deployment("Local(model: \"gone.gguf\")", "\"large\": \"b\""), CHECK_WITH, 2),
        deployed("unknown backend", deployment("Local(model: \"gone.gguf\")", "\"*\": \"c\""), CHECK_WITH, 2),
        deployed(
            "price that is no amount",
            deployment("Local(model: \"gone.gguf\", cost: PerHour(usd: \"NaN\"))", "\"*\": \"b\""),
            CHECK_WITH,
            2,
        ),
        deployed(
            "negative price",
            deployment("Local(model: \"gone.gguf\", cost: PerHour(usd: \"-1\"))", "\"*\": \"b\""),
            CHECK_WITH,
            2,
        ),
        deployed(
            "remote backend",
            deployment("Remote(provider: OpenAI, model: \"gpt\")", "\"*\": \"b\""),
            CHECK_WITH,
            2,
        ),
        deployed("unknown model", deployment("Local(model: \"smollm3\")", "\"*\": \"b\""), WITH, 2),
        deployed("missing weights", deployment("Local(model: \"./gone.gguf\")", "\"*\": \"b\""), WITH, 2),
        deployed("weights that are none", deployment("Local(model: \"./noise.gguf\")", "\"*\": \"b\""), WITH, 2),
        deployed("truncated weights", deployment("Local(model: \"./short.gguf\")", "\"*\": \"b\""), WITH, 2),
        deployed("weights with absurd counts", deployment("Local(model: \"./absurd.gguf\")", "\"*\": \"b\""), WITH, 2),
        deployed("folder without weights", deployment("Local(model: \"./agents\")", "\"*\": \"b\""), WITH, 2),
    ]
}

fn prepare(folder: &Path) {
    fs::create_dir(folder.join("agents")).expect("a folder");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("a file");
    write("agents/calc.ron", b"Tool(tool: Calculator)");
    write("agents/writer.ron", b"Generator(model: \"small\", prompt: (user: \"{{ input }}\"))");
    write("agents/demand.ron", b"Forecaster(season: 4)");
    write("agents/screen.ron", b"Guard(detect: [Email])");
    write("pattern.ron", b"Generator(\n    prompt: (user: \"x\"),\n    format: Regex(\"[a-z\"),\n)");
    write("schema.ron", b"Generator(prompt: (user: \"x\"), format: Json({\"type\": 3}))");
    write("sources.ron", b"Retriever(sources: [\"agents\", \"nowhere\"])");
    write(
        "inner.ron",
        br#"Workflow(name: "inner", inputs: { "n": Number() }, nodes: { "c": Tool(agent: "calc", with: { "expression": "1 / {{ inputs.n }}" }) }, output: "{{ c.result }}")"#,
    );
    write("latin.ron", b"Workflow(name: \"caf\xe9\")");
    write("noise.gguf", &[7; 4096]);
    let header = |tensors: u64, entries: u64| {
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    };
    write("short.gguf", &header(10, 10));
    write("absurd.gguf", &header(u64::MAX, u64::MAX));
    let huge = fs::File::create(folder.join("huge.ron")).expect("a file");
    huge.set_len(100 << 20).expect("a sparse file");
}

#[test]
fn every_bad_input_ends_in_a_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    let mut report = String::new();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 40);
    for case in cases {
        fs::write(folder.path().join("w.ron"), &case.workflow).expect("a file");
        let deployment = folder.path().join("d.ron");
        let _ = fs::remove_file(&deployment);
        if !case.deployment.is_empty() {
            fs::write(&deployment, &case.deployment).expect("a file");
        }
        let output = Command::new(env!("CARGO_BIN_EXE_lumos"))
            .args(case.arguments)
            .current_dir(folder.path())
            .env("LUMOS_HOME", folder.path().join("home"))
            .output()
            .expect("the command starts");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let shown = text.replace(&folder.path().display().to_string(), "DIR");
        let shown =
            shown.lines().filter(|line| line.contains("error") || line.contains("hint") || line.contains(".ron:"));
        let shown: Vec<&str> = shown.filter(|line| !line.starts_with("run ")).take(8).collect();
        let code = output.status.code();
        let _ = writeln!(report, "## {} (exit {})\n{}\n", case.name, code.unwrap_or(-1), shown.join("\n"));
        let clear = ["hint", "--help"].iter().any(|word| text.contains(word)) || code == Some(1);
        if code != Some(case.code) || text.contains("panicked") || shown.is_empty() || !clear {
            wrong.push(format!("{}: exit {code:?} instead of {}\n{text}", case.name, case.code));
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path())
        .expect("the folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "tmp" || end == "part"))
        .collect();
    assert!(left.is_empty(), "half-written files: {left:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
    insta::assert_snapshot!(report);
}
