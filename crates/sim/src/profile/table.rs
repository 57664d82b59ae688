//! The time of an iteration, tabulated: what the simulation asks millions of times.

use super::hardware::Basis;
use super::layers::Layers;
use super::memory::{BLOCK_TOKENS, Memory};
use super::setup::{ProfileError, Setup};
use crate::iteration::{Affine, Batch, IterationTime};
use crate::replica::ReplicaSpec;

const PS: f64 = 1e6;

/// Entries of a table up to which every number has its own.
const EXACT: u32 = 256;
/// Entries for each doubling beyond.
const PER_OCTAVE_BITS: u32 = 6;
/// Bits of the fraction in slopes.
const SLOPE_BITS: u32 = 16;

/// Picoseconds by a count: exact for small counts, linear between 64 points for each doubling beyond.
#[derive(Debug, Clone)]
struct Table {
    exact: Vec<u64>,
    points: Vec<u64>,
}

impl Table {
    /// Tabulates `time_us` from 1 to `most`; 0 takes no time.
    fn new(most: u32, time_us: impl Fn(f64) -> f64) -> Self {
        let ps = |count: u32| (time_us(f64::from(count)) * PS).round() as u64;
        let exact = std::iter::once(0).chain((1..=EXACT.min(most)).map(ps)).collect();
        let mut points = Vec::new();
        if most > EXACT {
            let octaves = most.ilog2() - EXACT.ilog2() + 1;
            for octave in 0..octaves {
                let (first, step) = (EXACT << octave, (EXACT << octave) >> PER_OCTAVE_BITS);
                points.extend((0..1 << PER_OCTAVE_BITS).map(|at| ps(first + at * step)));
            }
            points.push(ps(EXACT << octaves));
        }
        Self { exact, points }
    }

    /// Picoseconds; beyond the table as its last segment goes on.
    fn at(&self, count: u32) -> u64 {
        if let Some(ps) = self.exact.get(count as usize) {
            return *ps;
        }
        if self.points.is_empty() {
            let last = self.exact.len() - 1;
            let slope = self.exact[last] - self.exact[last.saturating_sub(1)].min(self.exact[last]);
            return self.exact[last] + slope * (u64::from(count) - last as u64);
        }
        let octave = count.ilog2() - EXACT.ilog2();
        let step_bits = EXACT.ilog2() + octave - PER_OCTAVE_BITS;
        let segment = (octave << PER_OCTAVE_BITS) + ((count >> step_bits) & ((1 << PER_OCTAVE_BITS) - 1));
        let segment = (segment as usize).min(self.points.len() - 2);
        let start_octave = segment as u32 >> PER_OCTAVE_BITS;
        let start_bits = EXACT.ilog2() + start_octave - PER_OCTAVE_BITS;
        let start = (EXACT << start_octave) + ((segment as u32 & ((1 << PER_OCTAVE_BITS) - 1)) << start_bits);
        let (low, high) = (self.points[segment], self.points[segment + 1]);
        low + ((high.saturating_sub(low) * u64::from(count - start)) >> start_bits)
    }
}

/// A model on some hardware: what its iterations take and what its memory holds.
#[derive(Debug, Clone)]
pub struct Profile {
    tokens: Table,
    output: Table,
    decode: Table,
    iteration_ps: u64,
    sequence_ps: u64,
    prefill_ps: u64,
    launch_ps: u64,
    per_token_fp: u64,
    per_pair_fp: u64,
    sliding: Option<SlidingPrefill>,
    per_kv_token_ps: u64,
    request_ps: u64,
    memory: Memory,
    replica: ReplicaSpec,
    basis: Basis,
}

/// Attention of prompts in layers with a window.
#[derive(Debug, Clone, Copy)]
struct SlidingPrefill {
    window: u64,
    per_pair_fp: u64,
}

impl Profile {
    /// Tabulates a replica's iterations.
    ///
    /// # Errors
    /// A model that cannot be split so, or that does not fit.
    pub fn new(setup: &Setup<'_>) -> Result<Self, ProfileError> {
        setup.validate()?;
        let memory = Memory::new(setup)?;
        let layers = Layers::new(setup);
        let engine = setup.engine;
        let most = setup.max_batched_tokens;
        let ps = |us: f64| (us * PS).round() as u64;
        // Attention of prompts is linear in tokens and pairs; with a window, pairs stop at one window for each token.
        let at = |tokens: f64, pairs: f64| layers.prefill_us(tokens, pairs);
        let fixed = |us: f64| (us * PS * f64::from(1u32 << SLOPE_BITS)).round() as u64;
        let constant = at(0.0, 0.0);
        let slope = |tokens: f64, pairs: f64, per: f64| fixed((at(tokens, pairs) - constant) / per);
        let far = 1e9;
        let all_pairs = slope(far, far, far) - slope(far, 0.0, far).min(slope(far, far, far));
        let (per_pair_fp, sliding) = match setup.model.sliding {
            None => (all_pairs, None),
            Some(window) => {
                let share = f64::from(window.layers) / f64::from(setup.model.layers);
                let windowed = (all_pairs as f64 * share) as u64;
                (all_pairs - windowed, Some(SlidingPrefill { window: window.window.into(), per_pair_fp: windowed }))
            }
        };
        Ok(Self {
            tokens: Table::new(most, |count| layers.tokens_us(count)),
            output: Table::new(setup.max_sequences, |count| layers.output_us(count)),
            decode: Table::new(setup.max_sequences, |count| layers.decode_us(count)),
            iteration_ps: ps(engine.iteration_us),
            sequence_ps: ps(engine.sequence_us),
            prefill_ps: ps(constant),
            launch_ps: ps(layers.launch_us()),
            per_token_fp: slope(far, 0.0, far),
            per_pair_fp,
            sliding,
            per_kv_token_ps: ps(layers.kv_token_us()),
            request_ps: ps(engine.request_us),
            memory,
            replica: ReplicaSpec {
                max_num_batched_tokens: most,
                max_num_seqs: setup.max_sequences,
                block_tokens: BLOCK_TOKENS,
                max_model_len: setup.model.context,
                chunked_prefill: engine.chunked_prefill,
                reserve: engine.reserve,
                schedules_ahead: engine.schedules_ahead,
                ..ReplicaSpec::vllm(u32::try_from(memory.kv_blocks).unwrap_or(u32::MAX))
            },
            basis: layers.basis(),
        })
    }

    /// What each GPU's memory holds.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The replica's scheduler and cache: the engine's way, the setup's limits and the blocks that fit.
    pub fn replica(&self) -> &ReplicaSpec {
        &self.replica
    }

    /// Picoseconds that a request takes besides its iterations, before its first token.
    pub fn request_ps(&self) -> u64 {
        self.request_ps
    }

    /// Whether every part was measured somewhere.
    pub fn basis(&self) -> Basis {
        self.basis
    }
}

impl IterationTime for Profile {
    fn affine(&self, batch: &Batch) -> Affine {
        let tokens = batch.decodes + batch.chunk_tokens;
        let sequences = batch.decodes + batch.chunks;
        let mut kernels = self.tokens.at(tokens) + self.output.at(sequences) + self.decode.at(batch.decodes);
        if batch.chunks > 0 {
            let chunk_tokens = u64::from(batch.chunk_tokens);
            let mut slopes = u128::from(self.per_token_fp) * u128::from(chunk_tokens)
                + u128::from(self.per_pair_fp) * u128::from(batch.chunk_pairs);
            if let Some(sliding) = self.sliding {
                let pairs = batch.chunk_pairs.min(chunk_tokens * sliding.window);
                slopes += u128::from(sliding.per_pair_fp) * u128::from(pairs);
            }
            kernels += self.prefill_ps + u64::try_from(slopes >> SLOPE_BITS).unwrap_or(u64::MAX / 4);
            kernels = kernels.max(self.launch_ps);
        }
        let base = self.iteration_ps + self.sequence_ps * u64::from(sequences) + kernels;
        Affine { base_ps: base.max(1), per_kv_token_ps: self.per_kv_token_ps }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Engines, Format, HardwareCatalog, KvFormat, Models};
    use super::*;

    /// Runs `check` on the setups of a dense model, a mixture of experts and one with windows.
    fn each(check: impl Fn(&Setup<'_>)) {
        let (models, hardware, engines) = (Models::builtin(), HardwareCatalog::builtin(), Engines::builtin());
        for (model, gpu, gpus, groups, weights) in [
            ("llama-3.1-70b", "h200", 2, 1, Format::Fp8),
            ("qwen3-235b-a22b", "h100", 8, 4, Format::Fp8Block),
            ("gpt-oss-120b", "h200", 1, 1, Format::Mxfp4),
            ("llama-3.1-8b", "l40s", 1, 1, Format::Q4KM),
        ] {
            let (model, gpu) = (models.get(model).unwrap(), hardware.get(gpu).unwrap());
            check(&Setup {
                tensor_parallel: gpus,
                expert_parallel: groups,
                weights,
                max_batched_tokens: 20_000,
                ..Setup::new(model, gpu, engines.get("vllm").unwrap())
            });
        }
    }

    #[test]
    fn tables_give_what_the_closed_forms_give() {
        each(|setup| {
            let (profile, layers, engine) = (Profile::new(setup).unwrap(), Layers::new(setup), setup.engine);
            for (decodes, chunks, chunk_tokens, history) in [
                (1, 0, 0, 0),
                (64, 0, 0, 0),
                (256, 0, 0, 0),
                (17, 3, 4097, 0),
                (0, 1, 300, 9000),
                (100, 2, 19_900, 50_000),
            ] {
                let (tokens, past) = (u64::from(chunk_tokens), history);
                let batch = Batch {
                    decodes,
                    chunks,
                    chunk_tokens,
                    chunk_pairs: tokens * past + tokens * (tokens + 1) / 2,
                    chunk_history: past,
                };
                let sequences = f64::from(decodes + chunks);
                let mut kernels = layers.tokens_us(f64::from(decodes + chunk_tokens)) + layers.output_us(sequences);
                if decodes > 0 {
                    kernels += layers.decode_us(f64::from(decodes));
                }
                if chunks > 0 {
                    kernels += layers.prefill_us(tokens as f64, batch.chunk_pairs as f64);
                    kernels = kernels.max(layers.launch_us());
                }
                let expected = engine.iteration_us + engine.sequence_us * sequences + kernels;
                let got = profile.affine(&batch).base_ps as f64 / PS;
                assert!((got / expected - 1.0).abs() < 1e-3, "{}: {batch:?}: {got} and {expected}", setup.model.name);
            }
        });
    }

    #[test]
    fn a_table_is_exact_at_its_points_and_goes_on_beyond_them() {
        let table = Table::new(1000, |count| count * 3.0);
        for count in [0, 1, 255, 256, 257, 999, 1024, 5000] {
            let expected = u64::from(count) * 3_000_000;
            assert!(table.at(count).abs_diff(expected) <= expected / 1_000_000, "{count}: {}", table.at(count));
        }
    }

    #[test]
    fn more_work_never_takes_less_time() {
        each(|setup| {
            let profile = Profile::new(setup).unwrap();
            let base = |batch: Batch| profile.affine(&batch).base_ps;
            for tokens in 1..4096 {
                let batch = |chunk_tokens| Batch {
                    decodes: 8,
                    chunks: 1,
                    chunk_tokens,
                    chunk_pairs: u64::from(chunk_tokens) * 1000,
                    ..Batch::default()
                };
                let (less, more) = (base(batch(tokens)), base(batch(tokens + tokens / 2 + 1)));
                assert!(less < more + more / 50, "{}: {tokens}: {less} and {more}", setup.model.name);
            }
        });
    }

    #[test]
    fn memory_is_what_is_left_of_weights() {
        let (models, hardware, engines) = (Models::builtin(), HardwareCatalog::builtin(), Engines::builtin());
        let (model, gpu) = (models.get("llama-3.1-70b").unwrap(), hardware.get("h100").unwrap());
        let setup = Setup {
            tensor_parallel: 2,
            weights: Format::Fp8,
            kv: KvFormat::Fp8,
            ..Setup::new(model, gpu, engines.get("vllm").unwrap())
        };
        let memory = *Profile::new(&setup).unwrap().memory();
        // 2 × 80 layers × 4 of 8 heads × 128.
        assert_eq!(memory.kv_bytes_per_token, 81_920);
        assert_eq!(memory.weight_bytes, 36_326_866_944);
        let error = Profile::new(&Setup { tensor_parallel: 1, weights: Format::Bf16, ..setup }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`llama-3.1-70b` does not fit: on each of 1 × `h100-sxm` the engine may take 77.0 GB, and weights take 141.1 GB, working memory 4.2 GB"
        );
        assert!(error.hint().unwrap().starts_with("more GPUs, fewer bits"), "{:?}", error.hint());
    }

    #[test]
    fn a_model_is_not_split_into_parts_that_it_does_not_have() {
        let (models, hardware, engines) = (Models::builtin(), HardwareCatalog::builtin(), Engines::builtin());
        let (gpu, engine) = (hardware.get("h100").unwrap(), engines.get("vllm").unwrap());
        let message = |model: &str, gpus, groups| {
            let model = models.get(model).unwrap();
            let setup = Setup { tensor_parallel: gpus, expert_parallel: groups, ..Setup::new(model, gpu, engine) };
            Profile::new(&setup).unwrap_err().to_string()
        };
        assert!(message("llama-3.1-8b", 3, 1).ends_with("it has 32 heads"), "{}", message("llama-3.1-8b", 3, 1));
        assert!(message("llama-3.1-8b", 2, 2).ends_with("it has no experts"));
        assert!(message("llama-3.1-8b", 16, 1).ends_with("one machine has 8 `h100-sxm`, and a replica stays in one"));
    }
}
