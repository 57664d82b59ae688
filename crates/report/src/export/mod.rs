//! Records for other programs: JSON, JSON Lines, CSV, Parquet and Chrome's trace events, all written run by run.

mod columns;
mod csv;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod simulated;
mod trace;

use std::io::{self, Write};

use lumos_core::RunRecord;

pub use columns::{ExportColumn, ExportKind, ExportTable, Simulation};
#[cfg(feature = "parquet")]
pub use simulated::SimulatedExport;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// The record itself; of several, `{"runs": [record, …]}`.
    Json,
    /// One record per line.
    Jsonl,
    /// One row per run, step or attempt; unknown is an empty cell.
    Csv(ExportTable),
    /// The same with types; unknown is null.
    #[cfg(feature = "parquet")]
    Parquet(ExportTable),
    /// Trace events for Perfetto and `chrome://tracing`.
    ChromeTrace,
}

/// Why records could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file or the pipe.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A record that is not like a record.
    #[error("run {run}: {reason}")]
    Record {
        /// Its id.
        run: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Writes records to `W`.
pub struct Export<W: Write + Send>(Writer<W>);

enum Writer<W: Write + Send> {
    Json {
        writer: W,
        is_one: bool,
        count: usize,
    },
    Jsonl(W),
    Csv(Box<csv::Rows<W>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Rows<W>>),
    Trace(trace::Trace<W>),
}

impl<W: Write + Send> Export<W> {
    /// Begins. With `is_one`, JSON is the one record that is added and not a list.
    ///
    /// # Errors
    /// When `writer` does not take the beginning.
    pub fn new(writer: W, format: ExportFormat, is_one: bool) -> Result<Self, ExportError> {
        Ok(Self(match format {
            ExportFormat::Json => {
                let mut writer = writer;
                if !is_one {
                    writer.write_all(b"{\"runs\": [")?;
                }
                Writer::Json { writer, is_one, count: 0 }
            }
            ExportFormat::Jsonl => Writer::Jsonl(writer),
            ExportFormat::Csv(table) => Writer::Csv(Box::new(csv::Rows::new(writer, table)?)),
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet(table) => Writer::Parquet(Box::new(parquet::Rows::new(writer, table, false)?)),
            ExportFormat::ChromeTrace => Writer::Trace(trace::Trace::new(writer)?),
        }))
    }

    /// Writes one record.
    ///
    /// # Errors
    /// When it cannot be written, or does not fit the columns' types.
    pub fn add(&mut self, record: &RunRecord) -> Result<(), ExportError> {
        match &mut self.0 {
            Writer::Json { writer, is_one: true, .. } => {
                serde_json::to_writer_pretty(&mut *writer, record).map_err(io::Error::from)?;
                writer.write_all(b"\n")?;
            }
            Writer::Json { writer, count, .. } => {
                writer.write_all(if *count == 0 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *writer, record).map_err(io::Error::from)?;
                *count += 1;
            }
            Writer::Jsonl(writer) => {
                serde_json::to_writer(&mut *writer, record).map_err(io::Error::from)?;
                writer.write_all(b"\n")?;
            }
            Writer::Csv(rows) => rows.add(record)?,
            #[cfg(feature = "parquet")]
            Writer::Parquet(rows) => rows.add(record, None)?,
            Writer::Trace(trace) => trace.add(record)?,
        }
        Ok(())
    }

    /// Writes the end; without it, what was written is not whole.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub fn finish(self) -> Result<(), ExportError> {
        let mut writer = match self.0 {
            Writer::Json { mut writer, is_one, .. } => {
                if !is_one {
                    writer.write_all(b"\n]}\n")?;
                }
                writer
            }
            Writer::Jsonl(writer) => writer,
            Writer::Csv(rows) => rows.finish()?,
            #[cfg(feature = "parquet")]
            Writer::Parquet(rows) => return rows.finish(),
            Writer::Trace(trace) => trace.finish()?,
        };
        Ok(writer.flush()?)
    }
}

#[cfg(test)]
mod tests;
