//! Recorded arrivals: CSV with `time_s`, and with `input_tokens` and `output_tokens` where lengths were recorded too; or the
//! table of runs that `lumos runs export --format csv` writes, of which the starts count.

use std::io::Read;

use jiff::Timestamp;
use lumos_core::spec::ArrivalSpec;
use serde::Deserialize;
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
    /// Nobody arrives.
    #[error("the trace has no rows")]
    Empty,
}

#[derive(Deserialize)]
struct Row {
    time_s: Option<f64>,
    started_at: Option<String>,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
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

/// Reads a trace. Times count from its first row; of recorded runs, from the one that began first.
///
/// # Errors
/// The first row that cannot be read, lies before the one above it, or names one length without the other.
pub fn read(csv: impl Read) -> Result<Vec<Arrival>, TraceError> {
    let mut arrivals: Vec<Arrival> = Vec::new();
    let mut starts: Vec<Timestamp> = Vec::new();
    let mut start_s = None;
    let mut last_s = f64::NEG_INFINITY;
    for (index, row) in csv::Reader::from_reader(csv).deserialize::<Row>().enumerate() {
        let row_number = index + 1;
        let fail = |message: String| TraceError::Row { row: row_number, message };
        let row = row.map_err(|error| fail(error.to_string()))?;
        let started_at = row.started_at.map(|text| text.parse::<Timestamp>()).transpose();
        let started_at = started_at.map_err(|error| fail(error.to_string()))?;
        let time_s = match (row.time_s, started_at) {
            (Some(time_s), None) if starts.is_empty() => time_s,
            // What a run read and wrote is the sum over its nodes, so it is no node's length.
            (None, Some(start)) if arrivals.is_empty() => {
                starts.push(start);
                continue;
            }
            _ => return Err(fail("it has no `time_s`".to_owned())),
        };
        if !time_s.is_finite() {
            return Err(fail(format!("the time is {time_s}")));
        }
        if time_s < last_s {
            return Err(fail(format!("its time, {time_s} s, lies before the one above it, {last_s} s")));
        }
        last_s = time_s;
        let lengths = match (row.input_tokens, row.output_tokens) {
            (Some(0), _) => return Err(fail("a prompt has at least 1 token".to_owned())),
            (Some(input), Some(output)) => Some((input, output)),
            (None, None) => None,
            _ => return Err(fail("it has one of `input_tokens` and `output_tokens` without the other".to_owned())),
        };
        let start_s = *start_s.get_or_insert(time_s);
        arrivals.push(Arrival { at_us: ((time_s - start_s) * 1e6).round() as u64, lengths });
    }
    // Runs are exported in the order of their ids, which says less than their starts.
    starts.sort_unstable();
    if let Some(first) = starts.first().copied() {
        let since = |start: Timestamp| u64::try_from(start.duration_since(first).as_micros()).unwrap_or(0);
        arrivals.extend(starts.into_iter().map(|start| Arrival { at_us: since(start), lengths: None }));
    }
    if arrivals.is_empty() { Err(TraceError::Empty) } else { Ok(arrivals) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_arrivals_from_the_first_on() {
        let rows = read("time_s,input_tokens,output_tokens\n100.5,10,20\n100.75,,\n".as_bytes()).unwrap();
        let arrivals = [Arrival { at_us: 0, lengths: Some((10, 20)) }, Arrival { at_us: 250_000, lengths: None }];
        assert_eq!(rows, arrivals);
        assert_eq!(read("time_s\n1\n".as_bytes()).unwrap(), [Arrival { at_us: 0, lengths: None }]);
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
        for (text, part) in [
            ("time_s\n2\n1\n", "row 2: its time, 1 s, lies before the one above it, 2 s"),
            ("time_s,input_tokens,output_tokens\n1,5,\n", "row 1: it has one of"),
            ("time_s,input_tokens,output_tokens\n1,-5,1\n", "row 1"),
            ("time_s\n", "no rows"),
            ("when\n1\n", "time_s"),
            ("time_s,started_at\n1,\n,2026-11-27T10:00:00Z\n", "row 2: it has no `time_s`"),
            ("started_at\nyesterday\n", "row 1"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
