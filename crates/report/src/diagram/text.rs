//! A workflow as a table: one row per node, numbered by layer, sub-workflows indented below their node.

use std::fmt::Write;

use super::{Diagram, Sheet};
use crate::table::{Column, Role, Table};

pub(super) fn draw(diagram: &Diagram) -> String {
    let mut text = diagram.sheet.name.clone();
    if !diagram.description.is_empty() {
        let _ = write!(text, "\n{}", diagram.description);
    }
    text.push_str("\n\n");
    for (at, input) in diagram.inputs.iter().enumerate() {
        let title = if at == 0 { "inputs" } else { "" };
        let _ = writeln!(text, "{title:<8}{input}");
    }
    if !diagram.inputs.is_empty() {
        text.push('\n');
    }
    let mut table = Table::new(vec![
        Column::left("layer"),
        Column::left("node"),
        Column::left("kind"),
        Column::left("agent"),
        Column::left("after"),
        Column::left("how"),
    ]);
    add_rows(&mut table, &diagram.sheet, "", 0);
    for line in table.lines() {
        text.push_str(&line.text);
        text.push('\n');
    }
    text.push('\n');
    for (at, line) in diagram.output.iter().enumerate() {
        let title = if at == 0 { "output" } else { "" };
        let _ = writeln!(text, "{title:<8}{line}");
    }
    if !diagram.limits.is_empty() {
        let _ = writeln!(text, "{:<8}{}", "limits", diagram.limits.join(" · "));
    }
    text
}

fn add_rows(table: &mut Table, sheet: &Sheet, prefix: &str, depth: usize) {
    let mut positions = sheet.order.clone();
    positions.sort_by_key(|at| sheet.items[*at].layer);
    for at in positions {
        let item = &sheet.items[at];
        let layer = format!("{prefix}{}", item.layer + 1);
        let before = sheet.arrows.iter().filter(|arrow| arrow.to == at).map(|arrow| {
            let name = &sheet.items[arrow.from].name;
            arrow.label.as_ref().map_or_else(|| name.clone(), |label| format!("{name} = {label}"))
        });
        table.row(
            Role::Row,
            vec![
                layer.clone(),
                format!("{}{}", "  ".repeat(depth), item.name),
                item.kind.to_owned(),
                item.agent.clone().unwrap_or_default(),
                before.collect::<Vec<_>>().join(", "),
                item.notes.join(" · "),
            ],
        );
        if let Some(inner) = &item.inner {
            add_rows(table, inner, &format!("{layer}."), depth + 1);
        }
    }
}
