//! Runs killed at random moments and resumed until they end.

use std::collections::BTreeMap;
use std::time::Duration;

use lumos::core::chance::mix;
use serde_json::Value;

use super::{Process, Setting, check, document, essence, exit, said};

/// Longest that the server takes for an answer: long enough for most kills to hit a few attempts in flight.
const SLOWEST: Duration = Duration::from_millis(25);

/// Numbers by a seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % end
    }
}

/// What came of many kills.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    runs: u64,
    steps: usize,
    attempts: usize,
    interrupted: usize,
    /// Kills that came before anything of the run was on disk.
    unborn: u64,
    /// Kills that came after its end was.
    late: u64,
}

/// Waits for a moment of a process's life: a time since its start, or a little after some more requests have come.
fn wait_for_a_moment(setting: &Setting, run: &str, child: &mut Process, draws: &mut Draws, span: Duration) {
    let has_ended = || child.has_ended();
    if draws.below(2) == 0 {
        std::thread::sleep(span.mul_f64(draws.below(1000) as f64 / 1000.0));
    } else {
        let more = draws.below(12) as usize;
        setting.server.wait_for_count(run, setting.server.count(run) + more, has_ended);
        std::thread::sleep(Duration::from_micros(draws.below(20_000)));
    }
}

/// Kills a run again and again until it ends or there were `most` kills in all; its record at the end.
fn kill_until_it_ends(setting: &Setting, run: &str, draws: &mut Draws, most: u64, tally: &mut Tally) -> Value {
    let before = setting.runs().len();
    let mut child = setting.begin(run);
    let mut span = Duration::from_millis(400);
    loop {
        if tally.kills >= most {
            let output = child.end();
            assert!(output.status.success(), "{run}: {}", said(&output));
            return document(&output);
        }
        wait_for_a_moment(setting, run, &mut child, draws, span);
        if child.has_ended() {
            let output = child.end();
            assert!(output.status.success(), "{run}: {}", said(&output));
            return document(&output);
        }
        child.kill();
        tally.kills += 1;
        let runs = setting.runs();
        if runs.len() == before {
            assert_eq!(setting.server.count(run), 0, "{run} did something before it was on disk");
            tally.unborn += 1;
            child = setting.begin(run);
            continue;
        }
        assert_eq!(runs.len(), before + 1, "{run} is there twice");
        let (id, status) = &runs[0];
        setting.verify(&[id]);
        let record = setting.show(id);
        check(&record, &setting.server.answers(run));
        if status == "succeeded" {
            tally.late += 1;
            return record;
        }
        assert_eq!((status.as_str(), record["status"].as_str()), ("interrupted", Some("interrupted")), "{run}");
        // On a machine that is so busy that nothing is done between two kills, they come later and later.
        span = span.mul_f64(1.05);
        child = setting.resume(id);
    }
}

fn kill(kills: u64, seed: u64) {
    println!("{kills} kills with seed {seed}");
    let setting = Setting::new(SLOWEST);
    let expected = essence(&setting.undisturbed());
    assert_eq!(expected.2.len(), 60, "{:#?}", expected.2);
    let (mut draws, mut tally) = (Draws(seed), Tally::default());
    let mut ends = BTreeMap::new();
    while tally.kills < kills {
        let run = format!("r{}", tally.runs);
        let record = kill_until_it_ends(&setting, &run, &mut draws, kills, &mut tally);
        assert_eq!(essence(&record), expected, "{run} differs from the undisturbed run");
        tally.runs += 1;
        tally.steps += expected.2.len();
        tally.interrupted += check(&record, &setting.server.answers(&run));
        tally.attempts += record["totals"]["attempts"].as_u64().expect("a number") as usize;
        ends.insert(record["run_id"].as_str().expect("an id").to_owned(), record);
    }
    setting.verify(&[]);
    let kept: BTreeMap<String, String> = setting.runs().into_iter().collect();
    assert_eq!(kept.len(), ends.len() + 1);
    for (id, record) in &ends {
        assert_eq!(kept.get(id).map(String::as_str), Some("succeeded"));
        assert_eq!(&setting.show(id), record, "what is kept differs from what was told");
    }
    println!("{tally:?}");
}

#[test]
fn killed_runs_end_as_if_nothing_had_happened() {
    kill(25, 1);
}

/// Takes a few minutes; `LUMOS_KILLS` and `LUMOS_SEED` say how many kills, and which.
#[test]
#[ignore = "takes minutes"]
fn five_hundred_kills() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    kill(number("LUMOS_KILLS", 500), number("LUMOS_SEED", 5));
}

#[test]
fn of_two_processes_that_resume_a_run_one_gets_it() {
    let setting = Setting::new(Duration::from_millis(3));
    let server = setting.server.clone();
    let expected = essence(&setting.undisturbed());

    // Killed in the middle.
    server.hold("raced", "c4/-/-");
    let mut child = setting.begin("raced");
    assert!(server.wait_for("raced", "c4/-/-", || child.has_ended()));
    child.kill();
    server.let_go("raced", "c4/-/-");
    let (id, status) = setting.newest();
    assert_eq!(status, "interrupted");

    // The one that gets it cannot end before the other has been refused.
    server.hold("raced", "end/-/-");
    let mut racers = [setting.resume(&id), setting.resume(&id)];
    server.wait_for("raced", "end/-/-", || racers.iter_mut().all(Process::has_ended));
    let loser = loop {
        if let Some(loser) = racers.iter_mut().position(Process::has_ended) {
            break loser;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let [first, second] = racers;
    let (loser, winner) = if loser == 0 { (first, second) } else { (second, first) };
    let refused = loser.end();
    assert!(matches!(exit(refused.status), 1 | 2), "{}", said(&refused));
    assert!(said(&refused).contains(&id) && said(&refused).contains("process"), "{}", said(&refused));
    server.let_go("raced", "end/-/-");
    let won = winner.end();
    assert_eq!(exit(won.status), 0, "{}", said(&won));
    let record = document(&won);
    assert_eq!(essence(&record), expected);
    check(&record, &server.answers("raced"));
    setting.verify(&[]);

    // A run that has ended has nothing left to do, and is not done again.
    let asked = server.count("raced");
    let again = setting.output(&["resume", &id, "--format", "json"]);
    assert_eq!(server.count("raced"), asked, "{}", said(&again));
    assert_eq!(setting.show(&id), record);
}

#[test]
fn all_that_was_interrupted_is_resumed_at_once() {
    let setting = Setting::new(Duration::from_millis(3));
    let server = setting.server.clone();
    let expected = essence(&setting.undisturbed());
    for run in ["one", "two"] {
        server.hold(run, "c2/-/-");
        let mut child = setting.begin(run);
        assert!(server.wait_for(run, "c2/-/-", || child.has_ended()));
        child.kill();
        server.let_go(run, "c2/-/-");
    }
    let document = setting.json(&["resume", "--all", "--format", "json"]);
    let records = document["runs"].as_array().expect("runs");
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(essence(record), expected);
        let base = record["inputs"]["base"].as_str().expect("a text");
        let interrupted = check(record, &server.answers(base.rsplit('/').next().expect("a name")));
        assert!(interrupted >= 1);
    }
    setting.verify(&[]);
    assert_eq!(setting.json(&["resume", "--all", "--format", "json"])["runs"], Value::Array(Vec::new()));
}
