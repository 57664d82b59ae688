//! Chat: architectures, determinism, streaming, limits, cancellation, requantized weights.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use lumos_core::{Backend, BackendErrorKind, FinishReason, NoDeltas};
use lumos_local::{LocalModel, LocalOptions, quantization};

use crate::fixtures::{Gguf, Pieces, ask, options, tiny_llama};

#[tokio::test]
async fn every_architecture_answers_and_repeats_itself() {
    for architecture in ["llama", "qwen2", "qwen3", "gemma3"] {
        let folder = tempfile::tempdir().unwrap();
        let model = LocalModel::open(options(Gguf::new(architecture, GgmlDType::F32).write(folder.path()))).unwrap();
        let long = ask(&"the cat ".repeat(40), 12);
        let first = model.chat(long.clone(), &NoDeltas).await.unwrap();
        model.chat(ask("something else", 5), &NoDeltas).await.unwrap();
        let again = model.chat(long, &NoDeltas).await.unwrap();
        assert_eq!(first.text, again.text, "{architecture}");
        assert!(first.report.usage.input_tokens.unwrap() > 128, "{architecture}: the prompt is read in pieces");
        assert_eq!(first.report.usage.cached_input_tokens, Some(0));
        assert_eq!(first.report.usage.prescribed_tokens, None, "no format was asked for");
        assert!((1..=12).contains(&first.report.usage.output_tokens.unwrap()), "{architecture}");
    }
}

#[tokio::test]
async fn a_prompt_read_in_pieces_gives_what_a_fresh_model_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = Gguf::new("qwen2", GgmlDType::F32).write(folder.path());
    let mut answers = Vec::new();
    for before in ["", "x", "a much longer text than the other one"] {
        let model = LocalModel::open(options(&path)).unwrap();
        if !before.is_empty() {
            model.chat(ask(before, 20), &NoDeltas).await.unwrap();
        }
        answers.push(model.chat(ask(&"the ".repeat(150), 20), &NoDeltas).await.unwrap().text);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn a_sentence_piece_vocabulary_works_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = Gguf::new("gemma3", GgmlDType::F32).with_sentence_piece().write(folder.path());
    let model = LocalModel::open(options(path)).unwrap();
    model.warm_up().await.unwrap();
    // `<|im_start|>` and the like are no tokens here: 1 BOS, 1 for `▁` in front, 1 for each space and `th`, else bytes.
    let (short, long) = (ask("", 4), ask(" the th\u{e9}", 4));
    let (short, long) = (model.count_input_tokens(&short).unwrap(), model.count_input_tokens(&long).unwrap());
    assert_eq!(long - short, 2 + 2 + 1 + 2);
    let text = model.chat(ask("hi", 30), &NoDeltas).await.unwrap().text;
    assert!(!text.contains("<0x"), "{text:?}");
}

#[tokio::test]
async fn seeds_differ_and_greedy_ignores_them() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let text = async |seed: u64, temperature: f64| {
        let mut request = ask("hello", 16);
        (request.decoding.seed, request.decoding.temperature) = (seed, temperature);
        model.chat(request, &NoDeltas).await.unwrap().text
    };
    assert_ne!(text(1, 1.0).await, text(2, 1.0).await);
    assert_eq!(text(1, 0.0).await, text(2, 0.0).await);
}

#[tokio::test]
async fn pieces_make_up_the_answer_and_count_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    for seed in 0..20 {
        let pieces = Pieces::default();
        let mut request = ask("hello", 24);
        request.decoding.seed = seed;
        let answer = model.chat(request, &pieces).await.unwrap();
        let pieces = pieces.0.into_inner().unwrap();
        assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), answer.text);
        assert_eq!(pieces.last().map(|(_, count)| *count), answer.report.usage.output_tokens);
        assert!(answer.report.ttft_us.unwrap() <= answer.report.busy_us.unwrap());
    }
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let whole = model.chat(ask("hello", 24), &NoDeltas).await.unwrap();
    let middle = whole.text.char_indices().nth(whole.text.chars().count() / 2).unwrap().0;
    let end = middle + whole.text[middle..].chars().take(3).map(char::len_utf8).sum::<usize>();
    let stop = whole.text[middle..end].to_owned();
    let mut request = ask("hello", 24);
    request.decoding.stop = vec![stop.clone()];
    let pieces = Pieces::default();
    let cut = model.chat(request, &pieces).await.unwrap();
    assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()]);
    assert_eq!(cut.report.finish_reason, Some(FinishReason::Stop));
    let shown: String = pieces.0.into_inner().unwrap().into_iter().map(|(text, _)| text).collect();
    assert_eq!(shown, cut.text);
}

#[tokio::test]
async fn max_tokens_ends_an_answer_with_length() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let mut lengths = 0;
    for seed in 0..10 {
        let mut request = ask("hello", 3);
        request.decoding.seed = seed;
        let report = model.chat(request, &NoDeltas).await.unwrap().report;
        if report.finish_reason == Some(FinishReason::Length) {
            assert_eq!(report.usage.output_tokens, Some(3));
            lengths += 1;
        }
    }
    assert!(lengths > 5, "{lengths}");
}

#[tokio::test]
async fn tools_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let mut request = ask("What is the weather?", 4);
    request.tools.push(lumos_core::ToolDefinition {
        name: "weather".to_owned(),
        description: String::new(),
        parameters: serde_json::json!({"type": "object"}),
    });
    let error = model.chat(request, &NoDeltas).await.unwrap_err();
    assert!(error.kind == BackendErrorKind::InvalidRequest && error.message.contains("tools"), "{error}");
}

#[tokio::test]
async fn what_exceeds_the_context_is_refused_with_both_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = Gguf::new("llama", GgmlDType::F32).write(folder.path());
    let model = LocalModel::open(LocalOptions { context: Some(64), ..options(path) }).unwrap();
    model.warm_up().await.unwrap();
    assert_eq!(model.info().context_tokens, Some(64));
    let tokens = model.count_input_tokens(&ask("hello", 1)).unwrap();

    let fits = ask("hello", 64 - tokens as u32);
    assert!(model.chat(fits, &NoDeltas).await.is_ok());
    let error = model.chat(ask("hello", 65 - tokens as u32), &NoDeltas).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ContextExceeded);
    assert!(error.message.contains(&format!("{tokens} tokens")) && error.message.contains("64"), "{error}");
    let error = model.chat(ask(&"x".repeat(100), 1), &NoDeltas).await.unwrap_err();
    assert!(error.kind == BackendErrorKind::ContextExceeded && error.message.contains("shorten"), "{error}");
    let error = model.chat(ask("hello", 0), &NoDeltas).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::InvalidRequest);
}

#[tokio::test]
async fn concurrent_requests_wait_for_each_other_and_answer_as_if_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    let ask = |n: usize| ask(&format!("question {n}"), 8);
    let mut alone = Vec::new();
    for n in 0..6 {
        alone.push(model.chat(ask(n), &NoDeltas).await.unwrap().text);
    }
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (model, request) = (Arc::clone(&model), ask(n));
            tokio::spawn(async move { model.chat(request, &NoDeltas).await.unwrap() })
        })
        .collect();
    let mut queued = 0;
    for (task, alone) in tasks.into_iter().zip(alone) {
        let answer = task.await.unwrap();
        assert_eq!(answer.text, alone);
        queued += u64::from(answer.report.queue_us > answer.report.busy_us.unwrap());
    }
    assert!(queued >= 1, "somebody waited longer than an answer takes");
}

#[tokio::test]
async fn a_dropped_request_ends_and_the_next_one_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_llama(folder.path());
    model.warm_up().await.unwrap();
    let expected = model.chat(ask("after", 8), &NoDeltas).await.unwrap().text;
    let pieces = Arc::new(Pieces::default());
    let task = {
        let (model, pieces) = (Arc::clone(&model), Arc::clone(&pieces));
        tokio::spawn(async move { model.chat(ask("hello", 400), pieces.as_ref()).await })
    };
    while pieces.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    task.abort();
    let _ = task.await;
    let answer = model.chat(ask("after", 8), &NoDeltas).await.unwrap();
    assert_eq!(answer.text, expected);
    let counted = pieces.0.lock().unwrap().last().unwrap().1;
    assert!(counted < 400, "{counted} tokens were made for nobody");
}

#[tokio::test]
async fn weights_without_a_fast_kernel_are_converted_once_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = Gguf::new("llama", GgmlDType::Q4_1).write(folder.path());
    let planned = quantization(&path).unwrap();
    assert_eq!(planned.stored, "Q4_1");
    let cache = folder.path().join("cache");
    let open = || LocalModel::open(LocalOptions { cache_dir: Some(cache.clone()), ..options(&path) }).unwrap();

    let model = open();
    let answer = model.chat(ask("hello", 12), &NoDeltas).await.unwrap().text;
    assert!(model.info().detail.contains(&planned.to_string()), "{}", model.info().detail);
    if planned.converted.is_empty() {
        return;
    }
    assert_eq!(planned.to_string(), "Q8_0 (requantized from Q4_1)");
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [cached] = files().try_into().unwrap();
    let written = std::fs::metadata(&cached).unwrap().modified().unwrap();
    assert_eq!(open().chat(ask("hello", 12), &NoDeltas).await.unwrap().text, answer);
    assert_eq!(std::fs::metadata(&cached).unwrap().modified().unwrap(), written, "the cache is used");

    let mut damaged = std::fs::read(&cached).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xFF;
    std::fs::write(&cached, &damaged).unwrap();
    assert_eq!(open().chat(ask("hello", 12), &NoDeltas).await.unwrap().text, answer);
    assert_ne!(std::fs::read(&cached).unwrap(), damaged, "a damaged cache is made anew");
    assert_eq!(files().len(), 1);

    // The cache is a convenience: where it cannot be written, the model still answers.
    std::fs::write(folder.path().join("no-folder"), "").unwrap();
    let blocked = LocalOptions { cache_dir: Some(folder.path().join("no-folder")), ..options(&path) };
    let model = LocalModel::open(blocked).unwrap();
    assert_eq!(model.chat(ask("hello", 12), &NoDeltas).await.unwrap().text, answer);
    assert!(model.info().detail.contains("not cached"), "{}", model.info().detail);
}

#[tokio::test]
async fn a_model_without_a_template_speaks_chatml_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut gguf = Gguf::new("llama", GgmlDType::F32);
    gguf.metadata.remove("tokenizer.chat_template");
    gguf.metadata.insert("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(true));
    gguf.metadata.insert("tokenizer.ggml.bos_token_id".to_owned(), Value::U32(b'B'.into()));
    let model = LocalModel::open(options(gguf.write(folder.path()))).unwrap();
    model.warm_up().await.unwrap();
    assert!(model.info().detail.contains("ChatML"), "{}", model.info().detail);
    // BOS, <|im_start|>, `user`, newline, `hi`, <|im_end|>, newline, <|im_start|>, `assistant`, newline.
    assert_eq!(model.count_input_tokens(&ask("hi", 1)), Some(1 + 1 + 4 + 1 + 2 + 1 + 1 + 1 + 9 + 1));
}
