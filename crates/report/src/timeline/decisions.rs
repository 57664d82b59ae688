//! What people, or the time that went by without them, decided about steps of a run.

use lumos_core::StepRecord;
use lumos_core::record::DecisionRecord;
use lumos_core::scheduler::By;

use super::tree::Tree;
use super::{counted, wrapped};
use crate::table::{Line, Role, clean, fit};

/// Decisions that are shown of many.
const SHOWN: usize = 12;
/// Longest text of a reason or of arguments that is shown.
const TEXT: usize = 400;

/// One line for each decision.
pub fn lines(tree: &Tree, width: usize, shows_all: bool) -> Vec<Line> {
    let steps = tree.record.steps.iter().zip(&tree.names);
    let decided: Vec<(&StepRecord, &str, &DecisionRecord)> =
        steps.filter_map(|(step, name)| Some((step, name.as_str(), step.decision.as_ref()?))).collect();
    if decided.is_empty() {
        return Vec::new();
    }
    let most = if shows_all { usize::MAX } else { SHOWN };
    let mut lines = vec![
        Line { role: Role::Row, text: String::new() },
        Line { role: Role::Header, text: "what was decided".to_owned() },
    ];
    for (step, name, decision) in decided.iter().take(most) {
        let who = match decision.by {
            By::Person => "by a person",
            By::Timeout => "by default, nobody had decided in time",
        };
        let mut text = format!("  {} {} {who}", clean(name), clean(&decision.verdict));
        let arguments = step.arguments.as_ref().map(ToString::to_string);
        for more in decision.reason.iter().chain(&arguments) {
            text.push_str(": ");
            text.push_str(&fit(&clean(more), TEXT));
        }
        lines.extend(wrapped(&text, width, Role::Row));
    }
    if decided.len() > most {
        let text = format!("  … {}", counted(decided.len() - most, "other decision", "other decisions"));
        lines.push(Line { role: Role::Note, text });
    }
    lines
}
