//! Prompts of a wanted length that no cache has seen.

use lumos_core::chance::{combine, mix};
use lumos_core::{ChatRequest, Decoding, Message, OutputFormat, Role};
use lumos_sim::profile::Choice;

/// Words that most vocabularies have as one token each when a space is before them.
const WORDS: [&str; 64] = [
    "river", "stone", "green", "paper", "light", "house", "water", "north", "table", "music", "glass", "horse",
    "cloud", "bread", "chair", "field", "train", "sugar", "metal", "night", "ocean", "plant", "queen", "radio",
    "sheep", "tower", "uncle", "voice", "wheel", "youth", "apple", "beach", "clock", "dance", "earth", "fruit",
    "grass", "heart", "island", "juice", "knife", "lemon", "money", "nurse", "onion", "pilot", "quiet", "robot",
    "smile", "tiger", "urban", "visit", "winter", "yellow", "zero", "angle", "brick", "coast", "dream", "eagle",
    "flame", "giant", "honey", "image",
];

/// What makes even a small model go on: an enumeration that has no end.
const TASK: &str = "Count from 1 to 10000 without leaving a number out: 1, 2, 3, 4, 5, 6, 7, 8,";

/// A schema as planners have it, of an answer that may go on for long.
fn schema() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "numbers": {
                "type": "array",
                "items": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9 .,]{0,47}$" },
                "minItems": 3,
                "maxItems": 12,
            },
        },
        "required": ["numbers"],
        "additionalProperties": false,
    })
}

/// A request with `words` random words before its task; the words of two draws differ from the first one on.
pub(super) fn request(words: u32, max_tokens: u32, choice: Choice, draw: u64) -> ChatRequest {
    let mut text = String::new();
    for number in 0..words {
        let word = WORDS[(mix(combine(draw, u64::from(number))) % WORDS.len() as u64) as usize];
        text.push_str(word);
        text.push(' ');
    }
    text.push_str(TASK);
    let plain = Decoding::default();
    let decoding = Decoding {
        max_tokens,
        temperature: if choice.is_drawn { 0.7 } else { plain.temperature },
        repetition_penalty: if choice.is_penalised { 1.1 } else { plain.repetition_penalty },
        seed: draw,
        ..plain
    };
    let format = if choice.is_constrained { OutputFormat::JsonSchema(schema()) } else { OutputFormat::Text };
    ChatRequest::new(vec![Message::new(Role::User, text)], decoding, format)
}
