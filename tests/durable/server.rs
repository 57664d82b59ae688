//! A server that counts: each request is noted before it is answered, and answers are functions of what was asked.
//!
//! A path is `/RUN/NODE/INDEX/ROUND/REST`: the first part tells the runs apart and counts for nothing else, the next three
//! are the step.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lumos::core::chance::mix;
use serde_json::json;

/// The step that a request comes from: node, index and round, `-` where there is none.
pub type StepName = String;

/// A server; its threads end with the test's process.
#[derive(Clone)]
pub struct Server {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    slowest: Duration,
}

#[derive(Default)]
struct State {
    /// HTTP statuses of the requests of each run's steps, in order of arrival.
    answers: BTreeMap<String, BTreeMap<StepName, Vec<u16>>>,
    /// Steps whose next request is not answered until it is let go.
    held: BTreeSet<(String, StepName)>,
    /// Requests that are held or have been let go, and whether they still wait.
    waiting: BTreeMap<(String, StepName), bool>,
}

impl Server {
    /// A server that takes up to `slowest` for an answer, by what is asked.
    pub fn start(slowest: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), slowest });
        let server = Self { address, shared };
        let accepting = server.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Read here, so that requests are noted in the order in which their connections were made.
                let Some((run, rest)) = read(&mut stream) else { continue };
                let noted = accepting.note(&run, &rest);
                let server = accepting.clone();
                std::thread::spawn(move || server.answer(stream, noted, &rest));
            }
        });
        server
    }

    /// Where the requests of a run go to.
    pub fn base(&self, run: &str) -> String {
        format!("{}/{run}", self.address)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// HTTP statuses of what was asked by each step of a run, in order of arrival.
    pub fn answers(&self, run: &str) -> BTreeMap<StepName, Vec<u16>> {
        self.state().answers.get(run).cloned().unwrap_or_default()
    }

    /// How many requests of a run have arrived.
    pub fn count(&self, run: &str) -> usize {
        self.answers(run).values().map(Vec::len).sum()
    }

    /// Does not answer the step's next request until it is let go. One that is held already is let go.
    pub fn hold(&self, run: &str, step: &str) {
        let key = (run.to_owned(), step.to_owned());
        let mut state = self.state();
        state.waiting.remove(&key);
        state.held.insert(key);
        self.shared.changed.notify_all();
    }

    /// Waits until the request that is to be held has come, or `done` says that it will not; whether it has come.
    pub fn wait_for(&self, run: &str, step: &str, done: impl FnMut() -> bool) -> bool {
        let key = (run.to_owned(), step.to_owned());
        self.wait_until(|state| state.waiting.contains_key(&key), done)
    }

    /// Answers the request that is held.
    pub fn let_go(&self, run: &str, step: &str) {
        self.state().waiting.insert((run.to_owned(), step.to_owned()), false);
        self.shared.changed.notify_all();
    }

    /// Waits until so many requests of a run have come, or `done` says that they will not.
    pub fn wait_for_count(&self, run: &str, count: usize, done: impl FnMut() -> bool) {
        let arrived =
            |state: &State| state.answers.get(run).map_or(0, |steps| steps.values().map(Vec::len).sum::<usize>());
        self.wait_until(|state| arrived(state) >= count, done);
    }

    /// Waits until a step has been answered well, or `done` says that it will not be; whether it has.
    pub fn wait_for_success(&self, run: &str, step: &str, done: impl FnMut() -> bool) -> bool {
        let answered = |state: &State| state.answers.get(run)?.get(step)?.last().copied();
        self.wait_until(|state| answered(state) == Some(200), done)
    }

    fn wait_until(&self, is_so: impl Fn(&State) -> bool, mut done: impl FnMut() -> bool) -> bool {
        let mut state = self.state();
        while !is_so(&state) {
            if done() {
                return false;
            }
            // The server is not told of the end of a process: that is looked for now and then.
            let look = Duration::from_millis(20);
            state = self.shared.changed.wait_timeout(state, look).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request; every fourth step is refused once.
    fn note(&self, run: &str, rest: &str) -> Noted {
        let step = rest.split('/').take(3).collect::<Vec<_>>().join("/");
        let key = (run.to_owned(), step);
        let mut state = self.state();
        let answers = state.answers.entry(key.0.clone()).or_default().entry(key.1.clone()).or_default();
        let status = if answers.is_empty() && hash(&key.1).is_multiple_of(4) { 503 } else { 200 };
        answers.push(status);
        let is_held = state.held.remove(&key);
        if is_held {
            state.waiting.insert(key.clone(), true);
        }
        self.shared.changed.notify_all();
        Noted { status, held: is_held.then_some(key) }
    }

    /// Answers, when it may and after a while; whoever was killed meanwhile is not awaited.
    fn answer(&self, mut stream: TcpStream, Noted { status, held }: Noted, rest: &str) {
        if let Some(key) = held {
            let waits = |state: &mut State| state.waiting.get(&key) == Some(&true);
            drop(self.shared.changed.wait_while(self.state(), waits));
        }
        let draw = hash(rest);
        std::thread::sleep(self.shared.slowest.mul_f64((draw % 1000) as f64 / 1000.0));
        let list = |length: u64| (0..length).map(|item| draw % 89 + item).collect::<Vec<_>>();
        let round: Option<u64> = rest.split('/').nth(2).and_then(|round| round.parse().ok());
        let body = json!({ "n": draw % 1_000_003, "round": round, "items": list(12), "few": list(4) });
        let (reason, body) = match status {
            200 => ("OK", body.to_string()),
            _ => ("Service Unavailable", String::new()),
        };
        let answer = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// How a request is answered.
struct Noted {
    status: u16,
    /// Run and step, if it must be let go first.
    held: Option<(String, StepName)>,
}

/// The run that asks, and the rest of the path; `None` when whoever asked has died before it did.
fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut head, mut buffer) = (Vec::new(), [0; 2048]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let (run, rest) = head.split(' ').nth(1)?.trim_start_matches('/').split_once('/')?;
    Some((run.to_owned(), rest.to_owned()))
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(7, |hash, byte| mix(hash ^ u64::from(byte)))
}
