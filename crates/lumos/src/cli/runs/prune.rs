//! `lumos runs prune`: removes runs that are old enough.

use lumos::Home;
use lumos::engine::{Pruned, RecordStore};
use lumos_report::figure;

use super::arguments::PruneRuns;
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::output;

pub fn run(arguments: &PruneRuns, home: &Home) -> Result<u8, Failure> {
    let before = arguments.older_than.rfc3339();
    let pruned = match super::store(home) {
        Some(_) => RecordStore::open(home.folder())?.prune(&before, arguments.keep_failed, arguments.is_dry)?,
        None => Pruned::default(),
    };
    if arguments.format == Format::Json {
        output::json(&pruned)?;
        return Ok(0);
    }
    if arguments.is_dry {
        for run in &pruned.runs {
            output::data(&format!("{run}\n"))?;
        }
    }
    let runs = match pruned.runs.len() {
        0 => "no run".to_owned(),
        1 => "1 run".to_owned(),
        runs => format!("{} runs", figure::count(runs as u64)),
    };
    let did = if arguments.is_dry { "would be removed" } else { "removed" };
    output::log(&format!(
        "{runs} from before {before} {did}, with {} of {}\n",
        if pruned.values == 1 { "1 value".to_owned() } else { format!("{} values", figure::count(pruned.values)) },
        figure::bytes(pruned.bytes)
    ));
    Ok(0)
}
