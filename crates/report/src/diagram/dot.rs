//! A workflow in Graphviz's dot language; sub-workflows are clusters, and edges end at a cluster's border.

use std::fmt::Write;

use super::{Item, Sheet};

pub(super) fn draw(sheet: &Sheet) -> String {
    let mut text = format!(
        "digraph \"{}\" {{\n    compound=true;\n    node [shape=box, style=rounded, fontname=\"Helvetica\"];\n    edge [fontname=\"Helvetica\"];\n",
        escape(&sheet.name)
    );
    add(&mut text, sheet, 1);
    text.push_str("}\n");
    text
}

fn add(text: &mut String, sheet: &Sheet, depth: usize) {
    let indent = "    ".repeat(depth);
    for item in &sheet.items {
        let (id, label) = (item.id, label(item));
        if let Some(inner) = &item.inner {
            let _ = writeln!(text, "{indent}subgraph cluster_{id} {{\n{indent}    label=\"{label}\";");
            if let Some(mark) = item.mark {
                let _ = writeln!(text, "{indent}    color=\"{}\"; penwidth=3;", mark.colour());
            }
            add(text, inner, depth + 1);
            let _ = writeln!(text, "{indent}}}");
        } else {
            let shape = match item.kind {
                "router" => ", shape=diamond, style=solid",
                "guard" => ", shape=octagon, style=solid",
                "input" => ", shape=ellipse, style=solid",
                "outside" => ", shape=cds, style=solid",
                _ if item.mapped => ", peripheries=2",
                _ => "",
            };
            let mark = item.mark.map(|mark| format!(", color=\"{}\", penwidth=3", mark.colour())).unwrap_or_default();
            let _ = writeln!(text, "{indent}n{id} [label=\"{label}\"{shape}{mark}];");
        }
    }
    for arrow in &sheet.arrows {
        let (from, to) = (&sheet.items[arrow.from], &sheet.items[arrow.to]);
        let mut options = Vec::new();
        if from.inner.is_some() {
            options.push(format!("ltail=cluster_{}", from.id));
        }
        if to.inner.is_some() {
            options.push(format!("lhead=cluster_{}", to.id));
        }
        if let Some(label) = &arrow.label {
            options.push(format!("label=\"{}\"", escape(label)));
        }
        if let Some(mark) = arrow.mark {
            options.push(format!("color=\"{}\", penwidth=3", mark.colour()));
        }
        let options = if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) };
        let _ = writeln!(text, "{indent}n{} -> n{}{options};", last(from).id, first(to).id);
    }
}

/// The node at which an edge out of a cluster really starts.
fn last(item: &Item) -> &Item {
    item.inner.as_ref().map_or(item, |inner| last(inner.ends().1))
}

/// The node at which an edge into a cluster really ends.
fn first(item: &Item) -> &Item {
    item.inner.as_ref().map_or(item, |inner| first(inner.ends().0))
}

fn label(item: &Item) -> String {
    let lines = [item.name.clone(), item.what()].into_iter().chain(item.notes.iter().cloned());
    lines.map(|line| escape(&line)).collect::<Vec<_>>().join("\\n")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
