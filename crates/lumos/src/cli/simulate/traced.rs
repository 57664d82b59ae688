//! `lumos simulate --trace`: every simulated run as rows of a Parquet file.

use std::io::BufWriter;
use std::path::Path;

use lumos::core::load::Scenario;
use lumos::sim::results::Results;
use lumos::sim::{Job, trace_all};
use lumos_report::{ExportTable, SimulatedExport, Simulation};

use crate::cli::failure::Failure;
use crate::cli::file::{failed, to_file as whole};

/// Simulates all jobs, and writes their runs in the order in which they end, one simulation after the other.
pub fn to_file(
    path: &Path,
    table: ExportTable,
    jobs: &[Job<'_>],
    scenario: &Scenario,
    told: &dyn Fn(),
) -> Result<Vec<Results>, Failure> {
    let mut results = Vec::new();
    whole(path, |file| {
        let broken = |error| failed(error, Some(path));
        let mut export = SimulatedExport::new(BufWriter::new(file), table).map_err(broken)?;
        let mut written = Ok(());
        let simulated = trace_all(jobs, told, &mut |model, options, mut traced| {
            // The numbers of runs begin anew in every simulation.
            let (factor, seed) = (options.load_factor, options.seed);
            let number = std::mem::take(&mut traced.record.run_id);
            traced.record.run_id = format!("{}-x{factor}-s{seed}-{number}", model.deployment);
            let (scenario, counts) = (model.scenario.as_str(), traced.counts);
            if written.is_ok() {
                let simulation = Simulation { scenario, load_factor: factor, seed, counts };
                written = export.add(&traced.record, simulation);
            }
        });
        results = simulated.map_err(|error| Failure::of_simulation(&error, scenario))?;
        written.map_err(broken)?;
        export.finish().map_err(broken)
    })?;
    Ok(results)
}
