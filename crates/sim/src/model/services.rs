//! The services of a model: the deployment's backends as the scenario describes them, and its own stations.

use std::collections::BTreeMap;

use lumos_core::Problem;
use lumos_core::admission::Rules;
use lumos_core::load::{Bundle, DeploymentSource, Scenario};
use lumos_core::price::{Price, PromptCaches};
use lumos_core::program::BackendRef;
use lumos_core::spec::{ApiSpec, BackendSpec, DeploymentSpec, Provider, ServiceSpec, Structured};

use super::build::{Sources, problem};
use super::{ServiceKind, ServiceModel};
use crate::profile::{Choice, Held};
use crate::service::ApiModel;

/// Services by name, made when a node first needs one.
pub(super) struct Services<'a> {
    pub(super) scenario: &'a Scenario,
    /// The deployment with the places of what it says.
    pub(super) deployed: Option<&'a DeploymentSource>,
    deployment: Option<&'a DeploymentSpec>,
    pub(super) sources: &'a Sources<'a>,
    made: Vec<ServiceModel>,
    missing: Vec<String>,
    /// What is taken for granted of them, and in whose place the scenario puts something else.
    assumed: Vec<String>,
    /// How tokens of answers are chosen, by service.
    choices: BTreeMap<u32, Choice>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Services<'a> {
    pub(super) fn new(scenario: &'a Scenario, bundle: &'a Bundle, sources: &'a Sources<'a>) -> Self {
        let deployed = bundle.deployment.as_ref();
        Self {
            scenario,
            deployed,
            deployment: deployed.map(|source| &source.parsed.spec),
            sources,
            made: Vec::new(),
            missing: Vec::new(),
            assumed: Vec::new(),
            choices: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// The services, what is taken for granted of them in words, and problems.
    pub(super) fn into_parts(self) -> (Vec<ServiceModel>, Vec<String>, Vec<Problem>) {
        let assumed = self.assumed.iter().cloned().chain(self.unknown_choices()).collect();
        (self.made, assumed, self.problems)
    }

    /// Whether lengths say how much is asked of it, or what that costs.
    pub(super) fn counts_tokens(&self, index: u32) -> bool {
        !self.is_station(index) || matches!(self.made[index as usize].price, Price::Tokens(_))
    }

    pub(super) fn is_station(&self, index: u32) -> bool {
        matches!(self.made[index as usize].kind, ServiceKind::Station { .. })
    }

    /// Formats that it holds answers to.
    pub(super) fn held(&self, index: u32) -> Held {
        let backends = self.deployment.map(|deployment| &deployment.backends);
        match backends.and_then(|backends| backends.get(&self.made[index as usize].name)) {
            Some(BackendSpec::Local(_)) => Held::All,
            Some(BackendSpec::Remote(remote)) if remote.structured == Structured::Prompt => Held::None,
            _ => Held::Schemas,
        }
    }

    /// Notes how an answer's tokens are chosen.
    pub(super) fn note_choice(&mut self, index: u32, choice: Choice) {
        let noted = self.choices.entry(index).or_default();
        noted.is_constrained |= choice.is_constrained;
        noted.is_penalised |= choice.is_penalised;
        noted.is_drawn |= choice.is_drawn;
    }

    /// What is not known of how tokens are chosen, in words.
    fn unknown_choices(&self) -> impl Iterator<Item = String> {
        self.choices.iter().filter_map(|(index, choice)| {
            let service = &self.made[*index as usize];
            let ServiceKind::Pool { choosing, .. } = &service.kind else { return None };
            let unknown = choosing.unknown(*choice);
            (!unknown.is_empty()).then(|| {
                let ways = unknown.join(", and ");
                format!("`{}` chooses tokens {ways} as fast as the most probable one: not measured", service.name)
            })
        })
    }

    /// The position of a service; `None` after a problem was noted.
    pub(super) fn index(&mut self, name: &str) -> Option<u32> {
        if let Some(index) = self.made.iter().position(|service| service.name == name) {
            return Some(index as u32);
        }
        if self.missing.iter().any(|missing| missing == name) {
            return None;
        }
        let Some(service) = self.make(name) else {
            self.missing.push(name.to_owned());
            return None;
        };
        self.made.push(service);
        Some(self.made.len() as u32 - 1)
    }

    fn make(&mut self, name: &str) -> Option<ServiceModel> {
        let backend = self.deployment.and_then(|deployment| deployment.backends.get(name));
        let written = self.scenario.spec().services.get(name);
        let (kind, basis) = match (written, backend) {
            (Some(ServiceSpec::Station { servers }), _) => {
                (ServiceKind::Station { servers: *servers }, "declared".to_owned())
            }
            (Some(ServiceSpec::Api(api)), _) => {
                let basis = self.speed_of(name, api)?;
                (ServiceKind::Api(Box::new(ApiModel::new(&self.caching(name, api, backend)))), basis)
            }
            (Some(ServiceSpec::Profile { file, replicas, outages }), _) => {
                self.calibrated(name, file, *replicas, outages)?
            }
            (Some(ServiceSpec::Replicas { outages }), Some(BackendSpec::Simulated(simulated))) => {
                self.replicas(name, simulated, outages)?
            }
            (None, Some(BackendSpec::Simulated(simulated))) => self.replicas(name, simulated, &[])?,
            (None | Some(ServiceSpec::Replicas { .. }), _) => {
                let message = format!("nothing is known of `{name}`: how fast it is, and what it allows");
                let hint = format!("services: {{ \"{name}\": Api(…), Profile(…) or Station(…) }}");
                self.problems.push(problem(self.scenario, "services", message, hint));
                return None;
            }
        };
        if let (Some(ServiceSpec::Station { .. } | ServiceSpec::Api(_) | ServiceSpec::Profile { .. }), Some(it)) =
            (written, backend)
            && let (BackendSpec::Simulated(simulated), Some(deployment)) = (it, self.deployment)
        {
            let instead = match written {
                Some(ServiceSpec::Station { .. }) => "Station",
                Some(ServiceSpec::Profile { .. }) => "Profile",
                _ => "Api",
            };
            self.assumed.push(format!(
                "`{name}` is the {instead}(…) of the scenario, not {} on {} as deployment `{}` says",
                simulated.model, simulated.hardware, deployment.name
            ));
        }
        let rules = backend.map_or_else(Rules::default, |backend| Rules::new(backend.limits(), backend.breaker()));
        let price = self.sources.prices.get(name).cloned().unwrap_or(Price::Unknown);
        let reference = match (backend, self.deployment) {
            (Some(backend), Some(deployment)) => Some(reference(name, backend, deployment, &kind, &price)),
            _ => None,
        };
        let is_local = matches!(backend, Some(BackendSpec::Local(_)));
        Some(ServiceModel { name: name.to_owned(), reference, kind, price, is_local, rules, basis })
    }
}

impl Services<'_> {
    /// Where the times of an API come from; `None` after a problem was noted, because nothing is known of them.
    fn speed_of(&mut self, name: &str, api: &ApiSpec) -> Option<String> {
        let has_first = api.ttft_s.mean() > 0.0 || api.ttft_s_per_1k > 0.0;
        let has_rest = api.tokens_per_s.mean().is_finite();
        if !has_first && !has_rest && api.round_trip_s.mean() <= 0.0 && api.attempts == 0 {
            let message = format!("nothing says how fast `{name}` is");
            let hint = format!("\"{name}\": Api(ttft_s: 0.4, tokens_per_s: 80)");
            self.problems.push(problem(self.scenario, &format!("services.{name}"), message, hint));
            return None;
        }
        let mut basis = match api.attempts {
            0 => "declared".to_owned(),
            1 => "estimated from 1 attempt".to_owned(),
            attempts => format!("estimated from {attempts} attempts"),
        };
        for (is_known, field, instead) in [
            (has_first, "ttft_s", "begins to answer as soon as it is asked"),
            (has_rest, "tokens_per_s", "has all of an answer with its first token"),
        ] {
            if !is_known {
                self.assumed.push(format!("`{name}` {instead}: no `{field}` is given"));
                basis.push_str(if basis.ends_with(')') { "" } else { " (in part)" });
            }
        }
        Some(basis)
    }
}

impl Services<'_> {
    /// An API with what its provider is known to keep of prompts, where the scenario does not say it.
    fn caching(&mut self, name: &str, api: &ApiSpec, backend: Option<&BackendSpec>) -> ApiSpec {
        let mut api = api.clone();
        let (Some(_), Some(BackendSpec::Remote(remote))) = (api.cache_ttl_s, backend) else { return api };
        if remote.provider == Provider::Anthropic && remote.prompt_cache.is_none() {
            let assumed = format!(
                "`{name}` keeps no prompts: Anthropic is to be asked for it, with the deployment's `prompt_cache`"
            );
            self.assumed.push(assumed);
            api.cache_ttl_s = None;
            return api;
        }
        if api.cache_min_tokens.is_some() && api.cache_step_tokens.is_some() {
            return api;
        }
        let caches = PromptCaches::builtin();
        let Some(rule) = caches.of(remote.provider.as_str(), &remote.model) else {
            if api.cache_min_tokens.is_none() {
                let assumed =
                    format!("`{name}` keeps what prompts share however short: no `cache_min_tokens` is given");
                self.assumed.push(assumed);
            }
            return api;
        };
        let steps = match api.cache_step_tokens.unwrap_or(rule.step_tokens) {
            tokens if tokens > 1 => format!(", in steps of {tokens}"),
            _ => String::new(),
        };
        let as_of = format!("{} as of {}", rule.source, rule.as_of);
        if api.cache_min_tokens.is_none() {
            self.assumed.push(format!(
                "`{name}` keeps what prompts share from {} tokens on{steps}: {as_of}; `cache_min_tokens` says otherwise",
                rule.min_tokens
            ));
        } else if rule.step_tokens > 1 {
            self.assumed
                .push(format!("`{name}` keeps what prompts share{steps}: {as_of}; `cache_step_tokens` says otherwise"));
        }
        api.cache_min_tokens = api.cache_min_tokens.or(Some(rule.min_tokens));
        api.cache_step_tokens = api.cache_step_tokens.or(Some(rule.step_tokens));
        api
    }
}

/// What records say of a backend.
fn reference(
    name: &str,
    backend: &BackendSpec,
    deployment: &DeploymentSpec,
    kind: &ServiceKind,
    price: &Price,
) -> BackendRef {
    let (model, provider) = match backend {
        BackendSpec::Local(local) => (local.model.as_str(), "local"),
        BackendSpec::Remote(remote) => (remote.model.as_str(), remote.provider.as_str()),
        BackendSpec::Simulated(simulated) => (simulated.model.as_str(), "simulated"),
        BackendSpec::Custom { name, .. } => (name.as_str(), "custom"),
    };
    let usd_per_hour = match (price, kind) {
        // How many there are at a time is not known of a run.
        (Price::PerHour(_), ServiceKind::Pool { spec, .. }) if spec.scaling.is_some() => None,
        (Price::PerHour(usd), ServiceKind::Pool { spec, .. }) => usd.scaled(u64::from(spec.replicas), 1),
        (Price::PerHour(usd), _) if matches!(backend, BackendSpec::Remote(_)) => Some(*usd),
        _ => None,
    };
    BackendRef {
        backend: name.to_owned(),
        model: model.to_owned(),
        provider: provider.to_owned(),
        destination: deployment.destination(name),
        usd_per_hour,
    }
}
