//! Which part of a load is looked at: a fleet has to bear the busiest hours of a day, so a part of it that is searched is the
//! busiest one, and what was found there is checked over the whole.

use std::ops::Range;

use lumos_core::load::Scenario;
use lumos_core::spec::{ArrivalSpec, ServiceSpec};
use serde::Serialize;

use crate::trace::Arrival;

const HOUR_S: f64 = 3600.0;

/// Shares of a period from which it counts as whole: `runs` that are meant to fill a day miss it by chance.
const WHOLE: f64 = 0.99;

/// Cycles on and off that say as much as all of them.
const CYCLES: f64 = 10.0;

/// What a plan looks at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// What the load goes through: `day`, `cycle` (on and off) or `trace`; absent when it is the same at any time.
    pub period: Option<&'static str>,
    /// How long that is, in seconds; of a cycle on average.
    pub period_s: Option<f64>,
    /// Whether the search sees all of what is planned for.
    pub is_whole: bool,
    /// The part that the search sees, in seconds from the start of the period; absent when it sees all.
    pub searched_s: Option<[f64; 2]>,
    /// How many times as often runs arrive in that part as on average.
    pub searched_rate: f64,
    /// What is planned for, in seconds; absent when the scenario does not fix it.
    pub planned_s: Option<f64>,
}

/// A load that is simulated.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub scenario: Scenario,
    /// Runs at most, in place of the scenario's.
    pub runs: Option<u64>,
    /// The rows of a trace that arrive, and when the first of them does.
    pub rows: Option<Range<usize>>,
}

/// What is searched, what is planned for if that is more, and what is said of both.
pub(super) struct Loads {
    pub searched: Load,
    pub whole: Option<Load>,
    pub coverage: Coverage,
    /// Runs per second on average over what is planned for: as declared, of a trace as it is; `None` where clients decide.
    pub per_s: Option<f64>,
}

impl Loads {
    /// Of a scenario whose trace has these `rows`, if `factor` times as many runs arrive as it says, of which `runs` are to be
    /// simulated.
    pub fn new(scenario: &Scenario, factor: f64, runs: Option<u64>, rows: &[Arrival]) -> Self {
        let workload = &scenario.spec().workload;
        let turns = workload.sessions.as_ref().map_or(1.0, |sessions| sessions.turns.mean().max(1.0));
        let declared = workload.arrivals.as_ref().and_then(ArrivalSpec::per_s).map(|per_s| per_s * factor * turns);
        let loads = Self::parts(scenario, factor, turns, runs, rows);
        let replayed = loads.per_s.map(|per_s| per_s * turns);
        Self { per_s: declared.or(replayed), ..loads }
    }

    fn parts(scenario: &Scenario, factor: f64, turns: f64, runs: Option<u64>, rows: &[Arrival]) -> Self {
        let workload = &scenario.spec().workload;
        let written = Load { scenario: scenario.clone(), runs: None, rows: None };
        match &workload.arrivals {
            Some(ArrivalSpec::Diurnal { per_s, peak, peak_h, day_h }) => {
                let day = Day {
                    lasts_s: day_h * HOUR_S,
                    per_s: per_s * factor * turns,
                    peak: *peak,
                    peak_s: peak_h * HOUR_S,
                };
                day.loads(written, runs)
            }
            Some(ArrivalSpec::OnOff { per_s, on_s, off_s }) => {
                let cycle_s = on_s + off_s;
                let per_s = per_s * factor * turns * on_s / cycle_s;
                let whole_s = extent_s(&written, per_s).max(cycle_s);
                let whole = at_least(written, per_s, cycle_s);
                let searched_s = runs.map_or(whole_s, |runs| runs as f64 / per_s).min(whole_s);
                let is_whole = searched_s >= (WHOLE * whole_s).min(CYCLES * cycle_s);
                let coverage = Coverage {
                    period: Some("cycle"),
                    period_s: Some(cycle_s),
                    is_whole,
                    searched_s: (!is_whole).then_some([0.0, searched_s]),
                    searched_rate: 1.0,
                    planned_s: Some(if is_whole { searched_s } else { whole_s }),
                };
                let searched = Load { runs, ..whole.clone() };
                Self { searched, whole: (!is_whole).then_some(whole), coverage, per_s: None }
            }
            Some(ArrivalSpec::Trace { speed, .. }) => replay(written, speed * factor, runs, rows),
            _ => {
                let coverage = Coverage {
                    period: None,
                    period_s: None,
                    is_whole: true,
                    searched_s: None,
                    searched_rate: 1.0,
                    planned_s: None,
                };
                Self { searched: Load { runs, ..written }, whole: None, coverage, per_s: None }
            }
        }
    }
}

/// How long a load lasts at so many runs per second; for ever when nothing ends it.
fn extent_s(load: &Load, per_s: f64) -> f64 {
    let workload = &load.scenario.spec().workload;
    let by_runs = workload.runs.map_or(f64::INFINITY, |runs| runs as f64 / per_s);
    workload.duration_s.unwrap_or(f64::INFINITY).min(by_runs)
}

/// The load as it is written, or for `period_s` if it would end before.
fn at_least(mut load: Load, per_s: f64, period_s: f64) -> Load {
    if extent_s(&load, per_s) < WHOLE * period_s {
        let workload = &mut load.scenario.parsed.spec.workload;
        (workload.runs, workload.duration_s) = (None, Some(period_s));
    }
    load
}

/// A day's curve: the mean rate, the highest over the mean, and when that is.
struct Day {
    lasts_s: f64,
    per_s: f64,
    peak: f64,
    peak_s: f64,
}

impl Day {
    /// Runs that arrive within `width_s` around the peak: the integral of `per_s · (1 + (peak − 1) · cos(2πt/day))`.
    fn runs_around_peak(&self, width_s: f64) -> f64 {
        let swing = (std::f64::consts::PI * width_s / self.lasts_s).sin() * self.lasts_s / std::f64::consts::PI;
        self.per_s * (width_s + (self.peak - 1.0) * swing)
    }

    /// Seconds around the peak in which so many runs arrive.
    fn width_s(&self, runs: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.lasts_s);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.runs_around_peak(middle) < runs { low = middle } else { high = middle }
        }
        high
    }

    fn loads(&self, written: Load, runs: Option<u64>) -> Loads {
        let whole = at_least(written, self.per_s, self.lasts_s);
        let whole_s = extent_s(&whole, self.per_s);
        let asked_s = runs.map_or(whole_s, |runs| runs as f64 / self.per_s);
        let is_whole = asked_s >= WHOLE * self.lasts_s;
        let coverage = Coverage {
            period: Some("day"),
            period_s: Some(self.lasts_s),
            is_whole,
            searched_s: None,
            searched_rate: 1.0,
            planned_s: Some(if is_whole { asked_s.min(whole_s) } else { whole_s }),
        };
        let Some(runs) = runs.filter(|_| !is_whole) else {
            return Loads { searched: Load { runs, ..whole }, whole: None, coverage, per_s: None };
        };
        let width_s = self.width_s(runs as f64);
        let from_s = (self.peak_s - width_s / 2.0).rem_euclid(self.lasts_s);
        let mut searched = whole.clone();
        let workload = &mut searched.scenario.parsed.spec.workload;
        (workload.runs, workload.duration_s) = (None, Some(width_s));
        if let Some(ArrivalSpec::Diurnal { peak_h, .. }) = &mut workload.arrivals {
            *peak_h = width_s / 2.0 / HOUR_S;
        }
        shift_outages(&mut searched.scenario, from_s);
        let coverage = Coverage {
            searched_s: Some([from_s, from_s + width_s]),
            searched_rate: runs as f64 / width_s / self.per_s,
            ..coverage
        };
        Loads { searched, whole: Some(whole), coverage, per_s: None }
    }
}

/// A trace: of a part, the rows that come in the shortest time.
fn replay(written: Load, speed: f64, runs: Option<u64>, rows: &[Arrival]) -> Loads {
    let second = |row: &Arrival| row.at_us as f64 / 1e6 / speed;
    let workload = &written.scenario.spec().workload;
    let in_time = workload.duration_s.map_or(rows.len(), |seconds| rows.partition_point(|row| second(row) < seconds));
    let count = workload.runs.map_or(in_time, |runs| in_time.min(usize::try_from(runs).unwrap_or(usize::MAX)));
    let rows = &rows[..count];
    let last_s = rows.last().map_or(0.0, second);
    let per_s = (count > 1 && last_s > 0.0).then(|| (count - 1) as f64 / last_s);
    let part = runs.and_then(|runs| usize::try_from(runs).ok()).filter(|part| (1..count).contains(part));
    let coverage = Coverage {
        period: Some("trace"),
        period_s: Some(last_s),
        is_whole: part.is_none(),
        searched_s: None,
        searched_rate: 1.0,
        planned_s: Some(last_s),
    };
    let Some(part) = part else {
        return Loads { searched: written, whole: None, coverage, per_s };
    };
    let lasts = |start: usize| rows[start + part - 1].at_us - rows[start].at_us;
    // Of equally busy parts the first.
    let start = (0..=count - part).min_by_key(|start| lasts(*start)).unwrap_or(0);
    let [from_s, until_s] = [start, start + part - 1].map(|row| second(&rows[row]));
    let mut searched = Load { rows: Some(start..start + part), ..written.clone() };
    let workload = &mut searched.scenario.parsed.spec.workload;
    (workload.runs, workload.duration_s) = (None, None);
    shift_outages(&mut searched.scenario, from_s);
    let coverage = Coverage {
        searched_s: Some([from_s, until_s]),
        searched_rate: part as f64 / (until_s - from_s).max(1e-6) / (count as f64 / last_s.max(1e-6)),
        ..coverage
    };
    Loads { searched, whole: Some(written), coverage, per_s }
}

/// What goes wrong goes wrong at the same time of a load that begins at `by_s`.
fn shift_outages(scenario: &mut Scenario, by_s: f64) {
    // What lasts beyond the new start is as long as what is left of it.
    let moved = |from_s: f64, for_s: f64| {
        let until_s = from_s + for_s - by_s;
        let from_s = (from_s - by_s).max(0.0);
        (until_s > 0.0).then_some((from_s, until_s - from_s))
    };
    for service in scenario.parsed.spec.services.values_mut() {
        match service {
            ServiceSpec::Station { .. } => {}
            ServiceSpec::Api(api) => api.outages.retain_mut(|outage| {
                let found = moved(outage.from_s, outage.for_s);
                found.map(|(from_s, for_s)| (outage.from_s, outage.for_s) = (from_s, for_s)).is_some()
            }),
            ServiceSpec::Profile { outages, .. } | ServiceSpec::Replicas { outages } => outages.retain_mut(|outage| {
                let found = moved(outage.from_s, outage.for_s);
                found.map(|(from_s, for_s)| (outage.from_s, outage.for_s) = (from_s, for_s)).is_some()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_part_of_a_day_holds_as_many_runs_as_were_asked_for() {
        let day = Day { lasts_s: 86_400.0, per_s: 2.0, peak: 1.5, peak_s: 54_000.0 };
        for runs in [100.0, 20_000.0, 150_000.0, 172_000.0] {
            let width_s = day.width_s(runs);
            // The sum over seconds around the peak.
            let half = width_s / 2.0;
            let count = 100_000;
            let step = width_s / f64::from(count);
            let rate = |t: f64| 2.0 * (1.0 + 0.5 * (std::f64::consts::TAU * t / 86_400.0).cos());
            let sum: f64 = (0..count).map(|number| rate(-half + (f64::from(number) + 0.5) * step) * step).sum();
            assert!((sum / runs - 1.0).abs() < 1e-6, "{sum} instead of {runs}");
        }
    }

    #[test]
    fn what_goes_wrong_does_so_at_the_same_time_of_a_part() {
        let text = r#"Scenario(
            name: "x", workflow: "x", deployments: [], workload: (arrivals: Poisson(per_s: 1), runs: 1),
            services: { "api": Api(outages: [
                (from_s: 10, for_s: 20), (from_s: 40, for_s: 20, slower: 2), (from_s: 100, for_s: 5),
            ]) },
        )"#;
        let (parsed, problems) = lumos_core::read::parse_scenario("scenario.ron", text);
        assert!(problems.is_empty(), "{problems:?}");
        let parsed = parsed.expect("a scenario");
        let mut scenario = Scenario { parsed, folder: "".into(), bundles: Vec::new() };
        shift_outages(&mut scenario, 50.0);
        let Some(ServiceSpec::Api(api)) = scenario.spec().services.get("api") else { panic!("an API") };
        let found: Vec<(f64, f64, Option<f64>)> =
            api.outages.iter().map(|outage| (outage.from_s, outage.for_s, outage.slower)).collect();
        assert_eq!(found, [(0.0, 10.0, Some(2.0)), (50.0, 5.0, None)]);
    }
}
