//! The form of a run's log on disk: events as JSON, large values apart and by content, a digest over all that came before.

use std::convert::Infallible;
use std::sync::Arc;

use lumos_core::program::LiveValue;
use lumos_core::scheduler::Event;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// Longest JSON of a value, in bytes, that is kept among the events.
const INLINE: usize = 512;

/// Room for the events of a step without values.
const EVENTS: usize = 512;

/// SHA-256 of a value's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
            text
        })
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let bytes: Option<Vec<u8>> = digits
            .filter(|digits| digits.len() == 64)
            .map(|digits| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect());
        bytes
            .and_then(|bytes| Some(Self(bytes.try_into().ok()?)))
            .ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

/// A value as the log keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Kept {
    /// Its JSON.
    #[serde(rename = "v")]
    Inline(Box<RawValue>),
    /// Where its JSON is, among the blobs.
    #[serde(rename = "b")]
    Blob(Hash),
}

/// A value that is kept apart.
pub(crate) struct Blob {
    pub(crate) hash: Hash,
    /// Shared, because many runs begin with the same definition.
    pub(crate) data: Arc<Vec<u8>>,
}

impl Kept {
    /// A value's form; a large one is added to `blobs`.
    pub(crate) fn of(value: &LiveValue, blobs: &mut Vec<Blob>) -> Self {
        // Values are JSON already: writing them cannot fail.
        let raw = serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        if raw.get().len() <= INLINE {
            return Self::Inline(raw);
        }
        let data = String::from(Box::<str>::from(raw)).into_bytes();
        let hash = Hash::of(&data);
        blobs.push(Blob { hash, data: data.into() });
        Self::Blob(hash)
    }

    /// As JSON.
    pub(crate) fn text(&self) -> String {
        // Neither JSON nor hashes can fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Appends an event, in the form of the log, to the array that `text` is.
pub(crate) fn write(text: &mut Vec<u8>, blobs: &mut Vec<Blob>, event: Event<LiveValue>) {
    let event: Result<Event<Kept>, Infallible> = event.map(|value| Ok(Kept::of(&value, blobs)));
    let Ok(event) = event;
    if text.is_empty() {
        text.reserve(EVENTS);
        text.push(b'[');
    } else {
        text.push(b',');
    }
    // Neither writing to memory nor the types of events can fail.
    let written = serde_json::to_writer(text, &event);
    debug_assert!(written.is_ok());
}

/// What a row says, tied to all rows before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) bytes: [u8; 16],
    /// Whether it covers when rows were written; in logs of the first form it does not.
    covers_times: bool,
}

impl Digest {
    /// Of a run without events.
    pub(crate) fn first(parts: &[&[u8]], covers_times: bool) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self { bytes: cut(hasher), covers_times }
    }

    /// After one more row.
    pub(crate) fn then(self, seq: u64, at_us: u64, events: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.bytes);
        hasher.update(seq.to_le_bytes());
        if self.covers_times {
            hasher.update(at_us.to_le_bytes());
        }
        hasher.update(events);
        Self { bytes: cut(hasher), ..self }
    }
}

fn cut(hasher: Sha256) -> [u8; 16] {
    let digest = hasher.finalize();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use lumos_core::scheduler::{AttemptId, Bill, EventKind, StepId};
    use serde_json::{Value, json};

    use super::*;

    fn succeeded(value: Value) -> Event<LiveValue> {
        let attempt = AttemptId { step: StepId(3), number: 1 };
        Event { at_us: 5, kind: EventKind::Succeeded(attempt, value.into(), Bill::default()) }
    }

    #[test]
    fn small_values_stay_and_large_ones_are_kept_by_content() {
        let (mut text, mut blobs) = (Vec::new(), Vec::new());
        let large = json!({ "text": "x".repeat(INLINE) });
        for value in [json!(7), large.clone(), large.clone()] {
            write(&mut text, &mut blobs, succeeded(value));
        }
        text.push(b']');
        assert!(text.starts_with(br#"[{"at_us":5,"kind":{"Succeeded":[[3,1],{"v":7},{}]}},"#));
        assert_eq!(blobs[0].hash, blobs[1].hash);
        assert_eq!(*blobs[0].data, large.to_string().into_bytes());
        let events: Vec<Event<Kept>> = serde_json::from_slice(&text).unwrap();
        let EventKind::Succeeded(_, Kept::Blob(hash), _) = &events[2].kind else { panic!("a blob") };
        assert_eq!(*hash, Hash::of(large.to_string().as_bytes()));
    }

    #[test]
    fn digests_differ_by_every_byte_and_by_what_came_before() {
        let first = Digest::first(&[b"ab", b"c"], true);
        assert_ne!(first, Digest::first(&[b"a", b"bc"], true));
        let next = first.then(1, 7, b"[1]");
        assert!(
            next != first.then(1, 7, b"[2]") && next != first.then(2, 7, b"[1]") && next != next.then(1, 7, b"[1]")
        );
        assert_eq!(next, Digest::first(&[b"ab", b"c"], true).then(1, 7, b"[1]"));
        assert_ne!(next, first.then(1, 8, b"[1]"));
    }

    #[test]
    fn hashes_are_read_back() {
        let hash = Hash::of(b"x");
        assert_eq!(serde_json::from_str::<Hash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        for wrong in ["\"00\"", "\"zz\"", "5"] {
            assert!(serde_json::from_str::<Hash>(wrong).is_err());
        }
    }
}
