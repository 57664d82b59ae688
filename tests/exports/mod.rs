//! A run with a map, a retry and a hedge, against a server that does as its script says: what `show` says of it, and
//! what other programs read of its exports.
//!
//! DuckDB and polars come from PyPI. `LUMOS_TEST_SERVERS=off` leaves them out, for machines without a way to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
#[cfg(feature = "parquet")]
use std::{path::PathBuf, process::Command};

use lumos::core::Usd;
use lumos::engine::UnixClock;
use lumos_faults::{Answer, FaultServer, Received, Reply, Script, Tokens};
use serde_json::Value;

use crate::cli::Sandbox;

const WORKFLOW: &str = r#"Workflow(
    name: "holidays",
    description: "What each supplier says, and what to order first.",
    inputs: { "question": Text(required: true) },
    nodes: {
        "look": Generator(agent: "clerk", map: "{{ ['food', 'toys', 'paper'] }}", input: "{{ item }}", retry: (attempts: 3)),
        "big": Router(choose: "{{ 'no' }}", routes: { "yes": ["call"], "no": ["answer"] }),
        "call": Generator(agent: "clerk", input: "the manager"),
        "answer": Generator(agent: "buyer", input: "{{ inputs.question }} {{ look }}", hedge_after_ms: 300),
    },
    output: "{{ answer.text }}",
)
"#;

/// The paper supplier's clerk is overloaded at first, and the buyer's first request stalls.
fn rule(papers: &AtomicUsize, buyers: &AtomicUsize, request: &Received) -> Reply {
    let prompt = request.json()["messages"].to_string();
    let answer = |text: &str, first_ms: u64| {
        let tokens = Tokens { cached: Some(0), ..Tokens::new(40, 20) };
        Answer { tokens, first: Duration::from_millis(first_ms), ..Answer::new(text) }
    };
    if prompt.contains("Advise") {
        let is_first = buyers.fetch_add(1, Ordering::SeqCst) == 0;
        return answer("Order paper first.", if is_first { 20_000 } else { 150 }).into();
    }
    if prompt.contains("paper") && papers.fetch_add(1, Ordering::SeqCst) == 0 {
        return Reply::retry_after(503, "1");
    }
    answer("Closed from December 20th.", if prompt.contains("toys") { 250 } else { 120 }).into()
}

/// The run, made in a folder of its own.
struct Made {
    sandbox: Sandbox,
    record: Value,
    runtime: tokio::runtime::Runtime,
}

fn made() -> Made {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (papers, buyers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let script = Script::by(move |request| rule(&papers, &buyers, request));
    let server = runtime.block_on(FaultServer::start(script, Arc::new(UnixClock))).expect("a free port");
    let sandbox = Sandbox::new();
    sandbox.write("holidays.ron", WORKFLOW);
    for (name, task) in [("clerk", "When is {{ input }} closed?"), ("buyer", "Advise: {{ input }}")] {
        let agent = format!(r#"Generator(model: "m", prompt: (user: "{task}"), decoding: (max_tokens: 60))"#);
        sandbox.write(&format!("agents/{name}.ron"), &agent);
    }
    let backend = format!(
        r#""api": Remote(provider: OpenAiCompatible, model: "writer-8b", base_url: "{}/v1", cost: PerMillionTokens(input: "2.00", output: "8.00"))"#,
        server.url()
    );
    sandbox.write(
        "deployments/scripted.ron",
        &format!(r#"Deployment(name: "scripted", backends: {{ {backend} }}, bind: {{ "*": "api" }})"#),
    );
    let question = "question=What do we order first?";
    let (code, record) = sandbox.json(&["run", "holidays.ron", "-d", "scripted", "-i", question, "--format", "json"]);
    assert_eq!(code, 0, "{record}");
    Made { sandbox, record, runtime }
}

impl Made {
    fn id(&self) -> &str {
        self.record["run_id"].as_str().expect("an id")
    }

    fn export(&self, arguments: &[&str]) -> String {
        let output = self.sandbox.lumos(&[&["runs", "export"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn attempts(&self) -> impl Iterator<Item = &Value> {
        let steps = self.record["steps"].as_array().expect("steps");
        steps.iter().flat_map(|step| step["attempts"].as_array().expect("attempts"))
    }
}

/// Without what depends on how long everything took: bars, the legend of their signs, and the parts of a step's time.
fn without_times(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let (mut is_legend, mut is_path) = (false, false);
    for line in text.lines() {
        is_legend = line.starts_with("─ see") || is_legend && !line.is_empty();
        is_path = line.starts_with("critical path") || is_path && !line.is_empty();
        let share = line.find('%').map(|at| &line[..=at]);
        match (is_legend, is_path) {
            (true, _) => {}
            (_, true) if !line.starts_with("critical path") => lines.extend(share.map(str::to_owned)),
            _ if line.starts_with('─') => lines.push(line.to_owned()),
            _ => lines.push(line.trim_end_matches(['█', '─', '░', '▒', '×', '/', ' ']).to_owned()),
        }
    }
    lines.join("\n")
}

#[test]
fn a_newcomer_sees_what_was_slow_and_what_it_cost() {
    let made = made();
    let screen = made.sandbox.screen(&["runs", "show", made.id()]);
    // For `docs/transcripts/show.md`.
    println!("{screen}");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d+(\.\d+)? (µs|ms|s)\b", "[time]");
    settings.add_filter(r"[0-9A-HJKMNP-TV-Z]{26}", "[run]");
    settings.add_filter(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z", "[date]");
    settings.add_filter(r" {2,}", "  ");
    settings.add_filter(r" +\[time\]", " [time]");
    settings.add_filter(r"<?\d+ %", "[share]");
    settings.add_filter(r"\$0\.\d+", "[cost]");
    settings.add_filter(r"─{20,}", "[rule]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "[server]");
    settings.add_filter(r"\d+ B|\d+\.\d+ kB", "[bytes]");
    settings.bind(|| insta::assert_snapshot!("show", without_times(&screen)));
    let part = |step: &str, part: &str| {
        let path =
            screen.split("critical path ").nth(1).expect("a critical path").split("\n\n").next().expect("its lines");
        let from = path.find(step).unwrap_or_else(|| panic!("{step} is on the critical path: {path}"));
        assert!(path[from..].contains(part), "{step}: {part}: {path}");
    };
    part("  look[2] ", "between tries");
    part("  answer ", "tries without an answer");
    let lost = made.attempts().filter(|attempt| attempt["status"] != "succeeded");
    let lost: Vec<&str> = lost.filter_map(|attempt| attempt["status"].as_str()).collect();
    assert_eq!(lost, ["failed", "cancelled"], "a retry and a hedge");
    drop(made.runtime);
}

#[test]
fn json_is_what_the_run_printed_and_files_are_whole_or_absent() {
    let made = made();
    let id = made.id();
    assert_eq!(serde_json::from_str::<Value>(&made.export(&[id])).unwrap(), made.record);
    let list: Value = serde_json::from_str(&made.export(&["--status", "succeeded"])).unwrap();
    assert_eq!(list["runs"], Value::Array(vec![made.record.clone()]));
    assert_eq!(serde_json::from_str::<Value>(&made.export(&["--format", "jsonl"])).unwrap(), made.record);

    let folder = made.sandbox.folder();
    made.sandbox.write("out.csv", "mine");
    made.export(&[id, "--format", "csv", "-o", "out.csv"]);
    let csv = std::fs::read_to_string(folder.join("out.csv")).unwrap();
    assert_eq!(csv, made.export(&[id, "--format", "csv"]));
    assert_eq!(csv.lines().count(), 1 + made.attempts().count());
    let spent: Usd = csv_column(&csv, "cost_usd").iter().filter_map(|cost| cost.parse::<Usd>().ok()).sum();
    assert_eq!(Value::from(spent.to_string()), made.record["totals"]["cost_usd"]);

    // A run that isn't there leaves what was there.
    let failing = made.sandbox.lumos(&["runs", "export", id, "01NONE", "-o", "out.csv", "--format", "csv"]);
    assert_eq!(failing.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(folder.join("out.csv")).unwrap(), csv);
    for (arguments, code) in [
        (&["-o", "no/folder/out.csv"][..], 1),
        (&["-o", "agents"], 1),
        (&["--table", "runs"], 2),
        (&[id, "--status", "failed"], 2),
    ] {
        let output = made.sandbox.lumos(&[&["runs", "export"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let left: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    drop(made.runtime);
}

fn csv_column(text: &str, name: &str) -> Vec<String> {
    let at = text.lines().next().unwrap().split(',').position(|column| column == name).unwrap();
    // No text of these runs has a comma before the costs.
    text.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

#[cfg(feature = "parquet")]
fn read(file: &Path) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(root.join("tests/exports/read.py"))
        .arg(file)
        .arg("--cache")
        .arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("exports"))
        .output()
        .expect("python3 starts");
    assert!(
        output.status.success(),
        "{}\nLUMOS_TEST_SERVERS=off leaves the readers out",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[cfg(feature = "parquet")]
#[test]
fn duckdb_and_polars_read_the_documented_types_and_the_same_sums() {
    if std::env::var("LUMOS_TEST_SERVERS").is_ok_and(|servers| servers == "off") {
        return;
    }
    let made = made();
    for table in ["runs", "steps", "attempts"] {
        let file = format!("{table}.parquet");
        made.export(&["--format", "parquet", "--table", table, "-o", &file]);
        let found = read(&made.sandbox.folder().join(&file));
        let documented = documented(table);
        for (reader, at) in [("duckdb", 0), ("polars", 1)] {
            let types = found[reader]["types"].as_object().unwrap();
            let types: Vec<(&str, &str)> =
                types.iter().map(|(name, kind)| (name.as_str(), kind.as_str().unwrap())).collect();
            let wanted: Vec<(&str, &str)> =
                documented.iter().map(|(name, kind)| (name.as_str(), known_as(kind)[at])).collect();
            assert_eq!(types, wanted, "{reader} reads {table}");
        }
        for part in ["rows", "nulls"] {
            assert_eq!(found["duckdb"][part], found["polars"][part]);
        }
        for (name, sum) in found["duckdb"]["sums"].as_object().unwrap() {
            let same = |text: &Value| text.as_str().map(|text| text.parse::<f64>().unwrap());
            assert_eq!(same(sum), same(&found["polars"]["sums"][name]), "{table}.{name}");
        }
        if table == "attempts" {
            let rows = made.attempts().count();
            assert_eq!(found["duckdb"]["rows"], rows);
            let cost: Usd = found["duckdb"]["sums"]["cost_usd"].as_str().unwrap().parse().unwrap();
            assert_eq!(Value::from(cost.to_string()), made.record["totals"]["cost_usd"]);
            let unknown = made.attempts().filter(|attempt| attempt["output_tokens"].is_null()).count();
            assert_eq!(found["duckdb"]["nulls"]["output_tokens"], unknown, "unknown is null and not zero");
        }
    }
    drop(made.runtime);
}

#[cfg(all(feature = "parquet", feature = "sim"))]
#[test]
fn simulated_runs_have_the_documented_columns_and_the_sums_of_the_results() {
    if std::env::var("LUMOS_TEST_SERVERS").is_ok_and(|servers| servers == "off") {
        return;
    }
    let sandbox = crate::cli::scenarios::sandbox();
    sandbox.write("all.ron", &crate::cli::scenarios::SCENARIO.replace("warmup_runs: 100", "warmup_runs: 0"));
    let simulate = |scenario: &str, more: &[&str]| {
        let fixed = ["simulate", scenario, "--seeds", "2", "--load-factor", "1,3", "--format", "json"];
        let (code, document) = sandbox.json(&[&fixed, more].concat());
        assert_eq!(code, 0);
        document
    };
    let untraced = simulate("all.ron", &[]);
    let of_results = |pointer: &str| -> f64 {
        let results = untraced["results"].as_array().unwrap().iter();
        results.map(|result| result.pointer(pointer).and_then(Value::as_f64).unwrap()).sum()
    };
    for table in ["runs", "steps", "attempts"] {
        let file = format!("{table}.parquet");
        assert_eq!(
            simulate("all.ron", &["--trace", &file, "--trace-table", table]),
            untraced,
            "a trace changes nothing"
        );
        let found = &read(&sandbox.folder().join(&file))["duckdb"];
        let types = found["types"].as_object().unwrap().iter();
        let types: Vec<(String, &str)> = types.map(|(name, kind)| (name.clone(), kind.as_str().unwrap())).collect();
        let documented = documented(table).into_iter().chain(documented("simulation"));
        let wanted: Vec<(String, &str)> = documented.map(|(name, kind)| (name, known_as(&kind)[0])).collect();
        assert_eq!(types, wanted, "{table}");
        assert_eq!(found["rows"], if table == "runs" { 1200 } else { 2400 });
        let sum = |name: &str| found["sums"][name].as_str().unwrap().parse::<f64>().unwrap();
        if table != "steps" {
            assert!((sum("output_tokens") - of_results("/nodes/1/output_tokens")).abs() < 0.5);
        }
        if table == "attempts" {
            // Half of the attempts at the desk are of each load factor; nobody waits for replicas in these rows.
            let mean_wait = of_results("/nodes/0/queue_s/mean/value") / 2.0;
            let found_wait = sum("queue_us") / 1200.0 / 1e6;
            assert!((found_wait - mean_wait).abs() < 1e-5, "{found_wait} instead of {mean_wait}");
            assert_eq!(found["nulls"]["ttft_us"], 1200, "tools have no first token");
            assert_eq!(found["nulls"]["tokens_basis"], 1200);
        }
    }
    let file = sandbox.folder().join("attempts.parquet");
    let before = std::fs::read(&file).unwrap();
    simulate("all.ron", &["--trace", "attempts.parquet", "--threads", "1"]);
    assert!(std::fs::read(&file).unwrap() == before, "the same seeds give the same bytes");
    simulate("scenario.ron", &["--trace", "some.parquet", "--trace-table", "runs"]);
    assert_eq!(read(&sandbox.folder().join("some.parquet"))["duckdb"]["rows"], 1200, "those of the warm-up too");
    let output = sandbox.lumos(&["simulate", "all.ron", "--trace", "nowhere/all.parquet"]);
    assert_eq!(output.status.code(), Some(1));
}

/// What the readers call a documented type.
#[cfg(feature = "parquet")]
fn known_as(documented: &str) -> [&'static str; 2] {
    match documented {
        "text" => ["VARCHAR", "String"],
        "integer" => ["BIGINT", "Int64"],
        "unsigned integer" => ["UBIGINT", "UInt64"],
        "money" => ["DECIMAL(18,9)", "Decimal(precision=18, scale=9)"],
        "timestamp" => ["TIMESTAMP WITH TIME ZONE", "Datetime(time_unit='us', time_zone='UTC')"],
        "boolean" => ["BOOLEAN", "Boolean"],
        "real" => ["DOUBLE", "Float64"],
        other => panic!("{other} is no type"),
    }
}

/// Names and types of a table's columns in `docs/records.md`.
fn documented(table: &str) -> Vec<(String, String)> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/records.md")).expect("the page");
    let section =
        text.split(&format!("### `{table}`\n")).nth(1).expect("a section").split("\n#").next().expect("its text");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    rows.map(cells).map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].clone())).collect()
}

#[test]
fn the_queries_of_the_page_answer_what_they_say() {
    let made = made();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .args([
            root.join("tests/exports/queries.py"),
            made.sandbox.home().join("lumos.db"),
            root.join("docs/records.md"),
        ])
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [costs, slowest, sent, again, tokens] = found.as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&costs[0][1], &costs[0][2], &costs[0][4]), (&"look".into(), &4.into(), &0.into()), "{costs}");
    assert_eq!((&slowest[0][1], &slowest[0][2]), (&"look".into(), &3.into()), "{slowest}");
    let outside = &made.record["totals"]["bytes_outside"];
    assert_eq!((&sent[0][0], &sent[0][1], &sent[0][4]), (&"outside".into(), &"api".into(), outside), "{sent}");
    assert_eq!((&again[0][0], &again[0][3]), (&made.record["run_id"], &2.into()), "{again}");
    assert_eq!((&tokens[0][1], &tokens[0][5]), (&"writer-8b".into(), &1.into()), "{tokens}");
    drop(made.runtime);
}

#[test]
fn the_page_lists_the_columns_that_are_written() {
    let sandbox = Sandbox::new();
    assert!(sandbox.lumos(&["run", "order.ron", "-i", "note=x"]).status.success());
    for table in ["runs", "steps", "attempts"] {
        let csv = sandbox.lumos(&["runs", "export", "--format", "csv", "--table", table]).stdout;
        let header = String::from_utf8(csv).unwrap().lines().next().unwrap().to_owned();
        let names: Vec<String> = documented(table).into_iter().map(|(name, _)| name).collect();
        assert_eq!(header.split(',').collect::<Vec<_>>(), names, "{table}");
    }
}
