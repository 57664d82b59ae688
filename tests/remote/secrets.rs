//! Keys from the environment and from a file are in nothing that lumos writes, says or keeps, however a server fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use lumos_faults::{Received, Reply, Script};

use super::faults::{ENV, ENV_KEY, FILE_KEY, meet_all, table};
use super::{Files, bind, builder, copy, serve};

/// Tells a test that it is the second process of another one.
const FOLDER: &str = "LUMOS_TEST_SECRETS_FOLDER";

/// Every form in which a key may show: as it is, in part, escaped, or within something that is encoded.
fn forms(key: &str) -> Vec<String> {
    let hex = |upper: bool| {
        let byte = |byte: u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        key.bytes().map(byte).collect::<String>()
    };
    let percent = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut forms = vec![
        key.to_owned(),
        key[4..16].to_owned(),
        key[12..].to_owned(),
        percent.to_lowercase(),
        percent,
        hex(false),
        hex(true),
        format!("{key:?}").trim_matches('"').to_owned(),
        key.chars().rev().collect(),
    ];
    // What the key alone determines of a longer text's Base64, wherever it stands in it.
    for before in 0..3 {
        let bytes = [vec![0; before], key.as_bytes().to_vec()].concat();
        let whole = bytes.len() / 3 * 4;
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            forms.push(text[(before * 4).div_ceil(3)..whole].to_owned());
        }
    }
    forms
}

/// The forms of a key that `bytes` contain.
fn shown(bytes: &[u8]) -> Vec<String> {
    let forms = [ENV_KEY, FILE_KEY].into_iter().flat_map(forms);
    forms.filter(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes())).collect()
}

/// Everything in a folder, and below it, that shows a key; and how much was looked at.
fn search(folder: &Path, found: &mut Vec<String>) -> u64 {
    let mut looked = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            looked += search(&path, found);
        } else {
            let bytes = fs::read(&path).expect("a file");
            looked += bytes.len() as u64;
            found.extend(shown(&bytes).into_iter().map(|form| format!("{}: {form}", path.display())));
        }
    }
    looked
}

#[test]
fn the_search_finds_keys_in_every_form() {
    for key in [ENV_KEY, FILE_KEY] {
        for text in [
            format!("Bearer {key}"),
            format!("…{}…", &key[4..16]),
            STANDARD_NO_PAD.encode(format!("user:{key}")),
            STANDARD_NO_PAD.encode(format!("u:{key}:more")),
            URL_SAFE_NO_PAD.encode(format!("as:{key}")),
            percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string(),
        ] {
            assert!(!shown(text.as_bytes()).is_empty(), "{text}");
        }
    }
    assert!(shown(b"sk-env-, sk-file- and other words").is_empty());
}

/// Writes what libraries log, at every level, to where a person would see it.
struct Aloud;

impl log::Log for Aloud {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("log {} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

impl tracing::Subscriber for Aloud {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        eprintln!("span {span:?}");
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        eprintln!("span {values:?}");
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        eprintln!("trace {event:?}");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Runs all faults with every log on, prints every record, and panics with every error that a key can cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the second process of another test"]
async fn everything_is_said_aloud() {
    log::set_logger(&Aloud).expect("the first logger");
    log::set_max_level(log::LevelFilter::Trace);
    tracing::subscriber::set_global_default(Aloud).expect("the first subscriber");
    let files = Files::new(r#", fallback: ["spare"]"#, 20, "");
    let met = meet_all(&files).await;
    println!("{}", table(&met));
    for met in &met {
        println!("{:?}", met.record);
        println!("{}", serde_json::to_string_pretty(&met.record).expect("JSON"));
    }
    let received: Vec<u8> = met.iter().flat_map(|met| &met.received).flat_map(|it| it.head.bytes()).collect();
    assert!([ENV_KEY, FILE_KEY].iter().all(|key| received.windows(key.len()).any(|it| it == key.as_bytes())));
    println!(">keys were sent");

    // Keys that cannot be used.
    for text in [format!("{ENV_KEY}\u{7}"), format!("{ENV_KEY}é"), format!("{ENV_KEY}\n{FILE_KEY}")] {
        fs::write(files.folder().join("key.txt"), &text).expect("a file");
        for key in [format!("Env(\"{ENV}\")"), "File(\"key.txt\")".to_owned()] {
            let backends = format!(
                r#""api": Remote(provider: Anthropic, model: "m", api_key: {key}, cost: Unknown),
                   "spare": Remote(provider: Anthropic, model: "m", cost: Unknown)"#
            );
            let deployment =
                format!(r#"Deployment(name: "scripted", backends: {{ {backends} }}, bind: {{ "*": "api" }})"#);
            fs::write(files.folder().join("scripted.ron"), deployment).expect("a file");
            let text = text.clone();
            let lumos = builder(files.folder()).secrets(Arc::new(move |_| Some(text.clone()))).build().expect("built");
            let folder = files.folder().to_path_buf();
            let panicked = std::thread::spawn(move || bind(&lumos, &folder)).join();
            assert!(panicked.is_err(), "no key can be sent like this");
        }
    }
    fs::remove_file(files.folder().join("key.txt")).expect("the key itself may be there");
    // What is left of the folder is looked at by who has started this.
    let kept = std::env::var(FOLDER).expect("set");
    copy(files.folder(), Path::new(&kept));
}

#[test]
fn no_output_log_record_or_file_of_all_faults_shows_a_key() {
    let kept = tempfile::tempdir().expect("a folder");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["remote::secrets::everything_is_said_aloud", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, kept.path())
        .env("RUST_BACKTRACE", "full")
        .output()
        .expect("this program runs again");
    let (said, logged) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let end: String = logged.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect();
    assert!(output.status.success() && said.contains(">keys were sent"), "{said}\n{end}");
    let lines = |word: &str| logged.lines().filter(|line| line.starts_with(word)).count();
    let (log, trace, panics) = (lines("log "), lines("trace "), logged.matches("panicked at").count());
    assert!(log > 100 && panics >= 6, "everything is looked at: {log}, {trace}, {panics}\n{end}");
    let mut found = Vec::new();
    let looked = search(kept.path(), &mut found);
    assert!(kept.path().join("home").join("lumos.db").exists() || looked > 100_000, "the store is looked at");
    found.extend(shown(&output.stdout).into_iter().map(|form| format!("standard output: {form}")));
    found.extend(shown(&output.stderr).into_iter().map(|form| format!("logs and panics: {form}")));
    println!(
        "{} bytes of records, {} bytes of logs and panics ({log} lines of `log`, {trace} events, {panics} panics), \
         {looked} bytes of files: {} keys",
        output.stdout.len(),
        output.stderr.len(),
        found.len()
    );
    assert!(found.is_empty(), "{found:#?}");
}

/// What the command says, whatever is asked of it, about a server that repeats the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_shows_a_key() {
    let echo = |request: &Received| {
        let key = request.header("authorization").unwrap_or_default().to_owned();
        Reply::Status(
            401,
            vec![("x-request-id".to_owned(), key.clone())],
            format!("{{\"error\": \"no such key: {key}\"}}"),
        )
    };
    let server = serve(Script::by(echo)).await;
    let backends = |key: &str| {
        format!(
            r#""api": Remote(provider: OpenAi, model: "gpt-4o-mini", base_url: "{}/v1", api_key: {key})"#,
            server.url()
        )
    };
    let files = Files::new("", 20, &backends(&format!("Env(\"{ENV}\")")));
    fs::write(files.folder().join("key.txt"), FILE_KEY).expect("a file");
    let by_file = format!(
        r#"Deployment(name: "by_file", backends: {{ {} }}, bind: {{ "*": "api" }})"#,
        backends(r#"File("key.txt")"#)
    );
    fs::write(files.folder().join("by_file.ron"), by_file).expect("a file");
    let run = |deployment: &'static str| ["run", "ask.ron", "-d", deployment, "-i", "question=What?"];
    let mut commands = Vec::new();
    for deployment in ["scripted.ron", "by_file.ron"] {
        for more in [&[][..], &["--format", "json"], &["--format", "json", "--stream"], &["--dry-run"]] {
            commands.push([&run(deployment)[..], more].concat());
        }
        commands.push([&run(deployment)[..], &["--dry-run", "--format", "json"]].concat());
        commands.push(vec!["check", "ask.ron", deployment]);
    }
    commands.push(vec!["runs", "list", "--format", "json"]);
    let folder = files.folder().to_path_buf();
    let home = files.home();
    let outputs = tokio::task::spawn_blocking(move || {
        let outputs = commands.into_iter().map(|arguments| {
            let output = Command::new(env!("CARGO_BIN_EXE_lumos"))
                .args(&arguments)
                .current_dir(&folder)
                .env("LUMOS_HOME", &home)
                .env(ENV, ENV_KEY)
                .stdin(Stdio::null())
                .output()
                .expect("the command starts");
            (arguments, output)
        });
        outputs.collect::<Vec<_>>()
    })
    .await
    .expect("no panic");
    let sent: Vec<u8> = server.requests().iter().flat_map(|request| request.head.bytes().collect::<Vec<_>>()).collect();
    assert_eq!(server.requests().len(), 6);
    assert!(!shown(&sent).is_empty(), "the key is sent");
    for (arguments, output) in outputs {
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.is_empty() || arguments[0] == "check", "{arguments:?} says something");
        assert!(shown(&text).is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&text));
        let is_run = arguments[0] == "run" && !arguments.contains(&"--dry-run");
        assert_eq!(output.status.code(), Some(i32::from(is_run)), "{arguments:?}: {}", String::from_utf8_lossy(&text));
    }
    let mut found = Vec::new();
    search(&files.home(), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}
