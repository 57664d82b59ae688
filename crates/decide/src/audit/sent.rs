//! The dynamic audit: what recorded runs have sent outside, rendered again from their logs and looked at.

use std::collections::BTreeMap;

use lumos_core::load::Bundle;
use lumos_core::record::{AttemptRecord, Destination as Side, RunRecord, Status};
use lumos_core::scheduler::{AttemptId, StepId};
use lumos_core::spec::{AgentSpec, Label, host_of};
use lumos_engine::{BoundProgram, RecordStore, Rendering, StoreError};
use serde::Serialize;
use serde_json::Value;

use super::destinations::{of_backend, unknown};
use super::{Destination, DestinationKind, Finding, FindingKind, Policy};

/// Finds personal data: how often each kind is in a text.
pub type Detect<'a> = &'a dyn Fn(&str) -> Result<BTreeMap<&'static str, u64>, String>;

/// Bytes that a request has beside its texts, at most: from then on something else was sent too.
const AROUND: u64 = 4_096;

/// What one run has sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sent {
    /// The run.
    pub run_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The deployment's name.
    pub deployment: String,
    /// When it began, in RFC 3339, UTC.
    pub started_at: String,
    /// How it ended.
    pub status: Status,
    /// Attempts that asked somebody inside, and those that asked nobody.
    pub attempts_inside: u64,
    /// What went outside.
    pub requests: Vec<SentRequest>,
    /// Where it went.
    pub destinations: Vec<Destination>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

/// Something that was sent outside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentRequest {
    /// The step, as `runs show` names it.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The destination's name.
    pub destination: String,
    /// How the attempt ended.
    pub status: Status,
    /// Bytes that were sent; `null` when nobody counted them.
    pub bytes: Option<u64>,
    /// Whether the answer came from the response cache, so that nothing was sent.
    pub is_cached: bool,
    /// The labels that what was sent may carry.
    pub labels: Vec<Label>,
    /// Personal data in what was sent, by kind.
    pub found: BTreeMap<&'static str, u64>,
    /// Whether what was looked at is what was sent: rendered again, it has the digest that was recorded.
    pub is_as_recorded: bool,
}

/// A recorded run with all that it was made by.
#[derive(Clone, Copy)]
pub struct Recorded<'a> {
    /// What happened.
    pub record: &'a RunRecord,
    /// Its steps, in the record's order.
    pub steps: &'a [StepId],
    /// Its files.
    pub bundle: &'a Bundle,
    /// Its program, bound to backends that answer nothing.
    pub program: &'a BoundProgram,
}

/// Looks at what a run has sent. `names` are its steps, in the record's order, as people know them.
///
/// # Errors
/// When its log cannot be read.
pub fn audit_run(
    store: &RecordStore,
    run: Recorded<'_>,
    names: &[String],
    policy: &Policy,
    detect: Detect<'_>,
) -> Result<Sent, StoreError> {
    let Recorded { record, steps, bundle, program } = run;
    let mut looked: BTreeMap<AttemptId, Looked> = BTreeMap::new();
    store.renderings(program, &record.run_id, &mut |rendering| {
        let node = program.program().nodes().nth(rendering.position);
        let labels = node.map(|node| node.carries.keys().cloned().collect()).unwrap_or_default();
        looked.insert(rendering.attempt, Looked { labels, ..Looked::at(&rendering, detect) });
    })?;
    let mut sent = Sent {
        run_id: record.run_id.clone(),
        workflow: record.workflow.clone(),
        deployment: record.deployment.clone(),
        started_at: record.started_at.clone(),
        status: record.status,
        attempts_inside: 0,
        requests: Vec::new(),
        destinations: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    };
    let deployment = bundle.deployment.as_ref().map(|source| &source.parsed.spec);
    for ((step, id), name) in record.steps.iter().zip(steps).zip(names) {
        for attempt in &step.attempts {
            let looked = looked.remove(&AttemptId { step: *id, number: attempt.attempt });
            let tool = step.agent.as_ref().and_then(|agent| bundle.agents.get(agent)).map(|source| source.spec());
            let fetched = looked.as_ref().and_then(|looked| looked.url.clone());
            let destination = match (&attempt.backend, tool, fetched) {
                (Some(backend), ..) if attempt.destination == Side::Outside => {
                    let spec = deployment.and_then(|deployment| Some((deployment, deployment.backends.get(backend)?)));
                    let known = spec.map(|(deployment, spec)| of_backend(deployment, backend, spec));
                    known.map_or_else(|| named(backend, attempt), |known| Destination { side: Side::Outside, ..known })
                }
                (None, Some(tool @ AgentSpec::Tool(_)), Some(url)) if !tool.hosts().is_empty() => {
                    let host = host_of(&url);
                    let side = deployment.map(|deployment| deployment.destination_of_host(host));
                    if side == Some(Side::Inside) || (side.is_none() && lumos_core::spec::is_this_machine(host)) {
                        sent.attempts_inside += 1;
                        continue;
                    }
                    fetched_from(host)
                }
                _ => {
                    sent.attempts_inside += 1;
                    continue;
                }
            };
            let request = request(name, attempt, &destination, looked.as_ref());
            sent.note(&request, looked.as_ref(), policy);
            sent.requests.push(request);
            match sent.destinations.iter_mut().find(|known| known.name == destination.name) {
                Some(known) => known.nodes.push(name.clone()),
                None => sent.destinations.push(Destination { nodes: vec![name.clone()], ..destination }),
            }
        }
    }
    for destination in &mut sent.destinations {
        destination.nodes.dedup();
        let requests = sent.requests.iter().filter(|request| request.destination == destination.name);
        for label in requests.flat_map(|request| &request.labels) {
            if !destination.labels.contains(label) {
                destination.labels.push(label.clone());
            }
        }
    }
    Ok(sent)
}

impl Sent {
    /// Says what is wrong with a request, and what could not be seen of it.
    fn note(&mut self, request: &SentRequest, looked: Option<&Looked>, policy: &Policy) {
        let place = format!("`{}`, attempt {} of run {}", request.step, request.attempt, self.run_id);
        let to = &request.destination;
        let was_sent = request.bytes.is_none_or(|bytes| bytes > 0) && !request.is_cached;
        if !was_sent {
            return;
        }
        let found: Vec<String> = { request.found.iter() }
            .filter(|(kind, _)| !policy.allowed.iter().any(|allowed| allowed == *kind))
            .map(|(kind, times)| format!("{times} × {kind}"))
            .collect();
        if !found.is_empty() {
            let kinds: Vec<&str> = request.found.keys().copied().collect();
            self.findings.push(Finding {
                kind: FindingKind::PersonalDataSent,
                message: format!("personal data was sent to `{to}`: {} in {place}", found.join(", ")),
                hint: format!("redact it before it is sent, or allow it with `--allow {}`", kinds.join(" --allow ")),
            });
        }
        let forbidden: Vec<&str> =
            request.labels.iter().filter(|label| policy.forbids(label)).map(|label| label.0.as_str()).collect();
        if !forbidden.is_empty() {
            self.findings.push(Finding {
                kind: FindingKind::LabelSent,
                message: format!("what may carry {} was sent to `{to}`: {place}", forbidden.join(", ")),
                hint: "`boundary: (forbid_outside: […])` in the deployment has such requests refused".to_owned(),
            });
        }
        if looked.is_none_or(|looked| looked.texts == 0) {
            self.notes.push(format!("what was sent to `{to}` cannot be shown again: {place}"));
        } else if !request.is_as_recorded {
            self.notes.push(format!("what was looked at is not quite what was sent to `{to}`: {place}"));
        } else if let Some((bytes, texts)) = request.bytes.zip(looked.map(|looked| looked.bytes))
            && bytes > texts.saturating_mul(2) + AROUND
        {
            let rest = "texts that a retriever embeds, or a second try for an answer in a form";
            self.notes.push(format!("more was sent to `{to}` than was looked at ({rest}): {place}"));
        }
    }
}

fn request(name: &str, attempt: &AttemptRecord, destination: &Destination, looked: Option<&Looked>) -> SentRequest {
    let is_free = attempt.saved_usd.is_some() || attempt.usage.input_tokens == Some(0);
    let is_cached = attempt.backend.is_some() && attempt.bytes_sent == Some(0) && is_free;
    let is_counted =
        attempt.bytes_sent.is_some_and(|bytes| bytes > 0) || is_cached || attempt.status != Status::Succeeded;
    let bytes = match destination.kind {
        DestinationKind::Tool => looked.map(|looked| looked.bytes),
        _ => attempt.bytes_sent.filter(|_| is_counted),
    };
    SentRequest {
        step: name.to_owned(),
        attempt: attempt.attempt,
        destination: destination.name.clone(),
        status: attempt.status,
        bytes,
        is_cached,
        labels: looked.map(|looked| looked.labels.clone()).unwrap_or_default(),
        found: looked.map(|looked| looked.found.clone()).unwrap_or_default(),
        is_as_recorded: looked.is_some_and(|looked| looked.is_as_recorded),
    }
}

/// What was seen of an attempt.
struct Looked {
    found: BTreeMap<&'static str, u64>,
    labels: Vec<Label>,
    /// Number of texts that were looked at, and their bytes.
    texts: usize,
    bytes: u64,
    /// The address that a tool was given.
    url: Option<String>,
    is_as_recorded: bool,
}

impl Looked {
    fn at(rendering: &Rendering, detect: Detect<'_>) -> Self {
        let texts = texts(rendering);
        let mut found: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut is_seen = true;
        for text in &texts {
            match detect(text) {
                Ok(kinds) => kinds.into_iter().for_each(|(kind, times)| *found.entry(kind).or_default() += times),
                Err(_) => is_seen = false,
            }
        }
        let url = rendering.arguments.as_ref().and_then(|arguments| arguments.get("url")?.as_str().map(str::to_owned));
        Self {
            found,
            labels: Vec::new(),
            texts: if is_seen { texts.len() } else { 0 },
            bytes: texts.iter().map(|text| text.len() as u64).sum(),
            url,
            is_as_recorded: rendering.is_as_recorded,
        }
    }
}

/// The texts of a request; of an attempt that asks no model those of its arguments, addresses decoded.
fn texts(rendering: &Rendering) -> Vec<String> {
    if let Some(request) = &rendering.request {
        let mut texts: Vec<String> = Vec::new();
        for message in &request.messages {
            texts.push(message.content.clone());
            texts.extend(message.tool_calls.iter().map(|call| call.arguments.to_string()));
        }
        for tool in &request.tools {
            texts.extend([tool.description.clone(), tool.parameters.to_string()]);
        }
        match &request.format {
            lumos_core::OutputFormat::Text => {}
            lumos_core::OutputFormat::JsonSchema(schema) => texts.push(schema.to_string()),
            lumos_core::OutputFormat::Regex(pattern) => texts.push(pattern.clone()),
            lumos_core::OutputFormat::Choice(choices) => texts.extend(choices.iter().cloned()),
        }
        return texts;
    }
    let mut texts = Vec::new();
    for (name, value) in rendering.arguments.as_ref().and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::String(text) if name == "url" => texts.push(decoded(text)),
            Value::String(text) => texts.push(text.clone()),
            other => texts.push(other.to_string()),
        }
    }
    texts
}

/// An address as people read it: `%40` is `@`, and `+` is a space.
fn decoded(url: &str) -> String {
    let bytes = url.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = url.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            plain.push(byte);
            at += 3;
        } else {
            plain.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// A backend that the run's deployment does not know any more.
fn named(backend: &str, attempt: &AttemptRecord) -> Destination {
    Destination {
        provider: attempt.provider.clone(),
        model: attempt.model.clone(),
        because: "as the run recorded it",
        side: Side::Outside,
        ..unknown(backend, DestinationKind::Backend)
    }
}

fn fetched_from(host: &str) -> Destination {
    Destination {
        host: Some(host.to_owned()),
        because: "not listed in `boundary.hosts`",
        side: Side::Outside,
        ..unknown(host, DestinationKind::Tool)
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        assert_eq!(decoded("https://e.org/?q=bob%40example.com+x%2"), "https://e.org/?q=bob@example.com x%2");
        assert_eq!(decoded("%C3%A9%zz"), "é%zz");
    }
}
