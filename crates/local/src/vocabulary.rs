//! A GGUF file's vocabulary: its tokenizer, the bytes that each token stands for and the tokens that end an answer.
//!
//! candle's own reader knows two pre-tokenizers and treats every other as GPT-2's with an added space, which tokenizes
//! SmolLM's prompts wrongly; so the tokenizer is put together here.

use candle_core::quantized::gguf_file::{Content, Value};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// What a token is, by the numbers of GGUF's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Steers the model and stands for no text.
    Control,
    /// Added to the vocabulary, stands for its own text.
    Added,
    /// One byte, written `<0x0A>`.
    Byte,
    Unused,
}

/// A vocabulary and its tokenizer.
pub(crate) struct Vocabulary {
    tokenizer: Tokenizer,
    /// Bytes of each token; empty for control tokens.
    bytes: Vec<Vec<u8>>,
    /// Texts of the control tokens with their numbers, in the order of the vocabulary.
    controls: Vec<(u32, String)>,
    /// Tokens that end an answer, ascending, never empty.
    ends: Vec<u32>,
    /// The end that the model file names first.
    end: u32,
    bos: Option<(u32, String)>,
    add_bos: bool,
    /// Remarks for people on what was assumed.
    pub(crate) note: Option<String>,
}

/// Names that chat models give to the token that ends an answer.
const END_NAMES: [&str; 9] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
];

const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Vocabulary {
    /// The vocabulary in a GGUF header; the error is the reason alone.
    pub(crate) fn from_gguf(content: &Content) -> Result<Self, String> {
        let tokens = texts(content, "tokenizer.ggml.tokens")?;
        if tokens.is_empty() {
            return Err("the vocabulary is empty".to_owned());
        }
        let kinds = kinds(content, tokens.len())?;
        let model = text(content, "tokenizer.ggml.model").ok_or("the file holds no tokenizer")?;
        let (mut tokenizer, bytes, note) = match model {
            "gpt2" => byte_level(content, &tokens, &kinds)?,
            "llama" => sentence_piece(content, &tokens, &kinds)?,
            other => return Err(format!("tokenizer `{other}` is not supported; `gpt2` and `llama` are")),
        };
        let added = tokens.iter().zip(&kinds).filter_map(|(token, kind)| match kind {
            Kind::Control => Some(AddedToken::from(token.as_str(), true)),
            Kind::Added => Some(AddedToken::from(token.as_str(), false).normalized(false)),
            Kind::Normal | Kind::Byte | Kind::Unused => None,
        });
        tokenizer.add_tokens(added).map_err(|error| format!("the tokenizer's added tokens: {error}"))?;

        let id = |key: &str| number(content, key).filter(|id| (*id as usize) < tokens.len());
        let named_end = id("tokenizer.ggml.eos_token_id");
        let mut ends: Vec<u32> = named_end.into_iter().chain(id("tokenizer.ggml.eot_token_id")).collect();
        ends.extend((0..).zip(&tokens).zip(&kinds).filter_map(|((id, token), kind)| {
            (*kind == Kind::Control && END_NAMES.contains(&token.as_str())).then_some(id)
        }));
        let end = *ends.first().ok_or("the file names no token that ends an answer (`tokenizer.ggml.eos_token_id`)")?;
        ends.sort_unstable();
        ends.dedup();

        let bos = id("tokenizer.ggml.bos_token_id").map(|id| (id, tokens[id as usize].clone()));
        // llama.cpp's default: a SentencePiece model wants its BOS unless the file says otherwise.
        let add_bos = match content.metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(add)) => *add,
            _ => model == "llama",
        };
        let controls = (0..)
            .zip(tokens)
            .zip(&kinds)
            .filter_map(|((id, token), kind)| (*kind == Kind::Control && !token.is_empty()).then_some((id, token)))
            .collect();
        Ok(Self { tokenizer, bytes, controls, ends, end, bos, add_bos, note })
    }

    /// Tokens of `text`, in which the texts of control tokens count as those tokens; BOS in front where the model
    /// wants it and the text does not begin with it.
    pub(crate) fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
        let mut ids = encoding.get_ids().to_vec();
        if let (true, Some((bos, _))) = (self.add_bos, &self.bos)
            && ids.first() != Some(bos)
        {
            ids.insert(0, *bos);
        }
        Ok(ids)
    }

    /// Tokens of a piece of an answer.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.tokenizer.encode_fast(text, false).map(|e| e.get_ids().to_vec()).map_err(|error| error.to_string())
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that `token` adds to an answer; none for control tokens and for numbers outside of the vocabulary.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether `token` ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// The tokens that end an answer, the model's own first.
    pub(crate) fn ends(&self) -> Vec<u32> {
        std::iter::once(self.end).chain(self.ends.iter().copied().filter(|id| *id != self.end)).collect()
    }

    /// Texts of the control tokens with their numbers.
    pub(crate) fn controls(&self) -> &[(u32, String)] {
        &self.controls
    }

    /// Texts of BOS and of the end token, as chat templates want them; empty when there is none.
    pub(crate) fn template_texts(&self) -> (String, String) {
        let end = self.controls.iter().find(|(id, _)| *id == self.end).map(|(_, text)| text.clone());
        (self.bos.as_ref().map(|(_, text)| text.clone()).unwrap_or_default(), end.unwrap_or_default())
    }
}

type Parts = (Tokenizer, Vec<Vec<u8>>, Option<String>);

/// A byte-level BPE as GPT-2's, Llama 3's, Qwen's and SmolLM's.
fn byte_level(content: &Content, tokens: &[String], kinds: &[Kind]) -> Result<Parts, String> {
    let merges = texts(content, "tokenizer.ggml.merges")?
        .iter()
        .map(|merge| merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
        .collect::<Option<Merges>>()
        .ok_or("`tokenizer.ggml.merges` holds an entry without a space")?;
    let pre = text(content, "tokenizer.ggml.pre").unwrap_or("default");
    let mut note = None;
    let mut llama3 = false;
    let (pre_tokenizer, nfc): (PreTokenizerWrapper, bool) = match pre {
        "llama3" | "llama-v3" | "llama-bpe" | "smaug-bpe" | "falcon3" | "lfm2" => {
            llama3 = true;
            (split_then_bytes(LLAMA3)?, false)
        }
        "qwen2" | "deepseek-r1-qwen" | "megrez" => (split_then_bytes(QWEN2)?, true),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            let steps = vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()];
            (PreTokenizers::new(steps).into(), false)
        }
        other => {
            if !matches!(other, "gpt-2" | "gpt2" | "phi-2" | "mpt" | "olmo") {
                note = Some(format!("pre-tokenizer `{other}` read as gpt-2"));
            }
            (ByteLevel::new(false, false, true).into(), false)
        }
    };
    let model = BPE::builder()
        .vocab_and_merges(vocab(tokens), merges)
        .ignore_merges(llama3)
        .build()
        .map_err(|error| format!("the tokenizer's merges: {error}"))?;
    let mut tokenizer = Tokenizer::new(model);
    if nfc {
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| error.to_string())?;
    }
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));

    let table = byte_of_char();
    let bytes = tokens
        .iter()
        .zip(kinds)
        .map(|(token, kind)| match kind {
            Kind::Normal | Kind::Byte => token
                .chars()
                .map(|c| table.get(c as usize).copied().flatten())
                .collect::<Option<Vec<u8>>>()
                // A character outside of the table stands for itself, as in llama.cpp.
                .unwrap_or_else(|| token.as_bytes().to_vec()),
            Kind::Added => token.as_bytes().to_vec(),
            Kind::Control | Kind::Unused => Vec::new(),
        })
        .collect();
    Ok((tokenizer, bytes, note))
}

fn split_then_bytes(pattern: &str) -> Result<PreTokenizerWrapper, String> {
    let split = Split::new(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|error| error.to_string())?;
    Ok(PreTokenizers::new(vec![split.into(), ByteLevel::new(false, false, false).into()]).into())
}

/// GPT-2 writes each byte as a printable character: the printable ones of Latin-1 as themselves, the others as the
/// characters from U+0100 on, in order.
fn byte_of_char() -> Vec<Option<u8>> {
    let mut table = vec![None; 0x200];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let at = if matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        table[at] = Some(byte);
    }
    table
}

/// A SentencePiece BPE as Llama 2's, Mistral's and Gemma's: spaces are `▁`, and what is not in the vocabulary falls
/// back to bytes. The merges follow from the scores: of two possible merges, the one with the better result is first.
fn sentence_piece(content: &Content, tokens: &[String], kinds: &[Kind]) -> Result<Parts, String> {
    let scores = match content.metadata.get("tokenizer.ggml.scores") {
        Some(Value::Array(scores)) if scores.len() == tokens.len() => {
            scores.iter().map(|score| score.to_f32().unwrap_or(f32::MIN)).collect::<Vec<_>>()
        }
        _ => return Err("`tokenizer.ggml.scores` is missing or has another length than the vocabulary".to_owned()),
    };
    let vocab = vocab(tokens);
    let mut ranked = Vec::new();
    for ((token, score), kind) in tokens.iter().zip(&scores).zip(kinds) {
        if *kind != Kind::Normal {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(l), Some(r)) = (vocab.get(left), vocab.get(right)) {
                ranked.push((*score, *l, *r));
            }
        }
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let merges = ranked.iter().map(|(_, l, r)| (tokens[*l as usize].clone(), tokens[*r as usize].clone())).collect();

    let unknown = kinds.iter().zip(tokens).find(|(_, token)| token.as_str() == "<unk>").map(|(_, token)| token.clone());
    let mut builder = BPE::builder().vocab_and_merges(vocab, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    let model = builder.build().map_err(|error| format!("the tokenizer's merges: {error}"))?;
    let mut tokenizer = Tokenizer::new(model);
    let spaces = Replace::new(" ", "\u{2581}").map_err(|error| error.to_string())?;
    let prefix = match content.metadata.get("tokenizer.ggml.add_space_prefix") {
        Some(Value::Bool(add)) => *add,
        _ => true,
    };
    let mut normalizers = vec![spaces.into()];
    if prefix {
        normalizers.insert(0, Prepend::new("\u{2581}".to_owned()).into());
    }
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(|error| error.to_string())?;

    let bytes = tokens
        .iter()
        .zip(kinds)
        .map(|(token, kind)| match kind {
            Kind::Normal | Kind::Added => token.replace('\u{2581}', " ").into_bytes(),
            Kind::Byte => token
                .strip_prefix("<0x")
                .and_then(|hex| u8::from_str_radix(hex.strip_suffix('>')?, 16).ok())
                .map_or_else(Vec::new, |byte| vec![byte]),
            Kind::Control | Kind::Unused => Vec::new(),
        })
        .collect();
    Ok((tokenizer, bytes, None))
}

fn vocab(tokens: &[String]) -> Vocab {
    tokens.iter().cloned().zip(0..).collect()
}

fn kinds(content: &Content, length: usize) -> Result<Vec<Kind>, String> {
    let Some(value) = content.metadata.get("tokenizer.ggml.token_type") else {
        return Ok(vec![Kind::Normal; length]);
    };
    let types = value.to_vec().map_err(|error| error.to_string())?;
    if types.len() != length {
        return Err(format!("`tokenizer.ggml.token_type` has {} entries for {length} tokens", types.len()));
    }
    Ok(types
        .iter()
        .map(|kind| match small(kind) {
            Some(2 | 3) => Kind::Control,
            Some(4) => Kind::Added,
            Some(5) => Kind::Unused,
            Some(6) => Kind::Byte,
            _ => Kind::Normal,
        })
        .collect())
}

fn texts(content: &Content, key: &str) -> Result<Vec<String>, String> {
    let Some(Value::Array(items)) = content.metadata.get(key) else {
        return Err(format!("`{key}` is missing"));
    };
    items
        .iter()
        .map(|item| item.to_string().cloned())
        .collect::<candle_core::Result<_>>()
        .map_err(|_| format!("`{key}` holds something that is no text"))
}

/// A text of the metadata.
pub(crate) fn text<'a>(content: &'a Content, key: &str) -> Option<&'a str> {
    match content.metadata.get(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// A number of the metadata that fits 32 bits.
pub(crate) fn number(content: &Content, key: &str) -> Option<u32> {
    content.metadata.get(key).and_then(small)
}

fn small(value: &Value) -> Option<u32> {
    match *value {
        Value::U8(v) => Some(v.into()),
        Value::U16(v) => Some(v.into()),
        Value::U32(v) => Some(v),
        Value::U64(v) => v.try_into().ok(),
        Value::I8(v) => v.try_into().ok(),
        Value::I16(v) => v.try_into().ok(),
        Value::I32(v) => v.try_into().ok(),
        Value::I64(v) => v.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character_and_no_other_has_any() {
        let table = byte_of_char();
        let bytes: std::collections::BTreeSet<u8> = table.iter().copied().flatten().collect();
        assert_eq!((bytes.len(), table.iter().flatten().count()), (256, 256));
        assert_eq!(table['a' as usize], Some(b'a'));
        assert_eq!(table['\u{120}' as usize], Some(b' '));
        assert_eq!(table['\u{10A}' as usize], Some(b'\n'));
        assert_eq!(table['\u{143}' as usize], Some(0xAD));
        assert_eq!(table[b' ' as usize], None);
    }
}
