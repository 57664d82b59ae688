//! The inputs of a run, from `-i KEY=VALUE` and from a JSON file.

use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use lumos::core::check::{Given, check_inputs};
use lumos::core::load::Bundle;
use lumos::core::read::{MAX_FILE_BYTES, read_file};
use serde_json::Value;

use super::arguments::Run;
use super::failure::Failure;

/// A value for every input of the bundle's workflow.
///
/// # Errors
/// All that is wrong with what was given.
pub fn read(arguments: &Run, bundle: &Bundle) -> Result<IndexMap<String, Value>, Failure> {
    let mut given: IndexMap<String, Given> = match &arguments.inputs {
        Some(file) => object(file, "the inputs")?.into_iter().map(|(name, value)| (name, Given::Json(value))).collect(),
        None => IndexMap::new(),
    };
    for (name, text) in &arguments.input {
        given.insert(name.clone(), Given::Text(text.clone()));
    }
    check_inputs(&bundle.workflow.parsed, &given).map_err(Failure::Invalid)
}

/// The inputs among `given` as values of a workflow whose other inputs are `known`.
///
/// # Errors
/// As for [`read`].
pub fn others(
    given: &[(String, String)],
    known: &IndexMap<String, Value>,
    bundle: &Bundle,
) -> Result<IndexMap<String, Value>, Failure> {
    let mut all: IndexMap<String, Given> =
        known.iter().map(|(name, value)| (name.clone(), Given::Json(value.clone()))).collect();
    all.extend(given.iter().map(|(name, text)| (name.clone(), Given::Text(text.clone()))));
    let values = check_inputs(&bundle.workflow.parsed, &all).map_err(Failure::Invalid)?;
    Ok(values.into_iter().filter(|(name, _)| given.iter().any(|(given, _)| given == name)).collect())
}

/// The object in a JSON file, or in what stdin gives for `-`; `what` names it in errors.
///
/// # Errors
/// When it cannot be read or is no object.
pub fn object(file: &Path, what: &str) -> Result<serde_json::Map<String, Value>, Failure> {
    let shown = file.display().to_string();
    let text = if shown == "-" {
        let mut text = String::new();
        let read = std::io::stdin().take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| Failure::invalid("stdin", format!("cannot read it: {error}"), None))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(Failure::invalid("stdin", format!("{what} have more than 1 MiB"), None));
        }
        text
    } else {
        read_file(file).map_err(|problem| Failure::Invalid(vec![*problem]))?
    };
    let hint = || Some("it holds one object, e.g. {\"question\": \"…\"}".to_owned());
    match serde_json::from_str(&text) {
        Ok(Value::Object(inputs)) => Ok(inputs),
        Ok(_) => Err(Failure::invalid(&shown, format!("{what} are no JSON object"), hint())),
        Err(error) => {
            let mut problem = lumos::core::Problem::of_file(&shown, format!("not JSON: {error}"), hint());
            (problem.line, problem.column) = (Some(error.line() as u32), Some(error.column().max(1) as u32));
            Err(Failure::Invalid(vec![problem]))
        }
    }
}
