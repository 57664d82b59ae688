//! `Claim(…)`: what somebody says, and the questions that decide about it.

use serde_json::Value as Json;

use super::raw::Raw;
use super::reader::{Decode, Reader};
use super::scenario::variant;
use super::workflow::{top, version};
use crate::spec::{Bounds, ClaimSpec, FigureSpec, GivenSpec, PartSpec, QuestionSpec, RangeSpec};

/// Seeds of a simulation unless the file says otherwise.
const SEEDS: u32 = 5;

/// Reads the whole file; what can't be read is left out of the result.
pub(super) fn claim(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<ClaimSpec> {
    let mut fields = top(reader, raw, "Claim")?;
    version(reader, &mut fields);
    let name = fields.require(reader, "name");
    let claim = fields.require(reader, "claim");
    let source = fields.require(reader, "source");
    let assumes = fields.take(reader, "assumes");
    let given = fields.take(reader, "given");
    let asked = fields.take(reader, "asked");
    let parts = fields.require(reader, "parts");
    fields.finish(reader);
    Some(ClaimSpec {
        name: name.unwrap_or_default(),
        claim: claim.unwrap_or_default(),
        source: source.unwrap_or_default(),
        assumes: assumes.unwrap_or_default(),
        given: given.unwrap_or_default(),
        asked: asked.unwrap_or_default(),
        parts: parts.unwrap_or_default(),
    })
}

impl Decode for GivenSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let (name, mut fields) = variant(reader, raw, &["Range", "OneOf"], "what is given")?;
        let says = fields.require(reader, "says");
        let source = fields.take(reader, "source").unwrap_or_default();
        let given = if name == "Range" {
            let (at, from, to) =
                (fields.require(reader, "at"), fields.require(reader, "from"), fields.require(reader, "to"));
            let search = fields.take_with(reader, "search", pair);
            let whole = fields.take(reader, "whole").unwrap_or_default();
            let unit = fields.take(reader, "unit").unwrap_or_default();
            match (at, from, to, says) {
                (Some(at), Some(from), Some(to), Some(says)) => {
                    Some(Self::Range(RangeSpec { at, from, to, search, whole, says, unit, source }))
                }
                _ => None,
            }
        } else {
            let values: Option<Vec<Json>> = fields.require(reader, "values");
            values.zip(says).map(|(values, says)| Self::OneOf { values, says, source })
        };
        fields.finish(reader);
        given
    }
}

/// Two numbers.
fn pair(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<(f64, f64)> {
    if let [low, high] = Vec::<f64>::decode(reader, raw)?.as_slice() {
        return Some((*low, *high));
    }
    reader.problem(raw, "expected two numbers", Some("[0.01, 100]".to_owned()));
    None
}

impl Decode for QuestionSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        const NAMES: [&str; 4] = ["Simulate", "Plan", "Price", "Audit"];
        let (name, mut fields) = variant(reader, raw, &NAMES, "a question")?;
        // Every field is taken before anything is given up, so that all that is wrong is reported.
        let question = match name {
            "Simulate" | "Plan" => {
                let scenario = fields.require(reader, "scenario");
                let deployment = fields.require(reader, "deployment");
                let runs = fields.take(reader, "runs");
                let both = scenario.zip(deployment);
                if name == "Plan" {
                    both.map(|(scenario, deployment)| Self::Plan { scenario, deployment, runs })
                } else {
                    let load_factor = fields.take(reader, "load_factor").unwrap_or_else(|| Json::from(1.0));
                    let seeds = fields.take(reader, "seeds").unwrap_or(SEEDS);
                    both.map(|(scenario, deployment)| Self::Simulate { scenario, deployment, load_factor, runs, seeds })
                }
            }
            "Price" => {
                let (provider, model) = (fields.require(reader, "provider"), fields.require(reader, "model"));
                let input_tokens = fields.take(reader, "input_tokens").unwrap_or_else(|| Json::from(0));
                let output_tokens = fields.take(reader, "output_tokens").unwrap_or_else(|| Json::from(0));
                let both = provider.zip(model);
                both.map(|(provider, model)| Self::Price { provider, model, input_tokens, output_tokens })
            }
            _ => {
                let both = fields.require(reader, "workflow").zip(fields.require(reader, "deployment"));
                both.map(|(workflow, deployment)| Self::Audit { workflow, deployment })
            }
        };
        fields.finish(reader);
        question
    }
}

impl Decode for PartSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let (name, mut fields) = variant(reader, raw, &["Figure", "Unknown"], "a part of the claim")?;
        let says = fields.require(reader, "says");
        let part = if name == "Unknown" {
            let measure = fields.require(reader, "measure");
            says.zip(measure).map(|(says, measure)| Self::Unknown { says, measure })
        } else {
            let figure = fields.require(reader, "figure");
            let unit = fields.take(reader, "unit").unwrap_or_default();
            let must_be = fields.take(reader, "must_be");
            let vary = fields.take(reader, "vary");
            let off_by = fields.take(reader, "off_by").unwrap_or_default();
            let off_by_source = fields.take(reader, "off_by_source").unwrap_or_default();
            says.zip(figure).map(|(says, figure)| {
                Self::Figure(FigureSpec { says, figure, unit, must_be, vary, off_by, off_by_source })
            })
        };
        fields.finish(reader);
        part
    }
}

impl Decode for Bounds {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        const NAMES: [&str; 3] = ["AtLeast", "AtMost", "Between"];
        let found = raw.name().unwrap_or_default();
        let bounds = match (found, raw.body()) {
            ("AtLeast" | "AtMost", Some(body)) => {
                let value = f64::decode(reader, body.single().unwrap_or(body))?;
                let is_least = found == "AtLeast";
                Some(Self { least: is_least.then_some(value), most: (!is_least).then_some(value) })
            }
            ("Between", Some(_)) => {
                let (_, mut fields) = variant(reader, raw, &NAMES, "what a figure must be")?;
                let (least, most) = (fields.require(reader, "least"), fields.require(reader, "most"));
                fields.finish(reader);
                Some(Self { least: Some(least?), most: Some(most?) })
            }
            _ => None,
        };
        if bounds.is_none() && !NAMES.contains(&found) {
            let hint = "AtLeast(10), AtMost(0.5) or Between(least: 1, most: 2)".to_owned();
            reader.problem(raw, format!("expected what the figure must be, found {}", raw.description()), Some(hint));
        } else if bounds.is_none() && raw.body().is_none() {
            reader.problem(raw, format!("{found} needs its value"), Some(format!("{found}(…)")));
        }
        bounds
    }
}
