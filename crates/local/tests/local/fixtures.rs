//! Tiny models with random weights, written as the files that the crate reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use lumos_core::{ChatRequest, Clock, Decoding, Delta, DeltaSink, Message, OutputFormat, Role};
use lumos_local::{LocalModel, LocalOptions};

/// Width of the embedding.
pub(crate) const WIDTH: usize = 64;
const FEED_FORWARD: usize = 96;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = WIDTH / HEADS;
const BLOCKS: usize = 2;

/// A clock that moves by one microsecond whenever it is read.
#[derive(Default)]
pub(crate) struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Keeps every piece.
#[derive(Default)]
pub(crate) struct Pieces(pub(crate) Mutex<Vec<(String, u64)>>);

impl DeltaSink for Pieces {
    fn delta(&self, delta: Delta<'_>) {
        self.0.lock().unwrap().push((delta.text.to_owned(), delta.output_tokens));
    }
}

/// Numbers between -1 and 1 that depend on `seed` alone.
struct Random(u64);

impl Random {
    fn tensor(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
            })
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

/// A GGUF model to write.
pub(crate) struct Gguf {
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) tensors: BTreeMap<String, QTensor>,
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn texts<S: AsRef<str>>(values: &[S]) -> Value {
    Value::Array(values.iter().map(|value| text(value.as_ref())).collect())
}

/// The 256 bytes as GPT-2 writes them.
fn byte_tokens() -> Vec<String> {
    let mut next = 0x100;
    (0..=255_u32)
        .map(|byte| {
            let shown = match byte {
                0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => byte,
                _ => {
                    next += 1;
                    next - 1
                }
            };
            char::from_u32(shown).unwrap().to_string()
        })
        .collect()
}

impl Gguf {
    /// A model of `architecture` with byte-level tokens, three merges and ChatML's control tokens.
    pub(crate) fn new(architecture: &str, matrices: GgmlDType) -> Self {
        let mut tokens = byte_tokens();
        tokens.extend(["th", "the", "\u{120}the", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
        let vocabulary = tokens.len();
        let kinds = (0..vocabulary).map(|id| Value::I32(if id >= vocabulary - 2 { 3 } else { 1 })).collect();
        let n = |value: usize| Value::U32(value as u32);
        let mut metadata = BTreeMap::from([
            ("general.architecture".to_owned(), text(architecture)),
            ("tokenizer.ggml.model".to_owned(), text("gpt2")),
            ("tokenizer.ggml.pre".to_owned(), text("smollm")),
            ("tokenizer.ggml.tokens".to_owned(), texts(&tokens)),
            ("tokenizer.ggml.token_type".to_owned(), Value::Array(kinds)),
            ("tokenizer.ggml.merges".to_owned(), texts(&["t h", "th e", "\u{120} the"])),
            ("tokenizer.ggml.eos_token_id".to_owned(), n(vocabulary - 1)),
            (
                "tokenizer.chat_template".to_owned(),
                text(
                    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor \
                     %}<|im_start|>assistant\n",
                ),
            ),
        ]);
        for (key, value) in [
            ("block_count", n(BLOCKS)),
            ("context_length", n(512)),
            ("embedding_length", n(WIDTH)),
            ("attention.head_count", n(HEADS)),
            ("attention.head_count_kv", n(KV_HEADS)),
            ("attention.key_length", n(HEAD)),
            ("attention.value_length", n(HEAD)),
            ("attention.sliding_window", n(64)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("rope.dimension_count", n(HEAD)),
            ("rope.freq_base", Value::F32(10_000.0)),
        ] {
            metadata.insert(format!("{architecture}.{key}"), value);
        }

        let mut random = Random(7);
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| {
            let matrix = shape.len() > 1;
            let tensor = random.tensor(shape, if matrix { 0.4 } else { 1.0 });
            let dtype = if matrix { matrices } else { GgmlDType::F32 };
            tensors.insert(name, QTensor::quantize(&tensor, dtype).unwrap());
        };
        // Published models pad their embedding; what is beyond the vocabulary is never an answer.
        add("token_embd.weight".to_owned(), &[vocabulary + 16, WIDTH]);
        add("output_norm.weight".to_owned(), &[WIDTH]);
        for block in 0..BLOCKS {
            let mut add = |name: &str, shape: &[usize]| add(format!("blk.{block}.{name}"), shape);
            add("attn_q.weight", &[WIDTH, WIDTH]);
            add("attn_k.weight", &[HEAD * KV_HEADS, WIDTH]);
            add("attn_v.weight", &[HEAD * KV_HEADS, WIDTH]);
            add("attn_output.weight", &[WIDTH, WIDTH]);
            add("ffn_gate.weight", &[FEED_FORWARD, WIDTH]);
            add("ffn_up.weight", &[FEED_FORWARD, WIDTH]);
            add("ffn_down.weight", &[WIDTH, FEED_FORWARD]);
            add("attn_norm.weight", &[WIDTH]);
            add("ffn_norm.weight", &[WIDTH]);
            match architecture {
                "qwen2" => {
                    add("attn_q.bias", &[WIDTH]);
                    add("attn_k.bias", &[HEAD * KV_HEADS]);
                    add("attn_v.bias", &[HEAD * KV_HEADS]);
                }
                "qwen3" | "gemma3" => {
                    add("attn_q_norm.weight", &[HEAD]);
                    add("attn_k_norm.weight", &[HEAD]);
                    add("post_attention_norm.weight", &[WIDTH]);
                    add("post_ffw_norm.weight", &[WIDTH]);
                }
                _ => {}
            }
        }
        Self { metadata, tensors }
    }

    /// Turns the vocabulary into a SentencePiece one as Gemma's: pieces with scores, bytes as `<0x0A>`.
    pub(crate) fn with_sentence_piece(mut self) -> Self {
        let mut tokens: Vec<String> = ["<unk>", "<bos>", "<end_of_turn>"].map(str::to_owned).to_vec();
        let mut kinds = vec![2, 3, 3];
        tokens.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
        kinds.extend([6; 256]);
        tokens.extend(["\u{2581}", "t", "h", "th"].map(str::to_owned));
        kinds.extend([1; 4]);
        let scores = (0..tokens.len()).map(|id| Value::F32(-(id as f32))).collect();
        for (key, value) in [
            ("model", text("llama")),
            ("tokens", texts(&tokens)),
            ("token_type", Value::Array(kinds.into_iter().map(Value::I32).collect())),
            ("scores", Value::Array(scores)),
            ("bos_token_id", Value::U32(1)),
            ("eos_token_id", Value::U32(2)),
        ] {
            self.metadata.insert(format!("tokenizer.ggml.{key}"), value);
        }
        self.metadata.remove("tokenizer.ggml.merges");
        self
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut bytes = std::io::Cursor::new(Vec::new());
        gguf_file::write(&mut bytes, &metadata, &tensors).unwrap();
        bytes.into_inner()
    }

    /// Writes the file into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// Writes an embedder of static token vectors: `the` is (3, 4), `cat` is (0, 2).
pub(crate) fn write_static_embedder(folder: &Path) {
    let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat"];
    write_tokenizer(folder, &vocabulary);
    let rows = [[9_f32, 9.0], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0], [3.0, 4.0], [0.0, 2.0]];
    let vectors = Tensor::new(&rows, &Device::Cpu).unwrap();
    write_safetensors(folder, [("embeddings".to_owned(), vectors)]);
}

/// Writes a BERT with random weights.
pub(crate) fn write_bert(folder: &Path) {
    let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat"];
    write_tokenizer(folder, &vocabulary);
    let (width, inner, positions) = (16, 32, 12);
    let config = serde_json::json!({
        "vocab_size": vocabulary.len(), "hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": inner, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "max_position_embeddings": positions, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "model_type": "bert",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();

    let mut random = Random(11);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push((name, random.tensor(shape, 0.5)));
    add("embeddings.word_embeddings.weight".to_owned(), &[vocabulary.len(), width]);
    add("embeddings.position_embeddings.weight".to_owned(), &[positions, width]);
    add("embeddings.token_type_embeddings.weight".to_owned(), &[2, width]);
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    let mut linears = Vec::new();
    for layer in 0..2 {
        let layer = format!("encoder.layer.{layer}");
        for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            linears.push((format!("{layer}.{part}"), width, width));
        }
        linears.push((format!("{layer}.intermediate.dense"), inner, width));
        linears.push((format!("{layer}.output.dense"), width, inner));
        norms.push(format!("{layer}.attention.output.LayerNorm"));
        norms.push(format!("{layer}.output.LayerNorm"));
    }
    for (name, rows, columns) in linears {
        add(format!("{name}.weight"), &[rows, columns]);
        add(format!("{name}.bias"), &[rows]);
    }
    for name in norms {
        add(format!("{name}.weight"), &[width]);
        add(format!("{name}.bias"), &[width]);
    }
    write_safetensors(folder, tensors);
}

fn write_safetensors(folder: &Path, tensors: impl IntoIterator<Item = (String, Tensor)>) {
    let tensors = tensors.into_iter().collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

fn write_tokenizer(folder: &Path, vocabulary: &[&str]) {
    let ids: serde_json::Map<String, serde_json::Value> =
        vocabulary.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    let added: Vec<_> = (0..4)
        .map(|id| {
            serde_json::json!({ "id": id, "content": vocabulary[id], "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true })
        })
        .collect();
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
        "padding": { "strategy": { "Fixed": 8 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]" },
        "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "TemplateProcessing",
            "single": [ { "SpecialToken": { "id": "[CLS]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } } ],
            "pair": [ { "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } } ],
            "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] } } },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// Options for the model at `path`.
pub(crate) fn options(path: impl Into<PathBuf>) -> LocalOptions {
    LocalOptions {
        name: "tiny".to_owned(),
        path: path.into(),
        device: lumos_core::spec::Device::Cpu,
        context: None,
        cache_dir: None,
        digest: String::new(),
        clock: Arc::new(Ticks::default()),
    }
}

/// A llama with random weights.
pub(crate) fn tiny_llama(folder: &Path) -> Arc<LocalModel> {
    LocalModel::open(options(Gguf::new("llama", GgmlDType::F32).write(folder))).unwrap()
}

/// A request with one message.
pub(crate) fn ask(text: &str, max_tokens: u32) -> ChatRequest {
    let decoding = Decoding { max_tokens, temperature: 1.0, seed: 1, ..Decoding::default() };
    ChatRequest::new(vec![Message::new(Role::User, text)], decoding, OutputFormat::Text)
}

/// The same request with a format.
pub(crate) fn shaped(format: OutputFormat, max_tokens: u32, seed: u64) -> ChatRequest {
    let mut request = ask("give me one", max_tokens);
    request.format = format;
    request.decoding.seed = seed;
    request
}
