//! What is kept of a run, and what happens when it cannot be.

use std::path::Path;

use lumos_core::record::Status;
use lumos_core::spec::{NodeSpec, WorkflowSpec};
use lumos_engine::{CancellationToken, Engine, Kind, RecordStore, RunRequest, StoreError};
use serde_json::{Value, json};

use crate::agents::{Does, bind, run};

fn store(home: &Path) -> RecordStore {
    RecordStore::open(home).unwrap()
}

fn engine(store: &RecordStore) -> Engine {
    Engine::builder().store(store.clone()).build()
}

fn workflow() -> WorkflowSpec {
    WorkflowSpec::new("kept").node("a", NodeSpec::custom("answers")).output("{{ a.seed }}")
}

fn statuses(store: &RecordStore) -> Vec<String> {
    store.list(&newest(100)).unwrap().into_iter().map(|run| run.status).collect()
}

fn newest(limit: usize) -> Kind {
    Kind { limit, ..Kind::default() }
}

/// The error of opening the store in a home.
fn refusal(home: &Path) -> StoreError {
    RecordStore::open(home).map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn records_survive_the_store_that_wrote_them() {
    let home = tempfile::tempdir().unwrap();
    let bound = bind(workflow(), [("answers", Does::Answers)]);
    let record = run(&engine(&store(home.path())), &bound).await.record();
    let reopened = store(home.path());
    assert_eq!(reopened.load(&record.run_id).unwrap(), record);
    assert_eq!(reopened.load(&record.run_id[..20].to_lowercase()).unwrap(), record);
    let [summary] = &reopened.list(&newest(10)).unwrap()[..] else { panic!("one run") };
    assert_eq!((summary.status.as_str(), summary.duration_us), ("succeeded", Some(record.totals.duration_us)));
    assert!(matches!(reopened.load("zzz"), Err(StoreError::UnknownRun(_))));
}

#[tokio::test]
async fn the_newest_runs_are_listed_first_and_prefixes_must_be_unique() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let bound = bind(workflow(), [("answers", Does::Answers)]);
    for _ in 0..3 {
        run(&engine(&store), &bound).await;
    }
    let ids: Vec<String> = store.list(&newest(2)).unwrap().into_iter().map(|run| run.run_id).collect();
    assert!(ids.len() == 2 && ids[0] > ids[1]);
    let Err(StoreError::Ambiguous { runs, .. }) = store.load("0") else { panic!("three runs begin with 0") };
    assert_eq!(runs.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_write_the_same_home() {
    let home = tempfile::tempdir().unwrap();
    let stores = [store(home.path()), store(home.path())];
    let bound = bind(workflow(), [("answers", Does::Answers)]);
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let (engine, bound) = (engine(&stores[number % 2]), bound.clone());
            tokio::spawn(async move { run(&engine, &bound).await.status() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Status::Succeeded);
    }
    assert_eq!(stores[0].list(&newest(1_000)).unwrap().len(), 200);
}

#[tokio::test]
async fn a_run_is_shown_while_it_goes_on_and_as_interrupted_when_its_process_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("open").node("a", NodeSpec::custom("waits")).output("{{ a }}");
    let bound = bind(workflow, [("waits", Does::Waits)]);
    let mine = store(home.path());
    let task = tokio::spawn({
        let engine = engine(&mine);
        async move { engine.run(&bound, RunRequest::default(), &CancellationToken::new()).await.map(|_| ()) }
    });
    let others = store(home.path());
    while statuses(&others).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(statuses(&others), ["running"]);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // Its process lives, but nobody goes on with the run.
    while statuses(&others) == ["running"] {
        tokio::task::yield_now().await;
    }
    drop(mine);
    assert_eq!(statuses(&others), ["interrupted"]);
    let run_id = others.list(&newest(1)).unwrap()[0].run_id.clone();
    assert_eq!(others.load(&run_id).unwrap().status, Status::Interrupted);
}

#[test]
fn the_lock_of_a_killed_process_counts_for_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    // A killed process leaves its file behind, without the lock.
    std::fs::write(home.path().join("processes").join("01KILLED"), "").unwrap();
    let database = rusqlite::Connection::open(home.path().join("lumos.db")).unwrap();
    database
        .execute(
            "INSERT INTO runs (run_id, workflow, deployment, seed, status, started_at, owner)
             VALUES ('01J', 'w', 'd', 7, 'running', '2026-11-24T10:00:00.000Z', '01KILLED')",
            [],
        )
        .unwrap();
    assert_eq!(statuses(&store), ["interrupted"]);
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    drop(store(home.path()));
    let file = home.path().join("lumos.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = refusal(home.path());
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    assert!(error.hint().contains("newer lumos"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_file_that_is_no_store_is_an_error_and_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("lumos.db");
    std::fs::write(&file, "not a database, however long it may be ".repeat(1_000)).unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = refusal(home.path());
    assert!(error.to_string().ends_with("lumos.db: file is not a database"), "{error}");
    assert!(error.hint().contains("LUMOS_HOME"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn the_database_of_another_program_is_an_error_and_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("lumos.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = refusal(home.path());
    assert!(error.to_string().ends_with("lumos.db: file is another program's database"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn damaged_pages_are_an_error() {
    let home = tempfile::tempdir().unwrap();
    let bound = bind(workflow(), [("answers", Does::Answers)]);
    run(&engine(&store(home.path())), &bound).await;
    let file = home.path().join("lumos.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // The first page holds the schema; what follows are the runs.
    bytes[4096..].fill(0xA5);
    std::fs::write(&file, bytes).unwrap();
    let error = RecordStore::open(home.path()).and_then(|store| store.list(&newest(10))).unwrap_err();
    assert!(error.to_string().contains("malformed"), "{error}");
}

#[test]
fn places_that_cannot_hold_a_store_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let occupied = folder.path().join("occupied");
    std::fs::create_dir_all(occupied.join("lumos.db")).unwrap();
    // Nobody, not even root, may make a folder in `/proc`.
    let homes = [file.as_path(), &file.join("below"), &occupied, Path::new("/proc/lumos")];
    for home in homes.into_iter().filter(|home| cfg!(target_os = "linux") || !home.starts_with("/proc")) {
        let error = refusal(home);
        assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(&*home.to_string_lossy()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_record_whatever_ends_first() {
    let answers = || NodeSpec::custom("answers");
    let workflow = WorkflowSpec::new("same")
        .node("start", answers().with("list", "{{ [3, 1, 2] }}"))
        .node("left", answers().with("from", "{{ start.seed }}"))
        .node("right", answers().with("from", "{{ start.seed }}"))
        .node("each", answers().map("{{ start.arguments.list }}", Some(2)).with("entry", "{{ item }}"))
        .node("again", answers().repeat("{{ false }}", 3).after("left"))
        .node("skipped", answers().when("{{ start.seed < 0 }}"))
        .node("end", answers().with("all", "{{ [left, right, each, again] }}"))
        .output("{{ end.arguments.all | length }} {{ end.seed }}");
    let bound = bind(workflow, [("answers", Does::Answers)]);
    let engine = Engine::builder().build();
    let mut records = Vec::new();
    for seed in [7, 7, 7, 7, 7, 8] {
        let request = RunRequest { seed, ..RunRequest::default() };
        let finished = engine.run(&bound, request, &CancellationToken::new()).await.unwrap();
        assert_eq!(finished.status(), Status::Succeeded);
        records.push(lasting(serde_json::to_value(finished.record()).unwrap()));
    }
    assert_eq!(records[0]["steps"].as_array().unwrap().len(), 11);
    assert!(records[1..5].iter().all(|record| *record == records[0]));
    assert_ne!(records[5]["output"], records[0]["output"]);
}

/// What two runs with the same seed must agree in: all but times, the run's id and cached tokens.
fn lasting(record: Value) -> Value {
    let varies = |name: &str| {
        name.ends_with("_us") || matches!(name, "run_id" | "started_at" | "cached_input_tokens" | "cache_write_tokens")
    };
    match record {
        Value::Object(fields) => {
            fields.into_iter().filter(|(name, _)| !varies(name)).map(|(name, field)| (name, lasting(field))).collect()
        }
        Value::Array(entries) => entries.into_iter().map(lasting).collect(),
        other => other,
    }
}

#[test]
fn times_are_not_what_lasts() {
    assert_eq!(lasting(json!({"a_us": 1, "b": [{"run_id": 2, "c": 3}]})), json!({"b": [{"c": 3}]}));
}
