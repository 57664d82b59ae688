//! What values mean in a simulated run: the scheduler's questions answered by chance, keyed by what is asked.

use lumos_core::chance::{self, Purpose, combine, unit};
use lumos_core::graph::Plan;
use lumos_core::scheduler::{Failure, Semantics, View};

use super::{Model, NodeModel};

/// What a simulated step produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimValue {
    /// Tokens of an answer.
    pub tokens: u32,
}

impl Model {
    fn asked(&self, view: View<'_, Self>) -> Result<&NodeModel, Failure> {
        let node = view.node.ok_or_else(|| Failure::fatal("there is no node to ask about"))?;
        Ok(self.node(view.graph(), node))
    }
}

fn draw(view: View<'_, Model>, key: u64, purpose: Purpose) -> u64 {
    chance::draw(view.state.seed(), key, 0, purpose)
}

/// Whether something with this chance happens; what is certain costs no draw.
fn happens(view: View<'_, Model>, chance: f64, purpose: Purpose) -> bool {
    chance >= 1.0 || chance > 0.0 && unit(draw(view, view.key(), purpose)) < chance
}

impl Semantics for Model {
    type Value = SimValue;

    fn plan(&self) -> &Plan {
        self.program.plan()
    }

    fn condition(&self, view: View<'_, Self>) -> Result<bool, Failure> {
        if let Some(holds) = self.recorded_condition(view) {
            return Ok(holds);
        }
        Ok(happens(view, self.asked(view)?.when, Purpose::Condition))
    }

    fn items(&self, view: View<'_, Self>) -> Result<Vec<SimValue>, Failure> {
        let drawn = || Ok(self.asked(view)?.width.count(draw(view, view.key(), Purpose::Width)));
        let width = self.recorded_width(view).map_or_else(drawn, Ok)?;
        Ok(vec![SimValue::default(); width as usize])
    }

    fn loop_ends(&self, view: View<'_, Self>, _: &SimValue) -> Result<bool, Failure> {
        let node = self.asked(view)?;
        let step = view.step.map(|step| view.state.step(step));
        let round = step.and_then(|step| step.iteration).unwrap_or(0);
        if let Some(rounds) = self.recorded_rounds(view) {
            return Ok(round + 1 >= rounds);
        }
        let index = step.and_then(|step| step.index).map_or(0, |index| u64::from(index) + 1);
        // One draw for all rounds of the loop: how many there are.
        let key = combine(View { step: None, ..view }.key(), index);
        Ok(round + 1 >= node.rounds.count(draw(view, key, Purpose::Rounds)))
    }

    fn accept(&self, view: View<'_, Self>, _: &SimValue) -> Result<bool, Failure> {
        Ok(happens(view, self.asked(view)?.accept, Purpose::Accept))
    }

    fn branch(&self, view: View<'_, Self>, _: &SimValue) -> Result<usize, Failure> {
        let node = self.asked(view)?;
        if let Some(branch) = self.recorded_branch(view, &node.routes) {
            return Ok(branch);
        }
        let drawn = unit(draw(view, View { step: None, ..view }.key(), Purpose::Branch));
        let last = node.branches.len().saturating_sub(1);
        Ok(node.branches.iter().position(|sum| drawn < *sum).unwrap_or(last))
    }

    fn refusal(&self, view: View<'_, Self>, _: &SimValue) -> Result<Option<Failure>, Failure> {
        let node = self.asked(view)?;
        let drawn = || node.refuse > 0.0 && happens(view, node.refuse, Purpose::Refusal);
        let refuses = self.recorded_refusal(view).unwrap_or_else(drawn);
        Ok(refuses.then(|| Failure::fatal(format!("the guard `{}` refused", node.path))))
    }

    fn gather(&self, _: View<'_, Self>, values: Vec<SimValue>) -> Result<SimValue, Failure> {
        Ok(SimValue { tokens: values.iter().fold(0, |sum, value| value.tokens.saturating_add(sum)) })
    }

    fn arguments(&self, view: View<'_, Self>) -> Result<SimValue, Failure> {
        Ok(*view.inputs())
    }

    fn question(&self, _: View<'_, Self>) -> Result<String, Failure> {
        Ok(String::new())
    }

    fn output(&self, _: View<'_, Self>) -> Result<SimValue, Failure> {
        Ok(SimValue::default())
    }
}
