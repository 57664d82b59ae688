//! Ways through a workflow that stand out in its drawing: where data comes from, what it goes through, where it ends up.

use lumos_core::graph::{Graph, GraphId, NodeId};
use lumos_core::program::Hop;

use super::{Arrow, Item, Sheet};
use crate::table::clean;

/// Ways of one label through one node to one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// What goes these ways.
    pub label: String,
    /// Each from where it begins to the node.
    pub ways: Vec<Vec<Hop>>,
    /// The node that sends it.
    pub sender: (GraphId, NodeId),
    /// Where it is sent.
    pub destination: String,
    /// Whether that is forbidden.
    pub is_forbidden: bool,
}

/// How something stands out; the later hides the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Marking {
    /// It is on a way that is allowed.
    Allowed,
    /// It is on a way that is forbidden.
    Forbidden,
}

impl Marking {
    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Allowed => "#d97706",
            Self::Forbidden => "#dc2626",
        }
    }
}

/// Marks what of a sheet is on the ways, and adds the inputs where they begin and the destinations where they end.
pub(super) fn draw(sheet: &mut Sheet, graph: &Graph, id: GraphId, marks: &[Mark], next_id: &mut usize) {
    let nodes = sheet.items.len();
    // A hidden judge stands for the node whose answers it judges.
    let shown = |node: NodeId| graph.node(node).judges.unwrap_or(node).index();
    for mark in marks {
        let marking = if mark.is_forbidden { Marking::Forbidden } else { Marking::Allowed };
        let label = clean(&mark.label);
        let sends = mark.sender.0 == id;
        for way in &mark.ways {
            let end = sends.then(|| shown(mark.sender.1));
            let mut here: Vec<Option<usize>> = Vec::new();
            for hop in way {
                here.push(match hop.node {
                    _ if hop.graph != id => None,
                    Some(node) => Some(shown(node)),
                    None => Some(extra(sheet, "input", &hop.name, next_id)),
                });
            }
            here.push(end);
            for at in here.iter().flatten() {
                stand_out(&mut sheet.items[*at].mark, marking);
                if *at < nodes && Some(*at) != end {
                    note(&mut sheet.items[*at], format!("passes {label} on"));
                }
            }
            for pair in here.windows(2) {
                if let [Some(from), Some(to)] = pair
                    && from != to
                {
                    connect(sheet, (*from, *to), (*from >= nodes).then_some(label.as_str()), marking);
                }
            }
        }
        if sends {
            let sender = shown(mark.sender.1);
            let destination = extra(sheet, "outside", &mark.destination, next_id);
            stand_out(&mut sheet.items[sender].mark, marking);
            stand_out(&mut sheet.items[destination].mark, marking);
            note(&mut sheet.items[sender], format!("sends {label} to {}", clean(&mark.destination)));
            connect(sheet, (sender, destination), Some(&label), marking);
        }
    }
    arrange(sheet, nodes);
}

/// The position of an input or destination, which is added unless it is there.
fn extra(sheet: &mut Sheet, kind: &'static str, name: &str, next_id: &mut usize) -> usize {
    let name = clean(name);
    if let Some(at) = sheet.items.iter().position(|item| item.kind == kind && item.name == name) {
        return at;
    }
    let id = *next_id;
    *next_id += 1;
    sheet.items.push(Item {
        id,
        name,
        kind,
        agent: None,
        notes: Vec::new(),
        layer: 0,
        mapped: false,
        inner: None,
        mark: None,
    });
    sheet.items.len() - 1
}

fn stand_out(mark: &mut Option<Marking>, marking: Marking) {
    *mark = (*mark).max(Some(marking));
}

fn note(item: &mut Item, text: String) {
    if !item.notes.contains(&text) {
        item.notes.push(text);
    }
}

/// Marks the arrow between two items; only inputs and destinations get arrows that were not there.
fn connect(sheet: &mut Sheet, (from, to): (usize, usize), label: Option<&str>, marking: Marking) {
    match sheet.arrows.iter_mut().find(|arrow| (arrow.from, arrow.to) == (from, to)) {
        Some(arrow) => {
            stand_out(&mut arrow.mark, marking);
            if let (Some(label), Some(known)) = (label, &mut arrow.label)
                && !known.split(", ").any(|part| part == label)
            {
                known.push_str(", ");
                known.push_str(label);
            }
        }
        None if label.is_some() => {
            sheet.arrows.push(Arrow { from, to, label: label.map(str::to_owned), mark: Some(marking) });
        }
        None => {}
    }
}

/// Puts inputs before all else, and destinations after whoever sends to them.
fn arrange(sheet: &mut Sheet, nodes: usize) {
    let (items, added) = sheet.items.split_at_mut(nodes);
    if added.iter().any(|item| item.kind == "input") {
        for item in items {
            item.layer += 1;
        }
    }
    for at in nodes..sheet.items.len() {
        if sheet.items[at].kind == "input" {
            sheet.order.insert(0, at);
            continue;
        }
        let senders = sheet.arrows.iter().filter(|arrow| arrow.to == at).map(|arrow| sheet.items[arrow.from].layer);
        sheet.items[at].layer = senders.max().map_or(0, |layer| layer + 1);
        sheet.order.push(at);
    }
}
