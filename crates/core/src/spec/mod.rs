//! The files that people write: workflows, agents, deployments, scenarios and claims, as data.
//!
//! Reading them from RON, with positions and all problems at once, is the subject of [`crate::read`].

mod agent;
mod build;
mod claim;
mod deployment;
mod scenario;
mod workflow;

pub use agent::{
    AgentSpec, Chunking, CsvColumns, DecodingSpec, Detector, ForecastModel, ForecasterSpec, GeneratorFormat,
    GeneratorSpec, GuardSpec, JudgeSpec, PlannerItems, PlannerSpec, PromptSpec, RetrievalMode, RetrieverSpec,
    RouterSpec, SeriesSource, ToolKind, ToolSpec,
};
pub use claim::{Bounds, ClaimSpec, FigureSpec, GivenSpec, PartSpec, QuestionSpec, RangeSpec};
pub use deployment::{
    BackendSpec, Boundary, BreakerSpec, Cost, DeploymentSpec, Device, Durability, LimitSpec, LocalSpec, PromptCache,
    Provider, Quantization, RemoteSpec, RoutingSpec, ScalingSpec, SecretSource, SimulatedSpec, Structured, TimeoutSpec,
    host_of, is_this_machine,
};
pub use scenario::{
    ApiSpec, ArrivalSpec, DistSpec, OutageSpec, ProfileSpec, ReplicaOutageSpec, ScenarioSpec, ServiceSpec, SessionSpec,
    SloSpec, WorkloadSpec,
};
pub use workflow::{
    ApprovalSpec, Backoff, CascadeSpec, InputKind, InputSpec, Join, Label, LimitsSpec, NodeKind, NodeOptions, NodeSpec,
    OnBlock, Repeat, Retry, Verdict, WorkflowSpec,
};
