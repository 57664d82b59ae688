//! What requests that are made at the same time show of the batch that they were in.

use super::Sample;

/// The time of iterations in which nothing but decoding happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Decode {
    /// Sequences that decoded.
    pub sequences: f64,
    /// Tokens that they held in the KV cache, together, on average.
    pub kv_tokens: f64,
    /// Microseconds of an iteration.
    pub iteration_us: f64,
}

/// The most requests of which tokens came at the same time.
pub(in super::super) fn served_at_once(samples: &[Sample]) -> u32 {
    let mut changes: Vec<(u64, i32)> =
        samples.iter().flat_map(|sample| [(sample.first_us, 1), (sample.done_us, -1)]).collect();
    // Who ends makes room for who begins at the same time.
    changes.sort_unstable();
    let mut now = 0;
    changes.into_iter().fold(0, |most, (_, change)| {
        now += change;
        most.max(now)
    }) as u32
}

/// Iterations of single requests, the median of each pair of lengths.
pub(in super::super) fn alone(samples: &[Sample]) -> Vec<Decode> {
    let decodes = samples.iter().filter(|sample| sample.output >= 4).filter_map(|sample| {
        let kv_tokens = f64::from(sample.input) + f64::from(sample.output) / 2.0;
        Some(Decode { sequences: 1.0, kv_tokens, iteration_us: sample.tpot_us()? })
    });
    decodes.collect()
}

/// The iterations of a burst in which all of its requests decoded; `None` when there were too few.
pub(in super::super) fn window(samples: &[Sample]) -> Option<Decode> {
    let from = samples.iter().map(|sample| sample.first_us).max()?;
    let until = samples.iter().map(|sample| sample.done_us).min()?;
    if from >= until {
        return None;
    }
    let mut kv_tokens = 0.0;
    let mut tokens = 0.0;
    for sample in samples {
        let (first, last) = (tokens_at(sample, from), tokens_at(sample, until));
        kv_tokens += f64::from(sample.input) + f64::midpoint(first, last);
        tokens += last - first;
    }
    let iterations = tokens / samples.len() as f64;
    let iteration_us = (until - from) as f64 / iterations;
    (iterations >= 4.0).then_some(Decode { sequences: samples.len() as f64, kv_tokens, iteration_us })
}

/// Tokens that a request had at a time, between its pieces in proportion. Servers may send several tokens in one piece and
/// none of the last; the first and the last are known from the report.
fn tokens_at(sample: &Sample, at_us: u64) -> f64 {
    let mut known: Vec<(u64, f64)> = vec![(sample.first_us, 1.0)];
    let within = |(at_us, tokens): &&(u64, u64)| {
        *at_us > sample.first_us && *at_us < sample.done_us && *tokens > 1 && *tokens < u64::from(sample.output)
    };
    known.extend(sample.pieces.iter().filter(within).map(|(at_us, tokens)| (*at_us, *tokens as f64)));
    known.push((sample.done_us, f64::from(sample.output)));
    let next = known.partition_point(|(known_us, _)| *known_us <= at_us);
    match (next.checked_sub(1).map(|last| known[last]), known.get(next)) {
        (Some((before_us, before)), Some((after_us, after))) => {
            let share = (at_us - before_us) as f64 / (after_us - before_us).max(1) as f64;
            before + (after - before) * share
        }
        (Some((_, last)), None) => last,
        (None, _) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(first_us: u64, per_token_us: u64, output: u32) -> Sample {
        let done_us = first_us + per_token_us * u64::from(output - 1);
        let pieces = (0..output).map(|n| (first_us + per_token_us * u64::from(n), u64::from(n) + 1)).collect();
        Sample { asked_us: 0, first_us, done_us, input: 100, output, prescribed: 0, pieces }
    }

    #[test]
    fn requests_that_wait_for_each_other_are_served_one_at_a_time() {
        assert_eq!(served_at_once(&[sample(10, 5, 10), sample(55, 5, 10)]), 1);
        assert_eq!(served_at_once(&[sample(10, 5, 10), sample(30, 5, 10), sample(40, 5, 4)]), 3);
    }

    #[test]
    fn a_window_is_where_all_decode() {
        let found = window(&[sample(1000, 100, 50), sample(2000, 100, 50)]).unwrap();
        assert!((found.iteration_us - 100.0).abs() < 1e-9, "{found:?}");
        // From 2,000 to 5,900: 11 to 50 tokens of the one, 1 to 40 of the other.
        assert!((found.kv_tokens - (200.0 + 30.5 + 20.5)).abs() < 1e-9, "{found:?}");
        assert_eq!(window(&[sample(0, 10, 10), sample(90, 10, 10)]), None);
    }
}
