//! A CSV file of series in long format: one row per series and date.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lumos_core::AgentError;
use lumos_core::problem::nearest;
use lumos_core::spec::CsvColumns;

use super::calendar;

/// Most bytes of the file.
const MOST_BYTES: u64 = 256 << 20;
/// Names that an error lists.
const LISTED: usize = 8;

/// The rows of a file by series.
pub(super) struct Table {
    path: PathBuf,
    series: IndexMap<String, Vec<Row>>,
}

/// An observation as written; read as numbers when its series is asked for, so that one bad series spoils no other.
struct Row {
    line: u64,
    time: String,
    value: String,
}

/// Size and time of the file; equal stamps mean equal contents.
pub(super) fn stamp(path: &Path) -> Result<String, AgentError> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if about.len() > MOST_BYTES {
        return Err(AgentError::fatal(format!(
            "source {} has {} bytes, more than the {MOST_BYTES} allowed",
            path.display(),
            about.len()
        )));
    }
    Ok(format!("{} {} {:?}", path.display(), about.len(), about.modified().ok()))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> AgentError {
    AgentError::fatal(format!("cannot read source {}: {error}", path.display()))
}

impl Table {
    pub(super) fn read(path: &Path, columns: &CsvColumns) -> Result<Self, AgentError> {
        let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
        let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let fail = |error: csv::Error| {
            unreadable(path, &error).with_hint("wanted comma-separated values in UTF-8 with a header")
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content);
        let header = reader.headers().map_err(fail)?.clone();
        let column = |wanted: &str| {
            header.iter().position(|name| name == wanted).ok_or_else(|| {
                AgentError::fatal(format!("source {} has no column `{wanted}`", path.display()))
                    .with_hint(format!("it has {}", header.iter().collect::<Vec<_>>().join(", ")))
            })
        };
        let (name, time, value) = (column(&columns.series)?, column(&columns.time)?, column(&columns.value)?);
        let mut series: IndexMap<String, Vec<Row>> = IndexMap::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(fail)? {
            let field = |at: usize| record.get(at).unwrap_or_default().to_owned();
            let line = record.position().map_or(0, csv::Position::line);
            series.entry(field(name)).or_default().push(Row { line, time: field(time), value: field(value) });
        }
        if series.is_empty() {
            return Err(AgentError::fatal(format!("source {} holds no rows", path.display())));
        }
        Ok(Self { path: path.to_owned(), series })
    }

    /// The observations of the series `name` by date, and its first and last date.
    pub(super) fn series(&self, name: &str) -> Result<(Vec<f64>, (String, String)), AgentError> {
        let rows = self.series.get(name).ok_or_else(|| self.unknown(name))?;
        let fail = |line: u64, what: String| {
            AgentError::fatal(format!("series `{name}`: {what} in line {line} of {}", self.path.display()))
        };
        let mut observations = Vec::with_capacity(rows.len());
        for row in rows {
            let day = calendar::day(&row.time)
                .ok_or_else(|| fail(row.line, format!("{:?} is no date", row.time)).with_hint("wanted YYYY-MM-DD"))?;
            let value = row.value.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(|| {
                fail(row.line, format!("{:?} is no finite number", row.value))
                    .with_hint("leave the row out and explain the gap, or fill it in")
            })?;
            observations.push((day, value, row.line));
        }
        observations.sort_by_key(|(day, _, line)| (*day, *line));
        if let Some(pair) = observations.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(fail(pair[1].2, format!("{} is there twice, the second time", calendar::text(pair[0].0)))
                .with_hint("sum up or remove one of them"));
        }
        let days: Vec<_> = observations.iter().map(|(day, ..)| *day).collect();
        calendar::check_rhythm(&days).map_err(|why| {
            AgentError::fatal(format!("series `{name}`: {why}")).with_hint("fill the gap in, or use a coarser rhythm")
        })?;
        let span = (calendar::text(days[0]), calendar::text(days[days.len() - 1]));
        Ok((observations.into_iter().map(|(_, value, _)| value).collect(), span))
    }

    fn unknown(&self, name: &str) -> AgentError {
        let error = AgentError::fatal(format!("there is no series `{name}` in {}", self.path.display()));
        if let Some(near) = nearest(name, self.series.keys().map(String::as_str)) {
            return error.with_hint(format!("did you mean `{near}`?"));
        }
        let first: Vec<_> = self.series.keys().take(LISTED).map(|name| format!("`{name}`")).collect();
        let more = if self.series.len() > LISTED { ", …" } else { "" };
        error.with_hint(format!("the series are {}{more}", first.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(content: &[u8]) -> Result<Table, AgentError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sales.csv");
        fs::write(&path, content).unwrap();
        let columns = CsvColumns { series: "id".into(), time: "date".into(), value: "sales".into() };
        Table::read(&path, &columns)
    }

    #[test]
    fn rows_are_sorted_by_date() {
        let table =
            table(b"\xef\xbb\xbfdate,id,sales\n2024-01-08,1,2.5\n2024-01-01, 1 ,1\n2024-01-15,1,-3e2\n").unwrap();
        let (values, span) = table.series("1").unwrap();
        assert_eq!((values, span), (vec![1.0, 2.5, -300.0], ("2024-01-01".into(), "2024-01-15".into())));
    }

    #[test]
    fn a_bad_row_spoils_its_series_alone() {
        let table = table(b"id,date,sales\na,2024-01-01,1\nb,2024-01-01,NaN\nc,today,1\nd,2024-01-01,1\nd,2024-01-01,2\ne,2024-01-01,\n").unwrap();
        assert!(table.series("a").is_ok());
        let message = |name| table.series(name).unwrap_err().message;
        assert!(message("b").contains("\"NaN\" is no finite number in line 3"), "{}", message("b"));
        assert!(message("c").contains("\"today\" is no date in line 4"));
        assert!(message("d").contains("2024-01-01 is there twice, the second time in line 6"));
        assert!(message("e").contains("\"\" is no finite number"));
    }

    #[test]
    fn unknown_names_are_met_with_known_ones() {
        let table = table(b"id,date,sales\nstore_1,2024-01-01,1\nstore_2,2024-01-01,1\n").unwrap();
        assert_eq!(table.series("Store_3").unwrap_err().hint.unwrap(), "did you mean `store_1`?");
        assert_eq!(table.series("zebra").unwrap_err().hint.unwrap(), "the series are `store_1`, `store_2`");
    }

    #[test]
    fn broken_files_are_errors() {
        assert!(table(b"id,date\na,b\n").map(drop).unwrap_err().hint.unwrap().contains("id, date"));
        assert!(table(b"id,date,sales\na\n").map(drop).is_err());
        assert!(table(b"id,date,sales\n").map(drop).unwrap_err().message.contains("no rows"));
        assert!(table(b"id,date,sales\n\xff,2024-01-01,1\n").map(drop).unwrap_err().message.contains("UTF-8"));
        assert!(table(b"").map(drop).is_err());
    }
}
