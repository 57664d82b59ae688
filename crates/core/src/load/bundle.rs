//! What a run is made of: specifications with their texts, positions and folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use crate::program::{Reading, Workflows};
use crate::read::Parsed;
use crate::spec::{AgentSpec, DeploymentSpec, ToolKind, WorkflowSpec};
use crate::template::Template;

/// A workflow with everything it names.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The workflow itself.
    pub workflow: Arc<WorkflowSource>,
    /// Sub-workflows, however deep, by canonical path (or the name given in memory).
    pub subworkflows: IndexMap<PathBuf, Arc<WorkflowSource>>,
    /// Agents by the name that nodes write.
    pub agents: IndexMap<String, Arc<AgentSource>>,
    /// The deployment, if one was named.
    pub deployment: Option<DeploymentSource>,
}

/// A workflow and where it came from.
#[derive(Debug, Clone)]
pub struct WorkflowSource {
    /// The specification with its positions.
    pub parsed: Parsed<WorkflowSpec>,
    /// The file's text; empty for what was built in memory.
    pub text: String,
    /// Where relative paths start.
    pub folder: PathBuf,
    /// The key in [`Bundle::subworkflows`] of each `path` that the nodes write.
    pub children: IndexMap<String, PathBuf>,
}

/// An agent and where it came from.
#[derive(Debug, Clone)]
pub struct AgentSource {
    /// The name that nodes write.
    pub name: String,
    /// The specification with its positions.
    pub parsed: Parsed<AgentSpec>,
    /// The file's text; `None` for what was built in memory.
    pub text: Option<String>,
    /// Where relative paths start.
    pub folder: PathBuf,
    /// The text of the prompt's `user_file`.
    pub user_prompt: Option<String>,
}

/// A deployment and where it came from.
#[derive(Debug, Clone)]
pub struct DeploymentSource {
    /// The specification with its positions.
    pub parsed: Parsed<DeploymentSpec>,
    /// The file's text; `None` for what was built in memory.
    pub text: Option<String>,
    /// Where relative paths start.
    pub folder: PathBuf,
}

impl AgentSource {
    pub(super) fn in_memory(name: &str, spec: AgentSpec) -> Self {
        let parsed = Parsed::in_memory(name, spec);
        Self { name: name.to_owned(), parsed, text: None, folder: PathBuf::new(), user_prompt: None }
    }

    /// The specification.
    pub fn spec(&self) -> &AgentSpec {
        &self.parsed.spec
    }

    /// What it makes of its arguments.
    pub fn reading(&self) -> Reading {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let arguments = match self.spec() {
            AgentSpec::Retriever(_) => names(&["query"]),
            AgentSpec::Forecaster(_) => names(&["series"]),
            AgentSpec::Guard(_) => names(&["input"]),
            AgentSpec::Tool(spec) => match spec.tool {
                ToolKind::Calculator => names(&["expression"]),
                ToolKind::HttpGet { .. } => names(&["url"]),
            },
            AgentSpec::Planner(_) | AgentSpec::Router(_) | AgentSpec::Judge(_) | AgentSpec::Generator(_) => {
                self.prompt_reads()
            }
        };
        let is_blind =
            matches!(self.spec(), AgentSpec::Guard(guard) if guard.detect.is_empty() && guard.deny.is_empty());
        Reading { arguments, is_blind }
    }

    /// The arguments that the prompt reads; `None` when it cannot be read.
    fn prompt_reads(&self) -> Option<IndexSet<String>> {
        let prompt = self.spec().prompt()?;
        let user = match (&prompt.user_file, &self.user_prompt) {
            (_, Some(user)) => user,
            (None, None) => &prompt.user,
            (Some(_), None) => return None,
        };
        let mut reads = IndexSet::new();
        for text in [&prompt.system, user] {
            let template = Template::parse(text).ok()?;
            reads.extend(template.references().iter().map(|reference| reference.root.clone()));
        }
        Some(reads)
    }
}

impl Bundle {
    /// A workflow that was built in memory; agents and the rest are added to it.
    pub fn in_memory(workflow: WorkflowSpec) -> Self {
        let workflow = Arc::new(source_in_memory(workflow));
        Self { workflow, subworkflows: IndexMap::new(), agents: IndexMap::new(), deployment: None }
    }

    /// The same bundle with an agent under the name that nodes write.
    #[must_use]
    pub fn with_agent(mut self, name: &str, spec: AgentSpec) -> Self {
        self.agents.insert(name.to_owned(), Arc::new(AgentSource::in_memory(name, spec)));
        self
    }

    /// The same bundle with a sub-workflow under the `path` that nodes of the workflow write.
    #[must_use]
    pub fn with_subworkflow(mut self, path: &str, workflow: WorkflowSpec) -> Self {
        self.subworkflows.insert(PathBuf::from(path), Arc::new(source_in_memory(workflow)));
        for source in std::iter::once(&mut self.workflow).chain(self.subworkflows.values_mut()) {
            Arc::make_mut(source).children.insert(path.to_owned(), PathBuf::from(path));
        }
        self
    }

    /// The same bundle with a deployment.
    #[must_use]
    pub fn with_deployment(mut self, spec: DeploymentSpec) -> Self {
        let parsed = Parsed::in_memory(spec.name.clone(), spec);
        self.deployment = Some(DeploymentSource { parsed, text: None, folder: PathBuf::new() });
        self
    }

    /// The workflow and its sub-workflows, the workflow first.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<WorkflowSource>> {
        std::iter::once(&self.workflow).chain(self.subworkflows.values())
    }

    /// The sub-workflow that a node of `source` means by a path.
    pub fn subworkflow(&self, source: &WorkflowSource, path: &str) -> Option<&Arc<WorkflowSource>> {
        self.subworkflows.get(source.children.get(path)?)
    }

    /// What [`crate::program::Program::compile`] takes.
    pub fn workflows(&self) -> Workflows {
        let position = |key: &Path| self.subworkflows.get_index_of(key).map(|index| index + 1);
        let list = self.sources().map(|source| {
            let children =
                source.children.iter().filter_map(|(path, key)| Some((path.clone(), position(key)?))).collect();
            (Arc::new(self.deployed(&source.parsed.spec)), children)
        });
        let agents = self.agents.iter().map(|(name, source)| (name.clone(), source.reading()));
        Workflows { list: list.collect(), agents: agents.collect() }
    }

    /// A workflow with the cascades that the deployment gives to its nodes.
    fn deployed(&self, workflow: &WorkflowSpec) -> WorkflowSpec {
        let mut workflow = workflow.clone();
        let Some(deployment) = self.deployment.as_ref().map(|source| &source.parsed.spec) else { return workflow };
        for (name, node) in &mut workflow.nodes {
            let agent = node.kind.agent().and_then(|agent| self.agents.get(agent)).map(|source| source.spec());
            node.options.cascade = deployment.cascade(name, node, agent).cloned();
        }
        workflow
    }
}

fn source_in_memory(spec: WorkflowSpec) -> WorkflowSource {
    let parsed = Parsed::in_memory(spec.name.clone(), spec);
    WorkflowSource { parsed, text: String::new(), folder: PathBuf::new(), children: IndexMap::new() }
}
