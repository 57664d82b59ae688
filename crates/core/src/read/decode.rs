//! Decoding single values: texts, numbers, amounts, lists, maps, and enums of names.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

use super::raw::Raw;
use super::reader::{Decode, Reader, hint_of_names};
use crate::money::Usd;
use crate::spec::Label;

impl Decode for String {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let text = raw.decode::<String>().ok().filter(|_| raw.name().is_none());
        if text.is_none() {
            let hint = Some("write it in quotes: \"…\"".to_owned());
            reader.problem(raw, format!("expected a text, found {}", raw.description()), hint);
        }
        text
    }
}

impl Decode for bool {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match raw.text {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let hint = Some("write it without quotes: `true` or `false`".to_owned());
                reader.problem(raw, format!("expected true or false, found {}", raw.description()), hint);
                None
            }
        }
    }
}

impl Decode for f64 {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let number = raw.decode::<f64>().ok();
        let Some(number) = number.filter(|number| number.is_finite()) else {
            let what = if number.is_some() { "a finite number" } else { "a number" };
            let hint = Some("write it without quotes, e.g. 0.5".to_owned());
            reader.problem(raw, format!("expected {what}, found {}", raw.description()), hint);
            return None;
        };
        Some(number)
    }
}

macro_rules! whole_number {
    ($($number:ty)*) => {$(
        impl Decode for $number {
            fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
                let number = raw.decode::<$number>().ok();
                if number.is_none() {
                    let hint = Some(format!("from {} to {}", <$number>::MIN, <$number>::MAX));
                    reader.problem(raw, format!("expected a whole number, found {}", raw.description()), hint);
                }
                number
            }
        }
    )*};
}
whole_number!(u32 i32 i64 u64);

impl Decode for Usd {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let Some(text) = raw.decode::<String>().ok().filter(|_| raw.name().is_none()) else {
            let hint = Some("write the amount as a decimal in quotes, e.g. \"0.05\"".to_owned());
            reader.problem(raw, format!("expected an amount in dollars, found {}", raw.description()), hint);
            return None;
        };
        text.parse::<Usd>()
            .map_err(|error| reader.problem(raw, error.to_string(), Some("e.g. \"0.05\"".to_owned())))
            .ok()
    }
}

impl Decode for Label {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match raw.name() {
            Some(name) if raw.body().is_none() => Some(Self(name.to_owned())),
            _ => String::decode(reader, raw).map(Self),
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let Some(elements) = raw.elements() else {
            reader.problem(raw, format!("expected a list, found {}", raw.description()), Some("[…, …]".to_owned()));
            return None;
        };
        let mut list = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let at = reader.offset(element.text);
            list.extend(reader.within(&index.to_string(), at, |reader| T::decode(reader, element)));
        }
        Some(list)
    }
}

impl<T: Decode> Decode for IndexMap<String, T> {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        entries(reader, raw, Place::Value, |reader, _, value| T::decode(reader, value))
    }
}

/// Which part of an entry gives it its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Key,
    Value,
}

/// A map with text keys; a key that is written twice is a problem. `read` gets each key and its value.
pub(super) fn entries<T>(
    reader: &mut Reader<'_>,
    raw: Raw<'_>,
    place: Place,
    mut read: impl FnMut(&mut Reader<'_>, &str, Raw<'_>) -> Option<T>,
) -> Option<IndexMap<String, T>> {
    let Some(entries) = raw.entries() else {
        let hint = Some("{ \"name\": …, }".to_owned());
        reader.problem(raw, format!("expected a map, found {}", raw.description()), hint);
        return None;
    };
    let mut map = IndexMap::with_capacity(entries.len());
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in entries {
        let Some(name) = String::decode(reader, key) else { continue };
        let at = reader.offset(key.text);
        if !seen.insert(name.clone()) {
            reader.within(&name, at, |reader| {
                reader.problem_at(
                    at,
                    format!("`{name}` is written twice"),
                    Some("rename or remove one of them".to_owned()),
                );
            });
            continue;
        }
        let at = if place == Place::Key { at } else { reader.offset(value.text) };
        let (value, sound) = reader.sound(|reader| reader.within(&name, at, |reader| read(reader, &name, value)));
        if !sound {
            reader.broken(&name);
        }
        if let Some(value) = value {
            map.insert(name, value);
        }
    }
    Some(map)
}

/// One of several names.
pub(super) fn one_of<T: Copy>(reader: &mut Reader<'_>, raw: Raw<'_>, names: &[(&str, T)]) -> Option<T> {
    let found = raw.name().filter(|_| raw.body().is_none());
    if let Some((_, value)) = names.iter().find(|(name, _)| Some(*name) == found) {
        return Some(*value);
    }
    let listed: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let quoted = raw.decode::<String>().ok().filter(|_| raw.name().is_none());
    let hint = match &quoted {
        Some(text) if listed.contains(&text.as_str()) => format!("write {text} without quotes"),
        _ => hint_of_names(found.or(quoted.as_deref()).unwrap_or_default(), &listed),
    };
    reader.problem(raw, format!("expected {}, found {}", alternatives(&listed), raw.description()), Some(hint));
    None
}

fn alternatives(names: &[&str]) -> String {
    match names {
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => "nothing".to_owned(),
    }
}

impl Decode for Json {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match raw.decode::<StrictJson>() {
            Ok(json) => Some(json.0),
            Err(error) => {
                let (message, hint) = syntax(&error.code);
                reader.problem(raw, format!("not a JSON value: {message}"), hint);
                None
            }
        }
    }
}

/// A JSON value written as RON; duplicate keys and numbers that are not finite are errors.
struct StrictJson(Json);

impl<'de> Deserialize<'de> for StrictJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom(format!("{value} is not a finite number")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(StrictJson(value)) = access.next_element()? {
            list.push(value);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut map = Map::new();
        while let Some((key, StrictJson(value))) = access.next_entry::<String, StrictJson>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` is written twice")));
            }
            map.insert(key, value);
        }
        Ok(Json::Object(map))
    }
}

/// A parser's error in the words of this crate, with a hint.
pub(super) fn syntax(error: &ron::Error) -> (String, Option<String>) {
    use ron::Error as E;
    let (message, hint) = match error {
        E::Eof => ("the file ends in the middle of a value", "a closing `)`, `]`, `}` or quote is missing"),
        E::ExceededRecursionLimit => ("values are nested too deep", "at most 128 levels are read"),
        E::ExpectedComma => ("expected a comma or the end of the list", "put a comma between two entries"),
        E::ExpectedStructLikeEnd => ("expected a comma or `)`", "put a comma between two fields"),
        E::ExpectedMapEnd => ("expected a comma or `}`", "put a comma between two entries"),
        E::ExpectedArrayEnd => ("expected a comma or `]`", "put a comma between two entries"),
        E::ExpectedMapColon => ("expected a colon", "a field is written `name: value`"),
        E::ExpectedStringEnd => ("a text has no closing quote", "end it with `\"`; write `\\\"` for a quote inside"),
        E::UnclosedBlockComment => ("a comment has no end", "end it with `*/`"),
        E::TrailingCharacters => ("something follows the file's value", "a file holds one value; remove the rest"),
        E::NoSuchExtension(name) => {
            return (format!("there is no RON extension `{name}`"), Some("the header can be left out".to_owned()));
        }
        E::ExpectedIdentifier => ("expected a field's name", "a field is written `name: value`"),
        E::UnexpectedChar(c) => {
            return (
                format!("unexpected `{}`", c.escape_debug()),
                Some("texts are written in double quotes".to_owned()),
            );
        }
        E::Message(message) => return (message.clone(), None),
        other => {
            let text = other.to_string();
            let mut chars = text.chars();
            let message = chars.next().map(|first| first.to_lowercase().chain(chars).collect::<String>());
            return (message.unwrap_or_default(), None);
        }
    };
    (message.to_owned(), Some(hint.to_owned()))
}
