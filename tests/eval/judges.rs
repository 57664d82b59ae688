//! Judges: models that grade, whose tokens are charged and shown apart.

use std::time::Duration;

use super::{Served, answer, command, deployment, document, figure, number, per_token, question, sandbox};

/// Writes items, and grades an even one with 9 and an odd one with 4; one grade is no grade at first.
fn writer_and_judge() -> Served {
    let flawed = std::sync::atomic::AtomicBool::new(true);
    Served::by(move |request| {
        // Whoever asks again for a grade that was none does so in a message of its own.
        let asked = String::from_utf8_lossy(&request.body).into_owned();
        if !asked.contains("Grade the answer") {
            return answer(&format!("item {}", number(&question(request))), Duration::ZERO, (100, 10));
        }
        if flawed.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return answer("good", Duration::ZERO, (1_000, 1));
        }
        let item: String =
            { asked.split("item ").nth(1) }.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        let score = if item.parse::<u64>().is_ok_and(|item| item % 2 == 0) { 9 } else { 4 };
        answer(&format!("{{\"reason\": \"as it is\", \"score\": {score}}}"), Duration::ZERO, (1_000, 20))
    })
}

#[test]
fn what_judges_cost_is_charged_and_shown_apart() {
    let served = writer_and_judge();
    let sandbox = sandbox(4);
    sandbox.write("a.ron", &deployment("a", &served.url(), &per_token("1", "10")));
    let judge = "judge(rubric=\"Is it {{ polite }}?\", alias=judge)";
    let arguments = ["eval", "ask.ron", "-d", "./a.ron", "--dataset", "d.jsonl", "-s", judge];
    let (code, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!(code, Some(0));
    assert_eq!(figure(&found, "/scores/judge/value"), (0.4 + 0.9 + 0.4 + 0.9) / 4.0);
    assert_eq!(found["outcomes"][0]["scores"]["judge"]["reason"], "as it is");
    // 4 runs of 100 and 10 tokens; 5 grades of 1,000 tokens, of which 4 had 20 and one had 1.
    assert_eq!(figure(&found, "/total_cost_usd/value"), 4.0 * (100.0 + 100.0) / 1e6);
    assert_eq!(found["judging"]["cost_usd"], "0.00581", "{:#}", found["judging"]);
    assert_eq!((&found["judging"]["input_tokens"], &found["judging"]["output_tokens"]), (&5_000.into(), &81.into()));
    assert_eq!((figure(&found, "/input_tokens/value"), &found["judging"]["runs"]), (100.0, &4.into()));
    // A judge's runs are kept as any others, and a rubric is no template.
    let (_, runs) = sandbox.json(&["runs", "list", "--format", "json"]);
    assert_eq!(runs["runs"].as_array().unwrap().iter().filter(|run| run["workflow"] == "judge").count(), 4);
    let asked = served.server.requests();
    assert!(asked.iter().any(|it| String::from_utf8_lossy(&it.body).contains("Is it {{ polite }}?")));
}

#[test]
fn a_judge_is_sent_nothing_that_the_boundary_keeps() {
    let served = writer_and_judge();
    let sandbox = sandbox(1);
    sandbox.write("ask.ron", &super::ASK.replace("Text(required: true)", "Text(required: true, labels: [Pii])"));
    let inside = |inside: &str| {
        let text = deployment("a", &served.url(), &per_token("1", "10"));
        let more = format!("    boundary: (inside: [{inside}], forbid_outside: [Pii]),\n)");
        text.trim_end_matches(')').to_owned() + &more
    };
    sandbox.write("a.ron", &inside("\"api\""));
    sandbox.write("j.ron", &inside("").replace("name: \"a\"", "name: \"j\""));
    let arguments = ["eval", "ask.ron", "-d", "./a.ron", "--judges", "./j.ron", "--dataset", "d.jsonl", "-s"];
    let (_, found) =
        document(&command(&sandbox, &[&arguments[..], &["judge(rubric=x, alias=api)"]].concat()).output().unwrap());
    let reason = found["outcomes"][0]["scores"]["judge"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("labelled `Pii`"), "{found:#}");
    assert_eq!((served.requests(), &found["quality"]["value"]), (1, &serde_json::Value::Null));
}

#[test]
fn that_another_model_judges_than_the_one_that_is_named_is_said() {
    let served = writer_and_judge();
    let sandbox = sandbox(1);
    sandbox.write("a.ron", &deployment("a", &served.url(), &per_token("1", "10")));
    let stderr = |judge: &str| {
        let arguments = ["eval", "ask.ron", "-d", "./a.ron", "--dataset", "d.jsonl", "-s", judge];
        let output = command(&sandbox, &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = stderr("judge(rubric=x, alias=apy)");
    assert!(said.contains("deployment `a` has no alias or backend `apy`: `*` stands for it, which is `api`"), "{said}");
    assert!(said.contains("did you mean `api`?"), "{said}");
    // Nothing is to be said where a backend is named, or nothing.
    for judge in ["judge(rubric=x, alias=api)", "judge(rubric=x)"] {
        assert!(!stderr(judge).contains("no alias"), "{judge}");
    }
}
