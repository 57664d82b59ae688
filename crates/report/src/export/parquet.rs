//! Rows as Parquet: the documented types, every column optional, unknown as null.

use std::io::{self, Write};
use std::sync::Arc;

use lumos_core::RunRecord;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::ExportError;
use super::columns::{Cell, ExportKind, ExportTable, Simulation};

/// Rows that are held in memory before they are written as one group.
const GROUP: usize = 50_000;

/// Writes groups of rows.
pub struct Rows<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    table: ExportTable,
    /// By column.
    cells: Vec<Vec<Cell>>,
}

impl<W: Write + Send> Rows<W> {
    pub fn new(writer: W, table: ExportTable, is_simulated: bool) -> Result<Self, ExportError> {
        let fields = table.columns_of(is_simulated).map(|column| {
            let (physical, logical) = match column.kind {
                ExportKind::Text => ("binary", "(STRING)"),
                ExportKind::Integer => ("int64", "(INTEGER(64,true))"),
                ExportKind::Unsigned => ("int64", "(INTEGER(64,false))"),
                ExportKind::Money => ("int64", "(DECIMAL(18,9))"),
                ExportKind::Timestamp => ("int64", "(TIMESTAMP(MICROS,true))"),
                ExportKind::Boolean => ("boolean", ""),
                ExportKind::Real => ("double", ""),
            };
            format!("optional {physical} {} {logical};", column.name)
        });
        let schema = format!("message lumos {{ {} }}", fields.collect::<Vec<_>>().join(" "));
        let schema = Arc::new(parse_message_type(&schema).map_err(failed)?);
        let properties =
            WriterProperties::builder().set_created_by(concat!("lumos ", env!("CARGO_PKG_VERSION")).into());
        let writer = SerializedFileWriter::new(writer, schema, Arc::new(properties.build())).map_err(failed)?;
        let cells = table.columns_of(is_simulated).map(|_| Vec::new()).collect();
        Ok(Self { writer, table, cells })
    }

    /// `simulation` is there if and only if the columns of a simulation are.
    pub fn add(&mut self, record: &RunRecord, simulation: Option<Simulation<'_>>) -> Result<(), ExportError> {
        let Self { writer, table, cells: columns } = self;
        table.rows(record, simulation, |cells| {
            for (column, cell) in columns.iter_mut().zip(cells) {
                column.push(cell);
            }
            if columns.first().is_some_and(|column| column.len() >= GROUP) { write(writer, columns) } else { Ok(()) }
        })
    }

    pub fn finish(mut self) -> Result<(), ExportError> {
        if self.cells.first().is_some_and(|column| !column.is_empty()) {
            write(&mut self.writer, &mut self.cells)?;
        }
        self.writer.finish().map_err(failed)?;
        Ok(self.writer.inner_mut().flush()?)
    }
}

/// Writes what is held as a group of rows.
fn write<W: Write + Send>(writer: &mut SerializedFileWriter<W>, columns: &mut [Vec<Cell>]) -> Result<(), ExportError> {
    let mut group = writer.next_row_group().map_err(failed)?;
    for column in columns {
        let cells = std::mem::take(column);
        let written = match cells.first() {
            Some(Cell::Text(_)) => column_of::<ByteArrayType, _>(&mut group, cells, |cell| match cell {
                Cell::Text(Some(text)) => Some(ByteArray::from(text.into_bytes())),
                _ => None,
            }),
            Some(Cell::Boolean(_)) => column_of::<BoolType, _>(&mut group, cells, |cell| match cell {
                Cell::Boolean(value) => value,
                _ => None,
            }),
            Some(Cell::Real(_)) => column_of::<DoubleType, _>(&mut group, cells, |cell| match cell {
                Cell::Real(value) => value,
                _ => None,
            }),
            _ => column_of::<Int64Type, _>(&mut group, cells, |cell| match cell {
                Cell::Number(number) => number,
                _ => None,
            }),
        };
        written.map_err(failed)?;
    }
    group.close().map_err(failed)?;
    Ok(())
}

fn column_of<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: Vec<Cell>,
    value: impl Fn(Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = cells.into_iter().map(value).collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

fn failed(error: ParquetError) -> ExportError {
    ExportError::Io(match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        other => io::Error::other(other),
    })
}
