//! Simulated runs as Parquet: the columns of recorded runs, and those that say of which simulation they are.

use std::io::Write;

use lumos_core::RunRecord;

use super::columns::{ExportTable, Simulation};
use super::{ExportError, parquet};

/// Writes simulated runs to `W`, a group of rows at a time.
pub struct SimulatedExport<W: Write + Send>(parquet::Rows<W>);

impl<W: Write + Send> SimulatedExport<W> {
    /// Begins.
    ///
    /// # Errors
    /// When `writer` does not take the beginning.
    pub fn new(writer: W, table: ExportTable) -> Result<Self, ExportError> {
        Ok(Self(parquet::Rows::new(writer, table, true)?))
    }

    /// Writes one run.
    ///
    /// # Errors
    /// When it cannot be written, or does not fit the columns' types.
    pub fn add(&mut self, record: &RunRecord, simulation: Simulation<'_>) -> Result<(), ExportError> {
        self.0.add(record, Some(simulation))
    }

    /// Writes the end; without it, what was written is not whole.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub fn finish(self) -> Result<(), ExportError> {
        self.0.finish()
    }
}
