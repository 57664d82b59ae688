//! The live view of a run on a terminal: one line per node of the workflow, with what runs in it, for how long, and how
//! fast it writes.

use std::fmt::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lumos::core::{Clock, Status};
use lumos::engine::{EventSink, RunEvent, StepRef, SystemClock};
use lumos_report::figure;

use super::output;

const TICK: Duration = Duration::from_millis(100);
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⢰", "⣠", "⣄", "⡆", "⠇"];

/// Shows a run while it goes on.
pub struct Live {
    board: Arc<Mutex<Board>>,
    ticker: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Board {
    clock: SystemClock,
    bars: MultiProgress,
    loading: Option<(ProgressBar, String, u64)>,
    nodes: IndexMap<String, Node>,
}

/// A node of the workflow; what runs inside its sub-workflow counts as its own.
struct Node {
    bar: ProgressBar,
    running: IndexMap<u32, Running>,
    succeeded: usize,
    skipped: bool,
    failed: Option<String>,
    began_us: Option<u64>,
    ended_us: u64,
    tokens: u64,
}

struct Running {
    label: String,
    tokens: u64,
    /// When the first token came, and how many had come then.
    first: Option<(u64, u64)>,
    last_us: u64,
}

impl Live {
    /// A view that shows nothing yet.
    pub fn start() -> Self {
        let board =
            Board { clock: SystemClock::new(), bars: MultiProgress::new(), loading: None, nodes: IndexMap::new() };
        let board = Arc::new(Mutex::new(board));
        let (stop, stopped) = channel::<()>();
        let drawn = board.clone();
        let ticker = std::thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).draw();
            }
        });
        Self { board, ticker: Mutex::new(Some((stop, ticker))) }
    }

    /// Says that models are being loaded; `None` when they are.
    pub fn loading(&self, what: Option<String>) {
        let mut board = self.board();
        if let Some((bar, _, _)) = board.loading.take() {
            bar.finish_and_clear();
        }
        board.loading = what.map(|what| (line(&board.bars), what, board.clock.now_us()));
    }

    /// Takes the view off the terminal.
    pub fn finish(&self) {
        if let Some((stop, ticker)) = self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(stop);
            // A view that broke has nothing left to draw.
            let _ = ticker.join();
        }
        // A terminal that cannot be cleared is left as it is.
        let _ = self.board().bars.clear();
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Live {
    fn event(&self, _: &str, event: &RunEvent) {
        self.board().take(event);
    }
}

fn line(bars: &MultiProgress) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    bar.set_style(ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

/// Draws a line unless it says the same already.
fn set(bar: &ProgressBar, text: String) {
    if bar.message() != text {
        bar.set_message(text);
    }
}

impl Board {
    fn take(&mut self, event: &RunEvent) {
        let now = self.clock.now_us();
        match event {
            RunEvent::RunStarted { nodes, .. } => {
                for name in nodes {
                    let bar = line(&self.bars);
                    self.nodes.insert(name.clone(), Node::new(bar));
                }
            }
            RunEvent::AttemptStarted { step, backend, attempt, .. } => {
                let label = label(step, backend.as_deref(), *attempt);
                if let Some(node) = self.node(step) {
                    node.began_us.get_or_insert(now);
                    node.running.insert(step.step, Running { label, tokens: 0, first: None, last_us: now });
                }
            }
            RunEvent::Delta { step, output_tokens, .. } => {
                let running = self.nodes.values_mut().find_map(|node| node.running.get_mut(step));
                if let Some(running) = running {
                    running.tokens = *output_tokens;
                    running.first.get_or_insert((now, *output_tokens));
                    running.last_us = now;
                }
            }
            RunEvent::AttemptEnded { step, status, error, output_tokens, .. } => {
                if let Some(node) = self.node(step) {
                    node.running.shift_remove(&step.step);
                    node.ended_us = now;
                    node.tokens += output_tokens.unwrap_or_default();
                    if *status == Status::Succeeded {
                        node.succeeded += 1;
                        node.failed = None;
                    } else {
                        node.failed.clone_from(error);
                    }
                }
            }
            RunEvent::Skipped { step, .. } => {
                if let Some(node) = self.node(step).filter(|_| step.path.is_empty()) {
                    node.skipped = true;
                }
            }
            RunEvent::RunEnded { .. } => {}
        }
    }

    fn node(&mut self, step: &StepRef) -> Option<&mut Node> {
        self.nodes.get_mut(step.path.first().unwrap_or(&step.node))
    }

    fn draw(&self) {
        let now = self.clock.now_us();
        let spinner = SPINNER[(now / 100_000) as usize % SPINNER.len()];
        if let Some((bar, what, since_us)) = &self.loading {
            set(bar, format!("{spinner} loading {what} {}", figure::duration(tenths(now - since_us))));
        }
        for (name, node) in &self.nodes {
            set(&node.bar, node.text(name, spinner, now));
        }
    }
}

impl Node {
    fn new(bar: ProgressBar) -> Self {
        Self {
            bar,
            running: IndexMap::new(),
            succeeded: 0,
            skipped: false,
            failed: None,
            began_us: None,
            ended_us: 0,
            tokens: 0,
        }
    }

    fn text(&self, name: &str, spinner: &str, now: u64) -> String {
        let dim = |text: String| if output::colours_progress() { output::dim(&text) } else { text };
        let Some(began_us) = self.began_us else {
            return dim(if self.skipped { format!("– {name} skipped") } else { format!("· {name}") });
        };
        let mut text = name.to_owned();
        if self.running.is_empty() {
            let took = figure::duration(self.ended_us - began_us);
            if let Some(error) = &self.failed {
                return format!("✗ {text} {took}  {}", lumos_report::clean(error));
            }
            let _ = write!(text, " {took}");
            if self.succeeded > 1 {
                let _ = write!(text, "  {} done", self.succeeded);
            }
            if self.tokens > 0 {
                let _ = write!(text, "  {} tokens", figure::count(self.tokens));
            }
            return dim(format!("✓ {text}"));
        }
        let _ = write!(text, " {}", figure::duration(tenths(now - began_us)));
        if self.succeeded > 0 {
            let _ = write!(text, "  {} done", self.succeeded);
        }
        for running in self.running.values().take(3) {
            let _ = write!(text, "  {}", running.text());
        }
        if self.running.len() > 3 {
            let _ = write!(text, "  and {} more", self.running.len() - 3);
        }
        format!("{spinner} {text}")
    }
}

impl Running {
    fn text(&self) -> String {
        let mut text = self.label.clone();
        if self.tokens > 0 {
            let _ = write!(text, " {} tokens", figure::count(self.tokens));
        }
        if let Some((first_us, first_tokens)) = self.first
            && self.tokens > first_tokens
            && self.last_us > first_us
        {
            let rate = (self.tokens - first_tokens) as f64 * 1e6 / (self.last_us - first_us) as f64;
            let _ = write!(text, ", {rate:.1} tokens/s");
        }
        text
    }
}

/// What runs within a node's line: the inner node, the entry, the round and the backend.
fn label(step: &StepRef, backend: Option<&str>, attempt: u32) -> String {
    let mut parts = Vec::new();
    if !step.path.is_empty() {
        parts.push(step.node.clone());
    }
    parts.extend(step.index.map(|index| format!("[{index}]")));
    parts.extend(step.iteration.map(|iteration| format!("#{iteration}")));
    let mut text = parts.concat();
    if let Some(backend) = backend {
        if !text.is_empty() {
            text.push_str(" on ");
        }
        text.push_str(backend);
    }
    if attempt > 1 {
        let _ = write!(text, " try {attempt}");
    }
    text
}

/// A time that is drawn ten times a second needs no more digits.
fn tenths(us: u64) -> u64 {
    us / 100_000 * 100_000
}
