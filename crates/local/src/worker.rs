//! One thread per model: it loads the model and serves one request after the other, in the order of their arrival.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use lumos_core::{CallReport, ChatRequest, Clock, Completion, Delta, DeltaSink, Embeddings};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::{Error, Result};
use crate::generate::Progress;

/// What a worker is asked to do.
pub(crate) enum Work {
    /// Load the model, if it is not.
    WarmUp,
    /// Answer.
    Chat(ChatRequest),
    /// Embed these texts.
    Embed(Vec<String>),
}

/// What came of it.
pub(crate) enum Outcome {
    /// The model is loaded.
    Warm,
    /// An answer.
    Chat(Completion),
    /// Vectors.
    Embed(Embeddings),
}

/// What a worker drives.
pub(crate) trait Engine {
    /// Answers or embeds.
    fn execute(&mut self, work: Work, progress: &dyn Progress) -> Result<Outcome>;
}

enum Event {
    Piece { text: String, output_tokens: u64 },
    Done(Box<Result<Outcome>>),
}

struct Job {
    work: Work,
    submitted_us: u64,
    reply: Reply,
}

struct Reply {
    cancelled: Arc<AtomicBool>,
    events: UnboundedSender<Event>,
}

impl Progress for Reply {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn piece(&self, text: &str, output_tokens: u64) {
        // A closed channel means that the request was dropped, which `is_cancelled` reports.
        let _ = self.events.send(Event::Piece { text: text.to_owned(), output_tokens });
    }
}

/// The queue in front of a worker's thread. The thread ends after the last request once this is dropped.
pub(crate) struct Worker {
    queue: mpsc::Sender<Job>,
    clock: Arc<dyn Clock>,
}

impl Worker {
    /// Starts a thread that builds its engine with `load` when the first request arrives, and again with the next
    /// request when that failed.
    pub(crate) fn start<E: Engine>(
        name: &str,
        clock: Arc<dyn Clock>,
        load: impl Fn() -> Result<E> + Send + 'static,
    ) -> Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>();
        let time = Arc::clone(&clock);
        std::thread::Builder::new()
            .name(format!("model {name}"))
            .spawn(move || {
                let mut engine = None;
                for job in jobs {
                    serve(&mut engine, &load, job, time.as_ref());
                }
            })
            .map_err(|error| Error::Internal(format!("no thread for the model {name}: {error}")))?;
        Ok(Self { queue, clock })
    }

    /// Waits for `work` to be done. Dropping the future cancels it.
    pub(crate) async fn submit(&self, work: Work, deltas: &dyn DeltaSink) -> Result<Outcome> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let _guard = CancelOnDrop(Arc::clone(&cancelled));
        let (events, mut replies) = unbounded_channel();
        let job = Job { work, submitted_us: self.clock.now_us(), reply: Reply { cancelled, events } };
        self.queue.send(job).map_err(|_| gone())?;
        receive(&mut replies, deltas).await
    }
}

async fn receive(replies: &mut UnboundedReceiver<Event>, deltas: &dyn DeltaSink) -> Result<Outcome> {
    loop {
        match replies.recv().await {
            Some(Event::Piece { text, output_tokens }) => deltas.delta(Delta { text: &text, output_tokens }),
            Some(Event::Done(outcome)) => return *outcome,
            None => return Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::Internal("the model's thread has ended".to_owned())
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn serve<E: Engine>(engine: &mut Option<E>, load: &impl Fn() -> Result<E>, job: Job, clock: &dyn Clock) {
    let Job { work, submitted_us, reply } = job;
    if reply.is_cancelled() {
        return;
    }
    let outcome = guard(|| {
        let engine = match engine {
            Some(engine) => engine,
            None => engine.insert(load()?),
        };
        if matches!(work, Work::WarmUp) {
            return Ok(Outcome::Warm);
        }
        let started_us = clock.now_us();
        let mut outcome = engine.execute(work, &reply)?;
        let report: Option<&mut CallReport> = match &mut outcome {
            Outcome::Warm => None,
            Outcome::Chat(completion) => Some(&mut completion.report),
            Outcome::Embed(embeddings) => Some(&mut embeddings.report),
        };
        if let Some(report) = report {
            report.queue_us = started_us.saturating_sub(submitted_us);
            report.busy_us = Some(clock.now_us().saturating_sub(started_us));
        }
        Ok(outcome)
    });
    // Whoever dropped the request does not need its outcome.
    let _ = reply.events.send(Event::Done(Box::new(outcome)));
}

/// Runs `f`; a panic in it becomes an error. The engine keeps no state between requests that a panic could leave
/// half changed.
fn guard<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::Internal(format!("the model failed unexpectedly: {message}")))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;

    use lumos_core::{Decoding, NoDeltas, OutputFormat};
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn now_us(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }
    }

    /// Panics, or waits for a signal and then for its request to be cancelled, as the first text says.
    struct Scripted {
        seen: Arc<Mutex<Vec<String>>>,
        started: Option<oneshot::Sender<()>>,
    }

    impl Engine for Scripted {
        fn execute(&mut self, work: Work, progress: &dyn Progress) -> Result<Outcome> {
            let Work::Embed(texts) = work else { return Err(Error::Invalid("not in the script".to_owned())) };
            self.seen.lock().unwrap().extend(texts.clone());
            match texts[0].as_str() {
                "panic" => panic!("out of the script"),
                "until cancelled" => {
                    self.started.take().unwrap().send(()).unwrap();
                    while !progress.is_cancelled() {
                        std::thread::yield_now();
                    }
                    self.seen.lock().unwrap().push("cancelled".to_owned());
                    Err(Error::Cancelled)
                }
                _ => Ok(Outcome::Embed(Embeddings { vectors: Vec::new(), report: report() })),
            }
        }
    }

    fn report() -> CallReport {
        CallReport::new(lumos_core::Basis::Measured)
    }

    type Seen = Arc<Mutex<Vec<String>>>;

    fn worker() -> (Worker, Seen, oneshot::Receiver<()>) {
        let seen = Seen::default();
        let (started, waits) = oneshot::channel();
        let started = Mutex::new(Some(started));
        let load = {
            let seen = Arc::clone(&seen);
            move || Ok(Scripted { seen: Arc::clone(&seen), started: started.lock().unwrap().take() })
        };
        (Worker::start("scripted", Arc::new(Ticks::default()), load).unwrap(), seen, waits)
    }

    fn embed(text: &str) -> Work {
        Work::Embed(vec![text.to_owned()])
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_the_worker_goes_on() {
        let (worker, ..) = worker();
        let error = worker.submit(embed("panic"), &NoDeltas).await.err().unwrap();
        assert_eq!(error, Error::Internal("the model failed unexpectedly: out of the script".to_owned()));
        assert!(worker.submit(embed("fine"), &NoDeltas).await.is_ok());
    }

    #[tokio::test]
    async fn requests_are_served_in_their_order_and_a_dropped_one_makes_way() {
        let (worker, seen, started) = worker();
        let first = {
            let running = worker.submit(embed("until cancelled"), &NoDeltas);
            let mut running = Box::pin(running);
            tokio::select! {
                _ = &mut running => panic!("it runs until it is cancelled"),
                result = started => result.unwrap(),
            }
            running
        };
        let dropped = worker.submit(embed("never starts"), &NoDeltas);
        let mut dropped = Box::pin(dropped);
        assert!(poll_once(&mut dropped).is_none());
        let mut second = Box::pin(worker.submit(embed("second"), &NoDeltas));
        assert!(poll_once(&mut second).is_none());
        drop(dropped);
        drop(first);
        let Outcome::Embed(answer) = second.await.unwrap() else { panic!("embeddings were asked for") };
        assert!(answer.report.queue_us > 0 && answer.report.busy_us > Some(0));
        assert_eq!(*seen.lock().unwrap(), ["until cancelled", "cancelled", "second"]);
    }

    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn loading_is_tried_again_after_it_failed() {
        let tries = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&tries);
        let worker = Worker::start("flaky", Arc::new(Ticks::default()), move || {
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(Error::Unusable("not yet".to_owned()));
            }
            Ok(Scripted { seen: Seen::default(), started: None })
        })
        .unwrap();
        assert!(worker.submit(Work::WarmUp, &NoDeltas).await.is_err());
        assert!(worker.submit(Work::WarmUp, &NoDeltas).await.is_ok());
        assert!(worker.submit(Work::WarmUp, &NoDeltas).await.is_ok());
        assert_eq!(tries.load(Ordering::Relaxed), 2);
        let request = ChatRequest::new(Vec::new(), Decoding::default(), OutputFormat::Text);
        assert!(matches!(worker.submit(Work::Chat(request), &NoDeltas).await, Err(Error::Invalid(_))));
    }
}
