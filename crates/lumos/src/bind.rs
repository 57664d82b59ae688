//! From a bundle to a bound program: each node gets its agent and its backends.

use std::sync::Arc;

use indexmap::IndexMap;
use lumos_agents::BuildContext;
use lumos_core::SharedAgent;
use lumos_core::load::{AgentSource, Bundle, DeploymentSource};
use lumos_core::price::{Catalog, Price};
use lumos_core::program::{BackendRef, Program, ProgramNode};
use lumos_core::spec::{BackendSpec, DeploymentSpec, WorkflowSpec};
use lumos_engine::{Blueprint, BoundBackend, BoundProgram, NodeBinding, recorded_backend};

use crate::error::Error;
use crate::lumos::Lumos;
use crate::prices::Prices;
use crate::remote::price_of;

/// Binds a bundle as a run was bound: its backends have names and answer nothing.
pub(crate) fn bind_recorded(lumos: &Lumos, blueprint: &Blueprint) -> Result<BoundProgram, Error> {
    let bundle = blueprint.definition.bundle().map_err(Error::Problems)?;
    let program = Program::compile(&bundle.workflows())?;
    let mut binder = Binder::new(lumos, &bundle, false);
    let bound = BoundProgram::new(program, blueprint.deployment.clone(), |node| {
        let agent = binder.agent_of(node)?;
        let backends = blueprint.backends.get(node.position).into_iter().flatten().map(recorded_backend).collect();
        Ok::<_, Error>(NodeBinding { agent, backends })
    })?;
    Ok(bound.defined_by(blueprint.definition.clone()))
}

pub(crate) fn bind(lumos: &Lumos, bundle: &Bundle) -> Result<BoundProgram, Error> {
    let program = Program::compile(&bundle.workflows())?;
    let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
    let name = deployment.map_or_else(|| "none".to_owned(), |deployment| deployment.name.clone());
    let caches = program.nodes().any(|node| node.cache);
    let mut binder = Binder::new(lumos, bundle, caches);
    let forbidden = deployment.map(|deployment| deployment.boundary.forbid_outside.clone()).unwrap_or_default();
    let durability = deployment.map(|deployment| deployment.durability).unwrap_or_default();
    let bound = BoundProgram::new(program, name, |node| binder.node(node))?;
    let hosts = |node: &ProgramNode| {
        let agent = node.agent.as_ref().filter(|_| node.kind != "custom").and_then(|name| bundle.agents.get(name));
        let hosts = deployment.zip(agent).map(|(deployment, agent)| deployment.hosts_outside(agent.spec()));
        hosts.into_iter().flatten().map(str::to_owned).collect()
    };
    Ok(bound.sending_to(hosts).forbid_outside(forbidden).defined_by(bundle.definition()).durable(durability))
}

/// One backend of a deployment, whether a node is bound to it or not.
pub(crate) fn backend(lumos: &Lumos, deployment: DeploymentSource, name: &str) -> Result<Arc<BoundBackend>, Error> {
    let bundle = Bundle { deployment: Some(deployment), ..Bundle::in_memory(WorkflowSpec::new("none")) };
    Binder::new(lumos, &bundle, false).backend(name)
}

struct Binder<'a> {
    lumos: &'a Lumos,
    bundle: &'a Bundle,
    deployment: Option<&'a DeploymentSpec>,
    agents: IndexMap<String, SharedAgent>,
    backends: IndexMap<String, Arc<BoundBackend>>,
    /// List prices, read when the first one is needed.
    prices: Option<Prices>,
    /// Whether a node wants answers to be reused.
    caches: bool,
}

impl<'a> Binder<'a> {
    fn new(lumos: &'a Lumos, bundle: &'a Bundle, caches: bool) -> Self {
        let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
        let (agents, backends) = (IndexMap::new(), IndexMap::new());
        Self { lumos, bundle, deployment, agents, backends, prices: None, caches }
    }

    /// The agent of a node; `None` for sub-workflows.
    fn agent_of(&mut self, node: &ProgramNode) -> Result<Option<SharedAgent>, Error> {
        match node.agent.as_deref() {
            _ if node.kind == "workflow" => Ok(None),
            None => Ok(Some(lumos_agents::expression_router())),
            Some(name) => self.agent(node, name).map(Some),
        }
    }

    fn node(&mut self, node: &ProgramNode) -> Result<NodeBinding, Error> {
        let agent = self.agent_of(node)?;
        let Some(name) = node.agent.as_deref() else { return Ok(NodeBinding { agent, backends: Vec::new() }) };
        let spec = self.bundle.agents.get(name).map(|source| source.spec());
        let needs_model = node.kind != "custom" && spec.is_some_and(|spec| spec.model().is_some());
        let bound = self.deployment.and_then(|deployment| deployment.binding(&node.name, Some(name), spec));
        if needs_model && bound.is_none() {
            return Err(Error::Binding {
                node: node.name.clone(),
                message: "it needs a model, and no deployment binds one to it".to_owned(),
                hint: Some("name a deployment with `-d`, or put one in `deployments/local.ron`".to_owned()),
            });
        }
        let names = bound.into_iter().chain(node.fallback.iter().map(String::as_str));
        let backends = names.map(|backend| self.backend(backend)).collect::<Result<_, _>>()?;
        Ok(NodeBinding { agent, backends })
    }

    fn agent(&mut self, node: &ProgramNode, name: &str) -> Result<SharedAgent, Error> {
        let registered = self.lumos.agents.get(name);
        if node.kind == "custom" {
            return registered.cloned().ok_or_else(|| Error::Binding {
                node: node.name.clone(),
                message: format!("no agent is registered as `{name}`"),
                hint: Some("a `Custom` node runs in the program that registers its agent".to_owned()),
            });
        }
        if let Some(agent) = self.agents.get(name) {
            return Ok(agent.clone());
        }
        let source = self.bundle.agents.get(name).ok_or_else(|| Error::Binding {
            node: node.name.clone(),
            message: format!("there is no agent `{name}`"),
            hint: Some(format!("make `agents/{name}.ron`")),
        })?;
        let agent = self.build(source).map_err(|error| Error::Binding {
            node: node.name.clone(),
            message: format!("agent `{name}`, {error}"),
            hint: error.hint.clone(),
        })?;
        self.agents.insert(name.to_owned(), agent.clone());
        Ok(agent)
    }

    fn build(&self, source: &AgentSource) -> Result<SharedAgent, lumos_agents::BuildError> {
        let context = BuildContext {
            base: source.folder.clone(),
            asset: self.lumos.asset_resolver(),
            index_dir: self.lumos.home.indexes(),
        };
        lumos_agents::build(source.spec(), context)
    }

    fn backend(&mut self, name: &str) -> Result<Arc<BoundBackend>, Error> {
        if let Some(bound) = self.backends.get(name) {
            return Ok(bound.clone());
        }
        let unknown = || Error::Backend {
            backend: name.to_owned(),
            message: "the deployment has no such backend".to_owned(),
            hint: None,
        };
        let deployment = self.deployment.ok_or_else(unknown)?;
        let spec = deployment.backends.get(name).ok_or_else(unknown)?;
        let backend = match spec {
            BackendSpec::Local(local) => self.lumos.open_local(name, local, self.bundle)?,
            BackendSpec::Remote(remote) => self.lumos.open_remote(name, remote, self.bundle)?,
            BackendSpec::Simulated(_) => {
                return Err(Error::Backend {
                    backend: name.to_owned(),
                    message: "it is only simulated, so that nothing can be asked of it".to_owned(),
                    hint: Some("`lumos simulate` takes a scenario with this deployment".to_owned()),
                });
            }
            BackendSpec::Custom { name: registered, .. } => {
                self.lumos.backends.get(registered).cloned().ok_or_else(|| Error::Backend {
                    backend: name.to_owned(),
                    message: format!("no backend is registered as `{registered}`"),
                    hint: Some("a `Custom` backend exists in the program that registers it".to_owned()),
                })?
            }
        };
        let info = backend.info();
        let price = self.price(name, spec)?;
        // A server of one's own, which others may use at the same time and which costs money while nobody does.
        let hourly = match (&price, spec) {
            (Price::PerHour(usd), BackendSpec::Remote(_)) => Some(*usd),
            _ => None,
        };
        let bound = Arc::new(BoundBackend {
            backend,
            reference: BackendRef {
                backend: name.to_owned(),
                model: info.model,
                provider: info.provider,
                destination: deployment.destination(name),
                usd_per_hour: hourly,
            },
            price,
            is_remote: matches!(spec, BackendSpec::Remote(_)),
            occupancy: hourly.is_some().then(|| self.lumos.gates.machine(spec)),
            gate: self.lumos.gates.of(spec)?,
            cache: if self.caches { Some(self.lumos.response_cache()?) } else { None },
        });
        self.backends.insert(name.to_owned(), bound.clone());
        Ok(bound)
    }

    fn price(&mut self, name: &str, spec: &BackendSpec) -> Result<Price, Error> {
        let is_listed = spec.cost().is_none() && matches!(spec, BackendSpec::Remote(_));
        if is_listed && self.prices.is_none() {
            self.prices = Some(Prices::load(&self.lumos.home)?);
        }
        let none = Catalog::default();
        price_of(name, spec, self.prices.as_ref().map_or(&none, Prices::catalog))
    }
}
