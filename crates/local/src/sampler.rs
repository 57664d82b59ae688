//! Chooses the next token from the logits.
//!
//! Every draw is a function of the seed and the number of tokens drawn before it, so a choice never depends on what
//! else the process does.

use lumos_core::Decoding;
use toktrie::SimpleVob;

use crate::error::{Error, Result};

/// The repetition penalty looks at this many of the latest tokens, prompt included (llama.cpp's default).
const PENALTY_WINDOW: usize = 64;

/// Tokens whose probability is below that of the best by this power of e are left out: all of a vocabulary of a million
/// together weigh less than the rounding of a single one.
const NEGLIGIBLE: f32 = 32.0;

/// The nucleus is first looked for among the tokens down to this power of e below the best: nearly always it is there, and
/// then the rest of the vocabulary is only summed up.
const HEAD: f32 = 8.0;

/// Chooses tokens by one request's rules.
pub(crate) struct Sampler {
    temperature: f64,
    top_p: Option<f64>,
    top_k: Option<usize>,
    penalty: f32,
    seed: u64,
    drawn: u64,
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// Checks `decoding` and prepares to sample.
    pub(crate) fn new(decoding: &Decoding) -> Result<Self> {
        let refuse = |what: &str, valid: &str| Err(Error::Invalid(format!("{what} is not possible; {valid}")));
        let Decoding { temperature, top_p, top_k, repetition_penalty, .. } = *decoding;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return refuse(&format!("temperature {temperature}"), "give 0 (greedy) or a positive number");
        }
        if let Some(p) = top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return refuse(&format!("top_p {p}"), "give a number above 0 and up to 1");
        }
        if top_k == Some(0) {
            return refuse("top_k 0", "give at least 1, or leave it out");
        }
        if !(repetition_penalty.is_finite() && repetition_penalty > 0.0) {
            return refuse(&format!("repetition_penalty {repetition_penalty}"), "give a positive number; 1 is neutral");
        }
        Ok(Self {
            temperature,
            top_p: top_p.filter(|p| *p < 1.0),
            top_k: top_k.map(|k| k as usize),
            penalty: repetition_penalty as f32,
            seed: decoding.seed,
            drawn: 0,
            candidates: Vec::new(),
        })
    }

    /// The next token after `context`, among those that `allowed` lists (all when `None`).
    pub(crate) fn sample(&mut self, logits: &mut [f32], context: &[u32], allowed: Option<&SimpleVob>) -> Result<u32> {
        self.penalise(logits, context);
        let choice = if self.temperature > 0.0 { self.draw(logits, allowed) } else { greedy(logits, allowed) };
        self.drawn += 1;
        choice.ok_or_else(|| Error::Internal("the model gave no usable logits for any allowed token".to_owned()))
    }

    fn penalise(&self, logits: &mut [f32], context: &[u32]) {
        if self.penalty == 1.0 {
            return;
        }
        let window = &context[context.len().saturating_sub(PENALTY_WINDOW)..];
        for (at, token) in window.iter().enumerate() {
            if window[..at].contains(token) {
                continue;
            }
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = if *logit > 0.0 { *logit / self.penalty } else { *logit * self.penalty };
            }
        }
    }

    fn draw(&mut self, logits: &[f32], allowed: Option<&SimpleVob>) -> Option<u32> {
        let candidates = &mut self.candidates;
        candidates.clear();
        let floor = |best: f32| best - NEGLIGIBLE * self.temperature as f32;
        let scale = 1.0 / self.temperature as f32;
        // The greater logit first, then the smaller number.
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if let (Some(p), None, None) = (self.top_p, self.top_k, allowed)
            && nucleus_of_all(logits, scale, p, candidates, order)
        {
            return pick(candidates, unit(self.seed, self.drawn));
        }
        match allowed {
            None => {
                let floor = floor(greatest(logits));
                candidates.extend((0..).zip(logits.iter().copied()).filter(|(_, logit)| *logit >= floor));
            }
            Some(set) => {
                set.iter_set_entries(|id| {
                    if let Some(logit) = logits.get(id) {
                        candidates.push((id as u32, *logit));
                    }
                });
                let best = candidates.iter().map(|(_, logit)| *logit).reduce(f32::max)?;
                candidates.retain(|(_, logit)| *logit >= floor(best));
            }
        }
        candidates.retain(|(_, logit)| *logit > f32::NEG_INFINITY);
        if let Some(k) = self.top_k.filter(|k| *k < candidates.len()) {
            candidates.select_nth_unstable_by(k - 1, order);
            candidates.truncate(k);
        }
        let best = candidates.iter().map(|(_, logit)| *logit).reduce(f32::max)?;
        for (_, weight) in candidates.iter_mut() {
            *weight = weigh((*weight - best) * scale);
        }
        if let Some(p) = self.top_p {
            keep_nucleus(candidates, p, order);
        } else if self.top_k.is_some() {
            // Selecting leaves the order of the kept ones open.
            candidates.sort_unstable_by(order);
        }
        pick(candidates, unit(self.seed, self.drawn))
    }
}

/// The candidate at the share `at` of their weight.
fn pick(candidates: &[(u32, f32)], at: f64) -> Option<u32> {
    let total: f64 = candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut left = at * total;
    for (id, weight) in candidates {
        left -= f64::from(*weight);
        if left < 0.0 {
            return Some(*id);
        }
    }
    candidates.last().map(|(id, _)| *id)
}

/// Fills `candidates` with the nucleus of the whole vocabulary, in `order`; false when it reaches below [`HEAD`].
fn nucleus_of_all(
    logits: &[f32],
    scale: f32,
    p: f64,
    candidates: &mut Vec<(u32, f32)>,
    order: impl Fn(&(u32, f32), &(u32, f32)) -> std::cmp::Ordering + Copy,
) -> bool {
    let best = greatest(logits);
    let (lanes, rest) = logits.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for lane in lanes {
        for (sum, logit) in sums.iter_mut().zip(lane) {
            *sum += weigh((logit - best) * scale);
        }
    }
    let rest: f32 = rest.iter().map(|logit| weigh((logit - best) * scale)).sum();
    let wanted = p * (f64::from(rest) + sums.iter().copied().map(f64::from).sum::<f64>());
    let floor = best - HEAD / scale;
    let head = (0..).zip(logits).filter(|(_, logit)| **logit >= floor);
    candidates.extend(head.map(|(id, logit)| (id, weigh((logit - best) * scale))));
    candidates.sort_unstable_by(order);
    let mut sum = 0.0;
    let last = candidates.iter().position(|(_, weight)| {
        sum += f64::from(*weight);
        sum >= wanted
    });
    match last {
        Some(last) => candidates.truncate(last + 1),
        None => candidates.clear(),
    }
    last.is_some()
}

/// `exp(x)` for `x` up to 0 to seven digits, about 1e-38 below -87 and for NaN; made of steps that the compiler turns
/// into vector instructions, which a call of `exp` is not.
///
/// `exp(x) = 2^n exp(y)` with `n = round(x / ln 2)`; `exp(y)` is its Taylor polynomial.
fn weigh(x: f32) -> f32 {
    /// Added to a small number, leaves its nearest integer in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let y = x - (rounded - ROUNDER) * std::f32::consts::LN_2;
    let polynomial = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let power = polynomial.iter().fold(0.0, |sum, factor| sum * y + factor);
    let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    power * f32::from_bits(exponent)
}

/// Keeps the smallest set of the heaviest candidates that holds the share `p` of the weight, in `order`.
fn keep_nucleus(
    candidates: &mut Vec<(u32, f32)>,
    p: f64,
    order: impl Fn(&(u32, f32), &(u32, f32)) -> std::cmp::Ordering + Copy,
) {
    let wanted = p * candidates.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
    let mut head = 64;
    loop {
        // Sorting a short head is much cheaper than sorting a vocabulary, and nearly always enough.
        if head < candidates.len() {
            candidates.select_nth_unstable_by(head - 1, order);
        }
        head = head.min(candidates.len());
        candidates[..head].sort_unstable_by(order);
        let mut sum = 0.0;
        let enough = candidates[..head].iter().position(|(_, weight)| {
            sum += f64::from(*weight);
            sum >= wanted
        });
        if let Some(last) = enough {
            candidates.truncate(last + 1);
            return;
        }
        if head == candidates.len() {
            return;
        }
        head *= 8;
    }
}

/// The most probable token; the smaller number of equals.
fn greedy(logits: &[f32], allowed: Option<&SimpleVob>) -> Option<u32> {
    let Some(set) = allowed else {
        let best = greatest(logits);
        return logits.iter().position(|logit| *logit == best && best > f32::NEG_INFINITY).map(|id| id as u32);
    };
    let mut best: Option<(usize, f32)> = None;
    set.iter_set_entries(|id| {
        if let Some(logit) = logits.get(id)
            && *logit > best.map_or(f32::NEG_INFINITY, |(_, value)| value)
        {
            best = Some((id, *logit));
        }
    });
    best.map(|(id, _)| id as u32)
}

/// The greatest logit, NaN passed over; in lanes, which the compiler turns into vector instructions.
fn greatest(logits: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (lanes, rest) = logits.as_chunks::<16>();
    let mut best = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        for (a, b) in best.iter_mut().zip(lane) {
            *a = greater(*a, *b);
        }
    }
    best.iter().chain(rest).copied().fold(f32::NEG_INFINITY, greater)
}

/// A number in `0..1` for the draw `n` under `seed` (SplitMix64).
fn unit(seed: u64, n: u64) -> f64 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    let key = mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15));
    let bits = mix(key.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(decoding: &Decoding) -> Sampler {
        Sampler::new(decoding).unwrap()
    }

    fn shares(decoding: &Decoding, logits: &[f32], allowed: Option<&SimpleVob>) -> Vec<f64> {
        let mut sampler = sampler(decoding);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[sampler.sample(&mut logits.to_vec(), &[], allowed).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn close(got: &[f64], expected: &[f64]) {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.015), "{got:?} is not {expected:?}");
    }

    #[test]
    fn weights_are_powers_of_e() {
        for step in 0..8_700 {
            let x = -0.01 * step as f32;
            assert!((weigh(x) / x.exp() - 1.0).abs() < 1e-5, "{x}");
        }
        assert!(weigh(f32::NAN) < 1e-30 && weigh(f32::NEG_INFINITY) < 1e-30);
    }

    #[test]
    fn a_nucleus_below_the_head_is_found_too() {
        // One token at the top and many far below that weigh more together.
        let mut logits = vec![0.0; 40_000];
        logits[7] = 9.0;
        let decoding = Decoding { temperature: 1.0, top_p: Some(0.9), ..Decoding::default() };
        let mut sampler = sampler(&decoding);
        let others = (0..200).filter(|_| sampler.sample(&mut logits.clone(), &[], None).unwrap() != 7).count();
        // exp(9) = 8,103 against 39,999, cut at 90%: 8,103 / 43,292.
        assert!((140..185).contains(&others), "{others}");
    }

    #[test]
    fn greedy_takes_the_first_of_the_best_and_passes_over_nan() {
        let mut greedy = sampler(&Decoding::default());
        assert_eq!(greedy.sample(&mut [0.0, f32::NAN, 2.0, 2.0, -1.0], &[], None).unwrap(), 2);
        assert!(matches!(greedy.sample(&mut [f32::NAN; 3], &[], None), Err(Error::Internal(_))));
    }

    #[test]
    fn draws_follow_the_softmax_and_the_mask() {
        let logits = [0.0, 1.0_f32.exp().ln(), 2.0, f32::NEG_INFINITY];
        let decoding = Decoding { temperature: 1.0, seed: 3, ..Decoding::default() };
        close(&shares(&decoding, &logits, None), &[0.0900, 0.2447, 0.6652, 0.0]);
        let hot = Decoding { temperature: 2.0, ..decoding.clone() };
        close(&shares(&hot, &logits, None), &[0.1863, 0.3072, 0.5065, 0.0]);
        let mut allowed = SimpleVob::alloc(4);
        allowed.allow_token(0);
        allowed.allow_token(2);
        close(&shares(&decoding, &logits, Some(&allowed)), &[0.1192, 0.0, 0.8808, 0.0]);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 1.0, 2.0, -3.0];
        let base = Decoding { temperature: 1.0, seed: 9, ..Decoding::default() };
        let top_k = Decoding { top_k: Some(2), ..base.clone() };
        close(&shares(&top_k, &logits, None), &[0.0, 0.2689, 0.7311, 0.0]);
        // 0.66 is not enough for 0.7, so the second is kept too.
        let top_p = Decoding { top_p: Some(0.7), ..base.clone() };
        close(&shares(&top_p, &logits, None), &[0.0, 0.2689, 0.7311, 0.0]);
        let narrow = Decoding { top_p: Some(0.5), ..base };
        close(&shares(&narrow, &logits, None), &[0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_long_tail_is_cut_as_exactly_as_a_short_one() {
        let mut flat: Vec<(u32, f32)> = (0..10_000).map(|id| (id, 1.0)).collect();
        keep_nucleus(&mut flat, 0.25, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        assert_eq!(flat.len(), 2500);
        assert_eq!(flat.last(), Some(&(2499, 1.0)));
    }

    #[test]
    fn the_penalty_counts_each_recent_token_once_and_forgets_old_ones() {
        let decoding = Decoding { repetition_penalty: 2.0, ..Decoding::default() };
        let mut sampler = sampler(&decoding);
        let mut logits = [3.0, 2.0, -1.0];
        assert_eq!(sampler.sample(&mut logits, &[0, 0, 2], None).unwrap(), 1);
        assert_eq!(logits, [1.5, 2.0, -2.0]);
        let mut context = vec![0];
        context.extend([1; PENALTY_WINDOW]);
        assert_eq!(sampler.sample(&mut [3.0, 2.0, -1.0], &context, None).unwrap(), 0);
    }

    #[test]
    fn seeds_decide_and_nothing_else() {
        let logits = [0.5; 50];
        let run = |seed| {
            let mut sampler = sampler(&Decoding { temperature: 1.0, seed, ..Decoding::default() });
            (0..20).map(|_| sampler.sample(&mut logits.clone(), &[], None).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn impossible_parameters_are_refused() {
        for decoding in [
            Decoding { temperature: -1.0, ..Decoding::default() },
            Decoding { temperature: f64::NAN, ..Decoding::default() },
            Decoding { top_p: Some(0.0), ..Decoding::default() },
            Decoding { top_p: Some(1.5), ..Decoding::default() },
            Decoding { top_k: Some(0), ..Decoding::default() },
            Decoding { repetition_penalty: 0.0, ..Decoding::default() },
        ] {
            assert!(matches!(Sampler::new(&decoding), Err(Error::Invalid(_))), "{decoding:?}");
        }
    }
}
