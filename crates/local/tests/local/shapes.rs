//! Structured answers of a model that writes noise.

use lumos_core::{Backend, BackendErrorKind, Completion, FinishReason, NoDeltas, OutputFormat};
use serde_json::{Value, json};

use crate::fixtures::{Pieces, shaped, tiny_llama};

const SEEDS: std::ops::Range<u64> = 0..8;

async fn answers(format: OutputFormat, max_tokens: u32) -> Vec<Completion> {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let mut answers = Vec::new();
    for seed in SEEDS {
        answers.push(model.chat(shaped(format.clone(), max_tokens, seed), &NoDeltas).await.unwrap());
    }
    answers
}

fn stopped(answer: &Completion) {
    assert_eq!(answer.report.finish_reason, Some(FinishReason::Stop), "{:?}", answer.text);
}

#[tokio::test]
async fn json_satisfies_its_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 12 },
            "score": { "type": "integer", "minimum": 0, "maximum": 10 },
            "tags": { "type": "array", "items": { "enum": ["a", "b", "caf\u{e9}"] }, "minItems": 1, "maxItems": 3 },
            "inner": { "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"],
                "additionalProperties": false },
        },
        "required": ["name", "score", "tags", "inner"],
        "additionalProperties": false,
    });
    for answer in answers(OutputFormat::JsonSchema(schema), 200).await {
        stopped(&answer);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(value.to_string(), answer.text, "compact, in the order of the schema");
        assert!(value["name"].as_str().unwrap().chars().count() <= 12);
        assert!((0..=10).contains(&value["score"].as_i64().unwrap()));
        let tags = value["tags"].as_array().unwrap();
        assert!(
            (1..=3).contains(&tags.len())
                && tags.iter().all(|tag| ["a", "b", "caf\u{e9}"].contains(&tag.as_str().unwrap()))
        );
        assert!(value["inner"]["ok"].is_boolean());
    }
}

#[tokio::test]
async fn a_pattern_whose_end_is_far_is_not_filled_with_quotes() {
    for answer in answers(OutputFormat::Regex("[^x]{300}x".to_owned()), 40).await {
        assert_eq!(answer.report.finish_reason, Some(FinishReason::Length));
        let quotes = answer.text.chars().filter(|c| *c == '"').count();
        assert!(quotes < 10, "{:?}", answer.text);
    }
}

#[tokio::test]
async fn an_unbounded_schema_still_ends_within_max_tokens() {
    let schema = json!({
        "type": "object",
        "properties": { "text": { "type": "string" }, "items": { "type": "array", "items": { "type": "string" } },
            "amount": { "type": "number" } },
        "required": ["text", "items", "amount"],
    });
    let mut long = 0;
    for answer in answers(OutputFormat::JsonSchema(schema), 80).await {
        stopped(&answer);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(value["text"].is_string() && value["items"].is_array() && value["amount"].is_number());
        long += u32::from(answer.report.usage.output_tokens.unwrap() > 60);
    }
    assert!(long > 0, "some answer had to be brought down");
}

#[tokio::test]
async fn a_regular_expression_matches_the_whole_answer() {
    for answer in answers(OutputFormat::Regex("[A-Z]{2}-[0-9]{3}( ok)?".to_owned()), 40).await {
        stopped(&answer);
        let text = answer.text.strip_suffix(" ok").unwrap_or(&answer.text);
        let (letters, digits) = text.split_once('-').unwrap();
        assert!(letters.len() == 2 && letters.bytes().all(|b| b.is_ascii_uppercase()), "{text}");
        assert!(digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()), "{text}");
    }
    for answer in answers(OutputFormat::Regex("(ab)+".to_owned()), 21).await {
        stopped(&answer);
        assert!(!answer.text.is_empty() && answer.text.replace("ab", "").is_empty(), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_choice_is_one_of_its_texts() {
    let choices: Vec<String> = ["yes", "no", "it \"depends\"\n/on/ the \\w", "n\u{f6}"].map(str::to_owned).to_vec();
    let mut seen = std::collections::BTreeSet::new();
    for answer in answers(OutputFormat::Choice(choices.clone()), 60).await {
        stopped(&answer);
        assert!(choices.contains(&answer.text), "{:?}", answer.text);
        seen.insert(answer.text);
    }
    assert!(seen.len() > 1, "the model chooses: {seen:?}");
}

#[tokio::test]
async fn forced_parts_stream_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let schema = json!({ "type": "object", "properties": { "a_rather_long_name": { "type": "boolean" } },
        "required": ["a_rather_long_name"], "additionalProperties": false });
    let pieces = Pieces::default();
    let answer = model.chat(shaped(OutputFormat::JsonSchema(schema), 64, 1), &pieces).await.unwrap();
    let pieces = pieces.0.into_inner().unwrap();
    assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), answer.text);
    let output = answer.report.usage.output_tokens.unwrap();
    assert!((pieces.len() as u64) < output, "{} steps for {output} tokens", pieces.len());
    // A step generates one token, and what follows from it is counted as prescribed.
    assert_eq!(answer.report.usage.prescribed_tokens, Some(output - pieces.len() as u64));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_structure() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let request = shaped(OutputFormat::Regex("[a-z ]{5,30}".to_owned()), 60, 5);
    let first = model.chat(request.clone(), &NoDeltas).await.unwrap();
    model.chat(shaped(OutputFormat::Choice(vec!["x".to_owned()]), 9, 1), &NoDeltas).await.unwrap();
    assert_eq!(model.chat(request, &NoDeltas).await.unwrap().text, first.text);
}

#[tokio::test]
async fn shapes_that_cannot_be_followed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    for (format, part) in [
        (OutputFormat::JsonSchema(json!({ "type": "object", "not": {} })), "not"),
        (OutputFormat::JsonSchema(json!({ "type": "array", "uniqueItems": true })), "uniqueItems"),
        (OutputFormat::JsonSchema(json!({ "type": "integer", "minimum": 5, "maximum": 4 })), "JSON schema"),
        (OutputFormat::JsonSchema(json!("text")), "object"),
        (OutputFormat::JsonSchema(json!({ "$ref": "https://example.com/schema.json" })), "JSON schema"),
        (OutputFormat::Regex("(".to_owned()), "regular expression"),
        (OutputFormat::Choice(Vec::new()), "choice"),
        (OutputFormat::Choice(vec![String::new()]), "choice"),
    ] {
        let error = model.chat(shaped(format.clone(), 20, 1), &NoDeltas).await.unwrap_err();
        assert_eq!(error.kind, BackendErrorKind::InvalidRequest, "{format:?}: {error}");
        assert!(error.message.contains(part), "{format:?}: {error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
    let fine = model.chat(shaped(OutputFormat::Choice(vec!["fine".to_owned()]), 20, 1), &NoDeltas).await.unwrap();
    assert_eq!(fine.text, "fine");
}

#[tokio::test]
async fn too_few_tokens_for_the_shape_end_with_length() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let request = shaped(OutputFormat::Choice(vec!["abcdefghijklmnop".to_owned()]), 4, 1);
    let answer = model.chat(request, &NoDeltas).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.report.finish_reason), ("abcd", Some(FinishReason::Length)));
    assert_eq!(answer.report.usage.output_tokens, Some(4));
}
