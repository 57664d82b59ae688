//! Data sets, scorers and gates that are wrong: said before anything runs, with the line.

use crate::cli::Sandbox;

#[test]
fn mistakes_are_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", "{\"inputs\": {\"note\": \"x\"}, \"expected\": 6}\n");
    sandbox.write("empty.jsonl", "\n\n");
    sandbox.write(
        "bad.jsonl",
        "{\"inputs\": {\"note\": \"x\"}, \"expected\": 6}\n{\"inputs\": {\"nte\": \"x\"}, \"expected\": 6}\n{\"inputs\": \n",
    );
    sandbox.write("deployments/a.ron", &super::deployment("a", "http://127.0.0.1:9", "cost: Unknown"));
    let eval = |rest: &[&'static str]| [&["eval", "order.ron", "--dataset"][..], rest].concat();
    for (name, arguments) in [
        ("bad-rows", eval(&["bad.jsonl"])),
        ("no-rows", eval(&["empty.jsonl"])),
        ("no-data-set", eval(&["e.jsonl"])),
        ("unknown-scorer", eval(&["d.jsonl", "-s", "f2"])),
        ("no-expectation", eval(&["d.jsonl", "-s", "total: number"])),
        ("wrong-expectation", eval(&["d.jsonl", "-s", "smape"])),
        ("unknown-node", eval(&["d.jsonl", "-s", "totl: regex('x')"])),
        ("unknown-metric", eval(&["d.jsonl", "--gate", "p95 < 2"])),
        ("no-judge", eval(&["d.jsonl", "-s", "judge(rubric='Right?')"])),
        ("unregistered", eval(&["d.jsonl", "-s", "custom(mine)"])),
        ("no-runs", vec!["compare", "order.ron", "-d", "a"]),
        ("twice", vec!["compare", "order.ron", "-d", "a", "-d", "deployments/a.ron", "--dataset", "d.jsonl"]),
    ] {
        let screen = sandbox.screen(&arguments);
        assert!(screen.ends_with("--- exit 2\n"), "{name}: {screen}");
        insta::assert_snapshot!(name, screen);
    }
    let (_, runs) = sandbox.json(&["runs", "list", "--format", "json"]);
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(0));
    let (code, document) = sandbox.json(&["eval", "order.ron", "--dataset", "bad.jsonl", "--format", "json"]);
    assert_eq!((code, &document["problems"][0]["line"]), (2, &2.into()));
}
