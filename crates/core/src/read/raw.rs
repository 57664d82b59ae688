//! RON values before they are decoded: slices of the file, cut by `ron` itself, so that each part has a position and
//! can be read by itself.

use std::fmt;

use super::position::LineIndex;
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How every file is parsed.
pub(super) fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

/// One value, without the blanks and comments around it.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) text: &'a str,
}

/// The file's only value: its syntax is right, whatever it means. On failure, the byte offset and what is wrong there.
///
/// Extensions that the header enables are not: each is either on anyway or changes nothing for values that are cut
/// into fields, and `unwrap_variant_newtypes` would let a few nested `Some(` take seconds.
pub(super) fn document(text: &str) -> Result<Raw<'_>, (usize, ron::Error)> {
    let at = |part: &str, error: ron::error::SpannedError| {
        let offset = LineIndex::new(part).offset(error.span.end.line, error.span.end.col);
        (text.len() - part.len() + offset, error.code)
    };
    let header = ron::Deserializer::from_str_with_options(text, &options()).map_err(|error| at(text, error))?;
    let body = header.remainder();
    options().from_str::<serde::de::IgnoredAny>(body).map_err(|error| at(body, error))?;
    Ok(Raw::new(body))
}

impl<'a> Raw<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: skip_blanks(text) }
    }

    /// The name that begins the value: `Planner` in `Planner(…)`, `All` in `All`.
    pub(super) fn name(self) -> Option<&'a str> {
        let raw_string = ["r\"", "r#", "b\"", "b'", "br"].iter().any(|start| self.text.starts_with(start));
        let is_start = |c: char| c.is_alphabetic() || c == '_';
        if raw_string && !self.text.starts_with("br") || !self.text.starts_with(is_start) {
            return None;
        }
        let end = self.text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.text.len());
        let byte_string = self.text[..end] == *"br" && self.text[end..].starts_with(['"', '#']);
        (!byte_string).then(|| &self.text[..end])
    }

    /// What follows the name: the parenthesised body, if there is one.
    pub(super) fn body(self) -> Option<Raw<'a>> {
        let rest = skip_blanks(&self.text[self.name().map_or(0, str::len)..]);
        rest.starts_with('(').then_some(Raw { text: rest })
    }

    /// Whether the value is `Some(…)` or `None`, and what is in it.
    pub(super) fn option(self) -> Option<Raw<'a>> {
        match self.name() {
            Some("None") => None,
            Some("Some") => match options().from_str::<Option<&RawValue>>(self.text) {
                Ok(Some(inner)) => Some(Raw::new(inner.get_ron())),
                _ => Some(self),
            },
            _ => Some(self),
        }
    }

    /// Name and value of each field of a parenthesised body.
    pub(super) fn fields(self) -> Option<Vec<(&'a str, Raw<'a>)>> {
        parse(self.text, Struct)
    }

    /// Key and value of each entry of a map.
    pub(super) fn entries(self) -> Option<Vec<(Raw<'a>, Raw<'a>)>> {
        parse(self.text, Map)
    }

    /// Each element of a list.
    pub(super) fn elements(self) -> Option<Vec<Raw<'a>>> {
        parse(self.text, List)
    }

    /// The only element of `(value)`.
    pub(super) fn single(self) -> Option<Raw<'a>> {
        match parse(self.text, Tuple)?.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The value, decoded by `ron`.
    pub(super) fn decode<T: serde::Deserialize<'a>>(self) -> Result<T, ron::error::SpannedError> {
        options().from_str(self.text)
    }

    /// What the value looks like, for messages.
    pub(super) fn description(self) -> String {
        let short = |kind: &str| {
            let line = self.text.lines().next().unwrap_or_default().trim_end();
            match line.char_indices().nth(40) {
                Some((at, _)) => format!("{kind} `{}…`", &line[..at]),
                None => format!("{kind} `{line}`"),
            }
        };
        match self.name() {
            Some(name) if self.body().is_some() => format!("`{name}(…)`"),
            Some(name) => format!("`{name}`"),
            None => match self.text.chars().next() {
                Some('"' | 'r') => short("the text"),
                Some('[') => "a list".to_owned(),
                Some('{') => "a map".to_owned(),
                Some('(') => "`(…)`".to_owned(),
                Some('\'') => short("the character"),
                _ => short("the number"),
            },
        }
    }
}

fn parse<'a, S: DeserializeSeed<'a>>(text: &'a str, shape: S) -> Option<S::Value> {
    options().from_str_seed(text, shape).ok()
}

/// Text after leading blanks and comments.
pub(super) fn skip_blanks(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| rest[end..].trim_start());
        } else if rest.starts_with("/*") {
            rest = after_block_comment(rest).trim_start();
        } else {
            return rest;
        }
    }
}

fn after_block_comment(text: &str) -> &str {
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(at) = rest.find(['/', '*']) {
        rest = &rest[at..];
        if let Some(inner) = rest.strip_prefix("/*") {
            depth += 1;
            rest = inner;
        } else if let Some(outer) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = outer;
            if depth == 0 {
                return rest;
            }
        } else {
            rest = &rest[1..];
        }
    }
    ""
}

struct Struct;
struct Map;
struct List;
struct Tuple;

macro_rules! shape {
    ($shape:ident, $value:ty, $expecting:literal, $method:ident ( $($argument:expr),* ), $visit:ident: $access:ident, $next:expr) => {
        impl<'de> DeserializeSeed<'de> for $shape {
            type Value = Vec<$value>;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.$method($($argument,)* self)
            }
        }

        impl<'de> Visitor<'de> for $shape {
            type Value = Vec<$value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }

            fn $visit<A: $access<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut parts = Vec::new();
                let next = $next;
                while let Some(part) = next(&mut access)? {
                    parts.push(part);
                }
                Ok(parts)
            }
        }
    };
}

shape!(Struct, (&'de str, Raw<'de>), "fields", deserialize_struct("", &[]), visit_map: MapAccess, |access: &mut A| {
    let Some(name) = access.next_key::<&'de str>()? else { return Ok(None) };
    let value = access.next_value::<&'de RawValue>()?;
    Ok(Some((name, Raw::new(value.get_ron()))))
});
shape!(Map, (Raw<'de>, Raw<'de>), "a map", deserialize_map(), visit_map: MapAccess, |access: &mut A| {
    let entry = access.next_entry::<&'de RawValue, &'de RawValue>()?;
    Ok(entry.map(|(key, value)| (Raw::new(key.get_ron()), Raw::new(value.get_ron()))))
});
shape!(List, Raw<'de>, "a list", deserialize_seq(), visit_seq: SeqAccess, |access: &mut A| {
    Ok(access.next_element::<&'de RawValue>()?.map(|value| Raw::new(value.get_ron())))
});
shape!(Tuple, Raw<'de>, "one value", deserialize_tuple(1), visit_seq: SeqAccess, |access: &mut A| {
    Ok(access.next_element::<&'de RawValue>()?.map(|value| Raw::new(value.get_ron())))
});
