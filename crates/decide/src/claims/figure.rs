//! Figures of a claim at a point: questions with everything filled in, their answers, and the expression over them.

use indexmap::{IndexMap, IndexSet};
use lumos_core::spec::{ClaimSpec, QuestionSpec};
use lumos_core::template::{Template, TemplateError};
use lumos_core::usage::Basis;
use serde::Serialize;
use serde_json::Value;

use super::results::AskedQuestion;
use super::{ClaimError, Part, Point, weaker};
use crate::statistics::{Estimate, student_interval};

/// A question with everything filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Ask {
    /// `lumos simulate`.
    Simulate {
        /// The scenario's file, relative to the claim's.
        scenario: String,
        /// The deployment.
        deployment: String,
        /// How many times as often runs arrive.
        load_factor: f64,
        /// Runs that arrive.
        runs: Option<u64>,
        /// Seeds, from 0 on: one document for each.
        seeds: u32,
    },
    /// `lumos plan`.
    Plan {
        /// The scenario's file, relative to the claim's.
        scenario: String,
        /// The deployment.
        deployment: String,
        /// Runs of each simulation of the search.
        runs: Option<u64>,
    },
    /// `lumos prices check`.
    Price {
        /// Who sells it.
        provider: String,
        /// The model.
        model: String,
        /// Tokens of prompts.
        input_tokens: u64,
        /// Tokens of answers.
        output_tokens: u64,
    },
    /// `lumos audit`.
    Audit {
        /// The workflow's file, relative to the claim's.
        workflow: String,
        /// The deployment.
        deployment: String,
    },
}

/// An answer: the document that the command prints, one for each seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The documents.
    pub documents: Vec<Value>,
    /// Where their figures come from.
    pub basis: Basis,
    /// The command that gives the same.
    pub command: String,
    /// Pages and files that figures are from.
    pub sources: Vec<String>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
}

/// Works figures out, and remembers answers.
pub(super) struct Figures<'a, E> {
    claim: &'a ClaimSpec,
    ask: &'a mut dyn FnMut(&Ask) -> Result<Answer, E>,
    /// By the question as JSON.
    answers: IndexMap<String, Answer>,
}

impl<'a, E> Figures<'a, E> {
    pub(super) fn new(claim: &'a ClaimSpec, ask: &'a mut dyn FnMut(&Ask) -> Result<Answer, E>) -> Self {
        Self { claim, ask, answers: IndexMap::new() }
    }

    /// The figure at a point with its interval. Where it must be known, that it isn't is an error.
    pub(super) fn at(
        &mut self,
        of: &Part<'_>,
        point: &Point,
        must_be_known: bool,
    ) -> Result<Option<Estimate>, ClaimError<E>> {
        let mut answers: Vec<(&str, Vec<Value>)> = Vec::new();
        for name in self.questions(of.template) {
            let documents = self.answer(name, point)?.documents.clone();
            answers.push((name, documents));
        }
        // A price is the same whatever the seed.
        let seeds = answers.iter().map(|(_, documents)| documents.len()).filter(|seeds| *seeds > 1).min().unwrap_or(1);
        let mut values = Vec::with_capacity(seeds);
        for seed in 0..seeds {
            let mut scope = point.clone();
            for (name, documents) in &answers {
                scope.insert((*name).to_owned(), documents[seed.min(documents.len() - 1)].clone());
            }
            let field = || of.field.to_owned();
            match of.template.evaluate(&scope) {
                Ok(value) => match value.as_f64().filter(|value| value.is_finite()) {
                    Some(value) => values.push(value),
                    None if must_be_known => {
                        return Err(ClaimError::NotANumber { field: field(), found: value.to_string() });
                    }
                    None => return Ok(None),
                },
                Err(error) if must_be_known => return Err(ClaimError::Template { field: field(), error }),
                Err(_) => return Ok(None),
            }
        }
        let widened = |estimate: Estimate| {
            let (low, high) = (estimate.low.unwrap_or(estimate.value), estimate.high.unwrap_or(estimate.value));
            let off = of.spec.off_by;
            Estimate::between(estimate.value, (low - low.abs() * off, high + high.abs() * off))
        };
        Ok(student_interval(&values).map(widened))
    }

    /// What is given that a figure depends on, through its questions too.
    pub(super) fn given_of(&self, template: &Template) -> Result<IndexSet<String>, ClaimError<E>> {
        let mut used = self.given_in(template);
        for name in self.questions(template) {
            used.extend(self.given_of_question(name)?);
        }
        Ok(used)
    }

    /// What is given that a question depends on.
    fn given_of_question(&self, name: &str) -> Result<IndexSet<String>, ClaimError<E>> {
        let mut used = IndexSet::new();
        for (field, text) in texts(&self.claim.asked[name]) {
            used.extend(self.given_in(&compiled(&format!("asked.{name}.{field}"), &text)?));
        }
        Ok(used)
    }

    fn given_in(&self, template: &Template) -> IndexSet<String> {
        let names = template.references().iter().map(|reference| &reference.root);
        names.filter(|name| self.claim.given.contains_key(*name)).cloned().collect()
    }

    /// Where a figure comes from: its weakest question, and all of them.
    pub(super) fn origin(&mut self, template: &Template, point: &Point) -> Result<(Basis, Vec<String>), ClaimError<E>> {
        let questions = self.questions(template);
        let mut basis = if questions.is_empty() { Basis::Estimated } else { Basis::Measured };
        for name in &questions {
            basis = weaker(basis, self.answer(name, point)?.basis);
        }
        Ok((basis, questions.into_iter().map(str::to_owned).collect()))
    }

    /// All questions with what was answered with the usual values.
    pub(super) fn asked(&mut self) -> Result<Vec<AskedQuestion>, ClaimError<E>> {
        let claim = self.claim;
        let usual: Point = claim.given.iter().map(|(name, given)| (name.clone(), given.usual())).collect();
        let mut asked = Vec::with_capacity(claim.asked.len());
        for name in claim.asked.keys() {
            let answer = self.answer(name, &usual)?;
            asked.push(AskedQuestion {
                name: name.clone(),
                command: answer.command.clone(),
                basis: answer.basis,
                sources: answer.sources.clone(),
                assumptions: answer.assumptions.clone(),
            });
        }
        Ok(asked)
    }

    /// The questions that an expression reads, in the order of the file.
    fn questions(&self, template: &Template) -> Vec<&'a str> {
        let claim = self.claim;
        let is_read = |name: &str| template.references().iter().any(|reference| reference.root == name);
        claim.asked.keys().map(String::as_str).filter(|name| is_read(name)).collect()
    }

    fn answer(&mut self, name: &str, point: &Point) -> Result<&Answer, ClaimError<E>> {
        let ask = filled(&self.claim.asked[name], &format!("asked.{name}"), point)?;
        let key = serde_json::to_string(&ask).unwrap_or_default();
        if !self.answers.contains_key(&key) {
            let answer = match (self.ask)(&ask) {
                Ok(answer) => answer,
                Err(error) => {
                    let mut with = point.clone();
                    let used = self.given_of_question(name)?;
                    with.retain(|name, _| used.contains(name));
                    return Err(ClaimError::Asking { question: name.to_owned(), with, error });
                }
            };
            self.answers.insert(key.clone(), answer);
        }
        Ok(&self.answers[&key])
    }
}

fn compiled<E>(field: &str, text: &str) -> Result<Template, ClaimError<E>> {
    Template::parse(text).map_err(|error| ClaimError::Template { field: field.to_owned(), error })
}

/// The templates of a question, with their fields.
fn texts(question: &QuestionSpec) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match question {
        QuestionSpec::Simulate { scenario, deployment, load_factor, .. } => {
            vec![("scenario", scenario.clone()), ("deployment", deployment.clone()), ("load_factor", text(load_factor))]
        }
        QuestionSpec::Plan { scenario, deployment, .. } => {
            vec![("scenario", scenario.clone()), ("deployment", deployment.clone())]
        }
        QuestionSpec::Price { provider, model, input_tokens, output_tokens } => vec![
            ("provider", provider.clone()),
            ("model", model.clone()),
            ("input_tokens", text(input_tokens)),
            ("output_tokens", text(output_tokens)),
        ],
        QuestionSpec::Audit { workflow, deployment } => {
            vec![("workflow", workflow.clone()), ("deployment", deployment.clone())]
        }
    }
}

/// A question with what is given at a point.
fn filled<E>(question: &QuestionSpec, path: &str, point: &Point) -> Result<Ask, ClaimError<E>> {
    let failed = |field: &str, error: TemplateError| ClaimError::Template { field: format!("{path}.{field}"), error };
    let text = |field: &str, text: &str| {
        let template = Template::parse(text).map_err(|error| failed(field, error))?;
        template.render(point).map_err(|error| failed(field, error))
    };
    let number = |field: &str, value: &Value| {
        let value = match value.as_str() {
            Some(text) => {
                let template = Template::parse(text).map_err(|error| failed(field, error))?;
                template.evaluate(point).map_err(|error| failed(field, error))?
            }
            None => value.clone(),
        };
        let (field, found) = (format!("{path}.{field}"), value.to_string());
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) if number < 0.0 => Err(ClaimError::Negative { field, found }),
            Some(number) => Ok(number),
            None => Err(ClaimError::NotANumber { field, found }),
        }
    };
    Ok(match question {
        QuestionSpec::Simulate { scenario, deployment, load_factor, runs, seeds } => Ask::Simulate {
            scenario: text("scenario", scenario)?,
            deployment: text("deployment", deployment)?,
            load_factor: number("load_factor", load_factor)?,
            runs: *runs,
            seeds: *seeds,
        },
        QuestionSpec::Plan { scenario, deployment, runs } => Ask::Plan {
            scenario: text("scenario", scenario)?,
            deployment: text("deployment", deployment)?,
            runs: *runs,
        },
        QuestionSpec::Price { provider, model, input_tokens, output_tokens } => Ask::Price {
            provider: text("provider", provider)?,
            model: text("model", model)?,
            input_tokens: number("input_tokens", input_tokens)?.round() as u64,
            output_tokens: number("output_tokens", output_tokens)?.round() as u64,
        },
        QuestionSpec::Audit { workflow, deployment } => {
            Ask::Audit { workflow: text("workflow", workflow)?, deployment: text("deployment", deployment)? }
        }
    })
}
