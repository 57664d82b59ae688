//! Claims: the shipped ones with their verdicts, and files that are no claims.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::Sandbox;

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios/claims")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("—")
}

/// Verdicts change when the simulator or the prices do: then it is here that one looks whether they should.
#[test]
fn shipped_claims_have_their_verdicts() {
    let sandbox = Sandbox::new();
    let folder = shipped().display().to_string();
    let (code, document) = sandbox.json(&["report", &folder, "--format", "json"]);
    assert_eq!(code, 0, "{document}");
    let claims = list(&document["claims"]);
    assert_eq!(claims.len(), 10);
    let mut lines = String::new();
    for claim in claims {
        assert!(!text(&claim["source"]).is_empty(), "{}", claim["name"]);
        let _ = writeln!(lines, "{}: {}", text(&claim["name"]), text(&claim["says"]));
        for part in list(&claim["parts"]) {
            let shown = [&part["says"], &part["shown"], &part["basis"], &part["verdict"]].map(text);
            let off_by = part["off_by"][0].as_f64().map(|share| format!(" | off by {:.0} %", share * 100.0));
            let _ = writeln!(lines, "  {}{}", shown.join(" | "), off_by.unwrap_or_default());
            // A figure is known, with where it is from; or it is unknown, with how it could be known.
            let is_known = part["value"].is_number() && part["basis"].is_string();
            assert_ne!(is_known, part["measure"].is_string(), "{part}");
            assert!(part["off_by"].is_null() || !text(&part["off_by"][1]).is_empty(), "{part}");
        }
        for question in list(&claim["asked"]) {
            assert!(text(&question["command"]).starts_with("lumos "), "{question}");
            assert!(!list(&question["sources"]).is_empty(), "{question}");
        }
    }
    insta::assert_snapshot!("claims", lines);
}

#[test]
fn a_command_that_is_named_gives_the_figure_that_is_shown() {
    let sandbox = Sandbox::new();
    let file = shipped().join("04_rate_limit.ron").display().to_string();
    let (_, document) = sandbox.json(&["report", &file, "--format", "json"]);
    let claim = &document["claims"][0];
    let command = text(&claim["asked"][1]["command"]).replace(" --seeds 2", "");
    let arguments: Vec<&str> = command.split(' ').skip(1).chain(["--format", "json"]).collect();
    let (code, simulated) = sandbox.json(&arguments);
    assert_eq!(code, 0, "{simulated}");
    let alone = simulated["results"][0]["succeeded_per_s"].as_f64().expect("a rate");
    let part = list(&claim["parts"]).iter().find(|part| text(&part["figure"]).contains("{{ api.succeeded_per_s }}"));
    let interval = &part.expect("the part")["interval"];
    let (low, high) = (interval[0].as_f64().expect("an end"), interval[1].as_f64().expect("an end"));
    assert!(low <= alone && alone <= high, "{alone} is not between {low} and {high}");
}

/// A claim with one part, in which something is to be wrong.
fn claim(given: &str, asked: &str, part: &str) -> String {
    format!(
        "Claim(name: \"c\", claim: \"it is cheap\", source: \"somebody\", given: {{ {given} }}, asked: {{ {asked} }}, parts: [{part}])\n"
    )
}

#[test]
fn mistakes() {
    let sandbox = Sandbox::new();
    let write = |name: &str, given: &str, asked: &str, part: &str| {
        sandbox.write(&format!("claims/{name}.ron"), &claim(given, asked, part));
    };
    let x = r#""x": Range(at: 1, from: 0, to: 2, says: "x")"#;
    let part = r#"Figure(says: "x", figure: "{{ x }}", must_be: AtMost(1), vary: "x")"#;
    sandbox.write("claims/empty.ron", "Claim(name: \"c\", claim: \"\", source: \"\", parts: [], pats: [])\n");
    write("range", r#""x": Range(at: 3, from: 0, to: 2, search: [1, 2], says: "x")"#, "", part);
    write("names", x, r#""x": Audit(workflow: "w.ron", deployment: "{{ y }}")"#, part);
    write("figure", x, "", r#"Figure(says: "x", figure: "{{ z }} $", must_be: AtMots(1), vary: "y")"#);
    write("bounds", x, "", r#"Figure(says: "x", figure: "{{ x }}", must_be: Between(least: 2, most: 1), off_by: 0.1)"#);
    write("nothing", x, "", r#"Figure(says: "x", figure: "{{ x }}")"#);
    write(
        "price",
        x,
        r#""p": Price(provider: "openai", model: "gpt-4o-mni", input_tokens: 1)"#,
        r#"Figure(says: "x", figure: "{{ p.cost_usd | float }}", must_be: AtMost(1))"#,
    );
    write(
        "money",
        x,
        r#""p": Price(provider: "openai", model: "gpt-4o-mini", input_tokens: 1)"#,
        r#"Figure(says: "x", figure: "{{ p.cost_usd }}", must_be: AtMost(1))"#,
    );
    write(
        "negative",
        x,
        r#""p": Price(provider: "openai", model: "gpt-4o-mini", input_tokens: "{{ x - 5 }}")"#,
        r#"Figure(says: "x", figure: "{{ p.cost_usd | float }}", must_be: AtMost(1))"#,
    );
    write(
        "field",
        x,
        r#""p": Price(provider: "openai", model: "gpt-4o-mini", input_tokens: 1)"#,
        r#"Figure(says: "x", figure: "{{ p.cost }}", must_be: AtMost(1))"#,
    );
    write(
        "scenario",
        x,
        r#""s": Simulate(scenario: "none.ron", deployment: "d")"#,
        r#"Figure(says: "x", figure: "{{ s.runs }}", must_be: AtMost(1))"#,
    );
    write(
        "seeds",
        x,
        r#""s": Simulate(scenario: "none.ron", deployment: "d", seeds: 1)"#,
        r#"Figure(says: "x", figure: "{{ s.runs }}", must_be: AtMost(1))"#,
    );
    write(
        "plan",
        x,
        r#""s": Plan(scenario: "none.ron", deployment: "d")"#,
        r#"Figure(says: "x", figure: "{{ s.together.latency_s.p95 }}", must_be: AtMost(1))"#,
    );
    write(
        "corner",
        r#""model": OneOf(values: ["gpt-4o-mini", "gpt-4o-mni"], says: "the model")"#,
        r#""p": Price(provider: "openai", model: "{{ model }}", input_tokens: 1)"#,
        r#"Figure(says: "x", figure: "{{ p.cost_usd | float }}", must_be: AtMost(1))"#,
    );
    let names = [
        "empty", "range", "names", "figure", "bounds", "nothing", "price", "money", "negative", "field", "scenario",
        "seeds", "plan", "corner",
    ];
    let mut screens = Vec::new();
    for name in names {
        screens.push(sandbox.screen(&["report", &format!("claims/{name}.ron")]));
    }
    sandbox.write("none/readme.md", "no claims");
    screens.push(sandbox.screen(&["report", "none"]));
    screens.push(sandbox.screen(&["check", "claims/range.ron"]));
    insta::assert_snapshot!("claims-mistakes", screens.join("\n"));
}

/// A tier goes by the prompt of one call, and tokens are those of many.
#[test]
fn a_month_is_priced_by_calls_that_are_not_long() {
    let sandbox = Sandbox::new();
    let part =
        r#"Figure(says: "the bill", figure: "{{ p.cost_usd | float }}", unit: "$", must_be: AtMost(2000), vary: "x")"#;
    let asked = r#""p": Price(provider: "google", model: "gemini-2.5-pro", input_tokens: "{{ x }}")"#;
    sandbox.write("a.ron", &claim(r#""x": Range(at: 1e9, from: 1e3, to: 1e9, says: "tokens")"#, asked, part));
    let (_, document) = sandbox.json(&["report", "a.ron", "--format", "json"]);
    let claim = &document["claims"][0];
    assert_eq!(claim["parts"][0]["value"], 1250.0, "{claim}");
    assert_eq!(claim["asked"][0]["command"], "lumos prices check gemini-2.5-pro --provider google");
    let assumed = list(&claim["asked"][0]["assumptions"]).iter().map(text).any(|text| text.contains("200000 tokens"));
    assert!(assumed, "{claim}");
}

#[test]
fn a_claim_that_is_right_is_printed_and_put_on_a_page() {
    let sandbox = Sandbox::new();
    let part = r#"Figure(says: "the price of a token", figure: "{{ p.cost_usd | float }}", unit: "$", must_be: AtMost(1), vary: "x")"#;
    let given =
        r#""x": Range(at: 1000000, from: 1000000, to: 9000000, says: "the number of tokens", source: "the claim")"#;
    let asked = r#""p": Price(provider: "openai", model: "gpt-4o-mini", input_tokens: "{{ x }}")"#;
    sandbox.write("claims/a.ron", &claim(given, asked, part));
    let screen = sandbox.screen(&["report", "claims"]);
    insta::assert_snapshot!("claims-screen", screen);
    assert!(sandbox.lumos(&["report", "claims/a.ron", "-o", "page.html"]).status.success());
    let html = std::fs::read_to_string(sandbox.folder().join("page.html")).expect("the page");
    for part in
        ["holds only if the number of tokens is at most", "the claim", "prices check gpt-4o-mini", "it is cheap"]
    {
        assert!(html.contains(part), "{part}");
    }
}
