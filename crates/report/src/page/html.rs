//! The page's frame: texts that are safe in HTML, tables, figures, styles and the script that draws.

use std::fmt::Write;

use super::{Builder, Page, Tone};
pub(super) use crate::diagram::escape;

/// A text in which what stands between backticks is code.
pub(super) fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let is_paired = parts.len() % 2 == 1;
    let part = |(at, part): (usize, &&str)| match at % 2 {
        1 if is_paired => format!("<code>{}</code>", escape(part)),
        _ => escape(part),
    };
    if is_paired { parts.iter().enumerate().map(part).collect() } else { escape(text) }
}

/// A table of texts; the first column names its rows.
pub(super) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<T: AsRef<str>>(columns: &[T]) -> Self {
        Self { columns: columns.iter().map(|column| column.as_ref().to_owned()).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn html(&self) -> String {
        let mut text = "<div class=\"table\" tabindex=\"0\"><table><thead><tr>".to_owned();
        for column in &self.columns {
            let _ = write!(text, "<th scope=\"col\">{}</th>", escape(column));
        }
        text.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            text.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let cell = escape(cell);
                let _ = match at {
                    0 => write!(text, "<th scope=\"row\">{cell}</th>"),
                    _ => write!(text, "<td>{cell}</td>"),
                };
            }
            text.push_str("</tr>");
        }
        text.push_str("</tbody></table></div>");
        text
    }
}

/// A plot, drawn by the page's script, with its figures below it.
pub(super) fn figure(number: usize, caption: &str, plot: &str, table: &Table) -> String {
    // In JSON it can only be part of a text, which must not end the element.
    let plot = plot.replace('<', "\\u003c");
    format!(
        "<figure><div class=\"plot\" id=\"plot-{number}\" role=\"img\" aria-label=\"{caption}\"></div>\
         <script type=\"application/json\" data-plot=\"plot-{number}\">{plot}</script>\
         <figcaption>{caption}</figcaption><details><summary>Figures</summary>{}</details></figure>",
        table.html(),
        caption = escape(caption),
    )
}

/// An image of a workflow.
pub(super) fn drawing(title: &str, svg: &str) -> String {
    let label = escape(title);
    format!("<div class=\"drawing\" tabindex=\"0\" role=\"group\" aria-label=\"drawing of {label}\">{svg}</div>")
}

/// The whole page.
pub(super) fn shell(page: &Page, builder: &Builder) -> String {
    let mut text = String::with_capacity(6 << 20);
    let title = escape(&page.title);
    let _ = write!(
        text,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; \
         style-src 'unsafe-inline'; img-src data: blob:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#verdict\">Skip to the verdict</a>\n\
         <header><h1>{title}</h1><p class=\"made\">lumos {} · {}</p>\
         <button type=\"button\" id=\"theme\">Dark or light</button></header>\n\
         <nav aria-label=\"sections\"><ul><li><a href=\"#verdict\">Verdict</a></li>",
        escape(&page.version),
        escape(&page.date),
    );
    for (id, name, _) in &builder.sections {
        let _ = write!(text, "<li><a href=\"#{id}\">{}</a></li>", escape(name));
    }
    text.push_str("</ul></nav>\n<main>\n<section id=\"verdict\"><h2>Verdict</h2>");
    if builder.verdicts.is_empty() {
        text.push_str("<p>There is nothing to decide here.</p>");
    } else {
        text.push_str("<ul class=\"verdicts\">");
        for (tone, verdict) in &builder.verdicts {
            let class = match tone {
                Tone::Good => "good",
                Tone::Bad => "bad",
                Tone::Plain => "plain",
            };
            let _ = write!(text, "<li class=\"{class}\">{}</li>", prose(verdict));
        }
        text.push_str("</ul>");
    }
    text.push_str("</section>\n");
    for (id, name, content) in &builder.sections {
        let _ = writeln!(text, "<section id=\"{id}\"><h2>{}</h2>{content}</section>", escape(name));
    }
    text.push_str("</main>\n");
    if builder.plots > 0 {
        text.push_str(plotly_script(&plotly::Plot::offline_js_sources()));
        let _ = writeln!(text, "<script>{SCRIPT}</script>");
    } else {
        let _ = writeln!(text, "<script>{THEME}</script>");
    }
    text.push_str("</body>\n</html>\n");
    text
}

/// The script of plotly alone: formulas, which come with it, are not used.
fn plotly_script(sources: &str) -> &str {
    const END: &str = "</script>";
    sources.find(END).map_or(sources, |at| &sources[..at + END.len()])
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(include_str!("theme.js"), include_str!("plots.js"));
const THEME: &str = include_str!("theme.js");
