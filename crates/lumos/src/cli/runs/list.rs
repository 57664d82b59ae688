//! `lumos runs list`: the runs that fit, the newest first.

use lumos::Home;
use lumos::core::Status;
use lumos::engine::{Kind, RunSummary};
use lumos_report::{Column, Role, Table, figure};
use serde_json::json;

use super::arguments::List;
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::output;

/// Runs that people are shown unless they ask for more.
const SHOWN: usize = 20;

pub fn run(arguments: &List, home: &Home) -> Result<u8, Failure> {
    let is_human = arguments.format == Format::Human;
    let mut kind = super::kind(&arguments.filters);
    let is_any = Kind { limit: usize::MAX, ..kind.clone() } == Kind::default();
    let limit = arguments.filters.limit.unwrap_or(if is_human { SHOWN } else { usize::MAX });
    // One more shows whether there are more.
    kind.limit = limit.saturating_add(1);
    let mut runs = super::matching(home, &kind)?;
    let is_cut = runs.len() > limit;
    runs.truncate(limit);
    if !is_human {
        output::json(&json!({ "runs": runs }))?;
        return Ok(0);
    }
    if runs.is_empty() && limit > 0 {
        output::log(if is_any { "no runs yet\n" } else { "no run fits\n" });
        return Ok(0);
    }
    if !runs.is_empty() {
        output::styled(&output::lines(&table(&runs).lines()))?;
    }
    if is_cut && arguments.filters.limit.is_none() {
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
