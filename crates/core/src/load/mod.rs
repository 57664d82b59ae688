//! A workflow with everything its files name: sub-workflows, agents and a deployment, found by the rules that people
//! rely on, or given as values by an embedding program.

mod bundle;
mod definition;
mod find;
mod scenario;

pub use bundle::{AgentSource, Bundle, DeploymentSource, WorkflowSource};
pub use definition::{AgentDefinition, Definition, DeploymentDefinition, WorkflowDefinition, Written};
pub use scenario::Scenario;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::problem::{Problem, Severity};
use crate::read::{Parsed, parse_agent, parse_deployment, parse_workflow, read_file};
use crate::spec::{AgentSpec, NodeKind, WorkflowSpec};
use find::Found;

/// Deepest nesting of sub-workflows.
const MAX_DEPTH: usize = 16;

/// Most workflows in a bundle.
const MAX_WORKFLOWS: usize = 256;

impl Bundle {
    /// Reads a workflow and everything it names.
    ///
    /// `deployment` is a path, or the name of a file in `deployments/`. The bundle is there, with what could be read,
    /// whenever the workflow's syntax is right, so that [`crate::check::check_bundle`] finds what else is wrong; it is
    /// fit to run only when no problem of either is an error.
    pub fn load(workflow: &Path, deployment: Option<&Path>) -> (Option<Self>, Vec<Problem>) {
        Self::load_with(workflow, deployment, &IndexMap::new())
    }

    /// Like [`Bundle::load`], with agents that need no file because the embedding program gives them.
    pub fn load_with(
        workflow: &Path,
        deployment: Option<&Path>,
        agents: &IndexMap<String, AgentSpec>,
    ) -> (Option<Self>, Vec<Problem>) {
        let mut loader = Loader::default();
        for (name, spec) in agents {
            loader.agents.insert(name.clone(), Arc::new(AgentSource::in_memory(name, spec.clone())));
        }
        let root = loader.workflow(workflow, &workflow.display().to_string());
        let folder = find::folder_of(workflow);
        let deployment = deployment.and_then(|named| loader.deployment(named, &folder));
        loader.problems.sort_by(Problem::by_place);
        let Loader { workflows, agents, problems, .. } = loader;
        let bundle = root.and_then(|root| {
            let workflow = workflows.get(&root).cloned().flatten()?;
            let subworkflows = workflows
                .into_iter()
                .filter_map(|(key, source)| Some((key.clone(), source.filter(|_| key != root)?)))
                .collect();
            Some(Self { workflow, subworkflows, agents, deployment })
        });
        (bundle, problems)
    }

    /// Loads and checks: a bundle that is fit to run, with the warnings.
    ///
    /// # Errors
    /// All problems, when one of them is an error.
    pub fn open(workflow: &Path, deployment: Option<&Path>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (bundle, mut problems) = Self::load(workflow, deployment);
        if let Some(bundle) = &bundle {
            problems.extend(crate::check::check_bundle(bundle));
            problems.sort_by(Problem::by_place);
        }
        match bundle {
            Some(bundle) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
                Ok((bundle, problems))
            }
            _ => Err(problems),
        }
    }
}

impl AgentSource {
    /// Reads one agent's file.
    pub fn load(path: &Path) -> (Option<Self>, Vec<Problem>) {
        let mut loader = Loader::default();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let source = loader.agent(&name, path);
        let mut problems = loader.problems;
        let source = match source {
            Ok(source) => Some(source),
            Err(unreadable) => {
                problems.extend(unreadable.map(|problem| *problem));
                None
            }
        };
        (source, problems)
    }
}

impl DeploymentSource {
    /// Reads a deployment: a path, or the name of a file in `deployments/` that is looked for from `folder` on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(named: &Path, folder: &Path) -> Result<Self, Vec<Problem>> {
        let mut loader = Loader::default();
        let source = loader.deployment(named, folder);
        match source.filter(|_| loader.problems.iter().all(|problem| problem.severity == Severity::Warning)) {
            Some(source) => Ok(source),
            None => Err(loader.problems),
        }
    }
}

/// The file of the deployment `name` for a workflow, by the rules that names in files follow; `None` when there is none.
pub fn find_deployment(name: &str, workflow: &Path) -> Option<PathBuf> {
    match find::named(name, "deployments", &find::folder_of(workflow)) {
        Found::At(path) => path.is_file().then_some(path),
        Found::Nowhere { .. } => None,
    }
}

/// Reads files once each and notes what is wrong with them.
#[derive(Default)]
struct Loader {
    /// By canonical path; `None` for files that could not be read.
    workflows: IndexMap<PathBuf, Option<Arc<WorkflowSource>>>,
    agents: IndexMap<String, Arc<AgentSource>>,
    /// Names of agents that are missing or broken, so that each is reported once.
    lost: std::collections::BTreeSet<String>,
    /// Where the agent of a name was found.
    places: IndexMap<String, PathBuf>,
    /// Workflows that are being read, outermost first, with how they were named.
    stack: Vec<(PathBuf, String)>,
    problems: Vec<Problem>,
}

impl Loader {
    /// Reads a workflow and what it names; gives its key.
    fn workflow(&mut self, path: &Path, shown: &str) -> Option<PathBuf> {
        let text = match read_file(path) {
            Ok(text) => text,
            Err(problem) => {
                self.problems.push(*problem);
                return None;
            }
        };
        let key = find::identity(path);
        let (parsed, problems) = parse_workflow(shown, &text);
        self.problems.extend(problems);
        self.stack.push((key.clone(), shown.to_owned()));
        let source = parsed.map(|parsed| {
            let folder = find::folder_of(path);
            self.find_agents(&parsed, &folder);
            let children = self.children(&parsed, &folder);
            Arc::new(WorkflowSource { parsed, text, folder, children })
        });
        self.stack.pop();
        self.workflows.insert(key.clone(), source);
        Some(key)
    }

    /// Reads the sub-workflows; gives the key of each path as it is written.
    fn children(&mut self, parsed: &Parsed<WorkflowSpec>, folder: &Path) -> IndexMap<String, PathBuf> {
        let mut children = IndexMap::new();
        for (name, node) in &parsed.spec.nodes {
            let NodeKind::Workflow { path: written } = &node.kind else { continue };
            if children.contains_key(written) {
                continue;
            }
            let fail = |message: String, hint: Option<String>| problem_at(parsed, name, "path", message, hint);
            let path = folder.join(written);
            let key = find::identity(&path);
            if let Some(start) = self.stack.iter().position(|(above, _)| *above == key) {
                let circle: Vec<&str> = self.stack[start..].iter().map(|(_, shown)| shown.as_str()).collect();
                let message = format!("the workflow runs itself: {} -> {}", circle.join(" -> "), circle[0]);
                let hint = Some("use `repeat` for a loop".to_owned());
                self.problems.push(fail(message, hint));
                continue;
            }
            if !self.workflows.contains_key(&key) {
                if self.stack.len() > MAX_DEPTH || self.workflows.len() >= MAX_WORKFLOWS {
                    let hint = Some(format!("at most {MAX_DEPTH} levels and {MAX_WORKFLOWS} files"));
                    self.problems.push(fail("sub-workflows are nested too deep".to_owned(), hint));
                    continue;
                }
                if let Err(error) = read_file(&path) {
                    self.problems.push(fail(format!("sub-workflow `{written}`: {}", error.message), error.hint));
                    self.workflows.insert(key, None);
                    continue;
                }
                self.workflow(&path, &find::shown(&path));
            }
            children.insert(written.clone(), key);
        }
        children
    }

    fn find_agents(&mut self, parsed: &Parsed<WorkflowSpec>, folder: &Path) {
        for (name, node) in &parsed.spec.nodes {
            let own = node.kind.agent().filter(|_| !matches!(node.kind, NodeKind::Custom { .. }));
            let agents = own.map(|agent| (agent, "agent")).into_iter();
            for (agent, field) in agents.chain(node.judged_by().map(|judge| (judge, "cascade.judge"))) {
                self.find_agent(parsed, folder, name, agent, field);
            }
        }
    }

    /// Finds and reads the agent that a field of a node names.
    fn find_agent(&mut self, parsed: &Parsed<WorkflowSpec>, folder: &Path, node: &str, agent: &str, field: &str) {
        if self.lost.contains(agent) || self.agents.get(agent).is_some_and(|source| source.text.is_none()) {
            return;
        }
        let fail = |message: String, hint: Option<String>| problem_at(parsed, node, field, message, hint);
        let path = match find::named(agent, "agents", folder) {
            Found::At(path) => path,
            Found::Nowhere { hint } => {
                self.problems.push(fail(format!("there is no agent `{agent}`"), hint));
                self.lost.insert(agent.to_owned());
                return;
            }
        };
        let key = find::identity(&path);
        match self.places.get(agent) {
            Some(place) if *place == key => {}
            Some(place) => {
                let hint = Some(format!("it is `{}` elsewhere in this run; rename one of them", find::shown(place)));
                self.problems.push(fail(format!("agent `{agent}` is `{}` here", find::shown(&path)), hint));
            }
            None => {
                self.places.insert(agent.to_owned(), key);
                match self.agent(agent, &path) {
                    Ok(source) => {
                        self.agents.insert(agent.to_owned(), Arc::new(source));
                    }
                    Err(unreadable) => {
                        self.lost.insert(agent.to_owned());
                        self.problems.extend(
                            unreadable.map(|error| fail(format!("agent `{agent}`: {}", error.message), error.hint)),
                        );
                    }
                }
            }
        }
    }

    /// Reads an agent's file. Its problems are noted; what keeps it from being opened is the caller's to place.
    fn agent(&mut self, name: &str, path: &Path) -> Result<AgentSource, Option<Box<Problem>>> {
        let text = read_file(path).map_err(Some)?;
        let (parsed, problems) = parse_agent(&find::shown(path), &text);
        self.problems.extend(problems);
        let parsed = parsed.ok_or(None)?;
        let folder = find::folder_of(path);
        let user_prompt = parsed.spec.prompt().and_then(|prompt| prompt.user_file.as_ref()).and_then(|file| {
            match read_file(&folder.join(file)) {
                Ok(text) => Some(text),
                Err(error) => {
                    let place = parsed.positions.of("prompt.user_file");
                    self.problems.push(Problem {
                        line: place.map(|place| place.line),
                        column: place.map(|place| place.column),
                        field: Some("prompt.user_file".to_owned()),
                        ..Problem::of_file(&parsed.file, format!("`{file}`: {}", error.message), error.hint)
                    });
                    None
                }
            }
        });
        Ok(AgentSource { name: name.to_owned(), parsed, text: Some(text), folder, user_prompt })
    }

    fn deployment(&mut self, named: &Path, folder: &Path) -> Option<DeploymentSource> {
        let path = match find::argument(named, "deployments", folder) {
            Found::At(path) => path,
            Found::Nowhere { hint } => {
                let shown = named.display().to_string();
                self.problems.push(Problem::of_file(&shown, "there is no such deployment", hint));
                return None;
            }
        };
        match read_file(&path) {
            Ok(text) => {
                let (parsed, problems) = parse_deployment(&find::shown(&path), &text);
                self.problems.extend(problems);
                Some(DeploymentSource { parsed: parsed?, text: Some(text), folder: find::folder_of(&path) })
            }
            Err(problem) => {
                self.problems.push(*problem);
                None
            }
        }
    }
}

fn problem_at(
    parsed: &Parsed<WorkflowSpec>,
    node: &str,
    field: &str,
    message: String,
    hint: Option<String>,
) -> Problem {
    let place = parsed.positions.of(&format!("nodes.{node}.{field}"));
    Problem {
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        node: Some(node.to_owned()),
        field: Some(field.to_owned()),
        ..Problem::of_file(&parsed.file, message, hint)
    }
}

#[cfg(test)]
pub(crate) mod tests;
