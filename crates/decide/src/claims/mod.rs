//! Claims, checked: a figure that lumos finds is held against what somebody says of it. The verdict follows from the figure, its
//! interval and the values that the claim leaves open; nobody writes it. Whoever calls answers the questions, so that nothing
//! here simulates, reads prices or files.

mod condition;
mod extremes;
mod figure;
mod results;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use indexmap::{IndexMap, IndexSet};
use lumos_core::spec::{ClaimSpec, FigureSpec, GivenSpec, PartSpec};
use lumos_core::template::{Template, TemplateError};
use lumos_core::usage::Basis;
use serde_json::Value;

pub use figure::{Answer, Ask};
pub use results::{AskedQuestion, ClaimVerdict, GivenValue, JudgedClaim, JudgedPart};

use condition::Within;
use extremes::explored;
use figure::Figures;
use scan::{Scan, Truth, Wanted};

/// What is given, each with one of its values.
pub type Point = IndexMap<String, Value>;

/// Why a claim cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError<E> {
    /// A question has no answer.
    #[error("{error}{}", with_values(.with))]
    Asking {
        /// The question's name.
        question: String,
        /// What is given that it depends on, with the values that it was asked with.
        with: Point,
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
    /// A number of a question is below zero.
    #[error("this is {found}, and less than nothing cannot be asked for")]
    Negative {
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
    let seen = explored(figures, &of, claim, (&used, &usual))?;
    let found: Vec<_> = seen.iter().map(|seen| seen.figure).collect();
    let (basis, questions) = figures.origin(&template, &usual)?;
    let mut judged = JudgedPart::of_figure(spec, &found, basis, questions, &used);
    let Some(bounds) = spec.must_be else { return Ok(judged) };
    let mut truths: Vec<Truth> = found.iter().map(|figure| Truth::of(bounds, *figure)).collect();
    if let Some(vary) = &spec.vary {
        truths.extend(Scan::along(figures, &of, claim, (vary, bounds, Wanted::Sure), (&usual, &[]))?.truths);
    }
    let within = Within { of: &of, claim, bounds, used: &used, usual: &usual, seen: &seen };
    let verdict = if truths.iter().all(|truth| *truth == Truth::Yes) {
        ClaimVerdict::Holds
    } else if truths.iter().all(|truth| *truth == Truth::No) {
        judged.would_hold = within.would_hold(figures)?;
        ClaimVerdict::DoesNotHold
    } else {
        judged.condition = Some(within.condition(figures)?);
        ClaimVerdict::HoldsOnlyIf
    };
    judged.verdict = Some(verdict);
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

/// Values that a question was asked with, as an addition to what went wrong.
fn with_values(with: &Point) -> String {
    if with.is_empty() {
        return String::new();
    }
    let values: Vec<String> = with.iter().map(|(name, value)| format!("`{name}` = {}", text::exact(value))).collect();
    format!(", with {}", values.join(" and "))
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
