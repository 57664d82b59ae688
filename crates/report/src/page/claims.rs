//! Claims with their verdicts, as `lumos report` finds them.

use std::fmt::Write;

use serde_json::Value;

use super::html::{Table, escape, prose};
use super::plots::{Mark, against_one};
use super::{Builder, Tone, digits, number, text};
use crate::figure;

pub(super) fn show(page: &mut Builder, document: &Value) {
    let claims: Vec<&Value> = document["claims"].as_array().into_iter().flatten().collect();
    for claim in &claims {
        let tone = match text(&claim["verdict"]) {
            "holds" => Tone::Good,
            "does_not_hold" => Tone::Bad,
            _ => Tone::Plain,
        };
        page.verdict(tone, format!("{}: {}", text(&claim["name"]), text(&claim["says"])));
    }
    let mut content = overview(&claims).html();
    content.push_str(&held_against(page, &claims));
    for claim in &claims {
        one(&mut content, claim);
        page.assume(&claim["assumes"]);
        for question in claim["asked"].as_array().into_iter().flatten() {
            page.assume(&question["assumptions"]);
        }
    }
    page.section("Claims, checked", content);
}

/// What is said of a verdict.
fn word(verdict: &Value) -> &'static str {
    match text(verdict) {
        "holds" => "holds",
        "holds_only_if" => "holds only if",
        "does_not_hold" => "does not hold",
        _ => "",
    }
}

fn overview(claims: &[&Value]) -> Table {
    let mut table = Table::new(&["claim", "what is claimed", "verdict", "what lumos finds"]);
    for claim in claims {
        let parts = claim["parts"].as_array().into_iter().flatten();
        let found: Vec<String> = parts
            .map(|part| format!("{}: {}", text(&part["says"]), part["shown"].as_str().unwrap_or(figure::UNKNOWN)))
            .collect();
        table.row([
            text(&claim["name"]).to_owned(),
            text(&claim["claim"]).to_owned(),
            word(&claim["verdict"]).to_owned(),
            found.join("; "),
        ]);
    }
    table
}

/// Each figure as a multiple of the bound that it is held against.
fn held_against(page: &mut Builder, claims: &[&Value]) -> String {
    let mut marks = Vec::new();
    let mut table = Table::new(&["figure", "as a multiple of the bound", "least", "most"]);
    for claim in claims {
        for part in claim["parts"].as_array().into_iter().flatten() {
            let ends = |range: &Value| Some((number(&range[0])?, number(&range[1])?));
            let (Some(value), Some((low, high)), Some(bound)) =
                (number(&part["value"]), ends(&part["range"]), number(&part["bound"]).filter(|bound| *bound > 0.0))
            else {
                continue;
            };
            if low <= 0.0 {
                continue;
            }
            let unknown = if part["unknown_in_range"] == true { " (unknown at some of it)" } else { "" };
            let name = format!("{}: {}{unknown}", text(&claim["name"]), text(&part["says"]));
            table.row([name.clone(), digits(value / bound), digits(low / bound), digits(high / bound)]);
            marks.push(Mark { name, value: value / bound, low: low / bound, high: high / bound });
        }
    }
    if marks.is_empty() {
        return String::new();
    }
    let plot = against_one(&marks, "times what is claimed, with all that is plausible");
    page.figure("Figures beside what is claimed", &plot, &table)
}

fn one(content: &mut String, claim: &Value) {
    let _ = write!(
        content,
        "<h3>{}</h3><blockquote>{}</blockquote><p><small>{}</small></p><p><strong>{}</strong></p>",
        escape(text(&claim["name"])),
        escape(text(&claim["claim"])),
        escape(text(&claim["source"])),
        prose(text(&claim["says"])),
    );
    content.push_str(&parts(claim).html());
    let assumed: Vec<&str> = claim["assumes"].as_array().into_iter().flatten().map(text).collect();
    let given = claim["given"].as_array().filter(|given| !given.is_empty());
    if let Some(given) = given {
        let mut table = Table::new(&["what is left open", "values", "from"]);
        for value in given {
            table.row(["says", "values", "source"].map(|name| text(&value[name]).to_owned()));
        }
        content.push_str(&table.html());
    }
    if !assumed.is_empty() {
        content.push_str("<p>What must be assumed:</p><ul>");
        content.extend(assumed.iter().map(|text| format!("<li>{}</li>", prose(text))));
        content.push_str("</ul>");
    }
    let mut table = Table::new(&["question", "command", "basis", "sources"]);
    for question in claim["asked"].as_array().into_iter().flatten() {
        let sources: Vec<&str> = question["sources"].as_array().into_iter().flatten().map(text).collect();
        let cells = ["name", "command", "basis"].map(|name| text(&question[name]).to_owned());
        table.row(cells.into_iter().chain([sources.join("; ")]));
    }
    let _ = write!(
        content,
        "<details><summary>How the figures were found</summary>{}{}<p><small>{} {}</small></p></details>",
        table.html(),
        expressions(claim).html(),
        escape(text(&claim["file"])),
        escape(text(&claim["sha256"])),
    );
}

fn parts(claim: &Value) -> Table {
    let mut table = Table::new(&["figure", "is", "must be", "basis", "95 % as given", "verdict", "when"]);
    for part in claim["parts"].as_array().into_iter().flatten() {
        let unit = text(&part["unit"]);
        let interval = match (number(&part["interval"][0]), number(&part["interval"][1])) {
            (Some(low), Some(high)) if digits(low) == digits(high) => String::new(),
            (Some(low), Some(high)) if unit == "$" => format!("${}–${}", digits(low), digits(high)),
            (Some(low), Some(high)) => format!("{}–{} {unit}", digits(low), digits(high)),
            _ => String::new(),
        };
        let when = ["condition", "would_hold", "measure"].into_iter().find_map(|name| {
            let said = part[name].as_str()?;
            Some(match name {
                "would_hold" => format!("would if {said}"),
                "measure" => format!("measure it with {said}"),
                _ => said.to_owned(),
            })
        });
        let is_unknown = part["measure"].is_string();
        table.row([
            text(&part["says"]).to_owned(),
            part["shown"].as_str().unwrap_or(figure::UNKNOWN).to_owned(),
            text(&part["must_be"]).to_owned(),
            text(&part["basis"]).to_owned(),
            interval.trim_end().to_owned(),
            if is_unknown { "unknown here" } else { word(&part["verdict"]) }.to_owned(),
            when.unwrap_or_default(),
        ]);
    }
    table
}

/// What each figure is made of, and how far off the model behind it may be.
fn expressions(claim: &Value) -> Table {
    let mut table = Table::new(&["figure", "expression", "off by", "says who"]);
    for part in claim["parts"].as_array().into_iter().flatten().filter(|part| part["figure"].is_string()) {
        let off_by = number(&part["off_by"][0]).map(|share| format!("{} %", digits(share * 100.0)));
        table.row([
            text(&part["says"]).to_owned(),
            text(&part["figure"]).to_owned(),
            off_by.unwrap_or_default(),
            text(&part["off_by"][1]).to_owned(),
        ]);
    }
    table
}
