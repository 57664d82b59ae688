//! `lumos assets`: models and data sets, by checksum.

use lumos::Home;
use lumos::assets::{AssetError, AssetState, AssetStore, Catalog, State};
use lumos::core::Status;
use lumos::engine::CancellationToken;
use lumos_report::{Column, Role, Table, figure};
use serde_json::json;

use super::arguments::{Assets, AssetsCommand, Format};
use super::failure::{FAILED, Failure};
use super::{home, output, pull};

pub fn run(arguments: &Assets, home: &Home) -> Result<u8, Failure> {
    let store = AssetStore::new(home.folder().to_path_buf(), Catalog::builtin());
    match &arguments.command {
        AssetsCommand::List { format } => list(&store, *format),
        AssetsCommand::Pull { names, format } => pull_all(&store, names, *format),
        AssetsCommand::Verify { names, format } => verify(&store, names, *format),
    }
}

fn list(store: &AssetStore, format: Format) -> Result<u8, Failure> {
    let assets = store.list();
    if format == Format::Json {
        output::json(&json!({ "assets": assets }))?;
        return Ok(0);
    }
    let mut table = Table::new(vec![
        Column::left("asset"),
        Column::left("kind"),
        Column::right("size"),
        Column::left("here"),
        Column::left("licence"),
        Column::left("what it is"),
    ]);
    for asset in &assets {
        let role = if asset.state == State::Damaged { Role::Ended(Status::Failed) } else { Role::Row };
        table.row(
            role,
            vec![
                asset.name.clone(),
                asset.kind.to_string(),
                figure::bytes(asset.size_bytes),
                state(asset),
                asset.licence.clone(),
                asset.description.clone(),
            ],
        );
    }
    output::styled(&output::lines(&table.lines()))?;
    Ok(0)
}

fn state(asset: &AssetState) -> String {
    match asset.state {
        State::Absent => "no".to_owned(),
        State::Present => "yes".to_owned(),
        State::Unverified => "unverified".to_owned(),
        State::Damaged => "damaged".to_owned(),
    }
}

fn pull_all(store: &AssetStore, names: &[String], format: Format) -> Result<u8, Failure> {
    known(store, names)?;
    let never = CancellationToken::new();
    let mut pulled = Vec::with_capacity(names.len());
    for name in names {
        let path = pull::pull(store, name, &never)?;
        if format == Format::Human {
            output::data(&format!("{name} is at {}\n", home::short(&path)))?;
        }
        pulled.push(json!({ "name": name, "path": path }));
    }
    if format == Format::Json {
        output::json(&json!({ "assets": pulled }))?;
    }
    Ok(0)
}

fn verify(store: &AssetStore, names: &[String], format: Format) -> Result<u8, Failure> {
    known(store, names)?;
    let results = if names.is_empty() {
        store.verify_all()
    } else {
        names.iter().map(|name| (name.clone(), store.verify(name))).collect()
    };
    if format == Format::Json {
        let assets: Vec<_> = results
            .iter()
            .map(|(name, result)| {
                let error = result.as_ref().err().map(ToString::to_string);
                json!({ "name": name, "ok": error.is_none(), "error": error })
            })
            .collect();
        output::json(&json!({ "assets": assets }))?;
    } else if results.is_empty() {
        output::log("no asset is here yet\n");
    } else {
        for (name, result) in &results {
            match result {
                Ok(()) => output::data(&format!("{name}: ok\n"))?,
                Err(error) => output::log(&output::error(&error.to_string(), error.hint().as_deref())),
            }
        }
    }
    Ok(if results.iter().any(|(_, result)| result.is_err()) { FAILED } else { 0 })
}

/// Nothing is done when a name is wrong.
fn known(store: &AssetStore, names: &[String]) -> Result<(), Failure> {
    match names.iter().find(|name| store.catalog().get(name).is_none()) {
        Some(unknown) => {
            let known = store.catalog().assets().iter().map(|asset| asset.name.clone()).collect();
            Err(AssetError::Unknown { name: unknown.clone(), known }.into())
        }
        None => Ok(()),
    }
}
