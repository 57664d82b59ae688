//! The queues as scenarios. A service takes a second on average everywhere.

use indexmap::IndexMap;
use lumos_core::load::{Bundle, Scenario};
use lumos_core::read::{parse_scenario, read_deployment, read_workflow};
use lumos_core::spec::{AgentSpec, ToolKind, ToolSpec};
use lumos_sim::model::{Model, Sources};

use super::exact::{Waits, mg1, mmc};

/// A queue.
pub struct Queue {
    pub name: &'static str,
    pub load: f64,
    /// Customers that an interval of ±2 % takes, found by trying.
    pub customers: u64,
    /// Whose waits are looked at.
    pub node: usize,
    pub theory: Waits,
    workflow: String,
    arrivals: f64,
    nodes: String,
    services: &'static str,
}

const DESK: &str = r#""desk": Station(servers: 1)"#;
const SERVE: &str = r#""serve": Tool(agent: "work", with: { "expression": "1" }),"#;

/// All queues at all loads.
pub fn queues() -> Vec<Queue> {
    let mut queues = Vec::new();
    for (load, millions) in [(0.5, 4), (0.8, 8), (0.9, 20), (0.95, 40)] {
        let customers = millions * 1_000_000;
        let one = |name, theory, service: &str| Queue {
            name,
            load,
            customers,
            node: 0,
            theory,
            workflow: SERVE.to_owned(),
            arrivals: load,
            nodes: format!(r#""serve": (service: "desk", duration_s: {service})"#),
            services: DESK,
        };
        queues.push(one("M/M/1", mmc(1, load), "Exponential(mean: 1)"));
        queues.push(Queue {
            arrivals: load * 4.0,
            services: r#""desk": Station(servers: 4)"#,
            ..one("M/M/4", mmc(4, load), "Exponential(mean: 1)")
        });
        queues.push(one("M/D/1", mg1(load, 1.0, |t| t.min(1.0)), "1"));
        // Nine in ten take 0.2 s, one in ten 8.2 s: the squared coefficient of variation is 5.76.
        let residual = |t: f64| t.min(0.2) + 0.1 * (t.clamp(0.2, 8.2) - 0.2);
        let samples = "[0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 8.2]";
        queues.push(Queue { customers: customers * 3 / 2, ..one("M/G/1", mg1(load, 6.76, residual), samples) });
        queues.extend(jackson(load, customers));
    }
    queues
}

/// A Jackson network: everybody comes to A; half go on to B, the others to C; at B one returns with chance 1/2, so that B is
/// visited twice on average. Each station is an M/M/1 queue on its own (Jackson 1957), of which B's waits are looked at at
/// each visit, and A's.
fn jackson(load: f64, customers: u64) -> Vec<Queue> {
    let workflow = r#"
        "a": Tool(agent: "work", with: { "expression": "1" }),
        "which": Router(choose: "{{ 'b' }}", after: ["a"], routes: { "b": ["b"], "c": ["c"] }),
        "b": Tool(agent: "work", repeat: (until: "{{ true }}", at_most: 1000), with: { "expression": "1" }),
        "c": Tool(agent: "work", with: { "expression": "1" }),"#;
    let nodes = r#"
        "a": (service: "a", duration_s: Exponential(mean: 1)),
        "which": (branches: { "b": 0.5, "c": 0.5 }),
        "b": (service: "b", rounds: Geometric(mean: 2), duration_s: Exponential(mean: 1)),
        "c": (service: "c", duration_s: Exponential(mean: 2))"#;
    let services = r#""a": Station(servers: 1), "b": Station(servers: 1), "c": Station(servers: 1)"#;
    // Time averages are those of independent M/M/1 queues, also where customers return; the waits of single visits are
    // exponential only where nobody does.
    let returning = Waits { p95: None, ..mmc(1, load) };
    [("Jackson first station", 0, mmc(1, load)), ("Jackson with feedback", 2, returning)]
        .into_iter()
        .map(|(name, node, theory)| Queue {
            name,
            load,
            customers,
            node,
            theory,
            workflow: workflow.to_owned(),
            arrivals: load,
            nodes: nodes.to_owned(),
            services,
        })
        .collect()
}

impl Queue {
    /// The queue as a scenario of so many customers, of whom the first are left out.
    pub fn model(&self, customers: u64) -> Model {
        let workflow = format!(r#"Workflow(name: "queue", nodes: {{ {} }}, output: "done")"#, self.workflow);
        let scenario = format!(
            r#"Scenario(
                name: "queue", workflow: "queue", deployments: ["none"],
                workload: (arrivals: Poisson(per_s: {}), runs: {customers}, warmup_runs: {}),
                nodes: {{ {} }}, services: {{ {} }},
            )"#,
            self.arrivals,
            customers / 20,
            self.nodes,
            self.services,
        );
        let deployment = r#"Deployment(name: "none", backends: { "x": Local(model: "m") }, bind: {})"#;
        let bundle = Bundle::in_memory(read_workflow("workflow", &workflow).expect("a workflow").spec)
            .with_agent("work", AgentSpec::Tool(ToolSpec { tool: ToolKind::Calculator }))
            .with_deployment(read_deployment("deployment", deployment).expect("a deployment").spec);
        let parsed = parse_scenario("scenario", &scenario).0.expect("a scenario");
        let scenario = Scenario { parsed, folder: "".into(), bundles: vec![bundle] };
        let files = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let sources = Sources { prices: &IndexMap::new(), files: &files };
        Model::new(&scenario, &scenario.bundles[0], &sources).unwrap_or_else(|problems| panic!("{problems:?}"))
    }
}
