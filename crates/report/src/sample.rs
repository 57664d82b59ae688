//! Made-up records for tests.

use indexmap::IndexMap;
use lumos_core::{
    AttemptBasis, AttemptRecord, Basis, Destination, FinishReason, RunRecord, Status, StepRecord, Totals, Usage,
};
use serde_json::Value;

pub(crate) fn attempt(number: u32, backend: Option<&str>) -> AttemptRecord {
    let tokens = |count| backend.map(|_| count);
    AttemptRecord {
        attempt: number,
        backend: backend.map(str::to_owned),
        model: backend
            .map(|name| (if name == "embedder" { "potion-base-8m" } else { "smollm2-135m-instruct" }).to_owned()),
        provider: backend.map(|_| "local".to_owned()),
        status: Status::Succeeded,
        start_us: 0,
        queue_us: 7,
        ttft_us: backend.filter(|name| *name != "embedder").map(|_| 41_249),
        duration_us: 412_300,
        usage: Usage {
            input_tokens: tokens(1_234),
            cached_input_tokens: tokens(0),
            output_tokens: tokens(87),
            ..Usage::default()
        },
        cost_usd: Some((if backend.is_some() { "0.000022906" } else { "0" }).parse().unwrap()),
        bytes_sent: Some(0),
        shared: false,
        destination: Destination::Inside,
        finish_reason: backend.filter(|name| *name != "embedder").map(|_| FinishReason::Stop),
        request_id: None,
        saved_usd: None,
        error: None,
        basis: AttemptBasis {
            latency: Basis::Measured,
            tokens: backend.map(|_| Basis::Measured),
            cost: Some(if backend.is_some() { Basis::Estimated } else { Basis::Measured }),
        },
    }
}

pub(crate) fn step(node: &str, kind: &str, attempts: Vec<AttemptRecord>) -> StepRecord {
    StepRecord {
        node: node.to_owned(),
        path: Vec::new(),
        index: None,
        iteration: None,
        kind: kind.to_owned(),
        agent: Some("a".to_owned()),
        status: attempts.last().map_or(Status::Skipped, |attempt| attempt.status),
        error: None,
        question: None,
        decision: None,
        due_at: None,
        default: None,
        arguments: None,
        ready_us: None,
        end_us: None,
        critical_us: None,
        output: Value::Null,
        attempts,
    }
}

pub(crate) fn record(steps: Vec<StepRecord>) -> RunRecord {
    RunRecord {
        run_id: "01JD".to_owned(),
        workflow: "w".to_owned(),
        deployment: "local".to_owned(),
        seed: 0,
        status: Status::Succeeded,
        output: Value::Null,
        error: None,
        started_at: "2026-11-24T10:00:00Z".to_owned(),
        forked_from: None,
        continues: None,
        inputs: IndexMap::new(),
        totals: Totals {
            duration_us: 1_240_000,
            critical_path_us: 1_000_000,
            cost_usd: Some("0.000068718".parse().unwrap()),
            cost_complete: true,
            input_tokens: Some(3_702),
            cached_input_tokens: Some(0),
            output_tokens: Some(261),
            attempts: 4,
            reserved_usd: None,
            saved_usd: None,
            bytes_outside: Some(0),
        },
        steps,
    }
}
