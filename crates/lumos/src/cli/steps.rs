//! Steps of recorded runs, as people name them on the command line.

use lumos::core::scheduler::StepId;
use lumos::engine::History;

use super::failure::{COMMAND_LINE, Failure};

/// The step of that name: its position in the record, and its id. A node's name alone means its first step.
///
/// # Errors
/// When there is none, with what is near.
pub fn step_at(history: &History, name: &str) -> Result<(usize, StepId), Failure> {
    let record = history.record();
    let ids = history.steps();
    let is_of = |position: &usize| record.steps[*position].node == name && record.steps[*position].path.is_empty();
    let of_node = (0..ids.len()).filter(is_of).min_by_key(|position| ids[*position]);
    let position = match lumos_report::find_step(&record, name) {
        Ok(step) => record.steps.iter().position(|other| std::ptr::eq(other, step)),
        Err(error) => match of_node {
            Some(position) => Some(position),
            None => return Err(Failure::invalid(COMMAND_LINE, error.to_string(), Some(error.hint()))),
        },
    };
    let position = position.unwrap_or_default();
    Ok((position, ids[position]))
}
