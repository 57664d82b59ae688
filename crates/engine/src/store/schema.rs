//! The tables of `lumos.db`, and how files of earlier versions become files of this one. `docs/records.md` documents
//! them for people.

use crate::database::Layout;

/// One row for each run: what lists and filters need, what a run is defined by, and who carries it out.
///
/// `epoch` grows with each process that takes the run over; a write of an earlier epoch is refused. `record` is the whole
/// record of runs that have no log: those of version 1.
///
/// `endings` has what a record says about the steps of a run that has paused or ended, as arrays in the order of the
/// columns of the views that people query; one row costs less than one for each step and attempt.
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
    CREATE TABLE endings (
        run   INTEGER PRIMARY KEY REFERENCES runs (id),
        steps TEXT NOT NULL
    );
    CREATE VIEW steps AS
        SELECT run, step.key AS step,
               step.value ->> 0 AS node,
               step.value ->> 1 AS path,
               step.value ->> 2 AS idx,
               step.value ->> 3 AS iteration,
               step.value ->> 4 AS kind,
               step.value ->> 5 AS agent,
               step.value ->> 6 AS status,
               step.value ->> 7 AS error,
               step.value ->> 8 AS ready_us,
               step.value ->> 9 AS end_us,
               step.value ->> 10 AS critical_us
        FROM endings, json_each(endings.steps) AS step;
    CREATE VIEW attempts AS
        SELECT run, step.key AS step,
               attempt.value ->> 0 AS attempt,
               attempt.value ->> 1 AS backend,
               attempt.value ->> 2 AS model,
               attempt.value ->> 3 AS provider,
               attempt.value ->> 4 AS status,
               attempt.value ->> 5 AS start_us,
               attempt.value ->> 6 AS queue_us,
               attempt.value ->> 7 AS ttft_us,
               attempt.value ->> 8 AS duration_us,
               attempt.value ->> 9 AS input_tokens,
               attempt.value ->> 10 AS cached_input_tokens,
               attempt.value ->> 11 AS output_tokens,
               attempt.value ->> 12 AS reasoning_tokens,
               attempt.value ->> 13 AS cost_nano,
               attempt.value ->> 14 AS bytes_sent,
               attempt.value ->> 15 AS destination,
               attempt.value ->> 16 AS finish_reason,
               attempt.value ->> 17 AS request_id,
               attempt.value ->> 18 AS error,
               attempt.value ->> 19 AS latency_basis,
               attempt.value ->> 20 AS tokens_basis,
               attempt.value ->> 21 AS cost_basis
        FROM endings, json_each(endings.steps) AS step, json_each(step.value, '$[11]') AS attempt;
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

/// What was decided about steps, what a fork shares, the caller's span, and the form of a run's log: the digests of the
/// second form cover times.
const VERSION_3: &str = "
    ALTER TABLE runs ADD COLUMN trace_parent TEXT;
    ALTER TABLE runs ADD COLUMN form INTEGER NOT NULL DEFAULT 1;
    DROP VIEW steps;
    DROP VIEW attempts;
    CREATE VIEW steps AS
        SELECT run, step.key AS step,
               step.value ->> 0 AS node,
               step.value ->> 1 AS path,
               step.value ->> 2 AS idx,
               step.value ->> 3 AS iteration,
               step.value ->> 4 AS kind,
               step.value ->> 5 AS agent,
               step.value ->> 6 AS status,
               step.value ->> 7 AS error,
               step.value ->> 8 AS ready_us,
               step.value ->> 9 AS end_us,
               step.value ->> 10 AS critical_us,
               step.value ->> 12 AS decision,
               step.value ->> 13 AS decided_by
        FROM endings, json_each(endings.steps) AS step;
    CREATE VIEW attempts AS
        SELECT run, step.key AS step,
               attempt.value ->> 0 AS attempt,
               attempt.value ->> 1 AS backend,
               attempt.value ->> 2 AS model,
               attempt.value ->> 3 AS provider,
               attempt.value ->> 4 AS status,
               attempt.value ->> 5 AS start_us,
               attempt.value ->> 6 AS queue_us,
               attempt.value ->> 7 AS ttft_us,
               attempt.value ->> 8 AS duration_us,
               attempt.value ->> 9 AS input_tokens,
               attempt.value ->> 10 AS cached_input_tokens,
               attempt.value ->> 11 AS output_tokens,
               attempt.value ->> 12 AS reasoning_tokens,
               attempt.value ->> 13 AS cost_nano,
               attempt.value ->> 14 AS bytes_sent,
               attempt.value ->> 15 AS destination,
               attempt.value ->> 16 AS finish_reason,
               attempt.value ->> 17 AS request_id,
               attempt.value ->> 18 AS error,
               attempt.value ->> 19 AS latency_basis,
               attempt.value ->> 20 AS tokens_basis,
               attempt.value ->> 21 AS cost_basis,
               coalesce(attempt.value ->> 22, 0) AS shared
        FROM endings, json_each(endings.steps) AS step, json_each(step.value, '$[11]') AS attempt;
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

/// From nothing to this version, step by step.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

/// Version of the tables, kept in SQLite's `user_version`.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Bytes of a page in new files. Twice SQLite's own: many runs at once need half as many calls to be written, and one alone,
/// of which each commit writes two pages or three, takes a twentieth longer.
const PAGE: u32 = 8_192;

/// How `lumos.db` is opened.
pub(super) const LAYOUT: Layout = Layout { migrations: MIGRATIONS, page: Some(PAGE), synchronous: "FULL" };
