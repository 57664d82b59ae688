//! `lumos optimize`: which backend for which node.

mod deployment;
mod screen;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lumos::Home;
use lumos::core::Usd;
use lumos::core::load::{Bundle, find_deployment};
use lumos::core::spec::BackendSpec;
use lumos::decide::comparison::Gate;
use lumos::decide::eval::{Dataset, Earlier, EvalOptions, Evaluation, Externals, Notes, Outcome, Side, evaluate};
use lumos::decide::optimize::{
    Chosen, Effort, Found, Limits, Measured, Objective, Optimization, Point, Space, Telling, Trial, measured, search,
    to_verify,
};
use lumos::engine::BoundProgram;

use super::arguments::Format;
use super::eval::arguments::Optimize;
use super::eval::{self, Live, externals};
use super::failure::{COMMAND_LINE, FAILED, Failure};
use super::output;
use super::session::Session;

/// How often choices are run for real because none of those before holds what it promised.
const ROUNDS: usize = 3;

pub fn run(arguments: &Optimize, home: Home, seed: u64) -> Result<u8, Failure> {
    let workflow = &arguments.workflow;
    let local = || find_deployment("local", workflow).into_iter().collect::<Vec<PathBuf>>();
    let deployments = if arguments.deployments.is_empty() { local() } else { arguments.deployments.clone() };
    let mut bundle = deployment::open(workflow, &deployments)?;
    let over = deployment::over(&arguments.over, &bundle)?;
    let dataset = eval::dataset(&arguments.dataset, &bundle, &arguments.rows, false)?;
    let base = eval::deployment_of(&bundle);
    let gate = arguments.conditions.as_deref().map(|text| Gate::read(text, &eval::labels(&dataset), &[]));
    let gate =
        gate.transpose().map_err(|error| Failure::invalid(COMMAND_LINE, format!("--where: {error}"), error.hint))?;
    // What is not asked has no time.
    eval::cache(&mut bundle, false);
    let folder = home.folder().join("evals");
    let found = Session::quiet(home, |session| {
        let options = eval::options(&arguments.rows, seed);
        let program = session.ready(&bundle)?;
        let space = space(session, &bundle, &program, &over)?;
        let externals = externals::of(session, &dataset, std::slice::from_ref(&bundle), &arguments.rows)?;
        let work = Work { session, dataset: &dataset, externals: &externals, folder, options };
        let telling = Named { base: &base, gate: gate.as_ref(), seed };
        Optimizing { arguments, bundle: &bundle, program: &program, space: &space, work, telling }.optimize()
    })?;
    if let (Some(path), Some(bundle)) = (&arguments.output, &found.1) {
        deployment::write(bundle, path)?;
    }
    match arguments.format {
        Format::Json => output::json(&found.0)?,
        Format::Human => output::styled(&screen::text(&found.0, arguments.output.as_deref()))?,
    }
    Ok(if found.0.chosen.is_some() { 0 } else { FAILED })
}

/// What can be chosen.
fn space(session: &Session, bundle: &Bundle, program: &BoundProgram, over: &[String]) -> Result<Space, Failure> {
    let Some(source) = &bundle.deployment else { return Ok(Space { nodes: Vec::new(), fixed: Vec::new() }) };
    let mut candidates = Vec::new();
    for name in over {
        if let Some(BackendSpec::Local(local)) = source.parsed.spec.backends.get(name) {
            session.fetch_asset(&local.model)?;
        }
        let opened = session.lumos.open_backend(source.clone(), name);
        candidates.push(opened.map_err(|error| Failure::of_binding(error, bundle))?);
    }
    let space = Space::of(program, &candidates);
    if space.nodes.is_empty() {
        let (message, hint) = match space.fixed.first() {
            None => ("no node of the workflow asks a model".to_owned(), None),
            Some(fixed) => {
                let all = space.fixed.iter().map(|it| format!("`{}` stays on `{}`: {}", it.node, it.backend, it.why));
                let message = format!("there is nothing to choose for `{}`", fixed.node);
                (message, Some(all.collect::<Vec<_>>().join("; ")))
            }
        };
        return Err(Failure::invalid(&bundle.workflow.parsed.file, message, hint));
    }
    Ok(space)
}

/// What runs are made with.
struct Work<'a> {
    session: &'a Session,
    dataset: &'a Arc<Dataset>,
    externals: &'a Externals,
    folder: PathBuf,
    options: EvalOptions,
}

impl Work<'_> {
    /// Makes the runs of bundles, as far as they are not noted; each with the runs that it is made after.
    fn carry_out(
        &self,
        (part, is_fresh): (&str, bool),
        bundles: &[Bundle],
        after: Option<&Arc<Earlier>>,
        done: &mut Vec<Arc<BoundProgram>>,
    ) -> Result<Vec<Evaluation>, Failure> {
        let mut sides = Vec::new();
        for bundle in bundles {
            let program = self.session.ready(bundle)?;
            done.push(program.clone());
            sides.push(Side { notes: self.notes((part, is_fresh), &program)?, program, after: after.cloned() });
        }
        let total = self.dataset.rows.len() as u64 * u64::from(self.options.repeats) * bundles.len() as u64;
        let live = Live::new(total);
        let told = |_: usize, outcome: &Outcome| live.take(outcome);
        let engine = self.session.lumos.engine();
        let kept = (self.externals, self.session.lumos.store());
        let work = evaluate(engine, sides, self.dataset, kept, self.options, &self.session.cancel, &told);
        let evaluations = self.session.finish(work);
        live.finish();
        eval::warn_of_losses(&evaluations);
        let resumed: u64 = evaluations.iter().map(|evaluation| evaluation.resumed).sum();
        if resumed > 0 {
            output::log(&format!("went on: {resumed} of {total} runs were made before\n"));
        }
        if self.session.cancel.is_cancelled() {
            output::log(&output::error("interrupted", Some("the same command goes on where it was")));
            return Err(Failure::Interrupted);
        }
        Ok(evaluations)
    }

    fn notes(&self, (part, is_fresh): (&str, bool), program: &BoundProgram) -> Result<Notes, Failure> {
        let folder = &self.folder;
        let notes = Notes::open_part(part, folder, program.definition(), self.options.seed, is_fresh);
        notes.map_err(|error| {
            let hint = Some("point --home or LUMOS_HOME to a folder that can be written".to_owned());
            Failure::Failed { message: format!("cannot note in {}: {error}", folder.display()), hint }
        })
    }

    /// The records of an evaluation's runs, with what was said of them.
    fn trials(&self, evaluation: Evaluation) -> Vec<Trial> {
        let store = self.session.lumos.store();
        let trial = |outcome: Outcome| Some(Trial { record: store?.load(&outcome.run_id).ok()?, outcome });
        evaluation.outcomes.into_iter().filter_map(trial).collect()
    }
}

/// How choices are told of.
struct Named<'a> {
    base: &'a str,
    gate: Option<&'a Gate>,
    seed: u64,
}

struct Optimizing<'a> {
    arguments: &'a Optimize,
    bundle: &'a Bundle,
    program: &'a Arc<BoundProgram>,
    space: &'a Space,
    work: Work<'a>,
    telling: Named<'a>,
}

/// What was found, and the bundle of the choice.
type Outcomes = (Optimization, Option<Bundle>);

impl Optimizing<'_> {
    fn optimize(self) -> Result<Outcomes, Failure> {
        let (space, work) = (self.space, &self.work);
        let mut effort = Effort { cost_usd: Some(Usd::ZERO), assignments: space.size(), ..Effort::default() };
        let is_fresh = self.arguments.rows.is_fresh;
        let (mut bases, mut changes) = (Vec::new(), Vec::new());
        let base = work.carry_out(("base", is_fresh), std::slice::from_ref(self.bundle), None, &mut bases)?;
        effort.base_runs = effort.add(&base);
        let base = base.into_iter().next().unwrap_or_default();
        let after: Earlier = base.outcomes.iter().map(|it| ((it.row, it.repeat), it.run_id.clone())).collect();
        let single = space.single().into_iter().map(|(node, option)| {
            let mut assignment = space.base();
            assignment[node] = option;
            assignment
        });
        let of_name = |assignment: &[usize]| {
            deployment::assigned(self.bundle, space, assignment, &space.name(self.telling.base, assignment))
        };
        let bundles: Vec<Bundle> = single.map(|assignment| of_name(&assignment)).collect();
        let changed = work.carry_out(("change", is_fresh), &bundles, Some(&Arc::new(after)), &mut changes)?;
        effort.changed_runs = effort.add(&changed);
        let real_base = base.outcomes.clone();
        let changed: Vec<Vec<Trial>> = changed.into_iter().map(|evaluation| work.trials(evaluation)).collect();
        let measured = measured(space, self.program.program(), work.dataset, &work.trials(base), &changed);
        if measured.runs() == 0 {
            return Err(Failure::failed("no run of the base was kept with all of its changes"));
        }
        let rows = work.dataset.rows.len() as u64 * u64::from(work.options.repeats);
        (effort.rows, effort.left_out) = (rows, measured.left_out as u64);
        let Named { base, gate, seed } = self.telling;
        let telling = Telling { measured: &measured, base, gate, seed };
        let found = search(&measured, Limits::default(), &|assignment| telling.shortfall(assignment));
        (effort.looked_at, effort.met, effort.is_complete) = (found.looked_at, found.met, found.is_complete);
        effort.runs_of_all = effort.assignments.and_then(|all| all.checked_mul(rows));
        let mut real: BTreeMap<Vec<usize>, Vec<Outcome>> = BTreeMap::from([(space.base(), real_base)]);
        let mut verifying = Vec::new();
        let objective = Objective::from(self.arguments.pick);
        let most = self.arguments.verify as usize;
        for round in 1..=ROUNDS {
            let wanted: Vec<&Point> = to_verify(&found, objective, most * round)
                .into_iter()
                .filter(|point| !real.contains_key(&point.assignment))
                .collect();
            let bundles: Vec<Bundle> = wanted.iter().map(|point| of_name(&point.assignment)).collect();
            let evaluations = work.carry_out(("verify", is_fresh), &bundles, None, &mut verifying)?;
            effort.verifying_runs += effort.add(&evaluations);
            for (point, evaluation) in wanted.iter().zip(evaluations) {
                real.insert(point.assignment.clone(), evaluation.outcomes);
            }
            let holds = |point: &Point| telling.choice(point, real.get(&point.assignment).map(Vec::as_slice)).is_met();
            if found.frontier.iter().chain(&found.apart).any(|it| real.contains_key(&it.assignment) && holds(it)) {
                break;
            }
        }
        for (programs, part) in [(&bases, "base"), (&changes, "change"), (&verifying, "verify")] {
            for program in programs {
                let closed = work.notes((part, false), program)?.close();
                closed.map_err(|error| Failure::failed(format!("what is done could not be noted: {error}")))?;
            }
        }
        let result = self.result(effort, &found, &telling, (&measured, &real), objective);
        let chosen = { result.frontier.iter().chain(&result.apart) }
            .find(|choice| result.chosen.as_ref() == Some(&choice.name))
            .map(|choice| {
                let name = { self.arguments.output.as_ref() }
                    .and_then(|path| Some(path.file_stem()?.to_str()?.to_owned()))
                    .unwrap_or_else(|| choice.name.clone());
                deployment::assigned(self.bundle, space, &choice.assignment, &name)
            });
        Ok((result, chosen))
    }

    fn result(
        &self,
        effort: Effort,
        found: &Found,
        telling: &Telling<'_>,
        (measured, real): (&Measured, &BTreeMap<Vec<usize>, Vec<Outcome>>),
        objective: Objective,
    ) -> Optimization {
        let choice = |point: &Point| telling.choice(point, real.get(&point.assignment).map(Vec::as_slice));
        let choices = |points: &[Point]| {
            let mut choices: Vec<Chosen> = points.iter().map(choice).collect();
            // What was run for real and holds comes before what is only composed, unless nothing was to be run; and that
            // before what does not hold.
            choices.sort_by(|a, b| {
                let rank = |it: &Chosen| (!it.is_met(), it.measured.is_none() && self.arguments.verify > 0);
                rank(a).cmp(&rank(b)).then_with(|| a.wanted().compare(&b.wanted(), objective))
            });
            choices
        };
        let (mut frontier, apart) = (choices(&found.frontier), choices(&found.apart));
        let first = frontier.iter().chain(&apart).find(|it| it.is_met());
        let chosen = first.map(|it| it.name.clone());
        let nearest = match (&chosen, &found.nearest) {
            (None, Some(point)) => Some(choice(point)),
            (None, None) => frontier.iter().chain(&apart).min_by_key(|it| !it.succeeds()).cloned(),
            (Some(_), _) => None,
        };
        let base = self.space.base();
        if !frontier.iter().chain(&apart).any(|it| it.is_base) {
            frontier.push(choice(&Point { goals: measured.goals(&base), assignment: base }));
        }
        Optimization {
            workflow: self.bundle.workflow.parsed.spec.name.clone(),
            deployment: telling.base.to_owned(),
            dataset: self.work.dataset.file.clone(),
            seed: telling.seed,
            objective: objective.as_str(),
            is_unscored: !measured.is_scored(),
            space: self.space.clone(),
            effort,
            frontier,
            apart,
            chosen,
            nearest,
        }
    }
}
