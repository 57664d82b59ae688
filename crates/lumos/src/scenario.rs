//! Scenarios, from their files to models that can be simulated.

use std::path::Path;

use indexmap::IndexMap;
use lumos_core::Problem;
use lumos_core::load::{Bundle, Scenario};
use lumos_core::price::Price;
use lumos_sim::model::{Model, Sources};

use crate::error::Error;
use crate::remote::price_of;
use crate::{Home, Prices};

/// Compiles a scenario with each of its deployments, at the prices that hold in a home.
///
/// # Errors
/// Everything that would have to be known and is not, and prices that cannot be had.
pub fn models(scenario: &Scenario, home: &Home) -> Result<Vec<Model>, Error> {
    let prices = Prices::load(home)?;
    let files = |name: &str| scenario.read(name);
    let mut models = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    for bundle in &scenario.bundles {
        let sources = Sources { prices: &priced(bundle, &prices)?, files: &files };
        match Model::new(scenario, bundle, &sources) {
            Ok(model) => models.push(model),
            Err(found) => {
                for problem in found {
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    if problems.is_empty() { Ok(models) } else { Err(Error::Problems(problems)) }
}

/// Compiles a scenario of one deployment for runs that will be recorded first: what they ask for need not be known.
///
/// # Errors
/// Everything that would have to be known all the same and is not, and prices that cannot be had.
pub fn to_replay(scenario: &Scenario, home: &Home) -> Result<Option<Model>, Error> {
    let Some(bundle) = scenario.bundles.first() else { return Ok(None) };
    let files = |name: &str| scenario.read(name);
    let sources = Sources { prices: &prices_of(bundle, home)?, files: &files };
    Model::to_replay(scenario, bundle, &sources).map(Some).map_err(Error::Problems)
}

/// What the backends of a scenario's bundle cost, at the prices that hold in a home.
///
/// # Errors
/// A list price that cannot be had.
pub fn prices_of(bundle: &Bundle, home: &Home) -> Result<IndexMap<String, Price>, Error> {
    priced(bundle, &Prices::load(home)?)
}

fn priced(bundle: &Bundle, prices: &Prices) -> Result<IndexMap<String, Price>, Error> {
    let backends = bundle.deployment.iter().flat_map(|source| &source.parsed.spec.backends);
    backends.map(|(name, spec)| Ok((name.clone(), price_of(name, spec, prices.catalog())?))).collect()
}

/// Opens a scenario and compiles it with each of its deployments; `deployments`, as commands take them, replace its own.
///
/// # Errors
/// Everything that is wrong with its files, or would have to be known and is not.
pub fn open(
    path: &Path,
    deployments: &[std::path::PathBuf],
    home: &Home,
) -> Result<(Scenario, Vec<Model>, Vec<Problem>), Error> {
    let (scenario, warnings) = Scenario::open(path, deployments).map_err(Error::Problems)?;
    let models = models(&scenario, home)?;
    Ok((scenario, models, warnings))
}
