//! When a part of a claim holds, in words: along what is varied, with the rest as usual or as it is named.

use indexmap::IndexSet;
use lumos_core::spec::{Bounds, ClaimSpec, GivenSpec};
use serde_json::Value;

use super::extremes::{Seen, surest};
use super::figure::Figures;
use super::scan::{Scan, Truth, Wanted, with};
use super::{ClaimError, Part, Point, corners, text};

/// What a condition is looked for in.
pub(super) struct Within<'a> {
    pub(super) of: &'a Part<'a>,
    pub(super) claim: &'a ClaimSpec,
    pub(super) bounds: Bounds,
    /// What is given that the figure depends on.
    pub(super) used: &'a IndexSet<String>,
    pub(super) usual: &'a Point,
    /// The figure wherever it was looked at.
    pub(super) seen: &'a [Seen],
}

/// Where the rest of what is given is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Usual,
    Named,
}

impl<'a> Within<'a> {
    /// The values of what is varied with which the part holds: with the rest as usual, or else as at the first combination of
    /// extremes with any, or else as where it holds best. Where it nowhere surely holds, those with which it may.
    pub(super) fn condition<E>(&self, figures: &mut Figures<'_, E>) -> Result<String, ClaimError<E>> {
        let open = |figures: &mut Figures<'_, E>| {
            Ok(text::open(self.of.spec, self.bounds, figures.at(self.of, self.usual, false)?))
        };
        let Some(vary) = self.vary() else { return open(figures) };
        for wanted in [Wanted::Sure, Wanted::Possible] {
            for (point, rest) in self.points(vary) {
                let scan = Scan::along(figures, self.of, self.claim, (vary, self.bounds, wanted), &point)?;
                let Some(text) = scan.condition(self.given(vary)) else { continue };
                if wanted == Wanted::Possible && scan.is_everywhere(self.given(vary)) {
                    return open(figures);
                }
                let text = self.with_the_rest(figures, (text, &scan, wanted), (vary, &point, rest))?;
                let perhaps = (wanted == Wanted::Possible).then(|| text::perhaps(self.of.spec, self.bounds));
                return Ok([text].into_iter().chain(perhaps).collect::<Vec<_>>().join(" and "));
            }
        }
        open(figures)
    }

    /// What would have to be given, beyond what is plausible, for the part to hold.
    pub(super) fn would_hold<E>(&self, figures: &mut Figures<'_, E>) -> Result<Option<String>, ClaimError<E>> {
        let Some(vary) = self.vary() else { return Ok(None) };
        let GivenSpec::Range(range) = self.given(vary) else { return Ok(None) };
        let Some(search) = range.search else { return Ok(None) };
        for (point, rest) in self.points(vary) {
            let scan = Scan::between(figures, self.of, (vary, range), search, self.bounds, &point)?;
            if let Some(text) = scan.condition(self.given(vary)) {
                return self.with_the_rest(figures, (text, &scan, Wanted::Sure), (vary, &point, rest)).map(Some);
            }
        }
        Ok(None)
    }

    fn vary(&self) -> Option<&'a str> {
        self.of.spec.vary.as_deref()
    }

    fn given(&self, name: &str) -> &'a GivenSpec {
        &self.claim.given[name]
    }

    fn others(&self, vary: &str) -> IndexSet<String> {
        self.used.iter().filter(|name| *name != vary).cloned().collect()
    }

    /// Where the rest may be, in the order in which it is tried.
    fn points(&self, vary: &str) -> Vec<(Point, Rest)> {
        let corners = corners(self.claim, &self.others(vary), self.usual);
        let best = surest(self.seen, self.bounds).cloned();
        let named = corners.into_iter().chain(best).map(|point| (point, Rest::Named));
        std::iter::once((self.usual.clone(), Rest::Usual)).chain(named).collect()
    }

    /// A condition with what it takes of the rest. Nothing is said of it where the condition holds at all extremes of it.
    fn with_the_rest<E>(
        &self,
        figures: &mut Figures<'_, E>,
        (text, scan, wanted): (String, &Scan, Wanted),
        (vary, point, rest): (&str, &Point, Rest),
    ) -> Result<String, ClaimError<E>> {
        let others = self.others(vary);
        if rest == Rest::Named {
            let named = others.iter().map(|name| text::is(self.given(name), &point[name]));
            return Ok([text].into_iter().chain(named).collect::<Vec<_>>().join(" and "));
        }
        let holds = |figures: &mut Figures<'_, E>, names: &IndexSet<String>| {
            for point in corners(self.claim, names, self.usual) {
                for value in &scan.held {
                    let figure = figures.at(self.of, &with(&point, vary, value.clone()), false)?;
                    if !wanted.has(Truth::of(self.bounds, figure)) {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        };
        if holds(figures, &others)? {
            return Ok(text);
        }
        let mut matters = IndexSet::new();
        for name in &others {
            if !holds(figures, &[name.clone()].into_iter().collect())? {
                matters.insert(name.clone());
            }
        }
        // What matters only together is all named.
        let named = if matters.is_empty() { others } else { matters };
        let mut usual = Vec::with_capacity(named.len());
        for name in &named {
            let mut said = text::is(self.given(name), &self.usual[name]);
            if let GivenSpec::OneOf { values, .. } = self.given(name) {
                for value in values.iter().filter(|value| **value != self.usual[name]) {
                    said.push_str(&self.otherwise(figures, (vary, wanted), (name, value))?);
                }
            }
            usual.push(said);
        }
        Ok(format!("{text}, with everything else as usual ({})", usual.join("; ")))
    }

    /// What the condition is with another choice, as an addition.
    fn otherwise<E>(
        &self,
        figures: &mut Figures<'_, E>,
        (vary, wanted): (&str, Wanted),
        (name, value): (&str, &Value),
    ) -> Result<String, ClaimError<E>> {
        let point = with(self.usual, name, value.clone());
        let scan = Scan::along(figures, self.of, self.claim, (vary, self.bounds, wanted), &point)?;
        let when = scan.values(self.given(vary)).unwrap_or_else(|| "never".to_owned());
        Ok(format!(", with {}: {when}", text::value(value)))
    }
}
