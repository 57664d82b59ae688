//! Every way in which a server can fail, in every protocol: a run with a fallback survives it, and its record says what
//! happened.

use std::fmt::Write as _;
use std::time::Duration;

use lumos::core::{AttemptRecord, RunRecord, Status};
use lumos_faults::{Answer, Break, FaultServer, Received, Reply, Script, UsageShown};

use super::{Files, ask, bind, builder, serve};

/// Where the key comes from, in the environment and in a file. Characters that encodings change are in both.
pub(super) const ENV: &str = "LUMOS_TEST_FAULTS_KEY";
pub(super) const ENV_KEY: &str = "sk-env-Zx9/+Qw=4&t%7-kEyOfTheEnvironment";
pub(super) const FILE_KEY: &str = "sk-file-Hj3/+Vb=8&n%2-kEyOfTheFile";

const PROVIDERS: [(&str, &str); 4] =
    [("OpenAi", "/v1"), ("OpenAiCompatible", "/v1"), ("Anthropic", "/v1"), ("Gemini", "/v1beta")];

/// What a fault leads to.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    /// The fallback answers.
    Fallback,
    /// The answer is good all the same.
    Answer,
}

struct Fault {
    name: &'static str,
    script: Script,
    expected: Expected,
}

/// The key as the server received it.
fn key(request: &Received) -> String {
    let named = ["x-api-key", "x-goog-api-key", "authorization"].iter().find_map(|name| request.header(name));
    named.unwrap_or_default().trim_start_matches("Bearer ").to_owned()
}

/// A refusal that repeats the key in every way that a careless server might.
fn echo(request: &Received) -> Reply {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    let key = key(request);
    let percent = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC);
    let (plain, safe) = (STANDARD.encode(format!("user:{key}")), URL_SAFE_NO_PAD.encode(&key));
    let message = format!("who is {key}, or {percent}, or {plain}, or {safe}?");
    let headers = vec![("x-request-id".to_owned(), format!("req-{key}"))];
    Reply::Status(500, headers, serde_json::json!({"error": {"message": message}}).to_string())
}

fn faults(elsewhere: &FaultServer) -> Vec<Fault> {
    let text = "one two three four five six";
    let fallback = |name, reply: Reply| Fault { name, script: Script::always(reply), expected: Expected::Fallback };
    let broken = |name, how| fallback(name, Reply::Broken(Answer::new(text), how));
    let answer = |name, usage| {
        let script = Script::always(Answer { usage, ..Answer::new(text) });
        Fault { name, script, expected: Expected::Answer }
    };
    vec![
        fallback("429 without Retry-After", Reply::status(429)),
        fallback("429 with Retry-After", Reply::retry_after(429, "30")),
        fallback("500", Reply::status(500)),
        fallback("529", Reply::status(529)),
        fallback("slow first byte", Answer { first: Duration::from_secs(20), ..Answer::new(text) }.into()),
        fallback("no byte at all", Reply::Silence),
        broken("stall in mid-stream", Break::Stall),
        broken("cut connection", Break::Cut),
        broken("end without an ending", Break::End),
        broken("error in mid-stream", Break::Error),
        broken("invalid UTF-8", Break::InvalidUtf8),
        broken("invalid JSON", Break::InvalidJson),
        fallback("wrong content type", Reply::MediaType(Answer::new(text), "text/html".to_owned())),
        fallback("1 GB reply", Reply::Huge(1 << 30)),
        answer("usage missing", UsageShown::Never),
        answer("usage twice", UsageShown::Twice),
        fallback("redirect to another host", Reply::redirect(&format!("{}/v1/stolen", elsewhere.url()))),
        Fault {
            name: "TLS failure",
            script: Script::always(Answer::new(text)).over_tls(),
            expected: Expected::Fallback,
        },
        fallback("closed without a reply", Reply::Close),
        Fault { name: "500 that repeats the key", script: Script::by(echo), expected: Expected::Fallback },
    ]
}

/// A fault, in one protocol, and the record of the run that met it.
pub(super) struct Met {
    pub(super) fault: &'static str,
    pub(super) provider: &'static str,
    pub(super) record: RunRecord,
    /// All that the server received.
    pub(super) received: Vec<Received>,
}

/// Meets every fault in every protocol, with `files` as a home.
pub(super) async fn meet_all(files: &Files) -> Vec<Met> {
    let elsewhere = serve(Script::always(Answer::new("stolen"))).await;
    let spare = serve(Script::always(Answer::new("from elsewhere"))).await;
    let lumos = builder(files.folder())
        .secrets(std::sync::Arc::new(|name| (name == ENV).then(|| ENV_KEY.to_owned())))
        .build()
        .expect("a facade");
    std::fs::write(files.folder().join("key.txt"), format!("{FILE_KEY}\n")).expect("a file");
    let mut met = Vec::new();
    for (at, (provider, path)) in PROVIDERS.into_iter().enumerate() {
        let faults = faults(&elsewhere);
        let mut asked = Vec::new();
        for fault in &faults {
            let server = serve(fault.script.clone()).await;
            let key = if at % 2 == 0 { format!(r#"Env("{ENV}")"#) } else { r#"File("key.txt")"#.to_owned() };
            let backends = format!(
                r#""api": Remote(provider: {provider}, model: "m", base_url: "{}{path}", api_key: {key},
                    cost: PerMillionTokens(input: "2.00", output: "8.00"),
                    timeouts: (connect_s: 2, first_token_s: 0.4, idle_s: 0.4)),
                "spare": Remote(provider: OpenAiCompatible, model: "m", base_url: "{}/v1", cost: Unknown),"#,
                server.url(),
                spare.url(),
            );
            let deployment =
                format!(r#"Deployment(name: "scripted", backends: {{ {backends} }}, bind: {{ "*": "api" }})"#);
            std::fs::write(files.folder().join("scripted.ron"), deployment).expect("a file");
            asked.push((server, bind(&lumos, files.folder())));
        }
        let runs = asked.iter().map(|(_, program)| ask(&lumos, program, "What do we order?"));
        let records = futures(runs).await;
        for ((fault, (server, _)), record) in faults.into_iter().zip(asked).zip(records) {
            let received = server.requests();
            check(&fault, provider, &record);
            met.push(Met { fault: fault.name, provider, record, received });
        }
    }
    assert_eq!(elsewhere.requests().len(), 0, "nobody follows a redirect to another host");
    met
}

/// All of them at once.
async fn futures<F: Future>(runs: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut runs: Vec<_> = runs.map(|run| (Box::pin(run), None)).collect();
    std::future::poll_fn(|context| {
        let mut open = false;
        for (run, done) in &mut runs {
            if done.is_none() {
                match run.as_mut().poll(context) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    runs.into_iter().filter_map(|(_, done)| done).collect()
}

fn check(fault: &Fault, provider: &str, record: &RunRecord) {
    let place = format!("{} of {provider}: {record:#?}", fault.name);
    assert_eq!(record.status, Status::Succeeded, "{place}");
    let [first, rest @ ..] = &record.steps[0].attempts[..] else { panic!("{place}") };
    assert_eq!(first.backend.as_deref(), Some("api"), "{place}");
    match fault.expected {
        Expected::Answer => {
            assert_eq!((record.output.as_str(), rest.len()), (Some("one two three four five six"), 0), "{place}");
            let known = fault.name == "usage twice";
            assert_eq!(first.usage.output_tokens, known.then_some(6), "{place}");
            assert_eq!((first.cost_usd.is_some(), record.totals.cost_complete), (known, known), "{place}");
        }
        Expected::Fallback => {
            assert_eq!((record.output.as_str(), rest.len()), (Some("from elsewhere"), 1), "{place}");
            assert_eq!((first.status, rest[0].backend.as_deref()), (Status::Failed, Some("spare")), "{place}");
            assert!(first.error.as_ref().is_some_and(|error| !error.message.is_empty()), "{place}");
            assert!(record.totals.duration_us < 10_000_000, "{place}");
        }
    }
}

/// What the record says of the first attempt.
fn said(attempt: &AttemptRecord) -> String {
    let figure = |it: Option<u64>| it.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let mut text = format!(
        "{} in, {} out, {} USD, {} bytes sent",
        figure(attempt.usage.input_tokens),
        figure(attempt.usage.output_tokens),
        attempt.cost_usd.map_or_else(|| "?".to_owned(), |cost| cost.to_string()),
        attempt.bytes_sent.expect("a number")
    );
    if let Some(error) = &attempt.error {
        let _ = write!(text, ": {}", error.message);
    }
    text
}

/// A table of faults, as OpenAI's protocol has them.
pub(super) fn table(met: &[Met]) -> String {
    let mut text = String::new();
    for Met { fault, record, .. } in met.iter().filter(|met| met.provider == "OpenAi") {
        let first = &record.steps[0].attempts[0];
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{fault:26} {:9} {}", first.status.as_str(), said(first));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_a_fallback_survives_every_fault() {
    let files = Files::new(r#", fallback: ["spare"]"#, 20, "");
    let met = meet_all(&files).await;
    println!("{}", table(&met));
    assert_eq!(met.len(), 20 * PROVIDERS.len());
    for Met { fault, provider, record, received } in &met {
        let first = &record.steps[0].attempts[0];
        let bytes: u64 = received.iter().map(Received::bytes).sum();
        let sent = if *fault == "TLS failure" { 0 } else { bytes };
        assert_eq!(first.bytes_sent, Some(sent), "{fault} of {provider}");
    }
}
