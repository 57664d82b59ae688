//! Which assets a bundle needs.

use std::path::Path;

use indexmap::IndexSet;
use lumos_core::load::Bundle;
use lumos_core::spec::{AgentSpec, BackendSpec, DeploymentSpec};

/// Names of the assets that a bundle's models and data come from.
pub(crate) fn assets_of(bundle: &Bundle) -> IndexSet<String> {
    let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
    let mut assets = IndexSet::new();
    for source in bundle.agents.values() {
        match source.spec() {
            AgentSpec::Retriever(spec) => {
                assets.extend(spec.sources.iter().filter_map(|source| source.strip_prefix("asset:")));
            }
            AgentSpec::Forecaster(spec) => {
                assets.extend(spec.source.iter().filter_map(|source| source.path.strip_prefix("asset:")));
            }
            _ => {}
        }
    }
    let used: Vec<&str> = deployment.into_iter().flat_map(|spec| used_backends(bundle, spec)).collect();
    for name in used {
        if let Some(BackendSpec::Local(local)) = deployment.and_then(|spec| spec.backends.get(name))
            && !is_path(&local.model)
        {
            assets.insert(&local.model);
        }
    }
    assets.into_iter().map(str::to_owned).collect()
}

/// Backends that some node is bound to or falls back on.
fn used_backends<'b>(bundle: &'b Bundle, deployment: &'b DeploymentSpec) -> IndexSet<&'b str> {
    let nodes = bundle.sources().flat_map(|source| &source.parsed.spec.nodes);
    nodes
        .flat_map(|(name, node)| {
            let spec = node.kind.agent().and_then(|agent| bundle.agents.get(agent)).map(|source| source.spec());
            let judge = node.judged_by();
            let judge_spec = judge.and_then(|judge| bundle.agents.get(judge)).map(|source| source.spec());
            let judging = judge.and_then(|judge| deployment.binding(&format!("{name}.judge"), Some(judge), judge_spec));
            deployment.candidates(name, node, spec).chain(judging)
        })
        .collect()
}

/// Whether a model is named by its path and not as an asset.
pub(crate) fn is_path(model: &str) -> bool {
    let is_gguf = Path::new(model).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    model.contains('/') || model.contains(std::path::MAIN_SEPARATOR) || is_gguf
}
