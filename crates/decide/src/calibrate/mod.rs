//! Fits a profile to a running backend and states how far off it is on loads that it was not fitted to.
//!
//! The loads: single requests of several prompt and answer lengths, and bursts of 2, 3, 4, 6, … equal requests, which show
//! how many are served at a time and what an iteration with so many takes; requests whose tokens are chosen otherwise than the
//! most probable one of all; all in rounds, so that a machine that slows down slows all of them; and closed loops of other lengths, which are predicted and compared.

mod choosing;
mod design;
mod fit;
mod heldout;
mod predict;
mod probe;
mod prompt;
mod recheck;

use std::sync::Arc;

use lumos_core::{Backend, BackendError, Clock};
use lumos_engine::CancellationToken;
use lumos_sim::profile::{Calibrated, ChoiceTimes};
use serde::Serialize;

use choosing::Ways;
use design::{Design, burst_sizes, singles};
use probe::{Probe, burst};
pub use recheck::{Recheck, recheck};

/// How a backend is calibrated.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrateOptions {
    /// The profile's name.
    pub name: String,
    /// The day, as YYYY-MM-DD.
    pub measured_on: String,
    /// Fewer lengths and repetitions: about a fifth of the time, for a first look.
    pub quick: bool,
    /// Most requests at a time.
    pub most_clients: u32,
    /// Tokens of an iteration, where the server's setting is known.
    pub max_batched_tokens: Option<u32>,
    /// Seed of the lengths of held-out loads. The words of prompts are others each time.
    pub seed: u64,
}

/// A calibrated backend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// What was fitted.
    pub profile: Calibrated,
    /// Requests that were made.
    pub requests: u64,
    /// How far the fitted times of an iteration lie from the measured ones, at the median, in percent.
    pub iteration_error_percent: f64,
    /// The same of the time to first token of single requests.
    pub ttft_error_percent: f64,
    /// Tokens per second of one request at a time.
    pub tokens_per_s_alone: f64,
    /// Tokens per second of as many requests as are served at a time.
    pub tokens_per_s_together: f64,
    /// What was not measured.
    pub assumptions: Vec<String>,
}

/// Why a backend could not be calibrated.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// It serves no chats.
    #[error("it answers no chats: only models that write can be calibrated")]
    NoChat,
    /// It failed.
    #[error("request {number} failed: {error}")]
    Backend {
        /// Which request, from 1.
        number: u64,
        /// Why.
        error: BackendError,
    },
    /// It does not say how many tokens it read and wrote.
    #[error("it does not report how many tokens it read and wrote, so nothing can be fitted")]
    NoUsage,
    /// Its answers are too short to tell a token's time.
    #[error("its answers end after {tokens} tokens: too few to tell a token's time")]
    ShortAnswers {
        /// Tokens of the longest answer.
        tokens: u32,
    },
    /// Too few prompts fit into its context.
    #[error("its context of {context} tokens is too small to be calibrated")]
    SmallContext {
        /// Its context.
        context: u32,
    },
    /// It was stopped.
    #[error("interrupted")]
    Cancelled,
}

/// Hears of each request that has ended: how many have, of how many, and what is being measured.
pub type Told<'a> = &'a (dyn Fn(u64, u64, &str) + Sync);

/// Tokens of an answer that another request disturbs: not more than it takes to ask, so that a machine that slows down changes little.
const OUTSIDE_ANSWER: u32 = 48;

/// Calibrates a backend that nobody else uses meanwhile.
///
/// # Errors
/// When it fails, or does not say what a fit needs; when `cancel` is cancelled.
pub async fn calibrate(
    backend: &dyn Backend,
    clock: Arc<dyn Clock>,
    options: &CalibrateOptions,
    cancel: &CancellationToken,
    told: Told<'_>,
) -> Result<Calibration, CalibrateError> {
    let measured = measure(backend, clock, options, told);
    tokio::select! {
        measured = measured => measured,
        () = cancel.cancelled() => Err(CalibrateError::Cancelled),
    }
}

async fn measure(
    backend: &dyn Backend,
    clock: Arc<dyn Clock>,
    options: &CalibrateOptions,
    told: Told<'_>,
) -> Result<Calibration, CalibrateError> {
    backend.warm_up().await.map_err(|error| CalibrateError::Backend { number: 0, error })?;
    let info = backend.info();
    if !info.chat {
        return Err(CalibrateError::NoChat);
    }
    let design = Design::new(options, info.context_tokens)?;
    let mut probe = Probe::new(backend, clock, told, design.requests(options.most_clients));

    probe.about("warming up");
    // The first request pays for what later ones find; and it shows how many tokens a word has.
    for _ in 0..2 {
        probe.learn_words().await?;
    }
    let mut ways = Ways::warm_up(&probe, &design.choosing).await;

    let mut alone = Vec::new();
    let mut together = Vec::new();
    let mut outside = Vec::new();
    let mut later = Vec::new();
    let mut served = 1;
    let mut is_whole = false;
    let (prompts, answer) = &design.burst;
    for _ in 0..design.repeats {
        probe.about("single requests");
        for (prompt, answer) in singles(&design) {
            alone.push(probe.ask(prompt, answer).await?);
        }
        probe.about("requests side by side");
        // Once it is known how many are served at a time, many more show nothing; one more shows whether it is known.
        let (most, beyond) = if is_whole { (served, Some(served + 1)) } else { (options.most_clients, None) };
        is_whole = false;
        for clients in burst_sizes(most).chain(beyond) {
            let mut seen = 0;
            for prompt in prompts {
                let answers = probe.ask_all(&vec![(*prompt, *answer); clients as usize]).await?;
                seen = seen.max(burst::served_at_once(&answers));
                together.push((clients, answers));
            }
            served = served.max(seen);
            if served < clients {
                is_whole = true;
                break;
            }
        }
        probe.about("other ways to choose tokens");
        ways.measure(&probe, &design.choosing).await?;
        probe.about("what rechecks ask for");
        for (prompt, answer) in recheck::within(design.context) {
            later.push(probe.ask(prompt, answer).await?);
        }
        if served > 1 {
            probe.about("a request while another is answered");
            for _ in 0..2 {
                outside.extend(probe.outside(prompts[0], OUTSIDE_ANSWER).await?);
            }
        }
    }

    let mut profile = Calibrated {
        name: options.name.clone(),
        of: format!("{}, {}: {}", info.model, info.provider, info.detail),
        measured_on: options.measured_on.clone(),
        quantization: None,
        iteration_us: 0.0,
        sequence_us: 0.0,
        decode_us: Vec::new(),
        prompt_us: 0.0,
        prompt_token_us: 0.0,
        prompt_pair_ns: 0.0,
        kv_token_ns: 0.0,
        request_us: 0.0,
        choosing: ChoiceTimes::default(),
        recheck_factor: None,
        max_seqs: served,
        max_batched_tokens: options.max_batched_tokens.unwrap_or(design.iteration_tokens(served)),
        kv_tokens: design.context.saturating_mul(served),
        held_out: Vec::new(),
    };
    let mut decodes = burst::alone(&alone);
    decodes.extend(together.iter().filter(|(clients, _)| *clients <= served).filter_map(|(_, all)| burst::window(all)));
    let longest = alone.iter().map(|sample| sample.output).max().unwrap_or(0);
    let fitted =
        fit::fit(&mut profile, &alone, &decodes, &outside).ok_or(CalibrateError::ShortAnswers { tokens: longest })?;

    profile.choosing = ways.fit(&profile);
    profile.recheck_factor = recheck::factor(&later, &profile);

    probe.about("held-out loads");
    for (index, clients) in design.held_out(served).into_iter().enumerate() {
        let loops = design.closed_loop(clients, options.seed, index as u64);
        let measured = probe.closed_loop(&loops).await?;
        profile.held_out.push(heldout::compare(&profile, clients, &measured));
    }

    let mut assumptions: Vec<String> = ways.unknown().collect();
    if served > 1 && options.max_batched_tokens.is_none() {
        assumptions.push(format!("an iteration takes up to {} tokens: not measured", profile.max_batched_tokens));
    }
    if served > 1 && outside.is_empty() {
        assumptions.push(
            "nobody waits for what a prompt takes whatever its length: it was not seen to delay others".to_owned(),
        );
    }
    if served > 1 && profile.choosing != ChoiceTimes::default() {
        assumptions.push(
            "choosing tokens otherwise than the most probable one was measured of single requests: the server does it for one after the other"
                .to_owned(),
        );
    }
    if !is_whole && options.most_clients > 1 {
        assumptions.push(format!("{served} requests are served at a time; whether it would be more was not tried"));
    }
    if info.context_tokens.is_none() {
        let tokens = design.context;
        assumptions.push(format!("its context is unknown: {tokens} tokens per request are taken to fit its cache"));
    }
    Ok(Calibration {
        requests: probe.asked(),
        iteration_error_percent: fitted.iteration_error_percent,
        ttft_error_percent: fitted.ttft_error_percent,
        tokens_per_s_alone: profile.tokens_per_s(1, prompts[0]),
        tokens_per_s_together: profile.tokens_per_s(served, prompts[0]),
        profile,
        assumptions,
    })
}
