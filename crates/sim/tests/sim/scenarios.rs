//! Scenarios that tests are made of.

use indexmap::IndexMap;
use lumos_core::load::{Bundle, Scenario};
use lumos_core::price::Price;
use lumos_core::read::{Parsed, parse_scenario, read_agent, read_deployment, read_workflow};
use lumos_core::spec::{AgentSpec, ToolKind, ToolSpec};
use lumos_sim::model::{Model, Sources};

/// A scenario, a workflow and a deployment, each as RON.
pub fn model(workflow: &str, deployment: &str, scenario: &str) -> Result<Model, Vec<String>> {
    model_priced(workflow, deployment, scenario, &IndexMap::new())
}

/// The same, at prices.
pub fn model_priced(
    workflow: &str,
    deployment: &str,
    scenario: &str,
    prices: &IndexMap<String, Price>,
) -> Result<Model, Vec<String>> {
    let scenario = checked(workflow, deployment, scenario)?;
    Model::new(&scenario, &scenario.bundles[0], &Sources { prices, files: &files }).map_err(messages)
}

/// A scenario that has been checked, with one bundle.
pub fn checked(workflow: &str, deployment: &str, scenario: &str) -> Result<Scenario, Vec<String>> {
    let workflow = read_workflow("workflow.ron", workflow).expect("the workflow is right");
    let deployment = read_deployment("deployment.ron", deployment).expect("the deployment is right");
    let (parsed, problems) = parse_scenario("scenario.ron", scenario);
    if !problems.is_empty() {
        return Err(messages(problems));
    }
    let writer = read_agent("writer.ron", WRITER).expect("the agent is right");
    let lister = read_agent("lister.ron", LISTER).expect("the agent is right");
    let bundle = Bundle::in_memory(workflow.spec)
        .with_agent("work", AgentSpec::Tool(tool()))
        .with_agent("writer", writer.spec)
        .with_agent("lister", lister.spec)
        .with_deployment(deployment.spec);
    let parsed: Parsed<_> = parsed.expect("a scenario without problems");
    let scenario = Scenario { parsed, folder: "".into(), bundles: vec![bundle] };
    let found = messages(lumos_core::check::check_scenario(&scenario));
    if !found.is_empty() {
        return Err(found);
    }
    Ok(scenario)
}

fn messages(problems: Vec<lumos_core::Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

/// The files that scenarios name.
pub fn files(name: &str) -> std::io::Result<String> {
    match name {
        "measured" => Ok(MEASURED.to_owned()),
        "choosing" => Ok(MEASURED.replace(
            "max_seqs",
            "choosing: (constrained: (first_us: 30000, token_us: 4000), drawn: (first_us: 0, token_us: 1000)), max_seqs",
        )),
        "day" => Ok(day()),
        "talks" => Ok("time_s,input_tokens,output_tokens\n0,100,20\n5,200,30\n".to_owned()),
        "silent" => Ok("time_s,input_tokens,output_tokens\n0,100,20\n5,,\n".to_owned()),
        name => Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("{name} is not there"))),
    }
}

/// A trace of an hour in which 1.75 come each second, 1.9 times as many at half past: as many seconds lie between two of them
/// as the rate at that moment says.
fn day() -> String {
    let after = |at_s: &f64| at_s + 1.0 / (1.75 * (1.0 - 0.9 * (at_s / 3600.0 * std::f64::consts::TAU).cos()));
    let times = std::iter::successors(Some(0.0), |at_s| Some(after(at_s)).filter(|at_s| *at_s < 3600.0));
    let rows: Vec<String> = times.map(|at_s| format!("{at_s:.3}")).collect();
    format!("time_s\n{}\n", rows.join("\n"))
}

fn tool() -> ToolSpec {
    ToolSpec { tool: ToolKind::Calculator }
}

/// A model that reads a token in 2 ms and generates one in 20.
const MEASURED: &str = r#"Profile(
    name: "measured", of: "a model", measured_on: "2026-11-27",
    iteration_us: 1, sequence_us: 20000, prompt_token_us: 2000, prompt_pair_ns: 0, kv_token_ns: 0, request_us: 0,
    max_seqs: 4, max_batched_tokens: 4096, kv_tokens: 65536,
)"#;

const LISTER: &str =
    r#"Planner(model: "m", prompt: (user: "{{ input }}"), decoding: (temperature: 0.5, repetition_penalty: 1.2))"#;

const WRITER: &str = r#"Generator(model: "m", prompt: (user: "{{ input }}"))"#;

/// A deployment without models.
pub const NO_MODELS: &str = r#"Deployment(name: "none", backends: { "x": Local(model: "m") }, bind: {})"#;

/// One question to a model.
pub const ASK: &str = r#"Workflow(
    name: "ask",
    nodes: { "say": Generator(agent: "writer", input: "hello") },
    output: "done",
)"#;

/// A deployment that buys all answers.
pub const BOUGHT: &str = r#"Deployment(
    name: "bought",
    backends: { "api": Remote(provider: OpenAi, model: "m", api_key: Env("KEY")) },
    bind: { "*": "api" },
)"#;
