//! Asks a local model: `chat MODEL.gguf PROMPT [--json SCHEMA | --regex PATTERN | --choice A,B] [--max N] [--seed N]
//! [--temperature T] [--cache DIR]`. The answer streams to stdout, the figures go to stderr.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use lumos_core::spec::Device;
use lumos_core::{Backend as _, ChatRequest, Clock, Decoding, Delta, DeltaSink, Message, OutputFormat, Role};
use lumos_local::{LocalModel, LocalOptions};

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

struct Stdout;

impl DeltaSink for Stdout {
    fn delta(&self, delta: Delta<'_>) {
        print!("{}", delta.text);
        // A closed stdout ends the example at the next print.
        let _ = std::io::stdout().flush();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: chat MODEL.gguf PROMPT [--json SCHEMA] …")?;
    let prompt = arguments.next().unwrap_or_else(|| "Why is the sky blue?".to_owned());
    let (mut decoding, mut format, mut cache_dir) = (Decoding::default(), OutputFormat::Text, None);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--json" => format = OutputFormat::JsonSchema(serde_json::from_str(&value)?),
            "--regex" => format = OutputFormat::Regex(value),
            "--choice" => format = OutputFormat::Choice(value.split(',').map(str::to_owned).collect()),
            "--max" => decoding.max_tokens = value.parse()?,
            "--seed" => decoding.seed = value.parse()?,
            "--temperature" => decoding.temperature = value.parse()?,
            "--cache" => cache_dir = Some(value.into()),
            other => return Err(format!("{other} is not an option").into()),
        }
    }
    #[allow(clippy::disallowed_methods, reason = "an example is its own driver")]
    let clock: Arc<dyn Clock> = Arc::new(Monotonic(Instant::now()));
    let model = LocalModel::open(LocalOptions {
        name: "example".to_owned(),
        path: path.into(),
        device: Device::Auto,
        context: None,
        cache_dir,
        digest: String::new(),
        clock: Arc::clone(&clock),
    })?;
    model.warm_up().await?;
    eprintln!("loaded in {} ms: {:?}", clock.now_us() / 1000, model.info());
    let request = ChatRequest::new(vec![Message::new(Role::User, prompt)], decoding, format);
    let report = model.chat(request, &Stdout).await?.report;
    println!();
    eprintln!("{report:?}");
    Ok(())
}
