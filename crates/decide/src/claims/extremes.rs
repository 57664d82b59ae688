//! How little and how much a figure may be over everything that a claim leaves open, inside of its ranges too: what is found at
//! the ends of ranges, their combinations and a grid is improved until it no longer moves.

use indexmap::IndexSet;
use lumos_core::spec::{Bounds, ClaimSpec, GivenSpec, RangeSpec};
use serde_json::Value;

use super::figure::Figures;
use super::scan::{GRID, Truth, grid, is_near, middle, with};
use super::{ClaimError, Part, Point, corners};
use crate::statistics::Estimate;

/// A figure at a point; `None` where it is not known.
pub(super) struct Seen {
    pub(super) point: Point,
    pub(super) figure: Option<Estimate>,
}

/// An extreme that moves by no more than this share of itself has been found.
const STABLE: f64 = 0.005;

/// Most times that each range is gone along for one extreme.
const ROUNDS: usize = 20;

/// What is looked for.
#[derive(Clone, Copy)]
enum Goal {
    /// The lower end of the figure's interval at its least.
    Least,
    /// The upper end at its most.
    Most,
    /// The whole interval within bounds.
    Sure(Bounds),
    /// Some of the interval within bounds.
    Possible(Bounds),
}

impl Goal {
    /// How good a figure is for it; of `Sure` and `Possible`, it is met from 0 on.
    fn score(self, figure: Estimate) -> f64 {
        let (low, high) = (figure.low.unwrap_or(figure.value), figure.high.unwrap_or(figure.value));
        let ends = |bounds: Bounds| (bounds.least.unwrap_or(f64::NEG_INFINITY), bounds.most.unwrap_or(f64::INFINITY));
        match self {
            Self::Least => -low,
            Self::Most => high,
            Self::Sure(bounds) => (low - ends(bounds).0).min(ends(bounds).1 - high),
            Self::Possible(bounds) => (high - ends(bounds).0).min(ends(bounds).1 - low),
        }
    }

    /// By how much scores may differ and still be the same.
    fn tolerance(self, score: f64) -> f64 {
        let size = match self {
            Self::Least | Self::Most => score.abs(),
            Self::Sure(bounds) | Self::Possible(bounds) => {
                [bounds.least, bounds.most].into_iter().flatten().map(f64::abs).fold(0.0, f64::max)
            }
        };
        (size * STABLE).max(1e-12)
    }

    fn is_met(self, score: f64) -> bool {
        matches!(self, Self::Sure(_) | Self::Possible(_)) && score >= 0.0
    }
}

/// The figure wherever it was looked at, with the usual values first. Bounds say what else is looked for than extremes.
pub(super) fn explored<E>(
    figures: &mut Figures<'_, E>,
    of: &Part<'_>,
    claim: &ClaimSpec,
    (used, usual): (&IndexSet<String>, &Point),
) -> Result<Vec<Seen>, ClaimError<E>> {
    let figure = figures.at(of, usual, true)?;
    let mut explorer = Explorer { figures, of, seen: vec![Seen { point: usual.clone(), figure }], ranges: Vec::new() };
    for point in corners(claim, used, usual) {
        explorer.look(point)?;
    }
    for name in used {
        let GivenSpec::Range(range) = &claim.given[name] else { continue };
        let others: IndexSet<String> = used.iter().filter(|other| *other != name).cloned().collect();
        for point in corners(claim, &others, usual) {
            for value in grid((range.from, range.to), GRID, range.whole) {
                explorer.look(with(&point, name, Value::from(value)))?;
            }
        }
        explorer.ranges.push((name, range));
    }
    explorer.improve(Goal::Least)?;
    explorer.improve(Goal::Most)?;
    if let Some(bounds) = of.spec.must_be {
        // What is true, or may be, between points at which it isn't is looked for where it would decide.
        let truths: Vec<Truth> = explorer.seen.iter().map(|seen| Truth::of(bounds, seen.figure)).collect();
        if truths.iter().all(|truth| *truth == Truth::No) {
            explorer.improve(Goal::Possible(bounds))?;
        }
        if !truths.contains(&Truth::Yes) {
            explorer.improve(Goal::Sure(bounds))?;
        }
    }
    Ok(explorer.seen)
}

/// Of all points at which the figure surely is within bounds, the one that is furthest within.
pub(super) fn surest(seen: &[Seen], bounds: Bounds) -> Option<&Point> {
    let of = |seen: &'_ Seen| seen.figure.map(|figure| Goal::Sure(bounds).score(figure));
    let best =
        seen.iter().max_by(|one, other| of(one).unwrap_or(f64::MIN).total_cmp(&of(other).unwrap_or(f64::MIN)))?;
    (Truth::of(bounds, best.figure) == Truth::Yes).then_some(&best.point)
}

/// Of all points at which the figure may be within bounds, the one that is nearest to being so; one at which it is not known,
/// where there is no other.
pub(super) fn likeliest(seen: &[Seen], bounds: Bounds) -> Option<&Point> {
    let score = |seen: &Seen| seen.figure.map_or(f64::MIN, |figure| Goal::Possible(bounds).score(figure));
    let may = seen.iter().filter(|seen| Truth::of(bounds, seen.figure) != Truth::No);
    may.max_by(|one, other| score(one).total_cmp(&score(other))).map(|seen| &seen.point)
}

struct Explorer<'e, 'f, 'c, E> {
    figures: &'e mut Figures<'f, E>,
    of: &'e Part<'e>,
    seen: Vec<Seen>,
    ranges: Vec<(&'c str, &'c RangeSpec)>,
}

impl<E> Explorer<'_, '_, '_, E> {
    fn look(&mut self, point: Point) -> Result<Option<Estimate>, ClaimError<E>> {
        let figure = self.figures.at(self.of, &point, false)?;
        self.seen.push(Seen { point, figure });
        Ok(figure)
    }

    /// The score at a point; the least there is where the figure is not known.
    fn score(&mut self, goal: Goal, point: Point) -> Result<f64, ClaimError<E>> {
        Ok(self.look(point)?.map_or(f64::NEG_INFINITY, |figure| goal.score(figure)))
    }

    /// From the best point so far along one range after the other, until that gains nothing.
    fn improve(&mut self, goal: Goal) -> Result<(), ClaimError<E>> {
        let scored = self.seen.iter().filter_map(|seen| Some((goal.score(seen.figure?), &seen.point)));
        // Of several that are as good, the first.
        let best = scored.reduce(|best, other| if other.0 > best.0 { other } else { best });
        let Some((mut score, mut point)) = best.map(|(score, point)| (score, point.clone())) else { return Ok(()) };
        for _ in 0..ROUNDS {
            let before = score;
            for (name, range) in self.ranges.clone() {
                if goal.is_met(score) {
                    return Ok(());
                }
                let value = point[name].as_f64().unwrap_or(range.at);
                let (better, at) = self.along(goal, (name, range), &point, (score, value))?;
                (score, point) = (better, with(&point, name, Value::from(at)));
            }
            if score - before <= goal.tolerance(score) {
                break;
            }
        }
        Ok(())
    }

    /// The best value of one range, the rest as at a point: that of a grid, then between its neighbours.
    fn along(
        &mut self,
        goal: Goal,
        (name, range): (&str, &RangeSpec),
        point: &Point,
        start: (f64, f64),
    ) -> Result<(f64, f64), ClaimError<E>> {
        let mut looked = vec![start];
        for value in grid((range.from, range.to), GRID, range.whole) {
            looked.push((self.score(goal, with(point, name, Value::from(value)))?, value));
        }
        let mut best = start;
        for it in &looked {
            if it.0 > best.0 {
                best = *it;
            }
        }
        let below = looked.iter().filter(|it| it.1 < best.1).max_by(|one, other| one.1.total_cmp(&other.1));
        let above = looked.iter().filter(|it| it.1 > best.1).min_by(|one, other| one.1.total_cmp(&other.1));
        let (mut below, mut above) = (below.copied(), above.copied());
        while !goal.is_met(best.0) {
            let is_open = |side: &(f64, f64)| !is_near(side.1, best.1, range.whole);
            let mut tried = [None, None];
            for (side, tried) in [below, above].into_iter().zip(&mut tried) {
                let Some(side) = side.filter(is_open) else { continue };
                let value = middle(side.1, best.1, range.whole);
                *tried = Some((self.score(goal, with(point, name, Value::from(value)))?, value));
            }
            if tried == [None, None] {
                break;
            }
            // Equal neighbours may have an extreme between them: only what was looked at there, too, is flat.
            let around: Vec<f64> = [below, above].into_iter().chain(tried).flatten().map(|it| it.0).collect();
            let is_flat = around.iter().all(|score| (score - best.0).abs() <= goal.tolerance(best.0));
            match tried {
                [Some(left), right] if left.0 > best.0 && right.is_none_or(|right| left.0 >= right.0) => {
                    (above, best) = (Some(best), left);
                }
                [_, Some(right)] if right.0 > best.0 => (below, best) = (Some(best), right),
                [left, right] => (below, above) = (left.or(below), right.or(above)),
            }
            if is_flat {
                break;
            }
        }
        Ok(best)
    }
}
