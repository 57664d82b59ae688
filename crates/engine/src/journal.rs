//! A run's log as it is written: each event before the scheduler sees it, all of them on disk before anything that they
//! lead to leaves the process.

use std::collections::BTreeMap;

use lumos_core::Clock;
use lumos_core::program::LiveValue;
use lumos_core::scheduler::{AttemptId, Event, StepId};
use lumos_core::spec::Durability;
use tokio::sync::oneshot;
use ulid::Ulid;

use crate::clock::UnixClock;
use crate::recall::Recall;
use crate::store::{Append, Begin, Blob, Digest, Done, RecordStore, Rows, StoreError, Told, write_event};

/// Steps that people are asked about.
#[derive(Default)]
struct Asking {
    /// Those of the events that have not been sent.
    now: Vec<StepId>,
    /// When the others were asked about, in microseconds since the Unix epoch, as the log has it.
    before: BTreeMap<StepId, u64>,
}

/// The log of one run, kept by whoever drives it.
pub(crate) struct Journal {
    store: RecordStore,
    run: Ulid,
    durability: Durability,
    begin: Option<Box<Begin>>,
    /// Number of the next event to be sent.
    seq: u64,
    /// Events that have not been sent, as the array that they will be.
    events: Vec<u8>,
    count: u64,
    blobs: Vec<Blob>,
    /// Of what has been sent.
    digest: Digest,
    /// Tells when what was sent last, and with it all before, is on disk.
    pending: Option<Told>,
    /// What was sent before and is on disk: its memory is used for what is sent next.
    spare: Option<Box<Append>>,
    is_over: bool,
    /// Attempts that start once what has led to them is on disk.
    pub(crate) starting: Vec<AttemptId>,
    /// Steps that people are asked about. Boxed, because few runs ask anybody.
    asking: Option<Box<Asking>>,
    /// Answers of an earlier run that need not be asked for again.
    pub(crate) recall: Option<Recall>,
}

impl Journal {
    /// The log of a run that begins; `blobs` are its definition and inputs.
    pub(crate) fn begin(
        store: RecordStore,
        run: Ulid,
        begin: Begin,
        blobs: Vec<Blob>,
        log: (Digest, u64),
        durability: Durability,
    ) -> Self {
        let mut journal = Self::resume(store, run, log, durability);
        (journal.begin, journal.blobs) = (Some(Box::new(begin)), blobs);
        journal
    }

    /// The log of a run that this process has taken over, after `seq` events.
    pub(crate) fn resume(store: RecordStore, run: Ulid, (digest, seq): (Digest, u64), durability: Durability) -> Self {
        Self {
            store,
            run,
            durability,
            begin: None,
            seq,
            events: Vec::new(),
            count: 0,
            blobs: Vec::new(),
            digest,
            pending: None,
            spare: None,
            is_over: false,
            starting: Vec::new(),
            asking: None,
            recall: None,
        }
    }

    /// Notes an event that the scheduler is about to see.
    pub(crate) fn append(&mut self, event: Event<LiveValue>) {
        write_event(&mut self.events, &mut self.blobs, event);
        self.count += 1;
    }

    /// Notes that the event noted last has made somebody be asked about a step.
    pub(crate) fn ask(&mut self, step: StepId) {
        self.asking.get_or_insert_default().now.push(step);
    }

    /// When people were asked about steps, in microseconds since the Unix epoch.
    pub(crate) fn asked(&mut self) -> BTreeMap<StepId, u64> {
        self.asking.take().map(|asking| asking.before).unwrap_or_default()
    }

    /// Hands over what has not been sent, and does not wait for the disk: nothing follows from it for a while.
    pub(crate) fn send(&mut self) {
        if self.has_more() {
            let (append, done) = self.take(None);
            self.store.append(append, done);
        }
        self.spare = None;
        self.events.shrink_to_fit();
    }

    fn has_more(&self) -> bool {
        self.count > 0 || self.begin.is_some()
    }

    /// Returns once everything noted is on disk.
    ///
    /// # Errors
    /// When it could not be written, or somebody else has taken the run over. Nothing more of the run is written then.
    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        if self.has_more() {
            let (append, done) = self.take(None);
            self.store.append_awaited(append, done);
        }
        self.wait().await
    }

    /// Says how the run stands now that it has paused or ended; returns once that is on disk.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub(crate) async fn end(&mut self, rows: Rows) -> Result<(), StoreError> {
        let (append, done) = self.take(Some(Box::new(rows)));
        self.store.append_awaited(append, done);
        self.is_over = true;
        self.wait().await
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let result = match pending.await {
            Ok((result, mut append)) => {
                if self.events.is_empty() {
                    self.events = std::mem::take(&mut append.events).into_bytes();
                    self.events.clear();
                }
                self.spare = Some(append);
                result
            }
            Err(_) => Err(self.store.gone()),
        };
        self.is_over |= result.is_err();
        result
    }

    /// What has not been sent, and who is told that it is on disk.
    fn take(&mut self, end: Option<Box<Rows>>) -> (Box<Append>, Done) {
        let mut events = std::mem::take(&mut self.events);
        let (seq, at_us) = (self.seq, UnixClock.now_us());
        if !events.is_empty() {
            events.push(b']');
            self.digest = self.digest.then(seq, at_us, &events);
        }
        if let Some(asking) = &mut self.asking {
            asking.before.extend(asking.now.drain(..).map(|step| (step, at_us)));
        }
        self.seq += std::mem::take(&mut self.count);
        let (done, pending) = oneshot::channel();
        self.pending = Some(pending);
        let append = Append {
            run: self.run,
            begin: self.begin.take(),
            blobs: std::mem::take(&mut self.blobs),
            seq,
            at_us,
            // JSON is UTF-8.
            events: String::from_utf8(events).unwrap_or_default(),
            digest: self.digest,
            end,
            durability: self.durability,
        };
        let append = match self.spare.take() {
            Some(mut spare) => {
                *spare = append;
                spare
            }
            None => Box::new(append),
        };
        (append, done)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Who drops a run's future lets it be resumed by anybody.
        if !self.is_over {
            self.store.abandon(self.run);
        }
    }
}
