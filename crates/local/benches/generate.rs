//! Measures a local chat model: `cargo bench -p lumos-local --bench generate -- MODEL.gguf [CACHE_DIR]`.
//!
//! Prints for free, sampled and structured answers: tokens per second of decoding and of prefill, TTFT, and the share
//! of the time that is spent outside of the network (template, tokenizer, sampling, masks, text, channel). Without a
//! model it only says how to name one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lumos_core::spec::Device;
use lumos_core::{Backend, ChatRequest, Clock, Decoding, Message, NoDeltas, OutputFormat, Role};
use lumos_local::{LocalModel, LocalOptions};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const ROUNDS: usize = 5;

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Adds up the figures that the crate reports for each answer.
#[derive(Clone, Default)]
struct Figures(Arc<Sums>);

#[derive(Default)]
struct Sums {
    forward_us: AtomicU64,
    total_us: AtomicU64,
    spans: AtomicU64,
}

impl Visit for Figures {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "forward_us" => self.0.forward_us.fetch_add(value, Ordering::Relaxed),
            "total_us" => self.0.total_us.fetch_add(value, Ordering::Relaxed),
            _ => 0,
        };
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Figures {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "lumos_local::chat"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Case {
    name: &'static str,
    prompt: String,
    decoding: Decoding,
    format: OutputFormat,
}

fn cases() -> Vec<Case> {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "steps": { "type": "array", "minItems": 3, "maxItems": 6, "items": {
                "type": "object",
                "properties": { "action": { "type": "string", "maxLength": 60 }, "cost": { "type": "integer" } },
                "required": ["action", "cost"], "additionalProperties": false,
            } },
        },
        "required": ["steps"], "additionalProperties": false,
    });
    let story = "Tell a long story about a lighthouse keeper and a storm.";
    let plan =
        format!("{} Plan the reordering of these goods.", "Stock is low in the north warehouse today. ".repeat(18));
    let sampled = Decoding { temperature: 0.8, top_p: Some(0.95), repetition_penalty: 1.1, ..Decoding::default() };
    let greedy = |max_tokens| Decoding { max_tokens, ..Decoding::default() };
    vec![
        Case { name: "greedy", prompt: story.to_owned(), decoding: greedy(128), format: OutputFormat::Text },
        Case {
            name: "sampled",
            prompt: story.to_owned(),
            decoding: Decoding { max_tokens: 128, ..sampled },
            format: OutputFormat::Text,
        },
        Case {
            name: "plan as JSON",
            prompt: plan.clone(),
            decoding: greedy(192),
            format: OutputFormat::JsonSchema(schema),
        },
        Case { name: "prefill only", prompt: plan, decoding: greedy(1), format: OutputFormat::Text },
    ]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(path) = arguments.next() else {
        println!("name a model: cargo bench -p lumos-local --bench generate -- MODEL.gguf [CACHE_DIR]");
        return Ok(());
    };
    let figures = Figures::default();
    tracing::subscriber::set_global_default(figures.clone())?;
    #[allow(clippy::disallowed_methods, reason = "a benchmark is its own driver")]
    let clock: Arc<dyn Clock> = Arc::new(Monotonic(Instant::now()));
    let runtime = tokio::runtime::Runtime::new()?;
    let model = LocalModel::open(LocalOptions {
        name: "bench".to_owned(),
        path: path.into(),
        device: Device::Auto,
        context: None,
        cache_dir: arguments.next().map(Into::into),
        digest: String::new(),
        clock: Arc::clone(&clock),
    })?;
    runtime.block_on(model.warm_up())?;
    println!("{} (loaded in {} ms)", model.info().detail, clock.now_us() / 1000);
    println!(
        "{:14} {:>7} {:>7} {:>9} {:>12} {:>12} {:>9}",
        "case", "input", "output", "TTFT ms", "prefill t/s", "decode t/s", "outside %"
    );
    for case in cases() {
        measure(&runtime, &model, &figures, case)?;
    }
    Ok(())
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    model: &LocalModel,
    figures: &Figures,
    case: Case,
) -> Result<(), Box<dyn std::error::Error>> {
    let request = ChatRequest::new(vec![Message::new(Role::User, case.prompt)], case.decoding, case.format);
    // The first answer also prepares what is prepared once.
    runtime.block_on(model.chat(request.clone(), &NoDeltas))?;
    let sums = &figures.0;
    sums.forward_us.store(0, Ordering::Relaxed);
    sums.total_us.store(0, Ordering::Relaxed);
    let mut best = (0.0_f64, 0.0_f64, u64::MAX);
    let (mut input, mut output) = (0, 0);
    for _ in 0..ROUNDS {
        let report = runtime.block_on(model.chat(request.clone(), &NoDeltas))?.report;
        (input, output) = (report.usage.input_tokens.unwrap_or(0), report.usage.output_tokens.unwrap_or(0));
        let (ttft, busy) = (report.ttft_us.unwrap_or(0), report.busy_us.unwrap_or(0));
        let rate = |tokens: u64, us: u64| tokens as f64 * 1e6 / us.max(1) as f64;
        best.0 = best.0.max(rate(input, ttft));
        best.1 = best.1.max(rate(output.saturating_sub(1), busy.saturating_sub(ttft)));
        best.2 = best.2.min(ttft);
    }
    let (forward, total) = (sums.forward_us.load(Ordering::Relaxed), sums.total_us.load(Ordering::Relaxed));
    let outside = 100.0 * (1.0 - forward as f64 / total.max(1) as f64);
    let (prefill, decode, ttft) = best;
    let decode = if output > 1 { format!("{decode:.1}") } else { "-".to_owned() };
    println!(
        "{:14} {input:>7} {output:>7} {:>9.1} {prefill:>12.0} {decode:>12} {outside:>9.2}",
        case.name,
        ttft as f64 / 1000.0
    );
    Ok(())
}
