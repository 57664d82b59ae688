//! What went wrong in a run: errors of attempts and steps, those that say the same in one line.

use std::collections::BTreeMap;
use std::fmt::Write;

use lumos_core::{Status, StepRecord};

use super::counted;
use super::tree::Tree;
use crate::figure;
use crate::table::wrapped;
use crate::table::{Line, Role, clean, fit};

/// Errors, and names of each, that are shown of many.
const ERRORS: usize = 8;
const NAMES: usize = 4;
/// Longest message that is shown.
const MESSAGE: usize = 400;

struct Trouble<'r> {
    status: Status,
    message: &'r str,
    names: Vec<String>,
}

/// One line for each sort of error.
pub fn lines(tree: &Tree, width: usize, shows_all: bool) -> Vec<Line> {
    let mut troubles: Vec<Trouble> = Vec::new();
    let mut found: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut add = |status: Status, message, name| {
        let at = *found.entry((status.as_str(), message)).or_insert_with(|| {
            troubles.push(Trouble { status, message, names: Vec::new() });
            troubles.len() - 1
        });
        troubles[at].names.push(name);
    };
    for (step, name) in tree.record.steps.iter().zip(&tree.names) {
        for attempt in &step.attempts {
            let message = match (&attempt.error, attempt.status) {
                (Some(error), _) => error.message.as_str(),
                (None, Status::Interrupted) => "the process ended before the answer came",
                (None, _) => continue,
            };
            let is_only = step.attempts.len() == 1;
            add(attempt.status, message, if is_only { name.clone() } else { format!("{name}:{}", attempt.attempt) });
        }
        if let Some(message) = own_error(step) {
            add(step.status, message, name.clone());
        }
    }
    if troubles.is_empty() {
        return Vec::new();
    }
    let most = if shows_all { usize::MAX } else { ERRORS };
    let more = troubles.len().saturating_sub(most);
    let mut lines = vec![
        Line { role: Role::Row, text: String::new() },
        Line { role: Role::Header, text: "what went wrong".to_owned() },
    ];
    for trouble in troubles.iter().take(most) {
        let status = trouble.status.as_str();
        let names = if shows_all { usize::MAX } else { NAMES };
        let hidden = trouble.names.len().saturating_sub(names);
        let mut shown = trouble.names.iter().take(names).map(|name| clean(name)).collect::<Vec<_>>().join(", ");
        if hidden > 0 {
            let _ = write!(shown, " and {} more", figure::count(hidden as u64));
        }
        let message = fit(&clean(trouble.message), MESSAGE);
        let text = match trouble.names.len() {
            1 => format!("  {shown} {status}: {message}"),
            several => format!("  {} {status}: {message} ({shown})", figure::count(several as u64)),
        };
        lines.extend(wrapped(&text, width, Role::Row));
    }
    if more > 0 {
        let text = format!("  … {}", counted(more, "other error", "other errors"));
        lines.push(Line { role: Role::Note, text });
    }
    lines
}

/// A step's error, unless an attempt of it says the same or it only passes on what happened in it.
fn own_error(step: &StepRecord) -> Option<&str> {
    let error = step.error.as_ref()?;
    let is_told =
        step.attempts.iter().any(|attempt| attempt.error.as_ref().is_some_and(|it| it.message == error.message));
    (!is_told && step.kind != "workflow" && step.status != Status::Cancelled).then_some(error.message.as_str())
}
