//! The assignments that are worth a look: all of them where there are few, else a tree of which branches are left out that
//! cannot hold anything better than what is known.

use super::compose::{Amounts, BYTES, COST, Changed, Measured, Run};
use super::point::{Frontier, Goals, Point};
use super::space::Assignment;
use crate::statistics::mean;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most assignments of which all are looked at.
    pub all: u64,
    /// Most assignments and branches that are looked at otherwise.
    pub branches: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: 4_096, branches: 50_000 }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Assignments that nothing else is better than, among those of which a run succeeds and that meet what must hold.
    pub frontier: Vec<Point>,
    /// The same of those whose cost is not known: nobody can tell how they compare with others.
    pub apart: Vec<Point>,
    /// When nothing meets what must hold, what comes nearest.
    pub nearest: Option<Point>,
    /// Assignments that were looked at.
    pub looked_at: u64,
    /// Of those, how many meet what must hold.
    pub met: u64,
    /// Whether nothing better can be left.
    pub is_complete: bool,
}

/// Finds the frontier. `shortfall` says how far an assignment is from what must hold; 0 is that it does.
pub fn search(measured: &Measured, limits: Limits, shortfall: &dyn Fn(&[usize]) -> f64) -> Found {
    let is_small = measured.space.size().is_some_and(|size| size <= limits.all);
    let mut found = Found { is_complete: true, ..Found::default() };
    let points: Vec<Point> = if is_small {
        let mut points = Vec::new();
        each(measured, &mut measured.space.base(), 0, &mut |assignment| {
            points.push(Point { assignment: assignment.clone(), goals: measured.goals(assignment) });
        });
        found.looked_at = points.len() as u64;
        points
    } else {
        let mut points = Vec::new();
        // Those of known cost alone, then, without regard to cost, those that are not.
        for is_priced in [true, false] {
            let mut tree = Tree { measured, is_priced, frontier: Frontier::default(), looked_at: 0, limits };
            found.is_complete &= tree.look(&mut measured.space.base(), 0);
            found.looked_at += tree.looked_at;
            points.extend(tree.frontier.0);
        }
        points
    };
    let mut nearest: Option<((bool, f64), Point)> = None;
    let (mut frontier, mut apart) = (Frontier::default(), Frontier::default());
    for point in points {
        // What never succeeds takes no time, and is no choice, however little it costs.
        let short = (point.goals.latency_s.is_none(), shortfall(&point.assignment));
        if short > (false, 0.0) {
            if nearest.as_ref().is_none_or(|(least, _)| short < *least) {
                nearest = Some((short, point));
            }
            continue;
        }
        found.met += 1;
        if point.goals.cost_usd.is_some() { &mut frontier } else { &mut apart }.add(point);
    }
    let sorted = |frontier: Frontier| {
        let mut points = frontier.0;
        points.sort_by(|a, b| a.goals.compare(&b.goals, super::Objective::Quality));
        points
    };
    (found.frontier, found.apart) = (sorted(frontier), sorted(apart));
    found.nearest = nearest.map(|(_, point)| point).filter(|_| found.met == 0);
    found
}

/// Every assignment of what is offered.
fn each(measured: &Measured, assignment: &mut Assignment, node: usize, take: &mut dyn FnMut(&Assignment)) {
    let Some(choice) = measured.space.nodes.get(node) else { return take(assignment) };
    for option in choice.offered() {
        assignment[node] = option;
        each(measured, assignment, node + 1, take);
    }
}

/// A search by branch and bound: the nodes are decided one after the other.
struct Tree<'a> {
    measured: &'a Measured,
    /// Whether only backends with known costs are looked at; else cost is left out of account.
    is_priced: bool,
    frontier: Frontier,
    looked_at: u64,
    limits: Limits,
}

impl Tree<'_> {
    /// Looks at everything below a branch; whether it came to an end.
    fn look(&mut self, assignment: &mut Assignment, decided: usize) -> bool {
        if self.looked_at >= self.limits.branches {
            return false;
        }
        self.looked_at += 1;
        let Some(choice) = self.measured.space.nodes.get(decided) else {
            let goals = self.goals(self.measured.goals(assignment));
            let is_meant = self.is_priced == self.measured.goals(assignment).cost_usd.is_some();
            if is_meant {
                self.frontier.add(Point { assignment: assignment.clone(), goals });
            }
            return true;
        };
        if self.frontier.covers(&self.goals(self.bound(assignment, decided))) {
            return true;
        }
        let mut is_complete = true;
        for option in choice.offered().collect::<Vec<_>>() {
            if self.is_priced && !self.measured.is_priced(decided, option) {
                continue;
            }
            assignment[decided] = option;
            is_complete &= self.look(assignment, decided + 1);
        }
        is_complete
    }

    fn goals(&self, goals: Goals) -> Goals {
        if self.is_priced { goals } else { Goals { cost_usd: None, ..goals } }
    }

    /// What nothing below a branch is better than.
    fn bound(&self, assignment: &[usize], decided: usize) -> Goals {
        let space = &self.measured.space;
        let options: Vec<Vec<usize>> = { space.nodes.iter().enumerate() }
            .map(|(node, choice)| {
                let is_open = |option: &usize| !self.is_priced || self.measured.is_priced(node, *option);
                if node < decided { vec![assignment[node]] } else { choice.offered().filter(is_open).collect() }
            })
            .collect();
        let (mut costs, mut bytes, mut qualities) = (Vec::new(), Vec::new(), Vec::new());
        let (mut surely, mut perhaps) = (Vec::new(), Vec::new());
        for run in &self.measured.runs {
            let values = run.least(&options);
            let sum = |at: usize| values.iter().map(|amounts| amounts[at].unwrap_or(0.0)).sum::<f64>();
            costs.push(sum(COST) / 1e9);
            bytes.push(sum(BYTES));
            let (may_fail, must_fail, quality) = run.best(&options, &|scorer| self.measured.is_error(scorer));
            let latency = run.duration_us(&values) / 1e6;
            match (may_fail, must_fail) {
                (_, true) => {}
                (true, false) => perhaps.push(latency),
                (false, false) => surely.push(latency),
            }
            let success = f64::from(u8::from(!must_fail));
            qualities.push(if self.measured.is_scored() { quality } else { Some(success) });
        }
        Goals {
            quality: most(&qualities),
            cost_usd: mean(&costs),
            latency_s: least(surely, perhaps),
            bytes_outside: mean(&bytes),
        }
    }
}

/// The least mean of all of some values and any of others.
fn least(surely: Vec<f64>, mut perhaps: Vec<f64>) -> Option<f64> {
    perhaps.sort_by(f64::total_cmp);
    let (mut sum, mut count) = (surely.iter().sum::<f64>(), surely.len() as f64);
    for value in perhaps {
        if count > 0.0 && value >= sum / count {
            break;
        }
        (sum, count) = (sum + value, count + 1.0);
    }
    (count > 0.0).then(|| sum / count)
}

/// The most that the mean can be, where what is `None` may be anything or not count.
fn most(values: &[Option<f64>]) -> Option<f64> {
    mean(&values.iter().map(|value| value.unwrap_or(1.0)).collect::<Vec<_>>())
}

impl Measured {
    /// Whether all costs of a node with an option are known.
    fn is_priced(&self, node: usize, option: usize) -> bool {
        let is_known = |(_, amounts): &(usize, Amounts)| amounts[COST].is_some();
        self.runs.iter().all(|run| {
            let Changed { own, others, .. } = &run.changed[node][option];
            let units = run.units.iter().zip(&run.owners);
            let mut base = units.filter(|(_, owner)| option == 0 && **owner == Some(node));
            own.iter().chain(others).all(is_known) && base.all(|(amounts, _)| amounts[COST].is_some())
        })
    }
}

impl Run {
    /// The least that each unit can take with any of these options; of what is not known, nothing.
    fn least(&self, options: &[Vec<usize>]) -> Vec<Amounts> {
        let known = |amount: Option<f64>| amount.unwrap_or(0.0);
        let of = |unit: usize, at: usize| {
            let base = known(self.units[unit][at]);
            let in_change =
                |list: &[(usize, Amounts)]| list.iter().find(|(it, _)| *it == unit).map(|(_, it)| known(it[at]));
            let own = self.owners[unit].map(|node| {
                let values = options[node].iter().map(|option| match option {
                    0 => base,
                    option => in_change(&self.changed[node][*option].own).unwrap_or(base),
                });
                values.fold(f64::INFINITY, f64::min)
            });
            let mut value = own.filter(|own| own.is_finite()).unwrap_or(base);
            for (node, options) in options.iter().enumerate() {
                let moves = options.iter().map(|option| in_change(&self.changed[node][*option].others));
                let now = moves.map(|now| now.unwrap_or(base)).fold(f64::INFINITY, f64::min);
                if now.is_finite() {
                    value = if base > 0.0 { value * now / base } else { value + now };
                }
            }
            value
        };
        (0..self.units.len()).map(|unit| std::array::from_fn(|at| Some(of(unit, at)))).collect()
    }

    /// Whether it may fail, whether it must, and the best that can come of it; `None` where a score is not known.
    fn best(&self, options: &[Vec<usize>], is_error: &dyn Fn(&str) -> bool) -> (bool, bool, Option<f64>) {
        let fails = |went: &super::compose::Went| f64::from(u8::from(went.failed));
        let base = fails(&self.base);
        let moves = |worst: bool| {
            let of = |(node, options): (usize, &Vec<usize>)| {
                let all = options.iter().map(|option| fails(&self.changed[node][*option].went) - base);
                all.reduce(if worst { f64::max } else { f64::min }).unwrap_or(0.0)
            };
            base + options.iter().enumerate().map(of).sum::<f64>()
        };
        let (may_fail, must_fail) = (moves(true) > 0.5, moves(false) > 0.5);
        let score = |label: &String| {
            let base = (*self.base.scores.get(label)?)?;
            let of = |(node, options): (usize, &Vec<usize>)| -> Option<f64> {
                let all = options.iter().map(|option| {
                    let score = self.changed[node][*option].went.scores.get(label);
                    Some((*score?)? - base)
                });
                let all: Option<Vec<f64>> = all.collect();
                all?.into_iter().reduce(f64::max).or(Some(0.0))
            };
            let moves: Option<f64> = options.iter().enumerate().map(of).sum();
            Some((base + moves?).clamp(0.0, 1.0))
        };
        let counted = self.counted.iter().filter(|label| !is_error(label));
        let scores: Option<Vec<f64>> = counted.map(score).collect();
        let quality = if must_fail { Some(0.0) } else { scores.and_then(|scores| mean(&scores)) };
        (may_fail, must_fail, quality)
    }
}

#[cfg(test)]
mod tests {
    use lumos_core::chance::{combine, unit};

    use super::super::compose::tests::{chain, run};
    use super::super::compose::{INPUT, OUTPUT};
    use super::*;

    /// Some runs of a chain of nodes, drawn; with side effects, and perhaps an option whose cost is not known.
    fn drawn(seed: u64, (nodes, options): (usize, usize), has_unknown: bool) -> Measured {
        let space = chain(nodes, options);
        let mut number = 0;
        let mut chance = || {
            number += 1;
            unit(combine(seed, number))
        };
        let mut runs: Vec<Run> = Vec::new();
        for row in 1..=4 {
            let mut drawn = run(&space, row, |_, option| {
                let better = (options - option) as f64;
                (
                    chance() * 9.0 + better,
                    chance() * 9.0 + 2.0 * better,
                    f64::from(u8::from(chance() * 4.0 < better + 2.0)),
                )
            });
            for node in 0..nodes - 1 {
                for option in 1..options {
                    let factor = 0.5 + chance();
                    let mut amounts = drawn.units[node + 1].map(|amount| amount.map(|amount| amount * factor));
                    (amounts[INPUT], amounts[OUTPUT]) = (Some(1.0), Some(1.0));
                    drawn.changed[node][option].others.push((node + 1, amounts));
                    drawn.changed[node][option].went.failed = chance() < 0.05;
                }
            }
            if has_unknown {
                drawn.changed[0][1].own[0].1[COST] = None;
            }
            runs.push(drawn);
        }
        Measured { space, errors: Vec::new(), left_out: 0, runs }
    }

    #[test]
    fn what_the_tree_finds_covers_all_there_is() {
        let mut spared = 0;
        for seed in 0..30 {
            let measured = drawn(seed, (4, 3), seed % 3 == 0);
            let all = search(&measured, Limits { all: 81, branches: 0 }, &|_| 0.0);
            let tree = search(&measured, Limits { all: 80, branches: 10_000 }, &|_| 0.0);
            assert!(all.is_complete && tree.is_complete && all.looked_at == 81);
            let covered = |all: &[Point], found: &[Point], is_known: bool| {
                for point in all {
                    let goals = if is_known { point.goals } else { Goals { cost_usd: None, ..point.goals } };
                    assert!(found.iter().any(|it| it.goals.covers(&goals, false)), "{seed}: {point:?} in {found:?}");
                }
            };
            covered(&all.frontier, &tree.frontier, true);
            covered(&all.apart, &tree.apart, false);
            assert_eq!(all.apart.is_empty(), seed % 3 != 0);
            // Each pass has 121 branches and leaves.
            spared += u64::from(tree.looked_at < 150);
        }
        assert!(spared > 0, "branches are left out: {spared}");
    }

    #[test]
    fn a_large_space_is_searched_without_counting_it_out() {
        let measured = drawn(7, (8, 3), false);
        let found = search(&measured, Limits::default(), &|_| 0.0);
        assert!(found.looked_at < 50_000 && !found.frontier.is_empty());
        let stopped = search(&measured, Limits { all: 10, branches: 40 }, &|_| 0.0);
        assert!(!stopped.is_complete, "what was not looked at is said");
    }

    #[test]
    fn what_never_succeeds_is_no_choice_however_cheap() {
        let mut measured = drawn(3, (2, 2), false);
        for run in &mut measured.runs {
            let dead = &mut run.changed[1][1];
            dead.went.failed = true;
            dead.own = vec![(1, super::super::compose::NOTHING)];
        }
        let cheapest = |found: &Found| {
            let points = found.frontier.iter().chain(&found.apart);
            points.map(|point| point.assignment.clone()).filter(|assignment| assignment[1] == 1).count()
        };
        for limits in [Limits::default(), Limits { all: 1, branches: 10_000 }] {
            let found = search(&measured, limits, &|_| 0.0);
            assert_eq!((cheapest(&found), found.met > 0, found.nearest), (0, true, None));
        }
        // Where nothing else is offered, it is what comes nearest, and nearer than nothing that succeeds.
        measured.space.nodes[1].options[0].is_offered = false;
        let found = search(&measured, Limits::default(), &|_| 0.0);
        assert_eq!((cheapest(&found), found.met, found.nearest.is_some()), (0, 0, true));
        measured.space.nodes[1].options[0].is_offered = true;
        let found = search(&measured, Limits::default(), &|assignment| if assignment[1] == 0 { 9.0 } else { 0.0 });
        assert!(found.met == 0 && found.nearest.is_some_and(|point| point.assignment[1] == 0));
    }

    #[test]
    fn what_must_hold_is_looked_up_among_all() {
        let measured = drawn(3, (3, 2), false);
        let is_wanted = |assignment: &[usize]| if assignment == [1, 0, 1] { 0.0 } else { 1.0 };
        let found = search(&measured, Limits::default(), &is_wanted);
        assert_eq!((found.met, found.frontier[0].assignment.as_slice()), (1, &[1, 0, 1][..]));
        let never = search(&measured, Limits::default(), &|assignment| 0.1 + assignment[2] as f64);
        assert!(never.frontier.is_empty() && never.nearest.is_some_and(|point| point.assignment[2] == 0));
    }
}
