//! What may leave the boundary and what has, as `lumos audit` has it.

use std::fmt::Write;

use serde_json::Value;

use super::html::{Table, drawing, escape, prose};
use super::{Builder, Tone, number, text};
use crate::figure;

pub(super) fn show(page: &mut Builder, document: &Value) {
    let findings: Vec<&Value> = document["findings"].as_array().into_iter().flatten().collect();
    let audit = &document["static"];
    let workflow = text(&audit["workflow"]);
    let subject = match audit["deployment"].as_str() {
        Some(deployment) => format!("{workflow} on {deployment}"),
        None if workflow.is_empty() => "recorded runs".to_owned(),
        None => workflow.to_owned(),
    };
    match findings.len() {
        0 => page.verdict(Tone::Good, format!("audit of {subject}: nothing was found to leave that must not")),
        1 => page.verdict(Tone::Bad, format!("audit of {subject}: 1 finding")),
        many => page.verdict(Tone::Bad, format!("audit of {subject}: {many} findings")),
    }
    let mut content =
        format!("<p>Made by lumos {} at {}.</p>", escape(text(&document["lumos"])), escape(text(&document["date"])));
    if !findings.is_empty() {
        content.push_str("<ol>");
        for finding in findings {
            let (message, hint) = (prose(text(&finding["message"])), prose(text(&finding["hint"])));
            let _ = write!(content, "<li>{message}<br><small>{hint}</small></li>");
        }
        content.push_str("</ol>");
    }
    if let Some(destinations) = audit["destinations"].as_array().filter(|list| !list.is_empty()) {
        content.push_str("<h3>Destinations</h3>");
        content.push_str(&self::destinations(destinations).html());
    }
    if let Some(svg) = document["drawing"].as_str().filter(|svg| is_drawing(svg)) {
        content.push_str("<h3>Ways of labelled data</h3>");
        content.push_str(&drawing(workflow, svg));
    }
    content.push_str(&sent(document));
    let notes: Vec<&str> = document["notes"].as_array().into_iter().flatten().map(text).collect();
    if !notes.is_empty() {
        content.push_str("<h3>Notes</h3><ul>");
        content.extend(notes.iter().map(|note| format!("<li>{}</li>", prose(note))));
        content.push_str("</ul>");
    }
    let mut files = Table::new(&["file", "SHA-256"]);
    for file in document["files"].as_array().into_iter().flatten() {
        files.row([text(&file["file"]).to_owned(), text(&file["sha256"]).to_owned()]);
    }
    let _ = write!(content, "<details><summary>Files that were audited</summary>{}</details>", files.html());
    page.section(format!("Audit of {subject}"), content);
}

/// Whether a text is an image as `lumos graph` makes it: other markup in a document is not shown as such.
fn is_drawing(svg: &str) -> bool {
    let lower = svg.to_ascii_lowercase();
    let harmless = !["<script", "<foreignobject", "javascript:", " on", "<iframe", "<image", "<use", "<style"]
        .iter()
        .any(|bad| lower.split('<').any(|tag| format!("<{}", tag.split('>').next().unwrap_or_default()).contains(bad)));
    svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>") && harmless
}

fn destinations(list: &[Value]) -> Table {
    let mut table = Table::new(&["destination", "side", "who", "region", "retention", "labels", "sent by"]);
    for destination in list {
        let part = |name: &str| destination[name].as_str();
        let who: Vec<&str> = ["provider", "model", "host"].into_iter().filter_map(part).collect();
        let joined = |name: &str| {
            let texts: Vec<&str> = destination[name].as_array().into_iter().flatten().map(text).collect();
            texts.join(", ")
        };
        let unsaid = || if destination["side"] == "outside" { figure::UNKNOWN } else { figure::NONE }.to_owned();
        let retention = &destination["retention"];
        let kept = retention["note"].as_str().map(|note| {
            let basis = if retention["basis"] == "published" { "as published" } else { "as declared" };
            format!("{note} ({basis})")
        });
        table.row([
            text(&destination["name"]).to_owned(),
            text(&destination["side"]).to_owned(),
            who.join(" "),
            part("region").map_or_else(unsaid, str::to_owned),
            kept.unwrap_or_else(unsaid),
            joined("labels"),
            joined("nodes"),
        ]);
    }
    table
}

fn sent(document: &Value) -> String {
    let Some(runs) = document["runs"].as_array() else { return String::new() };
    let list: Vec<&Value> = document["sent"].as_array().into_iter().flatten().collect();
    if list.is_empty() {
        return format!("<h3>What was sent</h3><p>{} recorded runs sent nothing outside.</p>", runs.len());
    }
    let mut table = Table::new(&["sent to", "deployment", "runs", "requests", "bytes", "personal data"]);
    for sent in list {
        let bytes = number(&sent["bytes"]).unwrap_or_default() as u64;
        let least = if sent["is_counted"] == true { "" } else { "≥ " };
        let found: Vec<String> =
            sent["found"].as_object().into_iter().flatten().map(|(kind, times)| format!("{times} × {kind}")).collect();
        table.row([
            text(&sent["destination"]["name"]).to_owned(),
            text(&sent["deployment"]).to_owned(),
            sent["runs"].to_string(),
            sent["requests"].to_string(),
            format!("{least}{}", figure::bytes(bytes)),
            if found.is_empty() { "none found".to_owned() } else { found.join(", ") },
        ]);
    }
    format!("<h3>What was sent by {} recorded runs</h3>{}", runs.len(), table.html())
}

#[cfg(test)]
mod tests {
    use super::is_drawing;

    #[test]
    fn only_drawings_are_shown_as_such() {
        assert!(is_drawing("<svg xmlns=\"a\"><text x=\"1\">one on two</text></svg>\n"));
        for bad in [
            "<svg ><script>alert(1)</script></svg>",
            "<svg onload=\"alert(1)\"></svg>",
            "<svg ><g onclick=\"x\"/></svg>",
            "<svg ><a href=\"javascript:x\"/></svg>",
            "<p>no</p>",
        ] {
            assert!(!is_drawing(bad), "{bad}");
        }
    }
}
