//! Whether a queue grew without bound, in which case percentiles of waiting mean nothing but how long one looked.

use serde::Serialize;

/// What is there at some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Moment {
    at_us: u64,
    arrived: u64,
    runs: u64,
    services: Vec<u64>,
}

/// Looks at the system in the middle of the arrivals and at their end.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    middle: Option<Moment>,
    end: Option<Moment>,
}

/// How the system bears its load.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Verdict {
    /// What arrives is served.
    Stable,
    /// More arrives than is served.
    Unstable {
        /// Runs by which the backlog grows each second.
        runs_per_s: f64,
        /// The services whose queues grow, the one that grows most first.
        services: Vec<String>,
    },
}

impl Watch {
    /// What is there in the middle of the arrivals: runs that have arrived, runs in the system, requests at each service.
    pub fn middle(&mut self, at_us: u64, arrived: u64, runs: u64, services: impl Iterator<Item = u64>) {
        self.middle = Some(Moment { at_us, arrived, runs, services: services.collect() });
    }

    /// What is there when the last run has arrived.
    pub fn end(&mut self, at_us: u64, arrived: u64, runs: u64, services: impl Iterator<Item = u64>) {
        // Looked at again with every late arrival, so the list is used again.
        let mut list = self.end.take().map_or_else(Vec::new, |before| before.services);
        list.clear();
        list.extend(services);
        self.end = Some(Moment { at_us, arrived, runs, services: list });
    }

    /// The verdict; `names` are those of the services.
    ///
    /// Unstable is a backlog that grew in the second half of the arrivals by more than 2 % of what arrived in it, and by more
    /// than four standard deviations of so many Poisson arrivals: a stable queue at 95 % of its capacity grows by neither.
    pub fn verdict(&self, names: &[&str]) -> Verdict {
        let (Some(middle), Some(end)) = (&self.middle, &self.end) else { return Verdict::Stable };
        let arrived = end.arrived.saturating_sub(middle.arrived) as f64;
        let grew = |before: u64, after: u64| after as f64 - before as f64;
        let bound = (0.02 * arrived).max(4.0 * arrived.sqrt());
        let growth = grew(middle.runs, end.runs);
        if growth <= bound {
            return Verdict::Stable;
        }
        let seconds = (end.at_us.saturating_sub(middle.at_us)).max(1) as f64 / 1e6;
        let mut growing: Vec<(f64, &str)> = middle
            .services
            .iter()
            .zip(&end.services)
            .zip(names)
            .map(|((before, after), name)| (grew(*before, *after), *name))
            .filter(|(growth, _)| *growth > bound / 2.0)
            .collect();
        growing.sort_by(|a, b| b.0.total_cmp(&a.0));
        Verdict::Unstable {
            runs_per_s: growth / seconds,
            services: growing.into_iter().map(|(_, name)| name.to_owned()).collect(),
        }
    }
}
