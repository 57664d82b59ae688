//! `lumos report`: results as one HTML file.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use lumos::core::load::Bundle;
use lumos::core::read::{FileKind, file_kind};
use lumos::decide::audit::digest;
use lumos::engine::{RecordStore, StoreError};
use lumos::{CheckedClaim, Error, Home, check_claim, claim_files};
use lumos_report::{Diagram, Drawing, Page, PageError, Source};
use serde_json::{Value, json};

use super::arguments::Format;
use super::failure::{self, COMMAND_LINE, Failure};
use super::{claims, file, home, output, runs};

/// Largest document that is read.
const MOST_BYTES: u64 = 256 << 20;

/// `lumos report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Documents that `eval`, `compare`, `optimize`, `simulate`, `plan`, `audit`, `run` or `runs export` wrote with `--format json`; recorded
    /// runs, by their ids or how those begin; or claims to check, by their files or their folder.
    #[arg(required_unless_present = "workflow", value_name = "FILE.json|RUN|CLAIMS")]
    pub subjects: Vec<String>,
    /// The file to write; claims alone need none and are printed.
    #[arg(short, long, value_name = "FILE.html")]
    pub output: Option<PathBuf>,
    /// Draw this workflow, too; can be given several times.
    #[arg(long, value_name = "FILE")]
    pub workflow: Vec<PathBuf>,
    /// The page's title [default: what the first document is of].
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// How to print claims where no file is written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

pub fn run(arguments: &Report, home: &Home) -> Result<u8, Failure> {
    let mut sources = Vec::new();
    let mut drawings: Vec<Drawing> = Vec::new();
    let mut checked = Vec::new();
    for subject in &arguments.subjects {
        let path = Path::new(subject);
        if path.is_dir() {
            checked.extend(claim_files(path)?);
        } else if is_claim(path) {
            checked.push(path.to_owned());
        } else if path.is_file() || subject.contains('/') || path.extension().is_some() {
            sources.push(document(path)?);
        } else {
            let (source, drawing) = recorded(subject, home)?;
            sources.push(source);
            drawings.extend(drawing);
        }
    }
    let checked = check(&checked, home)?;
    let Some(file) = &arguments.output else {
        if checked.is_empty() || !sources.is_empty() || !arguments.workflow.is_empty() {
            let hint = Some("-o FILE.html says where the page goes; claims alone are printed".to_owned());
            return Err(Failure::invalid(COMMAND_LINE, "there is no file to write", hint));
        }
        match arguments.format {
            Format::Json => output::json(&json!({ "claims": checked }))?,
            Format::Human => output::styled(&claims::text(&checked))?,
        }
        return Ok(0);
    };
    if !checked.is_empty() {
        let document = json!({ "claims": checked });
        let text = document.to_string();
        let name = if checked.len() == 1 { checked[0].file.clone() } else { format!("{} claims", checked.len()) };
        sources.push(Source { sha256: digest(text.as_bytes()), name, document });
    }
    for path in &arguments.workflow {
        let (bundle, warnings) = Bundle::open(path, None).map_err(Failure::Invalid)?;
        failure::warn(&warnings);
        drawings.extend(draw(&bundle));
    }
    // Several runs of the same workflow need one drawing.
    let mut seen: Vec<String> = Vec::new();
    drawings.retain(|drawing| {
        let is_new = !seen.contains(&drawing.svg);
        seen.push(drawing.svg.clone());
        is_new
    });
    let page = Page {
        title: arguments.title.clone().unwrap_or_else(|| title(&sources, &drawings)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: runs::Moment::now().to_second(),
        sources,
        drawings,
    };
    let html = page.html().map_err(|error| match &error {
        PageError::Unknown(name) => {
            let hint = "write it with `--format json`".to_owned();
            Failure::invalid(name, "it is no document that can be shown", Some(hint))
        }
        PageError::Empty => Failure::invalid(COMMAND_LINE, error.to_string(), None),
    })?;
    file::to_file(file, |mut out| {
        let written = out.write_all(html.as_bytes());
        written.map_err(|error| Failure::failed(format!("cannot write to {}: {error}", file.display())))
    })?;
    output::log(&format!("{} has {}\n", home::short(file), lumos_report::figure::bytes(html.len() as u64)));
    Ok(0)
}

/// Whether a file holds a claim.
fn is_claim(path: &Path) -> bool {
    let text = path.is_file().then(|| lumos::core::read::read_file(path).ok()).flatten();
    text.and_then(|text| file_kind(&text)) == Some(FileKind::Claim)
}

/// Checks claims one after the other; what is wrong with any of them is told at once.
fn check(paths: &[PathBuf], home: &Home) -> Result<Vec<CheckedClaim>, Failure> {
    let bar =
        if output::shows_progress() && !paths.is_empty() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let (mut checked, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        bar.set_message(path.display().to_string());
        bar.tick();
        match check_claim(path, home) {
            Ok(claim) => checked.push(claim),
            Err(Error::Problems(found)) => problems.extend(found),
            Err(error) => return Err(error.into()),
        }
    }
    bar.finish_and_clear();
    if problems.is_empty() { Ok(checked) } else { Err(Failure::Invalid(problems)) }
}

/// A document from a file.
fn document(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    let text = lumos::core::read::read_file_up_to(path, MOST_BYTES, "documents are at most 256 MiB")
        .map_err(|problem| Failure::Invalid(vec![*problem]))?;
    let document: Value = serde_json::from_str(&text).map_err(|error| {
        let hint = "commands write one with `--format json`".to_owned();
        Failure::invalid(&name, format!("it is no JSON document: {error}"), Some(hint))
    })?;
    Ok(Source { sha256: digest(text.as_bytes()), name, document })
}

/// The record of a run, and the drawing of its workflow, as far as that is kept.
fn recorded(id: &str, home: &Home) -> Result<(Source, Option<Drawing>), Failure> {
    if !home.folder().join("lumos.db").exists() {
        return Err(StoreError::UnknownRun(id.to_owned()).into());
    }
    let store = RecordStore::reader(home.folder());
    let record = store.load(id)?;
    let document = serde_json::to_value(&record).map_err(|error| Failure::failed(error.to_string()))?;
    let text = serde_json::to_vec(&document).map_err(|error| Failure::failed(error.to_string()))?;
    let blueprint = store.blueprint(&record.run_id).ok();
    let bundle = blueprint.and_then(|(_, blueprint)| blueprint.definition.bundle().ok());
    let source = Source { name: record.run_id.clone(), sha256: digest(&text), document };
    Ok((source, bundle.as_ref().and_then(draw)))
}

fn draw(bundle: &Bundle) -> Option<Drawing> {
    let diagram = Diagram::new(&bundle.workflows()).ok()?;
    Some(Drawing { title: bundle.workflow.parsed.spec.name.clone(), svg: diagram.svg() })
}

fn title(sources: &[Source], drawings: &[Drawing]) -> String {
    let named = sources.iter().find_map(|source| {
        let of = |pointer: &str| source.document.pointer(pointer).and_then(Value::as_str);
        let is_claims = source.document.get("claims").is_some();
        let named = of("/workflow").or_else(|| of("/static/workflow")).or_else(|| of("/scenario"));
        named.or(is_claims.then_some("claims"))
    });
    let named = named.or_else(|| drawings.first().map(|drawing| drawing.title.as_str()));
    named.map_or_else(|| "Report".to_owned(), |name| format!("Report on {name}"))
}
