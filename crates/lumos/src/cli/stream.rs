//! `--stream`: events as JSON Lines on stdout, written by a thread so that a slow reader does not slow the run down.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use lumos::engine::{CancellationToken, EventSink, RunEvent};

/// Writes each event as a line.
pub struct Stream {
    lines: Mutex<Option<Sender<String>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Stream {
    /// Starts the writer; when nobody reads any more, the run is cancelled.
    pub fn start(cancel: CancellationToken) -> Self {
        let (sender, lines) = channel();
        let writer = std::thread::spawn(move || {
            if write_all(&lines).is_err() {
                cancel.cancel();
            }
        });
        Self { lines: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) }
    }

    /// Waits until everything is written.
    pub fn finish(&self) {
        drop(self.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The writer does not panic, and if it did, there would be nothing left to write.
            let _ = writer.join();
        }
    }
}

fn write_all(lines: &Receiver<String>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        stdout.write_all(line.as_bytes())?;
        stdout.flush()?;
    }
    Ok(())
}

impl EventSink for Stream {
    fn event(&self, _: &str, event: &RunEvent) {
        let Ok(mut line) = serde_json::to_string(event) else { return };
        line.push('\n');
        if let Some(lines) = self.lines.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // After an error nobody listens any more.
            let _ = lines.send(line);
        }
    }
}
