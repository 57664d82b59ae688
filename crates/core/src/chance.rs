//! Chance without state: every draw is a function of what it is for, so it does not depend on the order of events.

/// What a draw is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The pause before an attempt is made again.
    Backoff = 1,
    /// The seed of a model's sampler or of an agent.
    Sampling = 2,
    /// Whether a simulated condition holds.
    Condition = 3,
    /// The width of a simulated map.
    Width = 4,
    /// The rounds of a simulated loop.
    Rounds = 5,
    /// Whether a simulated answer is accepted.
    Accept = 6,
    /// The branch of a simulated router.
    Branch = 7,
    /// Whether a simulated guard refuses.
    Refusal = 8,
    /// The length of a simulated prompt.
    Input = 9,
    /// The length of a simulated answer.
    Output = 10,
    /// How long simulated work takes.
    Duration = 11,
    /// Whether a simulated attempt fails.
    Failure = 12,
}

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): a bijection of `u64` whose output bits all depend on all input bits.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Folds `next` into a key.
pub fn combine(key: u64, next: u64) -> u64 {
    mix(key ^ mix(next))
}

/// The draw of a run with `seed` for one attempt of the step with `key`.
pub fn draw(seed: u64, key: u64, attempt: u32, purpose: Purpose) -> u64 {
    combine(combine(combine(seed, key), u64::from(attempt)), purpose as u64)
}

/// A draw as a number in `0.0..1.0`.
pub fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_by_each_part_of_their_key() {
        let base = draw(1, 2, 3, Purpose::Backoff);
        let others = [
            draw(2, 2, 3, Purpose::Backoff),
            draw(1, 3, 3, Purpose::Backoff),
            draw(1, 2, 4, Purpose::Backoff),
            draw(1, 2, 3, Purpose::Sampling),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(base, draw(1, 2, 3, Purpose::Backoff));
    }

    #[test]
    fn units_fill_the_interval_evenly() {
        let mean = (0..10_000).map(|key| unit(draw(7, key, 1, Purpose::Sampling))).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
