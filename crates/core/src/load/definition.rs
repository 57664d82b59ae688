//! What a run is defined by, as data that outlives its files: kept with the run, compared with what the files say later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{AgentSource, Bundle, DeploymentSource, WorkflowSource, find};
use crate::problem::Problem;
use crate::program::Workflows;
use crate::read::{Parsed, read_agent, read_deployment, read_workflow};
use crate::spec::{AgentSpec, DeploymentSpec, WorkflowSpec};

/// A workflow with everything it names, by value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The workflow, then its sub-workflows.
    pub workflows: Vec<WorkflowDefinition>,
    /// Agents by the name that nodes write.
    pub agents: IndexMap<String, AgentDefinition>,
    /// The deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentDefinition>,
}

/// A file's text, or the value of what was built in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written<T> {
    /// As it is in the file.
    Text(String),
    /// As the embedding program gave it.
    Value(Box<T>),
}

/// A workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowDefinition {
    /// The file as the user named it.
    pub file: String,
    /// Where relative paths start; absolute for files.
    pub folder: PathBuf,
    /// Its key among sub-workflows: the file's path; empty for the workflow itself.
    pub key: PathBuf,
    /// What it says.
    pub written: Written<WorkflowSpec>,
    /// The position of the workflow that each written `path` means.
    pub children: IndexMap<String, usize>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDefinition {
    /// The file as the user named it.
    pub file: String,
    /// Where relative paths start; absolute for files.
    pub folder: PathBuf,
    /// What it says.
    pub written: Written<AgentSpec>,
    /// The text of the prompt's `user_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_prompt: Option<String>,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentDefinition {
    /// The file as the user named it.
    pub file: String,
    /// Where relative paths start; absolute for files.
    pub folder: PathBuf,
    /// What it says.
    pub written: Written<DeploymentSpec>,
}

impl From<&Workflows> for Definition {
    /// Of workflows without files, agents or deployment.
    fn from(workflows: &Workflows) -> Self {
        let workflows = workflows.list.iter().map(|(spec, children)| WorkflowDefinition {
            file: spec.name.clone(),
            folder: PathBuf::new(),
            key: PathBuf::from(&spec.name),
            written: Written::Value(Box::new((**spec).clone())),
            children: children.clone(),
        });
        Self { workflows: workflows.collect(), agents: IndexMap::new(), deployment: None }
    }
}

impl From<&DeploymentSource> for DeploymentDefinition {
    fn from(source: &DeploymentSource) -> Self {
        Self {
            file: source.parsed.file.clone(),
            folder: absolute(&source.folder, source.text.is_some()),
            written: written(source.text.as_deref(), &source.parsed.spec),
        }
    }
}

impl Bundle {
    /// The bundle by value.
    pub fn definition(&self) -> Definition {
        let position = |key: &Path| self.subworkflows.get_index_of(key).map(|index| index + 1);
        let keys = std::iter::once(Path::new("")).chain(self.subworkflows.keys().map(PathBuf::as_path));
        let workflows = self.sources().zip(keys).map(|(source, key)| WorkflowDefinition {
            file: source.parsed.file.clone(),
            folder: absolute(&source.folder, !source.text.is_empty()),
            key: key.to_owned(),
            written: written((!source.text.is_empty()).then_some(source.text.as_str()), &source.parsed.spec),
            children: source.children.iter().filter_map(|(path, key)| Some((path.clone(), position(key)?))).collect(),
        });
        let agents = self.agents.iter().map(|(name, source)| {
            let agent = AgentDefinition {
                file: source.parsed.file.clone(),
                folder: absolute(&source.folder, source.text.is_some()),
                written: written(source.text.as_deref(), &source.parsed.spec),
                user_prompt: source.user_prompt.clone(),
            };
            (name.clone(), agent)
        });
        let deployment = self.deployment.as_ref().map(DeploymentDefinition::from);
        Definition { workflows: workflows.collect(), agents: agents.collect(), deployment }
    }
}

impl Definition {
    /// The bundle that this is the definition of.
    ///
    /// # Errors
    /// When a later version of lumos no longer reads what an earlier one wrote.
    pub fn bundle(&self) -> Result<Bundle, Vec<Problem>> {
        let mut sources = Vec::with_capacity(self.workflows.len());
        for workflow in &self.workflows {
            let key = |position: &usize| self.workflows.get(*position).map(|child| child.key.clone());
            let children = workflow.children.iter().filter_map(|(path, at)| Some((path.clone(), key(at)?))).collect();
            sources.push(Arc::new(WorkflowSource {
                parsed: workflow.written.parsed(&workflow.file, read_workflow)?,
                text: workflow.written.text().unwrap_or_default().to_owned(),
                folder: workflow.folder.clone(),
                children,
            }));
        }
        let mut agents = IndexMap::with_capacity(self.agents.len());
        for (name, agent) in &self.agents {
            let source = AgentSource {
                name: name.clone(),
                parsed: agent.written.parsed(&agent.file, read_agent)?,
                text: agent.written.text().map(str::to_owned),
                folder: agent.folder.clone(),
                user_prompt: agent.user_prompt.clone(),
            };
            agents.insert(name.clone(), Arc::new(source));
        }
        let deployment = match &self.deployment {
            Some(deployment) => Some(DeploymentSource {
                parsed: deployment.written.parsed(&deployment.file, read_deployment)?,
                text: deployment.written.text().map(str::to_owned),
                folder: deployment.folder.clone(),
            }),
            None => None,
        };
        let mut sources = sources.into_iter();
        let nothing = || vec![Problem::of_file("run", "its definition names no workflow", None)];
        let workflow = sources.next().ok_or_else(nothing)?;
        let keys = self.workflows.iter().skip(1).map(|workflow| workflow.key.clone());
        Ok(Bundle { workflow, subworkflows: keys.zip(sources).collect(), agents, deployment })
    }

    /// The same definition with another deployment.
    #[must_use]
    pub fn deployed(self, deployment: &DeploymentSource) -> Self {
        Self { deployment: Some(deployment.into()), ..self }
    }

    /// Reads the files again: the workflow's with everything that it names now, and the deployment's.
    ///
    /// What was built in memory is as it was.
    ///
    /// # Errors
    /// What is wrong with the files as they are now.
    pub fn reread(&self) -> Result<Bundle, Vec<Problem>> {
        let [root, ..] = &self.workflows[..] else { return self.bundle() };
        if root.written.text().is_none() {
            return self.bundle();
        }
        let path = root.folder.join(Path::new(&root.file).file_name().unwrap_or_default());
        let deployment = self.deployment.as_ref().and_then(|deployment| {
            deployment.written.text()?;
            Some(deployment.folder.join(Path::new(&deployment.file).file_name().unwrap_or_default()))
        });
        Bundle::open(&path, deployment.as_deref()).map(|(bundle, _)| bundle)
    }
}

impl<T: Clone> Written<T> {
    /// The file's text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(_) => None,
        }
    }

    fn parsed(
        &self,
        file: &str,
        read: impl FnOnce(&str, &str) -> Result<Parsed<T>, Vec<Problem>>,
    ) -> Result<Parsed<T>, Vec<Problem>> {
        match self {
            Self::Text(text) => read(file, text),
            Self::Value(spec) => Ok(Parsed::in_memory(file, (**spec).clone())),
        }
    }
}

fn written<T: Clone>(text: Option<&str>, spec: &T) -> Written<T> {
    text.map_or_else(|| Written::Value(Box::new(spec.clone())), |text| Written::Text(text.to_owned()))
}

/// A file's folder so that another process, started elsewhere, finds it too.
fn absolute(folder: &Path, is_file: bool) -> PathBuf {
    if is_file {
        find::identity(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
    } else {
        folder.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::NodeSpec;

    #[test]
    fn a_bundle_comes_back_from_its_definition() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        write("agents/g.ron", "Generator(model: \"m\", prompt: (user_file: \"p.txt\"))");
        write("agents/p.txt", "say {{ input }}");
        write(
            "inner.ron",
            "Workflow(name: \"inner\", nodes: { \"g\": Generator(agent: \"g\", input: \"x\") }, output: \"{{ g.text }}\")",
        );
        let path = write(
            "w.ron",
            "Workflow(name: \"w\", nodes: { \"in\": Workflow(path: \"inner.ron\") }, output: \"{{ in }}\")",
        );
        let deployment = write(
            "d.ron",
            "Deployment(name: \"d\", backends: { \"b\": Custom(name: \"b\", cost: Unknown) }, bind: { \"*\": \"b\" })",
        );
        let (bundle, _) = Bundle::open(&path, Some(&deployment)).unwrap();
        let definition = bundle.definition();
        let json = serde_json::to_string(&definition).unwrap();
        let again: Definition = serde_json::from_str(&json).unwrap();
        assert_eq!(again, definition);
        let rebuilt = again.bundle().unwrap();
        assert_eq!(rebuilt.definition(), definition);
        assert_eq!(rebuilt.agents["g"].user_prompt.as_deref(), Some("say {{ input }}"));
        let specs = |bundle: &Bundle| bundle.sources().map(|source| source.parsed.spec.clone()).collect::<Vec<_>>();
        assert_eq!(specs(&rebuilt), specs(&bundle));
        assert_eq!(rebuilt.workflows().list.len(), 2);
        // Files that have not changed read as they were, from wherever they are read.
        let reread = |definition: &Definition| definition.reread().unwrap().definition();
        let texts =
            |definition: &Definition| definition.workflows.iter().map(|it| it.written.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&reread(&again)), texts(&definition));
        std::fs::write(folder.path().join("inner.ron"), "nonsense").unwrap();
        assert!(again.reread().is_err());
    }

    #[test]
    fn what_was_built_in_memory_is_kept_as_a_value() {
        let workflow = WorkflowSpec::new("w").node("a", NodeSpec::custom("x")).output("{{ a }}");
        let bundle = Bundle::in_memory(workflow.clone());
        let definition = bundle.definition();
        assert_eq!(definition.workflows[0].written, Written::Value(Box::new(workflow)));
        assert_eq!(definition.reread().unwrap().definition(), definition);
        assert_eq!(Definition::from(&bundle.workflows()).bundle().unwrap().workflow.parsed.spec.name, "w");
    }
}
