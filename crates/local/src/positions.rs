//! What a GGUF file says about positions beyond candle's plain rotary embedding. candle reads the base frequency and
//! nothing else, so a file that asks for more would be answered from wrongly without a word: it is refused, or, where
//! the model still works, limited and said.

use candle_core::quantized::gguf_file::Content;

use crate::vocabulary::{number, text};

/// How a model can be used although its positions are not computed as it asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Positions {
    /// Longest context for which the plain embedding is right.
    pub(crate) longest: Option<u32>,
    /// What people should know.
    pub(crate) note: Option<String>,
}

impl Positions {
    /// Reads the header; the error is the reason why the model cannot be used.
    pub(crate) fn read(content: &Content, architecture: &str) -> Result<Self, String> {
        let key = |field: &str| format!("{architecture}.rope.{field}");
        let float = |field: &str| content.metadata.get(&key(field)).and_then(|value| value.to_f32().ok());
        let factor = float("scaling.factor").or_else(|| float("scale_linear")).unwrap_or(1.0);
        // A factor without a type is linear, which is how older files say it.
        let kind = text(content, &key("scaling.type")).unwrap_or("linear");
        match kind {
            "none" => {}
            _ if factor == 1.0 => {}
            "yarn" => {
                let original = number(content, &key("scaling.original_context_length")).filter(|tokens| *tokens > 0);
                let longest =
                    original.ok_or_else(|| format!("`{}` is missing", key("scaling.original_context_length")))?;
                let note = format!("positions beyond {longest} would need YaRN, which candle does not compute");
                return Ok(Self { longest: Some(longest), note: Some(note) });
            }
            _ => {
                return Err(format!(
                    "its positions are scaled ({kind}, by {factor}), which candle does not compute for {architecture}: \
                     the answers would be wrong; use another model"
                ));
            }
        }
        // Llama 3.1 and later: one factor per frequency, which matters little within a few thousand tokens.
        let note = content.tensor_infos.contains_key("rope_freqs.weight").then(|| {
            "its frequency factors (rope_freqs.weight) are ignored by candle: answers differ a little from other programs"
                .to_owned()
        });
        Ok(Self { longest: None, note })
    }
}
