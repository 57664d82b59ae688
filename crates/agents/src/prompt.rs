//! The system and user message of an agent, as templates over the node's arguments.

use lumos_core::spec::PromptSpec;
use lumos_core::template::Template;
use lumos_core::{AgentError, Arguments, Message, Role};

use crate::build::{BuildContext, BuildError, read_text};

/// Most bytes of a prompt's template.
const MOST_BYTES: u64 = 1 << 20;

/// A prompt, parsed.
pub(crate) struct Prompt {
    system: Option<Template>,
    user: Template,
}

impl Prompt {
    /// Reads and parses both parts.
    pub(crate) fn new(spec: &PromptSpec, context: &BuildContext) -> Result<Self, BuildError> {
        let (field, user) = match (&spec.user_file, spec.user.trim().is_empty()) {
            (Some(file), true) => {
                ("prompt.user_file", read_text(&context.base.join(file), "prompt.user_file", MOST_BYTES)?)
            }
            (Some(_), false) => {
                return Err(BuildError::new("prompt.user_file", "both `user` and `user_file` are given")
                    .with_hint("keep one of them"));
            }
            (None, false) => ("prompt.user", spec.user.clone()),
            (None, true) => {
                return Err(BuildError::new("prompt.user", "the prompt is empty")
                    .with_hint("write `user: \"{{ input }}\"`, or name a `user_file`"));
            }
        };
        let parse = |field: &str, text: &str| {
            Template::parse(text).map_err(|error| {
                let place = error.line.map_or_else(String::new, |line| format!(" in line {line}"));
                BuildError { hint: error.hint, ..BuildError::new(field, format!("{}{place}", error.message)) }
            })
        };
        let system = match spec.system.trim() {
            "" => None,
            _ => Some(parse("prompt.system", &spec.system)?),
        };
        Ok(Self { system, user: parse(field, &user)? })
    }

    /// Renders the messages; a system message that renders to nothing is left out.
    pub(crate) fn messages(&self, arguments: &Arguments) -> Result<Vec<Message>, AgentError> {
        let render = |part: &str, template: &Template| {
            template.render(arguments).map_err(|error| AgentError {
                hint: error.hint,
                ..AgentError::fatal(format!("cannot render the {part} prompt: {}", error.message))
            })
        };
        let mut messages = Vec::with_capacity(2);
        if let Some(system) = &self.system {
            let content = render("system", system)?.trim().to_owned();
            if !content.is_empty() {
                messages.push(Message::new(Role::System, content));
            }
        }
        let content = render("user", &self.user)?.trim().to_owned();
        if content.is_empty() {
            return Err(AgentError::fatal("the user prompt renders to nothing")
                .with_hint("the node's arguments are empty; give `input` a text"));
        }
        messages.push(Message::new(Role::User, content));
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn context(base: &std::path::Path) -> BuildContext {
        BuildContext {
            base: base.to_owned(),
            asset: Arc::new(|name| Err(format!("no asset {name}"))),
            index_dir: base.join("indexes"),
        }
    }

    #[test]
    fn the_user_message_may_come_from_a_file_beside_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ask.txt"), "Answer: {{ input }}\n").unwrap();
        let spec = PromptSpec { user_file: Some("ask.txt".into()), system: " ".into(), ..PromptSpec::default() };
        let prompt = Prompt::new(&spec, &context(folder.path())).unwrap();
        let arguments = Arguments::from_iter([("input".to_owned(), "x".into())]);
        let messages = prompt.messages(&arguments).unwrap();
        assert_eq!(messages, [Message::new(Role::User, "Answer: x")]);
    }

    #[test]
    fn passages_are_easy_to_list_and_what_is_missing_is_named() {
        let user = "{% for p in context -%}\n[{{ p.id }}] {{ p.text }}\n{% endfor -%}\nQ: {{ input }}";
        let spec = PromptSpec { user: user.into(), ..PromptSpec::default() };
        let prompt = Prompt::new(&spec, &context(std::path::Path::new("."))).unwrap();
        let passages = serde_json::json!([{"id": "a#0", "text": "<x>"}, {"id": "b#1", "text": "y"}]);
        let mut arguments = Arguments::from_iter([("input".to_owned(), "why?".into())]);
        let error = prompt.messages(&arguments).unwrap_err();
        assert!(format!("{error:?}").contains("context"), "{error:?}");
        arguments.insert("context".into(), passages);
        assert_eq!(prompt.messages(&arguments).unwrap()[0].content, "[a#0] <x>\n[b#1] y\nQ: why?");
    }

    #[test]
    fn a_bomb_is_an_error() {
        let user = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        let spec = PromptSpec { user: user.into(), ..PromptSpec::default() };
        let prompt = Prompt::new(&spec, &context(std::path::Path::new("."))).unwrap();
        assert!(prompt.messages(&Arguments::new()).is_err());
    }

    #[test]
    fn a_prompt_without_one_user_part_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let new = |spec| Prompt::new(&spec, &context(folder.path())).map(drop).unwrap_err();
        assert_eq!(new(PromptSpec::default()).field, "prompt.user");
        let both = PromptSpec { user: "x".into(), user_file: Some("y".into()), ..PromptSpec::default() };
        assert!(new(both).message.contains("both"));
        let absent = PromptSpec { user_file: Some("no.txt".into()), ..PromptSpec::default() };
        assert!(new(absent).message.contains("no.txt"));
        let folder_as_file = PromptSpec { user_file: Some(".".into()), ..PromptSpec::default() };
        assert!(new(folder_as_file).message.contains("is not a file"));
        let broken = PromptSpec { user: "{{ x".into(), ..PromptSpec::default() };
        assert!(new(broken).message.contains("line 1"));
    }
}
