//! A server that answers whatever shape it is asked for, in every protocol.

use lumos_faults::{Answer, Ending, Received, Reply};
use serde_json::{Map, Value, json};

/// The smallest sensible value of a JSON schema; `at` tells the entries of a list apart.
fn value(schema: &Value, at: usize) -> Value {
    if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.is_empty()) {
        return choices[at % choices.len()].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            fields.map(|(name, schema)| (name.clone(), value(schema, at))).collect::<Map<_, _>>().into()
        }
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(1).max(1) as usize;
            (0..count).map(|at| value(&schema["items"], at)).collect::<Vec<_>>().into()
        }
        Some("integer" | "number") => schema["maximum"].as_u64().unwrap_or(7).into(),
        _ => format!("stock before holiday {}", at + 1).into(),
    }
}

/// What the model says.
pub(super) fn reply(request: &Received) -> Reply {
    let body = request.json();
    let path = request.path();
    if path.ends_with("/embeddings") || path.contains("mbedContents") {
        let texts = body["input"].as_array().or_else(|| body["requests"].as_array()).map_or(1, Vec::len);
        let vectors = (0..texts).map(|at| vec![1.0, at as f32 / 8.0, 0.5, 0.25]).collect();
        return Answer { vectors, ..Answer::new("") }.into();
    }
    let native = ["/response_format/json_schema/schema", "/generationConfig/responseJsonSchema"];
    if let Some(schema) = native.iter().find_map(|at| body.pointer(at)) {
        return Answer::new(&value(schema, 0).to_string()).into();
    }
    if let Some(tool) = body["tools"].as_array().and_then(|tools| tools.last()) {
        let arguments = value(&tool["input_schema"], 0).to_string();
        let name = tool["name"].as_str().unwrap_or_default().to_owned();
        let calls = vec![("call_1".to_owned(), name, arguments)];
        return Answer { pieces: Vec::new(), calls, ending: Ending::Calls, ..Answer::new("") }.into();
    }
    let asked = String::from_utf8_lossy(&request.body);
    let text = match () {
        () if asked.contains("(Order early|") => "Order early, because the season sells out early.",
        () if asked.contains("[0-9]{1,6}") => "12 * 8",
        () => "The supplier delivers within two weeks.",
    };
    Answer::new(text).into()
}

#[test]
fn values_have_the_shape() {
    let schema = json!({"type": "object", "properties": {
        "series": {"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}},
        "score": {"type": "integer", "maximum": 10},
    }});
    assert_eq!(value(&schema, 0), json!({"series": ["a", "b"], "score": 10}));
}
