//! Runs that wait for people: what was agreed to, by whom, in time or not, and who is asked again.

use indexmap::IndexMap;
use lumos_core::record::Status;
use lumos_core::scheduler::{By, Decision, StepId};
use lumos_core::spec::{ApprovalSpec, Durability, InputSpec, NodeSpec, Verdict, WorkflowSpec};
use lumos_engine::{CancellationToken, Fork, RunRequest};
use serde_json::{Value, json};

use super::durable::{Counts, agreed, bind, engine, interrupted, node, store};

/// A step that waits for a person for so many seconds.
fn asked(timeout_s: f64, default: Verdict) -> NodeSpec {
    let mut node = node("1");
    let ask = "Go on?".to_owned();
    node.options.approve = Some(ApprovalSpec { ask, timeout_s: Some(timeout_s), default: Some(default) });
    node
}

#[tokio::test]
async fn a_default_holds_while_the_run_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("asks")
        .node("asked", asked(0.001, Verdict::Approve))
        .node("slow", node("2"))
        .output("{{ asked.got }}{{ slow.got }}");
    let agent = Counts::new(0);
    let bound = bind(workflow, &agent, Durability::Full);
    let store = store(home.path());
    let task = tokio::spawn({
        let engine = engine(&store);
        async move { engine.run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap().record() }
    });
    // The step begins beside the slow one, which has not ended.
    while agent.calls() < 2 {
        tokio::task::yield_now().await;
    }
    agent.permits.add_permits(2);
    let record = task.await.unwrap();
    assert_eq!((record.status, &record.output), (Status::Succeeded, &json!("12")));
    assert_eq!(record.steps[0].decision.as_ref().unwrap().by, By::Timeout);
    assert_eq!(store.load(&record.run_id).unwrap(), record);
}

#[tokio::test]
async fn who_decides_too_late_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("asks").node("asked", asked(0.001, Verdict::Reject)).output("{{ asked.got }}");
    let agent = Counts::new(1);
    let bound = bind(workflow, &agent, Durability::Full);
    let store = store(home.path());
    let engine = engine(&store);
    let paused = engine.run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap().record();
    assert_eq!((paused.status, paused.steps[0].default.as_deref()), (Status::Paused, Some("rejected")));
    let kept = store.load(&paused.run_id).unwrap();
    assert!(kept.steps[0].due_at.is_some() && kept == paused);
    while store.history(&paused.run_id).unwrap().overdue().is_empty() {
        tokio::task::yield_now().await;
    }
    // A fork asks anew.
    let fork = Fork { run_id: paused.run_id.clone(), at: StepId(0), ..Fork::default() };
    let forked = engine.fork(&bound, &fork, &CancellationToken::new()).await.unwrap().record();
    assert_eq!((&forked, forked.status), (&store.load(&forked.run_id).unwrap(), Status::Paused));
    assert!(forked.steps[0].due_at > kept.steps[0].due_at);
    let record = engine.resume(&bound, &paused.run_id, agreed(0), &CancellationToken::new()).await.unwrap().record();
    assert_eq!((record.status, agent.calls()), (Status::Refused, 0));
    assert_eq!(record.steps[0].decision.as_ref().unwrap().by, By::Timeout);
    assert_eq!(store.replay(&bound, &record.run_id).unwrap().difference, None);
}

#[tokio::test]
async fn a_fork_asks_again_about_what_was_agreed_to_before() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("pays")
        .input("p", InputSpec::text().default_value("2"))
        .node("quote", node("{{ inputs.p }}"))
        .node("pay", node("{{ inputs.p }}").approve("Pay {{ inputs.p }}?").after("quote"))
        .output("{{ pay.got }}");
    let agent = Counts::new(10);
    let bound = bind(workflow, &agent, Durability::Full);
    let store = store(home.path());
    let engine = engine(&store);
    let cancel = CancellationToken::new();
    let paused = engine.run(&bound, RunRequest::default(), &cancel).await.unwrap().record();
    engine.resume(&bound, &paused.run_id, agreed(1), &cancel).await.unwrap();
    assert_eq!(agent.calls(), 2);
    let inputs: IndexMap<String, Value> = [("p".to_owned(), json!("1000000"))].into_iter().collect();
    for (inputs, question) in [(IndexMap::new(), "Pay 2?"), (inputs, "Pay 1000000?")] {
        let fork = Fork { run_id: paused.run_id.clone(), at: StepId(1), inputs, ..Fork::default() };
        let forked = engine.fork(&bound, &fork, &cancel).await.unwrap().record();
        assert_eq!((forked.status, agent.calls()), (Status::Paused, 2));
        assert_eq!(forked.steps[1].question.as_deref(), Some(question));
        assert_eq!(store.load(&forked.run_id).unwrap(), forked);
        assert_eq!(store.replay(&bound, &forked.run_id).unwrap().difference, None);
    }
    assert!(store.verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn a_fork_before_the_step_at_which_another_began_takes_its_inputs() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("pays")
        .input("p", InputSpec::text().default_value("1"))
        .node("quote", node("{{ inputs.p }}"))
        .node("pay", node("{{ quote.got }}{{ inputs.p }}"))
        .node("tell", node("{{ pay.got }}{{ inputs.p }}"))
        .output("{{ tell.got }}");
    let agent = Counts::new(10);
    let bound = bind(workflow, &agent, Durability::Full);
    let store = store(home.path());
    let engine = engine(&store);
    let cancel = CancellationToken::new();
    let mut run = engine.run(&bound, RunRequest::default(), &cancel).await.unwrap().record();
    let two: IndexMap<String, Value> = [("p".to_owned(), json!("2"))].into_iter().collect();
    // In turn: others from the second step on; the same from the first and from the last on.
    let expected = [(1, two, "122"), (0, IndexMap::new(), "222"), (2, IndexMap::new(), "222")];
    for (at, inputs, output) in expected {
        let fork = Fork { run_id: run.run_id.clone(), at: StepId(at), inputs, ..Fork::default() };
        run = engine.fork(&bound, &fork, &cancel).await.unwrap().record();
        assert_eq!((&run.output, &run.inputs["p"]), (&json!(output), &json!("2")));
        assert_eq!(store.load(&run.run_id).unwrap(), run);
        assert_eq!(store.replay(&bound, &run.run_id).unwrap().difference, None);
    }
    assert!(store.verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn what_was_in_flight_is_interrupted_before_a_rejection_ends_the_run() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("rejects")
        .node("asked", node("1").approve("Go on?"))
        .node("slow", node("2"))
        .output("{{ asked.got }}{{ slow.got }}");
    let (_, bound, id) = interrupted(home.path(), workflow, 0).await;
    let store = store(home.path());
    let rejected = vec![(StepId(0), Decision::Rejected { reason: None, by: By::Person })];
    let record = engine(&store).resume(&bound, &id, rejected, &CancellationToken::new()).await.unwrap().record();
    let slow = &record.steps[1].attempts[0];
    assert_eq!((record.status, slow.status), (Status::Refused, Status::Interrupted));
    assert_eq!(store.replay(&bound, &id).unwrap().difference, None);
}

#[tokio::test]
async fn a_fork_asks_about_what_was_agreed_to_and_not_done() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("pays")
        .node("pay", node("1").approve("Pay?"))
        .node("other", node("2").approve("Go on?"))
        .output("{{ pay.got }}{{ other.got }}");
    let agent = Counts::new(0);
    let bound = bind(workflow, &agent, Durability::Full);
    let store = store(home.path());
    let cancel = CancellationToken::new();
    let id = engine(&store).run(&bound, RunRequest::default(), &cancel).await.unwrap().record().run_id;
    let task = tokio::spawn({
        let (engine, bound, id, decided) = (engine(&store), bound.clone(), id.clone(), agreed(0));
        async move { engine.resume(&bound, &id, decided, &CancellationToken::new()).await.map(|_| ()) }
    });
    while agent.calls() < 1 {
        tokio::task::yield_now().await;
    }
    task.abort();
    task.await.unwrap_err();
    agent.permits.add_permits(10);
    engine(&store).resume(&bound, &id, agreed(1), &cancel).await.unwrap();
    let calls = agent.calls();
    let fork = Fork { run_id: id, at: StepId(1), ..Fork::default() };
    let forked = engine(&store).fork(&bound, &fork, &cancel).await.unwrap().record();
    assert_eq!((forked.status, agent.calls()), (Status::Paused, calls));
    assert!(forked.steps.iter().all(|step| step.status == Status::Paused && step.decision.is_none()));
    assert_eq!(store.load(&forked.run_id).unwrap(), forked);
}
