//! What commands that carry out runs share: threads, signals, progress, and the way from a bundle to a program that is
//! ready.

use std::future::Future;
use std::sync::Arc;

use lumos::core::RunRecord;
use lumos::core::load::Bundle;
use lumos::engine::{BoundBackend, BoundProgram, CancellationToken, EngineError, FinishedRun, StoreError};
use lumos::{Error, Home, Lumos};
use tokio::runtime::Runtime;

use super::failure::{Failure, INTERRUPTED};
use super::progress::Live;
use super::stream::Stream;
use super::{output, pull};

/// A command that carries out runs.
pub struct Session {
    /// The facade.
    pub lumos: Lumos,
    /// Cancelled by the first signal.
    pub cancel: CancellationToken,
    runtime: Runtime,
    live: Option<Arc<Live>>,
}

/// How a run ended.
pub struct Driven {
    /// What happened.
    pub record: RunRecord,
    /// Why it was not kept.
    pub lost: Option<StoreError>,
}

impl Session {
    /// Starts what runs need, does `work`, and ends it all.
    ///
    /// # Errors
    /// Those of `work`; the record store, or threads that cannot be had.
    pub fn with<T>(home: Home, is_stream: bool, work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        Self::start(home, output::shows_progress(), is_stream, work)
    }

    /// The same without a view of what happens in runs, for whoever carries out many.
    ///
    /// # Errors
    /// As for [`Self::with`].
    #[cfg(feature = "sim")]
    pub fn quiet<T>(home: Home, work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        Self::start(home, false, false, work)
    }

    fn start<T>(
        home: Home,
        shows: bool,
        is_stream: bool,
        work: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
        let cancel = CancellationToken::new();
        let signals = {
            let _within = runtime.enter();
            Signals::listen()
        };
        runtime.spawn(watch_signals(signals, cancel.clone()));
        let live = shows.then(|| Arc::new(Live::start()));
        let stream = is_stream.then(|| Arc::new(Stream::start(cancel.clone())));
        let mut builder = Lumos::builder(home).secrets(Arc::new(|name| std::env::var(name).ok()));
        if let Some(live) = &live {
            builder = builder.sink(live.clone());
        }
        if let Some(stream) = &stream {
            builder = builder.sink(stream.clone());
        }
        #[cfg(feature = "otel")]
        let telemetry = super::telemetry::Sending::start();
        #[cfg(feature = "otel")]
        {
            builder = telemetry.add_to(builder);
        }
        let built = builder.build().map_err(Failure::from);
        let session = built.map(|lumos| Self { lumos, cancel, runtime, live: live.clone() });
        let result = session.and_then(|session| {
            let result = work(&session);
            // Models may still be loading on threads that nobody waits for.
            session.runtime.shutdown_background();
            result
        });
        if let Some(live) = live {
            live.finish();
        }
        if let Some(stream) = stream {
            stream.finish();
        }
        #[cfg(feature = "otel")]
        telemetry.finish();
        result
    }

    /// Fetches what a bundle needs, binds it and loads its models.
    ///
    /// # Errors
    /// What keeps it from running; an interruption.
    pub fn ready(&self, bundle: &Bundle) -> Result<Arc<BoundProgram>, Failure> {
        self.fetch(bundle)?;
        let program = self.lumos.bind(bundle).map_err(|error| Failure::of_binding(error, bundle))?;
        let loading = loading(&program);
        if let Some(live) = self.live.as_ref().filter(|_| !loading.is_empty()) {
            live.loading(Some(loading));
        }
        self.wait(self.lumos.warm_up(&program))?;
        if let Some(live) = &self.live {
            live.loading(None);
        }
        Ok(program)
    }

    /// Carries out a run.
    ///
    /// # Errors
    /// When it could not be begun or taken up.
    pub fn drive(&self, run: impl Future<Output = Result<FinishedRun, Error>>) -> Result<Driven, Failure> {
        match self.runtime.block_on(run) {
            Ok(finished) => Ok(Driven { record: finished.record(), lost: None }),
            Err(Error::Engine(EngineError::Store { record, error })) => {
                Ok(Driven { record: *record, lost: Some(error) })
            }
            Err(error) => Err(Failure::from(error)),
        }
    }

    /// Waits for something that an interruption ends.
    #[cfg(feature = "sim")]
    pub fn finish<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits for something that ends by itself, or for an interruption.
    ///
    /// # Errors
    /// Its own; an interruption.
    pub fn wait<T, E: Into<Failure>>(&self, future: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
        self.runtime.block_on(async {
            tokio::select! {
                done = future => done.map_err(Into::into),
                () = self.cancel.cancelled() => Err(Failure::Interrupted),
            }
        })
    }

    /// Fetches one asset, if it is one and not here.
    ///
    /// # Errors
    /// When it cannot be had; an interruption.
    #[cfg(feature = "sim")]
    pub fn fetch_asset(&self, name: &str) -> Result<(), Failure> {
        if self.lumos.assets().catalog().get(name).is_none() || self.lumos.assets().path(name).is_some() {
            return Ok(());
        }
        self.pull(name.to_owned())
    }

    /// Fetches the assets that a bundle needs; unknown names are left for binding, which knows their place.
    fn fetch(&self, bundle: &Bundle) -> Result<(), Failure> {
        let store = self.lumos.assets();
        for name in self.lumos.missing_assets(bundle) {
            if store.catalog().get(&name).is_none() {
                continue;
            }
            self.pull(name)?;
        }
        Ok(())
    }

    fn pull(&self, name: String) -> Result<(), Failure> {
        let (store, cancel) = (self.lumos.assets().clone(), self.cancel.clone());
        let pulled = self.runtime.block_on(self.runtime.spawn_blocking(move || pull::pull(&store, &name, &cancel)));
        pulled.map_err(|error| Failure::failed(format!("fetching stopped: {error}")))??;
        Ok(())
    }
}

/// Models that the program uses, with the backends that serve them.
fn loading(program: &BoundProgram) -> String {
    let name = |bound: &Arc<BoundBackend>| bound.reference.model.clone();
    program.backends().iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The signals that end a command. They are listened for from the moment this is made.
#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Must be made within a runtime. A signal that cannot be listened for ends the process as it always does.
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};

        Self { interrupt: signal(SignalKind::interrupt()).ok(), terminate: signal(SignalKind::terminate()).ok() }
    }

    async fn next(&mut self) {
        async fn of(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => _ = signal.recv().await,
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = of(&mut self.interrupt) => {}
            () = of(&mut self.terminate) => {}
        }
    }
}

/// The signals that end a command.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The first signal cancels, and what finished is kept; the second ends the process at once.
async fn watch_signals(mut signals: Signals, cancel: CancellationToken) {
    signals.next().await;
    cancel.cancel();
    signals.next().await;
    std::process::exit(INTERRUPTED.into());
}
