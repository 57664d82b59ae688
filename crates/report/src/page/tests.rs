//! Pages of documents of every sort, and of documents that try to break out of them.

use serde_json::{Value, json};

use super::{Drawing, Page, PageError, Source};

fn page(documents: &[Value]) -> Page {
    let source = |(at, document): (usize, &Value)| Source {
        name: format!("{at}.json"),
        sha256: "ab".repeat(32),
        document: document.clone(),
    };
    Page {
        title: "A <title>".to_owned(),
        version: "0.1.0".to_owned(),
        date: "2026-11-24T10:00:00Z".to_owned(),
        sources: documents.iter().enumerate().map(source).collect(),
        drawings: Vec::new(),
    }
}

/// The page without plotly's own script.
fn html(documents: &[Value]) -> String {
    let html = page(documents).html().unwrap();
    let plots = html.split("<script type=\"text/javascript\">").collect::<Vec<_>>();
    plots[0].to_owned()
}

fn figure(value: f64) -> Value {
    json!({"value": value, "low": value * 0.9, "high": value * 1.1, "n": 10, "basis": "measured"})
}

fn side(name: &str, factor: f64) -> Value {
    let times =
        json!({"mean": figure(factor), "p50": figure(factor), "p95": figure(2.0 * factor), "p99": {"value": null}});
    json!({
        "deployment": name, "runs": 10, "quality": figure(0.8), "latency_s": times, "ttft_s": null, "scores": {"f1/a": figure(0.5)},
        "failures": figure(0.0), "cost_usd": {"value": "0.002", "low": "0.001", "high": "0.003", "basis": "estimated"},
        "bytes_outside": {"value": null, "low": null, "high": null, "n": 0, "basis": null}, "assumptions": ["a link of 1 Gbit/s"],
        "outcomes": [{"status": "succeeded", "duration_us": 1_000_000}, {"status": "succeeded", "duration_us": 2_000_000}],
    })
}

fn comparison() -> Value {
    json!({
        "workflow": "w", "source": "live", "file": "d.jsonl", "seed": 7, "is_partial": false,
        "sides": [side("local", 1.0), side("</script><script>alert(1)</script>", 2.0)],
        "differences": [{"deployment": "b", "against": "a", "figure": "cost_usd", "absolute": {"value": "0.1", "low": "0.05", "high": "0.2"}, "relative": {"value": 0.5, "low": 0.4, "high": 0.6}, "says": "more"}],
        "verdicts": [{"deployment": "b", "against": "a", "text": "b is 62–71 % cheaper"}],
        "gate": {"passed": false, "conditions": [{"condition": "quality >= 0.9", "deployment": "local", "value": 0.8, "passed": false, "why": null}]},
    })
}

#[test]
fn a_comparison_has_its_verdict_first_and_its_figures_with_intervals() {
    let html = html(&[comparison()]);
    let (verdict, section) = (html.find("62–71 % cheaper").unwrap(), html.find("Comparison of w").unwrap());
    assert!(verdict < html.find("<h2>Comparison of w").unwrap() && section < html.len());
    assert!(
        html.contains("the gate fails: quality &gt;= 0.9 for local, where it is 0.800")
            && html.contains("0.800 (0.720–0.880)")
    );
    assert!(html.contains("a link of 1 Gbit/s") && html.contains(&"ab".repeat(32)));
    assert_eq!(html.matches("data-plot=").count(), 4, "latency, cost, quality and how latency is distributed");
}

#[test]
fn a_gate_that_holds_by_chance_says_so() {
    let mut found = comparison();
    let condition = |metric: &str, why: Value| json!({"condition": metric, "deployment": "local", "value": 0.8, "passed": true, "why": why});
    let why = json!("within the 95 % interval it may as well fail");
    found["gate"] =
        json!({"passed": true, "conditions": [condition("quality > 0.7", why), condition("f1 > 0.1", Value::Null)]});
    let html = html(&[found]);
    let doubt =
        "the gate holds: quality &gt; 0.7 for local, where it is 0.800; within the 95 % interval it may as well fail";
    assert!(html.contains("the gate holds: 2 conditions") && html.contains(doubt));
    assert!(!html.contains("the gate holds: f1"));
}

#[test]
fn a_frontier_shows_what_was_chosen_and_how_far_composition_was_off() {
    let choice = |name: &str, factor: f64, measured: Value| {
        json!({"name": name, "bind": {"plan": "small", "write": name}, "is_base": false, "composed": side(name, factor), "measured": measured,
            "off": [{"figure": "cost_usd", "composed": 0.002, "measured": 0.0021, "n": 10, "within_noise": true,
                "difference": {"value": 0.0001, "low": -0.0001, "high": 0.0003}, "relative": {"value": 0.05, "low": -0.05, "high": 0.15}}]})
    };
    let mut dear = choice("large", 2.0, Value::Null);
    dear["composed"]["cost_usd"]["value"] = json!("0.009");
    let found = json!({
        "workflow": "w", "deployment": "dear", "dataset": "d.jsonl", "seed": 7, "objective": "cost", "chosen": "mid", "nearest": null,
        "space": {"nodes": [], "fixed": [{"node": "find", "backend": "embedder", "why": "no backend fits it"}]},
        "effort": {"base_runs": 10, "changed_runs": 40, "verifying_runs": 10, "runs_of_all": 810, "is_complete": true},
        "frontier": [choice("mid", 1.0, side("mid", 1.0)), dear],
    });
    let html = html(&[found]);
    assert!(html.contains("best for cost: plan on small, write on mid (run for real)"));
    assert!(html.contains("5.0 % (-5.0 to 15.0)") && html.contains("no backend fits it") && html.contains("810"));
    assert_eq!(html.matches("data-plot=").count(), 2, "against cost and latency; bytes are not known");
}

#[test]
fn a_frontier_of_nothing_says_why() {
    let page = |statuses: Value| {
        let mut nearest =
            json!({"name": "dear", "bind": {"plan": "small"}, "composed": side("dear", 1.0), "measured": null});
        nearest["composed"]["statuses"] = statuses;
        html(&[json!({
            "workflow": "w", "deployment": "dear", "dataset": "d.jsonl", "seed": 7, "objective": "cost", "chosen": null,
            "nearest": nearest, "space": {"nodes": [], "fixed": []}, "effort": {}, "frontier": [],
        })])
    };
    assert!(
        page(json!({"failed": 10})).contains("no run of any choice of backends succeeds; the nearest is plan on small")
    );
    assert!(
        page(json!({"succeeded": 1, "failed": 9})).contains("no choice of backends meets the conditions; the nearest")
    );
}

#[test]
fn nothing_in_a_document_becomes_markup() {
    let html = html(&[comparison()]);
    assert!(!html.contains("<script>alert(1)") && html.contains("\\u003cscript>alert(1)"));
    assert!(html.contains("A &lt;title&gt;"));
}

#[test]
fn a_page_asks_the_network_for_nothing() {
    let html = html(&[comparison()]);
    assert!(html.contains("default-src 'none'"));
    for bad in ["src=\"http", "href=\"http", "url(http", "@import", "<link rel=\"stylesheet\""] {
        assert!(!html.contains(bad), "{bad}");
    }
}

#[test]
fn runs_fall_and_the_rest_is_told_apart() {
    let attempt = json!({"attempt": 1, "backend": "small", "model": "m", "status": "succeeded", "start_us": 0, "queue_us": 10, "ttft_us": 5,
        "duration_us": 100, "input_tokens": 3, "output_tokens": 4, "cost_usd": "0.0001"});
    let run = |id: &str| {
        json!({"run_id": id, "workflow": "w", "deployment": "d", "seed": 0, "status": "succeeded", "started_at": "2026",
        "error": null, "totals": {"duration_us": 110, "cost_usd": "0.0001", "cost_complete": true, "bytes_outside": 0},
        "steps": [{"node": "ask", "attempts": [attempt]}]})
    };
    let html = html(&[run("01A"), json!({"runs": [run("01B")]})]);
    assert!(html.contains("run 01A of w succeeded after 110 µs, at $0.000100") && html.contains("2 recorded runs"));
    assert_eq!(html.matches("What happened when</figcaption>").count(), 2);
}

#[test]
fn what_is_no_document_of_ours_is_refused() {
    let error = page(&[json!({"a": 1})]).html().unwrap_err();
    assert_eq!(error, PageError::Unknown("0.json".to_owned()));
    assert_eq!(
        page(&[json!({"runs": [{"run_id": "x"}]})]).html().unwrap_err(),
        PageError::Unknown("0.json".to_owned())
    );
    assert_eq!(page(&[]).html().unwrap_err(), PageError::Empty);
    let drawing = Drawing { title: "w".to_owned(), svg: "<svg></svg>".to_owned() };
    let drawn = Page { drawings: vec![drawing], ..page(&[]) }.html().unwrap();
    assert!(drawn.contains("drawing of w") && !drawn.contains("Plotly"));
    // Documents with holes are shown as far as they go.
    for kind in [
        json!({"sides": [{}], "verdicts": []}),
        json!({"scenario": "s", "results": [{}]}),
        json!({"candidates": [{}], "chosen": {}, "together": null}),
        json!({"frontier": [{}], "space": {}, "effort": {}}),
        json!({"dataset": "", "outcomes": [{}], "deployment": ""}),
        json!({"verdict": "", "findings": [{}], "files": [{}], "catalogs": [], "runs": [{}]}),
        json!({"run_id": 1, "steps": [{}], "totals": {}}),
    ] {
        assert!(page(&[kind]).html().is_ok());
    }
}
