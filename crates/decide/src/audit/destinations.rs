//! Everything that a workflow on a deployment may send to: backends, hosts of tools, collectors of telemetry.

use indexmap::IndexMap;
use lumos_core::load::Bundle;
use lumos_core::program::{Program, ProgramNode};
use lumos_core::record::Destination as Side;
use lumos_core::spec::{AgentSpec, BackendSpec, DeploymentSpec, Provider, host_of, is_this_machine};
use serde::Serialize;

use super::{Destination, DestinationKind};

/// What becomes of what is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// For how long it is kept, in few words, where the provider says so.
    pub period: Option<&'static str>,
    /// In a sentence.
    pub note: String,
    /// Who says so.
    pub basis: RetentionBasis,
    /// Where the provider says so.
    pub source: Option<&'static str>,
}

/// Who says what becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionBasis {
    /// The deployment's file.
    Declared,
    /// What the provider publishes for everybody; a contract may say otherwise.
    Published,
}

/// Where telemetry goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// The collector's host.
    pub host: String,
    /// Whether messages of error go there, which may quote what they are about: in traces and logs.
    pub errors: bool,
    /// Whether prompts and answers go there.
    pub content: bool,
}

/// What providers publish of how long they keep what is sent to their API, as read in 2026.
fn published(provider: Provider) -> Option<Retention> {
    let (period, note, source) = match provider {
        Provider::OpenAi => (
            "≤ 30 days",
            "up to 30 days in logs that are kept against abuse, longer where law requires it; not used for training \
             unless one agrees",
            "https://platform.openai.com/docs/guides/your-data",
        ),
        Provider::Anthropic => (
            "≤ 30 days",
            "deleted within 30 days, unless agreed otherwise, flagged as a violation of the usage policy, or required \
             by law",
            "https://privacy.anthropic.com/en/articles/7996866",
        ),
        Provider::Gemini => (
            "55 days",
            "55 days in logs that are kept against abuse; not used to improve products when the service is paid for",
            "https://ai.google.dev/gemini-api/docs/usage-policies",
        ),
        Provider::OpenAiCompatible => return None,
    };
    let (note, basis) = (note.to_owned(), RetentionBasis::Published);
    Some(Retention { period: Some(period), note, basis, source: Some(source) })
}

/// What a node sends to.
pub(super) struct Sending {
    /// The destination's position in the list.
    pub(super) destination: usize,
    /// How the node comes to send there.
    pub(super) how: String,
}

/// Everything that a program sends to, with what each node sends to by its position.
pub(super) fn sendings(
    bundle: &Bundle,
    program: &Program,
    telemetry: &[Telemetry],
) -> (Vec<Destination>, Vec<Vec<Sending>>) {
    let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
    let mut found: IndexMap<(DestinationKind, String), Destination> = IndexMap::new();
    let sendings = program.nodes().map(|node| {
        let mut sendings: Vec<Sending> = Vec::new();
        for (destination, how) in of_node(bundle, deployment, node) {
            let key = (destination.kind, destination.name.clone());
            let at = found.entry(key);
            let position = at.index();
            at.or_insert(destination);
            if !sendings.iter().any(|known| known.destination == position) {
                sendings.push(Sending { destination: position, how });
            }
        }
        sendings
    });
    let sendings: Vec<Vec<Sending>> = sendings.collect();
    for collector in telemetry {
        let is_listed = deployment.is_some_and(|spec| spec.destination_of_host(&collector.host) == Side::Inside);
        let (side, because) = if is_this_machine(&collector.host) {
            (Side::Inside, "this machine")
        } else if is_listed {
            (Side::Inside, "listed in `boundary.hosts`")
        } else {
            (Side::Outside, "not listed in `boundary.hosts`")
        };
        let destination = Destination {
            side,
            because,
            host: Some(collector.host.clone()),
            ..unknown(&collector.host, DestinationKind::Telemetry)
        };
        found.entry((DestinationKind::Telemetry, collector.host.clone())).or_insert(destination);
    }
    (found.into_values().collect(), sendings)
}

/// Everything that a bundle's nodes may send to.
pub fn destinations(bundle: &Bundle, program: &Program) -> Vec<Destination> {
    sendings(bundle, program, &[]).0
}

fn of_node(bundle: &Bundle, deployment: Option<&DeploymentSpec>, node: &ProgramNode) -> Vec<(Destination, String)> {
    let mut list = Vec::new();
    let Some(name) = node.agent.as_deref() else { return list };
    if node.kind == "custom" {
        let because = "where it sends is known to the program that registers it";
        let destination = Destination { because, ..unknown(name, DestinationKind::Agent) };
        list.push((destination, "the agent".to_owned()));
    }
    let spec = bundle.agents.get(name).map(|source| source.spec()).filter(|_| node.kind != "custom");
    for host in spec.map(AgentSpec::hosts).unwrap_or_default() {
        let side = deployment.map_or_else(
            || if is_this_machine(host) { Side::Inside } else { Side::Outside },
            |deployment| deployment.destination_of_host(host),
        );
        let because = match side {
            Side::Inside if is_this_machine(host) => "this machine",
            Side::Inside => "listed in `boundary.hosts`",
            Side::Outside => "not listed in `boundary.hosts`",
        };
        let destination =
            Destination { side, because, host: Some(host.to_owned()), ..unknown(host, DestinationKind::Tool) };
        list.push((destination, "the address that its tool fetches".to_owned()));
    }
    let Some(deployment) = deployment else { return list };
    // Agents without a model ask no backend, whatever is bound to them.
    if spec.is_some_and(|spec| spec.model().is_none()) {
        return list;
    }
    let bound = deployment.binding(&node.name, Some(name), spec);
    let role = if node.judged.is_some() { "judges answers" } else { "bound to it" };
    let cascade = node.cascades().then(|| node.fallback.len().saturating_sub(1));
    let fallback = node.fallback.iter().enumerate().map(|(at, backend)| {
        let how = if Some(at) == cascade { "the cascade asks it again there" } else { "falls back on it" };
        (backend.as_str(), how)
    });
    for (backend, how) in bound.into_iter().map(|backend| (backend, role)).chain(fallback) {
        if let Some(spec) = deployment.backends.get(backend) {
            list.push((of_backend(deployment, backend, spec), how.to_owned()));
        }
    }
    list
}

/// One inside, of which nothing but the name is known.
pub(super) fn unknown(name: &str, kind: DestinationKind) -> Destination {
    Destination {
        name: name.to_owned(),
        kind,
        side: Side::Inside,
        because: "",
        provider: None,
        model: None,
        host: None,
        proxy: None,
        region: None,
        retention: None,
        nodes: Vec::new(),
        labels: Vec::new(),
    }
}

/// A backend as a destination.
pub(super) fn of_backend(deployment: &DeploymentSpec, name: &str, spec: &BackendSpec) -> Destination {
    let side = deployment.destination(name);
    let because = match (side, spec) {
        (_, BackendSpec::Local(_)) => "in this process",
        (Side::Inside, _) => "listed in `boundary.inside`",
        (Side::Outside, _) => "not listed in `boundary.inside`",
    };
    let blank = Destination { side, because, ..unknown(name, DestinationKind::Backend) };
    match spec {
        BackendSpec::Local(local) => {
            Destination { provider: Some("local".to_owned()), model: Some(local.model.clone()), ..blank }
        }
        BackendSpec::Simulated(simulated) => {
            Destination { provider: Some("simulated".to_owned()), model: Some(simulated.model.clone()), ..blank }
        }
        BackendSpec::Custom { name, .. } => Destination { provider: Some(format!("custom: {name}")), ..blank },
        BackendSpec::Remote(remote) => {
            let own = remote.base_url.is_none();
            let url = remote.base_url.as_deref().or(remote.provider.base_url());
            let declared = remote.retention.clone().map(|note| Retention {
                period: None,
                note,
                basis: RetentionBasis::Declared,
                source: None,
            });
            Destination {
                provider: Some(remote.provider.as_str().to_owned()),
                model: Some(remote.model.clone()),
                host: url.map(|url| host_of(url).to_owned()),
                proxy: remote.proxy.as_deref().map(|proxy| host_of(proxy).to_owned()),
                region: remote.region.clone(),
                retention: declared.or_else(|| published(remote.provider).filter(|_| own)),
                ..blank
            }
        }
    }
}
