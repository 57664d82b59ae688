//! Gates before servers that count exactly: many tasks, two processes, cancelled waits, killed processes, broken files.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lumos_core::admission::{Actual, BreakerRule, End, Rules};
use lumos_core::chance::mix;
use lumos_core::{Clock, Usd};
use lumos_engine::{AskFor, Gate, LimitsError, Permit, SharedLedger, UnixClock};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::server::{Call, Server, TokioClock};

/// Tells a test that it is the second process of another one, and where that is.
const HOME: &str = "LUMOS_TEST_LIMITS_HOME";
const SERVER: &str = "LUMOS_TEST_LIMITS_SERVER";

/// The limits of the test with two processes: a burst of 600, then 10 a second.
const TOGETHER: Rules = Rules {
    rpm: Some(600),
    tpm: None,
    input_tpm: None,
    output_tpm: None,
    concurrency: None,
    usd_per_day: None,
    breaker: None,
};

const TOGETHER_FOR: Duration = Duration::from_secs(6);

fn ask() -> AskFor {
    AskFor { input_tokens: Some(1), output_tokens: 1, worst_cost: None, lease_us: 60_000_000 }
}

fn ask_for(call: &Call) -> AskFor {
    AskFor { input_tokens: Some(call.estimated_input), output_tokens: call.most_output, ..ask() }
}

fn used(call: &Call) -> Actual {
    let (input, output) = (Some(call.input), Some(call.output));
    Actual { input_tokens: input, output_tokens: output, ..Actual::unknown(End::Succeeded) }
}

fn shared(home: &Path, rules: Rules) -> Arc<Gate> {
    let shared = SharedLedger::open(home, Arc::new(UnixClock)).expect("a usable file");
    Gate::new(rules, "test", Some(shared), Arc::new(UnixClock))
}

/// As many permits as there are at once.
async fn at_once(gate: &Arc<Gate>) -> Vec<Permit> {
    let mut permits = Vec::new();
    while let Ok(permit) = timeout(Duration::from_millis(1), gate.admit(ask())).await {
        permits.push(permit.expect("nothing rejects"));
    }
    permits
}

#[tokio::test(start_paused = true)]
async fn two_hundred_at_once_are_never_refused_and_use_what_is_allowed() {
    let rules = Rules { rpm: Some(60), tpm: Some(20_000), ..Rules::default() };
    for (input, output, limit) in [(100, 100, "rpm"), (400, 200, "tpm"), (100, 700, "tpm")] {
        let clock = TokioClock::new();
        let server = Server::new(rules, clock.clone());
        let gate = Gate::new(rules, "test", None, clock);
        let numbers = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (gate, server, numbers) = (gate.clone(), server.clone(), numbers.clone());
            tasks.spawn(async move {
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let call = Call::draw(number, input, output, Duration::from_secs(4));
                    let permit = gate.admit(ask_for(&call)).await.expect("nothing rejects");
                    tokio::time::sleep(call.way).await;
                    server.arrives(call.input);
                    tokio::time::sleep(call.works).await;
                    server.ends(call.output);
                    tokio::time::sleep(call.way_back).await;
                    permit.settle(used(&call));
                }
            });
        }
        tokio::time::sleep(Duration::from_mins(3)).await;
        let ((share, binding), seen) = (server.binding(), server.seen());
        tasks.shutdown().await;
        assert_eq!(seen.refused, 0, "{seen:?}");
        assert_eq!(binding, limit, "{seen:?}");
        assert!(share >= 0.95, "{share} of the {limit} used: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_is_served_first() {
    let clock = TokioClock::new();
    let begun_us = clock.now_us();
    let gate = Gate::new(Rules { concurrency: Some(2), ..Rules::default() }, "test", None, clock.clone());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50u64 {
        let (gate, order) = (gate.clone(), order.clone());
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number)).await;
            let permit = gate.admit(ask()).await.expect("nothing rejects");
            order.lock().expect("no panic").push((number, permit.waited_us() > 0));
            tokio::time::sleep(Duration::from_millis(300)).await;
            permit.settle(Actual::unknown(End::Succeeded));
        });
    }
    tasks.join_all().await;
    let took_us = clock.now_us() - begun_us;
    assert!((7_500_000..7_600_000).contains(&took_us), "25 pairs, each at once after the last: {took_us}");
    let order = order.lock().expect("no panic");
    let expected: Vec<_> = (0..50).map(|number| (number, number >= 2)).collect();
    assert_eq!(*order, expected);
}

/// Waits are given up, permits settled, dropped and withdrawn; returns how many requests that took.
async fn storm(gate: &Arc<Gate>, tasks: u64, patience_us: u64) -> u64 {
    let sent = Arc::new(AtomicU64::new(0));
    let mut storm = tokio::task::JoinSet::new();
    for number in 0..tasks {
        let (gate, sent) = (gate.clone(), sent.clone());
        let draw = move |purpose: u64, below: u64| mix(mix(number) ^ purpose) % below;
        storm.spawn(async move {
            tokio::time::sleep(Duration::from_micros(draw(1, 100_000))).await;
            let patience = Duration::from_micros(draw(2, patience_us));
            let Ok(permit) = timeout(patience, gate.admit(ask())).await else { return };
            let permit = permit.expect("nothing rejects");
            tokio::time::sleep(Duration::from_micros(draw(3, 5000))).await;
            sent.fetch_add(u64::from(draw(4, 3) != 0), Ordering::Relaxed);
            match draw(4, 3) {
                0 => permit.withdraw(),
                1 => permit.settle(Actual::unknown(End::Failed { retry_after_us: None })),
                _ => drop(permit),
            }
        });
    }
    storm.join_all().await;
    sent.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_cancellations_loses_nothing() {
    let rules = Rules { rpm: Some(1000), concurrency: Some(5), ..Rules::default() };
    let clock = TokioClock::new();
    let gate = Gate::new(rules, "test", None, clock.clone());
    let begun_us = clock.now_us();
    let sent = storm(&gate, 1000, 40_000).await;
    assert!((100..800).contains(&sent), "some are sent and some are not: {sent}");
    assert_eq!(at_once(&gate).await.len(), 5);
    let mut left = 5;
    while let Ok(permit) = timeout(Duration::from_millis(1), gate.admit(ask())).await {
        permit.expect("nothing rejects").settle(Actual::unknown(End::Succeeded));
        left += 1;
    }
    // A reserve of 20 stays, and 16.7 a second come back.
    let refilled = (clock.now_us() - begun_us) * 1000 / 60_000_000;
    let expected = 1000 - 20 - sent;
    assert!((expected..=expected + refilled + 1).contains(&left), "{left} are left, not {expected} + {refilled}");
}

#[tokio::test]
async fn a_storm_of_cancellations_leaves_no_lease_in_the_shared_ledger() {
    let home = tempfile::tempdir().expect("a folder");
    let rules = Rules { concurrency: Some(5), ..Rules::default() };
    let gate = shared(home.path(), rules);
    let sent = storm(&gate, 600, 300_000).await;
    assert!(sent > 0, "some are sent");
    // Another connection sees what all of that left in the file.
    let other = shared(home.path(), rules);
    let mut permits = Vec::new();
    for _ in 0..5 {
        let permit = timeout(Duration::from_secs(10), other.admit(ask())).await.expect("there is room");
        permits.push(permit.expect("nothing rejects"));
    }
    assert!(timeout(Duration::from_millis(100), gate.admit(ask())).await.is_err(), "five are out");
    permits.pop().expect("five").withdraw();
    timeout(Duration::from_secs(10), gate.admit(ask())).await.expect("seen soon").expect("nothing rejects").withdraw();
}

#[tokio::test]
async fn a_process_that_asks_for_much_is_let_in_beside_one_that_asks_for_little() {
    let home = tempfile::tempdir().expect("a folder");
    // A thousand a second.
    let rules = Rules { input_tpm: Some(60_000), ..Rules::default() };
    let (little, much) = (shared(home.path(), rules), shared(home.path(), rules));
    let nothing_left = Actual::unknown(End::RateLimited { retry_after_us: Some(0) });
    little.admit(ask()).await.expect("nothing rejects").settle(nothing_left);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let gate = little.clone();
        tasks.spawn(async move {
            loop {
                let ask = AskFor { input_tokens: Some(100), ..ask() };
                gate.admit(ask).await.expect("nothing rejects").settle(Actual::unknown(End::Succeeded));
            }
        });
    }
    let ask = AskFor { input_tokens: Some(2000), ..ask() };
    let permit = timeout(Duration::from_secs(15), much.admit(ask)).await.expect("it is let in");
    permit.expect("nothing rejects").settle(Actual::unknown(End::Succeeded));
    tasks.shutdown().await;
}

/// Answers requests of one call each: the tokens of its input and output come, one byte says whether it is accepted and,
/// if so, another one that it has ended.
async fn serve(listener: TcpListener, server: Arc<Server>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let server = server.clone();
        tokio::spawn(async move {
            let (input, output) = (stream.read_u64().await?, stream.read_u64().await?);
            let accepted = server.arrives(input);
            stream.write_u8(accepted.into()).await?;
            if accepted {
                tokio::time::sleep(Duration::from_millis(20)).await;
                server.ends(output);
                stream.write_u8(1).await?;
            }
            std::io::Result::Ok(())
        });
    }
}

/// Calls a server as fast as the limits allow; returns how many calls it answered.
async fn call_together(home: &Path, address: &str) -> u64 {
    let gate = shared(home, TOGETHER);
    let answered = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (gate, address, answered) = (gate.clone(), address.to_owned(), answered.clone());
        tasks.spawn(async move {
            loop {
                let permit = gate.admit(ask()).await.expect("nothing rejects");
                let mut stream = TcpStream::connect(&address).await.expect("the server listens");
                stream.write_u64(1).await.expect("sent");
                stream.write_u64(1).await.expect("sent");
                while stream.read_u8().await.is_ok() {}
                answered.fetch_add(1, Ordering::Relaxed);
                permit.settle(Actual::unknown(End::Succeeded));
            }
        });
    }
    tokio::time::sleep(TOGETHER_FOR).await;
    tasks.shutdown().await;
    answered.load(Ordering::Relaxed)
}

/// This program again, for one test that is none by itself.
fn second_process(test: &str, home: &Path, server: &str) -> tokio::process::Child {
    tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(HOME, home)
        .env(SERVER, server)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this program runs again")
}

/// The next line that the second process prints for us, behind a `>`.
async fn told_by(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>) -> String {
    loop {
        let line = lines.next_line().await.expect("readable").expect("it tells something before it ends");
        // The test harness begins a line that it doesn't end.
        if let Some((_, told)) = line.split_once('>') {
            return told.to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_limit_and_use_it() {
    let home = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let server = Server::new(TOGETHER, Arc::new(UnixClock));
    tokio::spawn(serve(listener, server.clone()));
    let mut child = second_process("limits::the_second_of_two_processes", home.path(), &address);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(told_by(&mut lines).await, "begins");
    let ours = call_together(home.path(), &address).await;
    let theirs: u64 = told_by(&mut lines).await.parse().expect("a number");
    let (seen, (share, _)) = (server.seen(), server.binding());
    assert_eq!(seen.refused, 0, "{seen:?}");
    assert!(share >= 0.95, "{share} of the limit used: {seen:?}");
    assert!(ours > 60 && theirs > 60, "{ours} and {theirs} are no fair shares");
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn the_second_of_two_processes() {
    let (home, server) = (std::env::var(HOME).expect("set"), std::env::var(SERVER).expect("set"));
    println!(">begins");
    println!(">{}", call_together(Path::new(&home), &server).await);
}

/// What is asked for by and beside a process that is killed: a lease that no test waits for, and dollars.
fn dear(nanos: i128) -> AskFor {
    AskFor { lease_us: 3_600_000_000, worst_cost: Some(Usd::from_nanos(nanos)), ..ask() }
}

/// Gates that let one request of 60 nano-dollars through: the only one at once, most of the day's money, a probe.
fn narrow(home: &Path) -> [Arc<Gate>; 3] {
    let breaker = BreakerRule { failures: 1, window_us: 1_000_000, cooldown_us: 0 };
    let one = Rules { concurrency: Some(1), ..Rules::default() };
    let money = Rules { usd_per_day: Some(Usd::from_nanos(100)), ..Rules::default() };
    let probe = Rules { breaker: Some(breaker), ..Rules::default() };
    let shared = SharedLedger::open(home, Arc::new(UnixClock)).expect("a usable file");
    [("one", one), ("money", money), ("probe", probe)]
        .map(|(key, rules)| Gate::new(rules, key, Some(shared.clone()), Arc::new(UnixClock)))
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn a_process_that_is_killed() {
    let home = std::env::var(HOME).expect("set");
    let gates = narrow(Path::new(&home));
    let failed = Actual::unknown(End::Failed { retry_after_us: None });
    gates[2].admit(ask()).await.expect("nothing rejects").settle(failed);
    let mut permits = Vec::new();
    for gate in gates {
        permits.push(gate.admit(dear(60)).await.expect("nothing rejects"));
    }
    println!(">holds all");
    std::future::pending::<()>().await;
}

/// A process that holds all that [`narrow`] gates let through, until it is killed.
async fn holder(home: &Path) -> tokio::process::Child {
    let mut child = second_process("limits::a_process_that_is_killed", home, "");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(told_by(&mut lines).await, "holds all");
    child
}

#[tokio::test]
async fn what_a_killed_process_held_goes_to_those_who_wait_for_it_at_once() {
    let home = tempfile::tempdir().expect("a folder");
    let mut child = holder(home.path()).await;
    let [one, money, probe] = narrow(home.path());
    let mut waits = std::pin::pin!(one.admit(dear(0)));
    assert!(timeout(Duration::from_millis(100), &mut waits).await.is_err(), "the only permit is held");
    assert!(timeout(Duration::from_millis(100), money.admit(dear(41))).await.is_err(), "the money is reserved");
    let failure = probe.admit(ask()).await.map(|_| ()).expect_err("somebody else probes");
    assert!(failure.message.ends_with("one request probes it at the moment"), "{failure:?}");
    child.kill().await.expect("killed");
    let waited = timeout(Duration::from_secs(20), waits).await.expect("it is free");
    waited.expect("nothing rejects").settle(Actual::unknown(End::Succeeded));
    let asked = timeout(Duration::from_secs(20), money.admit(dear(41))).await.expect("an answer");
    assert!(asked.map(|_| ()).expect_err("what was reserved counts as spent").is_limit);
    let asked = timeout(Duration::from_secs(20), money.admit(dear(40))).await.expect("an answer");
    asked.expect("so much is left").withdraw();
    probe.admit(ask()).await.expect("this one probes now").settle(Actual::unknown(End::Succeeded));
}

#[tokio::test]
async fn what_a_killed_process_held_is_settled_by_whoever_opens_the_file() {
    let home = tempfile::tempdir().expect("a folder");
    let mut child = holder(home.path()).await;
    let connection = rusqlite::Connection::open(home.path().join("limits.db")).expect("opens");
    connection
        .execute("INSERT INTO ledgers VALUES ('damaged', x'00'), ('of another kind', '{}')", [])
        .expect("written");
    let leases = || -> u32 {
        let query = "SELECT sum(json_array_length(ledger, '$.leases')) FROM ledgers WHERE account <> 'damaged'";
        connection.query_row(query, [], |row| row.get(0)).expect("a number")
    };
    let before = narrow(home.path());
    assert_eq!(leases(), 3, "who lives keeps them");
    child.kill().await.expect("killed");
    assert_eq!(leases(), 3);
    let _after = narrow(home.path());
    assert_eq!(leases(), 0);
    let [one, ..] = before;
    let permit = timeout(Duration::from_secs(20), one.admit(dear(0))).await.expect("there is room");
    permit.expect("nothing rejects").settle(Actual::unknown(End::Succeeded));
}

#[tokio::test]
async fn a_rejection_says_why_and_passes_the_queue_on() {
    let breaker = lumos_core::spec::BreakerSpec { failures: 1, window_s: 30.0, cooldown_s: 15.0 };
    let limits = lumos_core::spec::LimitSpec { concurrency: Some(1), ..Default::default() };
    let gate = Gate::new(Rules::new(&limits, Some(&breaker)), "test", None, Arc::new(UnixClock));
    let permit = gate.admit(ask()).await.expect("the first");
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { gate.admit(ask()).await.map(|_| ()) })
        })
        .collect();
    tokio::task::yield_now().await;
    permit.settle(Actual::unknown(End::Failed { retry_after_us: None }));
    for waiting in waiting {
        let failure = waiting.await.expect("no panic").expect_err("the breaker is open");
        assert!(
            failure.message.starts_with("the backend failed 1 times within 30.0 s: it is left alone"),
            "{failure:?}"
        );
        assert!(failure.retryable && failure.retry_after_us.is_some_and(|us| us <= 15_000_000));
    }
}

#[test]
fn a_damaged_or_newer_file_is_an_error_with_a_hint() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("limits.db");
    let open = || SharedLedger::open(home.path(), Arc::new(UnixClock)).map(|_| ()).expect_err("unusable");
    std::fs::write(&file, "no database, but as long as the header of one ".repeat(50)).expect("written");
    let error = open();
    assert!(error.to_string().ends_with("limits.db: file is not a database"), "{error}");
    assert!(error.hint().contains("remove the file"));
    std::fs::remove_file(&file).expect("removed");
    let connection = rusqlite::Connection::open(&file).expect("a new file");
    connection.pragma_update(None, "user_version", 2).expect("written");
    let error = open();
    assert!(matches!(error, LimitsError::TooNew { found: 2, .. }), "{error}");
    assert!(error.to_string().ends_with("limits.db have schema 2, but this lumos knows up to 1"), "{error}");
    assert!(error.hint().contains("newer lumos"));
}

#[tokio::test]
async fn a_damaged_ledger_refuses_and_does_not_hang() {
    let home = tempfile::tempdir().expect("a folder");
    let gate = shared(home.path(), Rules { rpm: Some(10), ..Rules::default() });
    gate.admit(ask()).await.expect("admitted").settle(Actual::unknown(End::Succeeded));
    let connection = rusqlite::Connection::open(home.path().join("limits.db")).expect("opens");
    connection.execute("UPDATE ledgers SET ledger = '{}'", []).expect("written");
    let failure = gate.admit(ask()).await.map(|_| ()).expect_err("unreadable");
    assert!(failure.message.contains("limits.db: `test`: missing field"), "{failure:?}");
    assert!(failure.hint.is_some_and(|hint| hint.contains("remove the file")));
}
