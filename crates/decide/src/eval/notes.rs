//! What is done of an evaluation, noted in a file while it goes on: which run was a row's, and what others said of it.
//!
//! The runs themselves are in the record store. A line that was not written to its end is not there.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use lumos_core::load::Definition;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::case::Score;

/// What is noted of an evaluation.
#[derive(Debug)]
pub struct Notes {
    file: Option<File>,
    path: PathBuf,
    runs: BTreeMap<String, String>,
    scores: BTreeMap<(String, String), Score>,
    /// Why the last line was not written.
    lost: Option<io::Error>,
    /// Whether what is noted is a part of something that has not ended when this has.
    is_part: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The run of a row.
    Run { row: String, run_id: String },
    /// What was said of a run.
    Score { run_id: String, scorer: String, score: Score },
}

impl Notes {
    /// Those of an evaluation of what `definition` says, with `seed`, in a folder that is made when it is not there. When an
    /// earlier one did not come to its end, they hold what it had done, unless `is_fresh`.
    ///
    /// # Errors
    /// When the folder or the file cannot be made, read or written.
    pub fn open(folder: &Path, definition: &Definition, seed: u64, is_fresh: bool) -> io::Result<Self> {
        Self::open_as(digest(&(definition, seed)), folder, is_fresh)
    }

    /// Those of a part of something larger that is called `part`: they stay until [`Self::close`].
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_part(
        part: &str,
        folder: &Path,
        definition: &Definition,
        seed: u64,
        is_fresh: bool,
    ) -> io::Result<Self> {
        let notes = Self::open_as(digest(&(part, definition, seed)), folder, is_fresh)?;
        Ok(Self { is_part: true, ..notes })
    }

    fn open_as(identity: String, folder: &Path, is_fresh: bool) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{identity}.jsonl"));
        let mut notes =
            Self { file: None, path, runs: BTreeMap::new(), scores: BTreeMap::new(), lost: None, is_part: false };
        let before = match std::fs::read(&notes.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        if is_fresh && !before.is_empty() {
            notes.put_aside()?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&notes.path)?;
        if !is_fresh {
            for line in before.split_inclusive(|byte| *byte == b'\n') {
                match serde_json::from_slice(line) {
                    Ok(Line::Run { row, run_id }) => drop(notes.runs.insert(row, run_id)),
                    Ok(Line::Score { run_id, scorer, score }) => drop(notes.scores.insert((run_id, scorer), score)),
                    Err(_) => {}
                }
            }
            if before.last().is_some_and(|byte| *byte != b'\n') {
                file.write_all(b"\n")?;
            }
        }
        notes.file = Some(file);
        Ok(notes)
    }

    /// Notes that nobody keeps.
    pub fn none() -> Self {
        Self {
            file: None,
            path: PathBuf::new(),
            runs: BTreeMap::new(),
            scores: BTreeMap::new(),
            lost: None,
            is_part: false,
        }
    }

    /// The run of a row.
    pub(super) fn run_of(&self, row: &str) -> Option<&String> {
        self.runs.get(row)
    }

    /// What a scorer said of a run.
    pub(super) fn score_of(&self, run_id: &str, scorer: &str) -> Option<&Score> {
        self.scores.get(&(run_id.to_owned(), scorer.to_owned()))
    }

    pub(super) fn note_run(&mut self, row: &str, run_id: &str) {
        self.line(&Line::Run { row: row.to_owned(), run_id: run_id.to_owned() });
    }

    pub(super) fn note_score(&mut self, run_id: &str, scorer: &str, score: &Score) {
        self.line(&Line::Score { run_id: run_id.to_owned(), scorer: scorer.to_owned(), score: score.clone() });
    }

    /// Why not all could be noted; what is lost is done again.
    pub(super) fn lost(&mut self) -> Option<io::Error> {
        self.lost.take()
    }

    fn line(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return };
        // Lines have no map whose keys are not texts: they can be written.
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        if let Err(error) = file.write_all(&text) {
            self.lost.get_or_insert(error);
        }
    }

    /// The evaluation has come to its end: the next one begins anew.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn end(&mut self) -> io::Result<()> {
        if self.is_part { Ok(()) } else { self.close() }
    }

    /// The same of all that they may be a part of.
    ///
    /// # Errors
    /// As for [`Self::end`].
    pub fn close(&mut self) -> io::Result<()> {
        if self.file.take().is_none() {
            return Ok(());
        }
        self.put_aside()
    }

    /// Gives the file the next number that is free.
    fn put_aside(&self) -> io::Result<()> {
        let numbered = |number: u32| self.path.with_extension(format!("{number}.jsonl"));
        let free = (1..=u32::MAX).map(numbered).find(|path| !path.exists());
        free.map_or(Ok(()), |free| std::fs::rename(&self.path, free))
    }
}

/// What rows, or runs, with the same inputs have in common.
pub fn inputs_digest(inputs: &IndexMap<String, Value>) -> String {
    digest(inputs)
}

/// The first 16 digits of the SHA-256 of a value's JSON.
pub(super) fn digest(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let hash = Sha256::digest(&bytes);
    let first: [u8; 8] = std::array::from_fn(|at| hash[at]);
    format!("{:016x}", u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        Definition { workflows: Vec::new(), agents: indexmap::IndexMap::new(), deployment: None }
    }

    #[test]
    fn what_was_noted_before_a_crash_is_there_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = |is_fresh| Notes::open(folder.path(), &definition(), 1, is_fresh).unwrap();
        let mut notes = open(false);
        notes.note_run("a", "01A");
        notes.note_score("01A", "s", &Score::of(0.5));
        let path = notes.path.clone();
        drop(notes);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"run\": {\"row\": \"b\", \"run_").unwrap();
        let mut notes = open(false);
        assert_eq!((notes.run_of("a"), notes.run_of("b")), (Some(&"01A".to_owned()), None));
        assert_eq!(notes.score_of("01A", "s"), Some(&Score::of(0.5)));
        notes.note_run("b", "01B");
        drop(notes);
        let mut notes = open(false);
        assert_eq!(notes.run_of("b"), Some(&"01B".to_owned()), "what comes after a torn line is read");
        notes.end().unwrap();
        assert_eq!(open(false).run_of("a"), None, "one that has ended is not gone on with");
    }

    #[test]
    fn another_seed_or_a_wish_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let open = |seed, is_fresh| Notes::open(folder.path(), &definition(), seed, is_fresh).unwrap();
        open(1, false).note_run("a", "01A");
        assert!(open(2, false).run_of("a").is_none());
        assert!(open(1, false).run_of("a").is_some());
        assert!(open(1, true).run_of("a").is_none());
        assert!(open(1, false).run_of("a").is_none());
        let kept = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(kept, 3, "nothing was thrown away");
    }
}
