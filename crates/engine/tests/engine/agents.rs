//! Agents, a backend and the few lines that bind and run workflows of them.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use lumos_core::price::Price;
use lumos_core::program::{BackendRef, Program};
use lumos_core::spec::WorkflowSpec;
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Backend, BackendError, BackendErrorKind, BackendInfo,
    ChatRequest, Completion, DeltaSink, Destination, Embeddings, Prepared, SharedAgent, SharedBackend, Usd,
};
use lumos_engine::{BoundBackend, BoundProgram, CancellationToken, Engine, FinishedRun, NodeBinding, RunRequest};
use serde_json::json;
use tokio::sync::Barrier;

/// What an agent of these tests does.
pub enum Does {
    /// Gives its arguments and its seed, after having let others go first a few times.
    Answers,
    /// Meets whoever else waits at the barrier.
    Meets(Arc<Barrier>),
    /// Never ends.
    Waits,
    /// Occupies a thread until the other end of the channel is dropped.
    Blocks(std::sync::Mutex<Option<std::sync::mpsc::Receiver<()>>>),
    /// Panics while it works.
    Panics,
    /// Panics while it prepares.
    PanicsEarly,
    /// Fails that many times, then gives the number of the try.
    FailsFirst(u32, AtomicU32),
    /// Gives the answer of its backend.
    Asks,
}

impl Does {
    pub fn fails_first(times: u32) -> Self {
        Self::FailsFirst(times, AtomicU32::new(0))
    }
}

/// Differs from run to run, so that steps end in another order.
static UNREST: AtomicU32 = AtomicU32::new(0);

#[async_trait]
impl Agent for Does {
    fn prepare(&self, _: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        assert!(!matches!(self, Self::PanicsEarly), "before it began");
        Ok(Prepared::default())
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        match self {
            Self::Answers => {
                for _ in 0..UNREST.fetch_add(7, Ordering::Relaxed) % 11 {
                    tokio::task::yield_now().await;
                }
                Ok(json!({"seed": call.seed, "arguments": call.arguments}).into())
            }
            Self::Meets(barrier) => {
                barrier.wait().await;
                Ok(json!("met").into())
            }
            Self::Waits => pending().await,
            Self::Blocks(until) => {
                let until = until.lock().unwrap().take().expect("blocked once");
                tokio::task::spawn_blocking(move || until.recv()).await.expect("no panic").unwrap_err();
                Ok(json!("unblocked").into())
            }
            Self::Panics => panic!("out of {}", "luck"),
            Self::PanicsEarly => unreachable!("its preparation panics"),
            Self::FailsFirst(times, tries) => {
                let number = tries.fetch_add(1, Ordering::Relaxed) + 1;
                if number > *times { Ok(json!(number).into()) } else { Err(AgentError::transient("not yet")) }
            }
            Self::Asks => {
                let (decoding, format) = (lumos_core::Decoding::default(), lumos_core::OutputFormat::Text);
                let request = ChatRequest::new(Vec::new(), decoding, format);
                let backend = call.backend.expect("a backend");
                let completion = backend.chat(request, call.deltas).await?;
                Ok(AgentOutput { value: json!(completion.text), report: Some(completion.report) })
            }
        }
    }
}

/// A backend that fails for good.
struct Broken;

#[async_trait]
impl Backend for Broken {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            model: "none".to_owned(),
            provider: "test".to_owned(),
            chat: true,
            embed: false,
            context_tokens: None,
            dimensions: None,
            digest: String::new(),
            detail: String::new(),
        }
    }

    fn count_input_tokens(&self, _: &ChatRequest) -> Option<u64> {
        None
    }

    async fn chat(&self, _: ChatRequest, _: &dyn DeltaSink) -> Result<Completion, BackendError> {
        Err(BackendError::new(BackendErrorKind::Internal, "broken"))
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embeddings, BackendError> {
        Err(BackendError::new(BackendErrorKind::InvalidRequest, "no embedder"))
    }
}

/// A backend that answers with its name.
struct Named(&'static str);

#[async_trait]
impl Backend for Named {
    fn info(&self) -> BackendInfo {
        Broken.info()
    }

    fn count_input_tokens(&self, _: &ChatRequest) -> Option<u64> {
        Some(3)
    }

    async fn chat(&self, _: ChatRequest, _: &dyn DeltaSink) -> Result<Completion, BackendError> {
        let report = lumos_core::CallReport {
            usage: lumos_core::Usage { input_tokens: Some(3), output_tokens: Some(1), ..lumos_core::Usage::default() },
            ttft_us: Some(1),
            busy_us: Some(3_600_000_000),
            finish_reason: Some(lumos_core::FinishReason::Stop),
            ..lumos_core::CallReport::new(lumos_core::Basis::Measured)
        };
        Ok(Completion { text: self.0.to_owned(), tool_calls: Vec::new(), report })
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embeddings, BackendError> {
        Err(BackendError::new(BackendErrorKind::InvalidRequest, "no embedder"))
    }
}

/// A backend that answers with its name, or is `broken`; a dollar per hour.
pub fn backend(name: &'static str) -> Arc<BoundBackend> {
    let backend: SharedBackend = if name == "broken" { Arc::new(Broken) } else { Arc::new(Named(name)) };
    let reference = BackendRef {
        backend: name.to_owned(),
        model: "none".to_owned(),
        provider: "test".to_owned(),
        destination: Destination::Inside,
        usd_per_hour: None,
    };
    Arc::new(BoundBackend {
        backend,
        reference,
        price: Price::PerHour(Usd::from_nanos(1_000_000_000)),
        is_remote: false,
        cache: None,
        gate: None,
        occupancy: None,
    })
}

/// Binds each node to the agent of its name.
pub fn bind(workflow: WorkflowSpec, agents: impl IntoIterator<Item = (&'static str, Does)>) -> Arc<BoundProgram> {
    bind_with(workflow, agents, &[])
}

/// Binds each node to the agent of its name, and all of them to `backends`.
pub fn bind_with(
    workflow: WorkflowSpec,
    agents: impl IntoIterator<Item = (&'static str, Does)>,
    backends: &[Arc<BoundBackend>],
) -> Arc<BoundProgram> {
    let agents: BTreeMap<&str, SharedAgent> =
        agents.into_iter().map(|(name, does)| (name, Arc::new(does) as SharedAgent)).collect();
    let program = Program::compile(&Arc::new(workflow).into()).unwrap();
    let bound = BoundProgram::new(program, "test", |node| {
        let agent = agents.get(node.agent.as_deref().unwrap_or_default()).cloned();
        agent.map(|agent| NodeBinding { agent: Some(agent), backends: backends.to_vec() }).ok_or(node.name.clone())
    });
    Arc::new(bound.unwrap())
}

/// A run without anything special.
pub async fn run(engine: &Engine, bound: &Arc<BoundProgram>) -> FinishedRun {
    engine.run(bound, RunRequest::default(), &CancellationToken::new()).await.unwrap()
}
