//! A workflow as a Mermaid flowchart; sub-workflows are subgraphs.

use std::fmt::Write;

use super::{Item, Marking, Sheet};

pub(super) fn draw(sheet: &Sheet) -> String {
    let mut text = "flowchart TD\n".to_owned();
    let mut marks = Vec::new();
    let mut links = Vec::new();
    add(&mut text, sheet, 1, (&mut marks, &mut links));
    for (id, mark) in marks {
        let _ = writeln!(text, "    style n{id} stroke:{},stroke-width:3px", mark.colour());
    }
    for (at, mark) in links.iter().enumerate() {
        if let Some(mark) = mark {
            let _ = writeln!(text, "    linkStyle {at} stroke:{},stroke-width:3px", mark.colour());
        }
    }
    text
}

/// Marked nodes, and every link in the order of the text.
type Marks<'a> = (&'a mut Vec<(usize, Marking)>, &'a mut Vec<Option<Marking>>);

fn add(text: &mut String, sheet: &Sheet, depth: usize, (marks, links): Marks<'_>) {
    let indent = "    ".repeat(depth);
    for item in &sheet.items {
        let label = label(item);
        let id = item.id;
        marks.extend(item.mark.map(|mark| (id, mark)));
        if let Some(inner) = &item.inner {
            let _ = writeln!(text, "{indent}subgraph n{id}[\"{label}\"]");
            add(text, inner, depth + 1, (marks, links));
            let _ = writeln!(text, "{indent}end");
        } else {
            let (open, close) = shape(item.kind);
            let _ = writeln!(text, "{indent}n{id}{open}\"{label}\"{close}");
        }
    }
    for arrow in &sheet.arrows {
        let (from, to) = (sheet.items[arrow.from].id, sheet.items[arrow.to].id);
        let label = arrow.label.as_deref().map(|label| format!("|\"{}\"|", escape(label))).unwrap_or_default();
        let _ = writeln!(text, "{indent}n{from} -->{label} n{to}");
        links.push(arrow.mark);
    }
}

fn shape(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "router" => ("{", "}"),
        "guard" => ("{{", "}}"),
        "retriever" => ("[(", ")]"),
        "workflow" => ("[[", "]]"),
        "input" => ("([", "])"),
        "outside" => (">", "]"),
        _ => ("[", "]"),
    }
}

fn label(item: &Item) -> String {
    let lines = [item.name.clone(), item.what()].into_iter().chain(item.notes.iter().cloned());
    lines.map(|line| escape(&line)).collect::<Vec<_>>().join("<br/>")
}

/// Mermaid reads entities written with `#`; quotes, brackets of HTML and backticks have a meaning of their own.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '#' => escaped.push_str("#35;"),
            '"' => escaped.push_str("#quot;"),
            '&' => escaped.push_str("#amp;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '`' => escaped.push_str("#96;"),
            c => escaped.push(c),
        }
    }
    escaped
}
