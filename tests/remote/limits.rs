//! Two hundred runs at once, in one process and in two, before a server that enforces exactly the limits they are told.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lumos::core::chance::mix;
use lumos::core::{Clock as _, Status};
use lumos::engine::{CancellationToken, UnixClock};
use lumos_faults::{Answer, FaultServer, Limits, Received, Reply, Script, Tokens};
use tokio::task::JoinSet;

use super::{Files, ask_until, bind, builder, openai, serve};

/// Tells a test that it is the second process of another one.
const FOLDER: &str = "LUMOS_TEST_REMOTE_FOLDER";
const MAX_TOKENS: u32 = 60;

/// How long is asked, and of that the time in which the bucket has long been empty.
const ASKED: Duration = Duration::from_secs(9);
const STEADY: Duration = Duration::from_secs(5);

/// A question of its own length.
fn question(number: u64, words: u64) -> String {
    "stock ".repeat((words / 2 + mix(number) % words) as usize)
}

/// What the server counts for a request: as many tokens as the text has words, and a few for the frame.
fn tokens(request: &Received) -> Tokens {
    let body = request.json();
    let content = body["messages"][0]["content"].as_str().unwrap_or_default();
    let words = content.split_whitespace().count() as u64;
    Tokens::new(words + 8, 10 + mix(words) % 40)
}

fn script(limits: Limits) -> Script {
    let rule = |request: &Received| {
        let tokens = tokens(request);
        let first = Duration::from_millis(20 + mix(tokens.input) % 40);
        Reply::Answer(Answer { tokens, first, ..Answer::new("as you say") })
    };
    Script::by(rule).limited(limits)
}

fn files(limits: &Limits, url: &str) -> Files {
    let (rpm, tpm) = (limits.requests.unwrap_or_default(), limits.tokens.unwrap_or_default());
    let rest = format!("cost: Unknown, limits: (rpm: {rpm}, tpm: {tpm})");
    Files::new("", MAX_TOKENS, &openai("api", url, &rest))
}

/// Keeps `runs` runs going for as long as is asked; how many succeeded.
async fn saturate(folder: &Path, runs: usize, words: u64) -> u64 {
    let lumos = Arc::new(builder(folder).build().expect("a facade"));
    let program = bind(&lumos, folder);
    let (cancel, begun, done) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..runs {
        let (lumos, program, cancel) = (lumos.clone(), program.clone(), cancel.clone());
        let (begun, done) = (begun.clone(), done.clone());
        running.spawn(async move {
            while !cancel.is_cancelled() {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                let record = ask_until(&lumos, &program, &question(number, words), &cancel).await;
                match record.status {
                    Status::Succeeded => done.fetch_add(1, Ordering::Relaxed),
                    status => {
                        assert_eq!(status, Status::Cancelled, "{:?}", record.error);
                        0
                    }
                };
            }
        });
    }
    tokio::time::sleep(ASKED).await;
    cancel.cancel();
    running.join_all().await;
    done.load(Ordering::Relaxed)
}

/// Shares of what the server allowed that were used, by the limit that was used most.
struct Used {
    binding: &'static str,
    /// From the first request, with all that the full bucket held.
    whole: f64,
    /// While it is refilled only.
    steady: f64,
}

fn used(server: &FaultServer, limits: &Limits, ended_us: u64) -> Used {
    let requests = server.requests();
    let begun_us = requests.first().expect("requests").at_us;
    let share = |limit: Option<u64>, count: &dyn Fn(&Received) -> u64, from_us: u64, full: f64| {
        let limit = limit.expect("a limit") as f64;
        let seconds = (ended_us - from_us) as f64 / 1e6;
        let allowed = limit * full + limit / limits.window.as_secs_f64() * seconds;
        let within = requests.iter().filter(|request| (from_us..=ended_us).contains(&request.at_us));
        within.map(count).sum::<u64>() as f64 / allowed
    };
    let all = |request: &Received| tokens(request).input + tokens(request).output;
    let steady_us = ended_us - STEADY.as_micros() as u64;
    let of = |binding, limit, count: &dyn Fn(&Received) -> u64| Used {
        binding,
        whole: share(limit, count, begun_us, 1.0),
        steady: share(limit, count, steady_us, 0.0),
    };
    let (rpm, tpm) = (of("rpm", limits.requests, &|_| 1), of("tpm", limits.tokens, &all));
    if rpm.whole > tpm.whole { rpm } else { tpm }
}

fn check(name: &str, server: &FaultServer, limits: &Limits, ended_us: u64, binding: &str) {
    let used = used(server, limits, ended_us);
    println!(
        "{name}: {} requests, {} refused; {} binds: {:.1} % of all that was allowed used, {:.1} % of the refill",
        server.requests().len(),
        server.rejected(),
        used.binding,
        used.whole * 100.0,
        used.steady * 100.0
    );
    assert_eq!(server.rejected(), 0);
    assert_eq!(used.binding, binding);
    assert!(used.whole >= 0.95 && used.steady >= 0.95);
}

async fn alone(limits: Limits, words: u64, binding: &str) {
    let server = serve(script(limits)).await;
    let files = files(&limits, &server.url());
    let succeeded = saturate(files.folder(), 200, words).await;
    let ended_us = UnixClock.now_us();
    check(&format!("one process, {binding}"), &server, &limits, ended_us, binding);
    assert!(succeeded + 200 >= server.requests().len() as u64, "all but those in flight at the end succeed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_meet_no_429_and_use_what_requests_allow() {
    alone(Limits::per_minute(1200, 400_000), 20, "rpm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_meet_no_429_and_use_what_tokens_allow() {
    alone(Limits::per_minute(6000, 120_000), 70, "tpm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_meet_no_429_and_use_what_is_allowed() {
    let limits = Limits::per_minute(1200, 400_000);
    let server = serve(script(limits)).await;
    let files = files(&limits, &server.url());
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["remote::limits::the_second_of_two_processes", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, files.folder())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs again");
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        // The test harness begins a line that it does not end.
        for line in output.lines().map_while(Result::ok) {
            if let Some((_, told)) = line.split_once('>') {
                let _ = sender.send(told.to_owned());
            }
        }
        child.wait()
    });
    assert_eq!(told.recv().await.as_deref(), Some("begins"));
    let ours = saturate(files.folder(), 100, 20).await;
    let ended_us = UnixClock.now_us();
    let theirs: u64 = told.recv().await.expect("it ends well").parse().expect("a number");
    assert!(reader.join().expect("no panic").expect("it ran").success());
    println!("two processes: {ours} and {theirs} runs");
    check("two processes", &server, &limits, ended_us, "rpm");
    // Whoever is there first empties the full bucket; of what comes back, both get a part.
    assert!(ours > 30 && theirs > 30, "{ours} and {theirs}: one is shut out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the second process of another test"]
async fn the_second_of_two_processes() {
    let folder = std::env::var(FOLDER).expect("set");
    println!(">begins");
    println!(">{}", saturate(Path::new(&folder), 100, 20).await);
}
