//! Where along one thing that is given a claim holds: a grid, and bisection between neighbours that differ.

use lumos_core::spec::{Bounds, ClaimSpec, GivenSpec, RangeSpec};
use serde_json::Value;

use super::figure::Figures;
use super::{ClaimError, Part, Point, text};
use crate::statistics::Estimate;

/// Points of the grid over what is plausible.
pub(super) const GRID: usize = 9;

/// Points of the grid over what is searched beyond it.
const SEARCH_GRID: usize = 17;

/// A threshold is found to this share of its value.
const TOLERANCE: f64 = 0.005;

/// From this ratio of its ends on, a range is looked at in equal ratios.
const WIDE: f64 = 20.0;

/// Whether what is said of a figure is true at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    /// Its whole interval is as said.
    Yes,
    /// Nothing of its interval is.
    No,
    /// The interval is in part as said, or nothing is known.
    Unclear,
}

impl Truth {
    pub(super) fn of(bounds: Bounds, figure: Option<Estimate>) -> Self {
        let Some(figure) = figure else { return Self::Unclear };
        let (low, high) = (figure.low.unwrap_or(figure.value), figure.high.unwrap_or(figure.value));
        let least = bounds.least.unwrap_or(f64::NEG_INFINITY);
        let most = bounds.most.unwrap_or(f64::INFINITY);
        if least <= low && high <= most {
            Self::Yes
        } else if high < least || low > most {
            Self::No
        } else {
            Self::Unclear
        }
    }
}

/// Which points are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those at which it is true.
    Sure,
    /// Those at which it may be.
    Possible,
}

impl Wanted {
    pub(super) fn has(self, truth: Truth) -> bool {
        match self {
            Self::Sure => truth == Truth::Yes,
            Self::Possible => truth != Truth::No,
        }
    }
}

/// What was found along one thing that is given.
pub(super) struct Scan {
    /// At the points of the grid.
    pub(super) truths: Vec<Truth>,
    /// Values that were looked at and with which it holds.
    pub(super) held: Vec<Value>,
    found: Found,
}

/// Where it holds.
enum Found {
    /// Between ends, each `None` where it is the end of what was looked at.
    Stretches(Vec<(Option<f64>, Option<f64>)>),
    /// With these values.
    Values(Vec<Value>),
}

impl Scan {
    /// Along all that is plausible, with more values to look at than the grid's.
    pub(super) fn along<E>(
        figures: &mut Figures<'_, E>,
        of: &Part<'_>,
        claim: &ClaimSpec,
        (vary, bounds, wanted): (&str, Bounds, Wanted),
        (point, more): (&Point, &[f64]),
    ) -> Result<Self, ClaimError<E>> {
        match &claim.given[vary] {
            GivenSpec::Range(range) => {
                // Where the point itself is, there is something to be seen even if the grid misses it.
                let at = point[vary].as_f64().filter(|at| (range.from..=range.to).contains(at));
                let mut grid = grid((range.from, range.to), GRID, range.whole);
                grid.extend(at);
                grid.extend(more);
                grid.sort_by(f64::total_cmp);
                grid.dedup();
                Self::over(figures, of, (vary, range), grid, (bounds, wanted), point)
            }
            GivenSpec::OneOf { values, .. } => {
                let mut truths = Vec::with_capacity(values.len());
                for value in values {
                    truths.push(Truth::of(bounds, figures.at(of, &with(point, vary, value.clone()), false)?));
                }
                let holds = values.iter().zip(&truths).filter(|(_, truth)| wanted.has(**truth));
                let held: Vec<Value> = holds.map(|(value, _)| value.clone()).collect();
                Ok(Self { truths, held: held.clone(), found: Found::Values(held) })
            }
        }
    }

    /// Along what lies beyond.
    pub(super) fn between<E>(
        figures: &mut Figures<'_, E>,
        of: &Part<'_>,
        (vary, range): (&str, &RangeSpec),
        ends: (f64, f64),
        bounds: Bounds,
        point: &Point,
    ) -> Result<Self, ClaimError<E>> {
        let grid = grid(ends, SEARCH_GRID, range.whole);
        Self::over(figures, of, (vary, range), grid, (bounds, Wanted::Sure), point)
    }

    fn over<E>(
        figures: &mut Figures<'_, E>,
        of: &Part<'_>,
        (vary, range): (&str, &RangeSpec),
        grid: Vec<f64>,
        (bounds, wanted): (Bounds, Wanted),
        point: &Point,
    ) -> Result<Self, ClaimError<E>> {
        let mut truth = |value: f64| {
            let figure = figures.at(of, &with(point, vary, Value::from(value)), false)?;
            Ok::<_, ClaimError<E>>(Truth::of(bounds, figure))
        };
        let mut truths = Vec::with_capacity(grid.len());
        for value in &grid {
            truths.push(truth(*value)?);
        }
        let held = |(value, truth): (&f64, &Truth)| wanted.has(*truth).then(|| Value::from(*value));
        let mut held: Vec<Value> = grid.iter().zip(&truths).filter_map(held).collect();
        let mut stretches: Vec<(Option<f64>, Option<f64>)> = Vec::new();
        let mut from: Option<Option<f64>> = truths.first().is_some_and(|truth| wanted.has(*truth)).then_some(None);
        for (values, pair) in grid.windows(2).zip(truths.windows(2)) {
            let holds = (wanted.has(pair[0]), wanted.has(pair[1]));
            if holds.0 == holds.1 {
                continue;
            }
            let (mut yes, mut no) = if holds.0 { (values[0], values[1]) } else { (values[1], values[0]) };
            while !is_near(yes, no, range.whole) {
                let middle = middle(yes, no, range.whole);
                if wanted.has(truth(middle)?) {
                    yes = middle;
                } else {
                    no = middle;
                }
            }
            held.push(Value::from(yes));
            match from.take() {
                Some(begin) => stretches.push((begin, Some(yes))),
                None => from = Some(Some(yes)),
            }
        }
        stretches.extend(from.map(|begin| (begin, None)));
        Ok(Self { truths, held, found: Found::Stretches(stretches) })
    }

    /// Whether it holds with a value, as far as was found.
    pub(super) fn has(&self, value: &Value) -> bool {
        match (&self.found, value.as_f64()) {
            (Found::Stretches(stretches), Some(value)) => stretches
                .iter()
                .any(|(low, high)| low.is_none_or(|low| low <= value) && high.is_none_or(|high| value <= high)),
            (Found::Stretches(_), None) => false,
            (Found::Values(values), _) => values.contains(value),
        }
    }

    /// Whether it holds along all that was looked at.
    pub(super) fn is_everywhere(&self, given: &GivenSpec) -> bool {
        match (&self.found, given) {
            (Found::Stretches(stretches), _) => stretches.as_slice() == [(None, None)],
            (Found::Values(values), GivenSpec::OneOf { values: all, .. }) => values.len() == all.len(),
            (Found::Values(_), GivenSpec::Range(_)) => false,
        }
    }

    /// Where it holds, in words; `None` where it never does.
    pub(super) fn condition(&self, given: &GivenSpec) -> Option<String> {
        Some(format!("{} is {}", given.says(), self.values(given)?))
    }

    /// The values with which it holds, in words; `None` where there are none.
    pub(super) fn values(&self, given: &GivenSpec) -> Option<String> {
        let parts: Vec<String> = match &self.found {
            Found::Stretches(stretches) => stretches.iter().map(|ends| text::stretch(given, *ends)).collect(),
            Found::Values(values) => {
                let mut values: Vec<&Value> = values.iter().collect();
                // The first is the usual one, which says nothing of how large it is.
                if values.iter().all(|value| value.is_number()) {
                    values.sort_by(|one, other| one.as_f64().unwrap_or(0.0).total_cmp(&other.as_f64().unwrap_or(0.0)));
                }
                values.into_iter().map(text::value).collect()
            }
        };
        (!parts.is_empty()).then(|| parts.join(" or "))
    }
}

pub(super) fn with(point: &Point, name: &str, value: Value) -> Point {
    let mut point = point.clone();
    point.insert(name.to_owned(), value);
    point
}

fn is_wide(low: f64, high: f64) -> bool {
    low > 0.0 && high / low >= WIDE
}

pub(super) fn grid((low, high): (f64, f64), points: usize, whole: bool) -> Vec<f64> {
    let at = |step: usize| {
        let share = step as f64 / (points - 1) as f64;
        match step {
            0 => low,
            _ if step == points - 1 => high,
            _ if is_wide(low, high) => low * (high / low).powf(share),
            _ => low + (high - low) * share,
        }
    };
    let mut grid: Vec<f64> = (0..points).map(at).map(|value| if whole { value.round() } else { value }).collect();
    grid.dedup();
    grid
}

pub(super) fn is_near(one: f64, other: f64, whole: bool) -> bool {
    let apart = (one - other).abs();
    if whole { apart <= 1.0 } else { apart <= TOLERANCE * one.abs().max(other.abs()) || apart < 1e-9 }
}

pub(super) fn middle(one: f64, other: f64, whole: bool) -> f64 {
    let (low, high) = (one.min(other), one.max(other));
    let middle = if is_wide(low, high) { (low * high).sqrt() } else { f64::midpoint(low, high) };
    if whole { middle.floor().max(low + 1.0).min(high - 1.0) } else { middle }
}
