//! `Workflow(…)`: inputs, nodes and limits.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::decode::{Place, entries, one_of};
use super::raw::Raw;
use super::reader::{Decode, Fields, Reader, hint_of_names};
use crate::spec::{
    ApprovalSpec, Backoff, CascadeSpec, InputKind, InputSpec, Join, LimitsSpec, NodeKind, NodeOptions, NodeSpec,
    OnBlock, Repeat, Retry, Verdict, WorkflowSpec,
};

const KINDS: [&str; 10] =
    ["Retriever", "Planner", "Forecaster", "Guard", "Router", "Judge", "Generator", "Tool", "Workflow", "Custom"];

const INPUT_KINDS: [(&str, InputKind); 5] = [
    ("Text", InputKind::Text),
    ("Number", InputKind::Number),
    ("Integer", InputKind::Integer),
    ("Bool", InputKind::Bool),
    ("Json", InputKind::Json),
];

/// Reads the whole file; what can't be read is left out of the result.
pub(super) fn workflow(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<WorkflowSpec> {
    let mut fields = top(reader, raw, "Workflow")?;
    version(reader, &mut fields);
    let name: Option<String> = fields.require(reader, "name");
    let description = fields.take(reader, "description");
    let inputs = fields.take(reader, "inputs");
    let nodes = fields.require_with(reader, "nodes", |reader, raw| entries(reader, raw, Place::Key, node));
    let output = fields.require(reader, "output");
    let limits = fields.take(reader, "limits");
    fields.unavailable(reader, "profile", "profiles are in scenarios: nodes: { \"name\": (…) }");
    fields.finish(reader);
    Some(WorkflowSpec {
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        inputs: inputs.unwrap_or_default(),
        nodes: nodes?,
        output: output.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
    })
}

/// The fields of the file's value, whose name must be there.
pub(super) fn top<'a>(reader: &mut Reader<'_>, raw: Raw<'a>, name: &'static str) -> Option<Fields<'a>> {
    match raw.name() {
        Some(found) if found != name => {
            let hint = match found {
                "Workflow" => "this is a workflow".to_owned(),
                "Deployment" => "this is a deployment; it goes after `-d`".to_owned(),
                "Scenario" => "this is a scenario; `lumos simulate` takes it".to_owned(),
                "Claim" => "this is a claim; `lumos report` takes it".to_owned(),
                role if super::agent::ROLES.contains(&role) => {
                    "this is an agent; a workflow's node names it".to_owned()
                }
                other => hint_of_names(other, &[name]),
            };
            reader.problem(raw, format!("expected {name}(…), found {}", raw.description()), Some(hint));
            None
        }
        Some(_) if raw.body().is_some() => reader.fields(raw, name),
        _ => {
            let hint = Some(format!("the file's value is {name}(…)"));
            reader.problem(raw, format!("expected {name}(…), found {}", raw.description()), hint);
            None
        }
    }
}

/// `version: 1`, which may be left out.
pub(super) fn version(reader: &mut Reader<'_>, fields: &mut Fields<'_>) {
    fields.take_with(reader, "version", |reader, raw| {
        let version = u32::decode(reader, raw)?;
        if version != 1 {
            let hint = Some("this version of lumos reads `version: 1`".to_owned());
            reader.problem(raw, format!("the file has version {version}"), hint);
        }
        Some(version)
    });
}

impl Decode for InputSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let names: Vec<&str> = INPUT_KINDS.iter().map(|(name, _)| *name).collect();
        let found = raw.name().unwrap_or_default();
        let Some((owner, kind)) = INPUT_KINDS.iter().find(|(name, _)| *name == found) else {
            let hint =
                if found.is_empty() { "e.g. Text(required: true)".to_owned() } else { hint_of_names(found, &names) };
            reader.problem(raw, format!("expected an input type, found {}", raw.description()), Some(hint));
            return None;
        };
        let mut fields = match raw.body() {
            Some(body) => reader.body(body, owner)?,
            None => Fields::none(owner, reader.offset(raw.text)),
        };
        let required = fields.take(reader, "required");
        let default = fields.take_with(reader, "default", |reader, raw| default(reader, raw, *kind));
        let labels = fields.take(reader, "labels");
        let description = fields.take(reader, "description");
        fields.finish(reader);
        Some(Self {
            kind: *kind,
            required: required.unwrap_or_default(),
            default,
            labels: labels.unwrap_or_default(),
            description: description.unwrap_or_default(),
        })
    }
}

fn default(reader: &mut Reader<'_>, raw: Raw<'_>, kind: InputKind) -> Option<Json> {
    match kind {
        InputKind::Text => String::decode(reader, raw).map(Json::from),
        InputKind::Number => f64::decode(reader, raw).map(Json::from),
        InputKind::Integer => i64::decode(reader, raw).map(Json::from),
        InputKind::Bool => bool::decode(reader, raw).map(Json::from),
        InputKind::Json => Json::decode(reader, raw),
    }
}

fn node(reader: &mut Reader<'_>, _: &str, raw: Raw<'_>) -> Option<NodeSpec> {
    let found = raw.name().unwrap_or_default();
    let Some(owner) = KINDS.iter().find(|kind| **kind == found).copied() else {
        reader.problem(
            raw,
            format!("expected a kind of node, found {}", raw.description()),
            Some(hint_of_names(found, &KINDS)),
        );
        return None;
    };
    let Some(body) = raw.body() else {
        reader.problem(raw, format!("{owner} needs its fields"), Some(format!("{owner}(…)")));
        return None;
    };
    let mut fields = reader.body(body, owner)?;
    let kind = kind(reader, &mut fields, owner);
    let options = options(reader, &mut fields);
    fields.finish(reader);
    Some(NodeSpec { kind: kind?, options })
}

fn kind(reader: &mut Reader<'_>, fields: &mut Fields<'_>, owner: &str) -> Option<NodeKind> {
    // Every field is taken before the first `?`, so that all that is wrong with a node is reported.
    Some(match owner {
        "Retriever" => {
            let (agent, query) = (fields.require(reader, "agent"), fields.require(reader, "query"));
            let top_k = fields.take(reader, "top_k");
            NodeKind::Retriever { agent: agent?, query: query?, top_k }
        }
        "Planner" => {
            let (agent, input) = (fields.require(reader, "agent"), fields.require(reader, "input"));
            let context = fields.take(reader, "context");
            NodeKind::Planner { agent: agent?, input: input?, context }
        }
        "Forecaster" => {
            let (agent, series) = (fields.require(reader, "agent"), fields.require(reader, "series"));
            let horizon = fields.require(reader, "horizon");
            NodeKind::Forecaster { agent: agent?, series: series?, horizon: horizon? }
        }
        "Guard" => {
            let (agent, input) = (fields.require(reader, "agent"), fields.require(reader, "input"));
            let on_block = fields.take_with(reader, "on_block", |reader, raw| {
                one_of(reader, raw, &[("Refuse", OnBlock::Refuse), ("Redact", OnBlock::Redact)])
            });
            NodeKind::Guard { agent: agent?, input: input?, on_block: on_block.unwrap_or_default() }
        }
        "Router" => {
            let agent = fields.take(reader, "agent");
            let input = fields.take(reader, "input");
            let context = fields.take(reader, "context");
            let choose = fields.take(reader, "choose");
            let routes = fields.require(reader, "routes");
            let default = fields.take(reader, "default");
            NodeKind::Router { agent, input, context, choose, routes: routes?, default }
        }
        "Judge" => {
            let (agent, input) = (fields.require(reader, "agent"), fields.require(reader, "input"));
            let context = fields.take(reader, "context");
            NodeKind::Judge { agent: agent?, input: input?, context }
        }
        "Generator" => {
            let (agent, input) = (fields.require(reader, "agent"), fields.require(reader, "input"));
            let context = fields.take(reader, "context");
            NodeKind::Generator { agent: agent?, input: input?, context }
        }
        "Workflow" => NodeKind::Workflow { path: fields.require(reader, "path")? },
        "Tool" => NodeKind::Tool { agent: fields.require(reader, "agent")? },
        _ => NodeKind::Custom { agent: fields.require(reader, "agent")? },
    })
}

fn options(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> NodeOptions {
    let with: Option<IndexMap<String, String>> = fields.take(reader, "with");
    let options = NodeOptions {
        with: with.unwrap_or_default(),
        after: fields.take(reader, "after").unwrap_or_default(),
        when: fields.take(reader, "when"),
        join: fields
            .take_with(reader, "join", |reader, raw| one_of(reader, raw, &[("All", Join::All), ("Any", Join::Any)]))
            .unwrap_or_default(),
        map: fields.take(reader, "map"),
        concurrency: fields.take(reader, "concurrency"),
        repeat: fields.take(reader, "repeat"),
        timeout_s: fields.take(reader, "timeout_s"),
        retry: fields.take(reader, "retry"),
        fallback: fields.take(reader, "fallback").unwrap_or_default(),
        hedge_after_ms: fields.take(reader, "hedge_after_ms"),
        cascade: fields.take(reader, "cascade"),
        cache: fields
            .take_with(reader, "cache", |reader, raw| one_of(reader, raw, &[("On", true), ("Off", false)]))
            .unwrap_or_default(),
        labels: fields.take(reader, "labels").unwrap_or_default(),
        approve: fields.take(reader, "approve"),
    };
    fields.unavailable(reader, "profile", "profiles are in scenarios: nodes: { \"name\": (…) }");
    options
}

impl Decode for Repeat {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "repeat")?;
        let (until, at_most) = (fields.require(reader, "until"), fields.require(reader, "at_most"));
        fields.finish(reader);
        Some(Self { until: until?, at_most: at_most? })
    }
}

/// The question alone, or with what holds when nobody answers.
impl Decode for ApprovalSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        if raw.body().is_none() {
            let ask = String::decode(reader, raw)?;
            return Some(Self { ask, timeout_s: None, default: None });
        }
        let mut fields = reader.fields(raw, "approve")?;
        let ask = fields.require(reader, "ask");
        let timeout_s = fields.take(reader, "timeout_s");
        let default = fields.take_with(reader, "default", |reader, raw| {
            one_of(reader, raw, &[("Reject", Verdict::Reject), ("Approve", Verdict::Approve)])
        });
        fields.finish(reader);
        Some(Self { ask: ask?, timeout_s, default })
    }
}

impl Decode for CascadeSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "cascade")?;
        let judge = fields.take(reader, "judge");
        let (accept, to) = (fields.require(reader, "accept"), fields.require(reader, "to"));
        fields.finish(reader);
        Some(Self { judge, accept: accept?, to: to? })
    }
}

impl Decode for Retry {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "retry")?;
        let attempts = fields.require(reader, "attempts");
        let backoff = fields.take(reader, "backoff");
        fields.finish(reader);
        Some(Self { attempts: attempts?, backoff: backoff.unwrap_or_default() })
    }
}

impl Decode for Backoff {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "backoff")?;
        let default = Self::default();
        let base_s = fields.take(reader, "base_s").unwrap_or(default.base_s);
        let max_s = fields.take(reader, "max_s").unwrap_or(default.max_s);
        fields.finish(reader);
        Some(Self { base_s, max_s })
    }
}

impl Decode for LimitsSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "limits")?;
        let limits = Self {
            cost_usd: fields.take(reader, "cost_usd"),
            deadline_s: fields.take(reader, "deadline_s"),
            steps: fields.take(reader, "steps"),
        };
        fields.finish(reader);
        Some(limits)
    }
}
