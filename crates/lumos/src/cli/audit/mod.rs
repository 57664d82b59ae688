//! `lumos audit`: what may leave the boundary, and what recorded runs have sent.

pub mod arguments;
mod document;
mod markdown;
mod screen;

use std::path::Path;

use lumos::agents::guard::personal_data;
use lumos::core::load::{Bundle, find_deployment};
use lumos::core::problem::nearest;
use lumos::core::spec::{Detector, Label};
use lumos::decide::audit::{FileDigest, Policy, Recorded, Sent, Subject, Telemetry, audit, audit_run, digest, files};
use lumos::engine::{Kind, StoreError};
use lumos::{Error, Home, Lumos, Prices};
use lumos_report::{Diagram, Mark, step_names};

use self::arguments::{Audit, AuditFormat};
use self::document::{CatalogDigest, Document};
use super::failure::{self, COMMAND_LINE, Failure};
use super::{file, output, runs};

/// Exit code of an audit that has found something.
const FOUND: u8 = 1;

pub fn run(arguments: &Audit, home: &Home) -> Result<u8, Failure> {
    let (document, diagram) = match workflow(&arguments.subjects)? {
        Some(workflow) => of_workflow(arguments, workflow, home)?,
        None => (of_runs(arguments, home)?, None),
    };
    let text = match (arguments.format, &diagram) {
        (AuditFormat::Human, _) => screen::text(&document, diagram.as_ref()),
        (AuditFormat::Json, _) => {
            let text = serde_json::to_string_pretty(&document).map_err(|error| Failure::failed(error.to_string()))?;
            text + "\n"
        }
        (AuditFormat::Markdown, _) => markdown::text(&document, diagram.as_ref()),
        (AuditFormat::Mermaid, Some(diagram)) => diagram.mermaid(),
        (AuditFormat::Dot, Some(diagram)) => diagram.dot(),
        (AuditFormat::Svg, Some(diagram)) => diagram.svg(),
        (AuditFormat::Mermaid | AuditFormat::Dot | AuditFormat::Svg, None) => {
            let hint = Some("name the workflow's file in place of runs".to_owned());
            return Err(Failure::invalid(COMMAND_LINE, "only a workflow can be drawn", hint));
        }
    };
    match (&arguments.output, arguments.format) {
        (Some(path), format) => {
            let text =
                if format == AuditFormat::Human { anstream::adapter::strip_str(&text).to_string() } else { text };
            file::to_file(path, |mut file| {
                std::io::Write::write_all(&mut file, text.as_bytes())
                    .map_err(|error| Failure::failed(format!("cannot write to {}: {error}", path.display())))
            })?;
            output::log(&screen::verdict(&document));
        }
        (None, AuditFormat::Human) => output::styled(&text)?,
        (None, _) => output::data(&text)?,
    }
    Ok(if document.findings.is_empty() { 0 } else { FOUND })
}

/// The workflow that is meant, or `None` for runs.
fn workflow(subjects: &[String]) -> Result<Option<&Path>, Failure> {
    let is_file = |subject: &&String| {
        let path = Path::new(subject.as_str());
        path.extension().is_some_and(|extension| extension == "ron") || subject.contains('/') || path.is_file()
    };
    match (subjects, subjects.iter().find(is_file)) {
        (_, None) => Ok(None),
        ([only], Some(_)) => Ok(Some(Path::new(only))),
        (_, Some(file)) => {
            let hint = "name one workflow, with `--runs` for its runs; or only ids of runs";
            Err(Failure::invalid(COMMAND_LINE, format!("`{file}` is not alone"), Some(hint.to_owned())))
        }
    }
}

fn of_workflow(arguments: &Audit, path: &Path, home: &Home) -> Result<(Document, Option<Diagram>), Failure> {
    let deployment = arguments.deployment.clone().or_else(|| find_deployment("local", path));
    let (bundle, warnings) = Bundle::open(path, deployment.as_deref()).map_err(Failure::Invalid)?;
    failure::warn(&warnings);
    let forbid: Vec<Label> = arguments.forbid.iter().cloned().map(Label).collect();
    let telemetry = telemetry();
    let subject = Subject { bundle: &bundle, telemetry: &telemetry, forbid: &forbid, allow: &arguments.allow };
    let file = &bundle.workflow.parsed.file;
    let (found, program) = audit(subject).map_err(|error| Failure::invalid(file, error.to_string(), None))?;
    let forbidden = bundle.deployment.as_ref().map(|source| source.parsed.spec.boundary.forbid_outside.clone());
    let labels: Vec<Label> = program.labels().cloned().chain(forbidden.into_iter().flatten()).collect();
    check_names(arguments, &labels)?;
    let marks: Vec<Mark> = found
        .leaks
        .iter()
        .map(|leak| Mark {
            label: leak.label.0.clone(),
            ways: leak.ways.iter().map(|way| way.hops.clone()).collect(),
            sender: leak.place,
            destination: leak.destination.clone(),
            is_forbidden: leak.is_forbidden,
        })
        .collect();
    let diagram = Diagram::marked(&bundle.workflows(), &marks)
        .map_err(|error| Failure::invalid(file, error.to_string(), None))?;
    let mut document = Document::new(runs::Moment::now().to_second(), files(&bundle), catalogs(home)?);
    if arguments.with_runs {
        let kind = Kind {
            workflow: Some(found.workflow.clone()),
            deployment: Some(found.deployment.clone().unwrap_or_else(|| "none".to_owned())),
            since: arguments.since.map(runs::Moment::rfc3339),
            ..Kind::default()
        };
        let lumos = Lumos::builder(home.clone()).reader().build()?;
        let mut sent = Vec::new();
        for run in runs::matching(home, &kind)? {
            match of_run(&lumos, &run.run_id, |_, _| Ok(found.policy.clone())) {
                Ok((of_run, _)) => sent.push(of_run),
                // One run that cannot be read must not hide the others; that it was not looked at is said.
                Err(Failed::Unreadable(why)) => {
                    document.notes.push(format!("run {} was not looked at: {why}", run.run_id));
                }
                Err(Failed::Command(failure)) => return Err(failure),
            }
        }
        document.take_runs(sent);
    }
    document.take_static(found);
    document.drawing = Some(diagram.svg());
    Ok((document, Some(diagram)))
}

fn of_runs(arguments: &Audit, home: &Home) -> Result<Document, Failure> {
    if arguments.with_runs || arguments.deployment.is_some() {
        let hint = Some("runs are audited with the deployment that they were made on".to_owned());
        let option = if arguments.with_runs { "--runs" } else { "--deployment" };
        return Err(Failure::invalid(COMMAND_LINE, format!("`{option}` needs a workflow's file"), hint));
    }
    if let Some(unknown) = arguments.subjects.first().filter(|_| !home.folder().join("lumos.db").exists()) {
        return Err(StoreError::UnknownRun(unknown.clone()).into());
    }
    let lumos = Lumos::builder(home.clone()).reader().build()?;
    let mut known: Vec<FileDigest> = Vec::new();
    let mut sent = Vec::new();
    let mut labels = Vec::new();
    for id in &arguments.subjects {
        let policy = |forbid_outside: &[Label], of_program: &[Label]| {
            labels.extend(of_program.iter().chain(forbid_outside).cloned());
            let forbid: Vec<Label> = arguments.forbid.iter().cloned().map(Label).collect();
            Ok(Policy::new(forbid_outside, of_program, &forbid, &arguments.allow))
        };
        let (of_run, files) = of_run(&lumos, id, policy).map_err(|failed| match failed {
            Failed::Unreadable(why) => Failure::failed(format!("run {id} cannot be looked at: {why}")),
            Failed::Command(failure) => failure,
        })?;
        sent.push(of_run);
        known.extend(files);
    }
    check_names(arguments, &labels)?;
    known.sort();
    known.dedup();
    let mut document = Document::new(runs::Moment::now().to_second(), known, catalogs(home)?);
    document.take_runs(sent);
    Ok(document)
}

/// Why a run was not audited.
enum Failed {
    /// What it was made by, or its log, cannot be used any more.
    Unreadable(String),
    /// The command cannot go on.
    Command(Failure),
}

/// Audits one run; `policy` is made of the labels that its deployment forbids and of those that its workflow has.
fn of_run(
    lumos: &Lumos,
    id: &str,
    policy: impl FnOnce(&[Label], &[Label]) -> Result<Policy, Failure>,
) -> Result<(Sent, Vec<FileDigest>), Failed> {
    let unreadable = |error: Error| match error {
        Error::Store(StoreError::UnknownRun(_) | StoreError::Ambiguous { .. }) => Failed::Command(error.into()),
        other => Failed::Unreadable(other.to_string()),
    };
    let history = lumos.history(id).map_err(unreadable)?;
    let bundle = history.blueprint().definition.bundle().map_err(|problems| unreadable(Error::Problems(problems)))?;
    let program = lumos.bind_recorded(&history).map_err(unreadable)?;
    let record = history.record();
    let forbidden = bundle.deployment.as_ref().map(|source| source.parsed.spec.boundary.forbid_outside.clone());
    let labels: Vec<Label> = program.program().labels().cloned().collect();
    let policy = policy(&forbidden.unwrap_or_default(), &labels).map_err(Failed::Command)?;
    let Some(store) = lumos.store() else { return Err(Failed::Unreadable("no records are kept".to_owned())) };
    let steps = history.steps();
    let run = Recorded { record: &record, steps: &steps, bundle: &bundle, program: &program };
    let sent = audit_run(store, run, &step_names(&record), &policy, &personal_data)
        .map_err(|error| unreadable(error.into()))?;
    Ok((sent, files(&bundle)))
}

/// Whether `--forbid` and `--allow` name something that is there: a name that is mistyped would forbid nothing.
fn check_names(arguments: &Audit, labels: &[Label]) -> Result<(), Failure> {
    let kinds: Vec<String> = Detector::ALL.iter().map(|detector| format!("{detector:?}").to_lowercase()).collect();
    let mut labels: Vec<&str> = labels.iter().map(|label| label.0.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    let allowed: Vec<&str> = labels.iter().copied().chain(kinds.iter().map(String::as_str)).collect();
    for (option, names, known) in [("--forbid", &arguments.forbid, &labels), ("--allow", &arguments.allow, &allowed)] {
        let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) else { continue };
        let hint = match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "nothing is labelled".to_owned(),
            None => format!("there is {}", known.join(", ")),
        };
        return Err(Failure::invalid(COMMAND_LINE, format!("{option}: nothing carries `{unknown}`"), Some(hint)));
    }
    Ok(())
}

/// Where runs that were made now would send telemetry.
fn telemetry() -> Vec<Telemetry> {
    #[cfg(feature = "otel")]
    return super::telemetry::collectors();
    #[cfg(not(feature = "otel"))]
    Vec::new()
}

/// The catalogs that figures and notes come from.
fn catalogs(home: &Home) -> Result<Vec<CatalogDigest>, Failure> {
    let prices = Prices::load(home)?;
    let catalog = prices.catalog();
    let newest = catalog.entries().iter().map(|entry| entry.as_of).max();
    Ok(vec![CatalogDigest {
        name: "prices".to_owned(),
        as_of: newest.map(|date| date.to_string()),
        sha256: digest(catalog.to_ron().as_bytes()),
    }])
}
