//! A model behind an API, as its clients see it.

use std::collections::BTreeMap;

use lumos_core::chance::{self, unit};
use lumos_core::price::cached_tokens;
use lumos_core::spec::{ApiSpec, OutageSpec};

use super::Buckets;
use crate::chance::{Quantity, whole_us};

/// How an API works, ready to be drawn.
#[derive(Debug, Clone)]
pub struct ApiModel {
    round_trip: Quantity,
    ttft: Quantity,
    ttft_us_per_token: f64,
    tokens_per_s: Quantity,
    buckets: Buckets,
    retry_after: bool,
    fail: f64,
    cache: Option<Cache>,
    outages: Vec<OutageSpec>,
    batch_window_us: Option<u64>,
}

/// What is kept of prompts.
#[derive(Debug, Clone, Copy)]
struct Cache {
    ttl_us: u64,
    min_tokens: u32,
    step_tokens: u32,
}

impl ApiModel {
    /// The API that a scenario describes. What it does not say of the cache is as it would be for any length of prompts.
    pub fn new(spec: &ApiSpec) -> Self {
        let us = |seconds: f64| (seconds * 1e6).round() as u64;
        Self {
            round_trip: Quantity::new(&spec.round_trip_s),
            ttft: Quantity::new(&spec.ttft_s),
            ttft_us_per_token: spec.ttft_s_per_1k * 1e3,
            tokens_per_s: Quantity::new(&spec.tokens_per_s),
            buckets: Buckets::new(&spec.limits),
            retry_after: spec.retry_after,
            fail: spec.fail,
            cache: spec.cache_ttl_s.map(|ttl_s| Cache {
                ttl_us: us(ttl_s),
                min_tokens: spec.cache_min_tokens.unwrap_or(0),
                step_tokens: spec.cache_step_tokens.unwrap_or(1),
            }),
            outages: spec.outages.clone(),
            batch_window_us: spec.batch_window_s.map(us).filter(|window| *window > 0),
        }
    }
}

impl ApiModel {
    /// Whether it fails, or is slower, for a time.
    pub fn has_outages(&self) -> bool {
        !self.outages.is_empty()
    }

    /// Whether all that ever ails it does from the start until `until_us` at least.
    pub fn is_impaired_until(&self, until_us: u64) -> bool {
        let lasts = |outage: &OutageSpec| outage.from_s <= 0.0 && outage.for_s * 1e6 >= until_us as f64;
        self.has_outages() && self.outages.iter().all(lasts)
    }

    /// What ails it at that time.
    fn outage(&self, now_us: u64) -> Option<&OutageSpec> {
        let now_s = now_us as f64 / 1e6;
        self.outages.iter().find(|outage| now_s >= outage.from_s && now_s < outage.from_s + outage.for_s)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All of it is there at `done_us`, the first token at `first_us`.
    Tokens {
        /// When the first token is there.
        first_us: u64,
        /// When the last is.
        done_us: u64,
        /// Prompt tokens that were read from the cache.
        cached: u32,
    },
    /// The server counts more than it allows.
    RateLimited {
        /// When the refusal is there.
        at_us: u64,
        /// How long it asks to be left alone, in microseconds, where it says so.
        retry_after_us: Option<u64>,
    },
    /// The server fails.
    Failed {
        /// When that is known.
        at_us: u64,
    },
}

/// An API in use.
#[derive(Debug)]
pub struct Api<'a> {
    model: &'a ApiModel,
    buckets: Buckets,
    /// When each beginning of prompts was used last.
    cached: BTreeMap<u64, u64>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Everything random in it.
    pub draw: u64,
    /// Tokens of the prompt.
    pub input: u32,
    /// Tokens of the answer.
    pub output: u32,
    /// The beginning of the prompt that others share: its name and its tokens.
    pub shared: Option<(u64, u32)>,
}

impl<'a> Api<'a> {
    /// An API that nobody has used yet.
    pub fn new(model: &'a ApiModel) -> Self {
        Self { model, buckets: model.buckets.clone(), cached: BTreeMap::new() }
    }

    /// Sends a request at `now_us`. It reaches the server after half the round trip; as that is drawn per request, and
    /// requests must reach the buckets in order, these see it at the time at which it is sent.
    pub(crate) fn send(&mut self, now_us: u64, ask: &Ask) -> Answer {
        let model = self.model;
        let part = |purpose: u64| chance::combine(ask.draw, purpose);
        let round_trip_us = model.round_trip.us(part(1));
        let slower = match model.outage(now_us) {
            Some(OutageSpec { slower: None, .. }) => return Answer::Failed { at_us: now_us + round_trip_us },
            Some(OutageSpec { slower: Some(slower), .. }) => *slower,
            None => 1.0,
        };
        if let Err(wait_us) = self.buckets.arrive(now_us, u64::from(ask.input)) {
            let retry_after_us = model.retry_after.then_some(wait_us);
            return Answer::RateLimited { at_us: now_us + round_trip_us, retry_after_us };
        }
        if model.fail > 0.0 && unit(part(2)) < model.fail {
            self.buckets.end(now_us, 0);
            return Answer::Failed { at_us: now_us + round_trip_us };
        }
        let cached = self.read_cache(now_us, ask.shared);
        let fresh = ask.input.saturating_sub(cached);
        let ttft_us = model.ttft.real(part(3)) * 1e6 + model.ttft_us_per_token * f64::from(fresh);
        let rest = f64::from(ask.output.saturating_sub(1));
        let rest_us = if rest > 0.0 { rest / model.tokens_per_s.real(part(4)) * 1e6 } else { 0.0 };
        let begin_us = match model.batch_window_us {
            Some(window) => now_us.div_ceil(window) * window,
            None => now_us,
        };
        let first_us = begin_us + round_trip_us + whole_us(ttft_us * slower);
        Answer::Tokens { first_us, done_us: first_us + whole_us(rest_us * slower), cached }
    }

    /// Whether it fails or is slower now.
    pub fn is_impaired(&self, now_us: u64) -> bool {
        self.model.outage(now_us).is_some()
    }

    /// A request that was answered with tokens ends.
    pub fn end(&mut self, now_us: u64, output: u32) {
        self.buckets.end(now_us, u64::from(output));
    }

    fn read_cache(&mut self, now_us: u64, shared: Option<(u64, u32)>) -> u32 {
        let (Some(cache), Some((name, tokens))) = (self.model.cache, shared) else { return 0 };
        let used = self.cached.insert(name, now_us);
        let is_kept = used.is_some_and(|used_us| now_us.saturating_sub(used_us) <= cache.ttl_us);
        if is_kept { cached_tokens(tokens, cache.min_tokens, cache.step_tokens) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use lumos_core::spec::DistSpec;

    use super::*;

    fn ask(input: u32, output: u32) -> Ask {
        Ask { draw: 7, input, output, shared: Some((1, 100)) }
    }

    #[test]
    fn times_add_up_and_the_cache_expires() {
        let model = ApiModel::new(&ApiSpec {
            round_trip_s: DistSpec::Fixed(0.1),
            ttft_s: DistSpec::Fixed(0.3),
            ttft_s_per_1k: 1.0,
            tokens_per_s: DistSpec::Fixed(50.0),
            cache_ttl_s: Some(60.0),
            ..ApiSpec::default()
        });
        let mut api = Api::new(&model);
        let tokens = |first_us, done_us, cached| Answer::Tokens { first_us, done_us, cached };
        assert_eq!(api.send(0, &ask(200, 101)), tokens(600_000, 2_600_000, 0));
        assert_eq!(api.send(60_000_000, &ask(200, 1)), tokens(60_500_000, 60_500_000, 100));
        assert_eq!(api.send(120_000_001, &ask(200, 1)), tokens(120_600_001, 120_600_001, 0));
    }

    #[test]
    fn short_prompts_are_not_cached() {
        let model = |cache_min_tokens| {
            let cached = ApiSpec { cache_ttl_s: Some(60.0), cache_step_tokens: Some(16), ..ApiSpec::default() };
            ApiModel::new(&ApiSpec { cache_min_tokens, ..cached })
        };
        for (min_tokens, expected) in [(None, 96), (Some(64), 96), (Some(100), 100), (Some(101), 0)] {
            let model = model(min_tokens);
            let mut api = Api::new(&model);
            api.send(0, &ask(200, 1));
            let answer = api.send(1, &ask(200, 1));
            assert!(
                matches!(answer, Answer::Tokens { cached, .. } if cached == expected),
                "{min_tokens:?}: {answer:?}"
            );
        }
    }

    #[test]
    fn outages_fail_and_brown_outs_slow_down() {
        let outage = |from_s, slower| OutageSpec { from_s, for_s: 10.0, slower };
        let model = ApiModel::new(&ApiSpec {
            ttft_s: DistSpec::Fixed(1.0),
            outages: vec![outage(10.0, None), outage(20.0, Some(3.0))],
            ..ApiSpec::default()
        });
        let mut api = Api::new(&model);
        let done = |us| Answer::Tokens { first_us: us, done_us: us, cached: 0 };
        assert_eq!(api.send(9_999_999, &ask(1, 1)), done(10_999_999));
        assert_eq!(api.send(10_000_000, &ask(1, 1)), Answer::Failed { at_us: 10_000_000 });
        assert_eq!(api.send(20_000_000, &ask(1, 1)), done(23_000_000));
    }
}
