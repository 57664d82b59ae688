//! What a load is going to do: when runs arrive, how many, and what each is given.

use indexmap::IndexMap;
use lumos_core::Problem;
use lumos_core::chance::{combine, mix};
use lumos_core::check::{Given, check_inputs};
use lumos_core::load::Scenario;
use lumos_core::read::Parsed;
use lumos_core::spec::{ArrivalSpec, InputKind, WorkflowSpec};
use lumos_sim::arrivals::{self, Arrivals};
use lumos_sim::chance::Quantity;
use lumos_sim::trace;
use serde_json::Value;

/// What is other than the scenario says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// Everything random.
    pub seed: u64,
    /// How many times as often runs arrive, or as many clients there are.
    pub load_factor: f64,
    /// Runs at most, in place of the scenario's.
    pub runs: Option<u64>,
    /// Seconds during which runs arrive, in place of the scenario's.
    pub duration_s: Option<f64>,
}

/// A load that can be made.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    pub(super) coming: Coming,
    pub(super) inputs: Inputs,
    pub(super) seed: u64,
    /// Runs that arrive at most.
    pub runs: Option<u64>,
    /// Microseconds during which runs arrive.
    pub duration_us: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) enum Coming {
    Open(Arrivals),
    Closed { clients: u32, think: Quantity },
}

impl LoadPlan {
    /// The load of a scenario. `files` gives the text of a file that it names.
    ///
    /// # Errors
    /// Everything that keeps it from being made for real.
    pub fn new(
        scenario: &Scenario,
        options: LoadOptions,
        files: &dyn Fn(&str) -> std::io::Result<String>,
    ) -> Result<Self, Vec<Problem>> {
        let workload = &scenario.spec().workload;
        let place =
            |field: &str, message: String, hint: &str| scenario.parsed.problem(field, message, Some(hint.to_owned()));
        let mut problems = Vec::new();
        if workload.sessions.is_some() {
            let hint = "`lumos simulate` has sessions; for `lumos load`, remove them";
            problems.push(place("workload.sessions", "sessions are only simulated".to_owned(), hint));
        }
        let rows = workload.arrivals.as_ref().map_or(Ok(Vec::new()), |arrivals| trace::rows(arrivals, files));
        let rows = rows.unwrap_or_else(|message| {
            problems.push(place("workload.arrivals.file", message, trace::HINT));
            Vec::new()
        });
        let coming = match &workload.arrivals {
            Some(ArrivalSpec::Closed { clients, think_s }) => {
                let clients = u32::try_from(arrivals::clients(*clients, options.load_factor)).unwrap_or(u32::MAX);
                Some(Coming::Closed { clients, think: Quantity::new(think_s) })
            }
            Some(open) => Some(Coming::Open(Arrivals::of_load(open, options.load_factor, rows, options.seed))),
            None => {
                let hint = "arrivals: Poisson(per_s: 0.5)";
                problems.push(place("workload", "nothing says when runs arrive".to_owned(), hint));
                None
            }
        };
        let inputs = match scenario.bundles.first() {
            Some(bundle) => Inputs::new(&workload.inputs, &bundle.workflow.parsed, |message, hint| {
                let field = if workload.inputs.is_empty() { "workload" } else { "workload.inputs" };
                problems.push(Problem { hint, ..place(field, message, "") });
            }),
            None => Inputs::default(),
        };
        let duration_us = options.duration_s.or(workload.duration_s).map(|seconds| (seconds * 1e6).round() as u64);
        // A number of runs that was asked for is not cut by the scenario's time, nor a time by its runs.
        let (runs, duration_us) = match (options.runs, options.duration_s) {
            (Some(runs), None) => (Some(runs), None),
            (None, Some(_)) => (None, duration_us),
            (runs, _) => (runs.or(workload.runs), duration_us),
        };
        match coming.filter(|_| problems.is_empty()) {
            Some(coming) => Ok(Self { coming, inputs, seed: options.seed, runs, duration_us }),
            None => Err(problems),
        }
    }
}

/// What runs are given: where a list stands for an input that takes none, each run gets one of its entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    choices: IndexMap<String, Vec<Value>>,
}

impl Inputs {
    fn new(
        given: &IndexMap<String, Value>,
        workflow: &Parsed<WorkflowSpec>,
        mut fail: impl FnMut(String, Option<String>),
    ) -> Self {
        let mut choices: IndexMap<String, Vec<Value>> = IndexMap::new();
        for (name, value) in given {
            let takes_lists = workflow.spec.inputs.get(name).is_some_and(|input| input.kind == InputKind::Json);
            let entries = match value {
                Value::Array(entries) if !takes_lists && entries.is_empty() => {
                    fail(format!("`{name}` has no values to choose from"), None);
                    continue;
                }
                Value::Array(entries) if !takes_lists => entries.clone(),
                value => vec![value.clone()],
            };
            choices.insert(name.clone(), entries);
        }
        let most = choices.values().map(Vec::len).max().unwrap_or(1);
        let mut told = Vec::new();
        for at in 0..most {
            let one = choices.iter().map(|(name, entries)| (name.clone(), entries[at % entries.len()].clone()));
            let given = one.map(|(name, value)| (name, Given::Json(value))).collect();
            match check_inputs(workflow, &given) {
                // What was not given is the same for all.
                Ok(values) => {
                    for (name, value) in values {
                        match choices.get_mut(&name) {
                            Some(entries) => {
                                let count = entries.len();
                                entries[at % count] = value;
                            }
                            None => {
                                choices.insert(name, vec![value]);
                            }
                        }
                    }
                }
                Err(problems) => {
                    for problem in problems {
                        if !told.contains(&problem.message) {
                            told.push(problem.message.clone());
                            fail(problem.message, problem.hint.map(|hint| hint.replace("-i ", "")));
                        }
                    }
                }
            }
        }
        Self { choices }
    }

    /// What the run with a seed is given.
    pub(super) fn of(&self, seed: u64) -> IndexMap<String, Value> {
        let one = |(at, (name, entries)): (usize, (&String, &Vec<Value>))| {
            let chosen = mix(combine(seed, INPUTS + at as u64)) % entries.len().max(1) as u64;
            Some((name.clone(), entries.get(chosen as usize)?.clone()))
        };
        self.choices.iter().enumerate().filter_map(one).collect()
    }
}

/// What the draws of inputs are for.
const INPUTS: u64 = 1 << 58;

#[cfg(test)]
mod tests {
    use lumos_core::read::read_workflow;
    use serde_json::json;

    use super::*;

    fn workflow() -> Parsed<WorkflowSpec> {
        let text = r#"Workflow(
            name: "w",
            inputs: { "question": Text(required: true), "top": Integer(default: 3) },
            nodes: { "say": Tool(agent: "work", with: { "expression": "1" }) },
            output: "{{ say.text }}",
        )"#;
        read_workflow("w.ron", text).expect("the workflow is right")
    }

    fn inputs(given: &Value) -> Result<Inputs, Vec<String>> {
        let mut problems = Vec::new();
        let given: IndexMap<String, Value> = serde_json::from_value(given.clone()).expect("an object");
        let inputs = Inputs::new(&given, &workflow(), |message, _| problems.push(message));
        if problems.is_empty() { Ok(inputs) } else { Err(problems) }
    }

    #[test]
    fn each_run_gets_one_of_a_lists_entries_and_the_defaults() {
        let inputs = inputs(&json!({"question": ["a", "b", "c"]})).unwrap();
        let all: Vec<_> = (0..60).map(|seed| inputs.of(seed)).collect();
        for letter in ["a", "b", "c"] {
            let times = all.iter().filter(|given| given["question"] == letter).count();
            assert!((8..=35).contains(&times), "{letter}: {times}");
        }
        assert!(all.iter().all(|given| given["top"] == 3));
        assert_eq!(inputs.of(7), inputs.of(7));
    }

    #[test]
    fn every_entry_must_fit_and_what_is_required_must_be_there() {
        assert_eq!(inputs(&json!({"question": ["a", 5]})).unwrap_err().len(), 1);
        assert!(inputs(&json!({})).unwrap_err()[0].contains("`question` is required"));
        assert!(inputs(&json!({"question": []})).unwrap_err()[0].contains("no values"));
        assert!(inputs(&json!({"question": "a", "colour": "red"})).unwrap_err()[0].contains("no input `colour`"));
    }
}
