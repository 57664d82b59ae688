//! What runs cost: over which time machines are paid, which runs share the bill, and what is said where a price is unknown.

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::price::{Price, Rates, TokenPrice};
use lumos_sim::results::{Results, summarize};
use lumos_sim::{Options, simulate};

use super::scenarios::model_priced;

const WORKFLOW: &str = r#"Workflow(
    name: "ask",
    nodes: { "say": Generator(agent: "writer", input: "hello") },
    output: "done",
)"#;

const OWN: &str = r#"Deployment(
    name: "own",
    backends: { "llama": Simulated(model: "llama-3.1-8b", hardware: "h100-sxm") },
    bind: { "*": "llama" },
)"#;

const BOUGHT: &str = r#"Deployment(
    name: "bought",
    backends: { "api": Remote(provider: OpenAi, model: "m", api_key: Env("KEY")) },
    bind: { "*": "api" },
)"#;

fn usd(text: &str) -> Usd {
    text.parse().expect("an amount")
}

/// A run each second, all of 200 tokens in and 11 out.
fn results(deployment: &str, price: &[(&str, Price)], workload: &str, services: &str) -> Results {
    let scenario = format!(
        r#"Scenario(
            name: "costs", workflow: "ask", deployments: ["it"],
            workload: (arrivals: Constant(per_s: 1), {workload}),
            nodes: {{ "say": (input_tokens: 200, output_tokens: 11) }},
            services: {{ {services} }},
        )"#
    );
    let prices: IndexMap<String, Price> =
        price.iter().map(|(name, price)| ((*name).to_owned(), price.clone())).collect();
    let model = model_priced(WORKFLOW, deployment, &scenario, &prices)
        .unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    let measures = simulate(&model, Options::default()).expect("it can be");
    summarize(&model, &measures, 1.0, &[0])
}

/// A tenth of a cent for each prompt of 200 tokens.
fn by_token() -> Price {
    Price::Tokens(Box::new(TokenPrice::flat(Rates { input: usd("5"), output: Some(Usd::ZERO), ..Rates::default() })))
}

#[test]
fn runs_that_count_pay_for_the_machines_of_their_own_time() {
    let hourly = [("llama", Price::PerHour(usd("3.60")))];
    let all = results(OWN, &hourly, "runs: 1000", "");
    let late = results(OWN, &hourly, "runs: 1000, warmup_runs: 900", "");
    assert_eq!((all.runs, late.runs, late.warmup_runs), (1000, 100, 900));
    // A tenth of a cent per second, which is what a run takes of it, warmed up or not.
    for found in [&all, &late] {
        let per_run = found.reserved_cost_per_run_usd.expect("a price");
        assert!((usd("0.00099")..usd("0.00101")).contains(&per_run), "{per_run}");
    }
    let pool = &late.services[0];
    assert_eq!((pool.requests, late.nodes[0].attempts), (100, 100), "both tables are of the same time");
    assert!((late.measured_s - 99.0).abs() < 1.0, "{}", late.measured_s);
    assert!((late.throughput_per_s - 1.0).abs() < 0.02, "{}", late.throughput_per_s);
    let reserved = pool.reserved_usd.expect("a price");
    assert_eq!(Some(reserved), usd("0.001").scaled((late.measured_s * 1e6) as u64, 1_000_000));
    let busy = pool.utilization.expect("replicas");
    assert!((busy / all.services[0].utilization.expect("replicas") - 1.0).abs() < 0.02, "{busy}");
}

#[test]
fn what_fails_is_paid_by_what_succeeds() {
    // A server that takes 30 requests a minute fails the other half of them; only the other half has a price.
    let api = "\"api\": Api(ttft_s: 0.25, limits: (rpm: 30))";
    let found = results(BOUGHT, &[("api", by_token())], "runs: 600", api);
    assert!(found.succeeded < 400 && found.failed == 600 - found.succeeded, "{}", found.succeeded);
    assert_eq!(found.cost_usd, usd("0.001").scaled(found.succeeded, 1));
    assert_eq!(found.cost_per_succeeded_run_usd, Some(usd("0.001")));
    assert_eq!(found.reserved_cost_per_succeeded_run_usd, Some(usd("0.001")));
    assert!(found.cost_per_run_usd < Some(usd("0.0007")));
    let none = results(BOUGHT, &[("api", by_token())], "runs: 20", "\"api\": Api(fail: 1)");
    assert_eq!((none.succeeded, none.cost_usd, none.cost_per_succeeded_run_usd), (0, Some(Usd::ZERO), None));
}

#[test]
fn what_is_not_known_is_no_zero() {
    for found in [
        results(OWN, &[], "runs: 20", ""),
        results(BOUGHT, &[], "runs: 20", "\"api\": Api(ttft_s: 0.25)"),
        // A backend of the deployment that is told of as a station is still somebody's machine.
        results(BOUGHT, &[], "runs: 20", "\"api\": Station(servers: 4)"),
    ] {
        assert!(!found.cost_complete);
        assert_eq!((found.cost_usd, found.cost_per_run_usd, found.cost_per_succeeded_run_usd), (None, None, None));
        assert_eq!((found.reserved_cost_usd, found.reserved_cost_per_run_usd), (None, None));
        assert_eq!((found.nodes[0].cost_usd, found.nodes[0].cost_complete), (None, false));
        assert_eq!((found.services[0].cost_usd, found.services[0].reserved_usd), (None, None));
        assert!(!found.services[0].cost_complete);
    }
}
