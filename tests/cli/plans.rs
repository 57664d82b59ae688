//! Plans on the command line: what is compared with what, over which part of the load, and when nothing suffices.

use serde_json::Value;

use super::Sandbox;

/// A workflow of one question, on replicas of one's own or at an API.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "ask.ron",
        r#"Workflow(name: "ask", nodes: { "say": Generator(agent: "writer", input: "hello") }, output: "{{ say.text }}")"#,
    );
    sandbox.write(
        "deployments/own.ron",
        &own("model: \"llama-3.1-8b\", hardware: \"l40s\", cost: PerHour(usd: \"0.90\")"),
    );
    sandbox.write(
        "deployments/bought.ron",
        r#"Deployment(
    name: "bought",
    backends: { "api": Remote(provider: OpenAi, model: "gpt-4o-mini", api_key: Env("KEY")) },
    bind: { "*": "api" },
)
"#,
    );
    sandbox
}

fn own(replicas: &str) -> String {
    format!("Deployment(name: \"own\", backends: {{ \"llama\": Simulated({replicas}) }}, bind: {{ \"*\": \"llama\" }})")
}

fn scenario(workload: &str, api: &str, slo: &str) -> String {
    format!(
        r#"Scenario(
    name: "asked",
    workflow: "ask.ron",
    deployments: ["own", "bought"],
    workload: ({workload}),
    nodes: {{ "say": (input_tokens: 600, output_tokens: 60) }},
    services: {{ "api": Api(ttft_s: 0.3, tokens_per_s: 100, {api}) }},
    slo: ({slo}),
)
"#
    )
}

const STEADY: &str = "arrivals: Poisson(per_s: 4), runs: 1200, warmup_runs: 100";
const SLO: &str = "run_s: 5, share: 0.95";

fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn an_api_that_fails_most_runs_is_neither_cheap_nor_a_choice() {
    let sandbox = sandbox();
    // Four runs a second at a server that takes one.
    sandbox.write("limited.ron", &scenario(STEADY, "limits: (rpm: 60)", SLO));
    let (code, plan) = sandbox.json(&["plan", "limited.ron", "--format", "json"]);
    assert_eq!((code, &plan["meets_slo"]), (0, &Value::Bool(true)), "the fleet does what it should");
    let found = &plan["break_even"][0];
    let side = &found["api_side"];
    assert_eq!((&side["meets_slo"], found["choice"].as_str()), (&Value::Bool(false), Some("fleet")));
    assert!(number(&side["succeeded"]) < 0.5 * number(&side["runs"]), "{side}");
    // 600 tokens at $0.15 and 60 at $0.60 a million: failures that cost nothing make no success cheaper.
    let per_run = number(&found["api_per_run_usd"]);
    assert!((per_run / 0.000_126 - 1.0).abs() < 1e-3, "{per_run}");
    let screen = sandbox.screen(&["plan", "limited.ron", "--plot", "tornado.svg"]);
    let drawn = std::fs::read_to_string(sandbox.folder().join("tornado.svg")).expect("a picture");
    assert!(drawn.contains("Break-even of own with bought") && drawn.contains("price of the API"), "{drawn}");
    assert!(screen.contains("bought misses the SLO under this load: it is no choice, whatever it costs."), "{screen}");
    assert!(!screen.contains("API is cheaper"), "{screen}");
}

#[test]
fn what_is_called_cheaper_is_so_for_as_many_runs_that_succeed_and_a_smaller_bill_beside_it_is_explained() {
    let sandbox = sandbox();
    // 5.65 million runs a month, 15 % of which fail at the API, at $0.000126; a replica is $657.
    let load = "arrivals: Poisson(per_s: 2.15), runs: 1200, warmup_runs: 100";
    sandbox.write("failing.ron", &scenario(load, "fail: 0.15", "run_s: 5, share: 0.8"));
    let screen = sandbox.screen(&["plan", "failing.ron"]);
    let told = "the machines are cheaper, for as many that succeed: the smaller bill of bought is for fewer.";
    assert!(screen.contains(told), "{screen}");
}

#[test]
fn a_device_has_one_price() {
    let sandbox = sandbox();
    sandbox.write("asked.ron", &scenario(STEADY, "", SLO));
    let screen = sandbox.screen(&["plan", "asked.ron", "--device-hour", "l40s=0.90", "--device-hour", "l40s=0.50"]);
    assert!(screen.contains("--device-hour l40s: two prices are given") && screen.contains("--- exit 2"), "{screen}");
}

#[test]
fn a_few_runs_of_a_day_are_its_busiest_and_the_fleet_bears_all_of_it() {
    let sandbox = sandbox();
    // A day of twelve minutes that begins with next to nobody; its peak needs what its beginning does not.
    let day = "arrivals: Diurnal(per_s: 12, peak: 2, peak_h: 0.1, day_h: 0.2), duration_s: 720";
    sandbox.write("day.ron", &scenario(day, "", "run_s: 1.6, share: 0.95"));
    let (code, part) = sandbox.json(&["plan", "day.ron", "--runs", "1500", "--format", "json"]);
    assert_eq!(code, 0, "{part}");
    let coverage = &part["coverage"];
    assert_eq!((&coverage["period"], &coverage["is_whole"]), (&"day".into(), &Value::Bool(false)));
    let [from_s, until_s] = [0, 1].map(|end| number(&coverage["searched_s"][end]));
    assert!((f64::midpoint(from_s, until_s) - 360.0).abs() < 1.0, "{coverage}");
    assert!(number(&coverage["searched_rate"]) > 1.9, "{coverage}");
    let searched = number(&part["candidates"][0]["results"]["runs"]);
    assert!((1300.0..1700.0).contains(&searched), "{searched}");
    let together = &part["together"];
    assert!(number(&together["runs"]) > 8000.0, "all of the day is simulated in the end");
    assert_eq!(together["meets_slo"], Value::Bool(true));
    let (code, whole) = sandbox.json(&["plan", "day.ron", "--format", "json"]);
    assert_eq!((code, &whole["coverage"]["is_whole"]), (0, &Value::Bool(true)));
    let replicas = |plan: &Value| number(&plan["chosen"]["llama"]["replicas"]);
    assert!(replicas(&whole) > 1.0 && replicas(&part) >= replicas(&whole), "{} {}", replicas(&part), replicas(&whole));
    let screen = sandbox.screen(&["plan", "day.ron", "--runs", "1500"]);
    assert!(
        screen.contains("the busiest part of the day; what was found is checked over all of 12 min 00 s"),
        "{screen}"
    );
}

#[test]
fn the_busiest_part_of_a_trace_is_searched() {
    let sandbox = sandbox();
    // Nobody much, then a hundred runs in ten seconds, then nobody much.
    let quiet = |from: u32| (0..50).map(move |number| f64::from(from + 4 * number));
    let busy = (0..100).map(|number| 200.0 + 0.1 * f64::from(number));
    let rows: Vec<String> = quiet(0).chain(busy).chain(quiet(220)).map(|time_s| time_s.to_string()).collect();
    sandbox.write("trace.csv", &format!("time_s\n{}\n", rows.join("\n")));
    sandbox.write("replay.ron", &scenario("arrivals: Trace(file: \"trace.csv\")", "", SLO));
    let (code, plan) = sandbox.json(&["plan", "replay.ron", "--runs", "100", "--format", "json"]);
    assert_eq!(code, 0, "{plan}");
    let coverage = &plan["coverage"];
    assert_eq!((&coverage["period"], &coverage["is_whole"]), (&"trace".into(), &Value::Bool(false)));
    assert_eq!((number(&coverage["searched_s"][0]), number(&plan["candidates"][0]["results"]["runs"])), (200.0, 100.0));
    assert_eq!(number(&plan["together"]["runs"]), 200.0);
}

#[test]
fn a_model_that_fits_no_single_device_is_planned_for_several() {
    let sandbox = sandbox();
    sandbox.write(
        "deployments/own.ron",
        &own("model: \"llama-3.1-70b\", hardware: \"h100-sxm\", cost: PerHour(usd: \"2.50\")"),
    );
    sandbox.write("asked.ron", &scenario("arrivals: Poisson(per_s: 2), runs: 300", "", "run_s: 10, share: 0.95"));
    let refused = sandbox.screen(&["plan", "asked.ron"]);
    assert!(
        refused.contains("nothing that may be tried can serve `llama`") && refused.contains("--- exit 2"),
        "{refused}"
    );
    assert!(refused.contains("does not fit") && refused.contains("--tensor-parallel"), "{refused}");
    let (code, plan) = sandbox.json(&["plan", "asked.ron", "--tensor-parallel", "1,4", "--format", "json"]);
    assert_eq!((code, &plan["chosen"]["llama"]["tensor_parallel"]), (0, &4.into()));
    let single = &plan["candidates"][1];
    assert_eq!(
        (&single["fleet"]["tensor_parallel"], &single["meets_slo"], &single["tries"]),
        (&1.into(), &Value::Bool(false), &0.into())
    );
    // Four times the price of the one device that the deployment states.
    assert_eq!(plan["chosen"]["llama"]["replica_hour"], "10");
}

#[test]
fn what_cannot_be_planned_is_said() {
    let sandbox = sandbox();
    sandbox.write("asked.ron", &scenario(STEADY, "", SLO));
    sandbox.write("never.ron", &scenario(STEADY, "", "run_s: 0.01, share: 0.95"));
    let mut screens = Vec::new();
    for arguments in [
        &["plan", "asked.ron", "--hardware", "h100-smx"][..],
        &["plan", "asked.ron", "--device-hour", "bogus=3"],
        &["plan", "asked.ron", "--device-hour", "h200-sxm=3"],
        &["plan", "asked.ron", "--quantization", "Fp88"],
        &["plan", "asked.ron", "-d", "bought"],
        &["plan", "asked.ron", "-d", "own", "-d", "deployments/own.ron"],
        &["simulate", "asked.ron", "-d", "own", "-d", "own"],
        &["plan", "never.ron"],
    ] {
        screens.push(sandbox.screen(arguments));
    }
    insta::assert_snapshot!("plans-that-cannot-be", screens.concat());
    let (code, plan) = sandbox.json(&["plan", "never.ron", "--format", "json"]);
    assert_eq!((code, &plan["meets_slo"], &plan["insufficient"][0]), (1, &Value::Bool(false), &"llama".into()));
    assert_eq!((&plan["chosen"], &plan["together"]), (&Value::Null, &Value::Null));
}

#[test]
fn what_has_no_price_is_unknown_on_every_screen() {
    let sandbox = sandbox();
    sandbox.write("deployments/own.ron", &own("model: \"llama-3.1-8b\", hardware: \"l40s\""));
    sandbox.write("asked.ron", &scenario(STEADY, "", SLO));
    let simulated = sandbox.screen(&["simulate", "asked.ron", "-d", "own"]);
    let planned = sandbox.screen(&["plan", "asked.ron"]);
    for screen in [&simulated, &planned] {
        assert!(!screen.contains("$0 ") && !screen.contains("$0\n") && !screen.contains("$0;"), "{screen}");
    }
    assert!(
        simulated.contains(
            "cost: unknown per run that succeeded by busy time and tokens, unknown with idle machines; unknown in all"
        ),
        "{simulated}"
    );
    assert!(planned.contains("for an unknown price per month"), "{planned}");
    assert!(planned.contains("no price: l40s") && planned.contains("--device-hour l40s=USD"), "{planned}");
    assert!(planned.contains("break-even with bought: unknown, because no price is known of llama"), "{planned}");
    let (code, plan) = sandbox.json(&["plan", "asked.ron", "--format", "json"]);
    let found = &plan["break_even"][0];
    assert_eq!((code, &found["fleet_month_usd"], &found["runs_per_month"]), (0, &Value::Null, &Value::Null));
    assert_eq!((&plan["together"]["cost_usd"], &plan["together"]["reserved_cost_usd"]), (&Value::Null, &Value::Null));
    // With a price for one of two kinds of hardware, that one is chosen, dear as it is.
    let (_, plan) = sandbox.json(&[
        "plan",
        "asked.ron",
        "--hardware",
        "l40s,h100-sxm",
        "--device-hour",
        "h100-sxm=900",
        "--format",
        "json",
    ]);
    assert_eq!(plan["chosen"]["llama"]["hardware"], "h100-sxm");
}

#[test]
fn goodput_is_a_load_that_is_borne_and_use_is_a_share_of_it() {
    let sandbox = sandbox();
    sandbox.write("asked.ron", &scenario(STEADY, "", SLO));
    let (code, plan) = sandbox.json(&["plan", "asked.ron", "--format", "json"]);
    assert_eq!(code, 0);
    let factor = number(&plan["goodput"]["load_factor"]);
    assert!(factor >= 1.0 && (number(&plan["goodput"]["used"]) * factor - 1.0).abs() < 1e-9, "{}", plan["goodput"]);
    let meets = |factor: f64| {
        let replicas = number(&plan["chosen"]["llama"]["replicas"]);
        sandbox.write(
            "deployments/sized.ron",
            &own(&format!(
                "model: \"llama-3.1-8b\", hardware: \"l40s\", replicas: {replicas}, cost: PerHour(usd: \"0.90\")"
            )),
        );
        // As many runs as arrive in the same time.
        let runs = (1200.0 * factor).ceil().to_string();
        let (_, document) = sandbox.json(&[
            "simulate",
            "asked.ron",
            "-d",
            "sized",
            "--load-factor",
            &factor.to_string(),
            "--runs",
            &runs,
            "--format",
            "json",
        ]);
        document["results"][0]["meets_slo"].clone()
    };
    assert_eq!((meets(factor), meets(factor * 1.05)), (Value::Bool(true), Value::Bool(false)));
    let uses = plan["break_even"][0]["assumptions"].as_array().expect("assumptions");
    let use_of =
        uses.iter().find(|it| it["what"].as_str().is_some_and(|what| what.starts_with("use of"))).expect("use");
    // Full machines break even earlier by what they are used now, and half as full ones twice as late: nothing is cut off.
    let point = number(&plan["break_even"][0]["runs_per_month"]["value"]);
    let [full, half] = [0, 1].map(|end| number(&use_of["runs_per_month"][end]));
    assert!((full * factor / point - 1.0).abs() < 1e-6 && (half / point / 2.0 - 1.0).abs() < 1e-6, "{use_of} {point}");
}
