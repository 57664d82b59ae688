//! Runs that outlive whoever drives them: resumed, taken over, forked, replayed, verified and pruned.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use indexmap::IndexMap;
use lumos_core::program::{LiveValue, Program};
use lumos_core::record::Status;
use lumos_core::scheduler::{By, Decision, StepId};
use lumos_core::spec::{Durability, NodeSpec, WorkflowSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, TraceContext};
use lumos_engine::{
    BoundProgram, CancellationToken, Engine, EngineError, EventSink, Fork, Kind, NodeBinding, RecordStore, RunEvent,
    RunRequest, StoreError,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Counts its calls, and answers with its argument once there is a permit.
pub struct Counts {
    calls: AtomicU32,
    pub permits: Semaphore,
}

#[async_trait]
impl Agent for Counts {
    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.expect("never closed").forget();
        Ok(json!({ "got": call.arguments.get("x") }).into())
    }
}

impl Counts {
    pub fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { calls: AtomicU32::new(0), permits: Semaphore::new(permits) })
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

pub fn bind(workflow: WorkflowSpec, agent: &Arc<Counts>, durability: Durability) -> Arc<BoundProgram> {
    let program = Program::compile(&Arc::new(workflow).into()).unwrap();
    let bound = BoundProgram::new(program, "test", |_| {
        Ok::<_, std::convert::Infallible>(NodeBinding { agent: Some(agent.clone()), backends: Vec::new() })
    });
    Arc::new(bound.unwrap().durable(durability))
}

pub fn node(x: &str) -> NodeSpec {
    NodeSpec::custom("counts").with("x", x)
}

/// Three steps in a row, two of them with a long value.
pub fn chain() -> WorkflowSpec {
    let mut spec = WorkflowSpec::new("chain")
        .node("a", node("{{ 'long ' * 200 }}"))
        .node("b", node("{{ a.got }}"))
        .node("c", node("{{ b.got | length }}"))
        .output("{{ c.got }}");
    spec.nodes["a"].options.with.insert("y".to_owned(), "{{ 1 }}".to_owned());
    spec
}

pub fn store(home: &Path) -> RecordStore {
    RecordStore::open(home).unwrap()
}

pub fn engine(store: &RecordStore) -> Engine {
    Engine::builder().store(store.clone()).build()
}

fn newest(store: &RecordStore) -> String {
    store.list(&Kind::default()).unwrap()[0].run_id.clone()
}

/// What people have decided, by step.
pub type Answers = Vec<(StepId, Decision<LiveValue>)>;

/// That a person agrees to a step.
pub fn agreed(step: u32) -> Answers {
    vec![(StepId(step), Decision::Approved { by: By::Person })]
}

/// Starts a run, lets its agent answer `permits` times, and drops it when it has been called once more.
pub async fn interrupted(
    home: &Path,
    workflow: WorkflowSpec,
    permits: usize,
) -> (Arc<Counts>, Arc<BoundProgram>, String) {
    let agent = Counts::new(permits);
    let bound = bind(workflow, &agent, Durability::Full);
    let store = store(home);
    let task = tokio::spawn({
        let (engine, bound) = (engine(&store), bound.clone());
        async move { engine.run(&bound, RunRequest::default(), &CancellationToken::new()).await.map(|_| ()) }
    });
    while agent.calls() <= permits as u32 {
        tokio::task::yield_now().await;
    }
    task.abort();
    task.await.unwrap_err();
    let run_id = newest(&store);
    (agent, bound, run_id)
}

async fn resume(store: &RecordStore, bound: &Arc<BoundProgram>, id: &str) -> Result<Status, EngineError> {
    let finished = engine(store).resume(bound, id, Vec::new(), &CancellationToken::new()).await?;
    Ok(finished.status())
}

#[tokio::test]
async fn a_resumed_run_asks_only_what_was_not_answered() {
    let home = tempfile::tempdir().unwrap();
    let (agent, bound, id) = interrupted(home.path(), chain(), 1).await;
    assert_eq!(agent.calls(), 2);
    agent.permits.add_permits(10);
    let store = store(home.path());
    assert_eq!(resume(&store, &bound, &id[..20]).await.unwrap(), Status::Succeeded);
    // `b` was in flight and is made again; `a` is not.
    assert_eq!(agent.calls(), 4);
    let record = store.load(&id).unwrap();
    let statuses: Vec<Vec<Status>> =
        record.steps.iter().map(|step| step.attempts.iter().map(|attempt| attempt.status).collect()).collect();
    use Status::{Interrupted, Succeeded};
    assert_eq!(statuses, [vec![Succeeded], vec![Interrupted, Succeeded], vec![Succeeded]]);
    assert_eq!(record.output, json!(1000));
    // What an interrupted attempt asked is what the one in its place asks.
    let replayed = store.replay(&bound, &id).unwrap();
    assert_eq!(replayed.difference, None);
    assert!(store.verify(None).unwrap().flaws.is_empty());
    let error = resume(&store, &bound, &id).await.unwrap_err();
    assert!(matches!(error, EngineError::Unreadable(StoreError::Ended { status: Status::Succeeded, .. })), "{error}");
}

#[tokio::test]
async fn only_one_process_has_a_run_and_whoever_lost_it_writes_no_more() {
    lose_a_run().await;
}

/// There, a run that is alone is not written by the store's thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_where_it_carries_the_run_out() {
    lose_a_run().await;
}

async fn lose_a_run() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(0);
    let bound = bind(chain(), &agent, Durability::Full);
    let mine = store(home.path());
    let task = tokio::spawn({
        let (engine, bound) = (engine(&mine), bound.clone());
        async move { engine.run(&bound, RunRequest::default(), &CancellationToken::new()).await.map(|_| ()) }
    });
    while agent.calls() == 0 {
        tokio::task::yield_now().await;
    }
    let (others, id) = (store(home.path()), newest(&mine));
    let error = resume(&others, &bound, &id).await.unwrap_err();
    assert!(matches!(error, EngineError::Unreadable(StoreError::Held(_))), "{error}");
    // As if this process had been silent for longer than its lease.
    let database = Connection::open(home.path().join("lumos.db")).unwrap();
    database.execute("UPDATE processes SET expires_us = 0", []).unwrap();
    let other = Counts::new(10);
    let taken = bind(chain(), &other, Durability::Full);
    assert_eq!(resume(&others, &taken, &id).await.unwrap(), Status::Succeeded);
    let rows = |table: &str| -> i64 {
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let before = ["log", "blobs", "steps", "attempts"].map(rows);
    agent.permits.add_permits(10);
    let error = task.await.unwrap().unwrap_err();
    let EngineError::Store { error: StoreError::Fenced(lost), .. } = error else { panic!("{error}") };
    assert_eq!(lost, id);
    assert_eq!(["log", "blobs", "steps", "attempts"].map(rows), before);
    // Its attempt in flight ended; nothing was started after it.
    assert_eq!((agent.calls(), other.calls()), (1, 3));
    assert!(others.verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn a_fork_shares_what_was_before_its_step() {
    let home = tempfile::tempdir().unwrap();
    let workflow = || {
        WorkflowSpec::new("two")
            .node("start", node("1"))
            .node("slow", node("{{ start.got }}"))
            .node("quick", node("{{ start.got }}!"))
            .node("end", node("{{ slow.got }}{{ quick.got }}"))
            .output("{{ end.got }}")
    };
    let agent = Counts::new(100);
    let bound = bind(workflow(), &agent, Durability::Full);
    let store = store(home.path());
    let first = engine(&store).run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap().record();
    assert_eq!((agent.calls(), &first.output), (4, &json!("11!")));
    let history = store.history(&first.run_id).unwrap();
    let step =
        |name: &str| -> StepId { history.steps()[first.steps.iter().position(|step| step.node == name).unwrap()] };
    let fork = |name: &str| Fork {
        run_id: first.run_id.clone(),
        at: step(name),
        inputs: IndexMap::default(),
        seed: None,
        trace_parent: None,
    };
    for (name, calls) in [("end", 1), ("quick", 2), ("start", 4)] {
        let before = agent.calls();
        let forked = engine(&store).fork(&bound, &fork(name), &CancellationToken::new()).await.unwrap().record();
        assert_eq!((agent.calls() - before, &forked.output), (calls, &first.output), "{name}");
        // What the other run paid for is not paid for again.
        let attempts = || forked.steps.iter().flat_map(|step| &step.attempts);
        let shared = attempts().filter(|attempt| attempt.shared).count();
        assert_eq!((forked.totals.attempts, shared), (calls.into(), 4 - calls as usize), "{name}");
        assert_eq!(forked.forked_from.as_ref(), Some(&first.run_id), "{name}");
        let query = "SELECT count(*) FROM attempts JOIN runs ON runs.id = run WHERE run_id = ?1 AND shared";
        let database = Connection::open(home.path().join("lumos.db")).unwrap();
        let listed: i64 = database.query_row(query, [&forked.run_id], |row| row.get(0)).unwrap();
        assert_eq!(listed as usize, shared, "{name}");
        assert_ne!(forked.run_id, first.run_id);
        assert_eq!(store.load(&forked.run_id).unwrap(), forked);
        assert_eq!(store.replay(&bound, &forked.run_id).unwrap().difference, None);
    }
    assert!(store.verify(None).unwrap().flaws.is_empty());
    // A run stays as long as another shares its log.
    let pruned = store.prune("9", false, true).unwrap();
    assert_eq!(pruned.runs.len(), 4);
    let database = Connection::open(home.path().join("lumos.db")).unwrap();
    database.execute("UPDATE runs SET started_at = '9999' WHERE parent IS NOT NULL", []).unwrap();
    assert_eq!(store.prune("9", false, false).unwrap().runs, Vec::<String>::new());
    database.execute("UPDATE runs SET started_at = '2026'", []).unwrap();
    let pruned = store.prune("9", false, false).unwrap();
    assert_eq!((pruned.runs.len(), store.list(&Kind::default()).unwrap().len()), (4, 0));
    for table in ["log", "blobs", "steps", "attempts"] {
        let left: i64 = database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(100);
    let bound = bind(chain(), &agent, Durability::Full);
    let kept = store(home.path());
    let id = engine(&kept).run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap().record().run_id;
    drop(kept);
    let file = home.path().join("lumos.db");
    let whole = std::fs::read(&file).unwrap();
    let damages = [
        // The last answer, which no other step reads.
        "UPDATE log SET events = replace(events, '{\"got\":1000', '{\"got\":1001') WHERE seq = (SELECT max(seq) FROM log)",
        "UPDATE log SET events = replace(events, '\"at_us\":', '\"at_us\":1') WHERE seq = 0",
        "UPDATE log SET digest = zeroblob(16) WHERE seq = 0",
        "DELETE FROM log WHERE seq = 3",
        "UPDATE blobs SET data = CAST(replace(CAST(data AS TEXT), 'long ', 'lung ') AS BLOB)",
        "DELETE FROM blobs WHERE length(data) < 2000",
        "UPDATE runs SET status = 'failed'",
        "UPDATE runs SET seed = 1",
        "UPDATE runs SET duration_us = duration_us + 1",
        "UPDATE endings SET steps = '[]'",
        "UPDATE endings SET steps = replace(steps, 'succeeded', 'failed')",
        "UPDATE runs SET workflow = 'another'",
        "UPDATE runs SET deployment = 'another'",
        "UPDATE runs SET critical_path_us = critical_path_us + 1",
        "UPDATE runs SET input_tokens = 7",
        "UPDATE runs SET bytes_outside = bytes_outside + 1",
        "UPDATE runs SET cost_complete = NOT cost_complete",
        "UPDATE runs SET started_at = '2026-01-01T00:00:00.000Z'",
        "UPDATE log SET at_us = at_us + 1 WHERE seq = 0",
        "UPDATE endings SET steps = '[{'",
        "UPDATE endings SET steps = 7",
        "DELETE FROM endings",
        "UPDATE runs SET seed = 'seven'",
        "UPDATE runs SET inputs = '{'",
        "UPDATE runs SET definition = x'00'",
        "UPDATE runs SET workflow = CAST(x'ff' AS TEXT)",
        "UPDATE runs SET started_at = CAST(x'ff' AS TEXT)",
        "UPDATE log SET events = CAST(x'ff' AS TEXT) WHERE seq = 0",
        "UPDATE log SET events = x'00' WHERE seq = 0",
        "UPDATE log SET at_us = 'noon' WHERE seq = 0",
        "UPDATE log SET digest = 'none' WHERE seq = 0",
        "UPDATE blobs SET data = 7",
        "UPDATE runs SET parent = id, parent_events = 1",
        "UPDATE runs SET parent = 99, parent_events = 1",
        "DELETE FROM runs WHERE parent IS NULL",
        "UPDATE runs SET trace_parent = 'zz'",
        "UPDATE runs SET epoch = 'zz'",
        "UPDATE runs SET record = 'zz'",
        "UPDATE runs SET epoch = -1",
        "UPDATE runs SET form = 7",
        "UPDATE runs SET parent = 1",
        "UPDATE log SET blobs = NULL WHERE blobs IS NOT NULL",
        "DROP VIEW steps",
        "DROP INDEX log_of_run",
        "DROP VIEW steps; CREATE VIEW steps AS SELECT run, 1 AS step FROM endings",
        "DROP INDEX log_of_run; CREATE INDEX log_of_run ON log (seq)",
    ];
    for damage in damages {
        std::fs::write(&file, &whole).unwrap();
        let database = Connection::open(&file).unwrap();
        database.pragma_update(None, "foreign_keys", false).unwrap();
        database.execute_batch(damage).unwrap();
        assert!(database.changes() > 0 || damage.starts_with("DROP"), "{damage}");
        drop(database);
        let store = RecordStore::reader(home.path());
        let flaws = store.verify(None).unwrap().flaws;
        assert!(!flaws.is_empty(), "{damage}: {flaws:?}");
        // A row that cannot be read, or is not there, has no id to be found by.
        let Ok(verified) = store.verify(Some(&id)) else {
            assert!(flaws.iter().all(|flaw| flaw.run_id.is_none()), "{damage}: {flaws:?}");
            continue;
        };
        let is_of_the_file = flaws.iter().all(|flaw| flaw.run_id.is_none());
        assert!(!verified.flaws.is_empty() || is_of_the_file, "{damage}: {flaws:?}");
        let is_read = !damage.starts_with("DROP") && !damage.contains("SET blobs");
        if is_read && (damage.contains("log") || damage.contains("blobs")) {
            let error = store.replay(&bound, &id).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{damage}: {error}");
        }
    }
    // One bit, somewhere in a long value.
    let mut bytes = whole.clone();
    let at = bytes.windows(9).position(|window| window == b"long long").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(!RecordStore::reader(home.path()).verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn a_replay_says_where_another_program_would_ask_something_else() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(100);
    let store = store(home.path());
    let bound = bind(chain(), &agent, Durability::Full);
    let id =
        engine(&store).run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap().record().run_id;
    assert_eq!(store.replay(&bound, &id).unwrap().difference, None);
    let mut other = chain();
    other.nodes["c"].options.with["x"] = "{{ b.got | upper }}".to_owned();
    let difference = store.replay(&bind(other, &agent, Durability::Full), &id).unwrap().difference.unwrap();
    assert_eq!((difference.step, difference.attempt), (Some(2), Some(1)));
    assert_eq!(difference.message, "the attempt would ask something else now");
    assert_eq!(agent.calls(), 3, "nothing is asked");
}

#[tokio::test]
async fn durability_is_a_choice() {
    for (durability, runs) in [(Durability::Full, 1), (Durability::Normal, 1), (Durability::Off, 0)] {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        let bound = bind(chain(), &Counts::new(10), durability);
        let finished = engine(&store).run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap();
        assert_eq!(finished.status(), Status::Succeeded);
        assert_eq!(store.list(&Kind::default()).unwrap().len(), runs, "{durability:?}");
    }
}

#[tokio::test]
async fn large_values_are_kept_once() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let mut workflow = WorkflowSpec::new("large").output("{{ s9.got | length }}");
    for number in 0..10 {
        workflow = workflow.node(format!("s{number}"), node("{{ inputs.document }}"));
    }
    let bound = bind(workflow, &Counts::new(10), Durability::Full);
    let inputs = [("document".to_owned(), Value::String("x".repeat(100_000)))].into_iter().collect();
    engine(&store)
        .run(&bound, RunRequest { inputs, ..RunRequest::default() }, &CancellationToken::new())
        .await
        .unwrap();
    let database = Connection::open(home.path().join("lumos.db")).unwrap();
    // The definition, the inputs, and the ten equal answers.
    let blobs: i64 = database.query_row("SELECT count(*) FROM blobs", [], |row| row.get(0)).unwrap();
    assert_eq!(blobs, 3);
}

#[tokio::test]
async fn records_of_version_1_stay() {
    let home = tempfile::tempdir().unwrap();
    let agent = Counts::new(10);
    let bound = bind(chain(), &agent, Durability::Full);
    let record = Engine::builder().build().run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap();
    let record = record.record();
    let database = Connection::open(home.path().join("lumos.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE runs (run_id TEXT PRIMARY KEY, workflow TEXT NOT NULL, deployment TEXT NOT NULL,
             status TEXT NOT NULL, started_at TEXT NOT NULL, duration_us INTEGER, cost_usd TEXT, owner TEXT,
             record TEXT NOT NULL); PRAGMA user_version = 1;",
        )
        .unwrap();
    let text = serde_json::to_string(&record).unwrap();
    let insert = "INSERT INTO runs VALUES (?1, 'chain', 'test', 'succeeded', '2026-11-24T10:00:00Z', 5, '0.000000123', NULL, ?2)";
    database.execute(insert, (&record.run_id, text)).unwrap();
    drop(database);
    // Even who only reads brings the file up to date.
    let store = RecordStore::reader(home.path());
    let [summary] = &store.list(&Kind::default()).unwrap()[..] else { panic!("one run") };
    assert_eq!((summary.duration_us, summary.cost_usd.as_deref()), (Some(5), Some("0.000000123")));
    assert_eq!(store.load(&record.run_id).unwrap(), record);
    assert!(matches!(store.history(&record.run_id), Err(StoreError::NoLog(_))));
    assert!(store.verify(None).unwrap().flaws.is_empty());
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_no_replay() {
    let home = tempfile::tempdir().unwrap();
    let bound = bind(chain(), &Counts::new(10), Durability::Full);
    let store = store(home.path());
    let record = engine(&store).run(&bound, RunRequest::default(), &CancellationToken::new()).await.unwrap().record();
    let database = Connection::open(home.path().join("lumos.db")).unwrap();
    database.execute("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)", []).unwrap();
    let difference = store.replay(&bound, &record.run_id).unwrap().difference.unwrap();
    assert_eq!(difference.message, "the log ends here, and the run is `succeeded`");
}

#[tokio::test]
async fn a_run_belongs_to_its_callers_trace_whoever_goes_on_with_it() {
    let home = tempfile::tempdir().unwrap();
    let workflow = WorkflowSpec::new("asks").node("asked", node("1").approve("Go on?")).output("{{ asked.got }}");
    let bound = bind(workflow, &Counts::new(1), Durability::Full);
    let store = store(home.path());
    let parent = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some("vendor=1"));
    let request = RunRequest { trace_parent: parent.clone().map(Box::new), ..RunRequest::default() };
    let paused = engine(&store).run(&bound, request, &CancellationToken::new()).await.unwrap().record();
    let parents = Arc::new(Parents::default());
    let engine = Engine::builder().store(store.clone()).sink(parents.clone()).build();
    let status = engine.resume(&bound, &paused.run_id, agreed(0), &CancellationToken::new()).await.unwrap().status();
    assert_eq!(status, Status::Succeeded);
    assert_eq!(*parents.0.lock().unwrap(), [parent]);
}

/// Notes the spans of the callers of runs.
#[derive(Default)]
struct Parents(Mutex<Vec<Option<TraceContext>>>);

impl EventSink for Parents {
    fn event(&self, _: &str, _: &RunEvent) {}

    fn samples(&self, _: u128, parent: Option<&TraceContext>) -> Option<bool> {
        self.0.lock().unwrap().push(parent.cloned());
        Some(true)
    }
}
