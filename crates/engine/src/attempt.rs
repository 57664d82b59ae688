//! One attempt: its request, its execution and its bill.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use lumos_core::admission::End;
use lumos_core::price::Bounds;
use lumos_core::program::{LiveValue, Program};
use lumos_core::scheduler::{AttemptId, Bill, Estimate, EventKind, Failure, RunState};
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, CallReport, ChatRequest, Clock, DeltaSink, NoDeltas,
    OutputFormat, Prepared, SharedAgent, SharedBackend,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::binding::{BoundBackend, BoundProgram};
use crate::cache::{self, Cached};
use crate::clock::SystemClock;
use crate::event::Audience;
use crate::gate::AskFor;
use crate::meter::{Deltas, Meter, end_of};

/// Bytes of a token of ordinary text, roughly.
const BYTES_PER_TOKEN: u64 = 4;

/// Longest that an attempt without a timeout is taken to hold its place in a backend's limits: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// Tokens that a server may add to each message: roles and separators.
const PER_MESSAGE: u64 = 16;

/// How an attempt ended, as the scheduler takes it.
pub(crate) type Happening = EventKind<LiveValue>;

/// An attempt; nothing happens before it is first polled.
pub(crate) type Execution<'a> = Pin<Box<dyn Future<Output = Happening> + Send + 'a>>;

/// An attempt that is ready to be made.
pub(crate) struct Ready<'a> {
    pub(crate) execution: Execution<'a>,
    pub(crate) estimate: Estimate,
    /// Counts what it sends and receives; `None` when it asks no backend.
    pub(crate) meter: Option<Arc<Meter>>,
}

/// What an attempt is about to ask.
pub(crate) struct Rendered<'a> {
    pub(crate) agent: &'a SharedAgent,
    pub(crate) backend: Option<&'a Arc<BoundBackend>>,
    pub(crate) arguments: Arguments,
    pub(crate) prepared: Prepared,
    pub(crate) seed: u64,
}

impl Rendered<'_> {
    /// The digest by which a replay sees whether the same was asked.
    pub(crate) fn hash(&self) -> u64 {
        request_hash(self.backend.map(|backend| &**backend), &self.arguments, self.prepared.request.as_ref())
    }
}

/// Renders an attempt's arguments and builds its request.
pub(crate) fn render<'a>(
    bound: &'a BoundProgram,
    state: &RunState<Program>,
    id: AttemptId,
) -> Result<Rendered<'a>, Failure> {
    let program = bound.program();
    let node = program.node(state.graph_of(id.step), state.step(id.step).node);
    let no_agent = || Failure::fatal(format!("the node `{}` has no agent", node.name));
    let agent = bound.binding(node.position).agent.as_ref().ok_or_else(no_agent)?;
    let backend = bound.backend(node.position, state.candidate(id.step));
    let arguments = program.arguments(state, id.step)?;
    let seed = state.attempt_seed(id);
    let shared = backend.map(|bound| &bound.backend);
    let mut prepared = catch_unwind(AssertUnwindSafe(|| agent.prepare(&arguments, shared)))
        .map_err(|panic| panicked(&*panic))?
        .map_err(failure)?;
    if let Some(request) = &mut prepared.request {
        request.decoding.seed = seed;
    }
    Ok(Rendered { agent, backend, arguments, prepared, seed })
}

/// Makes an attempt ready: what it asks, what it may cost, and how it is made.
pub(crate) fn prepare<'a>(
    bound: &'a BoundProgram,
    state: &RunState<Program>,
    id: AttemptId,
    audience: Option<&'a Audience>,
    clock: SystemClock,
) -> Result<Ready<'a>, Failure> {
    let rendered = render(bound, state, id)?;
    let request_hash = rendered.hash();
    let Rendered { agent, backend, arguments, prepared, seed } = rendered;
    let program = bound.program();
    let (step, graph) = (state.step(id.step), state.graph_of(id.step));
    let node = program.node(graph, step.node);
    let shared = backend.map(|bound| &bound.backend);
    let limits = program.plan().limits;
    let timeout_us = program.plan().graph(graph).node(step.node).policy.timeout_us;
    let bounds = Bounds {
        // A run that is ended by its deadline takes no longer either.
        time_us: timeout_us.into_iter().chain(limits.deadline_us).min(),
        ..backend.map(|_| bounds(&arguments, prepared.request.as_ref())).unwrap_or_default()
    };
    let input_tokens = prepared.input_tokens.or_else(|| shared?.count_input_tokens(prepared.request.as_ref()?));
    let estimate =
        Estimate { worst_cost: backend.and_then(|bound| bound.price.worst_cost(&bounds)), input_tokens, request_hash };
    let cache = backend.and_then(|backend| backend.cache.as_ref()).filter(|_| node.cache);
    let meter = backend.map(|backend| {
        let ask = AskFor {
            input_tokens: input_tokens.or(Some(bounds.input_tokens / BYTES_PER_TOKEN)),
            output_tokens: bounds.output_tokens,
            worst_cost: estimate.worst_cost,
            lease_us: bounds.time_us.unwrap_or(LONGEST_US),
        };
        // Only who would have to wait for admission needs to know beforehand.
        let cached = cache.filter(|_| backend.gate.is_some()).zip(prepared.request.as_ref());
        Arc::new(Meter::new(ask, cached.map(|(cache, request)| (cache.clone(), cache::key(backend, request)))))
    });
    let asked: Option<SharedBackend> = backend.map(|backend| match cache {
        Some(cache) => Arc::new(Cached { bound: backend.clone(), cache: cache.clone() }),
        None => backend.backend.clone(),
    });
    let deltas = (audience.is_some() || meter.is_some()).then(|| Deltas {
        audience,
        meter: meter.clone(),
        step: id.step.0,
        attempt: id.number,
        node: &node.name,
    });
    let attempt = Attempt {
        id,
        agent: &**agent,
        backend: backend.map(|backend| &**backend),
        asked,
        arguments,
        request: prepared.request.map(Box::new),
        seed,
        deltas,
        clock,
    };
    Ok(Ready { execution: execute(attempt), estimate, meter })
}

/// The most that an attempt's calls can read and write.
///
/// No tokenizer makes more tokens of a text than it has bytes. An answer in a given form that breaks it may be asked for
/// a second time, with the first one before it.
fn bounds(arguments: &Arguments, request: Option<&ChatRequest>) -> Bounds {
    let Some(request) = request else {
        return Bounds { input_tokens: json_bytes(arguments), ..Bounds::default() };
    };
    let messages: u64 = request.messages.iter().map(|message| message.content.len() as u64 + PER_MESSAGE).sum();
    let shape = match &request.format {
        OutputFormat::Text => 0,
        format => json_bytes(format),
    };
    let input = messages + shape + json_bytes(&request.tools);
    let output = u64::from(request.decoding.max_tokens);
    let repair = match &request.format {
        OutputFormat::Text => Bounds::default(),
        _ => Bounds { input_tokens: input + output + shape, output_tokens: output, time_us: None },
    };
    Bounds { input_tokens: input + repair.input_tokens, output_tokens: output + repair.output_tokens, time_us: None }
}

fn json_bytes(value: &impl Serialize) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

struct Attempt<'a> {
    id: AttemptId,
    agent: &'a dyn Agent,
    backend: Option<&'a BoundBackend>,
    /// The backend that the agent is given.
    asked: Option<SharedBackend>,
    arguments: Arguments,
    request: Option<Box<ChatRequest>>,
    seed: u64,
    deltas: Option<Deltas<'a>>,
    clock: SystemClock,
}

impl Attempt<'_> {
    fn happened(&self, result: Result<Result<AgentOutput, AgentError>, Box<dyn Any + Send>>) -> Happening {
        let share_us = self.meter().and_then(|meter| meter.leave(self.clock.now_us()));
        let bill = |mut report: Option<Box<CallReport>>| {
            if let (Some(report), Some(share_us)) = (&mut report, share_us)
                && report.saved_usd.is_none()
            {
                report.busy_us = Some(share_us);
            }
            Bill { cost: report.as_deref().and_then(|report| self.backend?.price.cost(report)), report }
        };
        let settle = |bill: &Bill, end| {
            if let Some(meter) = self.meter() {
                meter.settle(bill, end);
            }
        };
        match result {
            Ok(Ok(output)) => {
                let bill = bill(output.report.map(Box::new));
                settle(&bill, End::Succeeded);
                EventKind::Succeeded(self.id, output.value.into(), bill)
            }
            Ok(Err(mut error)) => {
                let end = end_of(&error);
                let bill = match (error.report.take(), self.meter(), self.backend) {
                    (None, Some(meter), Some(backend)) => {
                        // A backend says what it was charged for; what it does not speak of was for nothing.
                        meter.settle_free(end);
                        meter.free(backend, share_us)
                    }
                    (report, ..) => {
                        let bill = bill(report);
                        settle(&bill, end);
                        bill
                    }
                };
                EventKind::Failed(self.id, failure(error), bill)
            }
            Err(panic) => EventKind::Failed(self.id, panicked(&*panic), Bill::default()),
        }
    }

    fn meter(&self) -> Option<&Meter> {
        self.deltas.as_ref()?.meter.as_deref()
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
        if let Some((meter, backend)) = attempt.meter().zip(attempt.backend) {
            meter.enter(backend, attempt.clock.now_us());
        }
        let call = AgentCall {
            arguments: &attempt.arguments,
            request: attempt.request.take().map(|request| *request),
            backend: attempt.asked.take(),
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
    Failure {
        message: error.message,
        hint: error.hint,
        retryable: error.retryable,
        retry_after_us: error.retry_after_us,
        is_limit: false,
    }
}
