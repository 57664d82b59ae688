//! Closed forms of kernels' times, with coefficients fitted to measurements or taken from rated peaks.
//!
//! Times are microseconds, rates are per second, and every coefficient `memory` or `compute` is how many times longer
//! than at the rated peak the work takes. benches/serving/fit.py fits the same forms.

use serde::Deserialize;

/// How far a fitted form is off the rows that it was fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitError {
    /// Mean absolute error in percent.
    pub mean_pct: f64,
    /// Median absolute error in percent.
    pub median_pct: f64,
    /// Rows.
    pub rows: u32,
}

/// The larger of two times, rounded off where they are close: memory and arithmetic overlap, but not perfectly.
fn overlapped(a: f64, b: f64, power: f64) -> f64 {
    (a.powf(power) + b.powf(power)).powf(1.0 / power)
}

/// A product of an `m × k` matrix with `k × n` weights.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gemm {
    /// Launch and drain.
    pub fixed_us: f64,
    /// For each 1024 of `k`: a block walks through it in sequence.
    pub per_k_us: f64,
    /// Memory traffic against the rated bandwidth.
    pub memory: f64,
    /// Arithmetic against the rated peak.
    pub compute: f64,
    /// Rows that fewer rows take the time of.
    pub rows: f64,
    /// Added to `n` in the arithmetic.
    pub n_half: f64,
    /// Added to `k` in the arithmetic.
    pub k_half: f64,
    /// How sharply the slower of memory and arithmetic wins.
    pub power: f64,
    /// Factors at 1, 2, 4, … rows, interpolated in the logarithm of the rows. Empty: 1.
    #[serde(default)]
    pub correction: Vec<f64>,
    /// How well it fits; absent where it is estimated.
    #[serde(default)]
    pub error: Option<FitError>,
}

/// The rated peaks that a form is relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Bytes per second.
    pub bandwidth: f64,
    /// Floating-point operations per second, in the precision of the product.
    pub flops: f64,
}

const US: f64 = 1e6;

impl Gemm {
    /// Microseconds of one product; `weight_bytes` and `activation_bytes` per number. The result is in 16 bits.
    pub fn time_us(&self, [m, n, k]: [f64; 3], weight_bytes: f64, activation_bytes: f64, peak: Peak) -> f64 {
        let moved = n * k * weight_bytes + m * k * activation_bytes + 2.0 * m * n;
        let memory = self.memory * moved / peak.bandwidth * US;
        let rows = (m.powi(4) + self.rows.powi(4)).powf(0.25);
        let compute = self.compute * 2.0 * rows * (n + self.n_half) * (k + self.k_half) / peak.flops * US;
        let plain = self.fixed_us + self.per_k_us * k / 1024.0 + overlapped(memory, compute, self.power);
        plain * self.corrected(m)
    }

    fn corrected(&self, m: f64) -> f64 {
        let Some(last) = self.correction.len().checked_sub(1) else { return 1.0 };
        let at = m.log2().clamp(0.0, last as f64);
        let below = (at.floor() as usize).min(last);
        let above = (below + 1).min(last);
        let share = at - below as f64;
        // Interpolated as the fit does it: in the logarithm.
        (self.correction[below].ln() * (1.0 - share) + self.correction[above].ln() * share).exp()
    }
}

/// Attention of prompts' chunks, one layer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefill {
    /// Launch and drain.
    pub fixed_us: f64,
    /// Picoseconds for each token and each number of its query heads.
    pub per_token_ps: f64,
    /// Picoseconds for each token and each number of its key and value heads.
    pub per_cached_ps: f64,
    /// Picoseconds for each pair of a query and a key and each number of the query heads.
    pub per_pair_ps: f64,
    /// How well it fits; absent where it is estimated.
    #[serde(default)]
    pub error: Option<FitError>,
}

impl Prefill {
    /// Microseconds for `tokens` that make `pairs`, where `query` and `cached` are the widths of the heads together.
    pub fn time_us(&self, tokens: f64, pairs: f64, query: f64, cached: f64) -> f64 {
        let per_token = self.per_token_ps * query + self.per_cached_ps * cached;
        self.fixed_us + (per_token * tokens + self.per_pair_ps * pairs * query) / US
    }
}

/// Attention of generating sequences, one layer: affine in what they hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// Launch and drain.
    pub fixed_us: f64,
    /// Picoseconds for each sequence and each number of its query heads.
    pub per_head_ps: f64,
    /// Picoseconds for each sequence and each number of its key and value heads.
    pub per_kv_head_ps: f64,
    /// Reading the cache against the rated bandwidth.
    pub memory: f64,
    /// How well it fits; absent where it is estimated.
    #[serde(default)]
    pub error: Option<FitError>,
}

impl Decode {
    /// Microseconds of a batch of sequences that hold nothing.
    pub fn base_us(&self, sequences: f64, query: f64, cached: f64) -> f64 {
        self.fixed_us + (self.per_head_ps * query + self.per_kv_head_ps * cached) * sequences / US
    }

    /// Microseconds for each token that they hold.
    pub fn per_token_us(&self, cached: f64, bytes: f64, bandwidth: f64) -> f64 {
        self.memory * 2.0 * cached * bytes / bandwidth * US
    }
}

/// The experts of one layer, both products and the activation between them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertsKernel {
    /// Routing, launches and drain.
    pub fixed_us: f64,
    /// Reading the visited experts' weights against the rated bandwidth.
    pub memory: f64,
    /// For each root of a microsecond that this reading would take: little work keeps few units busy.
    #[serde(default)]
    pub spread: f64,
    /// Arithmetic against the rated peak.
    pub compute: f64,
    /// Rows that each visited expert takes besides its own: tiles are whole.
    pub per_expert: f64,
    /// Picoseconds for each token's visit and each number of its hidden state: gathering and adding up.
    pub per_row_ps: f64,
    /// How sharply the slower of memory and arithmetic wins.
    pub power: f64,
    /// How well it fits; absent where it is estimated.
    #[serde(default)]
    pub error: Option<FitError>,
}

/// The experts of a layer as one GPU holds them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shard {
    /// Experts of the layer.
    pub count: f64,
    /// Experts on this GPU.
    pub local: f64,
    /// Experts that a token visits.
    pub active: f64,
    /// Width of the hidden state.
    pub hidden: f64,
    /// Width of an expert on this GPU.
    pub intermediate: f64,
    /// Bytes per weight.
    pub weight_bytes: f64,
    /// Share of a batch's tokens that choose their experts independently of each other: what texts have in common, their
    /// tokens' experts have too.
    pub independent: f64,
}

impl ExpertsKernel {
    /// Microseconds for `tokens`.
    pub fn time_us(&self, tokens: f64, shard: &Shard, peak: Peak) -> f64 {
        let choices = 1.0 + (tokens - 1.0) * shard.independent;
        let visited = shard.local * (1.0 - (1.0 - shard.active / shard.count).powf(choices));
        let rows = tokens * shard.active * shard.local / shard.count;
        let weights = 3.0 * shard.hidden * shard.intermediate;
        let read = visited * weights * shard.weight_bytes / peak.bandwidth * US;
        let memory = self.memory * read + self.spread * read.sqrt();
        let compute = self.compute * 2.0 * weights * (rows + self.per_expert * visited) / peak.flops * US;
        self.fixed_us + self.per_row_ps * rows * shard.hidden / US + overlapped(memory, compute, self.power)
    }
}

/// The sum of a message over the GPUs of a replica.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduce {
    /// GPUs that take part.
    pub gpus: u32,
    /// Synchronisation.
    pub fixed_us: f64,
    /// Bytes of the message per microsecond, in the limit.
    pub bytes_per_us: f64,
    /// How sharply the slower of the two wins.
    pub power: f64,
    /// How well it fits; absent where it is estimated.
    #[serde(default)]
    pub error: Option<FitError>,
}

impl AllReduce {
    /// Microseconds for a message of `bytes`.
    pub fn time_us(&self, bytes: f64) -> f64 {
        overlapped(self.fixed_us, bytes / self.bytes_per_us, self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gemm() -> Gemm {
        Gemm {
            fixed_us: 3.0,
            per_k_us: 0.0,
            memory: 1.25,
            compute: 1.0,
            rows: 0.0,
            n_half: 0.0,
            k_half: 0.0,
            power: 16.0,
            correction: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn one_row_takes_the_time_of_reading_the_weights_and_many_take_the_arithmetic() {
        let peak = Peak { bandwidth: 1e12, flops: 1e14 };
        let one = gemm().time_us([1.0, 4096.0, 4096.0], 2.0, 2.0, peak);
        assert!((one - 3.0 - 1.25 * 33.57).abs() < 0.1, "{one}");
        let many = gemm().time_us([8192.0, 4096.0, 4096.0], 2.0, 2.0, peak);
        assert!((many - 3.0 - 2748.8).abs() < 0.1, "{many}");
    }

    #[test]
    fn the_correction_is_interpolated_between_powers_of_two_and_flat_beyond() {
        let form = Gemm { correction: vec![1.0, 1.0, 4.0], ..gemm() };
        let at = |m| form.corrected(m);
        assert!((at(2.0) - 1.0).abs() < 1e-12 && (at(8f64.sqrt()) - 2.0).abs() < 1e-12);
        assert!((at(1000.0) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn few_tokens_visit_few_experts() {
        let kernel = ExpertsKernel {
            fixed_us: 0.0,
            memory: 1.0,
            spread: 0.0,
            compute: 0.0,
            per_expert: 0.0,
            per_row_ps: 0.0,
            power: 1.0,
            error: None,
        };
        let shard = Shard {
            count: 128.0,
            local: 128.0,
            active: 8.0,
            hidden: 1000.0,
            intermediate: 1000.0,
            weight_bytes: 1.0,
            independent: 0.5,
        };
        let peak = Peak { bandwidth: 3e12, flops: 1e15 };
        let time = |tokens| kernel.time_us(tokens, &shard, peak);
        assert!((time(1.0) - 8.0).abs() < 1e-9, "{}", time(1.0));
        assert!((time(3.0) - 15.5).abs() < 1e-9, "{}", time(3.0));
        assert!((time(1e6) - 128.0).abs() < 1e-9, "{}", time(1e6));
    }
}
