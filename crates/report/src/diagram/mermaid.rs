//! A workflow as a Mermaid flowchart; sub-workflows are subgraphs.

use std::fmt::Write;

use super::{Item, Sheet};

pub(super) fn draw(sheet: &Sheet) -> String {
    let mut text = "flowchart TD\n".to_owned();
    add(&mut text, sheet, 1);
    text
}

fn add(text: &mut String, sheet: &Sheet, depth: usize) {
    let indent = "    ".repeat(depth);
    for item in &sheet.items {
        let label = label(item);
        let id = item.id;
        if let Some(inner) = &item.inner {
            let _ = writeln!(text, "{indent}subgraph n{id}[\"{label}\"]");
            add(text, inner, depth + 1);
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
    }
}

fn shape(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "router" => ("{", "}"),
        "guard" => ("{{", "}}"),
        "retriever" => ("[(", ")]"),
        "workflow" => ("[[", "]]"),
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
