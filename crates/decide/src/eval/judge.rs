//! Scorers that are workflows, a judge among them: their runs are carried out, limited, charged and kept as any others.

use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use lumos_core::load::{Bundle, DeploymentSource};
use lumos_core::record::Status;
use lumos_core::spec::{
    AgentSpec, DecodingSpec, InputKind, InputSpec, JudgeSpec, Label, NodeSpec, PromptSpec, Retry, WorkflowSpec,
};
use lumos_engine::{BoundProgram, CancellationToken, Engine, EngineError, RunRequest};
use serde_json::Value;

use super::case::{Bill, Case, ExternalScorer, Score, score_from};
use super::score::text_of;

/// Name of the judge's workflow, under which its runs are kept.
const JUDGE: &str = "judge";

/// Characters of the reason that a judge gives.
const REASON_CHARS: u32 = 240;

/// What a judge is asked.
const QUESTION: &str = "Task: {{ task }}
{% if expected %}
Expected: {{ expected }}
{% endif %}
Answer: {{ input }}

Grade the answer from {{ min }} to {{ max }}.";

/// A workflow that grades an answer by a rubric. `alias` is an alias of the deployment or the name of a backend. `labels` are
/// those of what is judged: a judge is asked nothing that the boundary would not let out.
pub fn judge_bundle(
    (rubric, alias): (&str, &str),
    (min, max): (i32, i32),
    labels: &[Label],
    mut deployment: DeploymentSource,
) -> Bundle {
    let input = || InputSpec { labels: labels.to_vec(), ..InputSpec::text() };
    let workflow = WorkflowSpec::new(JUDGE)
        .input("task", input())
        .input("output", input())
        .input("expected", input())
        .node(
            JUDGE,
            NodeSpec::judge(JUDGE, "{{ inputs.output }}")
                .with("task", "{{ inputs.task }}")
                .with("expected", "{{ inputs.expected }}")
                .with("min", min.to_string())
                .with("max", max.to_string())
                // An answer that is no grade is asked for again.
                .retry(Retry { attempts: 3, backoff: lumos_core::spec::Backoff::default() }),
        )
        .output("{{ judge }}");
    // What a rubric says is no template.
    let system = format!("You grade answers. {{% raw %}}{}{{% endraw %}}", rubric.replace("{%", "{ %"));
    let agent = JudgeSpec {
        model: alias.to_owned(),
        prompt: PromptSpec { system, user: QUESTION.to_owned(), user_file: None },
        decoding: DecodingSpec::default(),
        min,
        max,
        reason_chars: REASON_CHARS,
    };
    // The node is bound by nothing but the alias, whatever the deployment has for nodes of its name.
    let spec = &mut deployment.parsed.spec;
    let by_alias = || spec.bind.get(alias).or_else(|| spec.bind.get("*")).cloned();
    let bound = if spec.backends.contains_key(alias) { Some(alias.to_owned()) } else { by_alias() };
    spec.bind.shift_remove(JUDGE);
    if let Some(bound) = bound {
        spec.bind.insert(JUDGE.to_owned(), bound);
    }
    deployment.text = None;
    Bundle { deployment: Some(deployment), ..Bundle::in_memory(workflow).with_agent(JUDGE, AgentSpec::Judge(agent)) }
}

/// Scores by a workflow's output: a score, or a judge's grade.
pub struct ByWorkflow {
    /// What carries out its runs.
    pub engine: Engine,
    /// The workflow. Of its inputs, `output`, `expected`, `inputs`, `task` and `id` are given what they say.
    pub program: Arc<BoundProgram>,
    /// Ends its runs.
    pub cancel: CancellationToken,
}

impl ByWorkflow {
    fn inputs(&self, case: &Case<'_>) -> IndexMap<String, Value> {
        let task = || {
            let mut inputs = case.row.inputs.iter();
            match (inputs.next(), inputs.next()) {
                (Some((_, only)), None) => text_of(only),
                _ => case
                    .row
                    .inputs
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", text_of(value)))
                    .collect::<Vec<_>>()
                    .join("\n"),
            }
        };
        let takes = self.program.program().inputs();
        let known = takes.iter().filter_map(|(name, input)| {
            let value = match name.as_str() {
                "output" => case.output.clone(),
                "expected" => case.expected.cloned()?,
                "inputs" => case
                    .row
                    .inputs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
                "task" => task().into(),
                "id" => case.row.id.clone().into(),
                _ => return None,
            };
            let value = if input.kind == InputKind::Text { text_of(&value).into() } else { value };
            Some((name.clone(), value))
        });
        known.collect()
    }
}

#[async_trait]
impl ExternalScorer for ByWorkflow {
    async fn score(&self, case: &Case<'_>, seed: u64) -> Result<Score, String> {
        let request = RunRequest { inputs: self.inputs(case), seed, trace_parent: None };
        let record = match self.engine.run(&self.program, request, &self.cancel).await {
            Ok(finished) => finished.record(),
            Err(EngineError::Store { record, .. }) => *record,
            Err(error) => return Err(error.to_string()),
        };
        let bill = Some(Bill::of(&record));
        let said = match record.status {
            Status::Succeeded => graded(&record.output),
            status => {
                let why =
                    record.error.as_ref().map_or_else(|| status.as_str().to_owned(), |error| error.message.clone());
                Err(format!("run {}: {why}", record.run_id))
            }
        };
        // What it cost is known even where it was of no use.
        Ok(said.map_or_else(|why| Score { bill, ..Score::because(None, why) }, |score| Score { bill, ..score }))
    }
}

/// The score in a workflow's output; a judge's grade is brought to the scale from 0 to 1.
fn graded(output: &Value) -> Result<Score, String> {
    let number = |key: &str| output.get(key).and_then(Value::as_f64);
    match (number("score"), number("min"), number("max")) {
        (Some(score), Some(min), Some(max)) if max > min => {
            let reason = output.get("reason").and_then(Value::as_str).map(str::to_owned);
            Ok(Score { score: Some((score - min) / (max - min)), reason, bill: None })
        }
        _ => score_from(output),
    }
}
