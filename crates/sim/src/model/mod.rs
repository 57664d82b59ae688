//! A scenario compiled for simulation: the scheduler's plan, what is known of each node, and the services that do the work.

mod build;
mod meaning;
mod node;
mod order;
mod pools;
mod recorded;
mod services;

use std::fmt::Write;
use std::sync::Arc;

use lumos_core::admission::Rules;
use lumos_core::graph::{GraphId, NodeId};
use lumos_core::price::Price;
use lumos_core::program::{BackendRef, Program};
use lumos_core::spec::{ArrivalSpec, SloSpec};

use crate::chance::Quantity;
use crate::iteration::{Affine, Batch, IterationTime};
use crate::profile::ChoiceTimes;
use crate::replica::{Outage, PoolSpec};
use crate::service::ApiModel;
use crate::trace::Arrival;

pub use build::Sources;
pub use meaning::SimValue;
pub use node::NodeModel;
pub(crate) use order::Order;
pub(crate) use pools::{Unfit, check_replicas, hardware};

/// A scenario with one of its deployments, ready to be simulated. Immutable: many simulations share one.
pub struct Model {
    pub(crate) program: Program,
    /// By graph, then by node.
    pub(crate) nodes: Vec<Vec<NodeModel>>,
    pub(crate) services: Vec<ServiceModel>,
    pub(crate) workload: Workload,
    pub(crate) slo: SloSpec,
    /// Runs whose lengths are taken over.
    pub(crate) recorded: Option<recorded::Recorded>,
    /// The scenario's name.
    pub scenario: String,
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: String,
    /// What is taken for granted because the scenario does not say it.
    pub assumptions: Vec<String>,
}

/// Who comes, ready to be drawn.
pub(crate) struct Workload {
    pub arrivals: ArrivalSpec,
    /// Of a trace.
    pub rows: Vec<Arrival>,
    pub runs: Option<u64>,
    pub duration_us: Option<u64>,
    pub warmup_runs: u64,
    pub sessions: Option<Sessions>,
    pub think: Quantity,
}

pub(crate) struct Sessions {
    pub turns: Quantity,
    pub think: Quantity,
    pub growth: Quantity,
}

/// A place where work is done.
pub struct ServiceModel {
    /// The backend's name, or that of a service of the scenario.
    pub name: String,
    /// What records say of it, where it is a backend of the deployment.
    pub reference: Option<BackendRef>,
    /// How it works.
    pub kind: ServiceKind,
    /// What it costs.
    pub price: Price,
    /// Whether it is a model in lumos's own process, which reads at once what a format prescribes.
    pub is_local: bool,
    /// What lumos's own limiter keeps.
    pub rules: Rules,
    /// Where its times come from, for people.
    pub basis: String,
}

impl ServiceModel {
    /// Whether it is down, or slower, for a time.
    pub fn has_outages(&self) -> bool {
        match &self.kind {
            ServiceKind::Station { .. } => false,
            ServiceKind::Api(api) => api.has_outages(),
            ServiceKind::Pool { spec, .. } => !spec.outages.is_empty(),
        }
    }

    /// Whether all that is ever down of it, or slower, is so from the start until `until_us` at least.
    pub(crate) fn is_impaired_until(&self, until_us: u64) -> bool {
        match &self.kind {
            ServiceKind::Station { .. } => false,
            ServiceKind::Api(api) => api.is_impaired_until(until_us),
            ServiceKind::Pool { spec, .. } => {
                let lasts = |outage: &Outage| outage.at_us == 0 && outage.for_us >= until_us;
                spec.scaling.is_none() && !spec.outages.is_empty() && spec.outages.iter().all(lasts)
            }
        }
    }
}

/// How a place works.
pub enum ServiceKind {
    /// So many servers and one queue.
    Station {
        /// Servers.
        servers: u32,
    },
    /// A model behind an API.
    Api(Box<ApiModel>),
    /// Replicas of a model.
    Pool {
        /// Batching, memory and routing.
        spec: Box<PoolSpec>,
        /// What an iteration takes.
        time: Arc<dyn IterationTime>,
        /// Microseconds that a request takes beside the replica's work: network, tokenizing, sampling of the first token.
        overhead_us: u64,
        /// What it takes to choose tokens otherwise than the most probable one of all.
        choosing: ChoiceTimes,
    },
}

impl ServiceModel {
    /// Whether nobody pays for it: a station that is no backend, and has no price of its own.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.kind, ServiceKind::Station { .. }) && self.reference.is_none()
    }
}

impl Model {
    /// What is known of a node.
    pub fn node(&self, graph: GraphId, node: NodeId) -> &NodeModel {
        &self.nodes[graph.index()][node.index()]
    }

    /// All nodes, with their position in results.
    pub fn all_nodes(&self) -> impl Iterator<Item = &NodeModel> {
        self.nodes.iter().flatten()
    }

    /// The same model, of whose service of this name everything takes `factor` times as long as its profile says. Services
    /// without a profile stay as they are.
    #[must_use]
    pub fn slowed(mut self, service: &str, factor: f64) -> Self {
        for found in self.services.iter_mut().filter(|found| found.name == service) {
            let ServiceKind::Pool { time, overhead_us, choosing, .. } = &mut found.kind else { continue };
            *choosing = choosing.scaled(factor);
            *overhead_us = (*overhead_us as f64 * factor).round() as u64;
            let by_profile = time.clone();
            *time = Arc::new(move |batch: &Batch| {
                let Affine { base_ps, per_kv_token_ps } = by_profile.affine(batch);
                let slowed = |ps: u64| (ps as f64 * factor).round() as u64;
                Affine { base_ps: slowed(base_ps).max(1), per_kv_token_ps: slowed(per_kv_token_ps) }
            });
            let _ = write!(found.basis, ", × {factor:.3}");
        }
        self
    }

    /// The places where work is done.
    pub fn services(&self) -> &[ServiceModel] {
        &self.services
    }

    /// Whether more may come than is served for a time only: by the hour, by the row, or while something is down.
    pub(crate) fn varies(&self) -> bool {
        let by_time = matches!(self.workload.arrivals, ArrivalSpec::Diurnal { .. } | ArrivalSpec::Trace { .. });
        by_time || self.services.iter().any(ServiceModel::has_outages)
    }

    /// What must hold for a run to count as good.
    pub fn slo(&self) -> &SloSpec {
        &self.slo
    }
}
