//! `lumos runs`: earlier runs, and the steps of one.

use std::fmt::Write;

use lumos::Home;
use lumos::core::{RunRecord, Status};
use lumos::engine::{Kind, RecordStore, RunSummary, StoreError};
use lumos_report::{Column, Role, Table, figure};
use serde_json::json;

use super::arguments::{Format, List, Runs, RunsCommand};
use super::failure::Failure;
use super::{output, run};

/// Runs that people are shown unless they ask for more.
const SHOWN: usize = 20;

pub fn run(arguments: &Runs, home: &Home) -> Result<u8, Failure> {
    match &arguments.command {
        Some(RunsCommand::Show { id, format }) => show(id, *format, home),
        _ => list(arguments.list(), home),
    }
}

/// The store, unless nothing was ever kept: looking must not make one.
fn store(home: &Home) -> Result<Option<RecordStore>, Failure> {
    if home.folder().join("lumos.db").exists() { Ok(Some(RecordStore::open(home.folder())?)) } else { Ok(None) }
}

fn list(arguments: &List, home: &Home) -> Result<u8, Failure> {
    let is_human = arguments.format == Format::Human;
    let limit = arguments.limit.unwrap_or(if is_human { SHOWN } else { usize::MAX - 1 });
    let mut runs = match store(home)? {
        // One more shows whether there are more.
        Some(store) => store.list(&Kind { limit: limit.saturating_add(1), ..Kind::default() })?,
        None => Vec::new(),
    };
    let is_cut = runs.len() > limit;
    runs.truncate(limit);
    if !is_human {
        output::json(&json!({ "runs": runs }))?;
        return Ok(0);
    }
    if runs.is_empty() {
        output::log("no runs yet\n");
        return Ok(0);
    }
    output::styled(&output::lines(&table(&runs).lines()))?;
    if is_cut && arguments.limit.is_none() {
        output::log("older runs: `lumos runs list --limit N`\n");
    }
    Ok(0)
}

fn table(runs: &[RunSummary]) -> Table {
    let mut table = Table::new(vec![
        Column::left("run"),
        Column::left("workflow"),
        Column::left("deployment"),
        Column::left("status"),
        Column::left("started"),
        Column::right("time"),
        Column::right("known cost"),
    ]);
    for run in runs {
        let unknown = || figure::UNKNOWN.to_owned();
        let is_over = run.status != Status::Running.as_str();
        let cost = run.cost_usd.as_deref().and_then(|cost| cost.parse().ok()).map(figure::money);
        let role = [Status::Failed, Status::Refused, Status::Limited, Status::Interrupted, Status::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == run.status)
            .map_or(Role::Row, Role::Ended);
        // RFC 3339 to the second: `2026-11-24 10:00:00Z`.
        let started = run.started_at.get(..19).map_or(run.started_at.clone(), |at| at.replace('T', " ") + "Z");
        table.row(
            role,
            vec![
                run.run_id.clone(),
                run.workflow.clone(),
                run.deployment.clone(),
                run.status.clone(),
                started,
                run.duration_us.filter(|_| is_over).map_or_else(|| figure::NONE.to_owned(), figure::duration),
                cost.unwrap_or_else(unknown),
            ],
        );
    }
    table
}

fn show(id: &str, format: Format, home: &Home) -> Result<u8, Failure> {
    let store = store(home)?.ok_or_else(|| Failure::from(StoreError::UnknownRun(id.to_owned())))?;
    let record = store.load(id)?;
    match format {
        Format::Json => output::json(&record)?,
        Format::Human => output::styled(&text(&record))?,
    }
    Ok(0)
}

fn text(record: &RunRecord) -> String {
    let mut text = format!(
        "{} {} {}\n",
        output::bold(&lumos_report::clean(&record.workflow)),
        output::ended(record.status, record.status.as_str()),
        output::dim(&record.started_at),
    );
    for (name, value) in &record.inputs {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "{} = {}", output::bold(&lumos_report::clean(name)), output::shown(&value));
    }
    text.push('\n');
    if record.status == Status::Succeeded {
        text.push_str(&run::answer(&record.output));
        text.push('\n');
    }
    text.push_str(&run::ending(record));
    text.push_str(&run::steps(record));
    text
}
