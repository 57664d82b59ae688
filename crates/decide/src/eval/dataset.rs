//! Data sets: JSON Lines of inputs and expectations, read and checked as a whole before anything runs.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use lumos_core::Problem;
use lumos_core::check::{Given, check_inputs};
use lumos_core::load::{Bundle, WorkflowSource};
use lumos_core::problem::nearest;
use lumos_core::read::read_file_up_to;
use lumos_core::spec::NodeKind;
use serde_json::{Map, Value};

use super::score::check_expected;
use super::scorer::{Custom, Scorer, ScorerKind};

/// Largest data set that is read.
const MOST_BYTES: u64 = 1 << 30;

/// Most problems that are listed.
const MOST_PROBLEMS: usize = 50;

/// A row: what a run is given, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// From 1, blank lines not counted.
    pub number: usize,
    /// Where it is in the file, from 1.
    pub line: u32,
    /// Its name: as written, else its number.
    pub id: String,
    /// Values of all inputs of the workflow.
    pub inputs: IndexMap<String, Value>,
    /// What is expected of the run's output.
    pub expected: Option<Value>,
    /// What is expected of nodes, sub-workflows before them as in `outer/inner`.
    pub nodes: IndexMap<String, Value>,
    /// What scores it.
    pub scorers: Vec<Scorer>,
}

impl Row {
    /// What is expected of what a scorer scores.
    pub fn expected_by(&self, scorer: &Scorer) -> Option<&Value> {
        match &scorer.node {
            None => self.expected.as_ref(),
            Some(node) => self.nodes.get(node),
        }
    }
}

/// A data set that fits a workflow.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The file as the user named it.
    pub file: String,
    /// At least one.
    pub rows: Vec<Row>,
}

const FIELDS: &[&str] = &["id", "inputs", "expected", "nodes", "scorers", "metadata"];

/// What other tools call these fields.
const ELSEWHERE: &[(&str, &str)] = &[
    ("input", "inputs"),
    ("vars", "inputs"),
    ("question", "inputs"),
    ("user_input", "inputs"),
    ("target", "expected"),
    ("ideal", "expected"),
    ("answer", "expected"),
    ("reference", "expected"),
    ("expected_output", "expected"),
    ("output", "expected"),
    ("assert", "scorers"),
    ("assertions", "scorers"),
    ("tags", "metadata"),
];

impl Dataset {
    /// Reads a file and checks it against a workflow. `scorers` score every row, beside those that a row names itself; where
    /// there are none, what is expected is to be exactly what comes. `needs_scores` says whether a row that nothing scores is
    /// an error.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line.
    pub fn open(path: &Path, bundle: &Bundle, scorers: &[Scorer], needs_scores: bool) -> Result<Self, Vec<Problem>> {
        let hint = "split it, and evaluate the parts one by one";
        let text = read_file_up_to(path, MOST_BYTES, hint).map_err(|problem| vec![*problem])?;
        Self::read(&path.display().to_string(), &text, bundle, scorers, needs_scores)
    }

    /// The same from a text.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn read(
        file: &str,
        text: &str,
        bundle: &Bundle,
        scorers: &[Scorer],
        needs_scores: bool,
    ) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { file, bundle, scorers, needs_scores, problems: Vec::new(), ids: BTreeMap::new() };
        let mut rows = Vec::new();
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        for (number, (line, text)) in (1..).zip(lines) {
            rows.extend(reader.row(number, line, text));
            if reader.problems.len() >= MOST_PROBLEMS {
                break;
            }
        }
        if reader.problems.is_empty() {
            reader.nodes_of_scorers(&rows);
        }
        if rows.is_empty() && reader.problems.is_empty() {
            let hint = "one JSON object per line, e.g. {\"inputs\": {\"question\": \"…\"}, \"expected\": \"…\"}";
            reader.problems.push(Problem::of_file(file, "the data set has no rows", Some(hint.to_owned())));
        }
        if reader.problems.is_empty() { Ok(Self { file: file.to_owned(), rows }) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    file: &'a str,
    bundle: &'a Bundle,
    scorers: &'a [Scorer],
    needs_scores: bool,
    problems: Vec<Problem>,
    /// The line of each id.
    ids: BTreeMap<String, u32>,
}

impl Reader<'_> {
    fn problem(&mut self, line: u32, field: &str, message: impl Into<String>, hint: Option<String>) {
        let problem = Problem::of_file(self.file, message, hint);
        let field = (!field.is_empty()).then(|| field.to_owned());
        self.problems.push(Problem { line: Some(line), column: Some(1), field, ..problem });
    }

    fn row(&mut self, number: usize, line: u32, text: &str) -> Option<Row> {
        let before = self.problems.len();
        let mut fields = self.object(line, text)?;
        for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())).cloned().collect::<Vec<_>>() {
            let known = ELSEWHERE.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours);
            let hint = match known.or_else(|| nearest(&name, FIELDS.iter().copied())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it takes {}; what only people read belongs into `metadata`", FIELDS.join(", ")),
            };
            self.problem(line, &name, format!("row {number} has an unknown field `{name}`"), Some(hint));
        }
        let id = match fields.shift_remove("id") {
            None => number.to_string(),
            Some(Value::String(id)) if !id.trim().is_empty() => id,
            Some(Value::Number(id)) => id.to_string(),
            Some(other) => {
                self.problem(line, "id", format!("the id is {other}: wanted a text or a number"), None);
                number.to_string()
            }
        };
        if let Some(first) = self.ids.insert(id.clone(), line) {
            self.problem(line, "id", format!("the id `{id}` is also that of line {first}"), None);
        }
        let inputs = self.inputs(line, fields.shift_remove("inputs"));
        let (nodes, node_scorers) = self.nodes(line, fields.shift_remove("nodes"));
        let own = self.scorers_of(line, "scorers", None, fields.shift_remove("scorers"));
        let row = Row {
            number,
            line,
            id,
            inputs: inputs.unwrap_or_default(),
            expected: fields.shift_remove("expected"),
            nodes,
            scorers: Vec::new(),
        };
        let scorers = self.all_scorers(&row, own, node_scorers);
        (self.problems.len() == before).then_some(Row { scorers, ..row })
    }

    fn object(&mut self, line: u32, text: &str) -> Option<Map<String, Value>> {
        let hint = || {
            Some("one JSON object per line, e.g. {\"inputs\": {\"question\": \"…\"}, \"expected\": \"…\"}".to_owned())
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Some(fields),
            Ok(other) => {
                let what = if other.is_array() { "a list" } else { "no object" };
                self.problem(line, "", format!("the row is {what}"), hint());
                None
            }
            Err(error) => {
                self.problem(line, "", format!("the row is not JSON: {}", said(&error)), hint());
                if let Some(problem) = self.problems.last_mut() {
                    problem.column = Some(error.column().max(1) as u32);
                }
                None
            }
        }
    }

    fn inputs(&mut self, line: u32, given: Option<Value>) -> Option<IndexMap<String, Value>> {
        let given = match given {
            None => Map::new(),
            Some(Value::Object(given)) => given,
            Some(other) => {
                let hint = "{\"inputs\": {\"question\": \"…\"}}".to_owned();
                self.problem(
                    line,
                    "inputs",
                    format!("the inputs are {}, no object", super::score::short(&other)),
                    Some(hint),
                );
                return None;
            }
        };
        let given = given.into_iter().map(|(name, value)| (name, Given::Json(value))).collect();
        match check_inputs(&self.bundle.workflow.parsed, &given) {
            Ok(values) => Some(values),
            Err(problems) => {
                for problem in problems {
                    let field = problem.field.unwrap_or_else(|| "inputs".to_owned());
                    // What a command line would be told, told of a row.
                    let hint =
                        problem.hint.map(|hint| match hint.strip_prefix("-i ").and_then(|hint| hint.split_once('=')) {
                            Some((name, rest)) => {
                                format!("{{\"inputs\": {{\"{name}\": …}}}}{}", rest.trim_start_matches('…'))
                            }
                            None => hint,
                        });
                    self.problem(line, &field, problem.message, hint);
                }
                None
            }
        }
    }

    /// What is expected of nodes, and what scores them.
    fn nodes(&mut self, line: u32, given: Option<Value>) -> (IndexMap<String, Value>, Vec<Scorer>) {
        let (mut expected, mut scorers) = (IndexMap::new(), Vec::new());
        let given = match given {
            None => return (expected, scorers),
            Some(Value::Object(given)) => given,
            Some(other) => {
                let hint =
                    "{\"nodes\": {\"find\": {\"expected\": [\"…\"], \"scorers\": [\"recall_at(10)\"]}}}".to_owned();
                self.problem(
                    line,
                    "nodes",
                    format!("`nodes` is {}, no object", super::score::short(&other)),
                    Some(hint),
                );
                return (expected, scorers);
            }
        };
        for (node, about) in given {
            let field = format!("nodes.{node}");
            self.node_is_there(line, &field, &node);
            match about {
                Value::Object(mut about) if about.keys().all(|key| ["expected", "scorers"].contains(&key.as_str())) => {
                    scorers.extend(self.scorers_of(line, &field, Some(&node), about.shift_remove("scorers")));
                    if let Some(value) = about.shift_remove("expected") {
                        expected.insert(node, value);
                    }
                }
                _ => {
                    let hint = format!("{{\"{node}\": {{\"expected\": …, \"scorers\": [\"…\"]}}}}");
                    self.problem(line, &field, format!("node `{node}`: wanted `expected` and `scorers`"), Some(hint));
                }
            }
        }
        (expected, scorers)
    }

    fn scorers_of(&mut self, line: u32, field: &str, node: Option<&str>, given: Option<Value>) -> Vec<Scorer> {
        let list = match given {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(one) => vec![one],
        };
        let mut scorers = Vec::new();
        for value in &list {
            match Scorer::of_value(value) {
                Ok(mut scorer) => {
                    if let (Some(node), None) = (node, &scorer.node) {
                        scorer.label = format!("{node}:{}", scorer.label);
                        scorer.node = Some(node.to_owned());
                    }
                    // A file that one is sent must not be a program that one runs.
                    if matches!(scorer.kind, ScorerKind::Custom(Custom::Command(_))) {
                        let hint = "name it on the command line: --scorer 'custom(command=\"…\")'".to_owned();
                        self.problem(line, field, "a data set runs no commands", Some(hint));
                    }
                    scorers.push(scorer);
                }
                Err(message) => self.problem(line, field, message, None),
            }
        }
        scorers
    }

    /// Those of the command, then those of the row, then what holds where nobody says anything.
    fn all_scorers(&mut self, row: &Row, own: Vec<Scorer>, of_nodes: Vec<Scorer>) -> Vec<Scorer> {
        // A node that a row expects nothing of is not scored in it.
        let is_asked = |scorer: &&Scorer| {
            scorer.node.as_ref().is_none_or(|node| row.nodes.contains_key(node) || scorer.wants().is_none())
        };
        let mut scorers: Vec<Scorer> =
            self.scorers.iter().filter(is_asked).cloned().chain(own).chain(of_nodes).collect();
        if row.expected.is_some() && !scorers.iter().any(|scorer| scorer.node.is_none()) {
            scorers.push(plain("exact"));
        }
        for node in row.nodes.keys() {
            if !scorers.iter().any(|scorer| scorer.node.as_ref() == Some(node)) {
                let is_retriever = matches!(find(self.bundle, node), Ok(NodeKind::Retriever { .. }));
                scorers.push(plain(&format!("{node}: {}", if is_retriever { "recall_at(10)" } else { "exact" })));
            }
        }
        for scorer in &scorers {
            let field = scorer.node.as_ref().map_or_else(|| "expected".to_owned(), |node| format!("nodes.{node}"));
            if let Some(node) = scorer.node.as_ref().filter(|node| !row.nodes.contains_key(*node)) {
                self.node_is_there(row.line, &field, node);
            }
            if let Err(message) = check_expected(scorer, row.expected_by(scorer)) {
                self.problem(row.line, &field, format!("row `{}`: {message}", row.id), None);
            }
        }
        if scorers.is_empty() && self.needs_scores {
            let hint = "give it `expected`, or name a scorer that needs none, e.g. --scorer 'regex(\"…\")'".to_owned();
            self.problem(row.line, "expected", format!("nothing scores row `{}`", row.id), Some(hint));
        }
        distinct(scorers)
    }

    /// A node's scorer that has nothing to say of any row is a mistake.
    fn nodes_of_scorers(&mut self, rows: &[Row]) {
        for scorer in self.scorers.iter().filter(|scorer| scorer.wants().is_some()) {
            let Some(node) = &scorer.node else { continue };
            if rows.iter().any(|row| row.nodes.contains_key(node)) {
                continue;
            }
            let (message, hint) = find(self.bundle, node).err().unwrap_or_else(|| {
                let hint = format!("{{\"nodes\": {{\"{node}\": {{\"expected\": …}}}}}}");
                (format!("no row says what is expected of node `{node}`, which `{scorer}` needs"), Some(hint))
            });
            self.problems.push(Problem::of_file(self.file, message, hint));
        }
    }

    fn node_is_there(&mut self, line: u32, field: &str, node: &str) {
        if let Err((message, hint)) = find(self.bundle, node) {
            self.problem(line, field, message, hint);
        }
    }
}

/// A scorer that holds where nobody says anything.
fn plain(text: &str) -> Scorer {
    // The texts are the ones above.
    Scorer::read(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// Without those that were written twice; of two with one label the later gets a number.
fn distinct(scorers: Vec<Scorer>) -> Vec<Scorer> {
    let mut kept: Vec<Scorer> = Vec::new();
    for mut scorer in scorers {
        if kept.iter().any(|other| other.text == scorer.text && other.node == scorer.node) {
            continue;
        }
        let label = scorer.label.clone();
        let mut number = 2;
        while kept.iter().any(|other| other.label == scorer.label) {
            scorer.label = format!("{label}#{number}");
            number += 1;
        }
        kept.push(scorer);
    }
    kept
}

/// The node of a path such as `outer/inner`.
///
/// # Errors
/// That there is none, with what there is.
pub(super) fn find<'a>(bundle: &'a Bundle, path: &str) -> Result<&'a NodeKind, (String, Option<String>)> {
    let mut source: &WorkflowSource = &bundle.workflow;
    let mut parts = path.split('/').peekable();
    loop {
        let name = parts.next().unwrap_or_default();
        let nodes = &source.parsed.spec.nodes;
        let Some(node) = nodes.get(name) else {
            let workflow = &source.parsed.spec.name;
            let near = nearest(name, nodes.keys().map(String::as_str));
            let listed = || nodes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let hint = near.map_or_else(|| format!("it has {}", listed()), |near| format!("did you mean `{near}`?"));
            return Err((format!("workflow `{workflow}` has no node `{name}`"), Some(hint)));
        };
        if parts.peek().is_none() {
            return Ok(&node.kind);
        }
        match &node.kind {
            NodeKind::Workflow { path } if bundle.subworkflow(source, path).is_some() => {
                // It was just found.
                source = bundle.subworkflow(source, path).map_or(source, |source| source);
            }
            _ => return Err((format!("node `{name}` is no sub-workflow"), None)),
        }
    }
}

/// What is wrong, without the line, which is always the first.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use lumos_core::spec::{InputKind, InputSpec, NodeSpec, WorkflowSpec};

    use super::*;

    fn bundle() -> Bundle {
        let inner =
            WorkflowSpec::new("inner").input("q", InputSpec::text()).node("find", NodeSpec::retriever("r", "x"));
        let workflow = WorkflowSpec::new("outer")
            .input("q", InputSpec::text().required())
            .input("n", InputSpec::new(InputKind::Integer))
            .node("more", NodeSpec::workflow("inner.ron"))
            .node("write", NodeSpec::generator("g", "x"));
        Bundle::in_memory(workflow).with_subworkflow("inner.ron", inner)
    }

    fn problems(text: &str, scorers: &[&str]) -> String {
        let scorers: Vec<Scorer> = scorers.iter().map(|text| Scorer::read(text).unwrap()).collect();
        let found = Dataset::read("d.jsonl", text, &bundle(), &scorers, true).expect_err("problems");
        let shown = found.iter().map(|problem| match &problem.hint {
            Some(hint) => format!("{problem}\n  hint: {hint}"),
            None => problem.to_string(),
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_bad_row_is_listed_with_its_line() {
        let text = concat!(
            "{\"inputs\": {\"q\": \"a\"}, \"expected\": \"b\"}\n\n",
            "{\"inputs\": {\"q\": \"a\"}, \"expected\": }\n",
            "[1]\n",
            "{\"vars\": {\"q\": \"a\"}, \"target\": \"b\"}\n",
            "{\"inputs\": {\"q\": 3, \"n\": \"x\", \"k\": 1}, \"expected\": 1}\n",
            "{\"inputs\": {\"q\": \"a\"}, \"expected\": 1, \"scorers\": [\"exakt\", \"f1\", 3]}\n",
            "{\"inputs\": {\"q\": \"a\"}, \"nodes\": {\"more/fnd\": {\"expected\": [\"a\"]}, \"write/x\": {}, \"write\": 3}}\n",
            "{\"inputs\": {\"q\": \"a\"}}\n",
            "{\"id\": \"1\", \"inputs\": {\"q\": \"a\"}, \"expected\": {}, \"scorers\": \"number(1)\"}\n",
            "{\"inputs\": \"a\", \"expected\": 1}\n",
            "{\"id\": {}, \"inputs\": {\"q\": \"a\"}, \"scorers\": \"custom(command=\\\"rm\\\")\"}\n",
        );
        insta::assert_snapshot!(problems(text, &[]));
    }

    #[test]
    fn an_expectation_that_is_missing_or_of_another_kind_is_an_error_before_anything_runs() {
        let text = "{\"inputs\": {\"q\": \"a\"}}\n{\"inputs\": {\"q\": \"a\"}, \"expected\": \"x\"}\n";
        insta::assert_snapshot!(problems(text, &["number(0.1)", "nowhere: regex(\"x\")"]));
        assert!(problems("\n \n", &[]).contains("the data set has no rows"));
    }

    #[test]
    fn what_is_expected_is_scored_even_when_nobody_says_how() {
        let text = concat!(
            "{\"inputs\": {\"q\": \"a\"}, \"expected\": \"b\", \"nodes\": {\"more/find\": {\"expected\": [\"d\"]}}}\n",
            "{\"inputs\": {\"q\": \"a\"}, \"expected\": \"b\", \"scorers\": [\"f1\", \"f1\", \"contains\"], \"metadata\": 7}\n",
        );
        let labels = |scorers: &[&str]| -> Vec<Vec<String>> {
            let scorers: Vec<Scorer> = scorers.iter().map(|text| Scorer::read(text).unwrap()).collect();
            let dataset = Dataset::read("d.jsonl", text, &bundle(), &scorers, true).unwrap();
            assert_eq!(dataset.rows[0].inputs["n"], 0, "inputs that are not given have their defaults");
            dataset.rows.iter().map(|row| row.scorers.iter().map(|scorer| scorer.label.clone()).collect()).collect()
        };
        assert_eq!(labels(&[]), [vec!["exact", "more/find:recall_at(10)"], vec!["f1", "contains"]]);
        let [first, second] = &labels(&["more/find: ndcg(5)", "regex('x')", "regex('y')"])[..] else { panic!() };
        assert_eq!(first, &["more/find:ndcg(5)", "regex", "regex#2"]);
        assert_eq!(second, &["regex", "regex#2", "f1", "contains"]);
    }
}
