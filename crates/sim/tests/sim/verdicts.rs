//! What is called stable, overloaded, unstable, or too short to tell, and which service is blamed.

use lumos_sim::results::{Bottleneck, Results, Span, Verdict, summarize};
use lumos_sim::{Options, simulate};

use super::scenarios::{ASK, NO_MODELS, model};

/// One station after another.
const TWO: &str = r#"Workflow(
    name: "two",
    nodes: {
        "first": Tool(agent: "work", with: { "expression": "1" }),
        "second": Tool(agent: "work", after: ["first"], with: { "expression": "1" }),
    },
    output: "done",
)"#;

fn judged(workflow: &str, deployment: &str, scenario: &str, seeds: u64) -> Verdict {
    found(workflow, deployment, scenario, seeds).verdict
}

fn found(workflow: &str, deployment: &str, scenario: &str, seeds: u64) -> Results {
    let model = model(workflow, deployment, scenario).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    let with = |seed| simulate(&model, Options { seed, ..Options::default() }).expect("it can be");
    let mut found = with(1);
    (2..=seeds).for_each(|seed| found.merge(&with(seed)));
    let seeds: Vec<u64> = (1..=seeds).collect();
    let results = summarize(&model, &found, 1.0, &seeds);
    if let (Verdict::Overloaded { spans }, Some(desk)) = (&results.verdict, results.services.first())
        && desk.kind == "station"
    {
        let most = spans.iter().filter(|span| span.service == desk.service).map(|span| span.most_waiting).max();
        assert!(most.is_none_or(|most| most == desk.most_there - 1), "one is served: {spans:?}");
    }
    assert_eq!(results.latency_s.is_none(), matches!(results.verdict, Verdict::Unstable { .. }));
    assert!(results.good_share.is_none() || !matches!(results.verdict, Verdict::Unstable { .. }));
    results
}

/// Stations with one server each, whose services take exponential times of these means.
fn stations(arrivals: &str, runs: u64, first: f64, second: f64, seeds: u64) -> Verdict {
    let scenario = format!(
        r#"Scenario(
            name: "queue", workflow: "two", deployments: ["none"],
            workload: (arrivals: {arrivals}, runs: {runs}),
            nodes: {{
                "first": (service: "desk", duration_s: Exponential(mean: {first})),
                "second": (service: "till", duration_s: Exponential(mean: {second})),
            }},
            services: {{ "desk": Station(servers: 1), "till": Station(servers: 1) }},
            slo: (run_s: 1000),
        )"#
    );
    judged(TWO, NO_MODELS, &scenario, seeds)
}

fn blamed(verdict: &Verdict) -> Vec<&str> {
    match verdict {
        Verdict::Unstable { services, .. } => services.iter().map(|it| it.service.as_str()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_queue_at_95_percent_of_its_capacity_is_never_called_unstable() {
    for seeds in [1, 5] {
        for runs in [100, 1_000, 5_000, 100_000] {
            let verdict = stations("Poisson(per_s: 0.95)", runs, 1.0, 0.5, seeds);
            assert!(!matches!(verdict, Verdict::Unstable { .. }), "{runs} runs, {seeds} seeds: {verdict:?}");
            assert!(runs < 100_000 || verdict == Verdict::Stable, "{verdict:?}");
        }
    }
    // Bursts make long queues too.
    let verdict = stations("Gamma(per_s: 0.8, cv: 4)", 50_000, 1.0, 0.5, 1);
    assert_eq!(verdict, Verdict::Stable);
    assert_eq!(stations("OnOff(per_s: 2, on_s: 30, off_s: 60)", 50_000, 1.0, 0.5, 1), Verdict::Stable);
}

#[test]
fn the_service_whose_own_queue_grows_is_blamed_whatever_comes_before_or_after_it() {
    for (first, second, expected) in [(1.2, 0.5, "desk"), (0.5, 1.2, "till")] {
        let verdict = stations("Poisson(per_s: 1)", 20_000, first, second, 1);
        let Verdict::Unstable { runs_per_s, services } = &verdict else { panic!("{verdict:?}") };
        let [Bottleneck { service, load, requests_per_s }] = services.as_slice() else { panic!("{services:?}") };
        assert_eq!(service, expected);
        // A load of 1.2 leaves a sixth.
        assert!(
            (load.expect("it is seen") - 1.2).abs() < 0.03 && (requests_per_s - 1.0 / 6.0).abs() < 0.03,
            "{verdict:?}"
        );
        assert!((runs_per_s - 1.0 / 6.0).abs() < 0.04, "{verdict:?}");
    }
    // What comes out of the first is more than the second can take.
    assert_eq!(blamed(&stations("Poisson(per_s: 1)", 20_000, 1.2, 2.4, 1)), ["till", "desk"]);
}

#[test]
fn short_loads_far_beyond_capacity_are_unstable_and_shorter_ones_too_short_to_tell() {
    for (arrivals, runs) in [("Poisson(per_s: 10)", 60), ("Constant(per_s: 10)", 20), ("Poisson(per_s: 3)", 100)] {
        let verdict = stations(arrivals, runs, 1.0, 0.1, 1);
        assert_eq!(blamed(&verdict), ["desk"], "{arrivals}, {runs} runs: {verdict:?}");
    }
    let verdict = stations("Constant(per_s: 10)", 6, 10.0, 0.1, 1);
    assert_eq!(verdict, Verdict::Unclear { services: vec!["desk".to_owned()] });
    // Hardly more than can be served, and not for long.
    let verdict = stations("Poisson(per_s: 1.05)", 1000, 1.0, 0.5, 1);
    assert_eq!(verdict, Verdict::Unclear { services: vec!["desk".to_owned()] });
    assert_eq!(blamed(&stations("Poisson(per_s: 1.02)", 40_000, 1.0, 0.5, 4)), ["desk"], "longer, with more seeds");
}

#[test]
fn clients_that_wait_for_their_runs_never_make_a_queue_grow_without_bound() {
    assert_eq!(stations("Closed(clients: 9, think_s: 0)", 300, 1.0, 0.5, 1), Verdict::Stable);
}

fn asked(backend: &str, workload: &str, output: u32, service: &str) -> Verdict {
    answered(backend, workload, output, service).verdict
}

fn answered(backend: &str, workload: &str, output: u32, service: &str) -> Results {
    let deployment = format!(r#"Deployment(name: "it", backends: {{ "it": {backend} }}, bind: {{ "*": "it" }})"#);
    let scenario = format!(
        r#"Scenario(
            name: "s", workflow: "ask", deployments: ["it"], workload: ({workload}),
            nodes: {{ "say": (input_tokens: 200, output_tokens: {output}) }},
            services: {{ {service} }}, slo: (run_s: 1000),
        )"#
    );
    found(ASK, &deployment, &scenario, 1)
}

const REMOTE: &str = r#"Remote(provider: OpenAi, model: "m", api_key: Env("KEY"), LIMITS)"#;

#[test]
fn an_api_that_nothing_limits_is_stable_while_its_pipeline_fills() {
    let api = REMOTE.replace("LIMITS", "");
    for (runs, ttft_s) in [(50, 0.41), (300, 20.0), (5, 0.1)] {
        let service = format!("\"it\": Api(ttft_s: {ttft_s})");
        for arrivals in ["Constant(per_s: 100)", "Poisson(per_s: 100)"] {
            let verdict = asked(&api, &format!("arrivals: {arrivals}, runs: {runs}"), 10, &service);
            assert_eq!(verdict, Verdict::Stable, "{runs} runs of {ttft_s} s");
        }
    }
}

#[test]
fn a_limit_by_the_minute_is_compared_with_what_is_asked_for_even_while_a_full_bucket_hides_it() {
    let limited = REMOTE.replace("LIMITS", "limits: (rpm: 600)");
    let service = "\"it\": Api(ttft_s: 0.1)";
    // Ten a second pass, and 600 at once: nobody has waited yet after half a minute.
    let verdict = asked(&limited, "arrivals: Poisson(per_s: 20), runs: 600", 10, service);
    let Verdict::Unstable { services, .. } = &verdict else { panic!("{verdict:?}") };
    assert!(services[0].service == "it" && (services[0].load.unwrap_or(0.0) - 2.0).abs() < 0.2, "{verdict:?}");
    assert_eq!(asked(&limited, "arrivals: Poisson(per_s: 9), runs: 5000", 10, service), Verdict::Stable);
    assert_eq!(asked(&limited, "arrivals: Constant(per_s: 10), runs: 5000", 10, service), Verdict::Stable);
    let tokens = REMOTE.replace("LIMITS", "limits: (output_tpm: 6000)");
    assert_eq!(blamed(&asked(&tokens, "arrivals: Poisson(per_s: 2), runs: 2000", 100, service)), ["it"]);
    assert_eq!(asked(&tokens, "arrivals: Poisson(per_s: 0.9), runs: 2000", 100, service), Verdict::Stable);
}

const REPLICA: &str = r#"Simulated(model: "llama-3.1-8b", hardware: "l40s", max_seqs: 8)"#;

#[test]
fn replicas_are_unstable_when_requests_wait_for_a_place_and_not_while_batches_fill() {
    assert_eq!(asked(REPLICA, "arrivals: Poisson(per_s: 0.5), runs: 2000", 100, ""), Verdict::Stable);
    let verdict = asked(REPLICA, "arrivals: Poisson(per_s: 20), runs: 2000", 100, "");
    let Verdict::Unstable { services, .. } = &verdict else { panic!("{verdict:?}") };
    // Eight at a time, each of which takes three seconds.
    let load = services[0].load.expect("some have ended");
    assert!(services[0].service == "it" && (5.0..12.0).contains(&load), "{verdict:?}");
    // Five that come within a second and take three.
    let verdict = asked(REPLICA, "arrivals: Constant(per_s: 5), runs: 7", 300, "");
    assert_eq!(verdict, Verdict::Stable);
    let verdict = asked(&REPLICA.replace(", max_seqs: 8", ""), "arrivals: Constant(per_s: 50), runs: 100", 400, "");
    assert_eq!(verdict, Verdict::Unclear { services: vec!["it".to_owned()] });
}

/// Replicas that come with the load, a minute and a half after they are asked for.
fn scaled(max_seqs: u32) -> String {
    let scaling = "scaling: (min: 1, max: 4, target: 8, cold_start_s: 90)";
    REPLICA.replace("max_seqs: 8", &format!("max_seqs: {max_seqs}, {scaling}"))
}

#[test]
fn a_queue_that_grows_until_replicas_have_started_says_nothing() {
    let load = |runs: u32| format!("arrivals: Poisson(per_s: 60), runs: {runs}");
    let unclear = Verdict::Unclear { services: vec!["it".to_owned()] };
    // One replica serves half of it, four all of it: after half a minute, when they serve, and when they have caught up.
    for (runs, expected) in [(2000, &unclear), (6000, &unclear), (30_000, &Verdict::Stable)] {
        assert_eq!(&asked(&scaled(128), &load(runs), 100, ""), expected, "{runs} runs");
    }
    // Four don't either.
    assert_eq!(asked(&scaled(32), &load(2000), 100, ""), unclear);
    let results = answered(&scaled(32), &load(30_000), 100, "");
    let Verdict::Unstable { services, .. } = &results.verdict else { panic!("{:?}", results.verdict) };
    let load = services[0].load.expect("it is seen");
    // What all four carry, not what was carried while they started.
    let per_s = results.throughput_per_s;
    assert!((1.2..2.0).contains(&load) && load * per_s < 60.0, "{load} times {per_s}");
}

#[test]
fn a_queue_behind_replicas_that_catch_up_says_nothing() {
    let workflow = ASK.replace(
        "},\n    output",
        ", \"note\": Tool(agent: \"work\", after: [\"say\"], with: { \"expression\": \"1\" }) },\n    output",
    );
    let verdict = |backend: &str, runs: u32, note_s: f64| {
        let deployment = format!(r#"Deployment(name: "it", backends: {{ "it": {backend} }}, bind: {{ "*": "it" }})"#);
        let scenario = format!(
            r#"Scenario(
                name: "s", workflow: "ask", deployments: ["it"], workload: (arrivals: Poisson(per_s: 60), runs: {runs}),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 100), "note": (service: "desk", duration_s: {note_s}) }},
                services: {{ "desk": Station(servers: 1) }}, slo: (run_s: 1000),
            )"#
        );
        judged(&workflow, &deployment, &scenario, 1)
    };
    // The desk bears 70 a second, and is given more while the replicas work off what had waited for them.
    for runs in [7000, 8000, 9000] {
        let verdict = verdict(&scaled(128), runs, 1.0 / 70.0);
        assert!(!matches!(verdict, Verdict::Unstable { .. }), "{runs} runs: {verdict:?}");
    }
    assert_eq!(verdict(&scaled(128), 60_000, 1.0 / 70.0), Verdict::Stable);
    assert_eq!(blamed(&verdict(&scaled(128), 30_000, 1.0 / 50.0)), ["desk"], "that bears less than comes");
}

#[test]
fn a_queue_that_grows_while_something_is_down_says_nothing() {
    let outage = "\"it\": Replicas(outages: [(replica: 0, from_s: 10, for_s: 300)])";
    let two = REPLICA.replace("max_seqs: 8", "max_seqs: 64, replicas: 2");
    for (runs, is_told) in [(2000, false), (60_000, true)] {
        let verdict = asked(&two, &format!("arrivals: Poisson(per_s: 24), runs: {runs}"), 100, outage);
        assert_eq!(matches!(verdict, Verdict::Overloaded { .. }), is_told, "{verdict:?}");
        assert_eq!(matches!(verdict, Verdict::Unclear { .. }), !is_told, "{verdict:?}");
    }
}

#[test]
fn an_overload_is_what_comes_over_what_is_carried_whether_or_not_batches_are_full() {
    let large = REPLICA.replace("max_seqs: 8", "max_seqs: 256");
    for (runs, per_s, output) in [(2000, 60, 300), (8000, 60, 300), (8000, 60, 1200), (3000, 300, 900)] {
        let results = answered(&large, &format!("arrivals: Poisson(per_s: {per_s}), runs: {runs}"), output, "");
        let Verdict::Unstable { runs_per_s, services } = &results.verdict else { panic!("{:?}", results.verdict) };
        let Bottleneck { load, requests_per_s, .. } = services[0];
        let (came, carried) = (results.runs as f64 / results.duration_s, results.throughput_per_s);
        let says = format!("{runs} of {output}: {:?}, {came} come and {carried} go", results.verdict);
        assert!((load.expect("it is seen") * carried / came - 1.0).abs() < 0.1, "{says}");
        for grows in [*runs_per_s, requests_per_s] {
            assert!((grows + carried - came).abs() < 0.1 * carried && grows < came, "{says}");
        }
    }
}

#[test]
fn all_that_is_told_is_the_same_iteration_by_iteration() {
    let day = "arrivals: Diurnal(per_s: 6, peak: 1.9, peak_h: 0.1, day_h: 0.2), duration_s: 720, warmup_runs: 100";
    let scaling = "scaling: (min: 1, max: 3, target: 12, cold_start_s: 20, idle_s: 10)";
    let outage = "\"it\": Replicas(outages: [(replica: 0, from_s: 100, for_s: 60)])";
    for (policy, more, workload, services) in [
        ("", "max_seqs: 8, replicas: 2", day, ""),
        ("timeout_s: 8, retry: (attempts: 2)", "max_seqs: 8, replicas: 2", day, outage),
        ("hedge_after_ms: 6000", scaling, day, ""),
        ("", "max_seqs: 4, engine: \"vllm-sync\"", "arrivals: Poisson(per_s: 3), runs: 700", ""),
    ] {
        let workflow = ASK.replace("input:", &format!("{policy}{} input:", if policy.is_empty() { "" } else { "," }));
        let deployment = format!(
            r#"Deployment(name: "it", backends: {{ "it": Simulated(model: "llama-3.1-8b", hardware: "l40s", {more},
                cost: PerHour(usd: "0.90")) }}, bind: {{ "*": "it" }})"#
        );
        let scenario = format!(
            r#"Scenario(
                name: "s", workflow: "ask", deployments: ["it"], workload: ({workload}),
                nodes: {{ "say": (input_tokens: Uniform(min: 50, max: 900), output_tokens: LogNormal(mean: 60, cv: 0.5)) }},
                services: {{ {services} }}, slo: (run_s: 5, share: 0.9),
            )"#
        );
        let usd = "0.90".parse().expect("an amount");
        let prices = [("it".to_owned(), lumos_core::price::Price::PerHour(usd))].into_iter().collect();
        let model = super::scenarios::model_priced(&workflow, &deployment, &scenario, &prices)
            .unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let told = |stepwise| {
            let found = simulate(&model, Options { stepwise, ..Options::default() }).expect("it can be");
            serde_json::to_string_pretty(&summarize(&model, &found, 1.0, &[0])).expect("it is told")
        };
        let (fast, stepwise) = (told(false), told(true));
        let differs: Vec<_> = fast.lines().zip(stepwise.lines()).filter(|(a, b)| a != b).collect();
        assert!(differs.is_empty(), "{policy} {more}: {differs:?}");
    }
}

#[test]
fn a_day_whose_peak_is_too_much_is_overloaded_for_some_hours() {
    let day = |per_s: f64, days: u32| {
        format!("Diurnal(per_s: {per_s}, peak: 1.8, peak_h: 12), duration_s: {}", 86_400 * days)
    };
    let spans = |verdict: Verdict| match verdict {
        Verdict::Overloaded { spans } => spans,
        verdict => panic!("{verdict:?}"),
    };
    // 0.07 per second on average, 0.126 at noon, and 0.1 can be served.
    let found = spans(stations(&day(0.07, 1), 1_000_000, 10.0, 1.0, 1));
    let [Span { service, from_s, to_s, worked_off_s: Some(off_s), most_waiting }] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(service, "desk");
    // By the cosine, more than 0.1 arrives between 8:02 and 15:58.
    let hours = [from_s, to_s, off_s].map(|seconds| seconds / 3600.0);
    assert!((7.3..8.9).contains(&hours[0]) && (14.5..17.5).contains(&hours[1]), "{found:?}");
    assert!((17.0..22.0).contains(&hours[2]) && *most_waiting > 300, "{found:?}");
    // Twenty times as many, each of which takes a twentieth: chance hides less of when it begins.
    let found = spans(stations(&day(1.4, 1), 1_000_000, 0.5, 0.05, 1));
    let [Span { from_s, most_waiting, .. }] = found.as_slice() else { panic!("{found:?}") };
    assert!((7.6..8.5).contains(&(from_s / 3600.0)), "{found:?}");
    // All that comes above two a second between 8:02 and 15:58.
    assert!((9_000..10_000).contains(most_waiting), "{found:?}");
    assert_eq!(spans(stations(&day(0.07, 3), 1_000_000, 10.0, 1.0, 1)).len(), 3, "every day");
    assert_eq!(stations(&day(0.04, 1), 1_000_000, 10.0, 1.0, 1), Verdict::Stable);
    let verdict = stations(&day(0.12, 1), 1_000_000, 10.0, 1.0, 1);
    assert_eq!(blamed(&verdict), ["desk"], "each day leaves more than the night works off: {verdict:?}");
}

#[test]
fn a_day_is_judged_as_a_whole_whatever_is_down_for_a_part_of_it() {
    let limited = REMOTE.replace("LIMITS", "limits: (concurrency: 2)");
    let api = |outages: &str| format!("\"it\": Api(ttft_s: 0.5, tokens_per_s: 100, {outages})");
    let profile = |outages: &str| format!("\"it\": Profile(file: \"measured\", {outages})");
    let slower = "outages: [(from_s: 2700, for_s: 30, slower: 2)]";
    let down = "outages: [(replica: 0, from_s: 2700, for_s: 30)]";
    let day = "arrivals: Diurnal(per_s: 1.75, peak: 1.9, peak_h: 0.5, day_h: 1), duration_s: 3600";
    for workload in [day, "arrivals: Trace(file: \"day\")"] {
        // Both bear two a second: more than come on average, and fewer than around half past.
        for (service, output) in [(api(""), 50), (api(slower), 50), (profile(""), 5), (profile(down), 5)] {
            let results = answered(&limited, workload, output, &service);
            let Verdict::Overloaded { spans } = &results.verdict else { panic!("{service}: {:?}", results.verdict) };
            assert!(spans[0].most_waiting > 100 && spans[0].to_s < 2800.0, "{service}: {spans:?}");
            assert!(results.good_share >= Some(0.9), "{service}: {:?}", results.good_share);
        }
        // Three in two seconds are too few, with and without.
        for outages in ["", slower] {
            let service = api(outages);
            let verdict = asked(&limited, workload, 90, &service);
            let expected: &[&str] = if workload == day { &["it"] } else { &[] };
            assert_eq!(blamed(&verdict), expected, "nobody comes after a trace: {verdict:?}");
        }
    }
}

#[test]
fn what_a_day_leaves_is_told_of_all_of_it_whenever_its_peak_is() {
    // 2.2 come each second on average, and two are served; after a peak in the morning the queue shrinks.
    let day = "arrivals: Diurnal(per_s: 2.2, peak: 1.9, peak_h: 0.25, day_h: 1), duration_s: 3600";
    let limited = REMOTE.replace("LIMITS", "limits: (concurrency: 2)");
    let verdict = asked(&limited, day, 50, "\"it\": Api(ttft_s: 0.5, tokens_per_s: 100)");
    let Verdict::Unstable { runs_per_s, services } = &verdict else { panic!("{verdict:?}") };
    let grows = services[0].requests_per_s;
    assert!(grows > 0.1 && (runs_per_s / grows - 1.0).abs() < 0.1, "{verdict:?}");
}

/// A desk that bears 1 / `desk_s` a second, then a model on two replicas that fail for a time.
fn a_desk_before_replicas(desk_s: f64, runs: u64, replicas: &str) -> Verdict {
    let workflow = r#"Workflow(
        name: "two",
        nodes: {
            "pre": Tool(agent: "work", with: { "expression": "1" }),
            "say": Generator(agent: "writer", after: ["pre"], input: "hello"),
        },
        output: "done",
    )"#;
    let deployment = format!(r#"Deployment(name: "it", backends: {{ "it": {REPLICA} }}, bind: {{ "*": "it" }})"#);
    let scenario = format!(
        r#"Scenario(
            name: "s", workflow: "two", deployments: ["it"], workload: (arrivals: Poisson(per_s: 1), runs: {runs}),
            nodes: {{
                "pre": (service: "desk", duration_s: Exponential(mean: {desk_s})),
                "say": (input_tokens: 200, output_tokens: 5),
            }},
            services: {{
                "desk": Station(servers: 1),
                "it": Profile(file: "measured", replicas: 2, outages: [{replicas}]),
            }},
            slo: (run_s: 1000),
        )"#
    );
    judged(workflow, &deployment, &scenario, 1)
}

#[test]
fn what_comes_later_and_is_down_floods_nobody_before_it() {
    let down = "(replica: 0, from_s: 500, for_s: 700), (replica: 1, from_s: 500, for_s: 700)";
    for outages in ["", down] {
        let verdict = a_desk_before_replicas(1.15, 4000, outages);
        assert_eq!(blamed(&verdict), ["desk"], "{outages}: {verdict:?}");
    }
    let verdict = a_desk_before_replicas(0.5, 4000, down);
    let Verdict::Overloaded { spans } = &verdict else { panic!("{verdict:?}") };
    let [Span { service, from_s, to_s, most_waiting, .. }] = spans.as_slice() else { panic!("{spans:?}") };
    assert!(service == "it" && (from_s - 500.0).abs() < 70.0 && (to_s - 1200.0).abs() < 70.0, "{spans:?}");
    assert!((600..800).contains(most_waiting), "they wait while nobody serves: {spans:?}");
}

#[test]
fn what_is_down_for_all_of_a_load_is_missed_for_ever() {
    let verdict = |per_s: f64, outage: &str| {
        let service = format!("\"it\": Profile(file: \"measured\", replicas: 2, outages: [{outage}])");
        asked(REPLICA, &format!("arrivals: Poisson(per_s: {per_s}), runs: 5000"), 5, &service)
    };
    // Of four a second that both bear, two.
    let for_ever = "(replica: 0, from_s: 0, for_s: 10000000)";
    let found = verdict(3.0, for_ever);
    let Verdict::Unstable { services, .. } = &found else { panic!("{found:?}") };
    assert!((services[0].load.expect("it is seen") - 1.5).abs() < 0.1, "{found:?}");
    assert!(!matches!(verdict(1.5, for_ever), Verdict::Unstable { .. } | Verdict::Unclear { .. }));
    // It comes back, and what has waited is worked off.
    assert!(matches!(verdict(3.0, "(replica: 0, from_s: 0, for_s: 400)"), Verdict::Overloaded { .. }));
}
