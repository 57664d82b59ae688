//! Calibrations of servers whose coefficients are known.

use lumos_decide::calibrate::{CalibrateError, CalibrateOptions, Calibration, calibrate};
use lumos_engine::CancellationToken;
use lumos_sim::profile::{Calibrated, ChoiceTime};

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
    let found = calibrated(&Server::new(1, 20, 2, 10, |served| 5 * served)).await.expect("it answers");
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
    let found = calibrated(&Server::new(4, 40, 1, 30, |served| 3 * served)).await.expect("it answers");
    let profile = &found.profile;
    assert_eq!(profile.max_seqs, 4);
    near(profile.iteration_us, 30_000.0, 5.0, "an iteration");
    near(profile.sequence_us, 3000.0, 5.0, "a sequence");
    assert!(found.tokens_per_s_together > 3.0 * found.tokens_per_s_alone);
}

#[tokio::test(start_paused = true)]
async fn what_so_many_sequences_take_need_not_lie_on_a_line() {
    // As llama.cpp on a CPU: two take more than twice as long as one, and four hardly more than three.
    let found = calibrated(&Server::new(4, 40, 1, 0, |served| [0, 7, 18, 27, 30][served.min(4) as usize])).await;
    let profile = found.expect("it answers").profile;
    assert_eq!((profile.max_seqs, profile.decode_us.len()), (4, 4));
    for ((sequences, us), (wanted, wanted_us)) in
        profile.decode_us.iter().zip([(1, 7e3), (2, 18e3), (3, 27e3), (4, 30e3)])
    {
        assert_eq!(*sequences, wanted);
        near(*us, wanted_us, 2.0, "an iteration");
    }
}

#[tokio::test(start_paused = true)]
async fn others_wait_for_a_prompt_and_not_for_its_way() {
    let server = Server { away_ms: 100, ..Server::new(4, 40, 1, 0, |served| 5 * served) };
    let profile = calibrated(&server).await.expect("it answers").profile;
    near(profile.request_us, 100_000.0, 6.0, "a request's way");
    near(profile.prompt_us, 40_000.0, 15.0, "a prompt without tokens");
    near(profile.iteration_us + profile.request_us + profile.prompt_us, 140_000.0, 2.0, "together");
}

#[tokio::test(start_paused = true)]
async fn what_choosing_takes_is_found_beside_plain_requests() {
    let server = Server { schema_ms: Some((4, 30)), penalty_ms: 1, ..Server::new(4, 40, 1, 0, |served| 8 * served) };
    let found = calibrated(&server).await.expect("it answers");
    let choosing = found.profile.choosing;
    let (constrained, penalised) = (choosing.constrained.expect("known"), choosing.penalised.expect("known"));
    near(constrained.token_us, 4000.0, 1.0, "a token of a schema");
    near(constrained.first_us, 30_000.0, 3.0, "a schema");
    near(penalised.token_us, 1000.0, 1.0, "a penalty");
    assert_eq!(choosing.drawn, Some(ChoiceTime { first_us: 0.0, token_us: 0.0 }));
    assert!(
        found.assumptions.iter().any(|it| it.contains("was measured of single requests")),
        "{:?}",
        found.assumptions
    );

    let found = calibrated(&Server { schema_ms: None, ..server }).await.expect("it answers the rest");
    let choosing = found.profile.choosing;
    assert_eq!((choosing.constrained, choosing.penalised.is_some()), (None, true));
    let why = found.assumptions.iter().find(|it| it.contains("as a schema allows"));
    assert!(why.is_some_and(|why| why.contains("no schemas here")), "{:?}", found.assumptions);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_counts_no_tokens_is_refused() {
    let server = Server { counts: false, ..Server::new(1, 20, 2, 10, |served| 5 * served) };
    assert!(matches!(calibrated(&server).await, Err(CalibrateError::NoUsage)));
}
