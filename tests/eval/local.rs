//! A real model and real retrieval, scored: the shipped workflow on the shipped deployment.

use tempfile::NamedTempFile;

use crate::home;

#[test]
fn the_shipped_workflow_is_scored_on_a_model_in_this_process() {
    let rows = NamedTempFile::with_suffix(".jsonl").expect("a file");
    let row = |question: &str, note: &str| {
        format!(
            "{{\"inputs\": {{\"question\": \"{question}\"}}, \"nodes\": {{\"find\": {{\"expected\": [\"{note}\"]}}}}, \
             \"scorers\": [\"regex('Sources:')\", \"find: ndcg(3)\"]}}\n"
        )
    };
    let text = row("Which supplier delivers frozen goods?", "polar-frozen.md")
        + &row("When does the dairy deliver?", "northway-dairy.md");
    std::fs::write(rows.path(), text).expect("a file");
    let path = rows.path().to_str().expect("UTF-8");
    let found = home::json(&["eval", "workflows/rag.ron", "--dataset", path, "--format", "json"]);
    assert_eq!((&found["deployment"], &found["statuses"]["succeeded"]), (&"local".into(), &2.into()));
    assert_eq!(found["scores"]["regex"]["value"], 1.0);
    assert!(found["scores"]["find:ndcg(3)"]["value"].is_number());
    assert_eq!(
        (&found["latency_s"]["p50"]["basis"], &found["output_tokens"]["basis"]),
        (&"measured".into(), &"measured".into())
    );
    assert!(found["ttft_s"]["p50"]["value"].as_f64() > Some(0.0));
    assert_eq!((&found["cost_usd"]["basis"], &found["total_bytes_outside"]), (&"estimated".into(), &0.into()));
}
