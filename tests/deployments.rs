//! The shipped deployments: each serves every shipped workflow, at known prices, and nothing labelled leaves.

use std::path::{Path, PathBuf};

use lumos::core::load::Bundle;
use lumos::core::program::Program;
use lumos::{Home, Prices, price_of};

fn shipped(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ron"));
    files.sort();
    files
}

#[test]
fn every_deployment_serves_every_workflow_at_known_prices() {
    let home = tempfile::tempdir().unwrap();
    let prices = Prices::load(&Home::new(home.path())).unwrap();
    let deployments = shipped("deployments");
    assert_eq!(deployments.len(), 6);
    for deployment in &deployments {
        for workflow in &shipped("workflows") {
            let (bundle, warnings) = Bundle::open(workflow, Some(deployment))
                .unwrap_or_else(|problems| panic!("{} on {}: {problems:?}", workflow.display(), deployment.display()));
            let about = |text: &str| warnings.iter().any(|warning| warning.message.contains(text));
            assert!(!about("price"), "{warnings:?}");
            Program::compile(&bundle.workflows()).unwrap();
            for (name, spec) in &bundle.deployment.unwrap().parsed.spec.backends {
                let price = price_of(name, spec, prices.catalog()).unwrap();
                assert_ne!(price, lumos::core::price::Price::Unknown, "{name} of {}", deployment.display());
            }
        }
    }
}

#[test]
fn no_prompt_of_a_shipped_workflow_carries_what_its_guard_has_not_cleared() {
    for workflow in shipped("workflows") {
        let (bundle, _) = Bundle::open(&workflow, None).unwrap();
        let program = Program::compile(&bundle.workflows()).unwrap();
        let carriers: Vec<&str> = program
            .nodes()
            .filter(|node| !node.carries.is_empty() && node.kind != "guard" && node.kind != "workflow")
            .map(|node| node.name.as_str())
            .collect();
        assert!(carriers.is_empty(), "{}: {carriers:?}", workflow.display());
    }
}
