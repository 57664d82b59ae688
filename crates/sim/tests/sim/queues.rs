//! Queues of which theory says how long one waits, and laws that hold in every scenario.

use lumos_sim::results::Measures;
use lumos_sim::{Options, SimError, simulate};
use proptest::prelude::*;

use super::scenarios::{NO_MODELS, model};

/// One station in a workflow of one node.
const ONE: &str = r#"Workflow(
    name: "one",
    nodes: { "serve": Tool(agent: "work", with: { "expression": "1" }) },
    output: "done",
)"#;

fn run(workflow: &str, scenario: &str, seed: u64) -> Measures {
    let model = model(workflow, NO_MODELS, scenario).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    simulate(&model, Options { seed, ..Options::default() }).expect("there are no replicas")
}

fn one(arrivals: &str, servers: u32, service: &str, runs: u64) -> String {
    format!(
        r#"Scenario(
            name: "queue", workflow: "one", deployments: ["none"],
            workload: (arrivals: {arrivals}, runs: {runs}, warmup_runs: {}),
            nodes: {{ "serve": (service: "desk", duration_s: {service}) }},
            services: {{ "desk": Station(servers: {servers}) }},
        )"#,
        runs / 20
    )
}

/// Within so many percent.
fn near(found: f64, theory: f64, percent: f64, what: &str) {
    let off = (found / theory - 1.0) * 100.0;
    assert!(off.abs() < percent, "{what}: {found} instead of {theory}, {off:+.1} %");
}

#[test]
fn mean_waits_are_those_of_theory() {
    // Load 0.8 and service of a second throughout; means by Pollaczek and Khinchine, and by Erlang for two servers.
    let wait = |scenario: &str| run(ONE, scenario, 5).nodes[0].queue.mean().unwrap() / 1e6;
    let runs = 60_000;
    let poisson = "Poisson(per_s: 0.8)";
    near(wait(&one(poisson, 1, "Exponential(mean: 1)", runs)), 4.0, 10.0, "M/M/1");
    near(wait(&one(poisson, 1, "1", runs)), 2.0, 10.0, "M/D/1");
    near(wait(&one(poisson, 1, "Uniform(min: 0, max: 2)", runs)), 0.8 / 0.2 * (1.0 + 1.0 / 3.0) / 2.0, 10.0, "M/U/1");
    // Erlang's C for two servers at load 0.8: 0.7111; the wait is C / (2μ − λ).
    near(wait(&one("Poisson(per_s: 1.6)", 2, "Exponential(mean: 1)", runs)), 0.711_1 / 0.4, 10.0, "M/M/2");
    let found = run(ONE, &one("Constant(per_s: 0.8)", 1, "1", 1000), 5);
    assert_eq!(found.nodes[0].queue.max(), Some(0), "D/D/1: nobody waits");
}

#[test]
fn a_simulation_of_which_no_run_counts_is_an_error() {
    let scenario = one("Poisson(per_s: 0.8)", 1, "1", 2000);
    let built = model(ONE, NO_MODELS, &scenario).unwrap();
    let tried = |runs: u64| simulate(&built, Options { runs: Some(runs), ..Options::default() }).map(|it| it.counted());
    assert_eq!(tried(101), Ok(1));
    assert_eq!(tried(100), Err(SimError::NoneCounts { runs: 100, warmup_runs: 100 }));
    let brief = scenario.replace("runs: 2000", "duration_s: 0.001");
    let built = model(ONE, NO_MODELS, &brief).unwrap();
    let found = simulate(&built, Options::default()).map(|it| it.counted());
    assert_eq!(found, Err(SimError::NoneCounts { runs: 0, warmup_runs: 100 }));
}

#[test]
fn time_ends_with_the_last_run_whatever_deadlines_are_still_noted() {
    let patient = ONE.replace("output:", "limits: (deadline_s: 9000),\n    output:");
    let scenario = one("Constant(per_s: 0.5)", 1, "1", 20);
    let found = run(&patient, &scenario, 1);
    // The twentieth run arrives after 38 s and takes one.
    assert_eq!(found.horizon_us, 39_000_000);
    assert_eq!(found.services[0].served_us, 20_000_000);
}

#[test]
fn a_closed_loop_keeps_its_clients() {
    let scenario = one("Closed(clients: 7, think_s: 0)", 2, "1", 2000);
    let found = run(ONE, &scenario, 1);
    assert_eq!(found.most_runs, 7);
    // Two servers are always busy: 2,000 services take 1,000 s, and of seven clients five wait.
    assert_eq!(found.horizon_us, 1_000_000_000);
    near(found.nodes[0].queue.mean().unwrap() / 1e6, 2.5, 1.0, "closed");
    // Deadlines of runs that have ended happen to nobody.
    let patient = ONE.replace("output:", "limits: (deadline_s: 5000), output:");
    assert_eq!(run(&patient, &scenario, 1).horizon_us, 1_000_000_000);
}

/// Two stations in a row, a map, a branch and a loop.
const MANY: &str = r#"Workflow(
    name: "many",
    nodes: {
        "first": Tool(agent: "work", with: { "expression": "1" }),
        "spread": Tool(agent: "work", map: "{{ [1, 2] }}", after: ["first"], with: { "expression": "1" }),
        "again": Tool(agent: "work", after: ["spread"], repeat: (until: "{{ true }}", at_most: 50), with: { "expression": "1" }),
        "maybe": Tool(agent: "work", after: ["first"], when: "{{ true }}", retry: (attempts: 3), with: { "expression": "1" }),
    },
    output: "done",
)"#;

fn many(rate: f64, servers: u32, fail: f64, mean: f64, runs: u64) -> String {
    format!(
        r#"Scenario(
            name: "many", workflow: "many", deployments: ["none"],
            workload: (arrivals: Gamma(per_s: {rate}, cv: 1.5), runs: {runs}),
            nodes: {{
                "first": (service: "desk", duration_s: Exponential(mean: {mean})),
                "spread": (service: "desk", width: Uniform(min: 0, max: 4), duration_s: 0.2),
                "again": (rounds: Geometric(mean: 2), service: "back", duration_s: LogNormal(mean: 0.1, cv: 1)),
                "maybe": (when: 0.5, fail: {fail}, duration_s: 0.05),
            }},
            services: {{ "desk": Station(servers: {servers}), "back": Station(servers: 2) }},
        )"#
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn littles_law_holds(rate in 0.2f64..3.0, servers in 1u32..5, fail in 0.0f64..0.6, mean in 0.05f64..0.8, seed in any::<u64>()) {
        let found = run(MANY, &many(rate, servers, fail, mean, 400), seed);
        prop_assert_eq!(found.ended, found.arrived);
        // The time-average number in the system is the rate of arrivals times the time there, for runs and at each service.
        prop_assert_eq!(found.area_us, found.sojourn_us);
        for service in &found.services {
            prop_assert_eq!(service.area_us, service.sojourn_us);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_results() {
    let digest = |seed| {
        let found = run(MANY, &many(1.0, 2, 0.3, 0.4, 2000), seed);
        (found.horizon_us, found.area_us, found.latency.sum(), found.failed, found.nodes[2].attempts)
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn loads_that_would_never_end_are_errors() {
    let tried = |scenario: &str, factor: f64| {
        let built = model(ONE, NO_MODELS, scenario).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let options = Options { load_factor: factor, ..Options::default() };
        simulate(&built, options).map(|it| it.counted()).map_err(|error| error.to_string())
    };
    let still =
        one("Closed(clients: 3, think_s: 0)", 1, "0", 100).replace("runs: 100, warmup_runs: 5", "duration_s: 10");
    assert_eq!(
        tried(&still, 1.0).unwrap_err(),
        "time stands still at 0 s: 100004 runs began there, one after the other"
    );
    let rare = one("Poisson(per_s: 1e-9)", 1, "1", 100);
    assert!(tried(&rare, 1.0).unwrap_err().contains("the simulated clock ends"));
    assert!(tried(&one("Poisson(per_s: 1)", 1, "1", 100), 1e-300).unwrap_err().contains("the simulated clock ends"));
    let crowd = one("Closed(clients: 1000, think_s: 1)", 1, "1", 100);
    assert!(tried(&crowd, 1e6).unwrap_err().contains("1000000000 clients are more than"));
    let message = |scenario: &str| model(ONE, NO_MODELS, scenario).map(|_| ()).unwrap_err().join("\n");
    for (arrivals, part) in [
        ("Closed(clients: 2000000, think_s: 1)", "there are 2000000 clients"),
        ("OnOff(per_s: 1, on_s: 1e-9, off_s: 1)", "the value is 1e-9"),
        ("Diurnal(per_s: 1, peak: 1.5, peak_h: 25)", "the peak is at hour 25"),
        ("Diurnal(per_s: 1, peak: 1.5, peak_h: 0, day_h: 1e-300)", "the day has 1e-300 hours"),
        ("Gamma(per_s: 1, cv: 0)", "the value is 0"),
    ] {
        let found = message(&one(arrivals, 1, "1", 100));
        assert!(found.contains(part), "{arrivals}: {found}");
    }
    assert!(message(&one("Poisson(per_s: 1)", 1, "1", 2_000_000_000)).contains("there are 2000000000 runs"));
}
