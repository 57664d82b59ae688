//! Claims: their files read and checked, and their questions answered by the simulator, the planner, the prices and the audit.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lumos_core::check::check_claim;
use lumos_core::load::{Bundle, Scenario};
use lumos_core::price::{Date, TokenPrice};
use lumos_core::read::{Parsed, parse_claim, read_file};
use lumos_core::spec::ClaimSpec;
use lumos_core::usage::{Basis, Usage};
use lumos_core::{Problem, Severity};
use lumos_decide::audit::{Subject, audit, digest};
use lumos_decide::claims::{Answer, Ask, ClaimError, JudgedClaim, judge};
use lumos_engine as engine;
use lumos_sim::model::{Model, Sources};
use lumos_sim::plan::{Laboratory, PlanError, Space, chosen, smallest, together};
use lumos_sim::{Job, Options, SimError, simulate_all};
use serde::Serialize;
use serde_json::json;

use crate::error::Error;
use crate::scenario::{models, prices_of};
use crate::{Home, Prices};

/// Most replicas of a fleet that is searched.
const MOST_REPLICAS: u32 = 64;

/// A claim with its verdict and the file that it is from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedClaim {
    /// The file.
    pub file: String,
    /// SHA-256 of its text, in hexadecimal.
    pub sha256: String,
    /// The verdict with all that led to it.
    #[serde(flatten)]
    pub judged: JudgedClaim,
}

/// Checks a claim at the prices that hold in a home today.
///
/// # Errors
/// Everything that is wrong with its file, and with what it asks for.
pub fn check(path: &Path, home: &Home) -> Result<CheckedClaim, Error> {
    let file = path.display().to_string();
    let text = read_file(path).map_err(|problem| Error::Problems(vec![*problem]))?;
    let (parsed, mut problems) = parse_claim(&file, &text);
    problems.extend(parsed.iter().flat_map(check_claim));
    problems.sort_by(Problem::by_place);
    let parsed = match parsed {
        Some(parsed) if problems.iter().all(|problem| problem.severity == Severity::Warning) => parsed,
        _ => return Err(Error::Problems(problems)),
    };
    let mut desk = Desk {
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        home,
        prices: Prices::load(home)?,
        on: engine::today(),
        opened: IndexMap::new(),
    };
    let judged = judge(&parsed.spec, &mut |ask| desk.answer(ask)).map_err(|error| failed(&parsed, error))?;
    Ok(CheckedClaim { file, sha256: digest(text.as_bytes()), judged })
}

/// Why a question has no answer.
enum Unanswered {
    /// Files are wrong, each in a place of its own.
    Files(Error),
    /// The question itself is.
    Question { message: String, hint: Option<String> },
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files(error) => error.fmt(f),
            Self::Question { message, .. } => f.write_str(message),
        }
    }
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Files(error)
    }
}

impl From<SimError> for Unanswered {
    fn from(error: SimError) -> Self {
        let hint = error.place().map(|(_, hint)| hint.to_owned());
        Self::Question { message: error.to_string(), hint }
    }
}

impl From<PlanError> for Unanswered {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Problems(problems) => Self::Files(Error::Problems(problems)),
            PlanError::Unknown { message, hint } => Self::Question { message, hint },
            PlanError::Simulation(error) => error.into(),
            other => Self::Question { message: other.to_string(), hint: None },
        }
    }
}

fn failed(claim: &Parsed<ClaimSpec>, error: ClaimError<Unanswered>) -> Error {
    let said = error.to_string();
    let problem = match error {
        ClaimError::Asking { error: Unanswered::Files(error), .. } => return error,
        ClaimError::Asking { question, error: Unanswered::Question { hint, .. }, .. } => {
            claim.problem(&format!("asked.{question}"), said, hint)
        }
        ClaimError::Template { field, error } => claim.problem(&field, error.message.clone(), error.hint),
        ClaimError::Negative { ref field, .. } => {
            let hint = "at least 0, with every value of what is given".to_owned();
            claim.problem(field, said, Some(hint))
        }
        ClaimError::NotANumber { ref field, .. } => {
            claim.problem(field, said, Some("amounts of money are texts: `| float` makes them numbers".to_owned()))
        }
    };
    Error::Problems(vec![problem])
}

/// Answers questions of one claim.
struct Desk<'h> {
    folder: PathBuf,
    home: &'h Home,
    prices: Prices,
    on: Date,
    /// Scenarios that were opened and compiled, by file and deployment.
    opened: IndexMap<(PathBuf, String), (Scenario, Vec<Model>)>,
}

impl Desk<'_> {
    fn answer(&mut self, ask: &Ask) -> Result<Answer, Unanswered> {
        match ask {
            Ask::Simulate { scenario, deployment, load_factor, runs, seeds } => {
                self.simulate(scenario, deployment, (*load_factor, *runs, *seeds))
            }
            Ask::Plan { scenario, deployment, runs } => self.plan(scenario, deployment, *runs),
            Ask::Price { provider, model, input_tokens, output_tokens } => {
                self.price(provider, model, (*input_tokens, *output_tokens))
            }
            Ask::Audit { workflow, deployment } => self.audit(workflow, deployment),
        }
    }

    fn open(&mut self, scenario: &str, deployment: &str) -> Result<(PathBuf, &(Scenario, Vec<Model>)), Unanswered> {
        let path = self.folder.join(scenario);
        let key = (path.clone(), deployment.to_owned());
        if !self.opened.contains_key(&key) {
            let deployment = self.deployment(deployment);
            let (scenario, _) = Scenario::open(&path, &[deployment]).map_err(Error::Problems)?;
            let models = models(&scenario, self.home)?;
            self.opened.insert(key.clone(), (scenario, models));
        }
        Ok((path, &self.opened[&key]))
    }

    /// A deployment as commands take it: a path, here from the claim's folder on, or a name.
    fn deployment(&self, named: &str) -> PathBuf {
        if named.contains('/') { self.folder.join(named) } else { PathBuf::from(named) }
    }

    fn simulate(
        &mut self,
        scenario: &str,
        deployment: &str,
        (load_factor, runs, seeds): (f64, Option<u64>, u32),
    ) -> Result<Answer, Unanswered> {
        let named = self.deployment(deployment);
        let (path, (_, models)) = self.open(scenario, deployment)?;
        let Some(model) = models.first() else { return Err(nothing(scenario)) };
        let job = |seed: u32| Job {
            model,
            options: Options { seed: u64::from(seed), load_factor, runs, stepwise: false },
            seeds: 1,
        };
        let jobs: Vec<Job<'_>> = (0..seeds).map(job).collect();
        let results = simulate_all(&jobs, &|| {})?;
        let mut assumptions = Vec::new();
        for text in results.iter().flat_map(|results| results.assumptions.iter().chain(&results.warnings)) {
            if !assumptions.contains(text) {
                assumptions.push(text.clone());
            }
        }
        let sources: Vec<String> =
            results.first().iter().flat_map(|results| &results.services).map(times_are).collect();
        let runs = runs.map(|runs| format!(" --runs {runs}")).unwrap_or_default();
        let seeds = if seeds > 1 { format!(" --seeds {seeds}") } else { String::new() };
        let load = if (load_factor - 1.0).abs() > f64::EPSILON {
            format!(" --load-factor {load_factor}")
        } else {
            String::new()
        };
        Ok(Answer {
            documents: results.iter().map(|results| serde_json::to_value(results).unwrap_or_default()).collect(),
            basis: Basis::Simulated,
            command: format!("lumos simulate {} -d {}{load}{runs}{seeds}", path.display(), named.display()),
            sources,
            assumptions,
        })
    }

    fn plan(&mut self, scenario: &str, deployment: &str, runs: Option<u64>) -> Result<Answer, Unanswered> {
        let (home, named) = (self.home, self.deployment(deployment));
        let (path, (opened, _)) = self.open(scenario, deployment)?;
        let Some(bundle) = opened.bundles.first() else { return Err(nothing(scenario)) };
        let prices = prices_of(bundle, home)?;
        let files = |name: &str| opened.read(name);
        let options = Options { runs, ..Options::default() };
        let laboratory = Laboratory::new(opened, bundle, Sources { prices: &prices, files: &files }, options);
        let space = Space { most_replicas: MOST_REPLICAS, ..Space::default() };
        let sized = smallest(&laboratory, &space, &|_| {})?;
        let together = together(&laboratory, chosen(&sized), MOST_REPLICAS)?;
        let runs = runs.map(|runs| format!(" --runs {runs}")).unwrap_or_default();
        Ok(Answer {
            documents: vec![json!({
                "candidates": sized,
                "chosen": together.fleets,
                "replicas": together.fleets.values().map(|fleet| fleet.replicas).sum::<u32>(),
                "devices": together.fleets.values().map(lumos_sim::plan::Fleet::devices).sum::<u32>(),
                "together": together.results,
            })],
            basis: Basis::Simulated,
            command: format!("lumos plan {} -d {}{runs}", path.display(), named.display()),
            sources: together.results.services.iter().map(times_are).collect(),
            assumptions: together.results.assumptions.clone(),
        })
    }

    fn price(&mut self, provider: &str, model: &str, (input, output): (u64, u64)) -> Result<Answer, Unanswered> {
        let entry = self.prices.catalog().lookup(provider, model, self.on).map_err(|error| {
            let hint = error.hint().or_else(|| Some("`lumos prices list` shows what there is".to_owned()));
            Unanswered::Question { message: error.to_string(), hint }
        })?;
        // Nothing is read from a cache or written to one: what is not known would be priced at its worst.
        let usage = Usage {
            input_tokens: Some(input),
            cached_input_tokens: Some(0),
            cache_write_tokens: Some(0),
            output_tokens: Some(output),
            ..Usage::default()
        };
        // Tokens are those of many calls, none of which is known to be long: a tier goes by the prompt of one.
        let tier = entry.price.standard.tiers.first();
        let cost = TokenPrice::flat(entry.price.standard.rates).cost(&usage, false).map(|cost| cost.usd);
        let mut document = serde_json::to_value(entry).unwrap_or_default();
        document["cost_usd"] = json!(cost);
        let note = entry.note.iter().map(|note| format!("{} of {}: {note}", entry.model, entry.provider));
        let calls = tier.map(|tier| {
            format!(
                "{} of {}: no call's prompt has more than {} tokens, above which rates are higher",
                entry.model, entry.provider, tier.above
            )
        });
        // What is priced as one call of so many tokens would be priced at another tier: there the command shows the rates.
        let example = match tier {
            Some(tier) if input > tier.above => String::new(),
            _ => format!(" --input {input} --output {output}"),
        };
        Ok(Answer {
            documents: vec![document],
            basis: Basis::Estimated,
            command: format!("lumos prices check {model} --provider {provider}{example}"),
            sources: vec![format!("{}, as of {}", entry.source, entry.as_of)],
            assumptions: note.chain(calls).collect(),
        })
    }

    fn audit(&mut self, workflow: &str, deployment: &str) -> Result<Answer, Unanswered> {
        let path = self.folder.join(workflow);
        let named = self.deployment(deployment);
        let (bundle, _) = Bundle::open(&path, Some(&named)).map_err(Error::Problems)?;
        let subject = Subject { bundle: &bundle, telemetry: &[], forbid: &[], allow: &[] };
        let (found, _) = audit(subject).map_err(|error| Unanswered::Files(error.into()))?;
        Ok(Answer {
            documents: vec![serde_json::to_value(&found).unwrap_or_default()],
            basis: Basis::Measured,
            command: format!("lumos audit {} -d {}", path.display(), named.display()),
            sources: vec![format!("{}, proven over all branches", path.display())],
            assumptions: found.notes.clone(),
        })
    }
}

fn nothing(scenario: &str) -> Unanswered {
    Unanswered::Question { message: format!("`{scenario}` has nothing to simulate"), hint: None }
}

/// Where the times of a service come from.
fn times_are(service: &lumos_sim::results::ServiceResult) -> String {
    format!("times of `{}`: {}", service.service, service.basis)
}

/// The claims of a folder, in the order of their names.
///
/// # Errors
/// A folder that cannot be read, or has none.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let shown = folder.display().to_string();
    let problem =
        |message: String, hint: Option<String>| Error::Problems(vec![Problem::of_file(&shown, message, hint)]);
    let entries =
        std::fs::read_dir(folder).map_err(|error| problem(format!("can't read the folder: {error}"), None))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "ron"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(problem(
            "the folder has no claims".to_owned(),
            Some("claims are files that end in `.ron`".to_owned()),
        ));
    }
    Ok(files)
}
