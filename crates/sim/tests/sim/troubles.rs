//! What goes wrong, waits, grows and scales, each written in a scenario.

use lumos_core::record::Status;
use lumos_sim::model::Model;
use lumos_sim::results::{Measures, summarize};
use lumos_sim::{Options, Traced, simulate, simulate_traced};

use super::scenarios::{ASK, BOUGHT, model};

const WORKFLOW: &str = r#"Workflow(
    name: "ask",
    nodes: { "say": Generator(agent: "writer", input: "hello", POLICY) },
    output: "done",
)"#;

const API: &str = r#"Deployment(
    name: "bought",
    backends: {
        "api": Remote(provider: OpenAi, model: "m", api_key: Env("KEY")),
        "other": Remote(provider: OpenAi, model: "n", api_key: Env("KEY")),
    },
    bind: { "*": "api" },
)"#;

/// Runs that arrive once a second, `runs` of them.
fn run(deployment: &str, policy: &str, runs: u64, more: &str) -> (Measures, Vec<Traced>) {
    load(deployment, policy, &format!("arrivals: Constant(per_s: 1), runs: {runs}"), "output_tokens: 11", more)
}

fn load(deployment: &str, policy: &str, workload: &str, profile: &str, more: &str) -> (Measures, Vec<Traced>) {
    let scenario = format!(
        r#"Scenario(
            name: "trouble", workflow: "ask", deployments: ["it"],
            workload: ({workload}),
            nodes: {{ "say": (input_tokens: 200, {profile}) }},
            services: {{ {more} }},
        )"#
    );
    let model = model(&WORKFLOW.replace("POLICY", policy), deployment, &scenario)
        .unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    let mut traced = Vec::new();
    let measures = simulate_traced(&model, Options::default(), &mut |run| traced.push(run)).expect("it can be");
    (measures, traced)
}

/// Seconds that runs took, in the order of their arrival.
fn seconds(mut traced: Vec<Traced>) -> Vec<f64> {
    traced.sort_by_key(|run| run.record.run_id.parse::<u64>().expect("a number"));
    traced.iter().map(|run| run.record.totals.duration_us as f64 / 1e6).collect()
}

#[test]
fn requests_during_an_outage_of_an_api_fail_unless_another_takes_them() {
    let api = "\"api\": Api(ttft_s: 0.25, outages: [(from_s: 20, for_s: 10)]), \"other\": Api(ttft_s: 0.5)";
    let (found, traced) = run(API, "", 100, api);
    assert_eq!((found.succeeded, found.failed), (90, 10));
    let failed = |run: &&Traced| run.record.status == Status::Failed;
    let begun: Vec<&str> = traced.iter().filter(failed).map(|run| &run.record.started_at[17..19]).collect();
    assert_eq!((begun.first(), begun.last()), (Some(&"20"), Some(&"29")));
    let (found, traced) = run(API, "fallback: [\"other\"]", 100, api);
    assert_eq!((found.succeeded, found.services[1].requests), (100, 10));
    assert_eq!(seconds(traced).iter().filter(|took| **took == 0.5).count(), 10, "by the other");
}

#[test]
fn a_brown_out_slows_down_what_is_sent_meanwhile() {
    let api = "\"api\": Api(ttft_s: 0.25, tokens_per_s: 100, outages: [(from_s: 20, for_s: 10, slower: 3)])";
    let took = seconds(run(API, "", 40, api).1);
    let expected: Vec<f64> = (0..40).map(|at| if (20..30).contains(&at) { 1.05 } else { 0.35 }).collect();
    assert_eq!(took, expected);
}

#[test]
fn a_batch_window_holds_requests_back_until_it_ends() {
    let took = seconds(run(API, "", 30, "\"api\": Api(ttft_s: 0.5, batch_window_s: 10)").1);
    let expected: Vec<f64> = (0..30).map(|at| f64::from((10 - at % 10) % 10) + 0.5).collect();
    assert_eq!(took, expected);
}

const REPLICAS: &str = r#"Deployment(
    name: "own",
    backends: { "llama": Simulated(model: "llama-3.1-8b", hardware: "l40s", MORE) },
    bind: { "*": "llama" },
)"#;

#[test]
fn a_replica_that_goes_down_loses_its_work_and_serves_again_later() {
    let own = REPLICAS.replace("MORE", "replicas: 1");
    let down = "\"llama\": Replicas(outages: [(replica: 0, from_s: 20.05, for_s: 5)])";
    let (usual, _) = run(&own, "", 60, "");
    assert_eq!(usual.succeeded, 60);
    let (found, traced) = run(&own, "", 60, down);
    // The one at 20 s is under way; those of 21 to 25 s wait for the replica.
    assert_eq!((found.succeeded, found.failed), (59, 1));
    let took = seconds(traced);
    for (at, waits) in [(19, 0.0), (21, 4.05), (25, 0.05), (26, 0.0)] {
        assert!((waits..waits + 1.5).contains(&took[at]), "the run of {at} s took {} s", took[at]);
    }
    let (found, _) = run(&own, "retry: (attempts: 2)", 60, down);
    assert_eq!((found.succeeded, found.nodes[0].again), (60, 1), "tried again");
    // With two replicas nobody waits.
    let (found, traced) = run(&own.replace("replicas: 1", "replicas: 2"), "retry: (attempts: 2)", 60, down);
    let most = seconds(traced).into_iter().fold(0.0, f64::max);
    assert!(found.succeeded == 60 && most < 4.0, "{most}");
}

#[test]
fn more_replicas_come_with_the_load_after_their_cold_start_and_go_again() {
    let burst = "arrivals: Constant(per_s: 20), runs: 400";
    let own = |cold: f64| {
        let scaling = format!("scaling: (min: 1, max: 6, target: 4, cold_start_s: {cold}, idle_s: 3)");
        let (found, traced) = load(&REPLICAS.replace("MORE", &scaling), "", burst, "output_tokens: 60", "");
        let pool = found.services[0].pool.expect("replicas");
        let mean = pool.provisioned_us as f64 / found.horizon_us as f64;
        let took = seconds(traced);
        (pool.peak_replicas, mean, took.iter().sum::<f64>() / took.len() as f64)
    };
    let (most, mean, quick) = own(0.0);
    assert!(most > 2 && mean > 1.5 && mean < f64::from(most), "{most} at most, {mean} on average");
    let (most, _, slow) = own(8.0);
    assert!(most > 2 && slow > quick * 1.02, "until others have started one serves all: {slow} s, {quick} s");
    let (found, _) = load(&REPLICAS.replace("MORE", "replicas: 1"), "", burst, "output_tokens: 60", "");
    assert_eq!(found.services[0].pool.expect("replicas").peak_replicas, 1, "without scaling");
}

#[test]
fn a_session_carries_its_growing_context_which_the_replica_still_has() {
    let talk = "arrivals: Constant(per_s: 0.02), runs: 40, sessions: (turns: 4, think_s: 2, growth_tokens: 300)";
    let own = |more: &str| {
        let (found, mut traced) =
            load(&REPLICAS.replace("MORE", more), "", talk, "output_tokens: 11, context: true, shared_tokens: 64", "");
        traced.sort_by_key(|run| run.record.run_id.parse::<u64>().expect("a number"));
        let tokens = |run: &Traced| {
            let usage = run.record.steps[0].attempts[0].usage;
            (usage.input_tokens.unwrap_or(0), usage.cached_input_tokens.unwrap_or(0))
        };
        assert_eq!(found.succeeded, 40);
        traced.iter().map(tokens).collect::<Vec<_>>()
    };
    let with = own("replicas: 1");
    for turns in with.chunks(4) {
        assert_eq!(turns.iter().map(|(input, _)| *input).collect::<Vec<_>>(), [200, 500, 800, 1100]);
        let cached: Vec<u64> = turns.iter().map(|(_, cached)| *cached).collect();
        assert!(cached.is_sorted() && cached[3] >= 700, "what was said before is still there: {cached:?}");
    }
    assert!(own("replicas: 1, prefix_cache: false").iter().all(|(_, cached)| *cached == 0));
}

#[test]
fn lengths_of_a_trace_are_those_of_whole_sessions_and_are_not_made_up() {
    let read = |file: &str, profile: &str, sessions: &str| {
        let scenario = format!(
            r#"Scenario(
                name: "s", workflow: "ask", deployments: ["it"], workload: (arrivals: Trace(file: "{file}"){sessions}),
                nodes: {{ "say": ({profile}) }}, services: {{ "api": Api(ttft_s: 0.1), "other": Api(ttft_s: 0.1) }},
            )"#
        );
        let model = model(&WORKFLOW.replace("POLICY", ""), API, &scenario)?;
        let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        let node = summarize(&model, &measures, 1.0, &[0]).nodes.remove(0);
        Ok::<_, Vec<String>>((node.input_tokens, node.output_tokens))
    };
    assert_eq!(read("talks", "", ""), Ok((300, 50)));
    let sessions = ", sessions: (turns: 2, think_s: 1, growth_tokens: 50)";
    assert_eq!(read("talks", "context: true", sessions), Ok((2 * 300 + 2 * 50, 100)));
    let unknown = read("silent", "output_tokens: 5", "").expect_err("the second prompt has no length");
    assert!(unknown[0].contains("run 2 of `silent` has no lengths"), "{unknown:?}");
    assert_eq!(read("silent", "input_tokens: 10, output_tokens: 5", ""), Ok((20, 10)));
}

#[test]
fn replicas_that_no_server_would_have_are_refused() {
    for (more, told) in [
        ("replicas: 1, max_batched_tokens: 100", "100 tokens has no room for one of each of"),
        ("replicas: 4000000000", "at most 100000 can be simulated"),
        ("replicas: 1, scaling: (min: 1, max: 100001, target: 4)", "at most 100000 can be simulated"),
    ] {
        let scenario = r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
            workload: (arrivals: Constant(per_s: 1), runs: 10), nodes: { "say": (input_tokens: 200, output_tokens: 5) })"#;
        let problems = model(&WORKFLOW.replace("POLICY", ""), &REPLICAS.replace("MORE", more), scenario)
            .map(|_| ())
            .expect_err(more);
        assert!(problems.len() == 1 && problems[0].contains(told), "{problems:?}");
    }
}

/// Runs with prompts and answers of these lengths, and what is said of them.
fn lengths(deployment: &str, policy: &str, profile: &str) -> (Measures, Vec<Traced>, Vec<String>) {
    let scenario = format!(
        r#"Scenario(
            name: "long", workflow: "ask", deployments: ["it"],
            workload: (arrivals: Constant(per_s: 1), runs: 20),
            nodes: {{ "say": ({profile}) }},
            services: {{ "other": Api(ttft_s: 0.5) }},
        )"#
    );
    let model = model(&WORKFLOW.replace("POLICY", policy), deployment, &scenario)
        .unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    let mut traced = Vec::new();
    let measures = simulate_traced(&model, Options::default(), &mut |run| traced.push(run)).expect("it can be");
    let warnings = summarize(&model, &measures, 1.0, &[0]).warnings;
    (measures, traced, warnings)
}

#[test]
fn what_does_not_fit_the_context_is_refused_as_a_server_would_and_a_fallback_takes_it() {
    let other = "MORE), \"other\": Remote(provider: OpenAi, model: \"n\", api_key: Env(\"KEY\")";
    let own = REPLICAS.replace("MORE", other).replace("MORE", "replicas: 1");
    // The agent allows 256 tokens, and the model 131,072 in all.
    let (found, traced, warnings) =
        lengths(&own, "retry: (attempts: 3)", "input_tokens: [100, 131000], output_tokens: 9");
    let long = found.nodes[0].too_long;
    assert!((3..18).contains(&long) && found.failed == long && found.succeeded == 20 - long, "{long}");
    assert_eq!(found.nodes[0].again, 0, "nobody tries that again");
    let says = "prompt and answer do not fit the model's context: 131000 + 256 tokens, and it has 131072";
    let errors = traced.iter().filter_map(|run| run.record.steps[0].attempts[0].error.as_ref());
    assert!(errors.clone().count() as u64 == long && errors.clone().all(|error| error.message == says), "{errors:?}");
    assert_eq!(warnings, [format!("`say`: {long} of 20 requests were refused: {says}")]);
    assert_eq!(
        (found.nodes[0].input_tokens, found.services[0].failed),
        (100 * (20 - long), long),
        "they are not billed"
    );
    let fit = lengths(&own, "", "input_tokens: 130816, output_tokens: 9").0;
    assert_eq!((fit.succeeded, fit.nodes[0].too_long), (20, 0));
    let (found, ..) = lengths(&own, "fallback: [\"other\"]", "input_tokens: 131000, output_tokens: 9");
    assert_eq!((found.succeeded, found.services[1].requests), (20, 20));
}

#[test]
fn what_does_not_fit_the_kv_cache_is_refused_with_a_reason() {
    let own = REPLICAS.replace("MORE", "memory_utilization: 0.45");
    let (found, _, warnings) = lengths(&own, "", "input_tokens: 60000, output_tokens: 9");
    assert_eq!((found.failed, found.nodes[0].too_long), (20, 20));
    assert!(
        warnings[0]
            .starts_with("`say`: 20 of 20 requests were refused: prompt and answer do not fit the KV cache: 60008"),
        "{warnings:?}"
    );
}

#[test]
fn answers_beyond_what_the_agent_allows_are_cut_and_that_is_said() {
    let own = REPLICAS.replace("MORE", "replicas: 1");
    let (found, _, warnings) = lengths(&own, "", "input_tokens: 100, output_tokens: [10, 300, 900]");
    let cut = found.nodes[0].cut;
    assert!((4..19).contains(&cut), "{cut}");
    let says = format!(
        "`say`: {cut} of 20 answers were to have up to 900 tokens and are cut at the agent's max_tokens of 256"
    );
    assert_eq!(warnings, [says]);
    assert_eq!(found.nodes[0].output_tokens, 256 * cut + 10 * (20 - cut));
    assert_eq!(lengths(&own, "", "input_tokens: 100, output_tokens: 256").2, Vec::<String>::new());
}

#[test]
fn an_attempt_that_times_out_has_a_row_and_its_tokens() {
    let own = REPLICAS.replace("MORE", "replicas: 1");
    let (found, traced) = run(&own, "timeout_s: 0.1", 20, "");
    let node = &found.nodes[0];
    assert_eq!((node.attempts, node.cancelled, found.failed), (20, 20, 20));
    let usage = |run: &Traced| run.record.steps[0].attempts[0].usage;
    let rows: (u64, u64) = traced
        .iter()
        .map(usage)
        .fold((0, 0), |sum, usage| (sum.0 + usage.input_tokens.unwrap_or(0), sum.1 + usage.output_tokens.unwrap_or(0)));
    assert_eq!((node.input_tokens, node.output_tokens), rows, "as in the rows");
    assert!(rows.0 == 20 * 200 && rows.1 > 0, "{rows:?}");
}

#[test]
fn intervals_are_between_parts_of_what_arrives_however_the_load_ends() {
    let half = |workload: &str| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"], workload: (arrivals: Poisson(per_s: 2), {workload}),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 40) }},
                services: {{ "api": Api(ttft_s: Exponential(mean: 1)) }})"#
        );
        let model = model(&WORKFLOW.replace("POLICY", ""), API, &scenario).expect("it can be");
        let found = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        let results = summarize(&model, &found, 1.0, &[0]);
        assert!((results.succeeded_per_s * results.measured_s - results.succeeded as f64).abs() < 1e-6);
        let times = results.latency_s.expect("some succeeded");
        assert_eq!(results.nodes[0].duration_s.expect("some succeeded").mean.half, times.mean.half);
        (results.runs, times.mean.half.expect("enough runs"))
    };
    let (runs, by_duration) = half("duration_s: 1000");
    // Exponential times of a second, independently of each other.
    let theory = 2.1 / (runs as f64).sqrt();
    assert!((0.5..1.6).contains(&(by_duration / theory)), "{by_duration} {theory}");
    assert_eq!(half("duration_s: 1000, runs: 1000000"), (runs, by_duration), "never reached");
    assert_eq!(half(&format!("runs: {runs}")), (runs, by_duration));
}

#[test]
fn waiting_is_told_where_it_is_seen_and_throughput_counts_what_succeeds() {
    let results = |deployment: &str, service: &str, fail: f64| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
                workload: (arrivals: Poisson(per_s: 0.7), runs: 200),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 40, fail: {fail}) }}, services: {{ {service} }})"#
        );
        let model = model(&WORKFLOW.replace("POLICY", ""), deployment, &scenario).expect("it can be");
        let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        summarize(&model, &measures, 1.0, &[0])
    };
    let waits = |deployment: &str, service: &str| results(deployment, service, 0.0).nodes[0].wait_s.map(|it| it.p95);
    // One sequence at a time, which takes most of a second: many a request finds it busy.
    let wait = waits(&REPLICAS.replace("MORE", "max_seqs: 1"), "").expect("replicas see who waits");
    assert!((0.2..60.0).contains(&wait), "{wait}");
    assert!(waits(&REPLICAS.replace("MORE", "replicas: 1"), "").expect("replicas see who waits") < 0.05);
    assert_eq!(waits(API, "\"api\": Api(ttft_s: 1)"), None, "nobody sees an API's queue");
    let limited = API.replace("\"m\",", "\"m\", limits: (concurrency: 1),");
    assert!(waits(&limited, "\"api\": Api(ttft_s: 1)").expect("lumos lets them wait") > 1.0);
    let found = results(API, "\"api\": Api(ttft_s: 1)", 0.5);
    let share = found.succeeded as f64 / 200.0;
    assert!((0.3..0.7).contains(&share) && (found.succeeded_per_s / found.throughput_per_s - share).abs() < 1e-9);
}

#[test]
fn a_day_that_its_number_of_runs_ends_early_is_said() {
    let day = |per_s: f64| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
                workload: (arrivals: Constant(per_s: {per_s}), runs: 3600, duration_s: 3600),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 40) }}, services: {{ "api": Api(ttft_s: 0.1) }})"#
        );
        let model = model(&WORKFLOW.replace("POLICY", ""), API, &scenario).expect("it can be");
        let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        summarize(&model, &measures, 1.0, &[0]).warnings
    };
    assert_eq!(day(1.0), Vec::<String>::new());
    let says =
        "the workload's `runs`, 3600, had arrived after 0.83 h of the 1.00 h that it was to last: the rest is left out";
    assert_eq!(day(1.2), [says]);
}

#[test]
fn a_part_of_a_day_is_said_to_be_one() {
    let day = |hours: f64| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
                workload: (arrivals: Diurnal(per_s: 1, peak: 1.5, peak_h: 0.5, day_h: 1), duration_s: {}),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 4) }}, services: {{ "api": Api(ttft_s: 0.1) }})"#,
            hours * 3600.0
        );
        let model = model(&WORKFLOW.replace("POLICY", ""), API, &scenario).expect("it can be");
        let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        summarize(&model, &measures, 1.0, &[0]).warnings
    };
    for whole in [1.0, 2.0] {
        assert_eq!(day(whole), Vec::<String>::new(), "{whole} h");
    }
    for (part, says) in [(0.25, "0.25 days"), (1.5, "1.50 days")] {
        let warnings = day(part);
        assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
    }
}

#[test]
fn a_local_model_reads_at_once_what_a_format_prescribes() {
    let results = |backend: &str, prescribed: &str| {
        let deployment = format!(r#"Deployment(name: "it", backends: {{ "it": {backend} }}, bind: {{ "*": "it" }})"#);
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
                workload: (arrivals: Constant(per_s: 0.5), runs: 10),
                nodes: {{ "say": (input_tokens: 50, output_tokens: 41{prescribed}) }},
                services: {{ "it": Profile(file: "measured") }})"#
        );
        let model = model(&WORKFLOW.replace("POLICY", ""), &deployment, &scenario)?;
        let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        Ok::<_, Vec<String>>(summarize(&model, &measures, 1.0, &[0]))
    };
    let figures = |backend: &str, prescribed: &str| {
        let found = results(backend, prescribed).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let node = &found.nodes[0];
        let of = |percentiles: &Option<lumos_sim::results::Percentiles>| percentiles.expect("it was answered").p50;
        (of(&node.ttft_s), of(&node.tpot_ms), node.input_tokens, node.output_tokens)
    };
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
    let local = r#"Local(model: "m")"#;
    let (ttft, tpot, ..) = figures(local, "");
    assert!(near(ttft, 0.1) && near(tpot, 20.0), "{ttft} {tpot}");
    // Of 41 tokens 21 are read at 2 ms each, and 19 generated after the first.
    let (ttft, tpot, input, output) = figures(local, ", prescribed: 0.5");
    assert!(near(ttft, 0.142) && near(tpot, 9.5), "{ttft} {tpot}");
    assert_eq!((input, output), (500, 410), "what is counted and paid stays the same");
    let (_, tpot, ..) = figures(r#"Remote(provider: OpenAi, model: "m", api_key: Env("KEY"))"#, ", prescribed: 0.5");
    assert!(near(tpot, 20.0), "a server generates them one by one: {tpot}");
    let wrong = results(local, ", prescribed: 1.5").map(|_| ()).expect_err("more than all");
    assert!(wrong[0].contains("the share is 1.5"), "{wrong:?}");
}

#[test]
fn choosing_tokens_takes_its_time_where_it_was_measured() {
    let of = |workflow: &str, file: &str| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["own"],
                workload: (arrivals: Constant(per_s: 0.2), runs: 10),
                nodes: {{ "say": (input_tokens: 50, output_tokens: 41) }}, services: {{ "it": Profile(file: "{file}") }})"#
        );
        let own = r#"Deployment(name: "own", backends: { "it": Local(model: "m") }, bind: { "*": "it" })"#;
        let simulated = |model: Model| {
            let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
            let node = summarize(&model, &measures, 1.0, &[0]).nodes.remove(0);
            [node.ttft_s.expect("it was answered").p50, node.tpot_ms.expect("it was answered").p50]
        };
        let model = || model(workflow, own, &scenario).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        (simulated(model()), simulated(model().slowed("it", 2.0)), model().assumptions)
    };
    let near = |found: [f64; 2], wanted: [f64; 2]| {
        let is_near = found.iter().zip(wanted).all(|(found, wanted)| (found / wanted - 1.0).abs() < 0.01);
        assert!(is_near, "{found:?} and not {wanted:?}");
    };
    let plans = r#"Workflow(name: "ask", nodes: { "say": Planner(agent: "lister", input: "hello") }, output: "done")"#;
    let (found, slowed, assumed) = of(plans, "choosing");
    near(found, [0.135, 25.0]);
    near(slowed, [0.27, 50.0]);
    let penalty = "`it` chooses tokens with a repetition penalty as fast as the most probable one: not measured";
    assert_eq!(assumed, [penalty]);
    let (found, _, assumed) = of(plans, "measured");
    near(found, [0.1, 20.0]);
    assert!(
        assumed.len() == 1 && assumed[0].contains("as a schema allows, and with a repetition penalty"),
        "{assumed:?}"
    );
    let (found, _, assumed) = of(&WORKFLOW.replace("POLICY", ""), "choosing");
    near(found, [0.1, 20.0]);
    assert_eq!(assumed, Vec::<String>::new());
}

#[test]
fn what_choosing_takes_is_that_of_the_backend_that_is_asked() {
    let latency_s = |policy: &str, node: &str| {
        let workflow = format!(
            r#"Workflow(name: "ask", nodes: {{ "say": Planner(agent: "lister", input: "hello", {policy}) }}, output: "done")"#
        );
        let deployment = r#"Deployment(name: "own", backends: { "it": Local(model: "m"), "other": Local(model: "m") },
            bind: { "*": "it" })"#;
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["own"],
                workload: (arrivals: Constant(per_s: 0.2), runs: 10),
                nodes: {{ "say": (input_tokens: 50, output_tokens: 41{node}) }},
                services: {{ "it": Profile(file: "measured"), "other": Profile(file: "choosing") }})"#
        );
        let model =
            model(&workflow, deployment, &scenario).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let measures = simulate_traced(&model, Options::default(), &mut |_| {}).expect("it can be");
        let found = summarize(&model, &measures, 1.0, &[0]);
        let asked: Vec<u64> = found.services.iter().map(|service| service.requests).collect();
        (found.latency_s.expect("runs have ended").p50, asked)
    };
    let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.01, "{found} and not {wanted}");
    let (plain_s, chosen_s) = (0.1 + 40.0 * 0.02, 0.135 + 40.0 * 0.025);
    let cascade = r#"cascade: (accept: "{{ output.list }}", to: "other")"#;
    let (found_s, asked) = latency_s(cascade, ", accept: 0");
    assert_eq!(asked, [10, 10]);
    near(found_s, plain_s + chosen_s);
    let (found_s, asked) = latency_s(cascade, ", accept: 1");
    assert_eq!(asked[0], 10);
    near(found_s, plain_s);
}

#[test]
fn what_a_scenario_puts_in_the_place_of_replicas_is_said() {
    let own = REPLICAS.replace("MORE", "replicas: 1");
    let scenario = r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
        workload: (arrivals: Constant(per_s: 1), runs: 10),
        nodes: { "say": (input_tokens: 200, output_tokens: 1) }, services: { "llama": Api(ttft_s: 1) })"#;
    let with = |text: &str| model(&WORKFLOW.replace("POLICY", ""), &own, text);
    let assumed = with(scenario).expect("it can be").assumptions;
    assert_eq!(
        assumed,
        [
            "`llama` has all of an answer with its first token: no `tokens_per_s` is given",
            "`llama` is the Api(…) of the scenario, not llama-3.1-8b on l40s as deployment `own` says"
        ]
    );
    let found = with(&scenario.replace("\"llama\"", "\"lama\"")).map(|_| ()).expect_err("nothing is called so");
    assert!(found[0].contains("no deployment has a backend `lama`"), "{found:?}");
}

#[test]
fn an_api_of_which_no_speed_is_known_is_an_error_and_part_of_it_an_assumption() {
    let of = |service: &str, slo: &str| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
                workload: (arrivals: Constant(per_s: 1), runs: 10), slo: ({slo}),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 9) }}, services: {{ "api": {service} }})"#
        );
        let found = model(&WORKFLOW.replace("POLICY", ""), API, &scenario)?;
        Ok::<_, Vec<String>>((found.assumptions.clone(), found.services()[0].basis.clone()))
    };
    for service in ["Api()", "Api(limits: (rpm: 600), fail: 0.1)"] {
        let problems = of(service, "").expect_err("how fast is it?");
        assert!(problems[0].contains("nothing says how fast `api` is"), "{problems:?}");
    }
    let (assumed, basis) = of("Api(tokens_per_s: 80)", "").expect("it can be");
    assert_eq!(assumed, ["`api` begins to answer as soon as it is asked: no `ttft_s` is given"]);
    assert_eq!(basis, "declared (in part)");
    let whole = of("Api(ttft_s: 0.3, tokens_per_s: 80)", "run_s: 1, share: 0.9").expect("it can be");
    assert_eq!(whole, (Vec::new(), "declared".to_owned()));
    let problems = of("Api(ttft_s: 0.3, tokens_per_s: 80)", "share: 0.9").expect_err("a share of what?");
    assert!(problems[0].contains("asks for a share of good runs, and any run is good"), "{problems:?}");
}

#[test]
fn outages_that_cannot_be_are_named() {
    let problems = |deployment: &str, more: &str| {
        let scenario = format!(
            r#"Scenario(name: "s", workflow: "ask", deployments: ["it"],
                workload: (arrivals: Constant(per_s: 1), runs: 10),
                nodes: {{ "say": (input_tokens: 200, output_tokens: 1) }}, services: {{ {more} }})"#
        );
        let found = model(&WORKFLOW.replace("POLICY", ""), deployment, &scenario).map(|_| ());
        found.expect_err("it cannot be").join("\n")
    };
    let own = REPLICAS.replace("MORE", "replicas: 2");
    for (deployment, more, part) in [
        (own.as_str(), "\"llama\": Replicas(outages: [(replica: 2, from_s: 1, for_s: 1)])", "there is no replica 2"),
        (own.as_str(), "\"llama\": Replicas(outages: [(from_s: -1, for_s: 1)])", "the outage begins at -1 s"),
        (API, "\"api\": Replicas(outages: [])", "no deployment has a `Simulated` backend `api`"),
        (API, "\"api\": Api(ttft_s: 1, batch_window_s: -5)", "the value is -5"),
        (API, "\"api\": Api(ttft_s: 1, outages: [(from_s: 1, for_s: 0)])", "the value is 0"),
    ] {
        let found = problems(deployment, more);
        assert!(found.contains(part), "{more}: {found}");
    }
}

#[test]
fn a_load_factor_of_which_clients_cannot_be_is_said() {
    let text = r#"Scenario(
        name: "s", workflow: "ask", deployments: ["it"], workload: (arrivals: Closed(clients: 4, think_s: 1), runs: 40),
        nodes: { "say": (input_tokens: 100, output_tokens: 10) }, services: { "api": Api(ttft_s: 1) },
    )"#;
    let model = model(ASK, BOUGHT, text).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
    let told = |load_factor| {
        let found = simulate(&model, Options { load_factor, ..Options::default() }).expect("it can be");
        summarize(&model, &found, load_factor, &[0]).warnings
    };
    for (factor, expected) in [
        (0.1, Some("a load factor of 0.1 of 4 clients makes 1 client, which is a factor of 0.25: clients are whole")),
        (0.37, Some("a load factor of 0.37 of 4 clients makes 1 client, which is a factor of 0.25: clients are whole")),
        (1.6, Some("a load factor of 1.6 of 4 clients makes 6 clients, which is a factor of 1.5: clients are whole")),
        (0.25, None),
        (1.0, None),
        (2.5, None),
    ] {
        assert_eq!(told(factor), expected.into_iter().collect::<Vec<_>>(), "{factor}");
    }
}
