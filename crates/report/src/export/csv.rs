//! Rows as CSV by RFC 4180: a line of names, quotes where they are needed, unknown as an empty cell.

use std::io::{self, Write};

use lumos_core::{RunRecord, Usd};

use super::ExportError;
use super::columns::{Cell, ExportKind, ExportTable};

/// Writes rows of CSV.
pub struct Rows<W: Write> {
    writer: csv::Writer<W>,
    table: ExportTable,
}

impl<W: Write> Rows<W> {
    pub fn new(writer: W, table: ExportTable) -> Result<Self, ExportError> {
        let mut writer = csv::Writer::from_writer(writer);
        writer.write_record(table.columns().iter().map(|column| column.name)).map_err(failed)?;
        Ok(Self { writer, table })
    }

    pub fn add(&mut self, record: &RunRecord) -> Result<(), ExportError> {
        let (table, writer) = (self.table, &mut self.writer);
        table.rows(record, None, |cells| {
            let cells = cells.into_iter().zip(table.columns()).map(|(cell, column)| shown(cell, column.kind));
            writer.write_record(cells.collect::<Vec<_>>()).map_err(failed)
        })
    }

    pub fn finish(self) -> Result<W, ExportError> {
        self.writer.into_inner().map_err(|error| ExportError::Io(error.into_error()))
    }
}

fn failed(error: csv::Error) -> ExportError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ExportError::Io(error),
        other => ExportError::Io(io::Error::other(format!("{other:?}"))),
    }
}

fn shown(cell: Cell, kind: ExportKind) -> String {
    match cell {
        Cell::Text(text) => text.map(harmless).unwrap_or_default(),
        Cell::Boolean(value) => value.map(|value| value.to_string()).unwrap_or_default(),
        Cell::Real(value) => value.map(|value| value.to_string()).unwrap_or_default(),
        Cell::Number(None) => String::new(),
        Cell::Number(Some(number)) => match kind {
            ExportKind::Money => Usd::from_nanos(number.into()).to_string(),
            ExportKind::Unsigned => number.cast_unsigned().to_string(),
            ExportKind::Timestamp => {
                jiff::Timestamp::from_microsecond(number).map(|at| format!("{at:.6}")).unwrap_or_default()
            }
            _ => number.to_string(),
        },
    }
}

/// A text that no spreadsheet takes for a formula: one that begins like one gets an apostrophe before it.
fn harmless(text: String) -> String {
    let is_formula =
        text.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if is_formula { format!("'{text}") } else { text }
}
