//! Texts cut into passages: prose and Markdown at their natural borders, tables by rows.

use lumos_core::AgentError;
use lumos_core::spec::{Chunking, RetrieverSpec};
use serde::{Deserialize, Serialize};
use text_splitter::{Characters, ChunkCharIndex, ChunkConfig, MarkdownSplitter, TextSplitter};

use super::sources::{Format, SourceFile};
use crate::build::BuildError;

/// Most passages of all sources.
const MOST_PASSAGES: usize = 2_000_000;

/// A passage of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passage {
    /// `SOURCE#NUMBER`, numbers from 0 per source.
    pub(super) id: String,
    /// The file's path below its source.
    pub(super) source: String,
    /// The text.
    pub(super) text: String,
    /// Where it begins in the file, in characters. For a row of a table: where the row begins.
    pub(super) start: usize,
    /// Where it ends in the file, in characters.
    pub(super) end: usize,
}

/// Cuts files into passages.
#[derive(Debug, Clone)]
pub(super) struct Cutter {
    chunk: Chunking,
    csv_columns: Vec<String>,
}

impl Cutter {
    pub(super) fn new(spec: &RetrieverSpec) -> Result<Self, BuildError> {
        let chunk = spec.chunk.clone();
        if !(1..=1_000_000).contains(&chunk.max_chars) {
            return Err(BuildError::new("chunk.max_chars", format!("{} is out of range", chunk.max_chars))
                .with_hint("from 1 to 1000000"));
        }
        if chunk.overlap_chars >= chunk.max_chars {
            return Err(BuildError::new("chunk.overlap_chars", format!("{} leaves nothing new", chunk.overlap_chars))
                .with_hint(format!("less than `max_chars`, {}", chunk.max_chars)));
        }
        Ok(Self { chunk, csv_columns: spec.csv_columns.clone() })
    }

    /// What decides how texts are cut, for the key of an index.
    pub(super) fn describe(&self) -> String {
        format!("{} {} {:?}", self.chunk.max_chars, self.chunk.overlap_chars, self.csv_columns)
    }

    /// Cuts `text`, the content of `file`, and adds its passages to `passages`.
    pub(super) fn cut(&self, file: &SourceFile, text: &str, passages: &mut Vec<Passage>) -> Result<(), AgentError> {
        let mut number = 0;
        let mut add = |text: &str, start: usize, end: usize| {
            let id = format!("{}#{number}", file.name);
            number += 1;
            passages.push(Passage { id, source: file.name.clone(), text: text.to_owned(), start, end });
        };
        let config = || -> Result<ChunkConfig<Characters>, AgentError> {
            ChunkConfig::new(self.chunk.max_chars as usize)
                .with_overlap(self.chunk.overlap_chars as usize)
                .map_err(|error| AgentError::fatal(format!("cannot cut texts: {error}")))
        };
        let mut add_chunk = |chunk: ChunkCharIndex<'_>| {
            add(chunk.chunk, chunk.char_offset, chunk.char_offset + chunk.chunk.chars().count());
        };
        match file.format {
            Format::Text => TextSplitter::new(config()?).chunk_char_indices(text).for_each(&mut add_chunk),
            Format::Markdown => MarkdownSplitter::new(config()?).chunk_char_indices(text).for_each(&mut add_chunk),
            Format::Csv => {
                let splitter = TextSplitter::new(config()?);
                for row in self.rows(file, text)? {
                    for piece in splitter.chunks(&row.text) {
                        add(piece, row.start, row.end);
                    }
                }
            }
        }
        if passages.len() > MOST_PASSAGES {
            return Err(AgentError::fatal(format!("the sources make more than {MOST_PASSAGES} passages"))
                .with_hint("raise `chunk.max_chars`"));
        }
        Ok(())
    }

    /// The rows of a table as `column: value` lines, with their place in characters.
    fn rows(&self, file: &SourceFile, text: &str) -> Result<Vec<Row>, AgentError> {
        let fail = |error: csv::Error| {
            AgentError::fatal(format!("source {} is no table: {error}", file.path.display()))
                .with_hint("wanted comma-separated values with a header and the same number of fields in each row")
        };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(fail)?.clone();
        let mut columns = Vec::new();
        for wanted in &self.csv_columns {
            let at = header.iter().position(|name| name == wanted).ok_or_else(|| {
                AgentError::fatal(format!("source {} has no column `{wanted}`", file.path.display()))
                    .with_hint(format!("it has {}", header.iter().collect::<Vec<_>>().join(", ")))
            })?;
            columns.push(at);
        }
        if columns.is_empty() {
            columns = (0..header.len()).collect();
        }
        let mut rows = Vec::new();
        let mut record = csv::StringRecord::new();
        let (mut byte, mut chars) = (0, 0);
        loop {
            let start = reader.position().byte() as usize;
            if !reader.read_record(&mut record).map_err(fail)? {
                return Ok(rows);
            }
            let end = reader.position().byte() as usize;
            chars += text[byte..start].chars().count();
            let row_chars = text[start..end].trim_end_matches(['\r', '\n']).chars().count();
            let lines: Vec<_> = columns
                .iter()
                .filter_map(|&at| record.get(at).map(|value| (at, value.trim())))
                .filter(|(_, value)| !value.is_empty())
                .map(|(at, value)| format!("{}: {value}", &header[at]))
                .collect();
            rows.push(Row { text: lines.join("\n"), start: chars, end: chars + row_chars });
            chars += text[start..end].chars().count();
            byte = end;
        }
    }
}

/// A row of a table.
struct Row {
    text: String,
    start: usize,
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::super::sources;
    use super::*;

    fn cut(name: &str, text: &str, chunk: Chunking, columns: &[&str]) -> Result<Vec<Passage>, AgentError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let file = sources::list(&[("f".into(), folder.path().to_owned())]).unwrap().remove(0);
        let csv_columns = columns.iter().map(|&name| name.to_owned()).collect();
        let mut passages = Vec::new();
        Cutter { chunk, csv_columns }.cut(&file, &file.read()?, &mut passages)?;
        Ok(passages)
    }

    fn at_most(max_chars: u32, overlap_chars: u32) -> Chunking {
        Chunking { max_chars, overlap_chars }
    }

    fn slice(text: &str, passage: &Passage) -> String {
        text.chars().skip(passage.start).take(passage.end - passage.start).collect()
    }

    #[test]
    fn offsets_point_at_the_text() {
        let text = "Über uns.\n\nDies ist ein längerer Absatz. Er hat zwei Sätze.\n\nEnde — ja.";
        for (name, overlap) in [("a.txt", 0), ("a.md", 0), ("a.txt", 10)] {
            let passages = cut(name, text, at_most(30, overlap), &[]).unwrap();
            assert!(passages.len() >= 3, "{passages:?}");
            for (number, passage) in passages.iter().enumerate() {
                assert_eq!(slice(text, passage), passage.text);
                assert!(passage.text.chars().count() <= 30);
                assert_eq!(passage.id, format!("{name}#{number}"));
            }
        }
    }

    #[test]
    fn markdown_sections_stay_together() {
        let text = "# One\n\nalpha\n\n# Two\n\nbeta\n";
        let texts: Vec<_> = cut("a.md", text, at_most(14, 0), &[]).unwrap().into_iter().map(|p| p.text).collect();
        assert_eq!(texts, ["# One\n\nalpha", "# Two\n\nbeta"]);
    }

    #[test]
    fn a_row_is_a_passage_with_its_columns_named() {
        let text = "name,note,n\nÄpfel,\"red,\nround\",1\nPears,,2\n";
        let passages = cut("a.csv", text, at_most(800, 0), &[]).unwrap();
        assert_eq!(passages[0].text, "name: Äpfel\nnote: red,\nround\nn: 1");
        assert_eq!(slice(text, &passages[0]), "Äpfel,\"red,\nround\",1");
        assert_eq!((passages[1].text.as_str(), slice(text, &passages[1])), ("name: Pears\nn: 2", "Pears,,2".into()));
        let chosen = cut("a.csv", text, at_most(800, 0), &["n", "name"]).unwrap();
        assert_eq!(chosen[0].text, "n: 1\nname: Äpfel");
        assert_eq!(cut("a.csv", text, at_most(800, 0), &["x"]).unwrap_err().hint.unwrap(), "it has name, note, n");
    }

    #[test]
    fn broken_tables_are_errors() {
        assert!(cut("a.csv", "a,b\n1\n", at_most(9, 0), &[]).unwrap_err().message.contains("is no table"));
    }
}
