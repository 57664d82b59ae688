//! An API that enforces limits, for measuring: `limited RPM TPM TTFT_MS TOKENS_PER_S`.
//!
//! Prints its URL. A prompt has as many tokens as words, and 8 more; an answer has 10 to 49, by the number of words, and comes
//! evenly. When standard input is closed, prints how many requests it took and how many it refused, as JSON.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lumos_core::Clock;
use lumos_core::chance::mix;
use lumos_faults::{Answer, FaultServer, Limits, Received, Reply, Script, Tokens};

/// Time since the start.
struct Since(Instant);

impl Clock for Since {
    fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [rpm, tpm, ttft_ms, tokens_per_s] = numbers[..] else {
        return Err("say RPM TPM TTFT_MS TOKENS_PER_S".into());
    };
    let rule = move |request: &Received| {
        let words = request.json()["messages"][0]["content"].as_str().unwrap_or_default().split_whitespace().count();
        let output = 10 + mix(words as u64) % 40;
        let between = Duration::from_micros(1_000_000 / tokens_per_s.max(1));
        let answer =
            Answer { first: Duration::from_millis(ttft_ms), between, ..Answer::new(&"word ".repeat(output as usize)) };
        Reply::Answer(Answer { tokens: Tokens::new(words as u64 + 8, output), ..answer })
    };
    #[expect(clippy::disallowed_methods, reason = "a program at the edge owns the clock")]
    let clock = Arc::new(Since(Instant::now()));
    let server = FaultServer::start(Script::by(rule).limited(Limits::per_minute(rpm, tpm)), clock).await?;
    println!("{}", server.url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    println!(r#"{{"requests": {}, "refused": {}}}"#, server.requests().len(), server.rejected());
    Ok(())
}
