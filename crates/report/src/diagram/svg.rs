//! A workflow as a self-contained SVG image.

use std::fmt::Write;

use super::layout::{LINE, Laid, PAD, Place, lay_out, text_height};
use super::{Item, Marking, Sheet};

const MARGIN: f64 = 20.0;
const TITLE: f64 = 34.0;
const GREY: &str = "#64748b";

pub(super) fn draw(sheet: &Sheet) -> String {
    let laid = lay_out(sheet);
    let title = escape(&sheet.name);
    let title_width = unicode_width::UnicodeWidthStr::width(sheet.name.as_str()) as f64 * 10.0;
    let width = laid.width.max(title_width) + 2.0 * MARGIN;
    let height = laid.height + 2.0 * MARGIN + TITLE;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\">\n\
         <title>{title}</title>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0,1 L10,5 L0,9 z\" fill=\"{grey}\"/></marker>{tips}</defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{:.1}\" font-size=\"16\" font-weight=\"600\" fill=\"#0f172a\">{title}</text>\n",
        MARGIN + 14.0,
        grey = GREY,
        tips = tips(sheet)
    );
    add(&mut text, sheet, &laid, (MARGIN + (width - 2.0 * MARGIN - laid.width) / 2.0, MARGIN + TITLE));
    text.push_str("</svg>\n");
    text
}

fn add(text: &mut String, sheet: &Sheet, laid: &Laid, (left, top): (f64, f64)) {
    for (arrow, path) in sheet.arrows.iter().zip(&laid.paths) {
        let (colour, width, tip) = match arrow.mark {
            Some(mark) => (mark.colour(), "2.6", tip(mark)),
            None => (GREY, "1.4", "tip"),
        };
        let _ = writeln!(
            text,
            "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" marker-end=\"url(#{tip})\"/>",
            curve(path, left, top)
        );
    }
    for (item, place) in sheet.items.iter().zip(&laid.boxes) {
        add_item(text, item, place, (left, top));
    }
    // Labels lie on top of everything.
    for (arrow, path) in sheet.arrows.iter().zip(&laid.paths) {
        if let (Some(label), [.., from, to]) = (&arrow.label, path.as_slice()) {
            let (x, y) = (left + f64::midpoint(from.0, to.0), top + f64::midpoint(from.1, to.1) + 4.0);
            let _ = writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#0f172a\" \
                 stroke=\"#ffffff\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>",
                escape(label)
            );
        }
    }
}

fn add_item(text: &mut String, item: &Item, place: &Place, (left, top): (f64, f64)) {
    let (x, y) = (left + place.x, top + place.y);
    let (fill, mut stroke) = colours(item.kind);
    let mut width = "1.4";
    if let Some(mark) = item.mark {
        (stroke, width) = (mark.colour(), "3");
    }
    let frame = |x: f64, y: f64| {
        format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\" fill=\"{fill}\" stroke=\"{stroke}\" \
             stroke-width=\"{width}\"/>\n",
            place.width, place.height
        )
    };
    if item.mapped {
        text.push_str(&frame(x + 6.0, y + 6.0));
        text.push_str(&frame(x + 3.0, y + 3.0));
    }
    text.push_str(&frame(x, y));
    let centre = x + place.width / 2.0;
    let what = item.what();
    let lines = [(item.name.as_str(), 13, 600, "#0f172a"), (what.as_str(), 11, 400, "#475569")];
    let notes = item.notes.iter().map(|note| (note.as_str(), 11, 400, "#1e293b"));
    for (number, (line, size, weight, colour)) in lines.into_iter().chain(notes).enumerate() {
        let baseline = y + PAD / 2.0 + LINE * number as f64 + 12.0;
        let _ = writeln!(
            text,
            "<text x=\"{centre:.1}\" y=\"{baseline:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" \
             text-anchor=\"middle\" fill=\"{colour}\">{}</text>",
            escape(line)
        );
    }
    if let (Some(sheet), Some(laid)) = (&item.inner, &place.inner) {
        let inside = x + (place.width - laid.width) / 2.0;
        add(text, sheet, laid, (inside, y + text_height(item)));
    }
}

fn tip(mark: Marking) -> &'static str {
    match mark {
        Marking::Allowed => "tip-allowed",
        Marking::Forbidden => "tip-forbidden",
    }
}

/// The tips of arrows that stand out.
fn tips(sheet: &Sheet) -> String {
    let mut text = String::new();
    for mark in [Marking::Allowed, Marking::Forbidden].into_iter().filter(|mark| has(sheet, *mark)) {
        let _ = write!(
            text,
            "<marker id=\"{}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"5\" markerHeight=\"5\" \
             orient=\"auto\"><path d=\"M0,1 L10,5 L0,9 z\" fill=\"{}\"/></marker>",
            tip(mark),
            mark.colour()
        );
    }
    text
}

fn has(sheet: &Sheet, mark: Marking) -> bool {
    sheet.arrows.iter().any(|arrow| arrow.mark == Some(mark))
        || sheet.items.iter().filter_map(|item| item.inner.as_ref()).any(|inner| has(inner, mark))
}

/// A path through points: straight down where they are above each other, else a curve that starts and ends upright.
fn curve(points: &[(f64, f64)], left: f64, top: f64) -> String {
    let mut text = String::new();
    let mut before: Option<(f64, f64)> = None;
    for (x, y) in points.iter().map(|(x, y)| (left + x, top + y)) {
        match before {
            None => {
                let _ = write!(text, "M{x:.1},{y:.1}");
            }
            Some((x0, _)) if (x0 - x).abs() < 0.05 => {
                let _ = write!(text, " L{x:.1},{y:.1}");
            }
            Some((x0, y0)) => {
                let middle = f64::midpoint(y0, y);
                let _ = write!(text, " C{x0:.1},{middle:.1} {x:.1},{middle:.1} {x:.1},{y:.1}");
            }
        }
        before = Some((x, y));
    }
    text
}

/// Fill and border of a kind of node.
fn colours(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "guard" => ("#fef2f2", "#dc2626"),
        "retriever" => ("#eff6ff", "#2563eb"),
        "planner" => ("#f5f3ff", "#7c3aed"),
        "forecaster" => ("#ecfeff", "#0891b2"),
        "router" => ("#fffbeb", "#d97706"),
        "judge" => ("#fdf4ff", "#c026d3"),
        "generator" => ("#f0fdf4", "#16a34a"),
        "workflow" => ("#f8fafc", "#94a3b8"),
        "input" => ("#f1f5f9", "#475569"),
        "outside" => ("#fee2e2", "#7f1d1d"),
        _ => ("#ffffff", "#475569"),
    }
}

/// A text in which nothing is markup, in XML as in HTML; control characters are gone already.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
