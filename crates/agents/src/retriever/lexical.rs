//! BM25 over passages, by `tantivy` with its parameters (k1 1.2, b 0.75), words in lower case and stemmed as English.
//!
//! A word counts as often as the query says it. Stop words of English are not looked up, unless a query has no others: in a long
//! question they would weigh more than what it is about.
//!
//! The index is one segment that is written in the order of the passages, so a document's number is its passage's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{
    Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer, TokenStream, TokenizerManager,
};
use tantivy::{Index, IndexReader, ReloadPolicy, TantivyDocument, TantivyError, Term};

/// Name under which the analyzer is registered.
const ANALYZER: &str = "english";
/// Most distinct words of a query that are looked up.
const MOST_TERMS: usize = 1024;
/// Words of which a query is made but not about: those of Snowball's English list, its contractions cut at the apostrophe as
/// texts are, and of Lucene's `EnglishAnalyzer`.
static STOP_WORDS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| ENGLISH.split_ascii_whitespace().collect());
const ENGLISH: &str = "\
    a about above after again against all am an and any are aren as at be because been before being below between \
    both but by cannot could couldn d did didn do does doesn doing don down during each few for from further had \
    hadn has hasn have haven having he her here hers herself him himself his how i if in into is isn it its itself \
    ll m me more most mustn my myself no nor not of off on once only or other ought our ours ourselves out over own \
    re s same shan she should shouldn so some such t than that the their theirs them themselves then there these \
    they this those through to too under until up ve very was wasn we were weren what when where which while who \
    whom why will with would wouldn you your yours yourself yourselves";
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
        let words = self.words(query);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let clauses: Vec<(Occur, Box<dyn Query>)> = words
            .iter()
            .map(|(word, times)| {
                let term = Term::from_field_text(self.field, word);
                let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
                (Occur::Should, Box::new(BoostQuery::new(query, *times)) as Box<dyn Query>)
            })
            .collect();
        let query = BooleanQuery::new(clauses);
        let hits = self.reader.searcher().search(&query, &TopDocs::with_limit(most.max(1)).order_by_score())?;
        let mut hits: Vec<_> = hits.into_iter().map(|(score, place)| (place.doc_id as usize, score)).collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(hits)
    }

    /// The words of a query that are looked up, with how often it says them.
    fn words(&self, query: &str) -> BTreeMap<String, f32> {
        let (mut words, mut stop_words) = (BTreeMap::new(), BTreeMap::new());
        let mut analyzer = self.analyzer.clone();
        let mut tokens = analyzer.token_stream(query);
        while words.len() < MOST_TERMS && tokens.advance() {
            let token = tokens.token();
            // A token that was stemmed has the place of the word in the query.
            let word = query.get(token.offset_from..token.offset_to).unwrap_or_default().to_ascii_lowercase();
            let is_stop_word = STOP_WORDS.contains(word.as_str());
            let found = if is_stop_word { &mut stop_words } else { &mut words };
            *found.entry(token.text.clone()).or_insert(0.0) += 1.0;
        }
        if words.is_empty() { stop_words } else { words }
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
    fn what_a_question_is_made_of_is_not_looked_up_unless_there_is_nothing_else() {
        assert_eq!(STOP_WORDS.len(), 147);
        let (_folder, lexical) =
            index(&["that is as it is, and will be", "milk in the store", "the will of the people"]);
        assert_eq!(found(&lexical, "Is there milk, and will it be that of the store?"), [1]);
        assert_eq!(found(&lexical, "As it is!"), [0]);
        assert_eq!(found(&lexical, "people's will"), [2]);
    }

    #[test]
    fn a_word_counts_as_often_as_it_is_said() {
        let (_folder, lexical) = index(&["apple plum", "pear plum", "plum"]);
        let score = |query: &str| lexical.search(query, 1).unwrap()[0];
        assert!((score("apple apple").1 - 2.0 * score("apple").1).abs() < 1e-6);
        assert_eq!(score("apple pear pear").0, 1);
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
