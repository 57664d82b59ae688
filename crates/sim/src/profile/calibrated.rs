//! A profile that was measured on a running backend: few coefficients, with the error that they were found to have.

use lumos_core::spec::Quantization;
use serde::{Deserialize, Serialize};

use super::{ChoiceTimes, Way};
use crate::iteration::{Affine, Batch, IterationTime};
use crate::replica::ReplicaSpec;

const PS_PER_US: f64 = 1e6;

/// Tokens of a block of the KV cache, where a server has blocks at all.
const BLOCK_TOKENS: u32 = 16;

/// A measured profile, as `lumos calibrate` writes it to `profiles/*.ron`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Profile", deny_unknown_fields)]
pub struct Calibrated {
    /// Name in results.
    pub name: String,
    /// What was measured: the model, the server and the machine, in words.
    pub of: String,
    /// The day on which it was measured, as YYYY-MM-DD.
    pub measured_on: String,
    /// Format of the weights, where known.
    #[serde(default)]
    pub quantization: Option<Quantization>,
    /// Microseconds of an iteration, whatever is in it.
    pub iteration_us: f64,
    /// Microseconds that each generating sequence adds.
    pub sequence_us: f64,
    /// Microseconds of an iteration in which so many sequences generate, the KV cache apart: where any do, in place of
    /// `iteration_us` and `sequence_us`. Ascending; other numbers in proportion to the two beside them, with `iteration_us` for
    /// none. Servers have kernels for some numbers, so two sequences may take more than twice as long as one.
    #[serde(default)]
    pub decode_us: Vec<(u32, f64)>,
    /// Microseconds that each prompt in an iteration adds, whatever its length; one that is cut adds them for each part.
    #[serde(default)]
    pub prompt_us: f64,
    /// Microseconds that each token of a prompt adds.
    pub prompt_token_us: f64,
    /// Nanoseconds that each pair of a prompt's tokens adds: attention.
    pub prompt_pair_ns: f64,
    /// Nanoseconds that each token in the KV cache adds to an iteration that generates.
    pub kv_token_ns: f64,
    /// Microseconds of a request beside its iterations, in which others are served: network, tokenizing.
    pub request_us: f64,
    /// What it takes to choose tokens otherwise than the most probable one of all.
    #[serde(default)]
    pub choosing: ChoiceTimes,
    /// How many times as long as by this profile the requests took of which a recheck makes the same later; `None`: not known,
    /// and taken as once.
    #[serde(default)]
    pub recheck_factor: Option<f64>,
    /// Sequences that the server serves at the same time.
    pub max_seqs: u32,
    /// Tokens of an iteration.
    pub max_batched_tokens: u32,
    /// Tokens that fit into the KV cache.
    pub kv_tokens: u32,
    /// How far predictions were off on loads that it was not fitted to.
    #[serde(default)]
    pub held_out: Vec<HeldOut>,
}

/// A load that a profile was checked with, and how far off it was: prediction over measurement, less 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// The load in words.
    pub load: String,
    /// Error of the median time to first token, in percent.
    pub ttft_p50_percent: f64,
    /// Error of its 95th percentile, in percent.
    pub ttft_p95_percent: f64,
    /// Error of the mean time per output token, in percent.
    pub tpot_percent: f64,
    /// Error of the median time of a request, in percent.
    pub latency_p50_percent: f64,
    /// Error of its 95th percentile, in percent.
    pub latency_p95_percent: f64,
}

impl Calibrated {
    /// Reads a profile.
    ///
    /// # Errors
    /// What is wrong with it, with its place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let profile: Self = options.from_str(text).map_err(|error| error.to_string())?;
        match profile.problem() {
            Some(problem) => Err(problem),
            None => Ok(profile),
        }
    }

    fn problem(&self) -> Option<String> {
        let times = [
            ("iteration_us", self.iteration_us),
            ("sequence_us", self.sequence_us),
            ("prompt_us", self.prompt_us),
            ("prompt_token_us", self.prompt_token_us),
            ("prompt_pair_ns", self.prompt_pair_ns),
            ("kv_token_ns", self.kv_token_ns),
            ("request_us", self.request_us),
        ];
        if let Some((name, time)) = times.iter().find(|(_, time)| !(time.is_finite() && *time >= 0.0)) {
            return Some(format!("`{name}` is {time}: times are not negative"));
        }
        if let Some(factor) = self.recheck_factor.filter(|factor| !(factor.is_finite() && *factor > 0.0)) {
            return Some(format!("`recheck_factor` is {factor}: requests take some of the time that a profile says"));
        }
        for way in Way::ALL {
            let times = self.choosing.way(way).map(|time| [("first_us", time.first_us), ("token_us", time.token_us)]);
            let wrong = times.and_then(|times| times.into_iter().find(|(_, us)| !(us.is_finite() && *us >= 0.0)));
            if let Some((field, us)) = wrong {
                return Some(format!("`choosing.{}.{field}` is {us}: times are not negative", way.name()));
            }
        }
        let counts = std::iter::once(0).chain(self.decode_us.iter().map(|(count, _)| *count));
        if counts.zip(&self.decode_us).any(|(before, (count, us))| before >= *count || !(us.is_finite() && *us >= 0.0))
        {
            return Some(
                "`decode_us` is a list of (sequences, microseconds): ascending from 1, no time negative".to_owned(),
            );
        }
        let limits = [
            ("max_seqs", self.max_seqs),
            ("max_batched_tokens", self.max_batched_tokens),
            ("kv_tokens", self.kv_tokens / BLOCK_TOKENS),
        ];
        let zero = limits.iter().find(|(_, limit)| *limit == 0);
        zero.map(|(name, _)| format!("`{name}` leaves nothing to serve with"))
    }

    /// The profile as a file.
    pub fn to_ron(&self) -> String {
        let config = ron::ser::PrettyConfig::new()
            .struct_names(true)
            .extensions(ron::extensions::Extensions::IMPLICIT_SOME)
            .compact_arrays(false);
        // Numbers, texts and lists of them can always be written.
        let text = ron::ser::to_string_pretty(self, config).unwrap_or_default();
        let body = text.strip_prefix("#![enable(implicit_some)]\n").unwrap_or(&text);
        format!("// Written by `lumos calibrate`.\n{body}\n")
    }

    /// Microseconds of an iteration without prompts in which so many sequences generate that hold `kv_tokens` in the cache,
    /// together.
    pub fn decode_iteration_us(&self, sequences: u32, kv_tokens: f64) -> f64 {
        self.without_cache_us(sequences) + self.kv_token_ns / 1e3 * kv_tokens
    }

    fn without_cache_us(&self, sequences: u32) -> f64 {
        let Some(last) = self.decode_us.len().checked_sub(1).filter(|_| sequences > 0) else {
            return self.iteration_us + self.sequence_us * f64::from(sequences);
        };
        let at = self.decode_us.partition_point(|(count, _)| *count < sequences).min(last);
        let (before, from_us) = at.checked_sub(1).map_or((0, self.iteration_us), |before| self.decode_us[before]);
        let (after, to_us) = self.decode_us[at];
        let each_us = (to_us - from_us) / f64::from(after - before);
        // Beyond the last nothing gets faster.
        let each_us = if sequences > after { each_us.max(0.0) } else { each_us };
        to_us + each_us * (f64::from(sequences) - f64::from(after))
    }

    /// Tokens per second of so many sequences that each hold `kv_tokens` in the cache.
    pub fn tokens_per_s(&self, sequences: u32, kv_tokens: u32) -> f64 {
        let held = f64::from(sequences) * f64::from(kv_tokens);
        f64::from(sequences) * 1e6 / self.decode_iteration_us(sequences, held)
    }

    /// Limits of a replica with this profile.
    pub fn replica(&self) -> ReplicaSpec {
        ReplicaSpec {
            max_num_seqs: self.max_seqs,
            max_num_batched_tokens: self.max_batched_tokens.max(self.max_seqs),
            ..ReplicaSpec::vllm(self.kv_tokens / BLOCK_TOKENS)
        }
    }
}

impl IterationTime for Calibrated {
    fn affine(&self, batch: &Batch) -> Affine {
        let us = self.without_cache_us(batch.decodes)
            + self.prompt_us * f64::from(batch.chunks)
            + self.prompt_token_us * f64::from(batch.chunk_tokens)
            + self.prompt_pair_ns / 1e3 * batch.chunk_pairs as f64;
        Affine {
            base_ps: ((us * PS_PER_US).round() as u64).max(1),
            per_kv_token_ps: if batch.decodes > 0 { (self.kv_token_ns * 1e3).round() as u64 } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChoiceTime;
    use super::*;

    fn profile(decode_us: &str) -> Result<Calibrated, String> {
        Calibrated::parse(&format!(
            r#"Profile(
                name: "small", of: "a test", measured_on: "2026-11-28", iteration_us: 10, sequence_us: 5, {decode_us}
                prompt_us: 3, prompt_token_us: 1, prompt_pair_ns: 0, kv_token_ns: 1000, request_us: 0,
                max_seqs: 8, max_batched_tokens: 64, kv_tokens: 64,
            )"#
        ))
    }

    #[test]
    fn an_iteration_takes_what_its_sequences_were_measured_to_take() {
        let linear = profile("").unwrap();
        assert_eq!([0, 1, 3].map(|count| linear.decode_iteration_us(count, 0.0)), [10.0, 15.0, 25.0]);
        let measured = profile("decode_us: [(1, 20), (2, 50), (4, 40)],").unwrap();
        let found = [0, 1, 2, 3, 4, 6].map(|count| measured.decode_iteration_us(count, 2.0));
        assert_eq!(found, [12.0, 22.0, 52.0, 47.0, 42.0, 42.0]);
        let rising = profile("decode_us: [(2, 30)],").unwrap();
        assert_eq!([1, 2, 4].map(|count| rising.decode_iteration_us(count, 0.0)), [20.0, 30.0, 50.0]);
        let batch = Batch { decodes: 2, chunks: 2, chunk_tokens: 7, ..Batch::default() };
        assert_eq!(measured.affine(&batch), Affine { base_ps: 63_000_000, per_kv_token_ps: 1_000_000 });
        assert_eq!(measured.tokens_per_s(4, 10), 4e6 / 80.0);
        assert_eq!(Calibrated::parse(&measured.to_ron()), Ok(measured));
    }

    #[test]
    fn what_choosing_takes_is_not_negative() {
        let with = |times: &str| profile(&format!("choosing: (constrained: {times}),"));
        let known = with("(first_us: 5, token_us: 2)").unwrap();
        assert_eq!(known.choosing.constrained, Some(ChoiceTime { first_us: 5.0, token_us: 2.0 }));
        assert_eq!(Calibrated::parse(&known.to_ron()), Ok(known));
        let error = with("(first_us: 5, token_us: -2)").unwrap_err();
        assert_eq!(error, "`choosing.constrained.token_us` is -2: times are not negative");
    }

    #[test]
    fn requests_of_a_recheck_took_some_time() {
        let known = profile("recheck_factor: 0.96,").unwrap();
        assert_eq!(known.recheck_factor, Some(0.96));
        assert_eq!(Calibrated::parse(&known.to_ron()), Ok(known));
        for wrong in ["0", "-1", "inf"] {
            let error = profile(&format!("recheck_factor: {wrong},")).unwrap_err();
            assert!(error.starts_with("`recheck_factor` is"), "{error}");
        }
    }

    #[test]
    fn numbers_of_sequences_ascend_and_times_are_not_negative() {
        for wrong in ["[(0, 1)]", "[(2, 1), (2, 3)]", "[(2, 1), (1, 3)]", "[(1, -1)]", "[(1, inf)]"] {
            let error = profile(&format!("decode_us: {wrong},")).unwrap_err();
            assert!(error.starts_with("`decode_us` is a list"), "{error}");
        }
    }
}
