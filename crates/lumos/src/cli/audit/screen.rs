//! An audit on a screen: the verdict first, then what was found, where data goes, and why.

use std::fmt::Write;

use lumos::core::record::Destination as Side;
use lumos::core::spec::Label;
use lumos::decide::audit::{
    Destination, DestinationKind, Leak, PolicyBasis, Retention, RetentionBasis, Sent, StaticAudit,
};
use lumos_report::{Column, Diagram, Role, Table, clean, figure};

use super::document::{Document, SentTo};
use crate::cli::output;

/// Most things of a kind that are listed.
const LISTED: usize = 20;

pub fn text(document: &Document, diagram: Option<&Diagram>) -> String {
    let mut text = String::new();
    if let Some(audit) = &document.statics {
        let on = audit.deployment.as_deref().unwrap_or("no deployment");
        let _ =
            writeln!(text, "{} {}", output::bold(&clean(&audit.workflow)), output::dim(&format!("on {}", clean(on))));
        let _ = writeln!(text, "{} {}", output::bold("must not leave:"), policy(audit));
    }
    text.push_str(&verdict(document));
    for finding in document.findings.iter().take(LISTED) {
        text.push_str(&output::error(&clean(&finding.message), None).replacen("error", "found", 1));
        text.push_str(&output::hint(&clean(&finding.hint), "  "));
    }
    more(&mut text, document.findings.len());
    if let Some(audit) = &document.statics {
        statics(&mut text, audit);
        if let Some(diagram) = diagram.filter(|_| !audit.leaks.is_empty()) {
            let _ = writeln!(text, "\n{}", output::bold("the ways in the workflow"));
            text.push_str(&output::shown(&diagram.text()));
        }
    }
    if let Some(runs) = &document.runs {
        sent(&mut text, &document.sent, runs);
    }
    if !document.notes.is_empty() {
        text.push('\n');
    }
    for note in document.notes.iter().take(LISTED) {
        let _ = writeln!(text, "{} {}", output::bold("note:"), clean(note));
    }
    more(&mut text, document.notes.len());
    text
}

/// The verdict in a line.
pub fn verdict(document: &Document) -> String {
    let looked = match (&document.statics, &document.runs) {
        (Some(_), None) => "all ways of labelled data were followed".to_owned(),
        (statics, Some(runs)) => {
            let both = if statics.is_some() { "all ways of labelled data were followed, and " } else { "" };
            let count = runs.len();
            format!("{both}{count} run{} looked at", if count == 1 { " was" } else { "s were" })
        }
        (None, None) => "nothing was looked at".to_owned(),
    };
    let found = document.findings.len();
    let verdict = match found {
        0 => output::bold("nothing was found"),
        1 => output::bold("1 thing was found"),
        many => output::bold(&format!("{many} things were found")),
    };
    format!("{verdict}: {looked}\n")
}

/// What must not leave, and who says so.
pub fn policy(audit: &StaticAudit) -> String {
    let policy = &audit.policy;
    let labels = if policy.forbidden.is_empty() { "nothing".to_owned() } else { names(&policy.forbidden) };
    let basis = match policy.basis {
        PolicyBasis::Deployment => "by `forbid_outside`",
        PolicyBasis::EveryLabel => "the deployment forbids nothing, so every label counts",
    };
    let allowed = if policy.allowed.is_empty() {
        String::new()
    } else {
        format!("; allowed: {}", clean(&policy.allowed.join(", ")))
    };
    format!("{labels} ({basis}{allowed})")
}

/// Labels in a row.
pub fn names(labels: &[Label]) -> String {
    labels.iter().map(|label| clean(&label.0)).collect::<Vec<_>>().join(", ")
}

fn more(text: &mut String, count: usize) {
    if count > LISTED {
        let _ = writeln!(text, "… and {} more; `--format markdown` lists all", count - LISTED);
    }
}

fn statics(text: &mut String, audit: &StaticAudit) {
    if audit.destinations.is_empty() {
        text.push_str("\nnothing is sent anywhere\n");
    } else {
        text.push('\n');
        text.push_str(&output::lines(&destinations(&audit.destinations).lines()));
    }
    for leak in audit.leaks.iter().filter(|leak| !leak.is_forbidden).take(LISTED) {
        let _ = writeln!(text, "{} {}", output::bold("may leave:"), clean(&allowed(leak)));
    }
    if !audit.output_carries.is_empty() {
        let _ = writeln!(
            text,
            "{} the output carries {} to whoever asks for the run",
            output::bold("given back:"),
            names(&audit.output_carries)
        );
    }
}

/// A way that is allowed, in a line.
pub fn allowed(leak: &Leak) -> String {
    let way = leak.ways.first().map(|way| way.hops.iter().map(|hop| hop.name.as_str()).collect::<Vec<_>>().join(" → "));
    format!("`{}` to `{}`: {} → {}", leak.label.0, leak.destination, way.unwrap_or_default(), leak.node)
}

/// Where things may be sent.
fn destinations(destinations: &[Destination]) -> Table {
    let mut table = Table::new(vec![
        Column::left("destination"),
        Column::left("side"),
        Column::left("who"),
        Column::left("region"),
        Column::left("kept"),
        Column::right("nodes"),
        Column::left("labels"),
    ]);
    for destination in destinations {
        table.row(
            Role::Row,
            vec![
                destination.name.clone(),
                side(destination).to_owned(),
                lumos_report::fit(&who(destination), 44),
                destination.region.clone().unwrap_or_else(|| unknown(destination)),
                kept(destination),
                figure::count(destination.nodes.len() as u64),
                if destination.labels.is_empty() { figure::NONE.to_owned() } else { names(&destination.labels) },
            ],
        );
    }
    table
}

/// `inside` or `outside`; of agents that nobody knows neither.
pub fn side(destination: &Destination) -> &'static str {
    match (destination.kind, destination.side) {
        (DestinationKind::Agent, _) => "unknown",
        (_, Side::Inside) => "inside",
        (_, Side::Outside) => "outside",
    }
}

/// Who serves a destination, and where.
pub fn who(destination: &Destination) -> String {
    let kind = match destination.kind {
        DestinationKind::Backend => None,
        DestinationKind::Tool => Some("fetched from".to_owned()),
        DestinationKind::Telemetry => Some("telemetry".to_owned()),
        DestinationKind::Agent => Some("agent".to_owned()),
    };
    let host = destination.host.as_ref().filter(|host| **host != destination.name).map(|host| format!("at {host}"));
    let parts = kind.into_iter().chain(destination.provider.clone()).chain(destination.model.clone()).chain(host);
    parts.collect::<Vec<_>>().join(" ")
}

fn unknown(destination: &Destination) -> String {
    if destination.side == Side::Outside { figure::UNKNOWN.to_owned() } else { figure::NONE.to_owned() }
}

/// What becomes of what is sent, in a word or two.
fn kept(destination: &Destination) -> String {
    match &destination.retention {
        None => unknown(destination),
        Some(Retention { basis: RetentionBasis::Declared, note, .. }) => lumos_report::fit(note, 40),
        Some(Retention { period, .. }) => format!("{} (published)", period.unwrap_or(figure::UNKNOWN)),
    }
}

fn sent(text: &mut String, totals: &[SentTo], runs: &[Sent]) {
    let inside: u64 = runs.iter().map(|run| run.attempts_inside).sum();
    let _ = writeln!(
        text,
        "\n{} {} attempts stayed inside",
        output::bold(&format!("{} recorded runs:", figure::count(runs.len() as u64))),
        figure::count(inside)
    );
    if totals.is_empty() {
        text.push_str("nothing was sent outside\n");
        return;
    }
    let mut table = Table::new(vec![
        Column::left("sent to"),
        Column::left("who"),
        Column::right("runs"),
        Column::right("requests"),
        Column::right("bytes"),
        Column::left("may carry"),
        Column::left("found"),
    ]);
    for total in totals {
        table.row(
            Role::Row,
            vec![
                total.destination.name.clone(),
                lumos_report::fit(&who(&total.destination), 44),
                figure::count(total.runs),
                figure::count(total.requests),
                bytes(total),
                if total.labels.is_empty() { figure::NONE.to_owned() } else { names(&total.labels) },
                found(total),
            ],
        );
    }
    text.push_str(&output::lines(&table.lines()));
}

/// Bytes, as far as somebody counted them.
pub fn bytes(total: &SentTo) -> String {
    match (total.is_counted, total.bytes) {
        (true, bytes) => figure::bytes(bytes),
        (false, 0) => figure::UNKNOWN.to_owned(),
        (false, bytes) => format!("≥ {}", figure::bytes(bytes)),
    }
}

/// Personal data by kind.
pub fn found(total: &SentTo) -> String {
    if total.found.is_empty() {
        return "no personal data".to_owned();
    }
    total.found.iter().map(|(kind, times)| format!("{times} × {kind}")).collect::<Vec<_>>().join(", ")
}
