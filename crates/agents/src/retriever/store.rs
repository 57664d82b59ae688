//! Indexes on disk: built once, reused until a source changes, shared by processes.
//!
//! One folder per way of indexing (the key) holds `lock`, `state.json` (which files, by size and time, gave which
//! content digest) and one folder per content digest: `passages.jsonl`, `vectors.f32`, `words/`, `manifest.json`.
//! Whoever holds the lock looks, opens and builds; a folder is written beside its place and moved there whole. What
//! does not open is built again.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lumos_core::{AgentError, Backend, BackendError, CallReport};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::corpus::Corpus;
use super::lexical::Lexical;
use super::passages::{Cutter, Passage};
use super::sources::SourceFile;

/// Changes when the layout or the meaning of the files does.
const VERSION: u32 = 1;
/// Texts per call of the embedder.
const BATCH: usize = 64;
/// Pause between two looks at a lock that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Where the indexes of one key are.
pub(super) struct Store {
    root: PathBuf,
}

/// What an index is made with.
pub(super) struct Recipe<'a> {
    pub(super) cutter: &'a Cutter,
    pub(super) words: bool,
    pub(super) embedder: Option<&'a dyn Backend>,
}

/// Which files gave which content.
#[derive(Serialize, Deserialize)]
struct State {
    files: Vec<(String, String)>,
    content: String,
}

/// What an index holds.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    passages: usize,
    dimensions: usize,
    words: bool,
    digest: String,
}

impl Store {
    /// The store below `index_dir` for everything that `key` says.
    pub(super) fn new(index_dir: &Path, key: &str) -> Self {
        Self { root: index_dir.join(&hex(Sha256::digest(format!("{VERSION} {key}")))[..32]) }
    }

    /// The index of `files`: opened where it is there, else built. Other callers, in any process, wait meanwhile.
    ///
    /// With the figures of what was sent to an embedder elsewhere: it may cost, and crosses the boundary. What one in
    /// this process reads for an index belongs to no attempt.
    pub(super) async fn corpus(
        &self,
        files: Vec<SourceFile>,
        recipe: Recipe<'_>,
    ) -> Result<(Corpus, Option<CallReport>), AgentError> {
        fs::create_dir_all(&self.root).map_err(|error| self.fail("create the index folder", &error))?;
        let _lock = self.lock().await?;
        let root = self.root.clone();
        let opened = blocking(move || open_current(&root, files)).await?;
        let (files, content, texts) = match opened {
            Current::Open(corpus) => return Ok((*corpus, None)),
            Current::Stale { files, content, texts } => (files, content, texts),
        };
        let place = self.root.join(&content);
        let there = place.clone();
        if let Some(corpus) = blocking(move || Ok(open(&there).ok())).await? {
            self.remember(&files, &content)?;
            return Ok((corpus, None));
        }
        tracing::info!(files = files.len(), "building the index");
        self.sweep(None)?;
        let folder = tempfile::Builder::new()
            .prefix("tmp-")
            .tempdir_in(&self.root)
            .map_err(|error| self.fail("create an index", &error))?;
        let sent = self.build(&folder, &files, texts, &recipe).await?;
        self.keep(folder, &files, &content, &place).await.map(|corpus| (corpus, sent.clone())).map_err(|error| {
            // What was sent was sent, whatever became of the index.
            error.with_report(sent)
        })
    }

    /// Moves a folder to its place and opens it there.
    async fn keep(
        &self,
        folder: TempDir,
        files: &[SourceFile],
        content: &str,
        place: &Path,
    ) -> Result<Corpus, AgentError> {
        if place.exists() {
            fs::remove_dir_all(place).map_err(|error| self.fail("replace a damaged index", &error))?;
        }
        fs::rename(folder.keep(), place).map_err(|error| self.fail("move the index to its place", &error))?;
        let there = place.to_owned();
        let corpus =
            blocking(move || open(&there).map_err(|why| AgentError::fatal(format!("cannot open the index: {why}"))))
                .await?;
        self.sweep(Some(content))?;
        self.remember(files, content)?;
        Ok(corpus)
    }

    /// Writes an index into `folder`; the figures of what was sent for it.
    async fn build(
        &self,
        folder: &TempDir,
        files: &[SourceFile],
        texts: Vec<String>,
        recipe: &Recipe<'_>,
    ) -> Result<Option<CallReport>, AgentError> {
        let (path, files, cutter, words) =
            (folder.path().to_owned(), files.to_vec(), recipe.cutter.clone(), recipe.words);
        let passages = blocking(move || {
            let mut passages = Vec::new();
            for (file, text) in files.iter().zip(&texts) {
                cutter.cut(file, text, &mut passages)?;
            }
            if passages.is_empty() {
                return Err(AgentError::fatal("the sources hold no text").with_hint("all their files are empty"));
            }
            if words {
                write_words(&path.join("words"), &passages)
                    .map_err(|why| AgentError::fatal(format!("cannot write the index: {why}")))?;
            }
            Ok(passages)
        })
        .await?;
        let mut vectors = Vec::new();
        let mut dimensions = 0;
        let mut sent: Option<CallReport> = None;
        if let Some(embedder) = recipe.embedder {
            for batch in passages.chunks(BATCH) {
                let texts: Vec<_> = batch.iter().map(|passage| passage.text.clone()).collect();
                let embedded = embedder.embed(texts).await.map_err(|error| after(sent.clone(), error))?;
                if embedded.report.bytes_sent > 0 {
                    sent = Some(both(sent, embedded.report));
                }
                check_vectors(&embedded.vectors, batch.len(), &mut dimensions)
                    .map_err(|error| error.with_report(sent.clone()))?;
                vectors.extend(embedded.vectors.into_iter().flatten());
            }
        }
        let path = folder.path().to_owned();
        let written = blocking(move || Ok(write_rest(&path, &passages, &vectors, dimensions, words))).await?;
        written.map_err(|error| self.fail("write the index", &error).with_report(sent.clone()))?;
        Ok(sent)
    }

    /// Waits for the lock; it is released when the file is dropped, and when the process ends.
    async fn lock(&self) -> Result<File, AgentError> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| self.fail("open the lock", &error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(self.fail("take the lock", &error)),
            }
        }
    }

    /// Writes down which files gave `content`.
    fn remember(&self, files: &[SourceFile], content: &str) -> Result<(), AgentError> {
        let state = State { files: stamps(files), content: content.to_owned() };
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new().prefix("tmp-").tempfile_in(&self.root)?;
            serde_json::to_writer(&mut file, &state)?;
            file.persist(self.root.join("state.json"))?;
            Ok(())
        };
        write().map_err(|error| self.fail("write the index's state", &error))
    }

    /// Removes what killed processes left and, when `keep` has just been built, indexes of older contents except the
    /// last one, which another process may still read.
    fn sweep(&self, keep: Option<&str>) -> Result<(), AgentError> {
        let last = read_state(&self.root).map(|state| state.content);
        let entries = fs::read_dir(&self.root).map_err(|error| self.fail("read the index folder", &error))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let old = keep.is_some_and(|keep| name != keep) && last.as_ref() != Some(&name) && name.len() == 64;
            if name.starts_with("tmp-") || old {
                let path = entry.path();
                // What cannot be removed now is tried again with the next index.
                let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
        }
        Ok(())
    }

    fn fail(&self, what: &str, error: &std::io::Error) -> AgentError {
        AgentError::fatal(format!("cannot {what} in {}: {error}", self.root.display()))
            .with_hint("indexes need a folder that can be written and has room")
    }
}

/// The index of the files as they are now, or what is needed to build it.
enum Current {
    Open(Box<Corpus>),
    Stale { files: Vec<SourceFile>, content: String, texts: Vec<String> },
}

fn open_current(root: &Path, files: Vec<SourceFile>) -> Result<Current, AgentError> {
    if let Some(state) = read_state(root).filter(|state| state.files == stamps(&files))
        && let Ok(corpus) = open(&root.join(&state.content))
    {
        return Ok(Current::Open(Box::new(corpus)));
    }
    let mut hash = Sha256::new();
    let mut texts = Vec::with_capacity(files.len());
    for file in &files {
        let text = file.read()?;
        hash.update((file.name.len() as u64).to_le_bytes());
        hash.update(&file.name);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(&text);
        texts.push(text);
    }
    Ok(Current::Stale { files, content: hex(hash.finalize()), texts })
}

fn stamps(files: &[SourceFile]) -> Vec<(String, String)> {
    files.iter().map(|file| (file.path.to_string_lossy().into_owned(), file.stamp.clone())).collect()
}

fn read_state(root: &Path) -> Option<State> {
    let state: State = serde_json::from_slice(&fs::read(root.join("state.json")).ok()?).ok()?;
    // A name made of digits cannot lead out of the folder.
    (state.content.len() == 64 && state.content.bytes().all(|b| b.is_ascii_hexdigit())).then_some(state)
}

fn write_words(folder: &Path, passages: &[Passage]) -> Result<(), String> {
    fs::create_dir(folder).map_err(|error| error.to_string())?;
    Lexical::write(folder, passages.iter().map(|passage| passage.text.as_str())).map_err(|error| error.to_string())
}

fn write_rest(
    folder: &Path,
    passages: &[Passage],
    vectors: &[f32],
    dimensions: usize,
    words: bool,
) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for passage in passages {
        serde_json::to_writer(&mut lines, passage)?;
        lines.push(b'\n');
    }
    let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
    let manifest =
        Manifest { version: VERSION, passages: passages.len(), dimensions, words, digest: digest(&lines, &bytes) };
    for (name, content) in
        [("passages.jsonl", lines), ("vectors.f32", bytes), ("manifest.json", serde_json::to_vec(&manifest)?)]
    {
        let mut file = BufWriter::new(File::create(folder.join(name))?);
        file.write_all(&content)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    }
    Ok(())
}

/// Opens an index; any doubt about its files is an error.
fn open(folder: &Path) -> Result<Corpus, String> {
    let read = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let manifest: Manifest = serde_json::from_slice(&read("manifest.json")?).map_err(|error| error.to_string())?;
    let (lines, bytes) = (read("passages.jsonl")?, read("vectors.f32")?);
    if manifest.version != VERSION || digest(&lines, &bytes) != manifest.digest {
        return Err("the files are not what was written".to_owned());
    }
    let passages: Vec<Passage> = serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let vectors: Vec<f32> =
        bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect();
    let lexical = if manifest.words {
        Some(Lexical::open(&folder.join("words")).map_err(|error| error.to_string())?)
    } else {
        None
    };
    let complete = passages.len() == manifest.passages
        && vectors.len() == manifest.passages * manifest.dimensions
        && lexical.as_ref().is_none_or(|lexical| lexical.len() == manifest.passages as u64);
    if !complete {
        return Err("the files are incomplete".to_owned());
    }
    Ok(Corpus { passages, vectors, dimensions: manifest.dimensions, lexical })
}

/// The figures of calls made one after the other.
pub(super) fn both(first: Option<CallReport>, next: CallReport) -> CallReport {
    match first {
        Some(first) => first.then(next),
        None => next,
    }
}

/// The failure of a call with the figures of those before it. A call that says nothing of itself was for nothing.
pub(super) fn after(first: Option<CallReport>, mut error: BackendError) -> AgentError {
    let report = match error.report.take() {
        Some(report) => Some(both(first, *report)),
        None => first,
    };
    AgentError::from(error.with_report(report))
}

/// Checks what an embedder gave for `wanted` texts, and that its vectors have the length of those before.
fn check_vectors(vectors: &[Vec<f32>], wanted: usize, dimensions: &mut usize) -> Result<(), AgentError> {
    if vectors.len() != wanted {
        return Err(AgentError::fatal(format!("the embedder gave {} vectors for {wanted} texts", vectors.len())));
    }
    for vector in vectors {
        if *dimensions == 0 {
            *dimensions = vector.len();
        }
        if vector.len() != *dimensions || vector.is_empty() {
            return Err(AgentError::fatal("the embedder's vectors differ in length"));
        }
        if vector.iter().any(|value| !value.is_finite()) {
            return Err(AgentError::fatal("the embedder gave a vector with entries that are no numbers"));
        }
    }
    Ok(())
}

fn digest(lines: &[u8], vectors: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update((lines.len() as u64).to_le_bytes());
    hash.update(lines);
    hash.update(vectors);
    hex(hash.finalize())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        text
    })
}

/// Runs blocking work on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(AgentError::fatal(format!("the index's thread stopped: {error}"))))
}
