//! Evaluations and comparisons of runs that were made, in a report.

use std::time::Duration;

use lumos_faults::{Received, Reply};

use super::{Served, answer, command, deployment, number, per_token, question, sandbox};

fn serve() -> Served {
    Served::by(|request: &Received| -> Reply {
        let item = number(&question(request));
        let is_wrong = request.json()["model"] == "cheap" && item.is_multiple_of(3);
        let text = if is_wrong { "nothing".to_owned() } else { format!("item {item}") };
        answer(&text, Duration::from_millis(1), (50, 10))
    })
}

#[test]
fn a_report_says_how_good_answers_are_and_how_latency_is_distributed() {
    let served = serve();
    let sandbox = sandbox(9);
    sandbox.write("dear.ron", &deployment("dear", &served.url(), &per_token("10", "40")));
    sandbox.write("cheap.ron", &deployment("cheap", &served.url(), &per_token("2", "8")));
    let write = |name: &str, arguments: &[&str]| {
        let output = command(&sandbox, arguments).output().expect("the command starts");
        sandbox.write(name, &String::from_utf8(output.stdout).expect("UTF-8"));
    };
    let gate = ["--dataset", "d.jsonl", "--gate", "quality >= 0.8"];
    write("compare.json", &[&["compare", "ask.ron", "-d", "./dear.ron", "-d", "./cheap.ron"], &gate[..]].concat());
    write("eval.json", &[&["eval", "ask.ron", "-d", "./cheap.ron"], &gate[..]].concat());
    write("runs.json", &["runs", "export"]);
    let output = sandbox.lumos(&["report", "compare.json", "eval.json", "runs.json", "-o", "r.html"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let html = std::fs::read_to_string(sandbox.folder().join("r.html")).expect("the page");
    for part in [
        "% cheaper; quality",
        "the gate fails: quality &gt;= 0.8 for cheap, where it is 0.667",
        "ask on cheap: quality 0.667",
        "How latency is distributed: the share of runs that took at most so long",
        "Runs that were not right",
        "27 recorded runs",
        "Cost by node",
        "What happened when",
    ] {
        assert!(html.contains(part), "{part}");
    }
}
