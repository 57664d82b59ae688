//! BM25 over passages, by `tantivy` with its parameters (k1 1.2, b 0.75), words in lower case and stemmed as English.
//!
//! The index is one segment that is written in the order of the passages, so a document's number is its passage's.

use std::collections::BTreeSet;
use std::path::Path;

use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{
    Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer, TokenStream, TokenizerManager,
};
use tantivy::{Index, IndexReader, ReloadPolicy, TantivyDocument, TantivyError, Term};

/// Name under which the analyzer is registered.
const ANALYZER: &str = "english";
/// Most distinct words of a query that are looked up.
const MOST_TERMS: usize = 1024;
/// Decides how large the writer's table of words is at first.
const WRITER_BYTES: usize = 64 << 20;

/// An index that can be searched.
pub(super) struct Lexical {
    reader: IndexReader,
    field: Field,
    analyzer: TextAnalyzer,
}

impl Lexical {
    /// Writes an index of `texts` into the empty folder `folder`.
    pub(super) fn write<'a>(folder: &Path, texts: impl Iterator<Item = &'a str>) -> Result<(), TantivyError> {
        let (schema, field) = schema();
        let tokenizers = TokenizerManager::new();
        tokenizers.register(ANALYZER, analyzer());
        let builder = Index::builder().schema(schema).tokenizers(tokenizers);
        let mut writer = builder.single_segment_index_writer(MmapDirectory::open(folder)?, WRITER_BYTES)?;
        for text in texts {
            let mut document = TantivyDocument::default();
            document.add_text(field, text);
            writer.add_document(document)?;
        }
        writer.finalize()?;
        Ok(())
    }

    /// Opens what [`Lexical::write`] wrote.
    pub(super) fn open(folder: &Path) -> Result<Self, TantivyError> {
        let index = Index::open_in_dir(folder)?;
        if let Some(damaged) = index.validate_checksum()?.into_iter().next() {
            return Err(TantivyError::InternalError(format!("{} is damaged", damaged.display())));
        }
        index.tokenizers().register(ANALYZER, analyzer());
        let (_, field) = schema();
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { reader, field, analyzer: analyzer() })
    }

    /// Number of passages in the index.
    pub(super) fn len(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// The passages that share a word with `query`, best first, ties by number: their numbers and scores.
    pub(super) fn search(&self, query: &str, most: usize) -> Result<Vec<(usize, f32)>, TantivyError> {
        let mut words = BTreeSet::new();
        let mut analyzer = self.analyzer.clone();
        let mut tokens = analyzer.token_stream(query);
        while words.len() < MOST_TERMS && tokens.advance() {
            words.insert(tokens.token().text.clone());
        }
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let clauses: Vec<(Occur, Box<dyn Query>)> = words
            .iter()
            .map(|word| {
                let term = Term::from_field_text(self.field, word);
                let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
                (Occur::Should, query)
            })
            .collect();
        let query = BooleanQuery::new(clauses);
        let hits = self.reader.searcher().search(&query, &TopDocs::with_limit(most.max(1)).order_by_score())?;
        let mut hits: Vec<_> = hits.into_iter().map(|(score, place)| (place.doc_id as usize, score)).collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(hits)
    }
}

fn schema() -> (Schema, Field) {
    let indexing = TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqs);
    let mut builder = Schema::builder();
    let field = builder.add_text_field("text", TextOptions::default().set_indexing_options(indexing));
    (builder.build(), field)
}

fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(200))
        .filter(LowerCaser)
        .filter(Stemmer::new(Language::English))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> (tempfile::TempDir, Lexical) {
        let folder = tempfile::tempdir().unwrap();
        Lexical::write(folder.path(), texts.iter().copied()).unwrap();
        let lexical = Lexical::open(folder.path()).unwrap();
        (folder, lexical)
    }

    fn found(lexical: &Lexical, query: &str) -> Vec<usize> {
        lexical.search(query, 10).unwrap().into_iter().map(|hit| hit.0).collect()
    }

    #[test]
    fn words_are_found_in_any_form_and_rare_ones_count_more() {
        let (_folder, lexical) = index(&["the store reordered milk", "the store", "the the the", "milk milk milk"]);
        assert_eq!(lexical.len(), 4);
        assert_eq!(found(&lexical, "Reordering!"), [0]);
        assert_eq!(found(&lexical, "milk")[0], 3);
        assert_eq!(found(&lexical, "nothing such"), [0usize; 0]);
    }

    #[test]
    fn ties_are_broken_by_the_order_of_the_passages() {
        let (_folder, lexical) = index(&["same words", "same words", "other", "same words"]);
        assert_eq!(found(&lexical, "same"), [0, 1, 3]);
    }

    #[test]
    fn no_query_is_a_syntax_error() {
        let (_folder, lexical) = index(&["alpha AND beta: (gamma)"]);
        for query in ["", "???", "a AND", "text:", "\"", "(", "+-!^~*[]{}", "field:value AND (", "\0", "alpha\\"] {
            lexical.search(query, 3).unwrap();
        }
        assert_eq!(found(&lexical, "alpha AND ("), [0]);
        let long: String = (0..5000).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
        assert!(found(&lexical, &long).is_empty());
    }

    /// The formula of Robertson and Zaragoza (2009) with tantivy's parameters, worked out by hand.
    #[test]
    fn the_score_is_bm25() {
        let (_folder, lexical) = index(&["pear", "apple pear", "plum plum plum"]);
        let score = lexical.search("apple", 1).unwrap()[0].1;
        let (docs, containing, length, average) = (3.0f32, 1.0f32, 2.0f32, 2.0f32);
        let idf = (1.0 + (docs - containing + 0.5) / (containing + 0.5)).ln();
        let wanted = idf * (1.0 * 2.2) / (1.0 + 1.2 * (0.25 + 0.75 * length / average));
        assert!((score - wanted).abs() < 1e-4, "{score} {wanted}");
    }
}
