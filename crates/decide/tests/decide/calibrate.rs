//! Calibrations of servers whose coefficients are known.

use lumos_decide::calibrate::{CalibrateError, CalibrateOptions, Calibration, calibrate};
use lumos_engine::CancellationToken;
use lumos_sim::profile::Calibrated;

use super::servers::{Server, Virtual};

fn options() -> CalibrateOptions {
    CalibrateOptions {
        name: "clockwork".to_owned(),
        measured_on: "2026-11-27".to_owned(),
        quick: false,
        most_clients: 8,
        max_batched_tokens: None,
        seed: 3,
    }
}

async fn calibrated(server: &Server) -> Result<Calibration, CalibrateError> {
    calibrate(server, Virtual::start(), &options(), &CancellationToken::new(), &|_, _, _| {}).await
}

/// Within so many percent.
fn near(found: f64, wanted: f64, percent: f64, what: &str) {
    assert!((found / wanted - 1.0).abs() * 100.0 < percent, "{what}: {found} instead of {wanted}");
}

#[tokio::test(start_paused = true)]
async fn a_server_of_one_at_a_time_is_found_out_and_predicted() {
    let found = calibrated(&Server::new(1, 20, 2, 10, 5)).await.expect("it answers");
    let profile = &found.profile;
    assert_eq!(profile.max_seqs, 1);
    near(profile.prompt_token_us, 2000.0, 1.0, "a prompt's token");
    near(profile.iteration_us + profile.sequence_us, 15_000.0, 1.0, "a token");
    near(profile.iteration_us + profile.request_us, 20_000.0, 3.0, "a prompt without tokens");
    near(found.tokens_per_s_together, found.tokens_per_s_alone, 0.1, "nothing is gained by company");
    assert_eq!(profile.held_out.len(), 2);
    for held_out in &profile.held_out {
        assert!(held_out.latency_p50_percent.abs() < 3.0 && held_out.latency_p95_percent.abs() < 3.0, "{held_out:?}");
    }
    assert_eq!(Calibrated::parse(&profile.to_ron()).as_ref(), Ok(profile), "{}", profile.to_ron());
}

#[tokio::test(start_paused = true)]
async fn slots_and_the_price_of_company_are_found() {
    let found = calibrated(&Server::new(4, 40, 1, 30, 3)).await.expect("it answers");
    let profile = &found.profile;
    assert_eq!(profile.max_seqs, 4);
    near(profile.iteration_us, 30_000.0, 5.0, "an iteration");
    near(profile.sequence_us, 3000.0, 5.0, "a sequence");
    assert!(found.tokens_per_s_together > 3.0 * found.tokens_per_s_alone);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_counts_no_tokens_is_refused() {
    let server = Server { counts: false, ..Server::new(1, 20, 2, 10, 5) };
    assert!(matches!(calibrated(&server).await, Err(CalibrateError::NoUsage)));
}
