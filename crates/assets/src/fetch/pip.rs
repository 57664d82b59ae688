//! Fetching a wheel with the machine's own pip, which knows its index, proxy and credentials.
//!
//! pip's connection timeout doesn't cover name resolution, and its log is the only sign of life before the first byte,
//! so the log is read along: a server that has been turned to and says nothing for a few seconds ends the attempt. One
//! that took the connection but was slow to answer gets a second, patient attempt.

use super::Job;
use crate::disk;
use crate::error::{AssetError, Trouble};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How pip may be called.
const CANDIDATES: &[&[&str]] =
    &[&["pip"], &["pip3"], &["python3", "-m", "pip"], &["python", "-m", "pip"], &["py", "-m", "pip"]];
/// How often pip is looked after.
const TICK: Duration = Duration::from_millis(50);
/// pip's own timeout for connecting and for each read, in the first attempt and in the patient one.
const QUICK_S: u32 = 3;
const PATIENT_S: u32 = 60;
/// So many ticks after turning to a server without a sign of it, the first attempt is over. A little more than pip's own
/// timeout, because pip knows better why.
const SILENCE_TICKS: u32 = 70;
/// What of pip's log is looked at for the reason of a failure.
const LOG_LINES: usize = 2000;

/// A wheel to fetch.
pub(super) struct Wheel {
    /// The distribution's name.
    pub(super) package: String,
    version: String,
    python: String,
    platform: Option<String>,
}

impl Wheel {
    pub(super) fn new(package: &str, version: &str, python: Option<&str>, platform: Option<&str>) -> Self {
        Wheel {
            package: package.to_owned(),
            version: version.to_owned(),
            python: python.unwrap_or("3.13").to_owned(),
            platform: platform.map(str::to_owned),
        }
    }

    /// The same with another name.
    pub(super) fn named(&self, package: String) -> Self {
        Wheel { package, version: self.version.clone(), python: self.python.clone(), platform: self.platform.clone() }
    }
}

impl fmt::Display for Wheel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=={}", self.package, self.version)
    }
}

/// A pip that works.
pub(super) struct Pip {
    command: Vec<String>,
}

impl Pip {
    /// The given one, or the first of the usual ones that tells its version.
    pub(super) fn find(given: Option<&[String]>) -> Result<Self, String> {
        if let Some(command) = given {
            return Ok(Pip { command: command.to_vec() });
        }
        let works = |command: &&&[&str]| {
            let output = Command::new(command[0]).args(&command[1..]).arg("--version").stdin(Stdio::null()).output();
            output.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"pip "))
        };
        let found = CANDIDATES.iter().find(works);
        let command = found.ok_or_else(|| {
            let tried: Vec<String> = CANDIDATES.iter().map(|command| format!("`{}`", command.join(" "))).collect();
            format!("there is no working pip: tried {}", tried.join(", "))
        })?;
        Ok(Pip { command: command.iter().map(|part| (*part).to_owned()).collect() })
    }

    /// Fetches a wheel into `folder`, which must not exist yet, and gives its path. `on_bytes` gets the bytes so far.
    pub(super) fn download(
        &self,
        job: &Job,
        wheel: &Wheel,
        folder: &Path,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, Trouble> {
        job.meter.message(&format!("fetching {wheel} with {}", self.command.join(" ")));
        let quick = self.attempt(job, wheel, folder, QUICK_S, on_bytes)?;
        let log = match quick {
            Outcome::Done => return wheel_in(folder, wheel),
            Outcome::Silent(server) => {
                return Err(Trouble::Source(format!("{server} did not answer within {QUICK_S} s")));
            }
            Outcome::Failed(log) if log.was_slow() => {
                job.meter.message(&format!("{}; trying again with more patience", log.reason()));
                match self.attempt(job, wheel, folder, PATIENT_S, on_bytes)? {
                    Outcome::Done => return wheel_in(folder, wheel),
                    Outcome::Silent(server) => return Err(Trouble::Source(format!("{server} did not answer"))),
                    Outcome::Failed(log) => log,
                }
            }
            Outcome::Failed(log) => log,
        };
        if log.disk_full() {
            let (name, path) = (job.asset.name.clone(), folder.to_owned());
            return Err(Trouble::Fatal(AssetError::NoSpace { name, path }));
        }
        Err(Trouble::Source(log.reason()))
    }

    fn attempt(
        &self,
        job: &Job,
        wheel: &Wheel,
        folder: &Path,
        timeout_s: u32,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Outcome, Trouble> {
        let temporary = folder.join("tmp");
        disk::remove_all(folder)
            .and_then(|()| fs::create_dir_all(&temporary))
            .map_err(|error| Trouble::write(&job.asset.name, "create", &temporary, error))?;
        let mut running = self
            .start(wheel, folder, &temporary, timeout_s)
            .map_err(|error| Trouble::Source(format!("cannot run {}: {error}", self.command.join(" "))))?;
        let mut log = Log::default();
        let mut watch = Watch::default();
        loop {
            for line in running.lines.try_iter() {
                watch.see(&line);
                log.push(line);
            }
            on_bytes(disk::folder_size(folder));
            if job.meter.cancelled() {
                return Err(Trouble::cancelled(&job.asset.name));
            }
            match running.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    // The readers end with pip, unless something it started keeps the pipes.
                    while let Ok(line) = running.lines.recv_timeout(TICK * 4) {
                        log.push(line);
                    }
                    return Ok(if status.success() { Outcome::Done } else { Outcome::Failed(log) });
                }
                Err(error) => return Err(Trouble::Source(format!("lost sight of pip: {error}"))),
            }
            if let Some(server) = watch.tick()
                && timeout_s == QUICK_S
            {
                return Ok(Outcome::Silent(server));
            }
            std::thread::sleep(TICK);
        }
    }

    fn start(&self, wheel: &Wheel, folder: &Path, temporary: &Path, timeout_s: u32) -> std::io::Result<Running> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(["download", "-vv", "--no-input", "--disable-pip-version-check"]);
        command.args(["--progress-bar", "off", "--no-deps", "--only-binary=:all:", "--retries", "0"]);
        command.args(["--timeout", &timeout_s.to_string(), "--python-version", &wheel.python]);
        if let Some(platform) = &wheel.platform {
            command.args(["--platform", platform]);
        }
        command.arg("--dest").arg(folder).arg(wheel.to_string());
        // The growing file is then below `folder`, on the disk that was checked for space.
        command.env("TMPDIR", temporary).env("TEMP", temporary).env("TMP", temporary);
        command.env("PYTHONUNBUFFERED", "1").env("PIP_REQUIRE_VIRTUALENV", "0");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, lines) = channel();
        if let Some(output) = child.stdout.take() {
            forward(output, sender.clone());
        }
        if let Some(output) = child.stderr.take() {
            forward(output, sender);
        }
        Ok(Running { child, lines })
    }
}

/// How an attempt ended.
enum Outcome {
    Done,
    /// This server gave no sign of life.
    Silent(String),
    Failed(Log),
}

/// A pip at work; dropped, it is stopped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if to.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
}

fn wheel_in(folder: &Path, wheel: &Wheel) -> Result<PathBuf, Trouble> {
    let found = fs::read_dir(folder).ok().and_then(|entries| {
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "whl"))
    });
    found.ok_or_else(|| Trouble::Source(format!("pip succeeded, but brought no wheel for {wheel}")))
}

/// Watches pip's log for a server that was turned to and hasn't answered.
#[derive(Default)]
struct Watch {
    waiting: Option<(String, u32)>,
}

impl Watch {
    fn see(&mut self, line: &str) {
        if let Some((_, server)) = line.split_once("Starting new HTTP") {
            let server = server.rsplit(' ').next().unwrap_or_default();
            self.waiting = Some((server.to_owned(), 0));
        } else if line.contains(" HTTP/") {
            self.waiting = None;
        }
    }

    /// Counts a tick; names the server that has been silent for too long.
    fn tick(&mut self) -> Option<String> {
        let (server, ticks) = self.waiting.as_mut()?;
        *ticks += 1;
        (*ticks > SILENCE_TICKS).then(|| server.clone())
    }
}

/// The end of pip's log.
#[derive(Default)]
struct Log {
    lines: std::collections::VecDeque<String>,
}

impl Log {
    fn push(&mut self, line: String) {
        if !line.is_empty() {
            self.lines.push_back(line);
        }
        if self.lines.len() > LOG_LINES {
            self.lines.pop_front();
        }
    }

    /// Whether a server took the connection, but then said nothing for the first attempt's timeout.
    fn was_slow(&self) -> bool {
        self.lines.iter().any(|line| line.contains("ReadTimeoutError") || line.contains("Read timed out"))
    }

    fn disk_full(&self) -> bool {
        self.lines.iter().any(|line| line.contains("No space left on device"))
    }

    /// What a person needs to know of it: why a server couldn't be reached, or else what pip calls the error.
    fn reason(&self) -> String {
        let unreachable = self.lines.iter().rev().find_map(|line| {
            let (_, rest) = line.split_once("Could not fetch URL ")?;
            let (url, cause) = rest.split_once(": ")?;
            Some(format!("{url}: {}", short(cause)))
        });
        let called_error = || self.lines.iter().find_map(|line| line.strip_prefix("ERROR: ").map(short));
        let reason = unreachable.or_else(called_error).or_else(|| self.lines.back().map(|line| short(line)));
        without_credentials(&reason.unwrap_or_else(|| "pip failed without a word".to_owned()))
    }
}

/// The heart of a message of urllib3, which wraps it several times.
fn short(cause: &str) -> String {
    let mut heart = cause.strip_suffix(" - skipping").unwrap_or(cause);
    for wrapping in ["(Caused by ", "Failed to establish a new connection: ", "): "] {
        if let Some((_, rest)) = heart.split_once(wrapping) {
            heart = rest.trim_end_matches([')', '\'', '"']);
        }
    }
    let mut text: String = heart.chars().take(200).collect();
    if text.len() < heart.len() {
        text.push('…');
    }
    text
}

/// Takes `user:password@` out of addresses.
fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let host_end = part.find(|letter: char| letter == '/' || letter.is_whitespace()).unwrap_or(part.len());
        let host = part[..host_end].rfind('@').map_or(0, |at| at + 1);
        clean.push_str("://");
        clean.push_str(&part[host..]);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        let mut log = Log::default();
        for line in lines {
            log.push((*line).to_owned());
        }
        log
    }

    #[test]
    fn the_reason_is_the_unreachable_server_before_what_follows_from_it() {
        let log = log(&[
            "Could not fetch URL https://me:secret@index.example/simple/x/: connection error: HTTPConnectionPool(host='index.example', port=443): \
             Max retries exceeded with url: /simple/x/ (Caused by NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f>: \
             Failed to establish a new connection: [Errno 111] Connection refused')) - skipping",
            "ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)",
            "ERROR: No matching distribution found for x==1",
        ]);
        assert_eq!(log.reason(), "https://index.example/simple/x/: [Errno 111] Connection refused");
        assert!(!log.was_slow());
    }

    #[test]
    fn without_one_it_is_pips_first_error() {
        let log = log(&[
            "ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 0.1.0)",
            "ERROR: No matching distribution found for x==9",
            "Traceback (most recent call last):",
        ]);
        assert_eq!(log.reason(), "Could not find a version that satisfies the requirement x==9 (from versions: 0.1.0)");
    }

    #[test]
    fn wrappings_are_taken_off_and_length_is_bounded() {
        let cause = "connection error: HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /x/ (Caused by \
                     ReadTimeoutError(\"HTTPConnectionPool(host='h', port=1): Read timed out. (read timeout=3.0)\")) - skipping";
        assert_eq!(short(cause), "Read timed out. (read timeout=3.0");
        assert_eq!(short(&"é".repeat(1000)).chars().count(), 201);
    }

    #[test]
    fn a_read_timeout_means_slow_and_not_unreachable() {
        assert!(log(&["(Caused by ReadTimeoutError(\"…: Read timed out. (read timeout=3.0)\"))"]).was_slow());
        assert!(!log(&["(Caused by ConnectTimeoutError(…))"]).was_slow());
    }

    #[test]
    fn silence_is_counted_from_turning_to_a_server_until_its_answer() {
        let mut watch = Watch::default();
        assert_eq!(watch.tick(), None);
        watch.see("Starting new HTTPS connection (1): index.example:443");
        for _ in 0..SILENCE_TICKS {
            assert_eq!(watch.tick(), None);
        }
        assert_eq!(watch.tick().as_deref(), Some("index.example:443"));
        watch.see("https://index.example:443 \"GET /simple/x/ HTTP/1.1\" 200 879");
        assert_eq!(watch.tick(), None);
    }

    #[test]
    fn credentials_leave_addresses() {
        assert_eq!(
            without_credentials("see https://u:p@a.b/c and http://d/e@f or ftp://x@y"),
            "see https://a.b/c and http://d/e@f or ftp://y"
        );
    }
}
