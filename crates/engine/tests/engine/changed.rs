//! Runs that go on under other files than they were begun with.

use std::sync::Arc;

use lumos_core::load::Bundle;
use lumos_core::program::Program;
use lumos_core::record::{RunRecord, Status};
use lumos_core::scheduler::{Decision, StepId};
use lumos_core::spec::{Durability, NodeSpec, WorkflowSpec};
use lumos_engine::{BoundProgram, CancellationToken, EngineError, NodeBinding, RecordStore, RunRequest, StoreError};
use rusqlite::Connection;
use serde_json::json;

use super::durable::{Answers, Counts, agreed, bind, engine, node, store};

/// A program that knows how it was defined.
fn defined(workflow: &WorkflowSpec, agent: &Arc<Counts>) -> (Arc<BoundProgram>, Bundle) {
    let bundle = Bundle::in_memory(workflow.clone());
    let bound = Arc::into_inner(bind(workflow.clone(), agent, Durability::Full)).expect("nobody else has it");
    (Arc::new(bound.defined_by(bundle.definition())), bundle)
}

/// Two steps, one after the other, that people are asked about, and one after them.
fn asks_twice(end: &str) -> WorkflowSpec {
    WorkflowSpec::new("twice")
        .node("a", node("1").approve("First?"))
        .node("b", node("{{ a.got }}").approve("Then?"))
        .node("end", node(end))
        .output("{{ end.got }}")
}

/// A run that has paused, gone on with what was answered, and paused again.
async fn first_answered(store: &RecordStore, bound: &Arc<BoundProgram>, answered: Answers) -> RunRecord {
    let cancel = CancellationToken::new();
    let run = engine(store).run(bound, RunRequest::default(), &cancel).await.unwrap().record();
    engine(store).resume(bound, &run.run_id, answered, &cancel).await.unwrap().record()
}

#[tokio::test]
async fn under_changed_files_nothing_is_asked_or_done_twice() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(10);
    let (bound, _) = defined(&asks_twice("{{ b.got }}"), &agent);
    let store = store(home.path());
    let cancel = CancellationToken::new();
    let old = first_answered(&store, &bound, agreed(0)).await;
    assert_eq!((old.status, agent.calls()), (Status::Paused, 1));

    let (changed, bundle) = defined(&asks_twice("{{ b.got }}!"), &agent);
    let new = engine(&store).resume_changed((&changed, &bundle), &old.run_id, &cancel).await.unwrap().record();
    assert_eq!((new.status, agent.calls(), &new.continues), (Status::Paused, 1, &Some(old.run_id.clone())));
    assert_eq!((new.steps[0].status, new.steps[1].status), (Status::Succeeded, Status::Paused));
    assert_eq!(store.load(&new.run_id).unwrap(), new);
    assert_eq!(store.load(&old.run_id).unwrap().status, Status::Cancelled);
    // Once more: what the first run knows is not forgotten.
    let (changed, bundle) = defined(&asks_twice("{{ b.got }}?"), &agent);
    let newer = engine(&store).resume_changed((&changed, &bundle), &new.run_id, &cancel).await.unwrap().record();
    assert_eq!((newer.status, agent.calls(), newer.steps[0].status), (Status::Paused, 1, Status::Succeeded));
    for id in [&old.run_id, &new.run_id] {
        assert_eq!(store.successor(id).unwrap().as_ref(), Some(&newer.run_id));
    }
    let done = engine(&store).resume(&changed, &newer.run_id, agreed(1), &cancel).await.unwrap().record();
    assert_eq!((done.status, &done.output, agent.calls()), (Status::Succeeded, &json!("1?"), 3));
    assert!(store.verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn who_dies_while_going_on_under_changed_files_leaves_one_run_to_go_on_with() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(10);
    let (bound, _) = defined(&asks_twice("{{ b.got }}"), &agent);
    let store = store(home.path());
    let cancel = CancellationToken::new();
    let old = first_answered(&store, &bound, agreed(0)).await;
    // The new run's row was written, and nothing more.
    let new = "01M8EQ6QNCNJA00VB3A0XVF026";
    let database = Connection::open(home.path().join("lumos.db")).unwrap();
    database
        .execute(
            "INSERT INTO runs (run_id, workflow, deployment, seed, status, started_at, parent, parent_events, definition,
                               inputs, form)
             SELECT ?1, workflow, deployment, seed, 'running', started_at, id, 0, definition, inputs, 2 FROM runs",
            [new],
        )
        .unwrap();
    assert_eq!(store.successor(&old.run_id).unwrap().as_deref(), Some(new));
    let refused = engine(&store).resume(&bound, &old.run_id, agreed(1), &cancel).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, EngineError::Unreadable(StoreError::Replaced { .. })), "{refused}");
    let taken = engine(&store).resume(&bound, new, Vec::new(), &cancel).await.unwrap().record();
    assert_eq!((taken.status, agent.calls(), taken.steps[0].status), (Status::Paused, 1, Status::Succeeded));
    assert_eq!(store.load(&old.run_id).unwrap().status, Status::Cancelled);
    assert!(store.verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn changed_arguments_that_a_person_gave_stay_under_changed_files() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(10);
    let (bound, _) = defined(&asks_twice("{{ b.got }}"), &agent);
    let store = store(home.path());
    let cancel = CancellationToken::new();
    let edited = vec![(StepId(0), Decision::Edited(json!({ "x": "7" }).into()))];
    let old = first_answered(&store, &bound, edited).await;
    assert_eq!((old.status, agent.calls()), (Status::Paused, 1));
    let (changed, bundle) = defined(&asks_twice("{{ b.got }}!"), &agent);
    let new = engine(&store).resume_changed((&changed, &bundle), &old.run_id, &cancel).await.unwrap().record();
    assert_eq!((&new.steps[0].output, agent.calls()), (&json!({ "got": "7" }), 1));
    assert_eq!(new.steps[0].decision.as_ref().unwrap().verdict, "edited");
}

#[tokio::test]
async fn a_sub_workflow_that_changed_is_agreed_to_again() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(10);
    let of = |x: &str| {
        let inner = WorkflowSpec::new("inner").node("does", node(x)).output("{{ does.got }}");
        let outer = WorkflowSpec::new("outer")
            .node("sub", NodeSpec::workflow("inner.ron").approve("Do it?"))
            .node("end", node("{{ sub }}").approve("Go on?"))
            .output("{{ end.got }}");
        let bundle = Bundle::in_memory(outer).with_subworkflow("inner.ron", inner);
        let program = Program::compile(&bundle.workflows()).unwrap();
        let bound = BoundProgram::new(program, "test", |_| {
            Ok::<_, std::convert::Infallible>(NodeBinding { agent: Some(agent.clone()), backends: Vec::new() })
        });
        (Arc::new(bound.unwrap().defined_by(bundle.definition())), bundle)
    };
    let (bound, _) = of("1");
    let store = store(home.path());
    let cancel = CancellationToken::new();
    let old = first_answered(&store, &bound, agreed(0)).await;
    assert_eq!((old.status, agent.calls()), (Status::Paused, 1));
    for (x, status) in [("1", Status::Succeeded), ("2", Status::Paused)] {
        let (changed, bundle) = of(x);
        let id = store.successor(&old.run_id).unwrap().unwrap_or(old.run_id.clone());
        let new = engine(&store).resume_changed((&changed, &bundle), &id, &cancel).await.unwrap().record();
        assert_eq!((new.steps[0].status, agent.calls()), (status, 1), "{x}");
    }
}
