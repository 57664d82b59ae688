//! Numbers that are out of range.

use super::sink::{MAX_SECONDS, Sink};
use crate::money::Usd;
use crate::spec::{NodeKind, NodeSpec, WorkflowSpec};

/// The limits of a workflow.
pub(super) fn workflow(sink: &mut Sink<'_>, spec: &WorkflowSpec) {
    let limits = &spec.limits;
    if let Some(cost) = limits.cost_usd.filter(|cost| *cost <= Usd::ZERO) {
        sink.error("limits.cost_usd", format!("`cost_usd` is {cost}"), "an amount above 0, e.g. \"0.05\"".to_owned());
    }
    sink.seconds("limits.deadline_s", limits.deadline_s);
    sink.at_least_one("limits.steps", limits.steps);
}

/// The numbers of a node and its options.
pub(super) fn node(sink: &mut Sink<'_>, path: &str, node: &NodeSpec) {
    let options = &node.options;
    match &node.kind {
        NodeKind::Retriever { top_k, .. } => sink.at_least_one(&format!("{path}.top_k"), *top_k),
        NodeKind::Forecaster { horizon, .. } => sink.at_least_one(&format!("{path}.horizon"), Some(*horizon)),
        _ => {}
    }
    if matches!(node.kind, NodeKind::Workflow { .. }) {
        let written = [
            ("timeout_s", options.timeout_s.is_some(), "or bound the whole run by `limits: (deadline_s: …)`"),
            ("retry", options.retry.is_some(), "or `repeat` the workflow until its output will do"),
            ("fallback", !options.fallback.is_empty(), "or bind other backends in the deployment"),
        ];
        for (field, _, other) in written.into_iter().filter(|(_, is_written, _)| *is_written) {
            let message = format!("`{field}` is about attempts, and a sub-workflow makes none of its own");
            sink.error(&format!("{path}.{field}"), message, format!("give it to the nodes inside, {other}"));
        }
    }
    sink.seconds(&format!("{path}.timeout_s"), options.timeout_s);
    if let Some(approve) = &options.approve {
        sink.seconds(&format!("{path}.approve.timeout_s"), approve.timeout_s);
        if approve.default.is_some() && approve.timeout_s.is_none() {
            let hint = "add `timeout_s`, or remove it: without one a step waits for as long as it takes".to_owned();
            sink.error(
                &format!("{path}.approve.default"),
                "`default` holds after `timeout_s`, which is not there",
                hint,
            );
        }
        if approve.ask.trim().is_empty() {
            let at = if sink.has(&format!("{path}.approve.ask")) { "approve.ask" } else { "approve" };
            let hint = "say what is to be decided, e.g. \"Order {{ plan.total }} units?\"".to_owned();
            sink.error(&format!("{path}.{at}"), "the question is empty", hint);
        }
    }
    sink.at_least_one(&format!("{path}.concurrency"), options.concurrency);
    if options.concurrency.is_some() && options.map.is_none() {
        let hint = "add `map`, or remove it".to_owned();
        sink.warning(
            &format!("{path}.concurrency"),
            "`concurrency` bounds the entries of `map`, which is not there",
            hint,
        );
    }
    sink.at_least_one(&format!("{path}.repeat.at_most"), options.repeat.as_ref().map(|repeat| repeat.at_most));
    if let Some(retry) = &options.retry {
        sink.at_least_one(&format!("{path}.retry.attempts"), Some(retry.attempts));
        let backoff = &retry.backoff;
        for (name, seconds) in [("base_s", backoff.base_s), ("max_s", backoff.max_s)] {
            if !(0.0..=MAX_SECONDS).contains(&seconds) {
                let hint = format!("seconds, from 0 to {MAX_SECONDS}");
                sink.error(&format!("{path}.retry.backoff.{name}"), format!("`{name}` is {seconds}"), hint);
            }
        }
        if backoff.base_s > backoff.max_s {
            let hint = "the pause doubles from `base_s` up to `max_s`".to_owned();
            sink.error(&format!("{path}.retry.backoff"), "`base_s` is more than `max_s`", hint);
        }
    }
}
