//! What the scheduler cannot know: what values mean.

use super::event::Failure;
use super::state::View;
use crate::graph::Plan;

/// Answers the scheduler's questions about values.
///
/// Live runs evaluate templates over real values; simulated runs draw from profiles. Every method must be a pure
/// function of its arguments: the scheduler may be folded over the same events again and must come to the same state.
pub trait Semantics: Sized {
    /// What a step produces. Cloned when a map hands out its entries, so it should be cheap to clone.
    type Value: Clone;

    /// The workflow that runs follow; the same for the whole life of a run.
    fn plan(&self) -> &Plan;

    /// Whether the node runs at all.
    fn condition(&self, view: View<'_, Self>) -> Result<bool, Failure>;
    /// The entries that the node is mapped over.
    fn items(&self, view: View<'_, Self>) -> Result<Vec<Self::Value>, Failure>;
    /// Whether the loop may end after `output`.
    fn loop_ends(&self, view: View<'_, Self>, output: &Self::Value) -> Result<bool, Failure>;
    /// Whether an answer passes the test of the node's cascade: `output` is the judge's value or, without one, the answer.
    fn accept(&self, view: View<'_, Self>, output: &Self::Value) -> Result<bool, Failure>;
    /// The position of the branch in the node's `routes` that `output` chooses.
    fn branch(&self, view: View<'_, Self>, output: &Self::Value) -> Result<usize, Failure>;
    /// `Some` when a guard's `output` ends the run as refused.
    fn refusal(&self, view: View<'_, Self>, output: &Self::Value) -> Result<Option<Failure>, Failure>;
    /// The node's value made of its entries' values, in order.
    fn gather(&self, view: View<'_, Self>, values: Vec<Self::Value>) -> Result<Self::Value, Failure>;
    /// The inputs of the sub-workflow that the step runs; [`View::edited`] replaces what the node gives.
    fn arguments(&self, view: View<'_, Self>) -> Result<Self::Value, Failure>;
    /// What a person is asked before the step begins.
    fn question(&self, view: View<'_, Self>) -> Result<String, Failure>;
    /// The output of a workflow all of whose nodes have ended.
    fn output(&self, view: View<'_, Self>) -> Result<Self::Value, Failure>;
}
