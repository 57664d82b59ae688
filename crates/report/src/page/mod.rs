//! Results as one HTML file that needs no network: the verdict first, then plots with their figures, drawings, and what was
//! taken for granted. It is made of the documents that commands print with `--format json`.

mod audit;
mod claims;
mod comparison;
mod evaluation;
mod frontier;
mod html;
mod plan;
mod plots;
mod run;
mod simulation;
#[cfg(test)]
mod tests;

use serde_json::Value;

use html::prose;

/// A document that a command has printed.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its file, or the run's id.
    pub name: String,
    /// SHA-256 of its text, in hexadecimal.
    pub sha256: String,
    /// What it says.
    pub document: Value,
}

/// A drawing that is shown.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// What it is of.
    pub title: String,
    /// The image, as a whole `<svg>` element that [`crate::Diagram::svg`] made.
    pub svg: String,
}

/// What a page is made of.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// The version of lumos.
    pub version: String,
    /// When it is made, in RFC 3339, UTC.
    pub date: String,
    /// The documents, in the order in which they are shown.
    pub sources: Vec<Source>,
    /// Drawings of workflows.
    pub drawings: Vec<Drawing>,
}

/// Why no page can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// A document is none that a page can show.
    #[error("{0} is no document of `run`, `eval`, `compare`, `optimize`, `simulate`, `plan` or `audit`, and no claims")]
    Unknown(String),
    /// There is nothing to show.
    #[error("there is nothing to show")]
    Empty,
}

/// Sorts of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comparison,
    Evaluation,
    Optimization,
    Simulation,
    Plan,
    Audit,
    Claims,
    Run,
    Runs,
}

impl Kind {
    /// What a document is, by the fields that only its sort has.
    fn of(document: &Value) -> Option<Self> {
        let has = |names: &[&str]| names.iter().all(|name| document.get(name).is_some());
        Some(match document {
            _ if has(&["verdict", "findings", "files", "catalogs"]) => Self::Audit,
            _ if has(&["sides", "verdicts"]) => Self::Comparison,
            _ if has(&["dataset", "outcomes", "deployment"]) => Self::Evaluation,
            _ if has(&["frontier", "space", "effort"]) => Self::Optimization,
            _ if has(&["candidates", "chosen", "together"]) => Self::Plan,
            _ if has(&["scenario", "results"]) => Self::Simulation,
            _ if has(&["run_id", "steps", "totals"]) => Self::Run,
            _ if has(&["claims"]) => Self::Claims,
            _ if has(&["runs"]) => Self::Runs,
            _ => return None,
        })
    }
}

/// How a verdict sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Plain,
}

/// A page as far as it has come.
#[derive(Default)]
struct Builder {
    verdicts: Vec<(Tone, String)>,
    /// Id, title and content.
    sections: Vec<(String, String, String)>,
    /// What was taken for granted, each once.
    assumptions: Vec<String>,
    plots: usize,
}

impl Builder {
    fn verdict(&mut self, tone: Tone, text: impl Into<String>) {
        self.verdicts.push((tone, text.into()));
    }

    fn section(&mut self, title: impl Into<String>, content: String) {
        let id = format!("section-{}", self.sections.len() + 1);
        self.sections.push((id, title.into(), content));
    }

    fn assume(&mut self, texts: &Value) {
        for text in texts.as_array().into_iter().flatten() {
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            if !self.assumptions.contains(&text) {
                self.assumptions.push(text);
            }
        }
    }

    /// A plot with its caption and, for those who read or copy it, its figures.
    fn figure(&mut self, caption: &str, plot: &plotly::Plot, table: &html::Table) -> String {
        self.plots += 1;
        html::figure(self.plots, caption, &plot.to_json(), table)
    }
}

impl Page {
    /// The page.
    ///
    /// # Errors
    /// Documents that it cannot show.
    pub fn html(&self) -> Result<String, PageError> {
        if self.sources.is_empty() && self.drawings.is_empty() {
            return Err(PageError::Empty);
        }
        let mut builder = Builder::default();
        let mut runs: Vec<&Value> = Vec::new();
        for source in &self.sources {
            let document = &source.document;
            match Kind::of(document).ok_or_else(|| PageError::Unknown(source.name.clone()))? {
                Kind::Comparison => comparison::show(&mut builder, document),
                Kind::Evaluation => evaluation::show(&mut builder, document),
                Kind::Optimization => frontier::show(&mut builder, document),
                Kind::Simulation => simulation::show(&mut builder, document),
                Kind::Plan => plan::show(&mut builder, document),
                Kind::Audit => audit::show(&mut builder, document),
                Kind::Claims => claims::show(&mut builder, document),
                Kind::Run => runs.push(document),
                Kind::Runs => {
                    let listed = document["runs"].as_array().into_iter().flatten();
                    let before = runs.len();
                    runs.extend(listed.filter(|run| Kind::of(run) == Some(Kind::Run)));
                    if runs.len() == before {
                        return Err(PageError::Unknown(source.name.clone()));
                    }
                }
            }
        }
        run::show(&mut builder, &runs);
        for drawing in &self.drawings {
            let content = html::drawing(&drawing.title, &drawing.svg);
            builder.section(format!("Workflow: {}", drawing.title), content);
        }
        builder.section("Assumptions and sources", self.sources(&builder.assumptions));
        Ok(html::shell(self, &builder))
    }

    fn sources(&self, assumptions: &[String]) -> String {
        let mut text = String::new();
        if assumptions.is_empty() {
            text.push_str("<p>Nothing was taken for granted beyond what each figure says of itself.</p>");
        } else {
            text.push_str("<ul>");
            text.extend(assumptions.iter().map(|assumption| format!("<li>{}</li>", prose(assumption))));
            text.push_str("</ul>");
        }
        text.push_str(BASES);
        let mut table = html::Table::new(&["document", "of", "SHA-256"]);
        for source in &self.sources {
            let of = match Kind::of(&source.document) {
                Some(Kind::Comparison) => "lumos compare",
                Some(Kind::Evaluation) => "lumos eval",
                Some(Kind::Optimization) => "lumos optimize",
                Some(Kind::Simulation) => "lumos simulate",
                Some(Kind::Plan) => "lumos plan",
                Some(Kind::Audit) => "lumos audit",
                Some(Kind::Claims) => "claims",
                Some(Kind::Run | Kind::Runs) => "records of runs",
                None => "",
            };
            table.row([source.name.clone(), of.to_owned(), source.sha256.clone()]);
        }
        text.push_str(&table.html());
        text
    }
}

const BASES: &str = "<p>Each figure is <em>measured</em> by lumos, <em>reported</em> by a server, <em>estimated</em> from \
    prices and what had arrived, or <em>simulated</em>. Intervals are at 95 %. What nobody knows is shown as ?, never as zero.</p>";

/// A number, also where it is written as a text, as money is.
fn number(value: &Value) -> Option<f64> {
    let found = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    found.filter(|number| number.is_finite())
}

/// A text; nothing when there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number to three digits that count.
fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (2 - value.abs().log10().floor() as i64).clamp(0, 12) as usize;
    let shown = format!("{value:.decimals$}");
    if decimals == 0 {
        let (sign, whole) = shown.strip_prefix('-').map_or(("", shown.as_str()), |rest| ("-", rest));
        return format!("{sign}{}", crate::figure::count(whole.parse().unwrap_or(u64::MAX)));
    }
    shown
}

/// A figure with its interval, as `compare` and `eval` have it; `unit` stands behind it, a dollar sign before it.
fn with_interval(figure: &Value, unit: &str) -> String {
    let (before, behind) = if unit == "$" { ("$", "") } else { ("", unit) };
    let Some(value) = number(&figure["value"]) else {
        return match number(&figure["at_least"]) {
            Some(least) => format!("≥ {before}{}{behind}", digits(least)),
            None => crate::figure::UNKNOWN.to_owned(),
        };
    };
    let shown = format!("{before}{}{behind}", digits(value));
    match (number(&figure["low"]), number(&figure["high"])) {
        (None, None) => shown,
        (low, high) => {
            let end = |end: Option<f64>| end.map_or_else(|| crate::figure::UNKNOWN.to_owned(), digits);
            format!("{shown} ({}–{})", end(low), end(high))
        }
    }
}
