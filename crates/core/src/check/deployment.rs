//! Checks of a deployment, by itself and with the workflow that it serves.

use std::collections::{BTreeMap, BTreeSet};

use super::sink::{Sink, suggest};
use crate::load::{Bundle, DeploymentSource, WorkflowSource};
use crate::problem::{Problem, nearest};
use crate::read::Parsed;
use crate::spec::{AgentSpec, BackendSpec, Cost, DeploymentSpec, Durability, NodeKind, host_of};

/// The binding of everything that no other names.
const REST: &str = "*";

/// Checks a deployment by itself.
pub(super) fn check(deployment: &Parsed<DeploymentSpec>) -> Vec<Problem> {
    let spec = &deployment.spec;
    let mut sink = Sink::new(deployment, "");
    if spec.name.trim().is_empty() && deployment.positions.has("name") {
        sink.error("name", "the deployment's name is empty", None);
    }
    if spec.backends.is_empty() && deployment.broken.is_empty() {
        sink.error(
            "backends",
            "the deployment has no backends",
            "backends: { \"small\": Local(model: \"…\") }".to_owned(),
        );
    }
    let unknown = |name: &str| !spec.backends.contains_key(name) && !deployment.broken.contains(name);
    let backends = || spec.backends.keys().map(String::as_str);
    for (key, backend) in &spec.bind {
        if unknown(backend) {
            let hint = suggest(backend, backends(), "the backends are");
            sink.error(&format!("bind.{key}"), format!("there is no backend `{backend}`"), hint);
        }
    }
    for (key, cascade) in &spec.escalate {
        super::policies::escalation(&mut sink, &format!("escalate.{key}"), cascade);
        if unknown(&cascade.to) {
            let hint = suggest(&cascade.to, backends(), "the backends are");
            sink.error(&format!("escalate.{key}.to"), format!("there is no backend `{}`", cascade.to), hint);
        }
    }
    for (at, backend) in spec.boundary.inside.iter().enumerate().filter(|(_, backend)| unknown(backend)) {
        let hint = suggest(backend, backends(), "the backends are");
        sink.error(&format!("boundary.inside.{at}"), format!("there is no backend `{backend}`"), hint);
    }
    for (at, host) in spec.boundary.hosts.iter().enumerate().filter(|(_, host)| !is_host(host)) {
        let hint = match host_of(host) {
            "" => "e.g. \"wiki.example.org\"".to_owned(),
            host => format!("write \"{host}\", without scheme, port and path"),
        };
        sink.error(&format!("boundary.hosts.{at}"), format!("`{host}` is no host"), hint);
    }
    for (name, backend) in &spec.backends {
        let path = format!("backends.{name}");
        match backend {
            BackendSpec::Local(local) => {
                if local.model.trim().is_empty() {
                    let hint = "an asset's name, or the path of a model file".to_owned();
                    sink.error(&format!("{path}.model"), "the model is empty", hint);
                }
                sink.at_least_one(&format!("{path}.context"), local.context);
            }
            BackendSpec::Remote(remote) => super::remote::check(&mut sink, &path, remote),
            BackendSpec::Simulated(simulated) => {
                for (field, number) in [
                    ("replicas", Some(simulated.replicas)),
                    ("tensor_parallel", Some(simulated.tensor_parallel)),
                    ("expert_parallel", Some(simulated.expert_parallel)),
                    ("max_seqs", simulated.max_seqs),
                    ("max_batched_tokens", simulated.max_batched_tokens),
                ] {
                    sink.at_least_one(&format!("{path}.{field}"), number);
                }
                if let Some(scaling) = simulated.scaling {
                    for (field, seconds) in [("cold_start_s", scaling.cold_start_s), ("idle_s", scaling.idle_s)] {
                        if !(0.0..=MOST_SECONDS).contains(&seconds) {
                            let hint = format!("at least 0, at most {MOST_SECONDS}");
                            sink.error(&format!("{path}.scaling.{field}"), format!("{seconds:?} seconds"), hint);
                        }
                    }
                }
                if let Some(share) = simulated.memory_utilization
                    && !(share > 0.0 && share <= 1.0)
                {
                    let message = format!("the share of the memory is {share}");
                    sink.error(&format!("{path}.memory_utilization"), message, "above 0, at most 1".to_owned());
                }
            }
            BackendSpec::Custom { .. } => {}
        }
        super::remote::limits(&mut sink, &path, backend.limits());
        for usd in backend.cost().into_iter().flat_map(Cost::figures).filter(|usd| *usd < crate::money::Usd::ZERO) {
            sink.error(&format!("{path}.cost"), format!("the price is {usd}"), "at least 0".to_owned());
        }
    }
    sink.into_problems()
}

/// Longest time that replicas may take to start, or may be idle for, in seconds: some four months.
const MOST_SECONDS: f64 = 1e7;

/// Whether a text is a host's name or address, and nothing else.
fn is_host(text: &str) -> bool {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let is_name = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/:@?#*".contains(c));
    is_address || is_name
}

/// Checks that a deployment serves every node of a bundle.
pub(super) fn check_bindings(bundle: &Bundle, source: &DeploymentSource) -> Vec<Problem> {
    let deployment = &source.parsed.spec;
    let mut problems = Vec::new();
    let mut sink = Sink::new(&source.parsed, "");
    let mut used: BTreeSet<&str> = deployment.bind.values().map(String::as_str).collect();
    used.extend(deployment.escalate.values().map(|cascade| cascade.to.as_str()));
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut unbound: BTreeMap<&str, (bool, Vec<&str>)> = BTreeMap::new();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for workflow in bundle.sources() {
        for (node_name, node) in &workflow.parsed.spec.nodes {
            used.extend(node.named_backends());
            reached.extend(node.named_backends());
            let agent = node.kind.agent().and_then(|agent| bundle.agents.get(agent)).map(|source| source.spec());
            reached.extend(deployment.cascade(node_name, node, agent).map(|cascade| cascade.to.as_str()));
            names.insert(node_name);
            let own = node.kind.agent().filter(|_| !matches!(node.kind, NodeKind::Custom { .. }));
            names.extend(node.kind.agent());
            names.extend(node.judged_by());
            for agent in own.into_iter().chain(node.judged_by()) {
                let Some(spec) = bundle.agents.get(agent).map(|source| source.spec()) else { continue };
                let Some(alias) = spec.model() else { continue };
                let is_embedder = matches!(spec, AgentSpec::Retriever(_));
                names.insert(alias);
                let judge = (own != Some(agent)).then(|| format!("{node_name}.judge"));
                match deployment.binding(judge.as_deref().unwrap_or(node_name), Some(agent), Some(spec)) {
                    Some(backend) => {
                        reached.insert(backend);
                    }
                    None => unbound.entry(alias).or_insert((is_embedder, Vec::new())).1.push(node_name),
                }
            }
        }
        problems.extend(fallbacks(workflow, source));
    }
    for (alias, (is_embedder, nodes)) in unbound {
        let why =
            if is_embedder && deployment.bind.contains_key(REST) { " (`*` never stands for an embedder)" } else { "" };
        let backend = deployment.backends.keys().next().map_or("…", String::as_str);
        let near = nearest(alias, deployment.bind.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{alias}` where it says `{near}`?"),
            None => format!("bind: {{ \"{alias}\": \"{backend}\" }}"),
        };
        let listed: Vec<String> = nodes.iter().map(|node| format!("`{node}`")).collect();
        let message = format!("alias `{alias}` has no binding{why}; {} needs it", listed.join(", "));
        sink.error("bind", message, hint);
    }
    for key in deployment.bind.keys().filter(|key| *key != REST && !names.contains(key.as_str())) {
        // A deployment may serve other workflows too, so only what looks like a slip is mentioned.
        let free = names.iter().copied().filter(|name| !deployment.bind.contains_key(*name));
        if let Some(near) = nearest(key, free) {
            let message = format!("`{key}` is no node, agent or alias of this workflow");
            sink.warning(&format!("bind.{key}"), message, format!("did you mean `{near}`?"));
        }
    }
    for name in deployment.backends.keys().filter(|name| !used.contains(name.as_str())) {
        let hint = format!("bind something to it, or remove it: bind: {{ \"{REST}\": \"{name}\" }}");
        sink.warning(&format!("backends.{name}"), format!("nothing is bound to `{name}`"), hint);
    }
    labels(&mut sink, bundle, deployment);
    approvals(&mut sink, bundle, deployment);
    problems.extend(sink.into_problems());
    problems.extend(budgets(bundle, deployment, &reached));
    problems
}

/// A forbidden label that nothing carries, but something carries one like it.
fn labels(sink: &mut Sink<'_>, bundle: &Bundle, deployment: &DeploymentSpec) {
    let carried: BTreeSet<&str> = bundle
        .sources()
        .flat_map(|source| {
            let spec = &source.parsed.spec;
            let inputs = spec.inputs.values().flat_map(|input| &input.labels);
            inputs.chain(spec.nodes.values().flat_map(|node| &node.options.labels))
        })
        .map(|label| label.0.as_str())
        .collect();
    for (at, label) in deployment.boundary.forbid_outside.iter().enumerate() {
        if !carried.contains(label.0.as_str())
            && let Some(near) = nearest(&label.0, carried.iter().copied())
        {
            let message = format!("nothing carries the label `{}`", label.0);
            sink.warning(&format!("boundary.forbid_outside.{at}"), message, format!("did you mean `{near}`?"));
        }
    }
}

/// A run that pauses and is not kept could never be gone on with.
fn approvals(sink: &mut Sink<'_>, bundle: &Bundle, deployment: &DeploymentSpec) {
    let mut nodes = bundle.sources().flat_map(|source| &source.parsed.spec.nodes);
    if deployment.durability == Durability::Off
        && let Some((name, _)) = nodes.find(|(_, node)| node.options.approve.is_some())
    {
        let message = format!("runs that are not kept cannot wait for a person, as `{name}` does");
        sink.error("durability", message, "`Normal` or `Full`, or leave `approve` out".to_owned());
    }
}

fn fallbacks(workflow: &WorkflowSource, source: &DeploymentSource) -> Vec<Problem> {
    let deployment = &source.parsed;
    let mut sink = Sink::new(&workflow.parsed, &workflow.text);
    for (name, node) in &workflow.parsed.spec.nodes {
        let fallback = node.options.fallback.iter().enumerate();
        let fallback = fallback.map(|(at, backend)| (format!("fallback.{at}"), backend));
        let to = node.options.cascade.as_ref().map(|cascade| ("cascade.to".to_owned(), &cascade.to));
        for (field, backend) in fallback.chain(to) {
            if !deployment.spec.backends.contains_key(backend) && !deployment.broken.contains(backend) {
                let backends = deployment.spec.backends.keys().map(String::as_str);
                let hint = suggest(backend, backends, "the backends are");
                let message = format!("deployment `{}` has no backend `{backend}`", deployment.spec.name);
                sink.error(&format!("nodes.{name}.{field}"), message, hint);
            }
        }
    }
    sink.into_problems()
}

/// A budget that can't be kept because a price is not known.
fn budgets(bundle: &Bundle, deployment: &DeploymentSpec, reached: &BTreeSet<&str>) -> Vec<Problem> {
    let workflow = &bundle.workflow.parsed;
    let mut sink = Sink::new(workflow, "");
    if workflow.spec.limits.cost_usd.is_some() {
        for (name, backend) in deployment.backends.iter().filter(|(name, _)| reached.contains(name.as_str())) {
            let unknown = match (backend, backend.cost()) {
                (_, Some(cost)) => *cost == Cost::Unknown,
                // The list price of a remote one is looked up before a run.
                (backend, None) => matches!(backend, BackendSpec::Local(_)),
            };
            if unknown {
                let hint = format!("give `{name}` a cost: PerHour(usd: \"0.20\")");
                sink.warning(
                    "limits.cost_usd",
                    format!("the budget does not cover backend `{name}`, whose price is unknown"),
                    hint,
                );
            }
        }
    }
    sink.into_problems()
}
