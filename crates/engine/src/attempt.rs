//! One attempt: its request, its execution and its bill.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use futures_util::FutureExt;
use lumos_core::program::{LiveValue, Program};
use lumos_core::scheduler::{AttemptId, Bill, Estimate, EventKind, Failure, RunState};
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, CallReport, ChatRequest, Delta, DeltaSink, NoDeltas,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::binding::{BoundBackend, BoundProgram};
use crate::event::{Audience, RunEvent};

/// How an attempt ended, as the scheduler takes it.
pub(crate) type Happening = EventKind<LiveValue>;

/// An attempt; nothing happens before it is first polled.
pub(crate) type Execution<'a> = Pin<Box<dyn Future<Output = Happening> + Send + 'a>>;

/// Renders an attempt's arguments and builds its request.
pub(crate) fn prepare<'a>(
    bound: &'a BoundProgram,
    state: &RunState<Program>,
    id: AttemptId,
    audience: Option<&'a Audience>,
) -> Result<(Execution<'a>, Estimate), Failure> {
    let program = bound.program();
    let step = state.step(id.step);
    let graph = state.graph_of(id.step);
    let node = program.node(graph, step.node);
    let no_agent = || Failure::fatal(format!("the node `{}` has no agent", node.name));
    let agent = bound.binding(node.position).agent.as_ref().ok_or_else(no_agent)?;
    let backend = bound.backend(node.position, state.candidate(id.step)).map(|backend| &**backend);
    let arguments = program.arguments(state, id.step)?;
    let seed = state.attempt_seed(id);
    let shared = backend.map(|bound| &bound.backend);
    let mut prepared = catch_unwind(AssertUnwindSafe(|| agent.prepare(&arguments, shared)))
        .map_err(|panic| panicked(&*panic))?
        .map_err(failure)?;
    if let Some(request) = &mut prepared.request {
        request.decoding.seed = seed;
    }
    let timeout_us = program.plan().graph(graph).node(step.node).policy.timeout_us;
    let input_tokens = prepared.input_tokens.or_else(|| shared?.count_input_tokens(prepared.request.as_ref()?));
    let estimate = Estimate {
        worst_cost: backend.and_then(|bound| bound.price.worst_cost(timeout_us)),
        input_tokens,
        request_hash: request_hash(backend, &arguments, prepared.request.as_ref()),
    };
    let attempt = Attempt {
        id,
        agent: &**agent,
        backend,
        arguments,
        request: prepared.request.map(Box::new),
        seed,
        deltas: audience.map(|audience| Deltas { audience, step: id.step.0, node: &node.name }),
    };
    Ok((execute(attempt), estimate))
}

struct Attempt<'a> {
    id: AttemptId,
    agent: &'a dyn Agent,
    backend: Option<&'a BoundBackend>,
    arguments: Arguments,
    request: Option<Box<ChatRequest>>,
    seed: u64,
    deltas: Option<Deltas<'a>>,
}

impl Attempt<'_> {
    fn happened(&self, result: Result<Result<AgentOutput, AgentError>, Box<dyn Any + Send>>) -> Happening {
        let bill = |report: Option<Box<CallReport>>| Bill {
            cost: report.as_deref().and_then(|report| self.backend?.price.cost(report)),
            report,
        };
        match result {
            Ok(Ok(output)) => EventKind::Succeeded(self.id, output.value.into(), bill(output.report.map(Box::new))),
            Ok(Err(mut error)) => {
                let report = error.report.take();
                EventKind::Failed(self.id, failure(error), bill(report))
            }
            Err(panic) => EventKind::Failed(self.id, panicked(&*panic), Bill::default()),
        }
    }
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
fn execute(mut attempt: Attempt<'_>) -> Execution<'_> {
    // A block, because an `async fn` would hold its argument twice.
    Box::pin(async move {
        let agent = attempt.agent;
        let call = AgentCall {
            arguments: &attempt.arguments,
            request: attempt.request.take().map(|request| *request),
            backend: attempt.backend.map(|bound| bound.backend.clone()),
            deltas: attempt.deltas.as_ref().map_or(&NoDeltas as &dyn DeltaSink, |deltas| deltas),
            seed: attempt.seed,
        };
        // `run` itself may panic too, when it is not an `async fn`.
        let result = match catch_unwind(AssertUnwindSafe(|| agent.run(call))) {
            Ok(running) => AssertUnwindSafe(running).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        attempt.happened(result)
    })
}

/// What a caught panic says.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::fatal(format!("the agent panicked: {}", text.unwrap_or("without a message")))
}

fn failure(error: AgentError) -> Failure {
    Failure { message: error.message, hint: error.hint, retryable: error.retryable }
}

/// Passes the pieces of one attempt's answer on to the sinks.
struct Deltas<'a> {
    audience: &'a Audience,
    step: u32,
    node: &'a str,
}

impl DeltaSink for Deltas<'_> {
    fn delta(&self, delta: Delta<'_>) {
        self.audience.tell(&RunEvent::Delta {
            step: self.step,
            node: self.node.to_owned(),
            text: delta.text.to_owned(),
            output_tokens: delta.output_tokens,
        });
    }
}
