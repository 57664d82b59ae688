//! An evaluation that is interrupted goes on where it was.

use std::process::Stdio;
use std::time::Duration;

use super::{Served, answer, command, deployment, document, number, per_token, question, sandbox};

#[cfg(unix)]
#[test]
fn rows_that_were_done_are_not_run_again() {
    // The fourth item is never answered, at first.
    let is_patient = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let patient = is_patient.clone();
    let served = Served::by(move |request| {
        let asked = number(&question(request));
        if asked == 4 && !patient.load(std::sync::atomic::Ordering::SeqCst) {
            return lumos_faults::Reply::Silence;
        }
        answer(&format!("item {asked}"), Duration::ZERO, (10, 5))
    });
    let sandbox = sandbox(6);
    sandbox.write("a.ron", &deployment("a", &served.url(), &per_token("1", "2")));
    let arguments = ["eval", "ask.ron", "-d", "./a.ron", "--dataset", "d.jsonl"];
    // Killed, so that nobody tidies up.
    let mut child = command(&sandbox, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while served.requests() < 4 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    is_patient.store(true, std::sync::atomic::Ordering::SeqCst);
    let output = command(&sandbox, &arguments).output().unwrap();
    let (code, found) = document(&output);
    assert_eq!((code, &found["resumed"], &found["runs"]), (Some(0), &3.into(), &6.into()));
    assert_eq!(found["quality"]["value"], 1.0);
    // Six rows, and the one in flight at the kill once more.
    assert_eq!(served.requests(), 7);
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 of 6 runs were made before"));
    // One that has ended begins anew.
    let (_, found) = document(&command(&sandbox, &arguments).output().unwrap());
    assert_eq!((&found["resumed"], served.requests()), (&0.into(), 13));
}

#[cfg(unix)]
#[test]
fn an_interruption_keeps_what_is_done_and_says_how_to_go_on() {
    let served = Served::by(|request| match number(&question(request)) {
        3 => lumos_faults::Reply::Silence,
        asked => answer(&format!("item {asked}"), Duration::ZERO, (10, 5)),
    });
    let sandbox = sandbox(5);
    sandbox.write("a.ron", &deployment("a", &served.url(), &per_token("1", "2")));
    let arguments = ["eval", "ask.ron", "-d", "./a.ron", "--dataset", "d.jsonl"];
    let child = command(&sandbox, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while served.requests() < 3 {
        std::thread::yield_now();
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let (code, found) = document(&output);
    assert_eq!((code, &found["runs"], &found["is_partial"]), (Some(130), &2.into(), &true.into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the same command goes on where it was"));
}
