//! What runs cost: over which time machines are paid, which runs share the bill, and what is said where a price is unknown.

use indexmap::IndexMap;
use lumos_core::Usd;
use lumos_core::price::{Price, Rates, TokenPrice};
use lumos_sim::results::{Results, summarize};
use lumos_sim::{Options, simulate};

use super::scenarios::{ASK, BOUGHT, NO_MODELS, model_priced};

const OWN: &str = r#"Deployment(
    name: "own",
    backends: { "llama": Simulated(model: "llama-3.1-8b", hardware: "h100-sxm") },
    bind: { "*": "llama" },
)"#;

fn usd(text: &str) -> Usd {
    text.parse().expect("an amount")
}

/// A run each second, all of 200 tokens in and 11 out.
fn results(deployment: &str, price: &[(&str, Price)], workload: &str, services: &str) -> Results {
    arriving(deployment, price, &format!("arrivals: Constant(per_s: 1), {workload}"), 11, services)
}

/// Runs that arrive as `workload` says, all of 200 tokens in and `output` out.
fn arriving(deployment: &str, price: &[(&str, Price)], workload: &str, output: u32, services: &str) -> Results {
    let scenario = format!(
        r#"Scenario(
            name: "costs", workflow: "ask", deployments: ["it"],
            workload: ({workload}),
            nodes: {{ "say": (input_tokens: 200, output_tokens: {output}) }},
            services: {{ {services} }},
        )"#
    );
    let prices: IndexMap<String, Price> =
        price.iter().map(|(name, price)| ((*name).to_owned(), price.clone())).collect();
    let model =
        model_priced(ASK, deployment, &scenario, &prices).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
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

/// What is paid for busy time is what is paid without idle time, in all tables, and what machines worked.
fn busy_is_reserved_without_idle(found: &Results) -> Usd {
    let all = |of: fn(&lumos_sim::results::ServiceResult) -> Option<Usd>| found.services.iter().filter_map(of).sum();
    let (reserved, idle): (Usd, Usd) = (all(|it| it.reserved_usd), all(|it| it.idle_usd));
    let busy = found.cost_usd.expect("a price");
    assert_eq!(busy, reserved - idle);
    assert_eq!(busy, all(|it| it.cost_usd));
    assert_eq!(busy, found.nodes.iter().filter_map(|node| node.cost_usd).sum());
    assert_eq!(found.reserved_cost_usd, Some(reserved));
    let share = found.services[0].utilization.expect("machines");
    let nanos = |usd: Usd| usd.nanos() as f64;
    assert!((nanos(busy) / nanos(reserved) - share).abs() < 1e-3, "{busy} of {reserved}, active {share}");
    busy
}

#[test]
fn busy_machines_are_those_that_work_whichever_fail_scale_or_were_warmed_up() {
    let hourly = [("llama", Price::PerHour(usd("3.60")))];
    let load = "arrivals: Poisson(per_s: 8), runs: 4000";
    let with = |more: &str, workload: &str, services: &str| {
        arriving(&OWN.replace("h100-sxm\"", &format!("l40s\", {more}")), &hourly, workload, 60, services)
    };
    let one = busy_is_reserved_without_idle(&with("replicas: 1", load, ""));
    let down: Vec<String> = (1..8).map(|replica| format!("(replica: {replica}, from_s: 0, for_s: 86400)")).collect();
    let down = format!("\"llama\": Replicas(outages: [{}])", down.join(", "));
    let out = with("replicas: 8", load, &down);
    assert_eq!(busy_is_reserved_without_idle(&out), one, "seven that are down do nothing");
    assert!(out.reserved_cost_usd > one.scaled(7, 1));
    let scaled = with("scaling: (min: 1, max: 6, target: 4, cold_start_s: 5, idle_s: 3)", load, "");
    busy_is_reserved_without_idle(&scaled);
    assert!(scaled.services[0].replicas.expect("replicas").most_replicas > 1);
    busy_is_reserved_without_idle(&with("replicas: 3", &format!("{load}, warmup_runs: 1500"), ""));
    // Two servers of one machine that has a price, half of whose time is idle.
    let station = "\"llama\": Station(servers: 2)";
    let desk = arriving(OWN, &hourly, "arrivals: Constant(per_s: 1), runs: 1000", 60, station);
    assert_eq!(desk.reserved_cost_usd, usd("0.001").scaled((desk.measured_s * 1e6) as u64, 1_000_000));
    let api = [("api", Price::PerHour(usd("3.60")))];
    let rented = results(BOUGHT, &api, "runs: 1000", "\"api\": Api(ttft_s: 0.25)");
    // A quarter of a second each, of a machine that costs a tenth of a cent per second.
    assert_eq!((rented.cost_usd, rented.services[0].cost_usd), (Some(usd("0.25")), Some(usd("0.25"))));
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
    let none = results(BOUGHT, &[("api", by_token())], "runs: 20", "\"api\": Api(ttft_s: 1, fail: 1)");
    assert_eq!((none.succeeded, none.cost_usd, none.cost_per_succeeded_run_usd), (0, Some(Usd::ZERO), None));
}

/// Prompts of 6,000 tokens, `shared` of which come again each second, at an API that keeps them as `cache` says.
fn shared(backend: &str, shared: u32, cache: &str) -> Results {
    let deployment = format!(r#"Deployment(name: "it", backends: {{ "api": {backend} }}, bind: {{ "*": "api" }})"#);
    let scenario = format!(
        r#"Scenario(
            name: "costs", workflow: "ask", deployments: ["it"],
            workload: (arrivals: Constant(per_s: 1), runs: 101),
            nodes: {{ "say": (input_tokens: 6000, output_tokens: 5, shared_tokens: {shared}) }},
            services: {{ "api": Api(ttft_s: 0.25, cache_ttl_s: 300{cache}) }},
        )"#
    );
    let rates = Rates { input: usd("1"), cached_input: Some(usd("0.1")), output: Some(Usd::ZERO), ..Rates::default() };
    let price = Price::Tokens(Box::new(TokenPrice::flat(rates)));
    let prices = [("api".to_owned(), price)].into_iter().collect();
    let model = model_priced(ASK, &deployment, &scenario, &prices).unwrap_or_else(|it| panic!("{}", it.join("\n")));
    let measures = simulate(&model, Options::default()).expect("it can be");
    summarize(&model, &measures, 1.0, &[0])
}

#[test]
fn prompts_that_are_shorter_than_a_provider_keeps_are_paid_in_full() {
    let backend = |provider: &str, model: &str, more: &str| {
        format!(r#"Remote(provider: {provider}, model: "{model}", api_key: Env("KEY"){more})"#)
    };
    let asked = ", prompt_cache: FiveMinutes";
    for (backend, tokens, cache, expected) in [
        (backend("OpenAi", "gpt-4o-mini", ""), 160, "", 0),
        (backend("OpenAi", "gpt-4o-mini", ""), 1023, "", 0),
        (backend("OpenAi", "gpt-4o-mini", ""), 1300, "", 1280),
        // Steps are the provider's, whatever is said of the shortest.
        (backend("OpenAi", "gpt-4o-mini", ""), 1300, ", cache_min_tokens: 1024", 1280),
        (backend("OpenAi", "gpt-4o-mini", ""), 160, ", cache_min_tokens: 0", 128),
        (backend("OpenAi", "gpt-4o-mini", ""), 160, ", cache_min_tokens: 0, cache_step_tokens: 1", 160),
        (backend("OpenAi", "gpt-4o-mini", ""), 1300, ", cache_step_tokens: 1", 1300),
        (backend("OpenAi", "gpt-6-sol", ""), 1300, "", 1300),
        (backend("OpenAi", "gpt-6-sol", ""), 1300, ", cache_min_tokens: 0", 1300),
        (backend("OpenAi", "gpt-4o-mini", ""), 160, ", cache_min_tokens: 100, cache_step_tokens: 50", 150),
        (backend("Anthropic", "claude-haiku-4-5-20251001", asked), 4000, "", 0),
        (backend("Anthropic", "claude-haiku-4-5-20251001", asked), 4100, "", 4100),
        (backend("Anthropic", "claude-sonnet-4-5", asked), 1100, "", 1100),
        // Nobody asks for it.
        (backend("Anthropic", "claude-sonnet-4-5", ""), 1100, "", 0),
        (backend("Gemini", "gemini-2.5-flash", ""), 2000, "", 0),
        (backend("Gemini", "gemini-2.5-flash", ""), 2050, "", 2050),
        (
            r#"Remote(provider: OpenAiCompatible, base_url: "http://127.0.0.1:1/v1", model: "m")"#.to_owned(),
            160,
            "",
            160,
        ),
    ] {
        let found = shared(&backend, tokens, cache);
        // The first prompt has nobody to share with.
        assert_eq!(found.nodes[0].cached_input_tokens, 100 * expected, "{backend}, {tokens} tokens{cache}");
        let nanos = 101 * 6_000_000 - 100 * i128::from(expected) * 900;
        assert_eq!(found.cost_usd, Some(Usd::from_nanos(nanos)), "{backend}, {tokens} tokens{cache}");
        let assumed = found.assumptions.iter().any(|it| it.starts_with("`api` keeps "));
        let is_said = cache.contains("cache_min_tokens")
            && (cache.contains("cache_step_tokens") || !backend.contains("gpt-4o-mini"));
        assert_eq!(assumed, !is_said, "{backend}{cache}: {:?}", found.assumptions);
    }
}

#[test]
fn a_station_in_the_place_of_an_api_is_paid_by_the_token_as_that_is() {
    let found = results(BOUGHT, &[("api", by_token())], "runs: 600", "\"api\": Station(servers: 4)");
    assert_eq!((found.cost_usd, found.cost_per_succeeded_run_usd), (Some(usd("0.6")), Some(usd("0.001"))));
    assert_eq!((found.nodes[0].input_tokens, found.nodes[0].cost_usd), (600 * 200, Some(usd("0.6"))));
    assert_eq!(found.nodes[0].ttft_s, None, "nobody knows when its first token is there");
    let text = r#"Scenario(
        name: "s", workflow: "ask", deployments: ["it"], workload: (arrivals: Constant(per_s: 1), runs: 20),
        nodes: { "say": (duration_s: 1) }, services: { "api": Station(servers: 1) },
    )"#;
    let prices = [("api".to_owned(), by_token())].into_iter().collect();
    let problems = model_priced(ASK, BOUGHT, text, &prices).map(|_| ()).expect_err("no lengths, no price");
    assert!(problems[0].contains("`say` asks a model, and nothing says how many input tokens"), "{problems:?}");
}

#[test]
fn where_nothing_has_a_price_nothing_costs_zero() {
    let tool =
        r#"Workflow(name: "ask", nodes: { "say": Tool(agent: "work", with: { "expression": "1" }) }, output: "done")"#;
    let scenario = r#"Scenario(
        name: "s", workflow: "ask", deployments: ["it"], workload: (arrivals: Constant(per_s: 1), runs: 20),
        nodes: { "say": (service: "desk", duration_s: 1) }, services: { "desk": Station(servers: 2) },
    )"#;
    let model = model_priced(tool, NO_MODELS, scenario, &IndexMap::new()).expect("it can be");
    let measures = simulate(&model, Options::default()).expect("it can be");
    let found = summarize(&model, &measures, 1.0, &[0]);
    assert_eq!((found.cost_usd, found.reserved_cost_usd, found.cost_complete), (None, None, true));
    assert_eq!((found.nodes[0].cost_usd, found.services[0].cost_usd), (None, None));
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
