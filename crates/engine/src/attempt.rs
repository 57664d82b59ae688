//! One attempt: its request, its execution and its bill.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use lumos_core::program::LiveValue;
use lumos_core::scheduler::{AttemptId, Bill, Estimate, EventKind, Failure, RunState};
use lumos_core::{AgentCall, AgentError, Arguments, ChatRequest, Delta, DeltaSink, NoDeltas, SharedAgent};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::binding::{BoundBackend, BoundProgram};
use crate::event::{RunEvent, SharedSink};
use lumos_core::program::Program;

/// An attempt that is ready to be made.
pub(crate) struct Ready {
    pub(crate) id: AttemptId,
    agent: SharedAgent,
    backend: Option<Arc<BoundBackend>>,
    arguments: Arguments,
    request: Option<ChatRequest>,
    seed: u64,
}

/// Renders an attempt's arguments and builds its request.
pub(crate) fn prepare(
    bound: &BoundProgram,
    state: &RunState<Program>,
    id: AttemptId,
) -> Result<(Ready, Estimate), Failure> {
    let program = bound.program();
    let step = state.step(id.step);
    let node = program.node(state.graph_of(id.step), step.node);
    let binding = bound.binding(node.position);
    let agent =
        binding.agent.clone().ok_or_else(|| Failure::fatal(format!("the node `{}` has no agent", node.name)))?;
    let backend = bound.backend(node.position, state.candidate(id.step)).cloned();
    let arguments = program.arguments(state, id.step)?;
    let seed = state.attempt_seed(id);
    let shared = backend.as_ref().map(|bound| &bound.backend);
    let mut prepared = agent.prepare(&arguments, shared).map_err(failure)?;
    if let Some(request) = &mut prepared.request {
        request.decoding.seed = seed;
    }
    let timeout_us = program.plan().graph(state.graph_of(id.step)).node(step.node).policy.timeout_us;
    let input_tokens = prepared.input_tokens.or_else(|| shared?.count_input_tokens(prepared.request.as_ref()?));
    let estimate = Estimate {
        worst_cost: backend.as_ref().and_then(|bound| bound.price.worst_cost(timeout_us)),
        input_tokens,
        request_hash: request_hash(backend.as_deref(), &arguments, prepared.request.as_ref()),
    };
    Ok((Ready { id, agent, backend, arguments, request: prepared.request, seed }, estimate))
}

/// The first eight bytes of the SHA-256 of everything that determines an answer; zero when nothing does.
fn request_hash(backend: Option<&BoundBackend>, arguments: &Arguments, request: Option<&ChatRequest>) -> u64 {
    #[derive(Serialize)]
    struct Determinants<'a> {
        model: Option<(&'a str, &'a str)>,
        arguments: &'a Arguments,
        request: Option<&'a ChatRequest>,
    }
    if arguments.is_empty() && request.is_none() {
        return 0;
    }
    let model = backend.map(|bound| (bound.reference.provider.as_str(), bound.reference.model.as_str()));
    let mut hasher = Sha256::new();
    // Writing to a hasher cannot fail, and neither texts nor JSON values can fail to serialise.
    let written = serde_json::to_writer(&mut hasher, &Determinants { model, arguments, request });
    debug_assert!(written.is_ok());
    let digest = hasher.finalize();
    u64::from_be_bytes(std::array::from_fn(|index| digest[index]))
}

/// Makes an attempt; never panics, whatever the agent does.
pub(crate) async fn execute(ready: Ready, deltas: Option<Deltas>) -> (AttemptId, EventKind<LiveValue>) {
    let Ready { id, agent, backend, arguments, request, seed } = ready;
    let no_deltas = NoDeltas;
    let call = AgentCall {
        arguments: &arguments,
        request,
        backend: backend.as_ref().map(|bound| bound.backend.clone()),
        deltas: deltas.as_ref().map_or(&no_deltas as &dyn DeltaSink, |deltas| deltas),
        seed,
    };
    let result = AssertUnwindSafe(agent.run(call)).catch_unwind().await;
    let bill = |report: Option<Box<lumos_core::CallReport>>| Bill {
        cost: report.as_deref().and_then(|report| backend.as_ref()?.price.cost(report)),
        report,
    };
    let kind = match result {
        Ok(Ok(output)) => EventKind::Succeeded(id, output.value.into(), bill(output.report.map(Box::new))),
        Ok(Err(mut error)) => {
            let report = error.report.take();
            EventKind::Failed(id, failure(error), bill(report))
        }
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            EventKind::Failed(id, Failure::fatal(format!("the agent panicked: {message}")), Bill::default())
        }
    };
    (id, kind)
}

fn failure(error: AgentError) -> Failure {
    Failure { message: error.message, hint: error.hint, retryable: error.retryable }
}

/// Passes the pieces of one attempt's answer on to the sinks.
pub(crate) struct Deltas {
    pub(crate) run_id: Arc<str>,
    pub(crate) step: u32,
    pub(crate) node: String,
    pub(crate) sinks: Arc<[SharedSink]>,
}

impl DeltaSink for Deltas {
    fn delta(&self, delta: Delta<'_>) {
        let event = RunEvent::Delta {
            step: self.step,
            node: self.node.clone(),
            text: delta.text.to_owned(),
            output_tokens: delta.output_tokens,
        };
        for sink in self.sinks.iter() {
            sink.event(&self.run_id, &event);
        }
    }
}
