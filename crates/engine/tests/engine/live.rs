//! What runs when, and what ends it.

use std::sync::Arc;

use lumos_core::record::Status;
use lumos_core::spec::{Backoff, LimitsSpec, NodeSpec, Retry, WorkflowSpec};
use lumos_core::{Clock, Usd};
use lumos_engine::{CancellationToken, Engine, RunRequest};
use serde_json::json;
use tokio::sync::Barrier;

use crate::agents::{Does, backend, bind, bind_with, run};

fn engine() -> Engine {
    Engine::builder().build()
}

fn node(agent: &str) -> NodeSpec {
    NodeSpec::custom(agent)
}

fn two_attempts() -> Retry {
    Retry { attempts: 2, backoff: Backoff { base_s: 0.001, max_s: 0.001 } }
}

#[tokio::test]
async fn independent_branches_overlap_in_time() {
    let workflow = WorkflowSpec::new("overlap")
        .node("first", node("meets"))
        .node("second", node("meets"))
        .node("last", node("answers").after("first").after("second"))
        .output("{{ first }} {{ second }}");
    let barrier = Arc::new(Barrier::new(2));
    let bound = bind(workflow, [("meets", Does::Meets(barrier)), ("answers", Does::Answers)]);
    let finished = run(&engine(), &bound).await;
    assert_eq!(finished.output(), &json!("met met"));
    let record = finished.record();
    let [first, second, last] = &record.steps[..] else { panic!("{} steps", record.steps.len()) };
    let span = |step: &lumos_core::StepRecord| (step.attempts[0].start_us, step.end_us.unwrap());
    assert!(span(first).0 <= span(second).1 && span(second).0 <= span(first).1);
    assert!(span(last).0 >= span(first).1.max(span(second).1));
}

#[tokio::test]
async fn a_wide_map_is_in_flight_all_at_once_and_can_be_cancelled() {
    for (width, cancelled) in [(100, false), (101, true)] {
        let workflow = WorkflowSpec::new("wide")
            .node("list", node("answers").with("entries", "{{ range(100) | list }}"))
            .node("each", node("meets").map("{{ list.arguments.entries }}", None))
            .output("{{ each | length }}");
        let barrier = Arc::new(Barrier::new(width));
        let bound = bind(workflow, [("meets", Does::Meets(barrier)), ("answers", Does::Answers)]);
        let (engine, cancel) = (engine(), CancellationToken::new());
        let (finished, ()) = tokio::join!(engine.run(&bound, RunRequest::default(), &cancel), async {
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            if cancelled {
                cancel.cancel();
            }
        });
        let record = finished.unwrap().record();
        let expected = if cancelled { Status::Cancelled } else { Status::Succeeded };
        assert_eq!(record.status, expected);
        assert!(record.steps[1..].iter().all(|step| step.status == expected) && record.steps.len() == 101);
    }
}

#[tokio::test]
async fn of_many_attempts_in_flight_each_has_its_own_timeout() {
    let slow = || node("waits").timeout_s(0.01);
    let mut workflow = WorkflowSpec::new("timeouts");
    for name in ["a", "b", "c", "d", "e", "f"] {
        workflow = workflow.node(name, slow().retry(two_attempts()));
    }
    let record = run(&engine(), &bind(workflow.output("none"), [("waits", Does::Waits)])).await.record();
    assert_eq!(record.status, Status::Failed);
    // Each had its first attempt time out before any of the second ones could.
    assert!(record.steps.iter().all(|step| step.attempts[0].status == Status::Failed));
}

#[tokio::test]
async fn a_step_starts_when_its_own_dependencies_end_and_not_their_level() {
    // `slow` waits for `after_quick`, which would wait for `slow` if there were barriers between levels.
    let workflow = WorkflowSpec::new("no_barriers")
        .node("quick", node("answers"))
        .node("slow", node("meets"))
        .node("after_quick", node("meets").after("quick"))
        .output("{{ slow }}");
    let barrier = Arc::new(Barrier::new(2));
    let bound = bind(workflow, [("meets", Does::Meets(barrier)), ("answers", Does::Answers)]);
    assert_eq!(run(&engine(), &bound).await.status(), Status::Succeeded);
}

#[tokio::test]
async fn a_cancelled_run_ends_within_200_ms_and_keeps_what_finished() {
    let (_release, until) = std::sync::mpsc::channel();
    let cases = [Does::Waits, Does::Blocks(std::sync::Mutex::new(Some(until)))];
    for does in cases {
        let workflow = WorkflowSpec::new("cancelled")
            .node("done", node("answers"))
            .node("open", node("open").after("done"))
            .output("{{ open }}");
        let bound = bind(workflow, [("answers", Does::Answers), ("open", does)]);
        let (engine, cancel) = (engine(), CancellationToken::new());
        let task = tokio::spawn({
            let (engine, bound, cancel) = (engine.clone(), bound.clone(), cancel.clone());
            async move { engine.run(&bound, RunRequest::default(), &cancel).await.unwrap() }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let before_us = engine.clock().now_us();
        cancel.cancel();
        let record = task.await.unwrap().record();
        assert!(engine.clock().now_us() - before_us < 200_000);
        assert_eq!(record.status, Status::Cancelled);
        let statuses: Vec<Status> = record.steps.iter().map(|step| step.status).collect();
        assert_eq!(statuses, [Status::Succeeded, Status::Cancelled]);
    }
}

#[tokio::test]
async fn a_run_that_never_waits_can_still_be_cancelled() {
    let workflow =
        WorkflowSpec::new("busy").node("again", node("fails").repeat("{{ false }}", u32::MAX)).output("{{ again }}");
    let bound = bind(workflow, [("fails", Does::fails_first(0))]);
    let (engine, cancel) = (engine(), CancellationToken::new());
    let (finished, ()) = tokio::join!(engine.run(&bound, RunRequest::default(), &cancel), async { cancel.cancel() });
    assert_eq!(finished.unwrap().status(), Status::Cancelled);
}

#[tokio::test]
async fn an_agent_that_panics_fails_the_run_and_nothing_else() {
    for (does, message) in [(Does::Panics, "out of luck"), (Does::PanicsEarly, "before it began")] {
        let workflow = WorkflowSpec::new("panics").node("bad", node("bad")).output("{{ bad }}");
        let record = run(&engine(), &bind(workflow, [("bad", does)])).await.record();
        assert_eq!(record.status, Status::Failed);
        assert_eq!(record.error.unwrap().message, format!("the agent panicked: {message}"));
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_and_tried_again() {
    let workflow = WorkflowSpec::new("timeout")
        .node("slow", node("waits").timeout_s(0.01).retry(two_attempts()))
        .output("{{ slow }}");
    let record = run(&engine(), &bind(workflow, [("waits", Does::Waits)])).await.record();
    assert_eq!(record.status, Status::Failed);
    assert_eq!(record.error.unwrap().message, "no answer within 0.01 s");
    let attempts = &record.steps[0].attempts;
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|attempt| attempt.status == Status::Failed && attempt.duration_us >= 9_000));
}

#[tokio::test]
async fn a_retry_makes_up_for_a_failure_that_passes() {
    let workflow = WorkflowSpec::new("retry").node("flaky", node("flaky").retry(two_attempts())).output("{{ flaky }}");
    let record = run(&engine(), &bind(workflow, [("flaky", Does::fails_first(1))])).await.record();
    assert_eq!((record.status, record.output), (Status::Succeeded, json!(2)));
    let statuses: Vec<Status> = record.steps[0].attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Status::Failed, Status::Succeeded]);
}

#[tokio::test]
async fn a_fallback_answers_when_the_bound_backend_cannot() {
    let workflow = WorkflowSpec::new("fallback").node("ask", node("asks").fallback("spare")).output("{{ ask }}");
    let bound = bind_with(workflow, [("asks", Does::Asks)], &[backend("broken"), backend("spare")]);
    let record = run(&engine(), &bound).await.record();
    assert_eq!((record.status, record.output), (Status::Succeeded, json!("spare")));
    let backends: Vec<_> =
        record.steps[0].attempts.iter().map(|attempt| (attempt.backend.as_deref(), attempt.cost_usd)).collect();
    let an_hour = Usd::from_nanos(1_000_000_000);
    assert_eq!(backends, [(Some("broken"), None), (Some("spare"), Some(an_hour))]);
    assert!(!record.totals.cost_complete);
}

#[tokio::test]
async fn the_deadline_ends_a_run_that_waits() {
    let workflow = WorkflowSpec::new("deadline")
        .node("slow", node("waits"))
        .output("{{ slow }}")
        .limits(LimitsSpec { deadline_s: Some(0.01), ..LimitsSpec::default() });
    let record = run(&engine(), &bind(workflow, [("waits", Does::Waits)])).await.record();
    assert_eq!(record.status, Status::Limited);
    assert_eq!(record.steps[0].status, Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_do_not_see_each_other() {
    let workflow = WorkflowSpec::new("many")
        .node("a", node("answers"))
        .node("b", node("answers").with("of", "{{ a.seed }}"))
        .output("{{ b.arguments.of }}");
    let bound = bind(workflow, [("answers", Does::Answers)]);
    let engine = engine();
    let tasks: Vec<_> = (0..500)
        .map(|seed| {
            let (engine, bound) = (engine.clone(), bound.clone());
            tokio::spawn(async move {
                let request = RunRequest { seed, ..RunRequest::default() };
                let finished = engine.run(&bound, request, &CancellationToken::new()).await.unwrap();
                let record = finished.record();
                (record.run_id, record.steps[0].output["seed"].clone(), record.output)
            })
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for task in tasks {
        let (run_id, drawn, output) = task.await.unwrap();
        assert_eq!(drawn, output);
        assert!(seen.insert(run_id) & seen.insert(drawn.to_string()));
    }
}
