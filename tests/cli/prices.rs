//! `lumos prices`: tables, exact figures, errors, and updates that are kept or refused as a whole.

use super::Sandbox;

const DAY: &[&str] = &["--on", "2026-11-24"];

const NEWER: &str = r#"Prices(version: 1, prices: [
    (provider: "openai", model: "gpt-4o-mini", input: "0.1", cached_input: "0.075", output: "0.4", as_of: "2026-11-20", source: "https://example.com"),
    (provider: "here", model: "ours-70b", input: "1", output: "2", open_weight: true, as_of: "2026-11-20", source: "contract 7"),
])
"#;

const DATA: &str = r#"[{"id": "openai", "pricing_urls": ["https://example.com"], "models": [
    {"id": "gpt-4o-mini", "match": {"equals": "gpt-4o-mini"}, "prices": {"input_mtok": 0.15, "cache_read_mtok": 0.075, "output_mtok": 0.6}},
    {"id": "gpt-4.1", "match": {"equals": "gpt-4.1"}, "prices": {"input_mtok": 1.5, "cache_read_mtok": 0.5, "output_mtok": 8}},
    {"id": "gpt-9", "match": {"starts_with": "gpt-9-"}, "prices": {"input_mtok": {"base": 1, "tiers": [{"start": 100000, "price": 2}]}, "output_mtok": 4}},
    {"id": "gpt-9-audio", "prices": {"input_audio_mtok": 3}}]}]"#;

fn with_day(sandbox: &Sandbox, arguments: &[&str]) -> String {
    sandbox.screen(&[arguments, DAY].concat())
}

#[test]
fn prices_are_listed_by_model_and_provider() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("list", with_day(&sandbox, &["prices", "list", "llama", "--provider", "groq"]));
    insta::assert_snapshot!("list-tiers", with_day(&sandbox, &["prices", "list", "GEMINI-2.5"]));
    assert_eq!(
        with_day(&sandbox, &["prices", "list", "zebra"]),
        "$ lumos prices list zebra --on 2026-11-24\n--- stderr\nno prices; `lumos prices list` without a filter shows all\n--- exit 0\n"
    );
    let (code, document) = sandbox.json(&["prices", "list", "--on", "2026-11-24", "--format", "json"]);
    assert_eq!(code, 0);
    let prices = document["prices"].as_array().expect("prices");
    assert!(prices.len() > 100 && prices.iter().all(|price| price["built_in"] == true && price["as_of"].is_string()));
    assert!(!sandbox.home().exists(), "looking makes nothing");
}

#[test]
fn every_figure_of_a_price_is_shown_with_an_exact_cost() {
    let sandbox = Sandbox::new();
    let sonnet = ["--input", "54234", "--cached", "50000", "--write", "3000", "--write-1h", "1000", "--output", "789"];
    let screen = with_day(&sandbox, &[&["prices", "check", "claude-3-7-sonnet-20250219"], &sonnet[..]].concat());
    // 1,234 × 3 + 50,000 × 0.3 + 2,000 × 3.75 + 1,000 × 6 + 789 × 15 = 44,037 millionths of a dollar.
    insta::assert_snapshot!("check-anthropic", screen);
    let arguments = ["prices", "check", "gpt-4o-mini", "--input", "3000", "--cached", "1024", "--output", "500"];
    let (code, document) = sandbox.json(&[&arguments[..], DAY, &["--format", "json"]].concat());
    assert_eq!(code, 0);
    // 1,976 × 0.15 + 1,024 × 0.075 + 500 × 0.6 = 673.2 millionths of a dollar.
    assert_eq!(document["prices"][0]["example"]["cost_usd"], "0.0006732");
    insta::assert_json_snapshot!("check-json", document);
    insta::assert_snapshot!(
        "check-tiers",
        with_day(&sandbox, &["prices", "check", "gemini-2.5-pro", "--input", "200001", "--batch"])
    );
    insta::assert_snapshot!("check-dated", with_day(&sandbox, &["prices", "check", "mistral-large-4"]));
    insta::assert_snapshot!("check-hosts", with_day(&sandbox, &["prices", "check", "llama-3.1-405b"]));
    insta::assert_snapshot!("check-embedder", with_day(&sandbox, &["prices", "check", "text-embedding-3-small"]));
}

#[test]
fn what_has_no_price_ends_with_the_nearest_names() {
    let sandbox = Sandbox::new();
    let screens: Vec<String> = [
        &["prices", "check", "gpt4o-mini"][..],
        &["prices", "check", "gpt-4o", "--provider", "opnai"],
        &["prices", "check", "zebra"],
        &["prices", "check", "deepseek-v4-pro", "--on", "2026-01-01"],
        &["prices", "check", "gpt-4o", "--on", "2026-02-30"],
        &["prices", "check", "gpt-4o", "--input", "10", "--cached", "11"],
        &["prices", "check", "claude-opus-5", "--write-1h", "1"],
        &["prices", "list", "--provider", "zebra"],
        &["prices", "update", "--from", "none.ron"],
    ]
    .iter()
    .map(|arguments| sandbox.screen(arguments))
    .collect();
    assert!(screens.iter().all(|screen| screen.ends_with("--- exit 2\n")), "{screens:#?}");
    insta::assert_snapshot!("errors", screens.join("\n"));
}

#[test]
fn an_update_says_what_changes_and_overrides_entry_by_entry() {
    let sandbox = Sandbox::new();
    let screen = |arguments: &[&str]| {
        let home = sandbox.home().display().to_string();
        sandbox.screen(arguments).replace(&home, "[home]")
    };
    sandbox.write("newer.ron", NEWER);
    sandbox.write("data.json", DATA);
    let screens = [
        screen(&["prices", "update", "--from", "newer.ron"]),
        screen(&["prices", "update", "--from", "newer.ron"]),
        screen(&["prices", "check", "ours-70b", "--on", "2026-11-24"]),
        screen(&["prices", "update", "--from", "data.json", "--as-of", "2026-11-23"]),
        screen(&["prices", "check", "gpt-9-2026-11-01", "--on", "2026-11-24"]),
    ];
    insta::assert_snapshot!("update", screens.join("\n"));
    let file = std::fs::read_to_string(sandbox.home().join("prices.ron")).expect("the file");
    insta::assert_snapshot!("update-file", file);
}

#[test]
fn a_bad_file_is_refused_as_a_whole() {
    let sandbox = Sandbox::new();
    sandbox.write("newer.ron", NEWER);
    assert!(sandbox.screen(&["prices", "update", "--from", "newer.ron"]).ends_with("--- exit 0\n"));
    let kept = std::fs::read(sandbox.home().join("prices.ron")).expect("the file");
    sandbox.write("syntax.ron", "Prices(version: 1,\n  prices: [oops])");
    sandbox.write("float.ron", &NEWER.replace("\"0.4\"", "0.4"));
    sandbox.write("field.ron", &NEWER.replace("open_weight", "openweight"));
    sandbox.write("sense.ron", &NEWER.replace("\"2\"", "\"-2\"").replace("\"here\"", "\"Here\""));
    sandbox.write("name.ron", &NEWER.replace("\"here\", model", "\"openai\", aliases: [\"gpt-4o\"], model"));
    sandbox.write("shape.json", "[{\"id\": \"openai\"}]");
    let mut screens = Vec::new();
    for file in ["syntax.ron", "float.ron", "field.ron", "sense.ron", "name.ron", "shape.json"] {
        let screen = sandbox.screen(&["prices", "update", "--from", file]);
        assert!(screen.ends_with("--- exit 2\n"), "{screen}");
        screens.push(screen);
    }
    insta::assert_snapshot!("bad-files", screens.join("\n"));
    assert_eq!(std::fs::read(sandbox.home().join("prices.ron")).expect("the file"), kept);
    let left = std::fs::read_dir(sandbox.home()).expect("the home").count();
    assert_eq!(left, 1, "nothing half-written is left");
    // A home's file that somebody broke is told, and nothing is taken for a price.
    sandbox.write("home/prices.ron", "Prices(version: 2, prices: [])");
    let screen = sandbox.screen(&["prices", "list"]);
    assert!(screen.contains("version 2 is not known") && screen.ends_with("--- exit 2\n"), "{screen}");
}
