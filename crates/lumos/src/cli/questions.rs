//! What a paused run waits for: the questions, what would be done, and how to go on.

use std::fmt::Write;

use lumos::core::{RunRecord, Status, StepRecord};
use serde_json::Value;

use super::output;

/// Most steps whose questions are printed.
const SHOWN: usize = 12;

/// The questions of a paused run with the arguments of their steps, and the commands that answer them.
pub fn of(record: &RunRecord) -> String {
    let names = lumos_report::step_names(record);
    let asked: Vec<(&String, &StepRecord)> =
        names.iter().zip(&record.steps).filter(|(_, step)| step.status == Status::Paused).collect();
    let who =
        if let [_] = asked.as_slice() { "1 step waits".to_owned() } else { format!("{} steps wait", asked.len()) };
    let mut text = format!("{} {who} for a person\n", output::ended(Status::Paused, "paused:"));
    for (name, step) in asked.iter().take(SHOWN) {
        let _ = writeln!(text, "\n{}", output::bold(&lumos_report::clean(name)));
        indented(&mut text, "", step.question.as_deref().unwrap_or_default());
        for (argument, value) in step.arguments.iter().filter_map(Value::as_object).flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            indented(&mut text, &format!("{}: ", lumos_report::clean(argument)), &value);
        }
        if let (Some(due_at), Some(default)) = (&step.due_at, &step.default) {
            let note =
                format!("until {}; then it is {default}, once `lumos resume` goes on with the run", moment(due_at));
            let _ = writeln!(text, "  {}", output::dim(&note));
        }
    }
    if asked.len() > SHOWN {
        let _ = writeln!(text, "\n… and {} more", asked.len() - SHOWN);
    }
    if let Some((name, _)) = asked.first() {
        let command = format!("lumos approve {} {}", record.run_id, quoted(name));
        let ways = [
            ("", "it goes on"),
            (" --edit FILE", "it goes on with other arguments: FILE is a JSON object of those that change"),
            (" --reject", "the run ends as refused"),
        ];
        let width = command.len() + ways.iter().map(|(option, _)| option.len()).max().unwrap_or_default();
        text.push('\n');
        for (option, effect) in ways {
            let _ = writeln!(text, "{:<width$}  {}", format!("{command}{option}"), output::dim(effect));
        }
    }
    text
}

/// A moment without its milliseconds: `2026-11-24 10:00:00Z`.
fn moment(timestamp: &str) -> String {
    timestamp.get(..19).map_or_else(|| timestamp.to_owned(), |at| at.replace('T', " ") + "Z")
}

fn indented(text: &mut String, lead: &str, value: &str) {
    let value = output::shown(value.trim_end());
    let mut lines = value.lines();
    let _ = writeln!(text, "  {lead}{}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "    {line}");
    }
}

/// A step's name as a shell takes it: entries of maps and rounds of loops have characters with a meaning there.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/';
    if name.chars().all(is_plain) { name.to_owned() } else { format!("'{name}'") }
}
