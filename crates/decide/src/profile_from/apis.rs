//! How fast APIs were: time to the first token and output speed, as recorded attempts show them.

use indexmap::IndexMap;
use lumos_core::load::Scenario;
use lumos_core::record::{AttemptRecord, RunRecord, Status};
use lumos_core::spec::{ApiSpec, BackendSpec, DistSpec, ServiceSpec};

use super::samples;

/// Fewest attempts that say how fast an API is.
const FEWEST_ATTEMPTS: usize = 10;

/// Fewest output tokens whose pace says anything: the first come in a bunch.
const FEWEST_TOKENS: u64 = 8;

/// What tokens per second may be in a scenario.
const SPEEDS: (f64, f64) = (1e-3, 1e9);

/// Student's t from which on a slope counts as more than chance.
const SURE: f64 = 4.0;

/// Puts what attempts show of the times of each remote backend in the place of what the scenario declares, and leaves its
/// limits, outages and failures as they are. The attempts that it was estimated from, by backend.
pub(super) fn learn(scenario: &mut Scenario, records: &[&RunRecord]) -> IndexMap<String, u64> {
    let mut remote: IndexMap<String, String> = IndexMap::new();
    for deployment in scenario.bundles.iter().filter_map(|bundle| bundle.deployment.as_ref()) {
        for (name, backend) in &deployment.parsed.spec.backends {
            if let BackendSpec::Remote(spec) = backend {
                remote.entry(name.clone()).or_insert_with(|| spec.model.clone());
            }
        }
    }
    let attempts = || records.iter().flat_map(|record| &record.steps).flat_map(|step| &step.attempts);
    let mut learned = IndexMap::new();
    for (name, model) in remote {
        let of = |attempt: &&AttemptRecord| {
            attempt.backend.as_ref() == Some(&name) && attempt.model.as_ref() == Some(&model)
        };
        let declared = match scenario.parsed.spec.services.get(&name) {
            None => ApiSpec::default(),
            Some(ServiceSpec::Api(api)) => api.clone(),
            // Something else stands in its place.
            Some(_) => continue,
        };
        if let Some(api) = estimated(attempts().filter(of), &declared) {
            learned.insert(name.clone(), api.attempts);
            scenario.parsed.spec.services.insert(name, ServiceSpec::Api(api));
        }
    }
    learned
}

/// An API with the times of these attempts; `None` when they are too few.
fn estimated<'r>(attempts: impl Iterator<Item = &'r AttemptRecord>, declared: &ApiSpec) -> Option<ApiSpec> {
    // The network is part of what was measured; what is declared of it is taken off again.
    let round_trip_s = declared.round_trip_s.mean();
    let (mut first, mut speeds) = (Vec::new(), Vec::new());
    for attempt in attempts {
        // What a cache of answers gave says nothing of the API.
        let (Status::Succeeded, None, Some(ttft_us)) = (attempt.status, attempt.saved_usd, attempt.ttft_us) else {
            continue;
        };
        let usage = &attempt.usage;
        let input = usage.input_tokens.unwrap_or(0).saturating_sub(usage.cached_input_tokens.unwrap_or(0));
        first.push((input as f64, (ttft_us as f64 / 1e6 - round_trip_s).max(0.0)));
        let rest_us = attempt.duration_us.saturating_sub(ttft_us);
        let tokens = usage.output_tokens.unwrap_or(0);
        if tokens >= FEWEST_TOKENS && rest_us > 0 {
            let per_s = (tokens - 1) as f64 / (rest_us as f64 / 1e6);
            speeds.push(per_s.clamp(SPEEDS.0, SPEEDS.1));
        }
    }
    if first.len() < FEWEST_ATTEMPTS {
        return None;
    }
    let attempts = first.len() as u64;
    let per_token_s = slope(&first);
    let rest = first.into_iter().map(|(tokens, seconds)| (seconds - per_token_s * tokens).max(0.0));
    Some(ApiSpec {
        round_trip_s: DistSpec::Fixed(round_trip_s),
        ttft_s: samples(rest.collect())?,
        ttft_s_per_1k: per_token_s * 1e3,
        tokens_per_s: samples(speeds).unwrap_or_else(|| declared.tokens_per_s.clone()),
        attempts,
        ..declared.clone()
    })
}

/// By how much one grows with the other (least squares), if it surely does; else 0.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (mut xx, mut xy) = (0.0, 0.0);
    for point in points {
        xx += (point.0 - x).powi(2);
        xy += (point.0 - x) * (point.1 - y);
    }
    if xx <= 0.0 || xy <= 0.0 {
        return 0.0;
    }
    let slope = xy / xx;
    let residual: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    let error = (residual / (count - 2.0).max(1.0) / xx).sqrt();
    if slope >= SURE * error { slope } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use lumos_core::chance::{mix, unit};

    use super::*;

    #[test]
    fn a_slope_is_found_where_there_is_one_and_nowhere_else() {
        let points = |per_token_s: f64| -> Vec<(f64, f64)> {
            let point = |key: u64| {
                let tokens = 2000.0 * unit(mix(key));
                (tokens, 0.3 + 0.2 * unit(mix(key + 1_000_000)) + per_token_s * tokens)
            };
            (0..200).map(point).collect()
        };
        assert!((slope(&points(0.0005)) / 0.0005 - 1.0).abs() < 0.1);
        assert_eq!(slope(&points(0.0)), 0.0);
        assert_eq!(slope(&[(100.0, 0.5); 40]), 0.0);
    }
}
