//! Quantities that vary: each is a function of a draw of `lumos_core::chance`, so it does not depend on the order of events.

use lumos_core::chance::{mix, unit};
use lumos_core::spec::DistSpec;
use rand::RngCore;
use rand_distr::{Distribution, Exp1, Gamma, LogNormal};

/// SplitMix64 (Steele, Lea, Flood 2014) as a source of random numbers.
#[derive(Debug, Clone)]
pub struct Stream(u64);

impl Stream {
    /// The stream of a draw.
    pub fn new(draw: u64) -> Self {
        Self(draw)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// An exponentially distributed number with mean 1.
    pub fn exponential(&mut self) -> f64 {
        Exp1.sample(self)
    }
}

impl RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        // `mix` adds the increment of SplitMix64 itself.
        let value = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        rand::rand_core::impls::fill_bytes_via_next(self, bytes);
    }
}

/// The longest time that is drawn, in microseconds: 30,000 years.
const ETERNITY_US: f64 = 1e18;

/// A time as whole microseconds, of which some can be added up.
pub(crate) fn whole_us(us: f64) -> u64 {
    us.round().min(ETERNITY_US) as u64
}

/// A quantity that varies, ready to be drawn.
#[derive(Debug, Clone)]
pub struct Quantity(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Fixed(f64),
    Uniform(f64, f64),
    Exponential(f64),
    Gamma(Gamma<f64>),
    LogNormal(LogNormal<f64>),
    /// By the logarithm of the chance to go on; `None` never goes on.
    Geometric(Option<f64>),
    Samples(Box<[f64]>),
}

impl Quantity {
    /// The quantity that a scenario describes; what no distribution can be made of, which no checked scenario has, does not
    /// vary.
    pub fn new(spec: &DistSpec) -> Self {
        let fixed = || Kind::Fixed(spec.mean());
        Self(match spec {
            DistSpec::Fixed(value) => Kind::Fixed(*value),
            DistSpec::Uniform { min, max } => Kind::Uniform(*min, *max),
            DistSpec::Exponential { mean } => Kind::Exponential(*mean),
            // Shape and scale by the moments.
            DistSpec::Gamma { mean, cv } => {
                Gamma::new(1.0 / (cv * cv), mean * cv * cv).map_or_else(|_| fixed(), Kind::Gamma)
            }
            DistSpec::LogNormal { mean, cv } if *mean > 0.0 => {
                let variance = (1.0 + cv * cv).ln();
                LogNormal::new(mean.ln() - variance / 2.0, variance.sqrt()).map_or_else(|_| fixed(), Kind::LogNormal)
            }
            DistSpec::LogNormal { .. } => fixed(),
            DistSpec::Geometric { mean } => Kind::Geometric((*mean > 1.0).then(|| (1.0 - 1.0 / mean).ln())),
            DistSpec::Samples(samples) if samples.is_empty() => fixed(),
            DistSpec::Samples(samples) => Kind::Samples(samples.as_slice().into()),
        })
    }

    /// A value that does not vary.
    pub fn fixed(value: f64) -> Self {
        Self(Kind::Fixed(value))
    }

    /// A real number.
    pub fn real(&self, draw: u64) -> f64 {
        match &self.0 {
            Kind::Fixed(value) => *value,
            Kind::Uniform(min, max) => min + (max - min) * unit(draw),
            Kind::Exponential(mean) => mean * Stream::new(draw).exponential(),
            Kind::Gamma(gamma) => gamma.sample(&mut Stream::new(draw)),
            Kind::LogNormal(normal) => normal.sample(&mut Stream::new(draw)),
            Kind::Geometric(None) => 1.0,
            Kind::Geometric(Some(log)) => 1.0 + ((1.0 - unit(draw)).ln() / log).floor(),
            Kind::Samples(samples) => samples[(unit(draw) * samples.len() as f64) as usize % samples.len()],
        }
    }

    /// A whole number: a length, a width, rounds.
    pub fn count(&self, draw: u64) -> u32 {
        match &self.0 {
            // Both ends are as likely as what lies between.
            Kind::Uniform(min, max) => (min + ((max - min + 1.0) * unit(draw)).floor()).min(*max) as u32,
            _ => self.real(draw).round() as u32,
        }
    }

    /// Seconds as microseconds; an eternity is cut to one of which some can be added up.
    pub fn us(&self, draw: u64) -> u64 {
        whole_us(self.real(draw) * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(spec: DistSpec) -> (f64, f64) {
        let quantity = Quantity::new(&spec);
        let count = 200_000u64;
        let draws: Vec<f64> = (0..count).map(|key| quantity.real(mix(key))).collect();
        let mean = draws.iter().sum::<f64>() / count as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / count as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn draws_have_the_moments_that_were_asked_for() {
        for (spec, mean, cv) in [
            (DistSpec::Fixed(3.0), 3.0, 0.0),
            (DistSpec::Uniform { min: 0.0, max: 6.0 }, 3.0, 1.0 / 3f64.sqrt()),
            (DistSpec::Exponential { mean: 2.0 }, 2.0, 1.0),
            (DistSpec::Gamma { mean: 5.0, cv: 0.5 }, 5.0, 0.5),
            (DistSpec::Gamma { mean: 5.0, cv: 2.0 }, 5.0, 2.0),
            (DistSpec::LogNormal { mean: 4.0, cv: 0.7 }, 4.0, 0.7),
            (DistSpec::Geometric { mean: 4.0 }, 4.0, (0.75f64 * 16.0).sqrt() / 4.0),
            (DistSpec::Samples(vec![1.0, 2.0, 3.0, 4.0]), 2.5, 1.25f64.sqrt() / 2.5),
        ] {
            let (got_mean, got_cv) = moments(spec.clone());
            assert!((got_mean / mean - 1.0).abs() < 0.02, "{spec:?}: mean {got_mean}");
            assert!((got_cv - cv).abs() < 0.03 * (1.0 + cv), "{spec:?}: cv {got_cv}");
        }
    }

    #[test]
    fn whole_numbers_reach_both_ends_evenly() {
        let quantity = Quantity::new(&DistSpec::Uniform { min: 2.0, max: 4.0 });
        let mut seen = [0u32; 5];
        for key in 0..30_000 {
            seen[quantity.count(mix(key)) as usize] += 1;
        }
        assert!(seen[..2] == [0, 0] && seen[2..].iter().all(|count| (9_500..10_500).contains(count)), "{seen:?}");
    }
}
