//! What may leave the boundary, and what did: every way of a label to a destination outside, proven over all branches of a
//! workflow on a deployment, and the bytes that recorded runs have sent, looked at again for personal data.

mod destinations;
mod files;
mod sent;
mod statics;

use std::collections::BTreeMap;

use indexmap::IndexSet;
use lumos_core::program::Hop;
use lumos_core::record::Destination as Side;
use lumos_core::spec::Label;
use serde::{Serialize, Serializer};

pub use destinations::{Retention, RetentionBasis, Telemetry, destinations};
pub use files::{FileDigest, digest, files};
pub use sent::{Detect, Recorded, Sent, SentRequest, audit_run};
pub use statics::{Subject, audit};

/// Ways of one label to one destination that are listed.
pub const MOST_WAYS: usize = 16;

/// Which labels must not leave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// The labels.
    pub forbidden: Vec<Label>,
    /// Who says so.
    pub basis: PolicyBasis,
    /// What may leave although it would be forbidden, or found: labels and kinds of personal data.
    pub allowed: Vec<String>,
}

/// Who says which labels must not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyBasis {
    /// `boundary.forbid_outside` of the deployment.
    Deployment,
    /// The deployment forbids none, so none may leave.
    EveryLabel,
}

impl Policy {
    /// What a deployment says, and `forbid` and `allow` on top.
    pub fn new(forbid_outside: &[Label], labels: &[Label], forbid: &[Label], allow: &[String]) -> Self {
        let (named, basis) = if forbid_outside.is_empty() {
            (labels, PolicyBasis::EveryLabel)
        } else {
            (forbid_outside, PolicyBasis::Deployment)
        };
        let named: IndexSet<&Label> = named.iter().chain(forbid).collect();
        let forbidden = named.into_iter().filter(|label| !allow.contains(&label.0)).cloned().collect();
        Self { forbidden, basis, allowed: allow.to_vec() }
    }

    /// Whether a label must not leave.
    pub fn forbids(&self, label: &Label) -> bool {
        self.forbidden.contains(label)
    }
}

/// Where something may be sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Destination {
    /// The backend's name, the host, or the agent's name.
    pub name: String,
    /// What it is.
    pub kind: DestinationKind,
    /// On which side of the boundary.
    pub side: Side,
    /// Why on that side.
    pub because: &'static str,
    /// Who serves it.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Its host, where it has one.
    pub host: Option<String>,
    /// The proxy that requests to it go through, if the deployment names one.
    pub proxy: Option<String>,
    /// Where what is sent is processed, if somebody said so.
    pub region: Option<String>,
    /// What becomes of what is sent, if somebody said so.
    pub retention: Option<Retention>,
    /// The nodes that may send to it, as `workflow/node`.
    pub nodes: Vec<String>,
    /// The labels that may reach it.
    pub labels: Vec<Label>,
}

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// A backend of the deployment.
    Backend,
    /// A host that a tool fetches from.
    Tool,
    /// Whoever collects traces, metrics and logs.
    Telemetry,
    /// An agent that the embedding program registers: where it sends is known to that program alone.
    Agent,
}

/// The ways of a label to a destination outside, through one node that sends to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    /// The label.
    pub label: Label,
    /// The destination's name.
    pub destination: String,
    /// The workflow or sub-workflow that has the node.
    pub workflow: String,
    /// The node that sends.
    pub node: String,
    /// How it comes to send there.
    pub how: Vec<String>,
    /// Whether that is forbidden.
    pub is_forbidden: bool,
    /// Each from where the label begins to the node.
    pub ways: Vec<Way>,
    /// Whether these are all ways.
    pub is_complete: bool,
    /// Where it is in the plan, for drawings.
    #[serde(skip)]
    pub place: (lumos_core::graph::GraphId, lumos_core::graph::NodeId),
}

/// A way of a label.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// From where the label begins, through the nodes that pass it on.
    pub hops: Vec<Hop>,
    /// What happens on the way that is not plain to see.
    pub remarks: Vec<String>,
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<&str> = self.hops.iter().map(|hop| hop.name.as_str()).collect();
        (BTreeMap::from([("through", names), ("remarks", self.remarks.iter().map(String::as_str).collect())]))
            .serialize(serializer)
    }
}

/// Where labels end before they leave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Clearing {
    /// The workflow or sub-workflow.
    pub workflow: String,
    /// The guard's node.
    pub node: String,
    /// The labels that reach it and end there.
    pub labels: Vec<Label>,
    /// What it looks for.
    pub detects: Vec<String>,
}

/// What is found to be wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What sort.
    pub kind: FindingKind,
    /// A sentence.
    pub message: String,
    /// What would help.
    pub hint: String,
}

/// Sorts of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A label that must not leave can reach a destination outside.
    LabelCanLeave,
    /// What a run has sent outside holds personal data.
    PersonalDataSent,
    /// A run has sent outside what may carry a label that must not leave.
    LabelSent,
}

/// What may leave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StaticAudit {
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: Option<String>,
    /// What must not leave.
    pub policy: Policy,
    /// Where each label begins.
    pub labels: Vec<(Label, Vec<String>)>,
    /// Everything that may be sent to.
    pub destinations: Vec<Destination>,
    /// Labels that can reach a destination outside.
    pub leaks: Vec<Leak>,
    /// Where labels end.
    pub clearings: Vec<Clearing>,
    /// Labels that the output of a run carries to whoever has asked for it.
    pub output_carries: Vec<Label>,
    /// What else somebody who files this should know.
    pub notes: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}
