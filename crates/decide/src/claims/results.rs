//! Judged claims, as people and programs read them.

use indexmap::IndexSet;
use lumos_core::spec::{Bounds, ClaimSpec, FigureSpec, GivenSpec};
use lumos_core::usage::Basis;
use serde::Serialize;
use serde_json::Value;

use super::text;
use crate::statistics::Estimate;

/// What is said of a claim, or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// With everything that is plausible.
    Holds,
    /// With some of what is plausible.
    HoldsOnlyIf,
    /// With nothing that is plausible.
    DoesNotHold,
}

/// A claim with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgedClaim {
    /// Its name.
    pub name: String,
    /// What is claimed.
    pub claim: String,
    /// Who says so.
    pub source: String,
    /// The verdict: that of the weakest part.
    pub verdict: ClaimVerdict,
    /// The verdict in words.
    pub says: String,
    /// What must be true, part by part.
    pub parts: Vec<JudgedPart>,
    /// What is taken for granted.
    pub assumes: Vec<String>,
    /// What the claim leaves open.
    pub given: Vec<GivenValue>,
    /// What lumos was asked.
    pub asked: Vec<AskedQuestion>,
}

/// A part of a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgedPart {
    /// What the figure is; what is said, where there is none.
    pub says: String,
    /// The unit of the figure.
    pub unit: String,
    /// What it must be; absent for a figure that is only shown.
    pub must_be: Option<String>,
    /// The bound that the figure is held against: the most, where there is no least.
    pub bound: Option<f64>,
    /// The figure with everything that is given as usual; absent where lumos cannot know it.
    pub value: Option<f64>,
    /// The ends of its 95 % interval, with how far off the model may be.
    pub interval: Option<(f64, f64)>,
    /// The least and the most that it may be over all that is given, intervals included.
    pub range: Option<(f64, f64)>,
    /// Whether the figure is not known with some of what is given; the range leaves that out.
    pub unknown_in_range: bool,
    /// The figure with its range, in words.
    pub shown: Option<String>,
    /// Where it comes from.
    pub basis: Option<Basis>,
    /// How far off the model behind it may be, as a share, and who says so.
    pub off_by: Option<(f64, String)>,
    /// The expression that it is.
    pub figure: Option<String>,
    /// The questions that it rests on.
    pub asked: Vec<String>,
    /// What is given that it depends on.
    pub given: Vec<String>,
    /// What is said of the part; absent where it is only shown, and where it is unknown.
    pub verdict: Option<ClaimVerdict>,
    /// When it holds, where it does so only at times.
    pub condition: Option<String>,
    /// With what it would hold, where it doesn't.
    pub would_hold: Option<String>,
    /// How it could be known, where it isn't.
    pub measure: Option<String>,
}

/// What a claim leaves open, with its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GivenValue {
    /// Its name.
    pub name: String,
    /// What it is.
    pub says: String,
    /// The usual value.
    pub usual: Value,
    /// All values, in words.
    pub values: String,
    /// Where they come from.
    pub source: String,
}

/// What lumos was asked, with what is given as usual.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AskedQuestion {
    /// Its name.
    pub name: String,
    /// The command that gives the answer.
    pub command: String,
    /// Where its figures come from.
    pub basis: Basis,
    /// Pages and files that figures are from.
    pub sources: Vec<String>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
}

impl JudgedPart {
    pub(super) fn unknown(says: &str, measure: &str) -> Self {
        Self {
            says: says.to_owned(),
            unit: String::new(),
            must_be: None,
            bound: None,
            value: None,
            interval: None,
            range: None,
            unknown_in_range: false,
            shown: None,
            basis: None,
            off_by: None,
            figure: None,
            asked: Vec::new(),
            given: Vec::new(),
            verdict: None,
            condition: None,
            would_hold: None,
            measure: Some(measure.to_owned()),
        }
    }

    /// `found` is the figure with the usual values, then wherever else it was looked at.
    pub(super) fn of_figure(
        spec: &FigureSpec,
        found: &[Option<Estimate>],
        basis: Basis,
        asked: Vec<String>,
        given: &IndexSet<String>,
    ) -> Self {
        let ends = |figure: &Estimate| (figure.low.unwrap_or(figure.value), figure.high.unwrap_or(figure.value));
        let usual = found.first().copied().flatten();
        let known = found.iter().flatten().map(ends);
        let range = known.reduce(|(low, high), (other_low, other_high)| (low.min(other_low), high.max(other_high)));
        let unknown_in_range = found.contains(&None);
        let shown =
            usual.zip(range).map(|(usual, range)| text::range(usual.value, range, &spec.unit, !unknown_in_range));
        Self {
            says: spec.says.clone(),
            unit: spec.unit.clone(),
            must_be: spec.must_be.map(|bounds: Bounds| text::needs(bounds, &spec.unit)),
            bound: spec.must_be.and_then(|bounds| bounds.least.or(bounds.most)),
            value: usual.map(|usual| usual.value),
            interval: usual.as_ref().map(ends),
            range,
            unknown_in_range,
            shown,
            basis: Some(basis),
            off_by: (spec.off_by > 0.0).then(|| (spec.off_by, spec.off_by_source.clone())),
            figure: Some(spec.figure.clone()),
            asked,
            given: given.iter().cloned().collect(),
            verdict: None,
            condition: None,
            would_hold: None,
            measure: None,
        }
    }

    fn is_unknown(&self) -> bool {
        self.measure.is_some()
    }

    /// Why the part does not hold.
    fn refusal(&self) -> String {
        let shown = self.shown.as_deref().unwrap_or("unknown");
        let needs = self.must_be.as_deref().unwrap_or("anything");
        let would = match &self.would_hold {
            Some(would) => format!("; it would if {would}"),
            None => String::new(),
        };
        format!("{} is {shown} where {needs} is claimed{would}", self.says)
    }
}

impl JudgedClaim {
    pub(super) fn new(claim: &ClaimSpec, parts: Vec<JudgedPart>, asked: Vec<AskedQuestion>) -> Self {
        let refused: Vec<String> = parts
            .iter()
            .filter(|part| part.verdict == Some(ClaimVerdict::DoesNotHold))
            .map(JudgedPart::refusal)
            .collect();
        let conditions: Vec<String> = parts
            .iter()
            .filter_map(|part| match &part.measure {
                Some(measure) => Some(format!("{}, which is unknown here: measure it with `{measure}`", part.says)),
                None => part.condition.clone(),
            })
            .collect();
        let (verdict, says) = if !refused.is_empty() {
            (ClaimVerdict::DoesNotHold, format!("does not hold: {}", refused.join("; ")))
        } else if !conditions.is_empty() || parts.iter().any(JudgedPart::is_unknown) {
            (ClaimVerdict::HoldsOnlyIf, format!("holds only if {}", conditions.join(", and if ")))
        } else {
            (ClaimVerdict::Holds, "holds".to_owned())
        };
        let given = claim.given.iter().map(|(name, given)| GivenValue::of(name, given)).collect();
        Self {
            name: claim.name.clone(),
            claim: claim.claim.clone(),
            source: claim.source.clone(),
            verdict,
            says,
            parts,
            assumes: claim.assumes.clone(),
            given,
            asked,
        }
    }
}

impl GivenValue {
    fn of(name: &str, given: &GivenSpec) -> Self {
        let values = match given {
            GivenSpec::Range(range) => text::given(range),
            GivenSpec::OneOf { values, .. } => values.iter().map(text::value).collect::<Vec<_>>().join(", "),
        };
        Self {
            name: name.to_owned(),
            says: given.says().to_owned(),
            usual: given.usual(),
            values,
            source: given.source().to_owned(),
        }
    }
}
