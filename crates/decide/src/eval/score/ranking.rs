//! Lists of what was found, best first, against what should have been.

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::{parsed, short};

/// Grades by id: those of an object, or 1 for each of a list; `None` for anything else. Those of 0 are not wanted.
pub(super) fn grades(expected: &Value) -> Option<IndexMap<String, f64>> {
    let id = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match expected {
        Value::Array(list) => list.iter().map(|value| Some((id(value)?, 1.0))).collect(),
        Value::Object(fields) => {
            let graded =
                fields.iter().map(|(name, grade)| Some((name.clone(), grade.as_f64().filter(|it| *it >= 0.0)?)));
            Some(graded.collect::<Option<IndexMap<_, _>>>()?.into_iter().filter(|(_, grade)| *grade > 0.0).collect())
        }
        other => id(other).map(|id| IndexMap::from([(id, 1.0)])),
    }
}

/// The distinct ids of an output, best first. An entry is a text, a number, or an object with `id` or `source`, as a
/// retriever's passages are; it counts as whichever of them is wanted, so that several passages of one source count once.
fn ranking(output: &Value, wanted: &IndexMap<String, f64>) -> Result<IndexSet<String>, String> {
    let list = match parsed(output) {
        Some(Value::Array(list)) => list,
        Some(Value::Object(mut fields)) => match fields.get_mut("passages").map(Value::take) {
            Some(Value::Array(list)) => list,
            _ => return Err(format!("{} holds no list `passages`", short(output))),
        },
        _ => return Err(format!("{} is no list", short(output))),
    };
    let named = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(number @ Value::Number(_)) => Some(number.to_string()),
        _ => None,
    };
    list.iter()
        .map(|entry| match entry {
            Value::Object(fields) => {
                let names: Vec<String> = ["source", "id"].iter().filter_map(|key| named(fields.get(*key))).collect();
                let best = names.iter().find(|name| wanted.contains_key(*name)).or_else(|| names.first());
                best.cloned().ok_or_else(|| format!("{} has neither `id` nor `source`", short(entry)))
            }
            other => named(Some(other)).ok_or_else(|| format!("{} is no id", short(other))),
        })
        .collect()
}

pub(super) fn recall(output: &Value, expected: &Value, k: usize) -> Result<f64, String> {
    let wanted = grades(expected).unwrap_or_default();
    let found = ranking(output, &wanted)?;
    let hits = found.iter().take(k).filter(|id| wanted.contains_key(*id)).count();
    Ok(hits as f64 / wanted.len().max(1) as f64)
}

pub(super) fn ndcg(output: &Value, expected: &Value, k: usize) -> Result<f64, String> {
    let wanted = grades(expected).unwrap_or_default();
    let found = ranking(output, &wanted)?;
    let gain = |grades: &mut dyn Iterator<Item = f64>| {
        (2..).zip(grades).map(|(place, grade): (u32, _)| grade / f64::from(place).log2()).sum::<f64>()
    };
    let mut best: Vec<f64> = wanted.values().copied().collect();
    best.sort_by(|a, b| b.total_cmp(a));
    let most = gain(&mut best.into_iter().take(k));
    let had = gain(&mut found.iter().take(k).map(|id| wanted.get(id).copied().unwrap_or(0.0)));
    Ok(if most > 0.0 { had / most } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn recall_counts_each_id_once_and_only_the_first_k() {
        let found = json!(["a", "x", "b", "c"]);
        assert_eq!(recall(&found, &json!(["a", "b", "d", "e"]), 10), Ok(0.5));
        assert_eq!(recall(&found, &json!(["a", "b", "d", "e"]), 2), Ok(0.25));
        let passages = json!({"passages": [
            {"id": "n.md#1", "source": "n.md"}, {"id": "n.md#2", "source": "n.md"}, {"id": "m.md#1", "source": "m.md"},
        ]});
        assert_eq!(recall(&passages, &json!(["n.md", "m.md"]), 2), Ok(1.0));
        assert_eq!(recall(&passages, &json!(["n.md#2"]), 2), Ok(1.0));
        assert_eq!(recall(&json!([]), &json!(["a"]), 2), Ok(0.0));
        assert!(recall(&json!("a"), &json!(["a"]), 2).is_err() && recall(&json!([{}]), &json!(["a"]), 2).is_err());
    }

    #[test]
    fn ndcg_by_hand() {
        // Grades 3, 0, 2 at places 1, 2, 3: 3 + 2 / 2 = 4; the best there could be: 3 + 2 / log2(3) + 1 / 2 = 4.7619.
        let found = ndcg(&json!(["a", "x", "b"]), &json!({"a": 3, "b": 2, "c": 1, "d": 0}), 3).unwrap();
        assert!((found - 4.0 / (3.5 + 2.0 / 3f64.log2())).abs() < 1e-12, "{found}");
        assert_eq!(ndcg(&json!(["a", "b"]), &json!(["b", "a"]), 10), Ok(1.0));
        assert_eq!(ndcg(&json!(["x", "a"]), &json!(["a"]), 1), Ok(0.0));
    }
}
