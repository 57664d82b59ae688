//! The files that people write: workflows, agents and deployments, as data.
//!
//! Reading them from RON, with positions and all problems at once, is the subject of [`crate::read`].

mod agent;
mod build;
mod deployment;
mod workflow;

pub use agent::{
    AgentSpec, Chunking, CsvColumns, DecodingSpec, Detector, ForecastModel, ForecasterSpec, GeneratorFormat,
    GeneratorSpec, GuardSpec, JudgeSpec, PlannerItems, PlannerSpec, PromptSpec, RetrievalMode, RetrieverSpec,
    RouterSpec, SeriesSource, ToolKind, ToolSpec,
};
pub use deployment::{
    BackendSpec, Boundary, BreakerSpec, Cost, DeploymentSpec, Device, Durability, LimitSpec, LocalSpec, PromptCache,
    Provider, RemoteSpec, SecretSource, Structured, TimeoutSpec,
};
pub use workflow::{
    ApprovalSpec, Backoff, CascadeSpec, InputKind, InputSpec, Join, Label, LimitsSpec, NodeKind, NodeOptions, NodeSpec,
    OnBlock, Repeat, Retry, Verdict, WorkflowSpec,
};
