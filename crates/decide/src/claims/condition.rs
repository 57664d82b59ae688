//! When a part of a claim holds, in words: along what is varied, with the rest as usual or as it is named.

use indexmap::IndexSet;
use lumos_core::spec::{Bounds, ClaimSpec, GivenSpec};
use serde_json::Value;

use super::extremes::{Seen, likeliest, surest};
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
        let Some(vary) = self.vary() else { return self.depends(figures) };
        for wanted in [Wanted::Sure, Wanted::Possible] {
            for (point, rest) in self.points(vary) {
                let scan = self.along(figures, (vary, wanted), &point)?;
                let Some(mut text) = scan.condition(self.given(vary)) else { continue };
                let is_open = wanted == Wanted::Possible && scan.is_everywhere(self.given(vary));
                if is_open {
                    text = text::open(self.of.spec, self.bounds, figures.at(self.of, &point, false)?);
                }
                let text = self.with_the_rest(figures, (text, &scan, wanted), (vary, &point, rest))?;
                let perhaps =
                    (wanted == Wanted::Possible && !is_open).then(|| text::perhaps(self.of.spec, self.bounds));
                return Ok([text].into_iter().chain(perhaps).collect::<Vec<_>>().join(" and "));
            }
        }
        self.depends(figures)
    }

    /// A condition where nothing is varied: what the figure must be, and what decides whether it is.
    fn depends<E>(&self, figures: &mut Figures<'_, E>) -> Result<String, ClaimError<E>> {
        let usual = figures.at(self.of, self.usual, false)?;
        let truth = Truth::of(self.bounds, usual);
        let text = text::open(self.of.spec, self.bounds, usual);
        let other: Vec<&Point> = self
            .seen
            .iter()
            .filter(|seen| Truth::of(self.bounds, seen.figure) != truth)
            .map(|seen| &seen.point)
            .collect();
        let decisive = deciding(self.used, |names| {
            let projected = other.iter().map(|point| self.as_usual_but(point, names));
            for point in corners(self.claim, names, self.usual).into_iter().chain(projected) {
                if Truth::of(self.bounds, figures.at(self.of, &point, false)?) != truth {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        let names: Vec<&str> = decisive.iter().map(|name| self.given(name).says()).collect();
        Ok(match (names.as_slice(), truth) {
            ([], _) => text,
            (names, Truth::Unclear) => format!("{text}, and which depends on {}", names.join(" and ")),
            (names, _) => format!("{text}, which depends on {}", names.join(" and ")),
        })
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
        let best = [surest(self.seen, self.bounds), likeliest(self.seen, self.bounds)].into_iter().flatten().cloned();
        let named = corners.into_iter().chain(best).map(|point| (point, Rest::Named));
        std::iter::once((self.usual.clone(), Rest::Usual)).chain(named).collect()
    }

    /// Where it holds along what is varied. What was seen there before is looked at again where the grid missed it.
    fn along<E>(
        &self,
        figures: &mut Figures<'_, E>,
        (vary, wanted): (&str, Wanted),
        point: &Point,
    ) -> Result<Scan, ClaimError<E>> {
        let scan = Scan::along(figures, self.of, self.claim, (vary, self.bounds, wanted), (point, &[]))?;
        let others = self.others(vary);
        let missed: Vec<f64> = self
            .seen
            .iter()
            .filter(|seen| others.iter().all(|name| seen.point[name] == point[name]))
            .filter(|seen| scan.has(&seen.point[vary]) != wanted.has(Truth::of(self.bounds, seen.figure)))
            .filter_map(|seen| seen.point[vary].as_f64())
            .collect();
        if missed.is_empty() {
            return Ok(scan);
        }
        Scan::along(figures, self.of, self.claim, (vary, self.bounds, wanted), (point, &missed))
    }

    /// The usual values, but for what is named and what is varied.
    fn as_usual_but(&self, point: &Point, names: &IndexSet<String>) -> Point {
        let mut projected = self.usual.clone();
        for name in names.iter().map(String::as_str).chain(self.vary()) {
            if let Some(value) = point.get(name) {
                projected.insert(name.to_owned(), value.clone());
            }
        }
        projected
    }

    /// A condition with what it takes of the rest. Nothing is said of it where the condition holds at all extremes of it, and
    /// wherever else the figure was looked at.
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
        let failed: Vec<&Point> = self
            .seen
            .iter()
            .filter(|seen| scan.has(&seen.point[vary]) && !wanted.has(Truth::of(self.bounds, seen.figure)))
            .map(|seen| &seen.point)
            .collect();
        let named = deciding(&others, |names| {
            let corners = corners(self.claim, names, self.usual);
            let corners =
                corners.iter().flat_map(|point| scan.held.iter().map(move |value| with(point, vary, value.clone())));
            let projected = failed.iter().map(|point| self.as_usual_but(point, names));
            for point in corners.chain(projected) {
                if !wanted.has(Truth::of(self.bounds, figures.at(self.of, &point, false)?)) {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if named.is_empty() {
            return Ok(text);
        }
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
        let scan = self.along(figures, (vary, wanted), &point)?;
        let when = scan.values(self.given(vary)).unwrap_or_else(|| "never".to_owned());
        Ok(format!(", with {}: {when}", text::value(value)))
    }
}

/// Of several names those that decide, each alone; all of them, if only together they do; none, if not even then.
fn deciding<E>(
    names: &IndexSet<String>,
    mut decide: impl FnMut(&IndexSet<String>) -> Result<bool, E>,
) -> Result<IndexSet<String>, E> {
    if !decide(names)? {
        return Ok(IndexSet::new());
    }
    let mut alone = IndexSet::new();
    for name in names {
        if decide(&[name.clone()].into_iter().collect())? {
            alone.insert(name.clone());
        }
    }
    Ok(if alone.is_empty() { names.clone() } else { alone })
}
