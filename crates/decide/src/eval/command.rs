//! A scorer that is a program: it reads what there is to know as one JSON document, and prints its score.

use std::io::Write;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use serde_json::Value;

use super::case::{Case, ExternalScorer, Score, score_from};

/// Runs a command by the shell, once for each score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandScorer {
    /// The command.
    pub command: String,
}

#[async_trait]
impl ExternalScorer for CommandScorer {
    async fn score(&self, case: &Case<'_>, _: u64) -> Result<Score, String> {
        let (command, document) = (self.command.clone(), case.document().to_string());
        let ran = tokio::task::spawn_blocking(move || run(&command, &document)).await;
        ran.unwrap_or_else(|error| Err(format!("the command broke: {error}")))
    }
}

fn run(command: &str, document: &str) -> Result<Score, String> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let started = Command::new(shell)
        .args([flag, command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| format!("the command cannot be started: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("the command takes no input")?;
    // On a thread of its own, because both sides may wait for the other to read.
    let document = document.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(document.as_bytes())));
    let output = child.wait_with_output().map_err(|error| format!("the command broke: {error}"))?;
    // Who does not read is not written to.
    drop(writer.join());
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(format!("the command ended with {}: {last}", output.status)
            .trim_end_matches([':', ' '])
            .to_owned());
    }
    // What it says before is not the score.
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    score_from(&Value::from(last)).or_else(|error| score_from(&Value::from(text.trim())).map_err(|_| error))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_the_case_and_prints_the_score() {
        assert_eq!(run("cat > /dev/null; echo thinking; echo 0.25", "{}").unwrap().score, Some(0.25));
        assert_eq!(run("grep -q yes && echo 1 || echo 0", "{\"output\": \"yes\"}").unwrap().score, Some(1.0));
        assert_eq!(run("echo 1", &"x".repeat(1 << 20)).unwrap().score, Some(1.0), "it need not read");
        assert!(run("echo 3", "{}").unwrap_err().contains("from 0 to 1"));
        assert_eq!(
            run("echo 'no such thing' >&2; exit 3", "{}").unwrap_err(),
            "the command ended with exit status: 3: no such thing"
        );
    }
}
