//! Runs that survive: processes killed, stopped and raced, disks that fill up and that can no longer be written, while a
//! server counts what is really done.

mod disk;
mod kill;
mod server;
mod zombie;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use server::{Server, StepName};

/// Sixty steps: a list, a map over it, a chain, a loop, a sub-workflow in a loop with a map of its own, another map.
///
/// Each step asks the server for an address that is made of the answers before it, so whatever is lost, doubled or mixed
/// up on the way changes the output.
const MAIN: &str = r#"Workflow(
    name: "sixty",
    inputs: { "base": Text(required: true) },
    nodes: {
        "list": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/list/-/-/0" }, RETRY),
        "fan": Tool(agent: "ask", map: "{{ list.json['items'] }}", concurrency: 4,
            with: { "url": "{{ inputs.base }}/fan/{{ index }}/-/{{ item }}" }, RETRY),
        "c1": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/c1/-/-/{{ list.json.n }}" }, RETRY),
        "c2": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/c2/-/-/{{ c1.json.n }}" }, RETRY),
        "c3": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/c3/-/-/{{ c2.json.n }}" }, RETRY),
        "c4": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/c4/-/-/{{ c3.json.n }}" }, RETRY),
        "c5": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/c5/-/-/{{ c4.json.n }}" }, RETRY),
        "c6": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/c6/-/-/{{ c5.json.n }}" }, RETRY),
        "again": Tool(agent: "ask", repeat: (until: "{{ output.json.round >= 6 }}", at_most: 9),
            with: { "url": "{{ inputs.base }}/again/-/{{ previous.json.round + 1 if previous else 0 }}/{{ previous.json.n if previous else fan | map(attribute='json.n') | sum }}" }, RETRY),
        "rounds": Workflow(path: "inner.ron", repeat: (until: "{{ output.round >= 2 }}", at_most: 5),
            with: { "base": "{{ inputs.base }}", "from": "{{ previous.n if previous else c6.json.n }}", "round": "{{ previous.round + 1 if previous else 0 }}" }),
        "last": Tool(agent: "ask", map: "{{ fan }}", concurrency: 3,
            with: { "url": "{{ inputs.base }}/last/{{ index }}/-/{{ item.json.n + rounds.n }}" }, RETRY),
        "end": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/end/-/-/{{ again.json.n }}-{{ rounds.n }}-{{ last | map(attribute='json.n') | sum }}" }, RETRY),
    },
    output: "{{ end.json.n }}, {{ rounds.n }}, {{ again.json.n }}, {{ fan | map(attribute='json.n') | sum }}, {{ last | map(attribute='json.n') | sum }}",
)
"#;

const INNER: &str = r#"Workflow(
    name: "inner",
    inputs: { "base": Text(required: true), "from": Integer(required: true), "round": Integer(required: true) },
    nodes: {
        "open": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/open/-/{{ inputs.round }}/{{ inputs.from }}" }, RETRY),
        "each": Tool(agent: "ask", map: "{{ open.json.few }}",
            with: { "url": "{{ inputs.base }}/each/{{ index }}/{{ inputs.round }}/{{ item + open.json.n }}" }, RETRY),
        "close": Tool(agent: "ask", with: { "url": "{{ inputs.base }}/close/-/{{ inputs.round }}/{{ each | map(attribute='json.n') | sum }}" }, RETRY),
    },
    output: "{{ {'n': close.json.n, 'round': inputs.round} }}",
)
"#;

const RETRY: &str = "retry: (attempts: 3, backoff: (base_s: 0.01, max_s: 0.03))";

/// Which step of a record is meant: enclosing nodes, node, index and round.
type Place = (Vec<String>, String, Option<u64>, Option<u64>);

/// The workflow's files, a home, and the server that it asks.
struct Setting {
    folder: tempfile::TempDir,
    home: PathBuf,
    server: Server,
}

impl Setting {
    fn new(slowest: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        let server = Server::start(slowest);
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        fs::create_dir(folder.path().join("agents")).expect("a folder");
        write("agents/ask.ron", &format!("Tool(tool: HttpGet(allow: [\"{}/\"], timeout_s: 300))", server.address()));
        write("main.ron", &MAIN.replace("RETRY", RETRY));
        write("inner.ron", &INNER.replace("RETRY", RETRY));
        Self { folder, home, server }
    }

    /// The same with a home elsewhere.
    fn at(self, home: PathBuf) -> Self {
        Self { home, ..self }
    }

    /// The run that was begun last.
    fn newest(&self) -> (String, String) {
        self.runs().into_iter().next().expect("a run")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lumos"));
        command.args(arguments).current_dir(self.folder.path()).env("LUMOS_HOME", &self.home);
        command.stdin(Stdio::null());
        command
    }

    /// Begins a run whose requests go under the name `run`.
    fn begin(&self, run: &str) -> Process {
        let base = format!("base={}", self.server.base(run));
        Process::start(self.command(&["run", "main.ron", "-i", &base, "--format", "json"]))
    }

    fn resume(&self, id: &str) -> Process {
        Process::start(self.command(&["resume", id, "--format", "json"]))
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command starts")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        document(&self.output(arguments))
    }

    /// Id and status of each run, the newest first.
    fn runs(&self) -> Vec<(String, String)> {
        let list = self.json(&["runs", "list", "--format", "json"]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let runs = list["runs"].as_array().expect("runs");
        runs.iter().map(|run| (text(&run["run_id"]), text(&run["status"]))).collect()
    }

    fn show(&self, id: &str) -> Value {
        self.json(&["runs", "show", id, "--format", "json"])
    }

    fn verify(&self, what: &[&str]) {
        let output = self.output(&[&["runs", "verify"], what].concat());
        assert!(output.status.success(), "verify {what:?}: {}", said(&output));
    }

    /// What the undisturbed run gives.
    fn undisturbed(&self) -> Value {
        let output = self.begin("undisturbed").end();
        assert!(output.status.success(), "{}", said(&output));
        let record = document(&output);
        check(&record, &self.server.answers("undisturbed"));
        record
    }
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {}", said(output)))
}

/// How a command ended and all that it said; with `--format json` what is wrong is a document on stdout.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stderr), text(&output.stdout))
}

/// Exit code of a command that was not killed.
fn exit(status: ExitStatus) -> i32 {
    status.code().expect("not killed")
}

/// A command that goes on. What it says goes to files: nobody reads a pipe while its process is watched, stopped or killed.
struct Process {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let file = || tempfile::tempfile().expect("a file");
        let (stdout, stderr) = (file(), file());
        let same = |file: &File| file.try_clone().expect("the same file");
        let child = command.stdout(same(&stdout)).stderr(same(&stderr)).spawn().expect("the command starts");
        Self { child, stdout, stderr }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    fn send(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("the command starts");
        assert!(sent.success());
    }

    /// Kills it, unless it has ended.
    fn kill(mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("a child");
    }

    /// Waits for its end; what it said.
    fn end(mut self) -> Output {
        let status = self.child.wait().expect("a child");
        let text = |mut file: File| {
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a file");
            bytes
        };
        Output { status, stdout: text(self.stdout), stderr: text(self.stderr) }
    }
}

/// The steps of a record by place, each with the statuses of its attempts.
fn steps(record: &Value) -> BTreeMap<Place, (String, Vec<String>)> {
    let mut steps = BTreeMap::new();
    for step in record["steps"].as_array().expect("steps") {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let path = step["path"].as_array().expect("a path").iter().map(text).collect();
        let place = (path, text(&step["node"]), step["index"].as_u64(), step["iteration"].as_u64());
        let attempts = step["attempts"].as_array().expect("attempts");
        let numbers: Vec<u64> = attempts.iter().filter_map(|attempt| attempt["attempt"].as_u64()).collect();
        assert_eq!(numbers, (1..=attempts.len() as u64).collect::<Vec<_>>(), "attempts of {place:?}");
        let attempts = attempts.iter().map(|attempt| text(&attempt["status"])).collect();
        let doubled = steps.insert(place.clone(), (text(&step["status"]), attempts));
        assert!(doubled.is_none(), "{place:?} is there twice");
    }
    steps
}

/// Compares what a record tells with what the server was asked: every attempt that ended was made exactly once and ended
/// as the server answered, every interrupted one at most once, and nothing else was asked. How many were interrupted.
fn check(record: &Value, asked: &BTreeMap<StepName, Vec<u16>>) -> usize {
    let mut asked = asked.clone();
    let mut interrupted = 0;
    for ((path, node, index, round), (_, attempts)) in steps(record) {
        if node == "rounds" {
            continue;
        }
        let part = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let name = format!("{node}/{}/{}", part(index), part(round));
        let answers = asked.remove(&name).unwrap_or_default();
        interrupted += attempts.iter().filter(|status| *status == "interrupted").count();
        assert!(agree(&attempts, &answers), "{path:?} {name}: {attempts:?}, but the server's answers were {answers:?}");
    }
    assert!(asked.is_empty(), "asked for by no attempt: {asked:?}");
    interrupted
}

/// Whether attempts and answers, both in order, can be those of one another.
fn agree(attempts: &[String], answers: &[u16]) -> bool {
    let Some((attempt, later)) = attempts.split_first() else { return answers.is_empty() };
    let took = |wanted: Option<u16>| {
        answers
            .split_first()
            .is_some_and(|(answer, rest)| wanted.is_none_or(|wanted| wanted == *answer) && agree(later, rest))
    };
    match attempt.as_str() {
        "succeeded" => took(Some(200)),
        "failed" => took(Some(503)),
        // It may have been killed before it asked, or after.
        "interrupted" | "running" => agree(later, answers) || took(None),
        _ => false,
    }
}

/// A record without what may differ between two runs with the same answers: how often and when something was tried.
fn essence(record: &Value) -> (Value, Value, Vec<(Place, String)>) {
    let steps = steps(record).into_iter().map(|(place, (status, _))| (place, status)).collect();
    (record["status"].clone(), record["output"].clone(), steps)
}

#[test]
fn the_comparison_tells_a_doubled_attempt_from_an_interrupted_one() {
    let agree = |attempts: &[&str], answers: &[u16]| {
        agree(&attempts.iter().map(|status| (*status).to_owned()).collect::<Vec<_>>(), answers)
    };
    for (attempts, answers) in [
        (&["succeeded"][..], &[200][..]),
        (&["failed", "succeeded"], &[503, 200]),
        (&["interrupted", "succeeded"], &[503, 200]),
        (&["interrupted", "succeeded"], &[200]),
        (&["interrupted", "failed", "interrupted", "succeeded"], &[503, 200, 200]),
        (&[], &[]),
    ] {
        assert!(agree(attempts, answers), "{attempts:?} {answers:?}");
    }
    for (attempts, answers) in [
        (&["succeeded"][..], &[200, 200][..]),
        (&["succeeded"], &[]),
        (&["failed", "succeeded"], &[200]),
        (&["interrupted", "succeeded"], &[200, 200, 200]),
        (&["failed", "interrupted", "succeeded"], &[200, 200]),
        (&[], &[200]),
        (&["skipped"], &[]),
    ] {
        assert!(!agree(attempts, answers), "{attempts:?} {answers:?}");
    }
}
