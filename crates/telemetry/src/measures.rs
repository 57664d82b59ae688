//! Metrics: counters and histograms over the runs of this process, as OTLP and Prometheus both write them.

use std::collections::BTreeMap;

use lumos_core::record::{RunRecord, Status};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use crate::attributes::{Attributes, error_type, inference, is_final, operation, own, provider, seconds};
use crate::names;
use crate::settings::Conventions;
use crate::spans::dollars;

/// Upper bounds of durations in seconds, as the conventions advise.
const SECONDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Upper bounds of tokens, as the conventions advise.
const TOKENS: [f64; 14] = [
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
    67108864.0,
];

/// A series: its attributes in alphabetical order.
type Series = Vec<(&'static str, String)>;

/// What has been counted of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A sum of whole numbers.
    Count(u64),
    /// A sum of other numbers.
    Sum(f64),
    /// How numbers are spread: how many are at most each bound, and above all of them.
    Spread {
        /// Upper bounds.
        bounds: &'static [f64],
        /// How many lie in each part.
        counts: Vec<u64>,
        /// Their sum.
        sum: f64,
    },
}

/// Counters and histograms by name, unit and series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures(pub(crate) BTreeMap<(&'static str, &'static str), BTreeMap<Series, Value>>);

impl Measures {
    fn count(&mut self, name: &'static str, unit: &'static str, series: &Series, amount: Option<u64>) {
        let Some(amount) = amount else { return };
        let value = self.0.entry((name, unit)).or_default().entry(series.clone()).or_insert(Value::Count(0));
        if let Value::Count(sum) = value {
            *sum = sum.saturating_add(amount);
        }
    }

    fn add(&mut self, name: &'static str, unit: &'static str, series: &Series, amount: Option<f64>) {
        let Some(amount) = amount else { return };
        let value = self.0.entry((name, unit)).or_default().entry(series.clone()).or_insert(Value::Sum(0.0));
        if let Value::Sum(sum) = value {
            *sum += amount;
        }
    }

    fn observe(&mut self, name: &'static str, unit: &'static str, series: &Series, number: f64) {
        let bounds: &'static [f64] = if unit == "s" { &SECONDS } else { &TOKENS };
        let empty = || Value::Spread { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 };
        let value = self.0.entry((name, unit)).or_default().entry(series.clone()).or_insert_with(empty);
        if let Value::Spread { counts, sum, .. } = value {
            counts[bounds.partition_point(|bound| *bound < number)] += 1;
            *sum += number;
        }
    }

    /// Counts a run that has ended; what happened before `shared_us` was counted with the run it was forked from.
    pub fn record(&mut self, record: &RunRecord, shared_us: u64, conventions: Conventions) {
        if !is_final(record) {
            return;
        }
        let status = record.status.as_str().to_owned();
        let run: Series = vec![(own::STATUS, status), ("lumos.workflow", record.workflow.clone())];
        self.count(own::RUNS, "{run}", &run, Some(1));
        self.observe(own::RUN_DURATION, "s", &run, seconds(record.totals.duration_us));
        let of = |operation: &str, agent: &str, status: Status| {
            let mut series = error(status);
            series.push((names::GEN_AI_AGENT_NAME, agent.to_owned()));
            series.push((names::GEN_AI_OPERATION_NAME, operation.to_owned()));
            series
        };
        if conventions == Conventions::Latest {
            let series = of("invoke_workflow", &record.workflow, record.status);
            self.observe(names::METRIC_GEN_AI_INVOKE_AGENT_DURATION, "s", &series, seconds(record.totals.duration_us));
        }
        for step in &record.steps {
            if let (Some(ready_us), Some(end_us)) = (step.ready_us, step.end_us)
                && end_us >= shared_us
                && conventions == Conventions::Latest
            {
                let (operation, agent) = (operation(&step.kind), step.agent.as_deref().unwrap_or(&step.node));
                let duration = seconds(end_us.saturating_sub(ready_us));
                match operation {
                    "execute_tool" => {
                        let mut series = error(step.status);
                        series.push((names::GEN_AI_OPERATION_NAME, operation.to_owned()));
                        series.push((names::GEN_AI_TOOL_NAME, agent.to_owned()));
                        self.observe(names::METRIC_GEN_AI_EXECUTE_TOOL_DURATION, "s", &series, duration);
                    }
                    "retrieval" => {
                        let mut series = error(step.status);
                        series.push((names::GEN_AI_OPERATION_NAME, operation.to_owned()));
                        self.observe(names::METRIC_GEN_AI_CLIENT_OPERATION_DURATION, "s", &series, duration);
                    }
                    _ => {
                        let series = of(operation, agent, step.status);
                        self.observe(names::METRIC_GEN_AI_INVOKE_AGENT_DURATION, "s", &series, duration);
                    }
                }
            }
            let asked = step.attempts.iter().filter(|attempt| attempt.backend.is_some());
            for attempt in asked.filter(|attempt| !attempt.shared) {
                self.attempt(attempt, &step.kind, conventions);
            }
        }
    }

    fn attempt(&mut self, attempt: &lumos_core::AttemptRecord, kind: &str, conventions: Conventions) {
        let operation = inference(kind);
        let provider = provider(attempt.provider.as_deref().unwrap_or("_OTHER")).to_owned();
        let model = attempt.model.clone().unwrap_or_default();
        let legacy = conventions == Conventions::Legacy;
        let mut series: Series = vec![(names::GEN_AI_OPERATION_NAME, operation.to_owned())];
        series.push((if legacy { names::GEN_AI_SYSTEM } else { names::GEN_AI_PROVIDER_NAME }, provider));
        series.push((names::GEN_AI_REQUEST_MODEL, model));
        series.sort_unstable();
        let timed: Series = error(attempt.status).into_iter().chain(series.iter().cloned()).collect();
        let duration = match operation {
            "chat" if !legacy => names::METRIC_GEN_AI_CLIENT_INFERENCE_DURATION,
            _ => names::METRIC_GEN_AI_CLIENT_OPERATION_DURATION,
        };
        self.observe(duration, "s", &timed, seconds(attempt.queue_us + attempt.duration_us));
        self.add(own::COST, "{USD}", &series, attempt.cost_usd.map(dollars));
        let usage = &attempt.usage;
        if legacy {
            for (word, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
                let Some(tokens) = tokens else { continue };
                let mut series = series.clone();
                series.push((names::GEN_AI_TOKEN_TYPE, word.to_owned()));
                self.observe(names::METRIC_GEN_AI_CLIENT_TOKEN_USAGE, "{token}", &series, tokens as f64);
            }
            return;
        }
        if operation == "chat" {
            if let Some(ttft_us) = attempt.ttft_us {
                let name = names::METRIC_GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK;
                self.observe(name, "s", &series, seconds(attempt.queue_us + ttft_us));
            }
            let counters = [
                (names::METRIC_GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS, usage.input_tokens),
                (names::METRIC_GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS, usage.output_tokens),
                (names::METRIC_GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_input_tokens),
                (names::METRIC_GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_WRITE_INPUT_TOKENS, usage.cache_write_tokens),
                (names::METRIC_GEN_AI_CLIENT_INFERENCE_USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning_tokens),
            ];
            for (name, tokens) in counters {
                self.count(name, "{token}", &series, tokens);
            }
        }
    }

    /// As OTLP writes them: sums since `start` at `now`, in nanoseconds since the Unix epoch.
    pub(crate) fn metrics(&self, start: u64, now: u64) -> Vec<Metric> {
        let metric = |((name, unit), series): (&(&str, &str), &BTreeMap<Series, Value>)| {
            let cumulative: i32 = AggregationTemporality::Cumulative.into();
            let number = |attributes: &Series, value: Number| NumberDataPoint {
                attributes: attributes_of(attributes),
                start_time_unix_nano: start,
                time_unix_nano: now,
                value: Some(value),
                ..NumberDataPoint::default()
            };
            let mut numbers = Vec::new();
            let mut spreads = Vec::new();
            for (attributes, value) in series {
                match value {
                    Value::Count(count) => numbers.push(number(attributes, Number::AsInt(*count as i64))),
                    Value::Sum(sum) => numbers.push(number(attributes, Number::AsDouble(*sum))),
                    Value::Spread { bounds, counts, sum } => spreads.push(HistogramDataPoint {
                        attributes: attributes_of(attributes),
                        start_time_unix_nano: start,
                        time_unix_nano: now,
                        count: counts.iter().sum(),
                        sum: Some(*sum),
                        bucket_counts: counts.clone(),
                        explicit_bounds: bounds.to_vec(),
                        ..HistogramDataPoint::default()
                    }),
                }
            }
            let data = if spreads.is_empty() {
                Data::Sum(Sum { data_points: numbers, aggregation_temporality: cumulative, is_monotonic: true })
            } else {
                Data::Histogram(Histogram { data_points: spreads, aggregation_temporality: cumulative })
            };
            Metric { name: (*name).to_owned(), unit: (*unit).to_owned(), data: Some(data), ..Metric::default() }
        };
        self.0.iter().map(metric).collect()
    }
}

fn error(status: Status) -> Series {
    error_type(status).map(|word| (names::ERROR_TYPE, word.to_owned())).into_iter().collect()
}

fn attributes_of(series: &Series) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let mut attributes = Attributes::default();
    for (key, value) in series {
        attributes.text(key, value);
    }
    attributes.0
}
