//! What has changed in the files of a run since it began.

use indexmap::IndexMap;
use lumos_core::Problem;
use lumos_core::load::{Definition, Written};

/// A file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As the user named it.
    pub file: String,
    /// Its text when the run began; `None` when it was not part of the run.
    pub before: Option<String>,
    /// Its text now; `None` when the run would no longer use it.
    pub after: Option<String>,
}

/// The files that changed since a definition was made; none for what was built in memory.
///
/// # Errors
/// What is wrong with the files as they are now.
pub fn changes(definition: &Definition) -> Result<Vec<Change>, Vec<Problem>> {
    Ok(between(definition, &definition.reread()?.definition()))
}

fn between(before: &Definition, after: &Definition) -> Vec<Change> {
    let (before, mut after) = (texts(before), texts(after));
    let mut changes = Vec::new();
    for (key, (file, text)) in before {
        match after.shift_remove(&key) {
            Some((_, now)) if now == text => {}
            now => changes.push(Change { file, before: Some(text), after: now.map(|(_, text)| text) }),
        }
    }
    changes.extend(after.into_values().map(|(file, text)| Change { file, before: None, after: Some(text) }));
    changes
}

/// Every file's name and text, by what it is to the run.
fn texts(definition: &Definition) -> IndexMap<(&'static str, String), (String, String)> {
    let mut texts = IndexMap::new();
    for workflow in &definition.workflows {
        if let Written::Text(text) = &workflow.written {
            texts.insert(("workflow", workflow.key.display().to_string()), (workflow.file.clone(), text.clone()));
        }
    }
    for (name, agent) in &definition.agents {
        if let Written::Text(text) = &agent.written {
            texts.insert(("agent", name.clone()), (agent.file.clone(), text.clone()));
        }
        if let Some(prompt) = &agent.user_prompt {
            texts.insert(("prompt", name.clone()), (format!("{} (prompt)", agent.file), prompt.clone()));
        }
    }
    if let Some(deployment) = &definition.deployment
        && let Written::Text(text) = &deployment.written
    {
        texts.insert(("deployment", String::new()), (deployment.file.clone(), text.clone()));
    }
    texts
}
