//! Prompts of a wanted length that no cache has seen.

use lumos_core::chance::{combine, mix};
use lumos_core::{ChatRequest, Decoding, Message, OutputFormat, Role};

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

/// A request with `words` random words before its task; the words of two draws differ from the first one on.
pub(super) fn request(words: u32, max_tokens: u32, draw: u64) -> ChatRequest {
    let mut text = String::new();
    for number in 0..words {
        let word = WORDS[(mix(combine(draw, u64::from(number))) % WORDS.len() as u64) as usize];
        text.push_str(word);
        text.push(' ');
    }
    text.push_str(TASK);
    let decoding = Decoding { max_tokens, ..Decoding::default() };
    ChatRequest::new(vec![Message::new(Role::User, text)], decoding, OutputFormat::Text)
}
