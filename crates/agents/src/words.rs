//! Patterns of texts that models write into a schema, in what every grammar understands.

/// Letters, about: Latin, Greek, Cyrillic and the scripts up to Greek Extended; kana, Han and Hangul.
///
/// Ranges in place of `\p{L}`: llama.cpp's grammars silently leave out a pattern that has a class of properties, and with
/// it the bound of the text's length (seen with xllamacpp 2026.10).
const LETTERS: &str = "A-Za-zªµºÀ-ÖØ-öø-\u{1FFF}\u{3041}-\u{D7FF}";

/// The pattern of texts of up to `most` characters that begin with a letter, or a digit where those are wanted, and hold
/// nothing that takes more than itself in JSON: no quotes, backslashes or control characters.
pub(crate) fn pattern(digits: bool, most: u32) -> String {
    let digits = if digits { "0-9" } else { "" };
    format!(r#"^[{digits}{LETTERS}][^"\\\x00-\x1F\x7F-\x9F]{{0,{}}}$"#, most.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_begin_with_a_letter_and_are_not_too_long() {
        for (text, words, digits) in [
            ("Größe", true, true),
            ("Заказ", true, true),
            ("在庫", true, true),
            ("한국어", true, true),
            ("a b-c, d.", true, true),
            ("2 boxes", false, true),
            ("", false, false),
            (" a", false, false),
            ("- a", false, false),
            ("a\"", false, false),
            ("a\\", false, false),
            ("a\nb", false, false),
            ("a\u{85}", false, false),
            ("abcdefghijk", false, false),
        ] {
            let is_valid = |digits| jsonschema::is_valid(&json!({"pattern": pattern(digits, 10)}), &json!(text));
            assert_eq!((is_valid(false), is_valid(true)), (words, digits), "{text:?}");
        }
    }
}
