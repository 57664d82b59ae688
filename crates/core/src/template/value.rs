//! Values between JSON and templates.

use minijinja::value::{Value, ValueKind};
use serde_json::{Map, Number, Value as Json};

use super::{MAX_OUTPUT_BYTES, TemplateError};

/// Deepest nesting of a value that becomes JSON; `serde_json` reads as deep back.
const MAX_DEPTH: u32 = 120;

/// A JSON value as templates see it.
pub fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(entries) => Value::from(entries.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, entry)| (key.as_str(), from_json(entry)))),
    }
}

/// A template's value as JSON: integers stay integers, map keys become text.
///
/// # Errors
/// Values that JSON has no place for: missing ones, NaN and infinity, bytes, functions, integers beyond 64 bits; and
/// values that are too large or nested too deep.
pub fn to_json(value: &Value) -> Result<Json, TemplateError> {
    let mut room = MAX_OUTPUT_BYTES;
    convert(value, 0, &mut room)
}

fn convert(value: &Value, depth: u32, room: &mut usize) -> Result<Json, TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError::new(format!("the value is nested more than {MAX_DEPTH} levels deep")));
    }
    let mut take = |bytes: usize| {
        *room = room.checked_sub(bytes).ok_or_else(TemplateError::too_large)?;
        Ok::<(), TemplateError>(())
    };
    match value.kind() {
        ValueKind::None => take(4).map(|()| Json::Null),
        ValueKind::Bool => take(5).map(|()| Json::Bool(value.is_true())),
        ValueKind::Number => {
            take(8)?;
            number(value).map(Json::Number)
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            take(text.len() + 2)?;
            Ok(Json::String(text.to_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            take(2)?;
            let entries = value.try_iter().map_err(|error| TemplateError::new(error.to_string()))?;
            entries.map(|entry| convert(&entry, depth + 1, room)).collect::<Result<Vec<_>, _>>().map(Json::Array)
        }
        ValueKind::Map => {
            take(2)?;
            let keys = value.try_iter().map_err(|error| TemplateError::new(error.to_string()))?;
            let mut map = Map::new();
            for key in keys {
                let name = match key.as_str() {
                    Some(name) => name.to_owned(),
                    None => key.to_string(),
                };
                let entry = value.get_item(&key).map_err(|error| TemplateError::new(error.to_string()))?;
                *room = room.checked_sub(name.len()).ok_or_else(TemplateError::too_large)?;
                map.insert(name, convert(&entry, depth + 1, room)?);
            }
            Ok(Json::Object(map))
        }
        ValueKind::Undefined => Err(TemplateError::new("the expression gives nothing")),
        kind => Err(TemplateError::new(format!("the expression gives {kind}, which is not a JSON value"))),
    }
}

fn number(value: &Value) -> Result<Number, TemplateError> {
    if value.is_integer() {
        return i64::try_from(value.clone())
            .map(Number::from)
            .or_else(|_| u64::try_from(value.clone()).map(Number::from))
            .map_err(|_| TemplateError::new(format!("the integer {value} has more than 64 bits")));
    }
    let float = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    Number::from_f64(float).ok_or_else(|| {
        TemplateError::new(format!("the expression gives {float}, which is not a finite number"))
            .with_hint("a division by zero, or an operand that is not finite")
    })
}
