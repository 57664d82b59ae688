//! The measured rows, and the setup and load that each stands for.

use std::path::Path;

use lumos_sim::profile::{Engine, Format, HardwareCatalog, KvFormat, Models, Setup};
use lumos_sim::replica::PrefillWait;

/// How a row's requests came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// InferenceX: a closed loop over 10 × concurrency requests of 0.8 to 1 times the nominal lengths.
    InferenceMax,
    /// Not documented upstream.
    Internal,
}

/// A measurement.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: String,
    pub engine: String,
    pub model: String,
    pub hardware: String,
    pub source: Source,
    pub gpus: u32,
    pub expert_parallel: u32,
    pub concurrency: u32,
    pub prompt: u32,
    pub output: u32,
    pub ttft_us: f64,
    pub tpot_us: f64,
    weights: Format,
    kv: KvFormat,
}

impl Row {
    /// Model, hardware and engine: what is left out together when constants are checked.
    pub fn group(&self) -> String {
        let model = self.model.rsplit('/').next().unwrap_or(&self.model);
        format!("{model} {} {}", self.hardware.trim_end_matches("_sxm"), self.engine)
    }

    /// The replica's profile under some constants.
    pub fn setup<'a>(
        &self,
        models: &'a Models,
        hardware: &'a HardwareCatalog,
        engine: &'a Engine,
    ) -> Result<Setup<'a>, String> {
        let model = models.get(&self.model).map_err(|error| error.to_string())?;
        let gpu = hardware.get(&self.hardware.replace('_', "-")).map_err(|error| error.to_string())?;
        let mut setup = Setup::new(model, gpu, engine);
        setup.tensor_parallel = self.gpus;
        setup.expert_parallel = self.expert_parallel;
        (setup.weights, setup.kv) = (self.weights, self.kv);
        setup.max_batched_tokens = self.max_batched_tokens();
        setup.max_sequences = self.concurrency.max(1);
        Ok(setup)
    }

    /// The engine as it was run. Internal rows are of vLLM 0.12, which did not schedule ahead unless told to, and of
    /// TensorRT-LLM 1.0.
    pub fn engine_variant(&self) -> &str {
        match (self.engine.as_str(), self.source) {
            ("vllm", Source::Internal) => "vllm-sync",
            ("trtllm", Source::Internal) => "trtllm-1.0",
            (engine, _) => engine,
        }
    }

    fn is_llama_70b(&self) -> bool {
        self.model.ends_with("70B")
    }

    fn max_batched_tokens(&self) -> u32 {
        match (self.engine.as_str(), self.source) {
            ("trtllm", Source::InferenceMax) if self.is_llama_70b() => 16384,
            ("trtllm", Source::InferenceMax) => 20000,
            _ => 8192,
        }
    }

    /// How long prompts wait for each other, where the protocol says so.
    pub fn prefill_wait(&self) -> Option<PrefillWait> {
        let waits = self.engine == "trtllm"
            && self.source == Source::InferenceMax
            && self.is_llama_70b()
            && (self.prompt, self.output) == (1024, 1024)
            && self.gpus < 8;
        waits.then(|| PrefillWait { iterations: 20, tokens: self.max_batched_tokens() / 10 * 9 })
    }
}

/// Reads `silicon_dev.csv`; rows that are copies, or that don't say their concurrency, are counted and dropped.
pub fn read(data: &Path) -> Result<(Vec<Row>, [usize; 2]), String> {
    let path = data.join("silicon_dev.csv");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| names.iter().position(|it| *it == name).ok_or(format!("there is no column `{name}`"));
    let columns = [
        "id",
        "backend",
        "model_path",
        "system",
        "isl",
        "osl",
        "gemm_quant_mode",
        "moe_ep_size",
        "silicon_ttft_ms",
        "silicon_tpot_ms",
        "concurrency",
        "source",
        "gpus",
        "dup_of",
    ];
    let at: Vec<usize> = columns.into_iter().map(column).collect::<Result<_, _>>()?;
    let (mut rows, mut dropped) = (Vec::new(), [0, 0]);
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| {
            columns
                .iter()
                .position(|it| *it == name)
                .and_then(|index| fields.get(at[index]))
                .copied()
                .unwrap_or_default()
        };
        let count = |name: &str| field(name).parse::<f64>().map_or(0, |value| value as u32);
        let ms = |name: &str| field(name).parse::<f64>().map_err(|_| format!("{name} of {} is no number", field("id")));
        if !field("dup_of").is_empty() {
            dropped[0] += 1;
            continue;
        }
        if field("concurrency").is_empty() {
            dropped[1] += 1;
            continue;
        }
        let is_oss = field("model_path").contains("gpt-oss");
        let source = if field("source") == "inferencemax" { Source::InferenceMax } else { Source::Internal };
        let weights = match field("gemm_quant_mode") {
            _ if is_oss => Format::Mxfp4,
            "fp8" => Format::Fp8,
            "fp8_block" => Format::Fp8Block,
            _ => Format::Bf16,
        };
        // TensorRT-LLM's FP8 checkpoints bring an FP8 cache: with 16 bits, rows would queue that did not.
        let is_fp8_kv = (source == Source::InferenceMax && !is_oss)
            || (field("backend") == "trtllm" && matches!(weights, Format::Fp8));
        rows.push(Row {
            id: field("id").to_owned(),
            engine: field("backend").to_owned(),
            model: field("model_path").to_owned(),
            hardware: field("system").to_owned(),
            source,
            gpus: count("gpus"),
            expert_parallel: count("moe_ep_size").max(1),
            concurrency: count("concurrency"),
            prompt: count("isl"),
            output: count("osl"),
            ttft_us: ms("silicon_ttft_ms")? * 1e3,
            tpot_us: ms("silicon_tpot_ms")? * 1e3,
            weights,
            kv: if is_fp8_kv { KvFormat::Fp8 } else { KvFormat::Bf16 },
        });
    }
    Ok((rows, dropped))
}
