//! Which requests are made: lengths, repetitions, and the closed loops that are held out.

use lumos_core::chance::{combine, unit};

use super::{CalibrateError, CalibrateOptions, recheck};

/// A context that nobody states.
const UNKNOWN_CONTEXT: u32 = 4096;

/// Tokens of an iteration that are common among servers that batch: vLLM's default on small GPUs, and llama.cpp's
/// `n_batch`.
const ITERATION_TOKENS: u32 = 2048;

/// The loads of a calibration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Design {
    /// Tokens of prompts.
    pub prompts: Vec<u32>,
    /// Tokens of answers.
    pub answers: Vec<u32>,
    /// Rounds of single requests and of bursts.
    pub repeats: u32,
    /// Tokens of the prompts of bursts, and of the answers.
    pub burst: (Vec<u32>, u32),
    /// Requests whose tokens are chosen in different ways.
    pub choosing: Choosing,
    /// Requests of a held-out load.
    pub held_out_requests: u32,
    /// Tokens of prompt and answer together at most.
    pub context: u32,
    quick: bool,
}

/// The requests of a round whose tokens are chosen in different ways.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choosing {
    /// Tokens of their prompts.
    pub prompt: u32,
    /// Tokens of their answers.
    pub answers: [u32; 2],
    /// How often each is asked for.
    pub times: u32,
}

impl Design {
    pub(super) fn new(options: &CalibrateOptions, context: Option<u32>) -> Result<Self, CalibrateError> {
        let (mut prompts, answers, mut burst, repeats, held_out_requests) = if options.quick {
            (vec![48, 112, 208, 352], vec![8, 48], (vec![64], 48), 2, 8)
        } else {
            (vec![48, 112, 208, 352, 560, 800], vec![8, 96], (vec![64, 352], 96), 3, 20)
        };
        let context = context.unwrap_or(UNKNOWN_CONTEXT);
        let longest = answers.iter().copied().max().unwrap_or(0);
        prompts.retain(|prompt| fits(*prompt, longest, context));
        burst.0.retain(|prompt| fits(*prompt, burst.1, context));
        if prompts.len() < 2 {
            return Err(CalibrateError::SmallContext { context });
        }
        let choosing =
            Choosing { prompt: prompts[0], answers: [answers[0], longest], times: if options.quick { 2 } else { 3 } };
        Ok(Self { prompts, answers, repeats, burst, choosing, held_out_requests, context, quick: options.quick })
    }

    /// Requests in all, about.
    pub(super) fn requests(&self, most_clients: u32) -> u64 {
        let singles = self.repeats * (self.prompts.len() * self.answers.len()) as u32;
        let bursts = self.repeats * self.burst.0.len() as u32 * burst_sizes(most_clients).sum::<u32>();
        let held_out = self.held_out_requests * if self.quick { 1 } else { 2 };
        let beside = if most_clients > 1 { self.repeats * 2 * 3 } else { 0 };
        let choosing = 3 + self.repeats * self.choosing.times * 2 * 4;
        let rechecks = self.repeats * recheck::within(self.context).len() as u32;
        u64::from(4 + singles + bursts + beside + choosing + rechecks + held_out)
    }

    /// Tokens of an iteration of a server that serves so many at a time.
    pub(super) fn iteration_tokens(&self, served: u32) -> u32 {
        if served > 1 { ITERATION_TOKENS } else { self.context }
    }

    /// Clients of the held-out loads: fewer than are served at a time, and more.
    pub(super) fn held_out(&self, served: u32) -> Vec<u32> {
        let (some, more) = if served == 1 { (2, 1) } else { ((served * 3).div_ceil(4), served + served.div_ceil(2)) };
        if self.quick { vec![some] } else { vec![some, more] }
    }

    /// What each client asks for, one after the other: lengths between those that were fitted to.
    pub(super) fn closed_loop(&self, clients: u32, seed: u64, index: u64) -> Vec<Vec<(u32, u32)>> {
        let range = |of: &[u32]| (of.first().copied().unwrap_or(1), of.last().copied().unwrap_or(1));
        let between = |(least, most): (u32, u32), draw: u64| least + (f64::from(most - least) * unit(draw)) as u32;
        let each = self.held_out_requests.div_ceil(clients);
        let one = |client: u32, number: u32| {
            let draw =
                combine(combine(seed, 0x0068_656c_646f_7574 + index), u64::from(client) << 32 | u64::from(number));
            (between(range(&self.prompts), combine(draw, 0)), between(range(&self.answers), combine(draw, 1)))
        };
        (0..clients).map(|client| (0..each).map(|number| one(client, number)).collect()).collect()
    }
}

/// Whether a context has room for a request: prompts come out a little longer or shorter than they are asked for.
pub(super) fn fits(prompt: u32, answer: u32, context: u32) -> bool {
    prompt + prompt / 4 + answer <= context
}

/// How many requests bursts have: 2, 3, 4, 6, 8, 12, … and the most.
pub(super) fn burst_sizes(most: u32) -> impl Iterator<Item = u32> {
    let doubled = (0..u32::BITS - 2).flat_map(|times| [2 << times, 3 << times]);
    doubled.take_while(move |size| *size < most).chain((most > 1).then_some(most))
}

/// The single requests of one round.
pub(super) fn singles(design: &Design) -> impl Iterator<Item = (u32, u32)> + '_ {
    design.prompts.iter().flat_map(|prompt| design.answers.iter().map(move |answer| (*prompt, *answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(quick: bool) -> CalibrateOptions {
        CalibrateOptions {
            name: String::new(),
            measured_on: String::new(),
            quick,
            most_clients: 8,
            max_batched_tokens: None,
            seed: 1,
        }
    }

    #[test]
    fn all_lengths_fit_the_context_and_a_context_without_room_is_refused() {
        for (quick, context) in [(true, 512), (false, 512), (false, 2048)] {
            let design = Design::new(&options(quick), Some(context)).unwrap();
            let loops = design.closed_loop(3, 7, 0).concat();
            assert!(singles(&design).chain(loops).all(|(prompt, answer)| prompt + answer <= context));
        }
        assert!(matches!(Design::new(&options(true), Some(128)), Err(CalibrateError::SmallContext { context: 128 })));
    }

    #[test]
    fn bursts_grow_up_to_the_most() {
        let sizes = |most| burst_sizes(most).collect::<Vec<_>>();
        assert_eq!((sizes(1), sizes(2), sizes(4)), (vec![], vec![2], vec![2, 3, 4]));
        assert_eq!((sizes(10), sizes(16)), (vec![2, 3, 4, 6, 8, 10], vec![2, 3, 4, 6, 8, 12, 16]));
        assert_eq!(sizes(u32::MAX).last(), Some(&u32::MAX));
    }

    #[test]
    fn held_out_loads_are_not_those_that_were_fitted_to() {
        let design = Design::new(&options(false), None).unwrap();
        assert_eq!((design.held_out(1), design.held_out(4)), (vec![2, 1], vec![3, 6]));
        let lengths = design.closed_loop(3, 7, 0).concat();
        assert!(lengths.len() >= 20 && lengths.iter().any(|length| !singles(&design).any(|single| single == *length)));
        assert_ne!(design.closed_loop(3, 7, 1).concat(), lengths);
    }
}
