//! A dead backend is left alone, others answer meanwhile, and one request finds out when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lumos::core::{RunRecord, Status};
use lumos_faults::{Answer, Reply, Script};

use super::{Files, ask, bind, openai, serve};

const FAILURES: usize = 3;
const COOLDOWN: Duration = Duration::from_millis(700);
const BREAKER: &str = "cost: Unknown, breaker: (failures: 3, window_s: 30, cooldown_s: 0.7)";

/// The backend that gave the answer.
fn answered(record: &RunRecord) -> &str {
    assert_eq!(record.status, Status::Succeeded, "{:?}", record.error);
    record.steps[0].attempts.last().and_then(|attempt| attempt.backend.as_deref()).expect("an attempt")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_backend_is_left_alone_and_probed_by_one_request() {
    let alive = Arc::new(AtomicBool::new(false));
    let is_alive = alive.clone();
    let server = serve(Script::by(move |_| {
        let first = Duration::from_millis(150);
        let good = Reply::Answer(Answer { first, ..Answer::new("back again") });
        if is_alive.load(Ordering::SeqCst) { good } else { Reply::status(500) }
    }))
    .await;
    let spare = serve(Script::always(Answer::new("from elsewhere"))).await;
    let backends = openai("api", &server.url(), BREAKER) + &openai("spare", &spare.url(), "cost: Unknown");
    let files = Files::new(r#", fallback: ["spare"]"#, 20, &backends);
    let lumos = Arc::new(files.lumos());
    let program = bind(&lumos, files.folder());

    for _ in 0..30 {
        assert_eq!(answered(&ask(&lumos, &program, "Are you there?").await), "spare");
    }
    println!(
        "dead: {} of 30 runs asked it, {} were answered elsewhere",
        server.requests().len(),
        spare.requests().len()
    );
    assert_eq!((server.requests().len(), spare.requests().len()), (FAILURES, 30));

    // Still dead after the pause: one request finds out, and the next pause begins.
    tokio::time::sleep(COOLDOWN).await;
    for _ in 0..10 {
        assert_eq!(answered(&ask(&lumos, &program, "Are you there?").await), "spare");
    }
    println!("still dead after the cooldown: {} probe in 10 runs", server.requests().len() - FAILURES);
    assert_eq!(server.requests().len(), FAILURES + 1);

    alive.store(true, Ordering::SeqCst);
    tokio::time::sleep(COOLDOWN).await;
    let probes = (0..10).map(|_| {
        let (lumos, program) = (lumos.clone(), program.clone());
        tokio::spawn(async move { answered(&ask(&lumos, &program, "Are you back?").await).to_owned() })
    });
    let mut by_api = 0;
    for probe in probes.collect::<Vec<_>>() {
        by_api += usize::from(probe.await.expect("no panic") == "api");
    }
    println!("back after the cooldown: {by_api} of 10 runs at once probed it, the others were answered elsewhere");
    assert_eq!((by_api, server.requests().len()), (1, FAILURES + 2));
    for _ in 0..5 {
        assert_eq!(answered(&ask(&lumos, &program, "Are you there?").await), "api");
    }
    assert_eq!(server.requests().len(), FAILURES + 7);
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_left_alone_too() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let spare = serve(Script::always(Answer::new("from elsewhere"))).await;
    let backends = openai("api", &format!("http://{gone}"), BREAKER) + &openai("spare", &spare.url(), "cost: Unknown");
    let files = Files::new(r#", fallback: ["spare"]"#, 20, &backends);
    let lumos = files.lumos();
    let program = bind(&lumos, files.folder());
    let mut tried = 0;
    for _ in 0..10 {
        let record = ask(&lumos, &program, "Are you there?").await;
        assert_eq!(answered(&record), "spare");
        tried += record.steps[0].attempts.iter().filter(|attempt| attempt.backend.as_deref() == Some("api")).count();
    }
    assert_eq!((tried, spare.requests().len()), (FAILURES, 10));
}
