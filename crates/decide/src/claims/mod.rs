//! Claims, checked: a figure that lumos finds is held against what somebody says of it. The verdict follows from the figure, its
//! interval and the values that the claim leaves open; nobody writes it. Whoever calls answers the questions, so that nothing
//! here simulates, reads prices or files.

mod figure;
mod results;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use indexmap::{IndexMap, IndexSet};
use lumos_core::spec::{Bounds, ClaimSpec, FigureSpec, GivenSpec, PartSpec};
use lumos_core::template::{Template, TemplateError};
use lumos_core::usage::Basis;
use serde_json::Value;

pub use figure::{Answer, Ask};
pub use results::{AskedQuestion, ClaimVerdict, GivenValue, JudgedClaim, JudgedPart};

use figure::Figures;
use scan::{Scan, Truth, Wanted};

/// What everything that a claim leaves open is, at once.
type Point = IndexMap<String, Value>;

/// Why a claim cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError<E> {
    /// A question has no answer.
    #[error("{error}")]
    Asking {
        /// The question's name.
        question: String,
        /// Why.
        error: E,
    },
    /// A template cannot be worked out with the usual values.
    #[error("{error}")]
    Template {
        /// Where it is written.
        field: String,
        /// Why.
        error: TemplateError,
    },
    /// Something that must be a number is none.
    #[error("this is {found}, not a number")]
    NotANumber {
        /// Where it is written.
        field: String,
        /// What it is.
        found: String,
    },
}

/// Judges a claim. `ask` answers each question once; the same question is not asked again.
///
/// # Errors
/// Questions without an answer, and figures that cannot be worked out with the usual values of what is given.
pub fn judge<E>(
    claim: &ClaimSpec,
    ask: &mut dyn FnMut(&Ask) -> Result<Answer, E>,
) -> Result<JudgedClaim, ClaimError<E>> {
    let mut figures = Figures::new(claim, ask);
    let mut parts = Vec::with_capacity(claim.parts.len());
    for (at, part) in claim.parts.iter().enumerate() {
        parts.push(match part {
            PartSpec::Figure(spec) => judge_figure(claim, &mut figures, &format!("parts.{at}.figure"), spec)?,
            PartSpec::Unknown { says, measure } => JudgedPart::unknown(says, measure),
        });
    }
    let asked = figures.asked()?;
    Ok(JudgedClaim::new(claim, parts, asked))
}

fn judge_figure<E>(
    claim: &ClaimSpec,
    figures: &mut Figures<'_, E>,
    field: &str,
    spec: &FigureSpec,
) -> Result<JudgedPart, ClaimError<E>> {
    let template =
        Template::parse(&spec.figure).map_err(|error| ClaimError::Template { field: field.to_owned(), error })?;
    let mut used = figures.given_of(&template)?;
    used.extend(spec.vary.clone().filter(|vary| claim.given.contains_key(vary)));
    let usual: Point = claim.given.iter().map(|(name, given)| (name.clone(), given.usual())).collect();
    let of = Part { field, spec, template: &template };
    let base = figures.at(&of, &usual, true)?;
    let mut found = vec![base];
    for point in corners(claim, &used, &usual) {
        found.push(figures.at(&of, &point, false)?);
    }
    let (basis, questions) = figures.origin(&template, &usual)?;
    let mut judged = JudgedPart::of_figure(spec, &found, basis, questions, &used);
    let Some(bounds) = spec.must_be else { return Ok(judged) };
    let mut truths: Vec<Truth> = found.iter().map(|figure| Truth::of(bounds, *figure)).collect();
    let scan = match &spec.vary {
        Some(vary) => Some(Scan::along(figures, &of, claim, (vary, bounds, Wanted::Sure), &usual)?),
        None => None,
    };
    truths.extend(scan.iter().flat_map(|scan| scan.truths.iter().copied()));
    let verdict = if truths.iter().all(|truth| *truth == Truth::Yes) {
        ClaimVerdict::Holds
    } else if truths.iter().all(|truth| *truth == Truth::No) {
        ClaimVerdict::DoesNotHold
    } else {
        ClaimVerdict::HoldsOnlyIf
    };
    judged.verdict = Some(verdict);
    match verdict {
        ClaimVerdict::Holds => {}
        ClaimVerdict::HoldsOnlyIf => {
            judged.condition = Some(condition(claim, figures, (&of, bounds), &used, &usual)?);
        }
        ClaimVerdict::DoesNotHold => {
            judged.would_hold = would_hold(claim, figures, (&of, bounds), &used, &usual)?;
        }
    }
    Ok(judged)
}

/// A part of a claim that has a figure.
struct Part<'a> {
    /// Where its figure is written.
    field: &'a str,
    spec: &'a FigureSpec,
    template: &'a Template,
}

/// Every combination of the extremes of what is used; the rest as usual.
fn corners(claim: &ClaimSpec, used: &IndexSet<String>, usual: &Point) -> Vec<Point> {
    let mut points = vec![usual.clone()];
    for name in used {
        let extremes = claim.given.get(name).map(GivenSpec::extremes).unwrap_or_default();
        points = points
            .iter()
            .flat_map(|point| {
                extremes.iter().map(move |value| {
                    let mut point = point.clone();
                    point.insert(name.clone(), value.clone());
                    point
                })
            })
            .collect();
    }
    points
}

/// The values of what is varied with which the part holds: with the rest as usual, or else as at the first corner with any.
/// Where it nowhere surely holds, those with which it may.
fn condition<E>(
    claim: &ClaimSpec,
    figures: &mut Figures<'_, E>,
    (of, bounds): (&Part<'_>, Bounds),
    used: &IndexSet<String>,
    usual: &Point,
) -> Result<String, ClaimError<E>> {
    let open = |figures: &mut Figures<'_, E>| Ok(text::open(of.spec, bounds, figures.at(of, usual, false)?));
    let Some(vary) = &of.spec.vary else { return open(figures) };
    let others: IndexSet<String> = used.iter().filter(|name| *name != vary).cloned().collect();
    let points = || {
        std::iter::once((usual.clone(), false))
            .chain(corners(claim, &others, usual).into_iter().map(|point| (point, true)))
    };
    for (wanted, (point, is_corner)) in
        points().map(|at| (Wanted::Sure, at)).chain(points().map(|at| (Wanted::Possible, at)))
    {
        let scan = Scan::along(figures, of, claim, (vary, bounds, wanted), &point)?;
        let Some(text) = scan.condition(&claim.given[vary]) else { continue };
        if wanted == Wanted::Possible && scan.is_everywhere(&claim.given[vary]) {
            break;
        }
        let with = others.iter().filter(|_| is_corner).map(|name| text::is(&claim.given[name], &point[name]));
        let perhaps = (wanted == Wanted::Possible).then(|| text::perhaps(of.spec, bounds));
        return Ok([text].into_iter().chain(with).chain(perhaps).collect::<Vec<_>>().join(" and "));
    }
    open(figures)
}

/// What would have to be given, beyond what is plausible, for the part to hold.
fn would_hold<E>(
    claim: &ClaimSpec,
    figures: &mut Figures<'_, E>,
    (of, bounds): (&Part<'_>, Bounds),
    used: &IndexSet<String>,
    usual: &Point,
) -> Result<Option<String>, ClaimError<E>> {
    let Some(vary) = &of.spec.vary else { return Ok(None) };
    let Some(GivenSpec::Range(range)) = claim.given.get(vary) else { return Ok(None) };
    let Some(search) = range.search else { return Ok(None) };
    let others: IndexSet<String> = used.iter().filter(|name| *name != vary).cloned().collect();
    let first = std::iter::once((usual.clone(), false));
    for (point, is_corner) in first.chain(corners(claim, &others, usual).into_iter().map(|point| (point, true))) {
        let scan = Scan::between(figures, of, (vary, range), search, bounds, &point)?;
        if let Some(text) = scan.condition(&claim.given[vary]) {
            let with = others.iter().filter(|_| is_corner).map(|name| text::is(&claim.given[name], &point[name]));
            return Ok(Some([text].into_iter().chain(with).collect::<Vec<_>>().join(" and ")));
        }
    }
    Ok(None)
}

/// The weaker of two origins of figures.
fn weaker(one: Basis, other: Basis) -> Basis {
    let rank = |basis: Basis| match basis {
        Basis::Measured => 0,
        Basis::Reported => 1,
        Basis::Estimated => 2,
        Basis::Simulated => 3,
    };
    if rank(one) >= rank(other) { one } else { other }
}
