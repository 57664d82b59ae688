//! An audit as a document to be filed: everything that was found, of what, when and by which version.

use std::fmt::Write;

use lumos::core::record::Destination as Side;
use lumos::decide::audit::{Destination, Leak, RetentionBasis, StaticAudit};
use lumos_report::{Diagram, clean};

use super::document::Document;
use super::screen;

pub fn text(document: &Document, diagram: Option<&Diagram>) -> String {
    let mut text = String::from("# Audit of data that leaves the boundary\n\n");
    let verdict = match document.findings.len() {
        0 => "nothing was found".to_owned(),
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    let mut rows = vec![("verdict", format!("**{verdict}**")), ("date", document.date.clone())];
    if let Some(audit) = &document.statics {
        rows.push(("workflow", cell(&audit.workflow)));
        rows.push(("deployment", cell(audit.deployment.as_deref().unwrap_or("none"))));
        rows.push(("must not leave", cell(&screen::policy(audit))));
    }
    if let Some(runs) = &document.runs {
        rows.push(("recorded runs", runs.len().to_string()));
    }
    rows.push(("made by", format!("lumos {}", document.lumos)));
    text.push_str("| | |\n| --- | --- |\n");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push_str("\n## Findings\n\n");
    if document.findings.is_empty() {
        text.push_str("None.\n");
    }
    for (at, finding) in document.findings.iter().enumerate() {
        let _ = writeln!(text, "{}. {} — {}", at + 1, line(&finding.message), line(&finding.hint));
    }
    if let Some(audit) = &document.statics {
        statics(&mut text, audit, diagram);
    }
    runs(&mut text, document);
    if !document.notes.is_empty() {
        text.push_str("\n## Notes\n\n");
        for note in &document.notes {
            let _ = writeln!(text, "- {}", line(note));
        }
    }
    text.push_str(METHOD);
    text.push_str("\n## Files\n\n| file | SHA-256 |\n| --- | --- |\n");
    for file in &document.files {
        let _ = writeln!(text, "| {} | `{}` |", cell(&file.file), file.sha256);
    }
    for catalog in &document.catalogs {
        let as_of = catalog.as_of.as_deref().map(|day| format!(", as of {day}")).unwrap_or_default();
        let _ = writeln!(text, "| catalog of {}{as_of} | `{}` |", cell(&catalog.name), catalog.sha256);
    }
    text
}

const METHOD: &str = "
## How it was found

Labels begin at inputs and nodes that are declared with them. A value carries every label of whatever it was made of; only
a guard that redacts, and looks for something, lets none of what it reads pass. Each way of each label through templates,
lists, loops and sub-workflows was followed to each backend that a node can be bound to or fall back on, to its judges and
cascades, to the hosts that tools fetch from, and to the collector of telemetry that the environment names. Ways that need
two branches of one router are none. Conditions are taken to hold. What decides whether something is sent, and is not sent
itself, is not followed.

What runs have sent was rendered again from their logs and compared with the digest of what was sent then; personal data
in it was looked for by the patterns and checksums of the guard: e-mail addresses, phone numbers, payment cards, IBANs, US
social security numbers and IP addresses. Other personal data, such as names, is not found by patterns.
";

fn statics(text: &mut String, audit: &StaticAudit, diagram: Option<&Diagram>) {
    text.push_str("\n## Where labels begin\n\n");
    if audit.labels.is_empty() {
        text.push_str("Nothing is labelled.\n");
    }
    for (label, places) in &audit.labels {
        let _ = writeln!(text, "- {}: {}", line(&label.0), line(&places.join(", ")));
    }
    text.push_str("\n## Destinations\n\n");
    destinations(text, audit.destinations.iter());
    text.push_str("\n## Ways out\n\n");
    if audit.leaks.is_empty() {
        text.push_str("No label can reach a destination outside.\n");
    }
    for leak in &audit.leaks {
        ways(text, leak);
    }
    if !audit.clearings.is_empty() {
        text.push_str("\n## Where labels end\n\n| guard | labels | looks for |\n| --- | --- | --- |\n");
        for clearing in &audit.clearings {
            let place = format!("{}/{}", clearing.workflow, clearing.node);
            let (labels, detects) = (screen::names(&clearing.labels), clearing.detects.join(", "));
            let _ = writeln!(text, "| {} | {} | {} |", cell(&place), cell(&labels), cell(&detects));
        }
    }
    if !audit.output_carries.is_empty() {
        let labels = screen::names(&audit.output_carries);
        let _ = writeln!(text, "\nThe output of a run carries {} to whoever has asked for it.", line(&labels));
    }
    if let Some(diagram) = diagram {
        let _ = write!(text, "\n## Drawing\n\n```mermaid\n{}```\n", diagram.mermaid());
    }
}

fn ways(text: &mut String, leak: &Leak) {
    let verdict = if leak.is_forbidden { "**forbidden**" } else { "allowed" };
    let place = format!("{}/{}", leak.workflow, leak.node);
    let _ = writeln!(
        text,
        "- {} to {}, sent by {} ({}): {verdict}",
        line(&leak.label.0),
        line(&leak.destination),
        line(&place),
        line(&leak.how.join("; "))
    );
    for way in &leak.ways {
        let names: Vec<&str> = way.hops.iter().map(|hop| hop.name.as_str()).chain([leak.node.as_str()]).collect();
        let remarks =
            if way.remarks.is_empty() { String::new() } else { format!(" — {}", line(&way.remarks.join("; "))) };
        let _ = writeln!(text, "  - {}{remarks}", line(&names.join(" → ")));
    }
    if !leak.is_complete {
        text.push_str("  - and more ways than are listed\n");
    }
}

fn destinations<'a>(text: &mut String, destinations: impl Iterator<Item = &'a Destination>) {
    text.push_str(
        "| destination | side | who | region | retention | labels | sent by |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for destination in destinations {
        let side = format!("{}: {}", screen::side(destination), destination.because);
        let is_outside = destination.side == Side::Outside;
        let unsaid = || if is_outside { "not said".to_owned() } else { "—".to_owned() };
        let retention = destination.retention.as_ref().map(|retention| match retention.basis {
            RetentionBasis::Declared => format!("{} (as the deployment says)", retention.note),
            RetentionBasis::Published => {
                let source = retention.source.unwrap_or_default();
                format!("{} (as published at {source}; a contract may say otherwise)", retention.note)
            }
        });
        let row = [
            destination.name.clone(),
            side,
            screen::who(destination),
            destination.region.clone().unwrap_or_else(unsaid),
            retention.unwrap_or_else(unsaid),
            screen::names(&destination.labels),
            destination.nodes.join(", "),
        ];
        let _ = writeln!(text, "| {} |", row.map(|value| cell(&value)).join(" | "));
    }
}

fn runs(text: &mut String, document: &Document) {
    let Some(runs) = &document.runs else { return };
    text.push_str("\n## What was sent\n\n");
    if document.sent.is_empty() {
        let _ = writeln!(text, "Nothing was sent outside by {} recorded runs.", runs.len());
    } else {
        destinations(text, document.sent.iter().map(|sent| &sent.destination));
        text.push_str(
            "\n| destination | runs | requests | answered from the cache | bytes | personal data | from | to |\n\
             | --- | ---: | ---: | ---: | ---: | --- | --- | --- |\n",
        );
        for sent in &document.sent {
            let bytes = match (sent.is_counted, sent.bytes) {
                (true, bytes) => bytes.to_string(),
                (false, bytes) => format!("at least {bytes}"),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {bytes} | {} | {} | {} |",
                cell(&format!("{} ({})", sent.destination.name, sent.deployment)),
                sent.runs,
                sent.requests,
                sent.cached,
                screen::found(sent),
                sent.between.0,
                sent.between.1
            );
        }
        text.push_str(
            "\n| run | step | attempt | destination | status | bytes | labels | personal data | shown again |\n\
             | --- | --- | ---: | --- | --- | ---: | --- | --- | --- |\n",
        );
        for run in runs {
            for request in &run.requests {
                let bytes = request.bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
                let bytes = if request.is_cached { "0 (from the cache)".to_owned() } else { bytes };
                let found: Vec<String> =
                    request.found.iter().map(|(kind, times)| format!("{times} × {kind}")).collect();
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {bytes} | {} | {} | {} |",
                    run.run_id,
                    cell(&request.step),
                    request.attempt,
                    cell(&request.destination),
                    request.status.as_str(),
                    cell(&screen::names(&request.labels)),
                    found.join(", "),
                    if request.is_as_recorded { "yes" } else { "no" }
                );
            }
        }
    }
}

/// A text on one line that Markdown does not take for anything else.
fn line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut is_code = false;
    for c in clean(text).chars() {
        match c {
            '`' => {
                is_code = !is_code;
                escaped.push(c);
            }
            '<' if !is_code => escaped.push_str("&lt;"),
            '*' | '_' | '[' | ']' | '\\' | '#' if !is_code => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The same in a cell of a table.
fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}
