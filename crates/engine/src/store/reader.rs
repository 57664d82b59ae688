//! Reading runs: lists from the tables, records from the folded log.

use std::collections::BTreeMap;
use std::path::Path;

use lumos_core::load::{Bundle, Definition};
use lumos_core::program::LiveValue;
use lumos_core::record::{RunRecord, Status};
use lumos_core::scheduler::Event;
use lumos_core::{TraceContext, Usd};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;

use super::lease;
use super::log::{Digest, Hash, Kept};
use super::{Kind, RunSummary, StoreError, unusable};
use crate::history::{Blueprint, History, Lineage};

/// Most runs that an ambiguous prefix is answered with.
const CANDIDATES: usize = 5;

/// A run's row.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) id: i64,
    pub(crate) run_id: String,
    pub(crate) seed: u64,
    pub(crate) status: Status,
    pub(crate) started_at: String,
    pub(crate) parent: Option<(i64, u64)>,
    pub(crate) definition: Option<Hash>,
    /// The caller's span.
    pub(crate) trace_parent: Option<Box<TraceContext>>,
    /// Of its log: digests cover times from the second on.
    form: i64,
    inputs: Option<String>,
    /// The whole record, of runs without a log.
    record: Option<String>,
}

const HEADER: &str =
    "SELECT id, run_id, seed, status, started_at, parent, parent_events, definition, inputs, record, owner,
                             trace_parent, form
                      FROM runs";

impl Header {
    /// Its id.
    pub(crate) fn ulid(&self) -> ulid::Ulid {
        // Ids are written by whoever makes the rows.
        self.run_id.parse().unwrap_or_default()
    }

    fn of(row: &Row<'_>, home: &Path, connection: &Connection) -> rusqlite::Result<Self> {
        let parent: Option<i64> = row.get(5)?;
        let events: Option<i64> = row.get(6)?;
        let status: String = row.get(3)?;
        let owner: Option<String> = row.get(10)?;
        Ok(Self {
            id: row.get(0)?,
            run_id: row.get(1)?,
            seed: row.get::<_, i64>(2)? as u64,
            status: lease::status(connection, home, &status, owner.as_deref())?,
            started_at: row.get(4)?,
            parent: parent.zip(events).map(|(parent, events)| (parent, events as u64)),
            definition: row.get::<_, Option<[u8; 32]>>(7)?.map(Hash),
            trace_parent: row.get::<_, Option<String>>(11)?.as_deref().and_then(TraceContext::of_headers).map(Box::new),
            form: row.get(12)?,
            inputs: row.get(8)?,
            record: row.get(9)?,
        })
    }

    /// Whether the tables may say of it what an earlier version counted otherwise.
    pub(crate) fn is_of_first_form(&self) -> bool {
        self.form == 1
    }

    /// The digest that a log of this run begins with. `parent` is the id of the run whose log it shares.
    pub(crate) fn first_digest(&self, parent: Option<&str>) -> Digest {
        let started_at = (self.form > 1).then_some(self.started_at.as_str());
        first_digest(&self.run_id, self.definition.as_ref(), self.inputs.as_deref(), self.seed, (parent, started_at))
    }
}

/// The digest that a run's log begins with; its start is left out in logs of the first form.
pub(crate) fn first_digest(
    run_id: &str,
    definition: Option<&Hash>,
    inputs: Option<&str>,
    seed: u64,
    (parent, started_at): (Option<&str>, Option<&str>),
) -> Digest {
    let definition = definition.map_or(&[][..], |hash| &hash.0[..]);
    let (inputs, parent) = (inputs.unwrap_or_default().as_bytes(), parent.unwrap_or_default().as_bytes());
    let seed = seed.to_le_bytes();
    let mut parts = vec![run_id.as_bytes(), definition, inputs, &seed[..], parent];
    parts.extend(started_at.map(str::as_bytes));
    Digest::first(&parts, started_at.is_some())
}

/// Reads one file; keeps what several runs or events share.
pub(crate) struct Reader<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) path: &'a Path,
    values: BTreeMap<Hash, LiveValue>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path, values: BTreeMap::new() }
    }

    pub(crate) fn fail(&self, error: &rusqlite::Error) -> StoreError {
        unusable(self.path, error)
    }

    pub(crate) fn damaged(&self, header: &Header, reason: impl Into<String>) -> StoreError {
        let path = self.path.to_path_buf();
        StoreError::Damaged { path, run_id: header.run_id.clone(), reason: reason.into() }
    }

    /// What a definition that belongs to a run is made of.
    pub(crate) fn bundle(&self, header: &Header, definition: &Definition) -> Result<Bundle, StoreError> {
        definition.bundle().map_err(|_| self.damaged(header, "its definition cannot be read any more"))
    }

    fn home(&self) -> &'a Path {
        self.path.parent().unwrap_or(self.path)
    }

    /// The run whose id is, or begins with, `id`.
    pub(crate) fn find(&self, id: &str) -> Result<Header, StoreError> {
        let found: Vec<Header> = self
            .connection
            .prepare_cached(&format!("{HEADER} WHERE run_id BETWEEN ?1 AND ?1 || '~' ORDER BY run_id LIMIT ?2"))
            .and_then(|mut query| {
                let rows = query.query_map(params![id.to_uppercase(), CANDIDATES as i64], |row| {
                    Header::of(row, self.home(), self.connection)
                })?;
                rows.collect()
            })
            .map_err(|error| self.fail(&error))?;
        match <[Header; 1]>::try_from(found) {
            Ok([header]) => Ok(header),
            Err(none) if none.is_empty() => Err(StoreError::UnknownRun(id.to_owned())),
            Err(several) => Err(StoreError::Ambiguous {
                prefix: id.to_owned(),
                runs: several.into_iter().map(|header| header.run_id).collect(),
            }),
        }
    }

    /// The run of a row.
    pub(crate) fn header(&self, id: i64) -> Result<Option<Header>, StoreError> {
        self.connection
            .prepare_cached(&format!("{HEADER} WHERE id = ?1"))
            .and_then(|mut query| query.query_row([id], |row| Header::of(row, self.home(), self.connection)).optional())
            .map_err(|error| self.fail(&error))
    }

    /// The run whose log a run shares.
    fn parent(&self, header: &Header, parent: i64) -> Result<Header, StoreError> {
        self.header(parent)?.ok_or_else(|| self.damaged(header, "the run whose log it shares is not there"))
    }

    /// The last of the runs that go on with a run under changed files: they share nothing of its log.
    pub(crate) fn successor(&self, header: &Header) -> Result<Option<String>, StoreError> {
        let query = "WITH RECURSIVE later (id) AS (
                         SELECT id FROM runs WHERE parent = ?1 AND parent_events = 0 AND id > ?1
                         UNION SELECT runs.id FROM runs JOIN later ON runs.parent = later.id AND parent_events = 0
                     )
                     SELECT run_id FROM runs WHERE id = (SELECT max(id) FROM later)";
        self.connection
            .prepare_cached(query)
            .and_then(|mut query| query.query_row([header.id], |row| row.get(0)).optional())
            .map_err(|error| self.fail(&error))
    }

    /// The id of the run that a run goes on with under changed files.
    pub(crate) fn continues(&self, header: &Header) -> Result<Option<String>, StoreError> {
        let Some((parent, 0)) = header.parent else { return Ok(None) };
        Ok(Some(self.parent(header, parent)?.run_id))
    }

    /// The id of the run that a run was forked from.
    pub(crate) fn forked_from(&self, header: &Header) -> Result<Option<String>, StoreError> {
        // One that shares nothing goes on with a run whose files have changed.
        let Some((parent, 1..)) = header.parent else { return Ok(None) };
        Ok(Some(self.parent(header, parent)?.run_id))
    }

    /// The run itself, then the run whose log it shares, and so on; each with how many events of its log count.
    fn ancestry(&self, header: &Header) -> Result<Vec<(Header, u64)>, StoreError> {
        let mut chain = vec![(header.clone(), u64::MAX)];
        while let Some((parent, events)) = chain.last().and_then(|(header, _)| header.parent) {
            let child = chain.last().map_or(header, |(child, _)| child);
            if parent >= child.id {
                return Err(self.damaged(header, "the run whose log it shares began after it"));
            }
            let parent = self.parent(child, parent)?;
            chain.push((parent, events));
        }
        Ok(chain)
    }

    /// What a run was defined by.
    pub(crate) fn blueprint(&self, header: &Header) -> Result<Blueprint, StoreError> {
        let Some(hash) = header.definition else {
            return Err(StoreError::NoLog(header.run_id.clone()));
        };
        let data = self.blob(hash)?.ok_or_else(|| self.damaged(header, "its definition is not there"))?;
        serde_json::from_slice(&data).map_err(|error| self.damaged(header, format!("its definition: {error}")))
    }

    /// A blob as it was written; `None` when there is none of this name, or something else.
    pub(crate) fn blob(&self, hash: Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let data = |row: &Row<'_>| Ok(row.get_ref(0)?.as_blob().ok().map(<[u8]>::to_vec));
        self.connection
            .prepare_cached("SELECT data FROM blobs WHERE hash = ?1")
            .and_then(|mut query| query.query_row([hash.0], data).optional())
            .map(Option::flatten)
            .map_err(|error| self.fail(&error))
    }

    fn value(&mut self, header: &Header, kept: &Kept) -> Result<LiveValue, StoreError> {
        let hash = match kept {
            Kept::Inline(json) => {
                let value = LiveValue::deserialize(&mut serde_json::Deserializer::from_str(json.get()));
                return value.map_err(|error| self.damaged(header, error.to_string()));
            }
            Kept::Blob(hash) => *hash,
        };
        if let Some(value) = self.values.get(&hash) {
            return Ok(value.clone());
        }
        let data =
            self.blob(hash)?.ok_or_else(|| self.damaged(header, format!("the value {} is not there", hash.hex())))?;
        if Hash::of(&data) != hash {
            return Err(self.damaged(header, format!("the value {} is not what was written", hash.hex())));
        }
        let value: LiveValue =
            serde_json::from_slice(&data).map_err(|error| self.damaged(header, format!("a value: {error}")))?;
        self.values.insert(hash, value.clone());
        Ok(value)
    }

    /// What a run was given.
    pub(crate) fn inputs(&mut self, header: &Header) -> Result<LiveValue, StoreError> {
        let text = header.inputs.as_deref().ok_or_else(|| StoreError::NoLog(header.run_id.clone()))?;
        let kept: Kept =
            serde_json::from_str(text).map_err(|error| self.damaged(header, format!("its inputs: {error}")))?;
        self.value(header, &kept)
    }

    /// What the first of the runs whose events are in the log was given.
    pub(crate) fn first_inputs(&mut self, header: &Header) -> Result<LiveValue, StoreError> {
        let mut left = u64::MAX;
        let mut first = header.clone();
        for (owner, events) in self.ancestry(header)? {
            left = left.min(events);
            if left > 0 {
                first = owner;
            }
        }
        self.inputs(&first)
    }

    /// Gives each event of a run's log to `take`, with the wall-clock time of its commit in microseconds since the Unix
    /// epoch, as far as `until` events; those of a shared log come first. Returns the digest and the number of events
    /// of the run's own log.
    pub(crate) fn events(
        &mut self,
        header: &Header,
        until: u64,
        take: &mut dyn FnMut(Event<LiveValue>, u64),
    ) -> Result<(Digest, u64), StoreError> {
        let mut chain = self.ancestry(header)?;
        chain[0].1 = until;
        // A fork of a fork may share less of the first log than the fork in between.
        let mut left = until;
        for (_, events) in &mut chain {
            left = left.min(*events);
            *events = left;
        }
        let mut last = (header.first_digest(None), 0);
        let mut before = 0;
        let ids: Vec<String> = chain.iter().map(|(header, _)| header.run_id.clone()).collect();
        for (depth, (owner, until)) in chain.iter().enumerate().rev() {
            let parent = ids.get(depth + 1).map(String::as_str);
            last = self.own_events(owner, owner.first_digest(parent), before, *until, take)?;
            before += last.1;
        }
        Ok((last.0, before))
    }

    /// The events of a run's own log, which begins with event number `seq`, up to event number `until`.
    fn own_events(
        &mut self,
        header: &Header,
        mut digest: Digest,
        mut seq: u64,
        until: u64,
        take: &mut dyn FnMut(Event<LiveValue>, u64),
    ) -> Result<(Digest, u64), StoreError> {
        let first = seq;
        let mut query = self
            .connection
            .prepare_cached("SELECT seq, at_us, events, digest FROM log WHERE run = ?1 ORDER BY seq")
            .map_err(|error| self.fail(&error))?;
        let mut rows = query.query([header.id]).map_err(|error| self.fail(&error))?;
        while let Some(row) = rows.next().map_err(|error| self.fail(&error))? {
            if seq >= until {
                break;
            }
            let read = || -> rusqlite::Result<(i64, i64, &str, [u8; 16])> {
                Ok((row.get(0)?, row.get(1)?, row.get_ref(2)?.as_str()?, row.get(3)?))
            };
            let (number, at_us, events, found) = read().map_err(|error| self.damaged(header, error.to_string()))?;
            if number as u64 != seq {
                return Err(self.damaged(header, format!("event {seq} is not there")));
            }
            digest = digest.then(seq, at_us as u64, events.as_bytes());
            if digest.bytes != found {
                return Err(self.damaged(header, format!("the events from number {seq} on are not what was written")));
            }
            let events: Vec<Event<Kept>> =
                serde_json::from_str(events).map_err(|error| self.damaged(header, format!("event {seq}: {error}")))?;
            for event in events {
                if seq < until {
                    take(event.map(|kept| self.value(header, &kept))?, at_us as u64);
                }
                seq += 1;
            }
        }
        // A row may go beyond what is shared of it.
        Ok((digest, seq.min(until) - first))
    }

    /// The record of a run as far as it has come.
    pub(crate) fn record(&mut self, header: &Header) -> Result<RunRecord, StoreError> {
        let mut record = match &header.record {
            Some(record) => {
                serde_json::from_str(record).map_err(|error| self.damaged(header, format!("its record: {error}")))?
            }
            None => History::read(self, header)?.record(),
        };
        if header.status == Status::Interrupted {
            record.status = Status::Interrupted;
        }
        Ok(record)
    }

    /// The blueprints that the attempts of a run were made by.
    pub(crate) fn lineage(&mut self, header: &Header) -> Result<Lineage, StoreError> {
        let mut lineage = Vec::new();
        let mut left = u64::MAX;
        for (owner, events) in self.ancestry(header)? {
            left = left.min(events);
            lineage.push((self.blueprint(&owner)?, left));
        }
        lineage.reverse();
        Ok(Lineage(lineage))
    }
}

/// The newest runs first; run ids begin with the time, so their order is that of the runs' starts.
pub(super) fn list(path: &Path, connection: &Connection, kind: &Kind) -> Result<Vec<RunSummary>, StoreError> {
    let home = path.parent().unwrap_or(path);
    let query = "SELECT run_id, workflow, deployment, status, started_at, duration_us, cost_nano, owner FROM runs
                 WHERE (?1 IS NULL OR workflow = ?1) AND (?2 IS NULL OR deployment = ?2)
                   AND (?3 IS NULL OR started_at >= ?3) AND (?4 IS NULL OR started_at < ?4)
                   AND (?5 IS NULL OR cost_nano > ?5)
                 ORDER BY run_id DESC";
    let fail = |error: rusqlite::Error| unusable(path, &error);
    let mut query = connection.prepare_cached(query).map_err(fail)?;
    let wanted =
        params![kind.workflow, kind.deployment, kind.since, kind.until, kind.cost_above.map(super::rows::nano)];
    let mut rows = query.query(wanted).map_err(fail)?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next().map_err(fail)? {
        let summary = || -> rusqlite::Result<RunSummary> {
            let (status, owner): (String, Option<String>) = (row.get(3)?, row.get(7)?);
            let (duration_us, cost): (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
            Ok(RunSummary {
                run_id: row.get(0)?,
                workflow: row.get(1)?,
                deployment: row.get(2)?,
                status: lease::status(connection, home, &status, owner.as_deref())?.as_str().to_owned(),
                started_at: row.get(4)?,
                duration_us: duration_us.and_then(|us| u64::try_from(us).ok()),
                cost_usd: cost.map(|nano| Usd::from_nanos(nano.into()).to_string()),
            })
        };
        let summary = summary().map_err(fail)?;
        if kind.status.is_none_or(|status| summary.status == status.as_str()) {
            runs.push(summary);
            if runs.len() >= kind.limit {
                break;
            }
        }
    }
    Ok(runs)
}
