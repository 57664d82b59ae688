//! How far simulated replicas are off measured ones.

mod protocol;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lumos_sim::profile::{Engine, Engines, HardwareCatalog, Models, Profile};
use protocol::{Internal, Predicted};
use rows::Row;

fn main() -> Result<(), String> {
    let mut data = PathBuf::from("data");
    let mut csv = None;
    let mut internal = Internal { waves: 10, ratio: 0.8, stagger: 0.0 };
    let mut sets: Vec<(String, String, f64)> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} wants a value"))?;
        match name.as_str() {
            "--data" => data = value.into(),
            "--csv" => csv = Some(PathBuf::from(value)),
            "--waves" => internal.waves = value.parse().map_err(|_| "waves")?,
            "--ratio" => internal.ratio = value.parse().map_err(|_| "ratio")?,
            "--set" => {
                let (key, number) = value.split_once('=').ok_or("--set engine.field=number")?;
                let (engine, field) = key.split_once('.').ok_or("--set engine.field=number")?;
                sets.push((engine.into(), field.into(), number.parse().map_err(|_| "number")?));
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let (rows, dropped) = rows::read(&data)?;
    eprintln!("{} rows; dropped {} copies, {} without concurrency", rows.len(), dropped[0], dropped[1]);
    let engines = Engines::builtin();
    let engine_of = |name: &str| -> Engine {
        let mut engine = engines.get(name).cloned().unwrap_or_else(|_| engines.all()[0].clone());
        for (whose, field, number) in &sets {
            if whose == "all" || whose == name {
                match field.as_str() {
                    "iteration_us" => engine.iteration_us = *number,
                    "sequence_us" => engine.sequence_us = *number,
                    "request_us" => engine.request_us = *number,
                    "layer_us" => engine.layer_us = *number,
                    "prefill" => engine.prefill = *number,
                    "decode" => engine.decode = *number,
                    _ => panic!("unknown field"),
                }
            }
        }
        engine
    };
    let (models, hardware) = (Models::builtin(), HardwareCatalog::builtin());
    let predict = |row: &Row| -> Option<Predicted> {
        let engine = engine_of(&row.engine);
        let setup = row.setup(&models, &hardware, &engine)?;
        match Profile::new(&setup) {
            Ok(profile) => protocol::simulate(row, profile, internal, 1),
            Err(error) => {
                eprintln!("{}: {error}", row.id);
                None
            }
        }
    };
    let half = rows.len() / 2;
    let predicted: Vec<Option<Predicted>> = std::thread::scope(|scope| {
        let first = scope.spawn(|| rows[..half].iter().map(predict).collect::<Vec<_>>());
        let mut second: Vec<_> = rows[half..].iter().map(predict).collect();
        let mut all = first.join().expect("no row panics");
        all.append(&mut second);
        all
    });
    let mut groups: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
    let mut out = String::from("id,group,source,gpus,ep,concurrency,isl,osl,ttft_us,tpot_us,sim_ttft_us,sim_tpot_us\n");
    for (row, predicted) in rows.iter().zip(&predicted) {
        let Some(p) = predicted else {
            eprintln!("no prediction: {}", row.id);
            continue;
        };
        let errors = [p.ttft_us / row.ttft_us - 1.0, p.tpot_us / row.tpot_us - 1.0];
        groups.entry(row.group()).or_default().push(errors);
        groups.entry("~all".into()).or_default().push(errors);
        out += &format!(
            "{},{},{:?},{},{},{},{},{},{},{},{},{}\n",
            row.id, row.group(), row.source, row.gpus, row.expert_parallel, row.concurrency, row.prompt, row.output,
            row.ttft_us, row.tpot_us, p.ttft_us, p.tpot_us
        );
    }
    for (group, errors) in &groups {
        let stats = |at: usize| {
            let mut absolute: Vec<f64> = errors.iter().map(|it| it[at].abs() * 100.0).collect();
            absolute.sort_by(f64::total_cmp);
            let mut signed: Vec<f64> = errors.iter().map(|it| it[at] * 100.0).collect();
            signed.sort_by(f64::total_cmp);
            let mean = absolute.iter().sum::<f64>() / absolute.len() as f64;
            format!("mape {mean:6.1} median {:6.1} bias {:+6.1}", absolute[absolute.len() / 2], signed[signed.len() / 2])
        };
        println!("{group:45} {:4}  TTFT {}   TPOT {}", errors.len(), stats(0), stats(1));
    }
    if let Some(path) = csv {
        std::fs::write(path, out).map_err(|error| error.to_string())?;
    }
    Ok(())
}
