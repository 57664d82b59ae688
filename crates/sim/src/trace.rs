//! Recorded arrivals: CSV with `time_s`, and with `input_tokens` and `output_tokens` where lengths were recorded too; or the
//! table of runs that `lumos runs export --format csv` writes, of which the starts count.

use std::io::Read;

use jiff::Timestamp;
use lumos_core::spec::ArrivalSpec;
use thiserror::Error;

/// Somebody arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, in microseconds since the start.
    pub at_us: u64,
    /// Tokens of the prompt and of the answer, where recorded.
    pub lengths: Option<(u32, u32)>,
}

/// Why a trace cannot be replayed.
#[derive(Debug, Error)]
pub enum TraceError {
    /// It is not such a table.
    #[error("row {row}: {message}")]
    Row {
        /// The row, from 1, without the heading.
        row: usize,
        /// What is wrong with it.
        message: String,
    },
    /// Its heading says nothing.
    #[error("the heading: {0}")]
    Heading(String),
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Nobody arrives.
    #[error("the trace has no rows")]
    Empty,
}

/// The rows of a scenario's arrivals: those of its trace, and none of any other arrivals. `files` gives the text of a file
/// that the scenario names.
///
/// # Errors
/// Why the trace cannot be replayed, with the file's name.
pub fn rows(spec: &ArrivalSpec, files: &dyn Fn(&str) -> std::io::Result<String>) -> Result<Vec<Arrival>, String> {
    let ArrivalSpec::Trace { file, .. } = spec else { return Ok(Vec::new()) };
    let text = files(file).map_err(|error| format!("`{file}`: {error}"))?;
    read(text.as_bytes()).map_err(|error| format!("`{file}`: {error}"))
}

/// What a trace looks like, for who wrote none.
pub const HINT: &str = "CSV with the columns time_s, input_tokens and output_tokens, or `lumos runs export --format csv \
                        --table runs`";

/// Longest time after the first row, in seconds: half a year.
const MOST_SECONDS: f64 = 15e6;

/// Most tokens of a prompt or an answer.
const MOST_TOKENS: u32 = 100_000_000;

/// Reads a trace. Times count from its first row; of recorded runs, from the one that began first.
///
/// # Errors
/// The first row that cannot be read, lies before the one above it, or names one length without the other.
pub fn read(csv: impl Read) -> Result<Vec<Arrival>, TraceError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(csv);
    let headings = reader.headers().map_err(|error| TraceError::Unreadable(error.to_string()))?;
    let columns = Columns::find(headings)?;
    let mut arrivals: Vec<Arrival> = Vec::new();
    let mut starts: Vec<Timestamp> = Vec::new();
    let (mut start_s, mut last_s) = (None, f64::NEG_INFINITY);
    for (index, record) in reader.records().enumerate() {
        let fail = |message: String| TraceError::Row { row: index + 1, message };
        let record = record.map_err(|error| fail(unreadable(&error)))?;
        if record.len() != columns.count {
            return Err(fail(format!("it has {} columns, and the heading {}", record.len(), columns.count)));
        }
        let Some(time) = columns.time_s else {
            // What a run read and wrote is the sum over its nodes, so it is no node's length.
            let text = columns.started_at.and_then(|at| record.get(at)).unwrap_or_default();
            starts.push(text.parse().map_err(|error| fail(format!("column `started_at`: {error}")))?);
            continue;
        };
        let text = record.get(time).unwrap_or_default();
        let wrong = |column: &str, text: &str, what: &str| match text {
            "" => fail(format!("column `{column}` is empty: {what}")),
            text => fail(format!("column `{column}` is `{text}`: {what}")),
        };
        let time_s = text.parse::<f64>().ok().filter(|time_s| time_s.is_finite());
        let time_s = time_s.ok_or_else(|| wrong("time_s", text, "it takes seconds"))?;
        if time_s < last_s {
            return Err(fail(format!("its time, {time_s} s, lies before the one above it, {last_s} s")));
        }
        last_s = time_s;
        let since_s = time_s - *start_s.get_or_insert(time_s);
        if since_s > MOST_SECONDS {
            let what = format!("that is more than {MOST_SECONDS} s after the first row");
            return Err(wrong("time_s", text, &what));
        }
        let length = |name: &'static str, column: Option<usize>, least: u32| {
            let text = column.and_then(|column| record.get(column)).unwrap_or_default();
            if text.is_empty() {
                return Ok(None);
            }
            let tokens = text.parse().ok().filter(|tokens| (least..=MOST_TOKENS).contains(tokens));
            tokens
                .map(Some)
                .ok_or_else(|| wrong(name, text, &format!("it takes a number of tokens from {least} to {MOST_TOKENS}")))
        };
        let input = length("input_tokens", columns.input_tokens, 1)?;
        let output = length("output_tokens", columns.output_tokens, 0)?;
        let lengths = match (input, output) {
            (Some(input), Some(output)) => Some((input, output)),
            (None, None) => None,
            _ => return Err(fail("it has one of `input_tokens` and `output_tokens` without the other".to_owned())),
        };
        arrivals.push(Arrival { at_us: (since_s * 1e6).round() as u64, lengths });
    }
    // Runs are exported in the order of their ids, which says less than their starts.
    starts.sort_unstable();
    if let Some(first) = starts.first().copied() {
        let since = |start: Timestamp| u64::try_from(start.duration_since(first).as_micros()).unwrap_or(0);
        arrivals.extend(starts.into_iter().map(|start| Arrival { at_us: since(start), lengths: None }));
    }
    if arrivals.is_empty() { Err(TraceError::Empty) } else { Ok(arrivals) }
}

fn unreadable(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is no UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

/// Where the columns are.
#[derive(Debug, Default)]
struct Columns {
    count: usize,
    time_s: Option<usize>,
    started_at: Option<usize>,
    input_tokens: Option<usize>,
    output_tokens: Option<usize>,
}

impl Columns {
    fn find(headings: &csv::StringRecord) -> Result<Self, TraceError> {
        let mut columns = Self { count: headings.len(), ..Self::default() };
        if headings.iter().all(str::is_empty) {
            return Err(TraceError::Empty);
        }
        for (index, heading) in headings.iter().enumerate() {
            // Spreadsheets begin files with a mark.
            let column = match heading.trim_start_matches('\u{feff}') {
                "time_s" => &mut columns.time_s,
                "started_at" => &mut columns.started_at,
                "input_tokens" => &mut columns.input_tokens,
                "output_tokens" => &mut columns.output_tokens,
                _ => continue,
            };
            if column.replace(index).is_some() {
                return Err(TraceError::Heading(format!("it names `{heading}` twice")));
            }
        }
        match (columns.time_s, columns.started_at) {
            (None, None) => {
                let listed: Vec<String> = headings.iter().take(12).map(|heading| format!("`{heading}`")).collect();
                Err(TraceError::Heading(format!("it has no `time_s` and no `started_at`, but {}", listed.join(", "))))
            }
            (Some(_), Some(_)) => {
                Err(TraceError::Heading("it has both `time_s` and `started_at`: which one counts?".to_owned()))
            }
            _ => Ok(columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_arrivals_from_the_first_on() {
        let rows = read("time_s,input_tokens,output_tokens\n100.5,10,20\n100.75,,\n".as_bytes()).unwrap();
        let arrivals = [Arrival { at_us: 0, lengths: Some((10, 20)) }, Arrival { at_us: 250_000, lengths: None }];
        assert_eq!(rows, arrivals);
        assert_eq!(read("\u{feff}time_s\n1\n".as_bytes()).unwrap(), [Arrival { at_us: 0, lengths: None }]);
    }

    #[test]
    fn exported_runs_arrive_when_they_began_whatever_their_order() {
        let text = "run_id,started_at,input_tokens,output_tokens\n\
                    b,2026-11-27T10:00:01.500000Z,900,12\na,2026-11-27T10:00:00.250000Z,,\n";
        let arrivals = [0, 1_250_000].map(|at_us| Arrival { at_us, lengths: None });
        assert_eq!(read(text.as_bytes()).unwrap(), arrivals);
    }

    #[test]
    fn what_cannot_be_replayed_is_named_with_its_row() {
        let rows = |rows: &str| format!("time_s,input_tokens,output_tokens\n{rows}");
        for (text, part) in [
            ("time_s\n2\n1\n".to_owned(), "row 2: its time, 1 s, lies before the one above it, 2 s"),
            (rows("1,5,"), "row 1: it has one of"),
            (
                rows("1,5,5\n1,-5,1"),
                "row 2: column `input_tokens` is `-5`: it takes a number of tokens from 1 to 100000000",
            ),
            (rows("1,0,1"), "row 1: column `input_tokens` is `0`"),
            (rows("1,5,2.5"), "row 1: column `output_tokens` is `2.5`"),
            (rows("1,5,1e30"), "row 1: column `output_tokens` is `1e30`"),
            (rows("NaN,5,1"), "row 1: column `time_s` is `NaN`: it takes seconds"),
            (rows("inf,5,1"), "column `time_s` is `inf`"),
            (rows(",5,1"), "row 1: column `time_s` is empty"),
            (rows("soon,5,1"), "column `time_s` is `soon`"),
            (rows("0,5,1\n1e30,5,1"), "row 2: column `time_s` is `1e30`: that is more than 15000000 s after"),
            (rows("0,5,1\n1000000000,5,1"), "row 2: column `time_s` is `1000000000`"),
            (rows("0,5\n"), "row 1: it has 2 columns, and the heading 3"),
            (String::new(), "no rows"),
            ("\n\n".to_owned(), "no rows"),
            ("time_s\n".to_owned(), "no rows"),
            ("when,who\n1,2\n".to_owned(), "the heading: it has no `time_s` and no `started_at`, but `when`, `who`"),
            ("time_s,time_s\n1,2\n".to_owned(), "the heading: it names `time_s` twice"),
            ("time_s,started_at\n1,\n,2026-11-27T10:00:00Z\n".to_owned(), "which one counts?"),
            ("started_at\nyesterday\n".to_owned(), "row 1: column `started_at`"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
