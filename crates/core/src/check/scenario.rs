//! Checks of a scenario: numbers that mean nothing, and names that lead nowhere.

use std::path::Path;

use indexmap::IndexSet;

use super::remote::limits;
use super::sink::{MAX_SECONDS, Sink, suggest};
use crate::load::{Bundle, Scenario, WorkflowSource};
use crate::problem::{Problem, nearest};
use crate::spec::{
    ArrivalSpec, BackendSpec, DistSpec, NodeKind, ProfileSpec, ReplicaOutageSpec, ServiceSpec, SimulatedSpec,
};

/// Most tokens of one prompt or answer, and most entries of a map.
const MAX_LENGTH: f64 = 1e8;

/// Runs that arrive in a phase on average, at least: of fewer, hardly any phase would have one.
const LEAST_PER_PHASE: f64 = 1e-3;

/// The shortest day of a daily curve, in hours.
const SHORTEST_DAY_H: f64 = 0.001;

/// Fewest tokens per second of a model: one in a quarter of an hour.
const SLOWEST: f64 = 1e-3;

/// Most arrivals per second.
const MAX_RATE: f64 = 1e9;

/// Most runs of a workload, and most clients of a closed loop.
const MAX_RUNS: u64 = 1_000_000_000;
const MAX_CLIENTS: u32 = 1_000_000;

/// The shortest phase of arrivals that are switched on and off, in seconds.
const SHORTEST_PHASE_S: f64 = 1e-3;

/// Checks a scenario with what it names.
pub(super) fn check(scenario: &Scenario) -> Vec<Problem> {
    let spec = scenario.spec();
    let mut sink = Sink::new(&scenario.parsed, "");
    if spec.deployments.is_empty() && scenario.bundles.is_empty() && sink.has("deployments") {
        let hint = "name at least one: deployments: [\"local\"]".to_owned();
        sink.error("deployments", "the scenario has no deployment", hint);
    }
    let workload = &spec.workload;
    if let Some(arrivals) = &workload.arrivals {
        check_arrivals(&mut sink, arrivals);
    }
    let is_trace = matches!(workload.arrivals, Some(ArrivalSpec::Trace { .. }));
    if workload.arrivals.is_some() && workload.runs.is_none() && workload.duration_s.is_none() && !is_trace {
        let hint = "runs: 10000, or duration_s: 3600".to_owned();
        sink.error("workload", "the workload has no end", hint);
    }
    if let Some(runs) = workload.runs.filter(|runs| *runs > MAX_RUNS) {
        sink.error("workload.runs", format!("there are {runs} runs"), format!("at most {MAX_RUNS}"));
    }
    let rate = workload.arrivals.as_ref().and_then(ArrivalSpec::per_s);
    if let (Some(per_s), Some(seconds), None) = (rate, workload.duration_s, workload.runs)
        && per_s * seconds > MAX_RUNS as f64
    {
        let message = format!("some {:.0e} runs arrive in that time", per_s * seconds);
        let hint = format!("at most {MAX_RUNS}: let them arrive less often or for a shorter time, or give `runs`");
        sink.error("workload.duration_s", message, hint);
    }
    if workload.runs == Some(0) {
        sink.error("workload.runs", "there are no runs", "at least 1".to_owned());
    }
    if workload.runs.is_some_and(|runs| runs <= workload.warmup_runs) && workload.warmup_runs > 0 {
        let hint = "raise `runs`, or lower `warmup_runs`".to_owned();
        sink.error("workload.warmup_runs", "all runs are left out of the results", hint);
    }
    if let Some(seconds) = workload.duration_s {
        above_zero(&mut sink, "workload.duration_s", seconds, MAX_SECONDS);
    }
    if let Some(sessions) = &workload.sessions {
        dist(&mut sink, "workload.sessions.turns", &sessions.turns, 1.0, MAX_LENGTH);
        dist(&mut sink, "workload.sessions.think_s", &sessions.think_s, 0.0, MAX_SECONDS);
        dist(&mut sink, "workload.sessions.growth_tokens", &sessions.growth_tokens, 0.0, MAX_LENGTH);
        if matches!(workload.arrivals, Some(ArrivalSpec::Closed { .. })) {
            let hint = "clients that come one after the other are sessions already".to_owned();
            sink.error("workload.sessions", "closed arrivals have no sessions", hint);
        }
    }
    for (field, number, most) in [
        ("slo.run_s", spec.slo.run_s, MAX_SECONDS),
        ("slo.ttft_s", spec.slo.ttft_s, MAX_SECONDS),
        ("slo.tpot_ms", spec.slo.tpot_ms, MAX_SECONDS * 1e3),
        ("slo.share", spec.slo.share, 1.0),
    ] {
        if let Some(number) = number {
            above_zero(&mut sink, field, number, most);
        }
    }
    if spec.slo.is_empty() && spec.slo.share.is_some() {
        let hint = "say what a good run is: run_s, ttft_s or tpot_ms".to_owned();
        sink.error("slo.share", "the SLO asks for a share of good runs, and any run is good", hint);
    }
    nodes(&mut sink, scenario);
    services(&mut sink, scenario);
    sink.into_problems()
}

fn check_arrivals(sink: &mut Sink<'_>, arrivals: &ArrivalSpec) {
    let at = |field: &str| format!("workload.arrivals.{field}");
    let mut rate = |per_s: f64| above_zero(sink, &at("per_s"), per_s, MAX_RATE);
    match arrivals {
        ArrivalSpec::Poisson { per_s } | ArrivalSpec::Constant { per_s } => rate(*per_s),
        ArrivalSpec::Gamma { per_s, cv } => {
            rate(*per_s);
            above_zero(sink, &at("cv"), *cv, 100.0);
        }
        ArrivalSpec::Weibull { per_s, shape } => {
            rate(*per_s);
            above_zero(sink, &at("shape"), *shape, 100.0);
            if *shape < 0.2 && *shape > 0.0 {
                sink.error(&at("shape"), format!("the shape is {}", shown(*shape)), "at least 0.2".to_owned());
            }
        }
        ArrivalSpec::Diurnal { per_s, peak, peak_h, day_h } => {
            rate(*per_s);
            if !(1.0..=2.0).contains(peak) {
                let hint = "from 1 (level) to 2 (down to nothing at the lowest)".to_owned();
                sink.error(&at("peak"), format!("the peak is {} times the mean", shown(*peak)), hint);
            }
            if !(SHORTEST_DAY_H..=MAX_SECONDS / 3600.0).contains(day_h) {
                let hint = format!("from {SHORTEST_DAY_H} to {:.0}", MAX_SECONDS / 3600.0);
                sink.error(&at("day_h"), format!("the day has {} hours", shown(*day_h)), hint);
            } else if !(0.0..=*day_h).contains(peak_h) {
                let hint = format!("from 0 to the length of the day, {day_h}");
                sink.error(&at("peak_h"), format!("the peak is at hour {}", shown(*peak_h)), hint);
            }
        }
        ArrivalSpec::OnOff { per_s, on_s, off_s } => {
            rate(*per_s);
            for (field, seconds) in [("on_s", *on_s), ("off_s", *off_s)] {
                if !(SHORTEST_PHASE_S..=MAX_SECONDS).contains(&seconds) {
                    let hint = format!("from {SHORTEST_PHASE_S} to {MAX_SECONDS}");
                    sink.error(&at(field), format!("the value is {}", shown(seconds)), hint);
                }
            }
            if *per_s > 0.0 && per_s * on_s < LEAST_PER_PHASE {
                let message = format!("{:.0e} runs arrive in a phase", per_s * on_s);
                sink.error(&at("on_s"), message, format!("at least {LEAST_PER_PHASE} on average"));
            }
        }
        ArrivalSpec::Closed { clients, think_s } => {
            sink.at_least_one(&at("clients"), Some(*clients));
            if *clients > MAX_CLIENTS {
                sink.error(&at("clients"), format!("there are {clients} clients"), format!("at most {MAX_CLIENTS}"));
            }
            dist(sink, &at("think_s"), think_s, 0.0, MAX_SECONDS);
        }
        ArrivalSpec::Trace { speed, .. } => above_zero(sink, &at("speed"), *speed, 1e6),
    }
}

fn nodes(sink: &mut Sink<'_>, scenario: &Scenario) {
    let Some(bundle) = scenario.bundles.first() else { return };
    let mut known = IndexSet::new();
    paths(bundle, &bundle.workflow, "", &mut known);
    for (name, profile) in &scenario.spec().nodes {
        let at = |field: &str| format!("nodes.{name}.{field}");
        if !known.contains(name) {
            let hint = suggest(name, known.iter().map(String::as_str), "the nodes are");
            sink.error(&format!("nodes.{name}"), format!("the workflow has no node `{name}`"), hint);
        }
        let ProfileSpec { input_tokens, output_tokens, duration_s, width, rounds, .. } = profile;
        for (field, quantity, least, most) in [
            ("input_tokens", input_tokens, 1.0, MAX_LENGTH),
            ("output_tokens", output_tokens, 0.0, MAX_LENGTH),
            ("duration_s", duration_s, 0.0, MAX_SECONDS),
            ("width", width, 0.0, 1e6),
            ("rounds", rounds, 1.0, 1e6),
        ] {
            if let Some(quantity) = quantity {
                dist(sink, &at(field), quantity, least, most);
            }
        }
        for (field, number) in
            [("when", profile.when), ("accept", profile.accept), ("refuse", profile.refuse), ("fail", profile.fail)]
        {
            if let Some(number) = number {
                chance(sink, &at(field), number);
            }
        }
        if let Some(share) = profile.prescribed.filter(|share| !(0.0..=1.0).contains(share)) {
            sink.error(&at("prescribed"), format!("the share is {}", shown(share)), "from 0 to 1".to_owned());
        }
        for (branch, number) in &profile.branches {
            chance(sink, &at(&format!("branches.{branch}")), *number);
        }
        let sum: f64 = profile.branches.values().sum();
        if !profile.branches.is_empty() && (sum - 1.0).abs() > 1e-6 {
            let hint = "chances of all branches add up to 1".to_owned();
            sink.error(&at("branches"), format!("the chances add up to {}", shown(sum)), hint);
        }
        if let Some(service) = &profile.service
            && !scenario.spec().services.contains_key(service)
        {
            let hint = suggest(service, scenario.spec().services.keys().map(String::as_str), "the services are");
            sink.error(&at("service"), format!("there is no service `{service}`"), hint);
        }
    }
}

/// The paths of all nodes, judges of answers included.
fn paths(bundle: &Bundle, source: &WorkflowSource, before: &str, known: &mut IndexSet<String>) {
    for (name, node) in &source.parsed.spec.nodes {
        let path = format!("{before}{name}");
        let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
        let agent = node.kind.agent().and_then(|agent| bundle.agents.get(agent)).map(|source| source.spec());
        let cascade = match deployment {
            Some(deployment) => deployment.cascade(name, node, agent),
            None => node.options.cascade.as_ref(),
        };
        if cascade.is_some_and(|cascade| cascade.judge.is_some()) {
            known.insert(format!("{path}.judge"));
        }
        if let NodeKind::Workflow { path: written } = &node.kind
            && let Some(inner) = bundle.subworkflow(source, written)
        {
            paths(bundle, inner, &format!("{path}/"), known);
        }
        known.insert(path);
    }
}

/// Entries of `services` that describe nothing: neither a backend of a deployment nor what a node names as its `service`.
fn unknown_services(sink: &mut Sink<'_>, scenario: &Scenario) {
    let spec = scenario.spec();
    let deployments = || scenario.bundles.iter().filter_map(|bundle| bundle.deployment.as_ref());
    let backends = deployments().flat_map(|deployment| deployment.parsed.spec.backends.keys());
    let named = spec.nodes.values().filter_map(|profile| profile.service.as_ref());
    let known: IndexSet<&str> = backends.chain(named).map(String::as_str).collect();
    let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    // Under other deployments than its own, some of what a scenario describes is not there.
    let is_whole = spec.deployments.len() == scenario.bundles.len()
        && deployments().zip(&spec.deployments).all(|(found, named)| stem(&found.parsed.file) == stem(named));
    for name in spec.services.keys().filter(|name| !known.contains(name.as_str())) {
        let near = nearest(name, known.iter().copied());
        if is_whole || near.is_some() {
            let message = format!("no deployment has a backend `{name}`, and no node names it as its `service`");
            let hint = match near {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => suggest(name, known.iter().copied(), "there are"),
            };
            sink.error(&format!("services.{name}"), message, hint);
        }
    }
}

fn services(sink: &mut Sink<'_>, scenario: &Scenario) {
    unknown_services(sink, scenario);
    for (name, service) in &scenario.spec().services {
        let at = |field: &str| format!("services.{name}.{field}");
        match service {
            ServiceSpec::Station { servers } => sink.at_least_one(&at("servers"), Some(*servers)),
            ServiceSpec::Profile { replicas, outages, .. } => {
                sink.at_least_one(&at("replicas"), Some(*replicas));
                replica_outages(sink, name, outages, *replicas);
            }
            ServiceSpec::Replicas { outages } => {
                // As many as any deployment has.
                let most = simulated(scenario, name).map(|spec| spec.scaling.map_or(spec.replicas, |it| it.max)).max();
                if let Some(most) = most {
                    replica_outages(sink, name, outages, most);
                } else {
                    let message = format!("no deployment has a `Simulated` backend `{name}`");
                    let hint = "name one, or use Profile(…) or Api(…)".to_owned();
                    sink.error(&format!("services.{name}"), message, hint);
                }
            }
            ServiceSpec::Api(api) => {
                dist(sink, &at("round_trip_s"), &api.round_trip_s, 0.0, MAX_SECONDS);
                dist(sink, &at("ttft_s"), &api.ttft_s, 0.0, MAX_SECONDS);
                if api.tokens_per_s != DistSpec::Fixed(f64::INFINITY) {
                    dist(sink, &at("tokens_per_s"), &api.tokens_per_s, SLOWEST, 1e9);
                }
                let per_1k_s = api.ttft_s_per_1k;
                if !(0.0..=MAX_SECONDS).contains(&per_1k_s) {
                    let hint = format!("from 0 to {MAX_SECONDS}");
                    sink.error(&at("ttft_s_per_1k"), format!("the value is {}", shown(per_1k_s)), hint);
                }
                if let Some(ttl_s) = api.cache_ttl_s {
                    above_zero(sink, &at("cache_ttl_s"), ttl_s, MAX_SECONDS);
                }
                for (field, tokens) in
                    [("cache_min_tokens", api.cache_min_tokens), ("cache_step_tokens", api.cache_step_tokens)]
                {
                    if tokens.is_some() && api.cache_ttl_s.is_none() {
                        let message = "nothing is cached without a `cache_ttl_s`".to_owned();
                        sink.error(&at(field), message, "cache_ttl_s: 300".to_owned());
                    }
                }
                if api.cache_step_tokens == Some(0) {
                    sink.error(&at("cache_step_tokens"), "the value is 0".to_owned(), "at least 1".to_owned());
                }
                limits(sink, &format!("services.{name}"), &api.limits);
                chance(sink, &at("fail"), api.fail);
                if let Some(window) = api.batch_window_s {
                    above_zero(sink, &at("batch_window_s"), window, MAX_SECONDS);
                }
                for (index, outage) in api.outages.iter().enumerate() {
                    let at = |field: &str| at(&format!("outages.{index}.{field}"));
                    span(sink, at, outage.from_s, outage.for_s);
                    if let Some(slower) = outage.slower {
                        above_zero(sink, &at("slower"), slower, 1e6);
                        if slower > 0.0 && slower < 1.0 {
                            let message = format!("a brown-out of {} makes answers faster", shown(slower));
                            sink.error(
                                &at("slower"),
                                message,
                                "at least 1: how many times as long they take".to_owned(),
                            );
                        }
                    }
                }
            }
        }
    }
    let known = |name: &str| scenario.spec().services.contains_key(name) || simulated(scenario, name).next().is_some();
    for deployment in scenario.bundles.iter().filter_map(|bundle| bundle.deployment.as_ref()) {
        let bound = deployment.parsed.spec.bind.values().collect::<IndexSet<_>>();
        for backend in bound.into_iter().filter(|backend| !known(backend)) {
            let message = format!(
                "nothing is known of the backend `{backend}` of deployment `{}`: how fast it is, and what it allows",
                deployment.parsed.spec.name
            );
            let hint = format!("services: {{ \"{backend}\": Api(…), Profile(…) or Station(…) }}");
            sink.warning("services", message, hint);
        }
    }
}

/// The `Simulated` backends of a name, of all deployments.
fn simulated<'s>(scenario: &'s Scenario, name: &str) -> impl Iterator<Item = &'s SimulatedSpec> {
    let deployments = scenario.bundles.iter().filter_map(|bundle| bundle.deployment.as_ref());
    deployments.filter_map(move |deployment| match deployment.parsed.spec.backends.get(name) {
        Some(BackendSpec::Simulated(spec)) => Some(&**spec),
        _ => None,
    })
}

fn replica_outages(sink: &mut Sink<'_>, name: &str, outages: &[ReplicaOutageSpec], replicas: u32) {
    for (index, outage) in outages.iter().enumerate() {
        let at = |field: &str| format!("services.{name}.outages.{index}.{field}");
        span(sink, at, outage.from_s, outage.for_s);
        if outage.replica >= replicas && replicas > 0 {
            let hint = format!("from 0 to {}", replicas - 1);
            sink.error(&at("replica"), format!("there is no replica {}", outage.replica), hint);
        }
    }
}

/// Checks when an outage is.
fn span(sink: &mut Sink<'_>, at: impl Fn(&str) -> String, from_s: f64, for_s: f64) {
    above_zero(sink, &at("for_s"), for_s, MAX_SECONDS);
    if !(0.0..=MAX_SECONDS).contains(&from_s) {
        sink.error(
            &at("from_s"),
            format!("the outage begins at {} s", shown(from_s)),
            format!("from 0 to {MAX_SECONDS}"),
        );
    }
}

/// A number as people write it: not with three hundred digits.
fn shown(number: f64) -> String {
    let is_plain = number == 0.0 || (1e-6..1e15).contains(&number.abs());
    if is_plain { number.to_string() } else { format!("{number:e}") }
}

fn above_zero(sink: &mut Sink<'_>, path: &str, number: f64, most: f64) {
    if !(number > 0.0 && number <= most) {
        sink.error(path, format!("the value is {}", shown(number)), format!("above 0, at most {most}"));
    }
}

fn chance(sink: &mut Sink<'_>, path: &str, number: f64) {
    if !(0.0..=1.0).contains(&number) {
        sink.error(path, format!("the chance is {}", shown(number)), "from 0 to 1".to_owned());
    }
}

/// Checks that a quantity cannot leave `least..=most` by what it says of itself.
fn dist(sink: &mut Sink<'_>, path: &str, dist: &DistSpec, least: f64, most: f64) {
    let range = format!("from {least} to {most}");
    let mut within = |what: &str, number: f64| {
        if !(least..=most).contains(&number) {
            sink.error(path, format!("the {what} is {}", shown(number)), range.clone());
        }
    };
    match dist {
        DistSpec::Fixed(value) => within("value", *value),
        DistSpec::Uniform { min, max } => {
            within("least", *min);
            within("most", *max);
            if min > max {
                sink.error(path, format!("the least, {min}, is above the most, {max}"), None);
            }
        }
        DistSpec::Exponential { mean } => within("mean", *mean),
        DistSpec::Geometric { mean } => {
            within("mean", *mean);
            if *mean < 1.0 {
                sink.error(path, format!("the mean is {}", shown(*mean)), "a geometric count is at least 1".to_owned());
            }
        }
        DistSpec::Gamma { mean, cv } | DistSpec::LogNormal { mean, cv } => {
            within("mean", *mean);
            if !(*cv > 0.0 && *cv <= 100.0) {
                sink.error(
                    path,
                    format!("the coefficient of variation is {}", shown(*cv)),
                    "above 0, at most 100".to_owned(),
                );
            }
        }
        DistSpec::Samples(samples) => {
            if samples.is_empty() {
                sink.error(path, "there are no samples", "[1.5, 2, …]".to_owned());
            }
            if let Some(wrong) = samples.iter().find(|sample| !(least..=most).contains(*sample)) {
                sink.error(path, format!("a sample is {}", shown(*wrong)), range);
            }
        }
    }
}
