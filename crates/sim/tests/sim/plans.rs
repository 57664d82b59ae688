//! What is planned: how far a search goes, what it says when nothing suffices, what a month costs, and where machines pay.

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::load::Scenario;
use lumos_core::price::{Price, Rates, TokenPrice};
use lumos_sim::model::{Model, Sources};
use lumos_sim::plan::{
    BreakEven, Capacity, Laboratory, PlanError, Sized, Space, Span, break_even, capacity, chosen, smallest,
};
use lumos_sim::results::{Verdict, summarize};
use lumos_sim::{Options, simulate};

use super::scenarios::{ASK, BOUGHT, checked, files};

const OWN: &str = r#"Deployment(
    name: "own",
    backends: { "llama": Simulated(model: "llama-3.1-8b", hardware: "l40s", cost: PerHour(usd: "0.90")) },
    bind: { "*": "llama" },
)"#;

fn described(deployment: &str, workload: &str, input: u32, slo: &str) -> Scenario {
    described_with(deployment, workload, input, slo, "")
}

/// The same, with more to be said of the API.
fn described_with(deployment: &str, workload: &str, input: u32, slo: &str, more: &str) -> Scenario {
    let api = match deployment {
        BOUGHT => format!("\"api\": Api(ttft_s: 0.3, tokens_per_s: 100{more})"),
        _ => String::new(),
    };
    let text = format!(
        r#"Scenario(
            name: "plans", workflow: "ask", deployments: ["it"], workload: ({workload}),
            nodes: {{ "say": (input_tokens: {input}, output_tokens: 60) }},
            services: {{ {api} }}, slo: ({slo}),
        )"#
    );
    checked(ASK, deployment, &text).unwrap_or_else(|problems| panic!("{}", problems.join("\n")))
}

fn sized(scenario: &Scenario, runs: Option<u64>, most_replicas: u32) -> Result<Sized, PlanError> {
    let prices = IndexMap::new();
    let options = Options { runs, ..Options::default() };
    let laboratory =
        Laboratory::new(scenario, &scenario.bundles[0], Sources { prices: &prices, files: &files }, options);
    let space = Space { most_replicas, ..Space::default() };
    Ok(smallest(&laboratory, &space, &|_| {})?.remove(0))
}

#[test]
fn a_fleet_grows_while_times_fall_though_no_run_is_good_yet() {
    // As many at once as 16 replicas take in time; with a few of them none is served in time.
    let burst = described(OWN, "arrivals: Constant(per_s: 100000), runs: 1000", 600, "run_s: 4, share: 0.95");
    let found = sized(&burst, None, 512).expect("it can be planned");
    assert!(found.meets_slo, "{:?}", found.reason);
    assert!((8..100).contains(&found.fleet.replicas), "{}", found.fleet.replicas);
    // Nothing makes a run take less than its tokens do.
    let hopeless = described(OWN, "arrivals: Poisson(per_s: 4), runs: 600", 600, "run_s: 0.01, share: 0.95");
    let found = sized(&hopeless, None, 1024).expect("it can be planned");
    let reason = found.reason.expect("it does not suffice");
    assert!(reason.contains("more of them don't help") && reason.contains("`say` on llama"), "{reason}");
    assert!(found.tries < 9, "{}", found.tries);
    let few = sized(&burst, None, 4).expect("it can be planned").reason.expect("it does not suffice");
    assert!(few.contains("with 4 replicas") && few.contains("the most that are tried"), "{few}");
}

#[test]
fn what_never_fits_is_said_with_the_service_that_refuses_it() {
    let tight = OWN.replace("\"l40s\"", "\"l40s\", memory_utilization: 0.45");
    let long = described(&tight, "arrivals: Poisson(per_s: 1), runs: 100", 60_000, "run_s: 4, share: 0.95");
    let reason = sized(&long, None, 64).expect("it can be planned").reason.expect("it does not suffice");
    let says = "`say` on llama: 100 of 100 requests are refused: prompt and answer do not fit the KV cache";
    assert!(reason.contains(says), "{reason}");
}

/// A break-even with an API at these prices for a million tokens, in and out alike.
fn compared(workload: &str, slo: &str, api: &str, runs: Option<u64>) -> (BreakEven, Option<Capacity>, Sized) {
    let there = described(BOUGHT, workload, 600, slo);
    compared_with(&there, workload, slo, api, runs)
}

fn compared_with(
    there: &Scenario,
    workload: &str,
    slo: &str,
    api: &str,
    runs: Option<u64>,
) -> (BreakEven, Option<Capacity>, Sized) {
    let usd: Usd = api.parse().expect("an amount");
    let rates = Rates { input: usd, output: Some(usd), ..Rates::default() };
    let prices: IndexMap<String, Price> =
        [("api".to_owned(), Price::Tokens(Box::new(TokenPrice::flat(rates))))].into_iter().collect();
    let here = described(OWN, workload, 600, slo);
    let options = Options { runs, ..Options::default() };
    let laboratory = |scenario| -> Laboratory<'_> {
        let scenario: &Scenario = scenario;
        Laboratory::new(scenario, &scenario.bundles[0], Sources { prices: &prices, files: &files }, options)
    };
    let (own, other) = (laboratory(&here), laboratory(there));
    let space = Space { most_replicas: 16, ..Space::default() };
    let all = smallest(&own, &space, &|_| {}).expect("it can be planned");
    let fleets = chosen(&all);
    let borne = capacity(&own, &fleets).expect("it can be simulated");
    let found = break_even(&own, &fleets, &other, borne.as_ref()).expect("it can be simulated");
    (found, borne, all.into_iter().next().expect("one backend"))
}

#[test]
fn a_break_even_that_the_fleet_does_not_bear_is_none() {
    let (load, slo) = ("arrivals: Poisson(per_s: 4), runs: 1000", "run_s: 1.7, share: 0.95");
    // 660 tokens at 25 cents a million are $0.000165, and a replica is $657 a month.
    let (near, borne, fleet) = compared(load, slo, "0.25", None);
    let borne = borne.expect("the SLO is met");
    assert!(!borne.is_at_least, "{borne:?}");
    let point = near.runs_per_month.expect("it is reached").value;
    assert!((point / (657.0 * f64::from(fleet.fleet.replicas) / 0.000_165) - 1.0).abs() < 1e-6, "{point}");
    let most = near.capacity_per_month.expect("the SLO is met");
    assert!((most / (4.0 * 3600.0 * 730.0 * borne.load_factor) - 1.0).abs() < 1e-6 && point < most, "{most}");
    let factor = most / point;
    // Prices of machines 30 % higher are within reach or not, as the point times 1.3 is.
    let machines = near.assumptions.iter().find(|it| it.what == "price of the machines").expect("it is assumed");
    assert_eq!((machines.runs_per_month[1].is_some(), machines.beyond_capacity[1]), (factor > 1.3, factor < 1.3));
    let (far, ..) = compared(load, slo, "0.0025", None);
    assert_eq!((far.runs_per_month.map(|it| it.value), far.is_reached), (None, false));
    assert!((far.beyond_capacity.expect("it is known") / (100.0 * point) - 1.0).abs() < 0.01, "{far:?}");
    for assumption in &far.assumptions {
        assert_eq!(
            (assumption.runs_per_month, assumption.beyond_capacity),
            ([None, None], [true, true]),
            "{assumption:?}"
        );
    }
}

#[test]
fn a_month_is_of_the_declared_rate_however_few_runs_are_simulated() {
    let day = "arrivals: Diurnal(per_s: 6, peak: 2, peak_h: 0.1, day_h: 0.2), duration_s: 720, warmup_runs: 500";
    let slo = "run_s: 3, share: 0.9";
    for (load, per_s) in [("arrivals: Poisson(per_s: 2), warmup_runs: 500, runs: 3000", 2.0), (day, 6.0)] {
        for runs in [510, 600, 2000] {
            let (found, _, fleet) = compared(load, slo, "0.10", Some(runs));
            let month = found.served_per_month / (per_s * 3600.0 * 730.0);
            assert!((month - 1.0).abs() < 1e-9, "{load}, {runs} runs: {month}");
            // 660 tokens a run, of machines by the hour.
            let hour = 0.90 * f64::from(fleet.fleet.replicas);
            let theory = hour / (per_s * 3600.0 * 660.0) * 1e6;
            let million = fleet.per_million_tokens_usd.expect("a price").nanos() as f64 / 1e9;
            assert!((million / theory - 1.0).abs() < 1e-6, "{load}, {runs} runs: {million} instead of {theory}");
        }
        let none = sized(&described(OWN, load, 600, slo), Some(500), 16).map(|_| ()).expect_err("no run counts");
        assert!(none.to_string().contains("no run counts: 500 runs arrive, and the first 500 warm up"), "{none}");
    }
}

#[test]
fn a_month_at_an_api_is_what_is_billed_for_all_runs_that_arrive() {
    let (load, slo) = ("arrivals: Poisson(per_s: 4), runs: 2000", "run_s: 3, share: 0.5");
    let there = described_with(BOUGHT, load, 600, slo, ", fail: 0.2");
    let (found, ..) = compared_with(&there, load, slo, "1000", None);
    let arrived = 4.0 * 3600.0 * 730.0;
    assert!((found.arrived_per_month / arrived - 1.0).abs() < 1e-9, "{}", found.arrived_per_month);
    let api = &found.api_side;
    assert!((0.77..0.83).contains(&(api.succeeded as f64 / api.runs as f64)), "{api:?}");
    // What the simulation itself says of a run that arrives, with the same seeds.
    let usd = |text: &str| text.parse::<Usd>().expect("an amount");
    let rates = Rates { input: usd("1000"), output: Some(usd("1000")), ..Rates::default() };
    let prices = [("api".to_owned(), Price::Tokens(Box::new(TokenPrice::flat(rates))))].into_iter().collect();
    let model = Model::new(&there, &there.bundles[0], &Sources { prices: &prices, files: &files }).expect("it can be");
    let per_run = |seed| {
        let measures = simulate(&model, Options { seed, ..Options::default() }).expect("it can be");
        let results = summarize(&model, &measures, 1.0, &[seed]);
        results.cost_per_run_usd.expect("a price").nanos() as f64 / 1e9
    };
    let mean = (0..5).map(per_run).sum::<f64>() / 5.0;
    let month = api.at_load_usd.expect("a price").nanos() as f64 / 1e9;
    assert!((month / (mean * arrived) - 1.0).abs() < 1e-6, "{month} and {mean} for each of {arrived}");
    // A run that succeeds costs what it always did: what fails there is not billed.
    let success = api.per_run_usd.expect("a price").nanos() as f64 / 1e9;
    assert!((success / 0.66 - 1.0).abs() < 1e-6, "{success}");
}

#[test]
fn what_is_chosen_is_cheaper_for_as_many_runs_that_succeed_though_a_bill_for_fewer_is_smaller() {
    let (load, slo) = ("arrivals: Poisson(per_s: 4), runs: 2000", "run_s: 6, share: 0.8");
    let there = described_with(BOUGHT, load, 600, slo, ", fail: 0.15");
    let (found, ..) = compared_with(&there, load, slo, "0.104", None);
    let point = found.runs_per_month.expect("there is one").value;
    assert!(found.is_reached && point < found.served_per_month, "{point} of {}", found.served_per_month);
    assert_eq!(found.choice, Some("fleet"));
    let bills = [&found.fleet_side, &found.api_side].map(|side| side.at_load_usd.expect("a price"));
    assert!(bills[1] < bills[0], "a seventh fails there: {bills:?}");
    let (found, ..) = compared_with(&there, load, slo, "0.09", None);
    assert_eq!((found.is_reached, found.choice), (false, Some("api")));
}

#[test]
fn clients_of_a_closed_loop_are_whole_and_so_is_what_fleets_bear_of_them() {
    let load = "arrivals: Closed(clients: 4, think_s: 0.5), runs: 400";
    let tight = described(OWN, load, 600, "run_s: 1.72, share: 0.9");
    let prices = IndexMap::new();
    let sources = Sources { prices: &prices, files: &files };
    let laboratory = Laboratory::new(&tight, &tight.bundles[0], sources, Options::default());
    let all = smallest(&laboratory, &Space { most_replicas: 1, ..Space::default() }, &|_| {}).expect("it can be");
    let found = capacity(&laboratory, &chosen(&all)).expect("it can be").expect("it meets the SLO");
    let clients = found.load_factor * 4.0;
    assert!(!found.is_at_least && (clients - clients.round()).abs() < 1e-9, "{found:?}");
    assert!((found.used * found.load_factor - 1.0).abs() < 1e-9, "{found:?}");
}

#[test]
fn what_fleets_bear_is_not_told_by_loads_that_are_too_short() {
    // All 3,000 come within a hundredth of what it takes to serve them.
    let load = "arrivals: Poisson(per_s: 20000), runs: 3000";
    let short = described(OWN, load, 600, "run_s: 30, share: 0.9");
    let prices = IndexMap::new();
    let sources = Sources { prices: &prices, files: &files };
    let laboratory = Laboratory::new(&short, &short.bundles[0], sources, Options::default());
    let all = smallest(&laboratory, &Space { most_replicas: 32, ..Space::default() }, &|_| {}).expect("it can be");
    let fleets = chosen(&all);
    let tried = laboratory.try_out(&fleets, Span::Whole, 1.0, 0).expect("it can be");
    assert!(tried.meets_slo == Some(true) && matches!(tried.verdict, Verdict::Unclear { .. }), "{:?}", tried.verdict);
    assert_eq!(capacity(&laboratory, &fleets).expect("it can be"), None);
}

#[test]
fn what_was_tried_is_told_again_only_where_the_same_is_asked() {
    let load = "arrivals: Poisson(per_s: 4), runs: 300";
    let scenario = described(OWN, load, 600, "run_s: 3, share: 0.95");
    let prices = IndexMap::new();
    let sources = || Sources { prices: &prices, files: &files };
    let fresh = || Laboratory::new(&scenario, &scenario.bundles[0], sources(), Options::default());
    let used = fresh();
    let one = chosen(&smallest(&used, &Space { most_replicas: 8, ..Space::default() }, &|_| {}).expect("it can be"));
    let mut two = one.clone();
    two[0].replicas += 1;
    let told = |laboratory: &Laboratory<'_>, fleets, factor, seed| {
        let results = laboratory.try_out(fleets, Span::Whole, factor, seed).expect("it can be");
        serde_json::to_string(&results).expect("it is told")
    };
    let mut all = Vec::new();
    for (fleets, factor, seed) in [(&one, 1.0, 0), (&two, 1.0, 0), (&one, 1.5, 0), (&one, 1.0, 1), (&one, 1.0, 0)] {
        let again = told(&used, fleets, factor, seed);
        assert_eq!(again, told(&fresh(), fleets, factor, seed));
        all.push(again);
    }
    assert_eq!(all[0], all[4]);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4, "each is another simulation");
}
