//! The tables of `lumos.db`, and how files of earlier versions become files of this one. `docs/records.md` documents
//! them for people.

use crate::database::Layout;

/// One row for each run: what lists and filters need, what a run is defined by, and who carries it out.
///
/// `epoch` grows with each process that takes the run over; a write of an earlier epoch is refused. `record` is the whole
/// record of runs that have no log: those of version 1, and those whose contents were not to be kept.
const VERSION_2: &str = "
    ALTER TABLE runs RENAME TO runs_1;
    CREATE TABLE runs (
        id                  INTEGER PRIMARY KEY,
        run_id              TEXT NOT NULL UNIQUE,
        workflow            TEXT NOT NULL,
        deployment          TEXT NOT NULL,
        seed                INTEGER NOT NULL,
        status              TEXT NOT NULL,
        started_at          TEXT NOT NULL,
        duration_us         INTEGER,
        critical_path_us    INTEGER,
        cost_nano           INTEGER,
        cost_complete       INTEGER,
        input_tokens        INTEGER,
        cached_input_tokens INTEGER,
        output_tokens       INTEGER,
        attempts            INTEGER,
        bytes_outside       INTEGER,
        owner               TEXT,
        epoch               INTEGER NOT NULL DEFAULT 0,
        parent              INTEGER REFERENCES runs (id),
        parent_events       INTEGER,
        definition          BLOB,
        inputs              TEXT,
        record              TEXT
    );
    CREATE TABLE log (
        id     INTEGER PRIMARY KEY,
        run    INTEGER NOT NULL REFERENCES runs (id),
        seq    INTEGER NOT NULL,
        at_us  INTEGER NOT NULL,
        events TEXT NOT NULL,
        blobs  BLOB,
        digest BLOB NOT NULL
    );
    CREATE UNIQUE INDEX log_of_run ON log (run, seq);
    CREATE TABLE blobs (
        hash BLOB PRIMARY KEY,
        data BLOB NOT NULL
    );
    CREATE TABLE steps (
        run         INTEGER NOT NULL REFERENCES runs (id),
        step        INTEGER NOT NULL,
        node        TEXT NOT NULL,
        path        TEXT,
        idx         INTEGER,
        iteration   INTEGER,
        kind        TEXT NOT NULL,
        agent       TEXT,
        status      TEXT NOT NULL,
        error       TEXT,
        ready_us    INTEGER,
        end_us      INTEGER,
        critical_us INTEGER
    );
    CREATE INDEX steps_of_run ON steps (run);
    CREATE TABLE attempts (
        run                 INTEGER NOT NULL REFERENCES runs (id),
        step                INTEGER NOT NULL,
        attempt             INTEGER NOT NULL,
        backend             TEXT,
        model               TEXT,
        provider            TEXT,
        status              TEXT NOT NULL,
        start_us            INTEGER NOT NULL,
        queue_us            INTEGER NOT NULL,
        ttft_us             INTEGER,
        duration_us         INTEGER NOT NULL,
        input_tokens        INTEGER,
        cached_input_tokens INTEGER,
        output_tokens       INTEGER,
        reasoning_tokens    INTEGER,
        cost_nano           INTEGER,
        bytes_sent          INTEGER NOT NULL,
        destination         TEXT NOT NULL,
        finish_reason       TEXT,
        request_id          TEXT,
        error               TEXT,
        latency_basis       TEXT NOT NULL,
        tokens_basis        TEXT,
        cost_basis          TEXT
    );
    CREATE INDEX attempts_of_run ON attempts (run);
    CREATE TABLE processes (
        owner      TEXT PRIMARY KEY,
        expires_us INTEGER NOT NULL
    ) WITHOUT ROWID;

    INSERT INTO runs (run_id, workflow, deployment, seed, status, started_at, duration_us, critical_path_us, cost_nano,
                      cost_complete, input_tokens, cached_input_tokens, output_tokens, attempts, bytes_outside, owner,
                      record)
    SELECT run_id, workflow, deployment, coalesce(json_extract(record, '$.seed'), 0), status, started_at, duration_us,
           json_extract(record, '$.totals.critical_path_us'), CAST(round(CAST(cost_usd AS REAL) * 1e9) AS INTEGER),
           json_extract(record, '$.totals.cost_complete'), json_extract(record, '$.totals.input_tokens'),
           json_extract(record, '$.totals.cached_input_tokens'), json_extract(record, '$.totals.output_tokens'),
           json_extract(record, '$.totals.attempts'), json_extract(record, '$.totals.bytes_outside'), owner, record
    FROM runs_1 ORDER BY run_id;
    DROP TABLE runs_1;
";

/// Version 1 kept one row with the whole record for each run.
const VERSION_1: &str = "
    CREATE TABLE runs (
        run_id      TEXT PRIMARY KEY,
        workflow    TEXT NOT NULL,
        deployment  TEXT NOT NULL,
        status      TEXT NOT NULL,
        started_at  TEXT NOT NULL,
        duration_us INTEGER,
        cost_usd    TEXT,
        owner       TEXT,
        record      TEXT NOT NULL
    );
";

const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2];

/// Version of the tables, kept in SQLite's `user_version`.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// How `lumos.db` is opened.
pub(super) const LAYOUT: Layout = Layout { migrations: MIGRATIONS, page: None, synchronous: "FULL" };
