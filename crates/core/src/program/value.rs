//! The value of a live run: JSON, shared, converted for templates at most once.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::template;

/// JSON that is cheap to clone.
#[derive(Clone, Default)]
pub struct LiveValue(Option<Arc<Shared>>);

struct Shared {
    json: Value,
    template: OnceLock<minijinja::Value>,
}

impl LiveValue {
    /// `null`.
    pub const NULL: Self = Self(None);

    /// The JSON.
    pub fn json(&self) -> &Value {
        self.0.as_ref().map_or(&Value::Null, |shared| &shared.json)
    }

    /// The value as templates see it.
    pub fn template(&self) -> minijinja::Value {
        match &self.0 {
            None => minijinja::Value::from(()),
            Some(shared) => shared.template.get_or_init(|| template::from_json(&shared.json)).clone(),
        }
    }
}

impl From<Value> for LiveValue {
    fn from(json: Value) -> Self {
        match json {
            Value::Null => Self::NULL,
            json => Self(Some(Arc::new(Shared { json, template: OnceLock::new() }))),
        }
    }
}

impl PartialEq for LiveValue {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl std::fmt::Debug for LiveValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.json())
    }
}

impl Serialize for LiveValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LiveValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}
