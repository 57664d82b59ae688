//! What is known of one node.

use crate::chance::Quantity;
use crate::profile::Choice;

/// What a simulation knows of a node: where its attempts go, how much they ask for, and how its questions go out.
#[derive(Debug, Clone)]
pub struct NodeModel {
    /// Its name with those of the nodes around it: `outer/inner`.
    pub path: String,
    /// Its kind in lower case, as records name it.
    pub kind: &'static str,
    /// Position among all nodes.
    pub(crate) position: u32,
    /// The services of its attempts: the bound one, then its fallbacks. Empty: nobody waits.
    pub(crate) candidates: Vec<u32>,
    /// Whether it asks a model, so that work is counted in tokens where the service counts in tokens.
    pub(crate) input: Option<Quantity>,
    pub(crate) output: Option<Quantity>,
    /// Most tokens of an answer.
    pub(crate) max_output: Option<u32>,
    /// Share of an answer's tokens that its format prescribes.
    pub(crate) prescribed: f64,
    /// How its answers' tokens are chosen, by candidate.
    pub(crate) choices: Vec<Choice>,
    pub(crate) shared_tokens: u32,
    pub(crate) context: bool,
    pub(crate) duration: Quantity,
    pub(crate) when: f64,
    /// Chances of the branches, added up.
    pub(crate) branches: Vec<f64>,
    /// Names of the branches.
    pub(crate) routes: Vec<String>,
    pub(crate) width: Quantity,
    pub(crate) rounds: Quantity,
    pub(crate) accept: f64,
    pub(crate) refuse: f64,
    pub(crate) fail: f64,
}
