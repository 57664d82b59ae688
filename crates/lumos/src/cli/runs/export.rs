//! `lumos runs export`: records for other programs, to stdout or to a file that is there whole or not at all.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use lumos::Home;
use lumos::core::RunRecord;
use lumos_report::{Export, ExportError, ExportFormat};

use super::arguments::{ExportAs, ExportRuns, Rows};
use crate::cli::failure::{COMMAND_LINE, Failure};
use crate::cli::file::{failed, to_file};
use crate::cli::output;

pub fn run(arguments: &ExportRuns, home: &Home) -> Result<u8, Failure> {
    let format = format(arguments)?;
    let ids = ids(arguments, home)?;
    let is_one = arguments.ids.len() == 1;
    let records = |add: &mut dyn FnMut(&RunRecord) -> Result<(), ExportError>| {
        for id in &ids {
            add(&super::load(id, home)?).map_err(|error| failed(error, arguments.output.as_deref()))?;
        }
        Ok(())
    };
    match &arguments.output {
        Some(path) => to_file(path, |file| write(file, format, is_one, records, Some(path)))?,
        None => write(Pipe { stdout: io::stdout(), is_closed: false }, format, is_one, records, None)?,
    }
    if let Some(path) = &arguments.output {
        let runs = if ids.len() == 1 { "1 run".to_owned() } else { format!("{} runs", ids.len()) };
        output::log(&format!("{runs} in {}\n", lumos_report::clean(&path.display().to_string())));
    }
    Ok(0)
}

fn format(arguments: &ExportRuns) -> Result<ExportFormat, Failure> {
    let table = arguments.table.unwrap_or(Rows::Attempts).into();
    let format = match arguments.format {
        ExportAs::Json => ExportFormat::Json,
        ExportAs::Jsonl => ExportFormat::Jsonl,
        ExportAs::ChromeTrace => ExportFormat::ChromeTrace,
        ExportAs::Csv => return Ok(ExportFormat::Csv(table)),
        #[cfg(feature = "parquet")]
        ExportAs::Parquet if arguments.output.is_none() && io::stdout().is_terminal() => {
            let hint = Some("write it to a file: `-o FILE`".to_owned());
            return Err(Failure::invalid(COMMAND_LINE, "parquet is nothing for a terminal", hint));
        }
        #[cfg(feature = "parquet")]
        ExportAs::Parquet => return Ok(ExportFormat::Parquet(table)),
    };
    if arguments.table.is_some() {
        let hint = Some("the other formats hold whole runs: leave `--table` out".to_owned());
        return Err(Failure::invalid(COMMAND_LINE, "only csv and parquet have tables", hint));
    }
    Ok(format)
}

/// The runs that are meant, each once, the oldest first.
fn ids(arguments: &ExportRuns, home: &Home) -> Result<Vec<String>, Failure> {
    let mut ids: Vec<String> = if arguments.ids.is_empty() {
        super::matching(home, &super::kind(&arguments.filters))?.into_iter().map(|run| run.run_id).collect()
    } else {
        // Beginnings of ids become ids.
        arguments.ids.iter().map(|id| super::load(id, home).map(|record| record.run_id)).collect::<Result<_, _>>()?
    };
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn write<W: Write + Send>(
    writer: W,
    format: ExportFormat,
    is_one: bool,
    records: impl FnOnce(&mut dyn FnMut(&RunRecord) -> Result<(), ExportError>) -> Result<(), Failure>,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let mut export = Export::new(BufWriter::new(writer), format, is_one).map_err(|error| failed(error, path))?;
    records(&mut |record| export.add(record))?;
    export.finish().map_err(|error| failed(error, path))
}

/// Stdout, whose reader may have seen enough.
struct Pipe {
    stdout: io::Stdout,
    is_closed: bool,
}

impl Pipe {
    fn unless_closed<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(instead)
            }
            result => result,
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let result = self.stdout.write(bytes);
        self.unless_closed(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.stdout.flush();
        self.unless_closed(result, ())
    }
}
