//! What is wanted of an assignment, and when one is better than another.

use std::cmp::Ordering;

use serde::Serialize;

use super::compose::{BYTES, COST, Measured};
use super::space::Assignment;
use crate::statistics::mean;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Right answers; where nothing scores them, runs that succeed.
    Quality,
    /// Little money.
    Cost,
    /// Little time.
    Latency,
    /// Few bytes outside.
    Bytes,
}

impl Objective {
    /// In the order in which they decide between equals.
    pub const ALL: [Self; 4] = [Self::Quality, Self::Cost, Self::Latency, Self::Bytes];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Bytes => "bytes",
        }
    }

    /// How much two figures may differ and still be the same, as a share of them: times and sizes are never twice the same.
    fn slack(self) -> f64 {
        match self {
            Self::Quality => 0.0,
            Self::Cost => 0.005,
            Self::Latency | Self::Bytes => 0.02,
        }
    }

    /// A figure on a grid as fine as differences count, so that an order of figures is one.
    fn rank(self, value: f64) -> f64 {
        let slack = self.slack();
        if slack > 0.0 && value > 0.0 {
            (value.ln() / slack).round()
        } else if slack > 0.0 {
            f64::MIN
        } else {
            value
        }
    }
}

/// Means over runs; unknown ones are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Goals {
    /// From 0 to 1.
    pub quality: Option<f64>,
    /// Dollars per run.
    pub cost_usd: Option<f64>,
    /// Seconds, of runs that succeed.
    pub latency_s: Option<f64>,
    /// Bytes per run.
    pub bytes_outside: Option<f64>,
}

/// An assignment with what it would come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The option of each node.
    pub assignment: Assignment,
    /// What it would come to.
    pub goals: Goals,
}

impl Goals {
    /// A figure of which less is better.
    pub(super) fn of(&self, objective: Objective) -> Option<f64> {
        match objective {
            Objective::Quality => self.quality.map(|quality| -quality),
            Objective::Cost => self.cost_usd,
            Objective::Latency => self.latency_s,
            Objective::Bytes => self.bytes_outside,
        }
    }

    /// Whether this is as good as the other in everything, but for what makes no difference. What is not known of one must
    /// not be known of the other.
    pub fn covers(&self, other: &Self, exactly: bool) -> bool {
        Objective::ALL.into_iter().all(|objective| match (self.of(objective), other.of(objective)) {
            (Some(a), Some(b)) => a <= b + if exactly { 0.0 } else { objective.slack() * b.abs() } + 1e-12,
            (None, None) => true,
            _ => false,
        })
    }

    /// Which is better for one objective; between equals the others decide in their order. What is not known comes last.
    pub fn compare(&self, other: &Self, first: Objective) -> Ordering {
        let rest = Objective::ALL.into_iter().filter(|objective| *objective != first);
        let by = |objective: Objective| {
            let rank = |goals: &Self| goals.of(objective).map(|value| objective.rank(value));
            match (rank(self), rank(other)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            }
        };
        std::iter::once(first).chain(rest).map(by).fold(Ordering::Equal, Ordering::then)
    }
}

impl Measured {
    /// What an assignment would come to.
    pub fn goals(&self, assignment: &[usize]) -> Goals {
        let runs: Vec<_> = self.composed(assignment).collect();
        let known = |values: Option<Vec<f64>>| values.and_then(|values| mean(&values));
        let done: Vec<f64> = runs.iter().filter(|run| !run.failed).map(|run| run.duration_us / 1e6).collect();
        let scored: Vec<f64> = runs.iter().filter_map(|run| run.quality).collect();
        let succeeded = done.len() as f64 / runs.len().max(1) as f64;
        Goals {
            quality: if self.is_scored() { mean(&scored) } else { Some(succeeded) },
            cost_usd: known(runs.iter().map(|run| Some(run.total[COST]? / 1e9)).collect()),
            latency_s: mean(&done),
            bytes_outside: known(runs.iter().map(|run| run.total[BYTES]).collect()),
        }
    }

    /// Whether a scorer says how good runs are.
    pub fn is_scored(&self) -> bool {
        self.runs.iter().any(|run| !run.counted.is_empty())
    }
}

/// Points none of which is covered by another.
#[derive(Debug, Clone, Default)]
pub(super) struct Frontier(pub(super) Vec<Point>);

impl Frontier {
    /// Whether something as good is there.
    pub(super) fn covers(&self, goals: &Goals) -> bool {
        self.0.iter().any(|point| point.goals.covers(goals, false))
    }

    /// Adds a point, unless something as good is there, and takes out what it is better than.
    pub(super) fn add(&mut self, point: Point) {
        if self.0.iter().any(|known| known.goals.covers(&point.goals, true)) {
            return;
        }
        let before = self.0.len();
        self.0.retain(|known| !point.goals.covers(&known.goals, true));
        // What takes the place of another stands for all that the other stood for.
        if self.0.len() < before || !self.covers(&point.goals) {
            self.0.push(point);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals(quality: f64, cost: impl Into<Option<f64>>, latency: f64) -> Goals {
        let cost_usd = cost.into();
        Goals { quality: Some(quality), cost_usd, latency_s: Some(latency), bytes_outside: Some(0.0) }
    }

    #[test]
    fn a_better_point_takes_the_place_of_a_worse_one() {
        let mut frontier = Frontier::default();
        let mut add = |goals| frontier.add(Point { assignment: Vec::new(), goals });
        add(goals(0.8, 1.0, 1.0));
        add(goals(0.9, 2.0, 1.0));
        add(goals(0.8, 1.0, 1.01));
        add(goals(0.8, 0.5, 1.0));
        let costs: Vec<_> = frontier.0.iter().map(|point| point.goals.cost_usd).collect();
        assert_eq!(costs, [Some(2.0), Some(0.5)]);
    }

    #[test]
    fn what_is_not_known_is_no_better_and_no_worse() {
        assert!(!goals(1.0, None, 1.0).covers(&goals(0.5, 1.0, 2.0), false));
        assert!(!goals(1.0, 0.0, 1.0).covers(&goals(0.5, None, 2.0), false));
        assert!(goals(1.0, None, 1.0).covers(&goals(0.5, None, 2.0), false));
        assert_eq!(goals(1.0, None, 1.0).compare(&goals(0.5, 9.0, 2.0), Objective::Cost), Ordering::Greater);
        assert_eq!(goals(0.9, 2.0, 1.0).compare(&goals(0.9, 1.0, 9.0), Objective::Quality), Ordering::Greater);
    }
}
