//! Files that are missing, damaged or hostile.

use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor};
use lumos_core::spec::Device;
use lumos_core::{Backend, BackendError, BackendErrorKind, NoDeltas};
use lumos_local::{LocalModel, LocalOptions, quantization};

use crate::fixtures::{Gguf, ask, options, write_bert, write_static_embedder};

async fn failure(options: LocalOptions) -> BackendError {
    let model = match LocalModel::open(options) {
        Ok(model) => model,
        Err(error) => return error,
    };
    match model.warm_up().await {
        Ok(()) => panic!("the damage went unseen"),
        Err(error) => error,
    }
}

async fn unusable(path: &Path, part: &str) {
    let error = failure(options(path)).await;
    assert_eq!(error.kind, BackendErrorKind::Unusable, "{error}");
    assert!(error.message.contains(part) && error.message.contains(path.to_str().unwrap()), "{part}: {error}");
}

fn write(folder: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn what_is_no_model_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    unusable(&folder.path().join("missing.gguf"), "No such file").await;
    unusable(folder.path(), "model.safetensors").await;
    unusable(&write(folder.path(), b""), "not a GGUF file").await;
    unusable(&write(folder.path(), b"PK\x03\x04 something else"), "not a GGUF file").await;
    unusable(&write(folder.path(), b"GGUF\x01\0\0\0"), "version 1").await;
    let error = quantization(&folder.path().join("missing.gguf")).unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Unusable);
}

#[tokio::test]
async fn absurd_counts_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let header = |tensors: u64, entries: u64, rest: &[u8]| {
        [b"GGUF\x03\0\0\0", tensors.to_le_bytes().as_slice(), &entries.to_le_bytes(), rest].concat()
    };
    let huge = u64::MAX.to_le_bytes();
    for (bytes, part) in [
        (header(u64::MAX, 0, &[]), "tensors"),
        (header(0, u64::MAX, &[]), "metadata entries"),
        (header(0, 60_000, &[]), "room"),
        (header(0, 1, &[huge.as_slice(), &[0; 16]].concat()), "does not fit"),
        // An array of 2^64 - 1 bytes under the key `k`.
        (header(0, 1, &[&1_u64.to_le_bytes()[..], b"k", &[9, 0, 0, 0, 0, 0, 0, 0], &huge].concat()), "array items"),
        // A tensor `k` with a dimension of 2^63.
        (
            header(
                1,
                0,
                &[&1_u64.to_le_bytes()[..], b"k", &[1, 0, 0, 0], &(1_u64 << 63).to_le_bytes(), &[0; 12]].concat(),
            ),
            "dimension",
        ),
    ] {
        unusable(&write(folder.path(), &bytes), part).await;
    }
}

#[tokio::test]
async fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Gguf::new("llama", GgmlDType::Q8_0).bytes();
    let mut cut = whole.len() - 32;
    while cut > 0 {
        let error = failure(options(write(folder.path(), &whole[..cut]))).await;
        assert_eq!(error.kind, BackendErrorKind::Unusable, "{cut}: {error}");
        cut = cut * 4 / 5;
    }
}

#[tokio::test]
async fn flipped_bytes_never_end_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Gguf::new("qwen2", GgmlDType::Q8_0).bytes();
    let mut state = 1_u64;
    for _ in 0..150 {
        let mut bytes = whole.clone();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % 9_000;
        bytes[at] ^= 1 << (state & 7);
        let Ok(model) = LocalModel::open(options(write(folder.path(), &bytes))) else { continue };
        // Some flips only change a text; what loads must answer or say why not.
        if let Err(error) = model.chat(ask("hi", 2), &NoDeltas).await {
            assert!(!error.is_retryable(), "byte {at}: {error}");
        }
    }
}

#[tokio::test]
async fn headers_that_do_not_make_sense_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let set = |key: &str, value: Option<Value>| {
        let mut gguf = Gguf::new("llama", GgmlDType::F32);
        match value {
            Some(value) => gguf.metadata.insert(key.to_owned(), value),
            None => gguf.metadata.remove(key),
        };
        write(folder.path(), &gguf.bytes())
    };
    let text = |value: &str| Some(Value::String(value.to_owned()));
    let number = |value: u32| Some(Value::U32(value));
    for (key, value, part) in [
        ("general.architecture", text("rwkv"), "llama, qwen2, qwen3, gemma3"),
        ("general.architecture", None, "general.architecture"),
        ("general.alignment", number(0), "power of two"),
        ("llama.attention.head_count", number(0), "head_count"),
        ("llama.attention.head_count", number(3), "heads"),
        ("llama.attention.head_count_kv", number(3), "key-value heads"),
        ("llama.block_count", number(u32::MAX), "blocks"),
        ("llama.block_count", number(3), "blk.2"),
        ("llama.expert_count", number(u32::MAX), "experts"),
        ("llama.embedding_length", number(128), "columns"),
        ("llama.rope.dimension_count", number(u32::MAX), "heads of"),
        ("llama.context_length", None, "context_length"),
        ("tokenizer.ggml.model", None, "no tokenizer"),
        ("tokenizer.ggml.model", text("bert"), "`bert`"),
        ("tokenizer.ggml.tokens", None, "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.merges", None, "tokenizer.ggml.merges"),
        ("tokenizer.ggml.merges", Some(Value::Array(vec![Value::String("x y z".to_owned())])), "merges"),
        ("tokenizer.ggml.token_type", Some(Value::Array(vec![Value::I32(1)])), "token_type"),
    ] {
        unusable(&set(key, value), part).await;
    }
    let mut endless = Gguf::new("llama", GgmlDType::F32);
    endless.metadata.remove("tokenizer.ggml.eos_token_id");
    endless.metadata.remove("tokenizer.ggml.token_type");
    unusable(&write(folder.path(), &endless.bytes()), "ends an answer").await;
    let mut missing = Gguf::new("llama", GgmlDType::F32);
    missing.tensors.remove("blk.1.ffn_up.weight");
    unusable(&write(folder.path(), &missing.bytes()), "blk.1.ffn_up").await;
}

#[tokio::test]
async fn positions_that_candle_does_not_compute_are_refused_or_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = |architecture: &str, fields: &[(&str, Value)]| {
        let mut gguf = Gguf::new(architecture, GgmlDType::F32);
        for (field, value) in fields {
            gguf.metadata.insert(format!("{architecture}.{field}"), value.clone());
        }
        write(folder.path(), &gguf.bytes())
    };
    let kind = |name: &str| ("rope.scaling.type", Value::String(name.to_owned()));
    let factor = |factor: f32| ("rope.scaling.factor", Value::F32(factor));
    for (architecture, fields) in [
        ("llama", vec![kind("linear"), factor(4.0)]),
        ("llama", vec![("rope.scale_linear", Value::F32(2.0))]),
        ("gemma3", vec![kind("linear"), factor(8.0)]),
        ("qwen2", vec![kind("longrope"), factor(32.0)]),
    ] {
        unusable(&file(architecture, &fields), "positions are scaled").await;
    }
    unusable(&file("qwen2", &[kind("yarn"), factor(4.0)]), "original_context_length").await;

    let info = async |path| {
        let model = LocalModel::open(options(path)).unwrap();
        model.warm_up().await.unwrap();
        model.info()
    };
    for fields in [vec![kind("none"), factor(4.0)], vec![kind("linear"), factor(1.0)], vec![]] {
        let plain = info(file("qwen2", &fields)).await;
        assert!(!plain.detail.contains("candle"), "{}", plain.detail);
    }
    let original = ("rope.scaling.original_context_length", Value::U32(24));
    let stretched = info(file("qwen2", &[kind("yarn"), factor(4.0), original])).await;
    assert_eq!(stretched.context_tokens, Some(24));
    assert!(stretched.detail.contains("beyond 24 would need YaRN"), "{}", stretched.detail);

    let long = info(file("llama", &[("context_length", Value::U32(131_072))])).await;
    assert_eq!(long.context_tokens, Some(4096));
    assert!(long.detail.contains("4096 tokens: candle computes no more of the 131072"), "{}", long.detail);
    let mut scaled = Gguf::new("llama", GgmlDType::F32);
    let factors = Tensor::ones(8, DType::F32, &candle_core::Device::Cpu).unwrap();
    scaled.tensors.insert("rope_freqs.weight".to_owned(), QTensor::quantize(&factors, GgmlDType::F32).unwrap());
    let scaled = info(write(folder.path(), &scaled.bytes())).await;
    assert!(scaled.detail.contains("rope_freqs.weight"), "{}", scaled.detail);
}

#[tokio::test]
async fn a_repaired_file_loads_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let model = LocalModel::open(options(write(folder.path(), b"GGUF"))).unwrap();
    assert_eq!(model.warm_up().await.unwrap_err().kind, BackendErrorKind::Unusable);
    write(folder.path(), &Gguf::new("llama", GgmlDType::F32).bytes());
    model.warm_up().await.unwrap();
}

#[cfg(not(feature = "cuda"))]
#[tokio::test]
async fn a_device_that_this_build_lacks_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = Gguf::new("llama", GgmlDType::F32).write(folder.path());
    let error = failure(LocalOptions { device: Device::Cuda(0), ..options(path) }).await;
    assert!(error.kind == BackendErrorKind::Unusable && error.message.contains("features cuda"), "{error}");
}

#[tokio::test]
async fn damaged_embedders_are_explained() {
    for write in [write_static_embedder, write_bert] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let weights = folder.path().join("model.safetensors");
        let whole = std::fs::read(&weights).unwrap();
        for bytes in [&whole[..whole.len() - 5], &whole[..4], &u64::MAX.to_le_bytes(), b""] {
            std::fs::write(&weights, bytes).unwrap();
            unusable_folder(folder.path(), "model.safetensors").await;
        }
        std::fs::write(&weights, &whole).unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
        unusable_folder(folder.path(), "tokenizer.json").await;
        std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        unusable_folder(folder.path(), "tokenizer.json").await;
    }
    let folder = tempfile::tempdir().unwrap();
    write_bert(folder.path());
    std::fs::write(folder.path().join("config.json"), r#"{"hidden_size": 16}"#).unwrap();
    unusable_folder(folder.path(), "config.json").await;
}

async fn unusable_folder(folder: &Path, part: &str) {
    let error = failure(options(folder)).await;
    assert!(error.kind == BackendErrorKind::Unusable && error.message.contains(part), "{part}: {error}");
}
