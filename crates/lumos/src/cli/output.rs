//! Printing: data on stdout, everything else on stderr, colour only where a person sees it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use lumos::core::Status;
use lumos_report::{Line, Role};
use serde::Serialize;

use super::failure::Failure;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default();
const BOLD_RED: Style = AnsiColor::Red.on_default().bold();
const BOLD_YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const BOLD_CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Columns to fill when stdout is no terminal.
const WIDTH: usize = 100;

/// Writes plain text to stdout. A reader that has gone away has seen enough.
///
/// # Errors
/// When stdout cannot be written, e.g. because a disk is full.
pub fn data(text: &str) -> Result<(), Failure> {
    written(io::stdout().lock(), text)
}

/// Writes text with colours to stdout; they are left out where nobody sees them.
///
/// # Errors
/// As for [`data`].
pub fn styled(text: &str) -> Result<(), Failure> {
    written(anstream::stdout().lock(), text)
}

fn written(mut stdout: impl Write, text: &str) -> Result<(), Failure> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document to stdout.
///
/// # Errors
/// As for [`data`].
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::failed(error.to_string()))?;
    data(&format!("{text}\n"))
}

/// Writes to stderr; nobody can be told when that fails.
pub fn log(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Whether stderr is a terminal on which progress can be shown.
pub fn shows_progress() -> bool {
    io::stderr().is_terminal()
}

/// Whether progress may be coloured.
pub fn colours_progress() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Columns of stdout's terminal.
pub fn width() -> usize {
    let size = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    size.map_or(WIDTH, |(width, _)| usize::from(width.0))
}

/// `error: …` and `hint: …` lines.
pub fn error(message: &str, hint: Option<&str>) -> String {
    told("error", BOLD_RED, message, hint)
}

/// `warning: …` and `hint: …` lines.
pub fn warning(message: &str, hint: Option<&str>) -> String {
    told("warning", BOLD_YELLOW, message, hint)
}

fn told(word: &str, style: Style, message: &str, hint: Option<&str>) -> String {
    let mut text = format!("{style}{word}{style:#}: {}\n", shown(message));
    text.push_str(&hint.map(|hint| self::hint(hint, "")).unwrap_or_default());
    text
}

/// A `hint: …` line.
pub fn hint(hint: &str, indent: &str) -> String {
    format!("{indent}{BOLD_CYAN}hint{BOLD_CYAN:#}: {}\n", shown(hint))
}

/// Words that stand out.
pub fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

/// Words that stand back.
pub fn dim(text: &str) -> String {
    format!("{DIM}{text}{DIM:#}")
}

/// A word for how something ended.
pub fn ended(status: Status, text: &str) -> String {
    let style = style(status);
    format!("{style}{text}{style:#}")
}

/// The lines of a table, coloured by what they are.
pub fn lines(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let style = match line.role {
            Role::Header | Role::Total => BOLD,
            Role::Rule | Role::Note => DIM,
            Role::Row => Style::new(),
            Role::Ended(status) => style(status),
        };
        let _ = writeln!(text, "{style}{}{style:#}", line.text);
    }
    text
}

fn style(status: Status) -> Style {
    match status {
        Status::Succeeded | Status::Running => Style::new(),
        Status::Skipped => DIM,
        Status::Failed | Status::Refused | Status::Limited | Status::Interrupted => RED,
        Status::Cancelled | Status::Paused => AnsiColor::Yellow.on_default(),
    }
}

/// A text of several lines that cannot command a terminal: other control characters become visible.
pub fn shown(text: &str) -> String {
    if text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t') {
        return text.to_owned();
    }
    let visible = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' { lumos_report::clean(&c.to_string()) } else { c.to_string() }
    };
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_models_cannot_command_a_terminal() {
        assert_eq!(shown("a\r\nb\tc"), "a\nb\tc");
        assert_eq!(shown("a\u{1b}[2Jb\u{7}"), "a␛[2Jb␇");
    }

    #[test]
    fn hints_follow_errors() {
        let plain = anstream::adapter::strip_str(&error("no file", Some("make one"))).to_string();
        assert_eq!(plain, "error: no file\nhint: make one\n");
    }
}
