//! Runs that wait for a person: what they print, what programs read, and that nothing behind the question happens.

use super::Sandbox;

const BUY: &str = r#"Workflow(
    name: "buy",
    inputs: { "units": Integer(default: 40) },
    nodes: {
        "price": Tool(agent: "sum", with: { "expression": "{{ inputs.units }} * 3" }),
        "order": Tool(
            agent: "sum", with: { "expression": "{{ price.result }} + 1" },
            approve: (ask: "Order {{ inputs.units }} units for {{ price.result }} USD?", timeout_s: 86400),
        ),
        "each": Tool(
            agent: "sum", map: "{{ ['1 / 0', '2'] }}", with: { "expression": "{{ item }}" },
            approve: "Work out {{ item }}?", after: ["price"],
        ),
    },
    output: "{{ order.result }} {{ each }}",
)"#;

#[test]
fn a_run_pauses_with_its_questions_and_says_how_to_go_on() {
    let sandbox = Sandbox::new();
    sandbox.write("buy.ron", BUY);
    super::screens::redacted(|| insta::assert_snapshot!("paused", sandbox.screen(&["run", "buy.ron"])));
    let (code, record) = sandbox.json(&["run", "buy.ron", "--format", "json"]);
    assert_eq!((code, record["status"].as_str()), (5, Some("paused")), "{record}");
    let step = |node: &str| record["steps"].as_array().unwrap().iter().find(|step| step["node"] == node).unwrap();
    let order = step("order");
    assert_eq!(
        (order["status"].as_str(), order["question"].as_str()),
        (Some("paused"), Some("Order 40 units for 120 USD?"))
    );
    assert_eq!(order["arguments"]["expression"], "120 + 1");
    // Nothing fails before it was allowed to begin.
    assert!(
        order["attempts"].as_array().unwrap().is_empty() && step("each")["attempts"].as_array().unwrap().is_empty()
    );
    assert!(step("price").get("question").is_none() && order.get("decision").is_none());
    let id = record["run_id"].as_str().unwrap();
    let (_, shown) = sandbox.json(&["runs", "show", id, "--format", "json"]);
    assert_eq!(shown, record);
}

#[test]
fn a_person_may_change_some_arguments_and_no_others() {
    let sandbox = Sandbox::new();
    sandbox.write("buy.ron", BUY);
    sandbox.write("wrong.json", "{ \"expresion\": \"2\" }");
    sandbox.write("right.json", "{ \"expression\": \"2\" }");
    let (_, record) = sandbox.json(&["run", "buy.ron", "--format", "json"]);
    let id = record["run_id"].as_str().unwrap();
    let screen = sandbox.screen(&["approve", id, "order", "--edit", "wrong.json"]);
    assert!(screen.contains("`order` takes no argument `expresion`") && screen.ends_with("--- exit 2\n"), "{screen}");
    let step = |record: &serde_json::Value, node: &str| {
        record["steps"].as_array().unwrap().iter().find(|step| step["node"] == node).unwrap().clone()
    };
    let (code, record) = sandbox.json(&["approve", id, "order", "--edit", "right.json", "--format", "json"]);
    let order = step(&record, "order");
    assert_eq!((code, &order["output"]["result"]), (5, &2.into()), "{record}");
    assert_eq!(order["decision"], serde_json::json!({ "verdict": "edited", "by": "person" }));
    assert_eq!(
        (&order["arguments"]["expression"], &order["question"]),
        (&"2".into(), &"Order 40 units for 120 USD?".into())
    );
    let (code, record) =
        sandbox.json(&["approve", id, "each[1]", "--reject", "--reason", "too dear", "--format", "json"]);
    assert_eq!(
        (code, record["error"]["message"].as_str()),
        (3, Some("a person rejected `each[1]`: too dear")),
        "{record}"
    );
}

#[test]
fn a_question_is_drawn_and_planned_before_anybody_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.write("buy.ron", BUY);
    insta::assert_snapshot!("graph-asks", sandbox.screen(&["graph", "buy.ron"]));
    for format in ["mermaid", "dot", "svg"] {
        let drawing = sandbox.screen(&["graph", "buy.ron", "--format", format]);
        assert!(drawing.contains("asks a person"), "{drawing}");
    }
    insta::assert_snapshot!("dry-run-asks", sandbox.screen(&["run", "buy.ron", "--dry-run"]));
}
