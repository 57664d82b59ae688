//! The static audit: each label's ways to each destination outside.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use lumos_core::graph::{GraphId, NodeId};
use lumos_core::load::Bundle;
use lumos_core::program::{Arrival, CompileError, Hop, Program};
use lumos_core::record::Destination as Side;
use lumos_core::spec::{AgentSpec, GuardSpec, Label, NodeKind, NodeSpec};

use super::destinations::{Sending, sendings};
use super::{Clearing, DestinationKind, Finding, FindingKind, Leak, MOST_WAYS, Policy, StaticAudit, Telemetry, Way};

/// What is audited.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The workflow with everything that it names, its deployment among it.
    pub bundle: &'a Bundle,
    /// Where telemetry would go to.
    pub telemetry: &'a [Telemetry],
    /// Labels that must not leave beside those that the deployment forbids.
    pub forbid: &'a [Label],
    /// Labels and kinds of personal data that may.
    pub allow: &'a [String],
}

/// Audits a workflow on its deployment.
///
/// # Errors
/// What keeps the workflow from being a program.
pub fn audit(subject: Subject<'_>) -> Result<(StaticAudit, Program), CompileError> {
    let Subject { bundle, telemetry, forbid, allow } = subject;
    let program = Program::compile(&bundle.workflows())?;
    let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
    let labels: Vec<Label> = program.labels().cloned().collect();
    let forbid_outside = deployment.map(|spec| spec.boundary.forbid_outside.as_slice()).unwrap_or_default();
    let policy = Policy::new(forbid_outside, &labels, forbid, allow);
    let (mut destinations, sendings) = sendings(bundle, &program, telemetry);
    let mut audit = StaticAudit {
        workflow: program.name().to_owned(),
        deployment: deployment.map(|spec| spec.name.clone()),
        policy,
        labels: begins(bundle, &labels),
        destinations: Vec::new(),
        leaks: Vec::new(),
        clearings: clearings(bundle, &program),
        output_carries: program.output_carries().into_keys().collect(),
        notes: Vec::new(),
        findings: Vec::new(),
    };
    for (at, graph) in program.plan().graphs().iter().enumerate() {
        let graph_id = GraphId(at as u32);
        for id in 0..graph.nodes().len() {
            let place = (graph_id, NodeId(id as u32));
            let node = program.node(place.0, place.1);
            for Sending { destination, how } in &sendings[node.position] {
                let destination = &mut destinations[*destination];
                destination.nodes.push(format!("{}/{}", program.graph_name(graph_id), node.name));
                for label in node.carries.keys() {
                    if !destination.labels.contains(label) {
                        destination.labels.push(label.clone());
                    }
                }
                if destination.side == Side::Outside {
                    let how = [how.clone()];
                    audit.leaks.extend(leaks(&program, bundle, place, (&destination.name, &how), &audit.policy));
                }
            }
        }
    }
    for collector in telemetry {
        let Some(destination) = destinations
            .iter_mut()
            .find(|destination| destination.kind == DestinationKind::Telemetry && destination.name == collector.host)
        else {
            continue;
        };
        for (at, graph) in program.plan().graphs().iter().enumerate() {
            let graph_id = GraphId(at as u32);
            for id in 0..graph.nodes().len() {
                let place = (graph_id, NodeId(id as u32));
                let node = program.node(place.0, place.1);
                if node.kind == "workflow" || !(collector.errors || collector.content) {
                    continue;
                }
                destination.nodes.push(format!("{}/{}", program.graph_name(graph_id), node.name));
                let mut how = Vec::new();
                if collector.errors {
                    how.push(
                        "its messages of error, which may quote what they are about, are sent as telemetry".to_owned(),
                    );
                }
                if collector.content {
                    how.push("its prompts and answers are sent as telemetry".to_owned());
                }
                for label in node.carries.keys().filter(|label| !destination.labels.contains(label)).collect::<Vec<_>>()
                {
                    destination.labels.push(label.clone());
                }
                if destination.side == Side::Outside {
                    audit.leaks.extend(leaks(&program, bundle, place, (&destination.name, &how), &audit.policy));
                }
            }
        }
    }
    destinations.sort_by_key(|destination| (destination.side == Side::Inside, destination.kind));
    audit.destinations = destinations;
    audit.findings = audit.leaks.iter().filter(|leak| leak.is_forbidden).map(finding).collect();
    audit.notes = notes(bundle, &audit);
    Ok((audit, program))
}

/// Where each label begins.
fn begins(bundle: &Bundle, labels: &[Label]) -> Vec<(Label, Vec<String>)> {
    let places = |label: &Label| {
        let mut places = Vec::new();
        for source in bundle.sources() {
            let spec = &source.parsed.spec;
            let carries = |labels: &[Label]| labels.contains(label);
            let inputs = spec.inputs.iter().filter(|(_, input)| carries(&input.labels));
            places.extend(inputs.map(|(name, _)| format!("{}/inputs.{name}", spec.name)));
            let nodes = spec.nodes.iter().filter(|(_, node)| carries(&node.options.labels));
            places.extend(nodes.map(|(name, _)| format!("{}/{name}", spec.name)));
        }
        (label.clone(), places)
    };
    labels.iter().map(places).collect()
}

/// The labels that reach what a node sends, to one destination outside.
fn leaks(
    program: &Program,
    bundle: &Bundle,
    place: (GraphId, NodeId),
    (destination, how): (&str, &[String]),
    policy: &Policy,
) -> Vec<Leak> {
    let node = program.node(place.0, place.1);
    let leak = |label: &Label| {
        let found = program.ways(label, Arrival::Prompt(place.0, place.1), MOST_WAYS);
        let way = |hops: Vec<Hop>| Way { remarks: remarks(program, bundle, &hops, place), hops };
        Leak {
            label: label.clone(),
            destination: destination.to_owned(),
            workflow: program.graph_name(place.0).to_owned(),
            node: node.name.clone(),
            how: how.to_vec(),
            is_forbidden: policy.forbids(label),
            ways: found.ways.into_iter().map(way).collect(),
            is_complete: found.is_complete,
            place,
        }
    };
    node.carries.keys().map(leak).collect()
}

/// What happens along a way that its names don't say.
fn remarks(program: &Program, bundle: &Bundle, hops: &[Hop], sender: (GraphId, NodeId)) -> Vec<String> {
    let specs: Vec<_> = bundle.sources().map(|source| &source.parsed.spec).collect();
    let nodes = hops.iter().filter_map(|hop| {
        let spec = specs.get(hop.graph.index())?.nodes.get(&program.node(hop.graph, hop.node?).name)?;
        Some((hop.name.as_str(), spec))
    });
    let name = program.node(sender.0, sender.1).name.as_str();
    let own = specs.get(sender.0.index()).and_then(|spec| spec.nodes.get(name)).map(|spec| (name, spec));
    let mut seen = BTreeSet::new();
    let mut remarks = Vec::new();
    for (name, spec) in nodes.chain(own) {
        if seen.insert(name) {
            remarks.extend(remark(name, spec));
        }
    }
    remarks
}

fn remark(name: &str, node: &NodeSpec) -> Vec<String> {
    let options = &node.options;
    let mut remarks = Vec::new();
    if options.map.is_some() {
        remarks.push(format!("`{name}` runs for each entry of a list"));
    }
    if options.repeat.is_some() {
        remarks.push(format!("`{name}` is a loop"));
    }
    if options.cache {
        remarks.push(format!("answers of `{name}` may come from the response cache"));
    }
    if options.retry.as_ref().is_some_and(|retry| retry.attempts > 1) {
        remarks.push(format!("`{name}` is tried again when it fails"));
    }
    if options.hedge_after_ms.is_some() {
        remarks.push(format!("`{name}` is asked a second time when it is slow"));
    }
    if matches!(node.kind, NodeKind::Guard { .. }) {
        remarks.push(format!("the guard `{name}` lets labels pass"));
    }
    remarks
}

/// Guards that redact, and what ends there.
fn clearings(bundle: &Bundle, program: &Program) -> Vec<Clearing> {
    let mut clearings = Vec::new();
    for (at, graph) in program.plan().graphs().iter().enumerate() {
        let graph_id = GraphId(at as u32);
        for id in 0..graph.nodes().len() {
            let node = program.node(graph_id, NodeId(id as u32));
            if !node.clears || node.carries.is_empty() {
                continue;
            }
            let spec = node.agent.as_ref().and_then(|agent| bundle.agents.get(agent)).map(|source| source.spec());
            let detects = match spec {
                Some(AgentSpec::Guard(guard)) => detects(guard),
                _ => Vec::new(),
            };
            clearings.push(Clearing {
                workflow: program.graph_name(graph_id).to_owned(),
                node: node.name.clone(),
                labels: node.carries.keys().cloned().collect(),
                detects,
            });
        }
    }
    clearings
}

fn detects(guard: &GuardSpec) -> Vec<String> {
    let kinds = guard.detect.iter().map(|detector| format!("{detector:?}").to_lowercase());
    let denied = (!guard.deny.is_empty()).then(|| match guard.deny.len() {
        1 => "1 denied text".to_owned(),
        many => format!("{many} denied texts"),
    });
    kinds.chain(denied).collect()
}

fn finding(leak: &Leak) -> Finding {
    let way = leak.ways.first().map(|way| {
        let names = way.hops.iter().map(|hop| hop.name.as_str()).chain([leak.node.as_str()]);
        names.collect::<Vec<_>>().join(" → ")
    });
    let way = way.unwrap_or_else(|| leak.node.clone());
    let message = format!("`{}` can leave to `{}`: {way} ({})", leak.label.0, leak.destination, leak.how.join("; "));
    let hint = format!(
        "let a guard with `on_block: Redact` clear `{}` on the way, keep `{}` inside, or allow it with `--allow {}`",
        leak.label.0, leak.node, leak.label.0
    );
    Finding { kind: FindingKind::LabelCanLeave, message, hint }
}

fn notes(bundle: &Bundle, audit: &StaticAudit) -> Vec<String> {
    let mut notes = Vec::new();
    if bundle.deployment.is_none() {
        notes.push("no deployment was given: only what agents send by themselves was looked at".to_owned());
    }
    if audit.labels.is_empty() {
        notes.push(
            "nothing is labelled, so nothing is found to leave: label inputs and nodes, e.g. `labels: [Pii]`"
                .to_owned(),
        );
    }
    for destination in &audit.destinations {
        let name = &destination.name;
        match (&destination.host, destination.side) {
            (Some(host), Side::Inside) if destination.kind == DestinationKind::Backend && !is_private(host) => {
                notes.push(format!(
                    "`{name}` counts as inside by `boundary.inside`, and is at {host}, which is no private address"
                ));
            }
            _ => {}
        }
        if let Some(proxy) = destination.proxy.as_ref().filter(|_| destination.side == Side::Inside) {
            notes.push(format!("`{name}` counts as inside, and is asked through the proxy {proxy}"));
        }
        if destination.kind == DestinationKind::Agent {
            notes.push(format!("the agent `{name}` is registered by a program: where it sends is not known here"));
        }
    }
    let mut cleared: IndexMap<(String, String), Vec<String>> = IndexMap::new();
    for clearing in &audit.clearings {
        let labels: Vec<&str> = clearing.labels.iter().map(|label| label.0.as_str()).collect();
        let places = cleared.entry((labels.join(", "), clearing.detects.join(", "))).or_default();
        places.push(format!("{}/{}", clearing.workflow, clearing.node));
    }
    notes.extend(cleared.into_iter().map(|((labels, detects), places)| {
        let places = places.join(", ");
        format!("{labels} ends at {places}: there {detects} is redacted, and what else carries the label passes")
    }));
    notes
}

/// Whether a host is of this machine or of a private network, as far as its name tells.
fn is_private(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => {
            let is_local = [".local", ".internal", ".lan", ".svc", ".localhost", ".home.arpa"]
                .iter()
                .any(|ending| host.to_ascii_lowercase().ends_with(ending));
            !host.contains('.') || is_local
        }
    }
}
