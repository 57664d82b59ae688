//! Recorded arrivals: CSV with `time_s`, and with `input_tokens` and `output_tokens` where lengths were recorded too.

use std::io::Read;

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
    time_s: f64,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
}

/// Reads a trace. Times count from its first row.
///
/// # Errors
/// The first row that cannot be read, lies before the one above it, or names one length without the other.
pub fn read(csv: impl Read) -> Result<Vec<Arrival>, TraceError> {
    let mut arrivals: Vec<Arrival> = Vec::new();
    let mut start_s = None;
    let mut last_s = f64::NEG_INFINITY;
    for (index, row) in csv::Reader::from_reader(csv).deserialize::<Row>().enumerate() {
        let row_number = index + 1;
        let fail = |message: String| TraceError::Row { row: row_number, message };
        let row = row.map_err(|error| fail(error.to_string()))?;
        if !row.time_s.is_finite() {
            return Err(fail(format!("the time is {}", row.time_s)));
        }
        if row.time_s < last_s {
            return Err(fail(format!("its time, {} s, lies before the one above it, {last_s} s", row.time_s)));
        }
        last_s = row.time_s;
        let lengths = match (row.input_tokens, row.output_tokens) {
            (Some(0), _) => return Err(fail("a prompt has at least 1 token".to_owned())),
            (Some(input), Some(output)) => Some((input, output)),
            (None, None) => None,
            _ => return Err(fail("it has one of `input_tokens` and `output_tokens` without the other".to_owned())),
        };
        let start_s = *start_s.get_or_insert(row.time_s);
        arrivals.push(Arrival { at_us: ((row.time_s - start_s) * 1e6).round() as u64, lengths });
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
    fn what_cannot_be_replayed_is_named_with_its_row() {
        for (text, part) in [
            ("time_s\n2\n1\n", "row 2: its time, 1 s, lies before the one above it, 2 s"),
            ("time_s,input_tokens,output_tokens\n1,5,\n", "row 1: it has one of"),
            ("time_s,input_tokens,output_tokens\n1,-5,1\n", "row 1"),
            ("time_s\n", "no rows"),
            ("when\n1\n", "time_s"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
