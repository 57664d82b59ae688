//! `--profile-from`: a scenario whose nodes are described by recorded runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lumos::core::load::Scenario;
use lumos::core::{Problem, RunRecord};
use lumos::decide::profile_from::{LearnError, Learned, learn};
use lumos::engine::{Kind, RecordStore};
use lumos::sim::model::Model;
use lumos::{Error, Home};

use super::failure::{COMMAND_LINE, Failure};
use super::output;

/// Most runs that are read, the newest: more of them say the same.
const MOST_RUNS: usize = 2_000;

/// The file of a home that runs are recorded in.
const STORE: &str = "lumos.db";

const HOMES: &str = "`--profile-from runs` reads this LUMOS_HOME's runs, `--profile-from PATH` those of another";

/// A scenario with what it was compiled to.
pub struct Opened {
    pub scenario: Scenario,
    pub models: Vec<Model>,
    pub warnings: Vec<Problem>,
    /// What it has learned, if it was to.
    pub learned: Option<Learned>,
}

/// A scenario that is not compiled yet.
pub struct Described {
    pub scenario: Scenario,
    pub warnings: Vec<Problem>,
    /// What it has learned, if it was to.
    pub learned: Option<Learned>,
}

/// Reads a scenario; with `from`, its nodes are described by the runs that are recorded there, and people are told.
pub fn describe(path: &Path, deployments: &[PathBuf], from: Option<&Path>, home: &Home) -> Result<Described, Failure> {
    let (mut scenario, mut warnings) = Scenario::open(path, deployments).map_err(Error::Problems)?;
    once(&scenario)?;
    let learned = match from {
        Some(from) => Some(learn_from(&mut scenario, from, home)?),
        None => None,
    };
    if let Some(learned) = &learned {
        // What was said to be unknown is known now.
        let is_known =
            |warning: &Problem| learned.apis.keys().any(|name| warning.message.contains(&format!("`{name}`")));
        warnings.retain(|warning| warning.field.as_deref() != Some("services") || !is_known(warning));
    }
    Ok(Described { scenario, warnings, learned })
}

/// The same, compiled with each of its deployments.
pub fn open(path: &Path, deployments: &[PathBuf], from: Option<&Path>, home: &Home) -> Result<Opened, Failure> {
    let Described { scenario, warnings, learned } = describe(path, deployments, from, home)?;
    let models = lumos::scenario_models(&scenario, home)?;
    Ok(Opened { scenario, models, warnings, learned })
}

/// A deployment that is given twice would be there twice, with the same figures.
fn once(scenario: &Scenario) -> Result<(), Failure> {
    let mut seen: Vec<PathBuf> = Vec::new();
    for source in scenario.bundles.iter().filter_map(|bundle| bundle.deployment.as_ref()) {
        let path = Path::new(&source.parsed.file);
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if seen.contains(&path) {
            let name = lumos_report::clean(&source.parsed.spec.name);
            let message = format!("the deployment `{name}` is given twice");
            return Err(Failure::invalid(COMMAND_LINE, message, Some("name each deployment once".to_owned())));
        }
        seen.push(path);
    }
    Ok(())
}

fn learn_from(scenario: &mut Scenario, from: &Path, home: &Home) -> Result<Learned, Failure> {
    let folder = if from == Path::new("runs") { home.folder() } else { from };
    // The store itself can be named too.
    let folder = if folder.is_file() { folder.parent().unwrap_or(folder) } else { folder };
    if from.is_file() && !from.ends_with(STORE) {
        let message = format!("{} is no folder with recorded runs", lumos_report::clean(&from.display().to_string()));
        return Err(Failure::invalid(COMMAND_LINE, message, Some(HOMES.to_owned())));
    }
    if !folder.exists() && from != Path::new("runs") {
        let message = format!("there is no file or folder {}", lumos_report::clean(&folder.display().to_string()));
        return Err(Failure::invalid(COMMAND_LINE, message, Some(HOMES.to_owned())));
    }
    let place = lumos_report::clean(&folder.display().to_string());
    let has_store = folder.join(STORE).exists();
    if !has_store && from != Path::new("runs") {
        let message = format!("{place} has no {STORE}: no run was recorded there");
        return Err(Failure::invalid(COMMAND_LINE, message, Some(HOMES.to_owned())));
    }
    let records = if has_store { records(scenario, folder)? } else { Vec::new() };
    let learned = learn(scenario, &records).map_err(|error| {
        let hint = match &error {
            LearnError::TooFew { .. } => {
                "`lumos run` and `lumos load` record runs; `--profile-from PATH` reads those of another LUMOS_HOME"
            }
            LearnError::Compile(_) => "see the workflow",
        };
        Failure::invalid(COMMAND_LINE, format!("{place}: {error}"), Some(hint.to_owned()))
    })?;
    output::log(&told(&learned));
    Ok(learned)
}

fn records(scenario: &Scenario, folder: &Path) -> Result<Vec<RunRecord>, Failure> {
    let Some(bundle) = scenario.bundles.first() else { return Ok(Vec::new()) };
    let store = RecordStore::reader(folder);
    let workflow = Some(bundle.workflow.parsed.spec.name.clone());
    let runs = store.list(&Kind { workflow, limit: MOST_RUNS, ..Kind::default() })?;
    runs.iter().map(|run| Ok(store.load(&run.run_id)?)).collect()
}

fn told(learned: &Learned) -> String {
    let runs = lumos_report::figure::count(learned.runs as u64);
    let mut text = format!("learned from {runs} runs of {}:\n", lumos_report::clean(&learned.workflow));
    for (node, fields) in &learned.nodes {
        let _ = writeln!(text, "  {}: {}", lumos_report::clean(node), fields.join(", "));
    }
    for (api, attempts) in &learned.apis {
        let attempts = lumos_report::figure::count(*attempts);
        let _ = writeln!(
            text,
            "  {}: times to the first token and speeds of {attempts} attempts",
            lumos_report::clean(api)
        );
    }
    if !learned.unknown.is_empty() {
        let listed = learned.unknown.join(", ");
        let _ = writeln!(text, "  left out, because the workflow doesn't have them any more: {listed}");
    }
    text
}
