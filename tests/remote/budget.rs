//! A budget for a backend that five hundred runs share.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lumos::core::price::Date;
use lumos::core::{Status, Usd};
use lumos_faults::{Answer, Received, Reply, Script, Tokens};
use tokio::task::JoinSet;

use super::{Files, ask, bind, openai, serve};

const RUNS: usize = 500;
const MAX_TOKENS: u32 = 50;
/// Nano-dollars for a token, as in the deployment.
const INPUT: i128 = 2_000;
const OUTPUT: i128 = 8_000;
const BUDGET: Usd = Usd::from_nanos(20_000_000);
const LIMITED: &str = r#"cost: PerMillionTokens(input: "2.00", output: "8.00"), limits: (usd_per_day: "0.02")"#;

/// All questions have one length, so that all attempts have one worst case.
fn question(number: usize) -> String {
    format!("How much of article {number:03} do we order before the holidays?")
}

/// The most that one attempt can cost: a token for each byte of the prompt and of an empty list of tools, sixteen for
/// the frame, and all that may be written.
fn worst() -> Usd {
    Usd::from_nanos((question(0).len() as i128 + 2 + 16) * INPUT + i128::from(MAX_TOKENS) * OUTPUT)
}

fn tokens(number: usize) -> Tokens {
    Tokens::new(18, 5 + number as u64 % 30)
}

/// Dearer and cheaper answers in turn, each after a while.
fn rule(request: &Received) -> Reply {
    let first = Duration::from_millis(5 + request.number as u64 % 20);
    Reply::Answer(Answer { tokens: tokens(request.number), first, ..Answer::new("as much as last year") })
}

fn today() -> Date {
    lumos::engine::today()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_runs_keep_a_budget_that_they_share() {
    let day = today();
    let server = serve(Script::by(rule)).await;
    let files = Files::new("", MAX_TOKENS, &openai("api", &server.url(), LIMITED));
    let lumos = Arc::new(files.lumos());
    let program = bind(&lumos, files.folder());
    let mut running = JoinSet::new();
    for number in 0..RUNS {
        let (lumos, program) = (lumos.clone(), program.clone());
        running.spawn(async move { ask(&lumos, &program, &question(number)).await });
    }
    let records = running.join_all().await;
    let succeeded = records.iter().filter(|record| record.status == Status::Succeeded).count();
    let recorded: Usd = records.iter().filter_map(|record| record.totals.cost_usd).sum();
    let asked = (0..server.requests().len()).map(tokens);
    let charged: Usd =
        asked.map(|it| Usd::from_nanos(i128::from(it.input) * INPUT + i128::from(it.output) * OUTPUT)).sum();
    println!(
        "{RUNS} runs at once, a budget of {BUDGET} USD, at worst {} USD an attempt: {succeeded} succeeded, {} limited; \
         {recorded} USD by the records, {charged} USD by the server's {} requests",
        worst(),
        RUNS - succeeded,
        server.requests().len()
    );
    if today() != day {
        // Midnight (UTC) has begun another budget.
        return;
    }
    assert_eq!((recorded, succeeded), (charged, server.requests().len()));
    assert!(charged <= BUDGET, "{charged} USD");
    assert!(charged + worst() > BUDGET, "{charged} USD: there was room for another one");
    for record in records.iter().filter(|record| record.status != Status::Succeeded) {
        assert_eq!((record.status, record.status.exit_code()), (Status::Limited, 4), "{:?}", record.error);
        assert_eq!(record.steps[0].status, Status::Limited);
        let error = record.error.as_ref().expect("a reason");
        let wanted = format!("the backend's budget for today cannot cover a request of up to {} USD", worst());
        assert!(error.message.starts_with(&wanted), "{}", error.message);
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("usd_per_day")));
    }

    // Another process of the home knows that nothing is left.
    let output = Command::new(env!("CARGO_BIN_EXE_lumos"))
        .args(["run", "ask.ron", "-d", "scripted.ron", "-i", &format!("question={}", question(0))])
        .current_dir(files.folder())
        .env("LUMOS_HOME", files.home())
        .output()
        .expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(errors.contains("the backend's budget for today cannot cover"), "{errors}");
    assert_eq!(server.requests().len(), succeeded, "nothing was sent");
}

#[tokio::test]
async fn who_has_a_fallback_goes_on_when_a_budget_is_spent() {
    let (server, spare) = (serve(Script::by(rule)).await, serve(Script::always(Answer::new("from elsewhere"))).await);
    let poor = LIMITED.replace("0.02", "0.0001");
    let backends = openai("api", &server.url(), &poor) + &openai("spare", &spare.url(), "cost: Unknown");
    let files = Files::new(r#", fallback: ["spare"]"#, MAX_TOKENS, &backends);
    let lumos = files.lumos();
    let record = ask(&lumos, &bind(&lumos, files.folder()), &question(0)).await;
    assert_eq!((record.status, record.output.as_str()), (Status::Succeeded, Some("from elsewhere")));
    assert_eq!((server.requests().len(), spare.requests().len()), (0, 1));
}
