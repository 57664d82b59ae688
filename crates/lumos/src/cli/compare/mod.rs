//! `lumos compare`: deployments of a workflow side by side, from a data set, from records or from a scenario.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lumos::core::load::Bundle;
use lumos::core::record::Status;
use lumos::decide::comparison::{Comparison, Held, Side, Source, from_records, simulated};
use lumos::decide::eval::summarize;
use lumos::engine::{Kind, RecordStore};
use lumos::sim::{Job, Options, simulate_all};
use lumos::{Home, decide};
use lumos_report::clean;
use serde_json::json;

use super::arguments::Format;
use super::eval::arguments::Compare;
use super::eval::{self, screen};
use super::failure::{self, COMMAND_LINE, Failure, INTERRUPTED};
use super::output;

pub fn run(arguments: &Compare, home: Home, seed: u64) -> Result<u8, Failure> {
    let scoring = &arguments.scoring;
    let bundles = bundles(arguments)?;
    let names: Vec<String> = bundles.iter().map(eval::deployment_of).collect();
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        let hint = "each is known by the `name` in its file".to_owned();
        return Err(Failure::invalid(COMMAND_LINE, format!("two deployments are named `{}`", twice.1), Some(hint)));
    }
    let mut is_cancelled = false;
    let (comparison, gate) = match (&arguments.dataset, &arguments.scenario) {
        (Some(path), _) => {
            let dataset = eval::dataset(path, &bundles[0], &scoring.rows, false)?;
            let gate = eval::gate(scoring, &dataset, &names)?;
            let mut bundles = bundles;
            for bundle in &mut bundles {
                // An answer that another deployment was given first would be no answer of one's own.
                eval::cache(bundle, scoring.is_cached);
            }
            let options = eval::options(&scoring.rows, seed);
            let (evaluations, is_ended) = eval::carry_out(home, &bundles, &dataset, (scoring, options))?;
            is_cancelled = is_ended;
            eval::warn_of_losses(&evaluations);
            if is_cancelled && evaluations.iter().all(|evaluation| evaluation.outcomes.is_empty()) {
                return Err(Failure::Interrupted);
            }
            let workflow = bundles[0].workflow.parsed.spec.name.clone();
            let mut is_partial = false;
            let sides = names.iter().zip(evaluations).map(|(name, evaluation)| {
                let results = summarize((&workflow, name), &dataset, options, evaluation);
                is_partial |= results.is_partial;
                Side {
                    deployment: name.clone(),
                    summary: results.summary,
                    outcomes: results.outcomes,
                    assumptions: Vec::new(),
                }
            });
            let sides = sides.collect();
            let file = Some(path.display().to_string());
            let comparison = Comparison::of_outcomes((&workflow, Source::Live, file), seed, sides);
            (Comparison { is_partial, ..comparison }, gate)
        }
        (None, Some(path)) => (of_scenario(arguments, path, &home, seed)?, eval::gate_of(scoring, &[], &names)?),
        (None, None) => {
            let gate = eval::gate_of(scoring, &[], &names)?;
            (of_records(arguments, &bundles, &names, &home, seed)?, gate)
        }
    };
    let sides = || comparison.sides.iter().map(|side| (side.deployment.as_str(), &side.summary));
    let held = gate.map(|gate| gate.held(sides(), &comparison.differences));
    match arguments.format {
        Format::Json => {
            let mut document = json!(comparison);
            if let Some(held) = &held {
                document["gate"] = eval::verdict(held);
            }
            output::json(&document)?;
        }
        Format::Human => output::styled(&text(&comparison, held.as_deref()))?,
    }
    if is_cancelled {
        output::log(&output::error("interrupted", Some("the same command goes on where it was")));
        return Ok(INTERRUPTED);
    }
    Ok(eval::code(held.as_deref(), sides().map(|(_, summary)| summary)))
}

/// The workflow with each deployment.
fn bundles(arguments: &Compare) -> Result<Vec<Bundle>, Failure> {
    let mut bundles = Vec::new();
    let mut problems = Vec::new();
    for deployment in &arguments.deployments {
        match Bundle::open(&arguments.workflow, Some(deployment)) {
            Ok((bundle, warnings)) => {
                failure::warn(&warnings);
                bundles.push(bundle);
            }
            Err(found) => {
                for problem in found {
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    if problems.is_empty() { Ok(bundles) } else { Err(Failure::Invalid(problems)) }
}

fn of_scenario(arguments: &Compare, path: &Path, home: &Home, seed: u64) -> Result<Comparison, Failure> {
    let (scenario, models, warnings) = lumos::open_scenario(path, &arguments.deployments, home)?;
    failure::warn(&warnings);
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let simulates = scenario.bundles.first().map(|bundle| PathBuf::from(&bundle.workflow.parsed.file));
    if !simulates.as_deref().is_some_and(|file| same(file, &arguments.workflow)) {
        let shown = simulates.map(|file| file.display().to_string()).unwrap_or_default();
        let message = format!("the scenario is one of {shown}, not of {}", arguments.workflow.display());
        return Err(Failure::invalid(&scenario.parsed.file, message, Some(format!("lumos compare {shown} …"))));
    }
    let seeds: Vec<u64> = (0..u64::from(arguments.seeds)).map(|at| seed.wrapping_add(at)).collect();
    let jobs: Vec<Job<'_>> = { models.iter() }
        .flat_map(|model| {
            let options = |seed| Options { seed, runs: arguments.runs, ..Options::default() };
            seeds.iter().map(move |seed| Job { model, options: options(*seed), seeds: 1 })
        })
        .collect();
    let results = simulate_all(&jobs, &|| ()).map_err(|error| Failure::failed(error.to_string()))?;
    let deployments = results.chunks(seeds.len()).map(<[_]>::to_vec).collect();
    Ok(simulated(&scenario.bundles[0].workflow.parsed.spec.name, scenario.parsed.file.clone(), seed, deployments))
}

fn of_records(
    arguments: &Compare,
    bundles: &[Bundle],
    names: &[String],
    home: &Home,
    seed: u64,
) -> Result<Comparison, Failure> {
    let workflow = bundles[0].workflow.parsed.spec.name.clone();
    let store = RecordStore::reader(home.folder());
    let mut sides = Vec::new();
    for name in names {
        let kind = Kind {
            workflow: Some(workflow.clone()),
            deployment: Some(name.clone()),
            since: arguments.since.map(super::runs::Moment::rfc3339),
            limit: arguments.scoring.rows.limit.map_or(usize::MAX, |limit| limit as usize),
            ..Kind::default()
        };
        let mut records = Vec::new();
        for summary in store.list(&kind)? {
            records.push(store.load(&summary.run_id)?);
        }
        // The oldest first, as they were made.
        records.reverse();
        let side = from_records(name, records, seed);
        if side.outcomes.is_empty() {
            let hint = "name a data set with --dataset, or a scenario with --scenario".to_owned();
            let message = format!("no run of `{workflow}` on `{name}` is recorded that has ended");
            return Err(Failure::invalid(COMMAND_LINE, message, Some(hint)));
        }
        sides.push(side);
    }
    Ok(Comparison::of_outcomes((&workflow, Source::Records, None), seed, sides))
}

/// Everything that a comparison found.
fn text(comparison: &Comparison, held: Option<&[Held]>) -> String {
    let from = match comparison.source {
        Source::Live => "runs of",
        Source::Records => "recorded runs",
        Source::Simulated => "simulations of",
    };
    let file = comparison.file.as_deref().map(|file| format!(" {}", clean(file))).unwrap_or_default();
    let mut text = format!(
        "{} {}\n\n",
        output::bold(&clean(&comparison.workflow)),
        output::dim(&format!("{from}{file}, seed {}; intervals hold 95 %", comparison.seed))
    );
    for verdict in &comparison.verdicts {
        let _ = writeln!(
            text,
            "{} {}",
            output::bold(&clean(&verdict.text)),
            output::dim(&format!("(against {})", clean(&verdict.against)))
        );
    }
    if !comparison.verdicts.is_empty() {
        text.push('\n');
    }
    let sides: Vec<(&str, &decide::summary::Summary)> =
        comparison.sides.iter().map(|side| (side.deployment.as_str(), &side.summary)).collect();
    text.push_str(&output::lines(&screen::figures(&sides).lines()));
    let is_paired = comparison.differences.iter().all(|difference| difference.paired);
    if !comparison.differences.is_empty() && !is_paired {
        let note = "the deployments were not given the same inputs: differences may be those of the inputs";
        let _ = writeln!(text, "{}", output::dim(note));
    }
    if comparison.source == Source::Simulated && comparison.sides.iter().any(|side| side.summary.latency_s.is_none()) {
        let unstable = comparison.sides.iter().filter(|side| side.summary.latency_s.is_none());
        let names: Vec<String> = unstable.map(|side| clean(&side.deployment)).collect();
        let _ = writeln!(
            text,
            "{} more arrives at {} than is served; times depend on how long one looks, so none are given",
            output::bold("unstable:"),
            names.join(", ")
        );
    }
    for side in &comparison.sides {
        let failed = side.outcomes.iter().filter(|outcome| outcome.status != Status::Succeeded);
        let mut reasons: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for outcome in failed {
            let why = outcome.error.as_ref().map_or(outcome.status.as_str(), |error| error.message.as_str());
            *reasons.entry(clean(why)).or_default() += 1;
        }
        for (reason, count) in reasons.iter().take(5) {
            let _ = writeln!(
                text,
                "{} {count} × {reason}",
                output::ended(Status::Failed, &format!("{}:", clean(&side.deployment)))
            );
        }
        text.push_str(&screen::judging(side.summary.judging.as_ref()));
        for assumption in &side.assumptions {
            let _ = writeln!(
                text,
                "{} {}",
                output::bold(&format!("assumed of {}:", clean(&side.deployment))),
                clean(assumption)
            );
        }
    }
    if comparison.is_partial {
        let _ = writeln!(text, "{} the comparison was ended before all runs were made", output::bold("only a part:"));
    }
    text.push_str(&held.map(screen::gate).unwrap_or_default());
    text
}
