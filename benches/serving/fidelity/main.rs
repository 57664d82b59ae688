//! How far simulated replicas are off measured ones.
//!
//! `cargo run --release -p lumos-sim --example fidelity -- --data DIR [--csv FILE] [--rows FILE] [--fit]`,
//! where DIR holds `silicon_dev.csv`. `--csv` writes errors by group, `--rows` each row's measurement and prediction. Without `--fit` it takes the constants that ship in `catalog/engines.ron`; with it, it chooses them on all rows,
//! and once more for each group without that group.

mod constants;
mod protocol;
mod report;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use constants::{CONSTANTS, Values};
use lumos_sim::profile::{Engine, Engines, HardwareCatalog, Models, Profile};
use protocol::Predicted;
use rows::Row;

/// What predictions are made from.
struct Bench {
    models: Models,
    hardware: HardwareCatalog,
    engines: Engines,
}

impl Bench {
    /// What a row would have been measured as; `None` where a request does not fit.
    fn predict(
        &self,
        row: &Row,
        engines: &BTreeMap<&str, Engine>,
        values: &Values,
    ) -> Result<Option<Predicted>, String> {
        let setup = row.setup(&self.models, &self.hardware, &engines[row.engine_variant()])?;
        match Profile::new(&setup) {
            Ok(profile) => Ok(protocol::simulate(row, profile, constants::internal(values))),
            Err(_) => Ok(None),
        }
    }

    fn engines(&self, values: &Values) -> BTreeMap<&str, Engine> {
        self.engines.all().iter().map(|it| (it.name.as_str(), constants::engine(it, values))).collect()
    }

    /// Every row's prediction, on two threads.
    fn all(&self, rows: &[&Row], values: &Values) -> Result<Vec<Option<Predicted>>, String> {
        let engines = self.engines(values);
        let part =
            |rows: &[&Row]| rows.iter().map(|row| self.predict(row, &engines, values)).collect::<Result<Vec<_>, _>>();
        let (first, second) = rows.split_at(rows.len() / 2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| part(second));
            let mut all = part(first)?;
            all.extend(other.join().map_err(|_| "a row panicked".to_owned())??);
            Ok(all)
        })
    }

    /// The constants with the least error on every second of these rows: each group counts the same, TPOT counts twice as much as TTFT, and no
    /// single error counts as more than a factor of e.
    fn choose(&self, rows: &[&Row]) -> Values {
        let rows: Vec<&Row> = rows.iter().copied().step_by(2).collect();
        let loss = |values: &Values| {
            let Ok(predicted) = self.all(&rows, values) else { return f64::INFINITY };
            let mut groups: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            for (row, predicted) in rows.iter().zip(predicted) {
                let off = |p: f64, measured: f64| (p / measured).ln().abs().min(1.0);
                let loss = predicted.map_or(3.0, |p| off(p.ttft_us, row.ttft_us) + 2.0 * off(p.tpot_us, row.tpot_us));
                let group = groups.entry(row.group()).or_default();
                (group.0, group.1) = (group.0 + loss, group.1 + 1.0);
            }
            groups.values().map(|(sum, count)| sum / count).sum::<f64>()
        };
        constants::choose(loss).0
    }
}

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let (mut data, mut csv, mut each, mut fit) = (None, None, None, false);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--data" => data = arguments.next().map(PathBuf::from),
            "--csv" => csv = arguments.next().map(PathBuf::from),
            "--rows" => each = arguments.next().map(PathBuf::from),
            "--fit" => fit = true,
            _ => {
                return Err(format!(
                    "unknown option `{name}`; there are --data DIR, --csv FILE, --rows FILE and --fit"
                ));
            }
        }
    }
    let data = data.ok_or("--data DIR is needed: the folder with silicon_dev.csv")?;
    let (rows, dropped) = rows::read(&data)?;
    println!("{} rows; left out: {} copies, {} that don't say their concurrency\n", rows.len(), dropped[0], dropped[1]);
    let bench = Bench { models: Models::builtin(), hardware: HardwareCatalog::builtin(), engines: Engines::builtin() };
    let all: Vec<&Row> = rows.iter().collect();
    let shipped = constants::shipped(&bench.engines).ok_or("the catalog lacks an engine")?;
    let values = if fit { bench.choose(&all) } else { shipped };
    println!("constants:");
    for (constant, value) in CONSTANTS.iter().zip(values) {
        println!("  {} {value:.4} (a fit begins at {})", constant.name, constant.start);
    }
    let predicted = bench.all(&all, &values)?;
    println!("\n{}", report::table(&all, &predicted));
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    if let Some(path) = each {
        write(&path, report::each(&all, &predicted))?;
    }
    let mut table = report::CSV_HEADER.to_owned() + &report::csv("chosen on all rows", &all, &predicted);
    if fit {
        let mut left_out: Vec<Option<Predicted>> = vec![None; all.len()];
        let mut groups: Vec<String> = rows.iter().map(Row::group).collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            let others: Vec<&Row> = rows.iter().filter(|row| row.group() != group).collect();
            let values = bench.choose(&others);
            println!("without {group}: {}", values.map(|value| format!("{value:.3}")).join(" "));
            let engines = bench.engines(&values);
            for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.group() == group) {
                left_out[at] = bench.predict(row, &engines, &values)?;
            }
        }
        println!("\nleave one group out: constants chosen on the other groups\n{}", report::table(&all, &left_out));
        table += &report::csv("chosen on the other groups", &all, &left_out);
    }
    if let Some(path) = csv {
        write(&path, table)?;
    }
    Ok(())
}
