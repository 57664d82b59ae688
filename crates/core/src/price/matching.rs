//! Which names mean the same model: upper and lower case, dated versions, and names that are nearly right.

/// Names by which lumos and others call the same provider; the first is the one in catalogs.
const PROVIDERS: &[&[&str]] =
    &[&["google", "gemini"], &["x-ai", "xai"], &["together", "together-ai"], &["aws", "bedrock"]];

/// The name of a provider as catalogs write it.
pub(super) fn provider(name: &str) -> String {
    let lower = name.to_lowercase();
    let known = PROVIDERS.iter().find(|names| names.contains(&lower.as_str()));
    known.map_or(lower, |names| names[0].to_owned())
}

/// A name without the version behind it that providers add to a model without changing its price: a date
/// (`-20250219`, `@20250219`, `-2024-07-18`), `-latest`, or a number of three digits (`-001`). `None` when there is
/// none. Four digits (`-2407`) tell models apart and are kept.
pub(super) fn without_version(name: &str) -> Option<&str> {
    if let Some(rest) = name.strip_suffix("-latest") {
        return not_empty(rest);
    }
    let digits_from = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').len();
    let tail = &name[digits_from..];
    let (rest, version) = if let Some(rest) = name[..digits_from].strip_suffix('@') {
        (rest, tail)
    } else {
        // The longest tail that is a version: a name may end in digits of its own, as in `gpt-4-20250219`.
        let starts = tail.match_indices('-').map(|(at, _)| at);
        let at = starts.into_iter().find(|at| is_version(&tail[at + 1..]))?;
        (&name[..digits_from + at], &tail[at + 1..])
    };
    if is_version(version) { not_empty(rest) } else { None }
}

fn not_empty(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

fn is_version(text: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = |year: &str, month: &str, day: &str| {
        digits(year, 4)
            && digits(month, 2)
            && digits(day, 2)
            && super::Date::new(
                year.parse().unwrap_or_default(),
                month.parse().unwrap_or_default(),
                day.parse().unwrap_or_default(),
            )
            .is_some()
    };
    if digits(text, 3) {
        return true;
    }
    if digits(text, 8) {
        return is_date(&text[..4], &text[4..6], &text[6..]);
    }
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [year, month, day] => is_date(year, month, day),
        _ => false,
    }
}

/// At most `most` of the candidates that a name may have meant, the nearest first: those that it is a part of or that are
/// a part of it, and those that differ by few letters.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<String> {
    let lower = name.chars().take(80).collect::<String>().to_lowercase();
    let mut found: Vec<(usize, &str)> = Vec::new();
    for candidate in candidates {
        let other = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&lower, &other);
        let shorter = lower.chars().count().min(other.chars().count());
        let is_part = shorter >= 3 && (lower.contains(&other) || other.contains(&lower));
        if is_part || distance * 3 <= shorter {
            found.push((distance, candidate));
        }
    }
    found.sort_unstable();
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().take(most).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_behind_a_name_are_told_from_the_name() {
        for (name, rest) in [
            ("claude-3-7-sonnet-20250219", Some("claude-3-7-sonnet")),
            ("claude-3-7-sonnet@20250219", Some("claude-3-7-sonnet")),
            ("claude-3-7-sonnet-latest", Some("claude-3-7-sonnet")),
            ("gpt-4o-mini-2024-07-18", Some("gpt-4o-mini")),
            ("gpt-4-2024-07-18", Some("gpt-4")),
            ("claude-opus-4-20250514", Some("claude-opus-4")),
            ("gemini-2.0-flash-001", Some("gemini-2.0-flash")),
            ("mistral-large-2407", None),
            ("gpt-4o-mini", None),
            ("claude-3-7", None),
            ("gpt-4o-2024-13-18", None),
            ("x-20251399", None),
            ("-latest", None),
            ("-001", None),
            ("@20250219", None),
            ("2024-07-18", None),
            ("", None),
            ("模型-2024-07-18", Some("模型")),
        ] {
            assert_eq!(without_version(name), rest, "{name}");
        }
    }

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "claude-3-7-sonnet"];
        assert_eq!(nearest("gpt4o-mini", names, 2), ["gpt-4o-mini", "gpt-4.1-mini"]);
        assert_eq!(nearest("sonnet", names, 3), ["claude-3-7-sonnet"]);
        assert!(nearest("zebra", names, 3).is_empty());
        assert!(nearest("", names, 3).is_empty());
    }
}
