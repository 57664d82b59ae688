//! The time of an iteration, part by part, as the closed forms give it: exact and slow. [`super::Profile`] tabulates it.

use super::format::Precision;
use super::hardware::{Basis, nearest};
use super::kernel::{AllReduce, Decode, ExpertsKernel, Gemm, Peak, Prefill, Shard};
use super::setup::Setup;

/// Bytes of an activation.
const ACTIVATION: f64 = 2.0;
/// Traffic of norms, activations and copies against the rated bandwidth.
const ELEMENTWISE: f64 = 1.3;
const US: f64 = 1e6;

/// A product of the activations with weights of `n × k`.
#[derive(Debug, Clone, Copy)]
struct Product {
    n: f64,
    k: f64,
    weight_bytes: f64,
    precision: Precision,
}

/// The peak that arithmetic is relative to under sustained load.
fn sustained(peak: Peak, setup: &Setup<'_>) -> Peak {
    Peak { flops: peak.flops / setup.engine.sustained, ..peak }
}

/// The parts of a layer.
#[derive(Debug, Clone)]
pub(super) struct Layers<'a> {
    setup: Setup<'a>,
    products: Vec<Product>,
    output: Product,
    experts: Option<(&'a ExpertsKernel, Shard, Peak)>,
    prefill: &'a Prefill,
    decode: &'a Decode,
    all_reduce: Option<&'a AllReduce>,
    basis: Basis,
}

impl<'a> Layers<'a> {
    pub(super) fn new(setup: &Setup<'a>) -> Self {
        let (model, hardware, gpus) = (setup.model, setup.hardware, f64::from(setup.tensor_parallel));
        let has_experts = model.experts.is_some();
        let bits = setup.weights.attention_bits(has_experts);
        let wanted = if bits == setup.weights.bits() { setup.weights.precision() } else { Precision::Bf16 };
        let product = |n: f64, k: f64| Product { n, k, weight_bytes: bits / 8.0, precision: wanted };
        let hidden = f64::from(model.hidden);
        let query = f64::from(model.heads * model.head_dim) / gpus;
        let cached = f64::from(setup.kv_heads() * model.head_dim);
        let mut products = vec![product(query + 2.0 * cached, hidden), product(hidden, query)];
        let mut basis = hardware.basis;
        let experts = match model.experts {
            None => {
                let inner = f64::from(model.intermediate) / gpus;
                products.extend([product(2.0 * inner, hidden), product(hidden, inner)]);
                None
            }
            Some(experts) => {
                if experts.shared > 0 {
                    let inner = f64::from(experts.shared * experts.intermediate) / gpus;
                    products.extend([product(2.0 * inner, hidden), product(hidden, inner)]);
                }
                products.push(Product {
                    n: f64::from(experts.count),
                    k: hidden,
                    weight_bytes: 2.0,
                    precision: Precision::Bf16,
                });
                let groups = f64::from(setup.expert_parallel);
                let shard = Shard {
                    count: f64::from(experts.count),
                    local: f64::from(experts.count) / groups,
                    active: f64::from(experts.active),
                    hidden,
                    intermediate: f64::from(experts.intermediate) / (gpus / groups),
                    weight_bytes: setup.weights.bits() / 8.0,
                    independent: setup.engine.independent_routing,
                };
                let (kernel, is_known) = hardware.experts(setup.weights.experts_kernel(&setup.engine.mxfp4_experts));
                if !is_known {
                    basis = Basis::Estimated;
                }
                Some((kernel, shard, sustained(hardware.peak(hardware.gemm(setup.weights.precision()).0), setup)))
            }
        };
        let (prefill, has_prefill) = nearest(&hardware.prefill, model.head_dim, setup.kv);
        let (decode, has_decode) = nearest(&hardware.decode, model.head_dim, setup.kv);
        if !has_prefill || !has_decode {
            basis = Basis::Estimated;
        }
        let output = Product {
            n: f64::from(model.vocabulary) / gpus,
            k: hidden,
            weight_bytes: setup.weights.vocabulary_bits() / 8.0,
            precision: Precision::Bf16,
        };
        let all_reduce = hardware.all_reduce(setup.tensor_parallel);
        Self { setup: setup.clone(), products, output, experts, prefill, decode, all_reduce, basis }
    }

    pub(super) fn basis(&self) -> Basis {
        self.basis
    }

    fn product_us(&self, rows: f64, product: &Product) -> f64 {
        let hardware = self.setup.hardware;
        let (precision, form, peak): (Precision, &Gemm, Peak) = hardware.gemm(product.precision);
        let peak = sustained(peak, &self.setup);
        let time =
            |form: &Gemm| form.time_us([rows, product.n, product.k], product.weight_bytes, precision.bytes(), peak);
        if precision == Precision::Fp8Block {
            // Scales for blocks were timed with the host's launches in them: few rows take what plain 8 bits take.
            let (_, plain, _) = hardware.gemm(Precision::Fp8);
            let weight = (rows / 256.0).min(1.0);
            return time(plain) * (1.0 - weight) + time(form) * weight;
        }
        time(form)
    }

    fn query(&self) -> f64 {
        f64::from(self.setup.model.heads * self.setup.model.head_dim) / f64::from(self.setup.tensor_parallel)
    }

    fn cached(&self) -> f64 {
        f64::from(self.setup.kv_heads() * self.setup.model.head_dim)
    }

    /// Everything that depends on the number of tokens alone, all layers; at least one token.
    pub(super) fn tokens_us(&self, tokens: f64) -> f64 {
        let model = self.setup.model;
        let gpus = f64::from(self.setup.tensor_parallel);
        let hidden = f64::from(model.hidden);
        let products: f64 = self.products.iter().map(|product| self.product_us(tokens, product)).sum();
        let besides = self.setup.engine.experts_us;
        let experts =
            self.experts.as_ref().map_or(0.0, |(kernel, shard, peak)| besides + kernel.time_us(tokens, shard, *peak));
        // Two norms with the residual read and written, the activation, the rotary embedding and the cache's write.
        let inner = if self.experts.is_some() { 0.0 } else { f64::from(model.intermediate) / gpus };
        let numbers = 8.0 * hidden + 3.0 * inner + 3.0 * (self.query() + 2.0 * self.cached());
        let elementwise = ELEMENTWISE * numbers * ACTIVATION * tokens / self.setup.hardware.bandwidth * US;
        let sums = self.all_reduce.map_or(0.0, |it| 2.0 * it.time_us(tokens * hidden * ACTIVATION));
        let layer = products + experts + elementwise + sums + self.setup.engine.layer_us;
        layer * f64::from(model.layers)
    }

    /// What the host takes at least to launch an iteration with a prompt.
    pub(super) fn launch_us(&self) -> f64 {
        let engine = self.setup.engine;
        let layers = if self.experts.is_some() { f64::from(self.setup.model.layers) } else { 0.0 };
        engine.launch_us + engine.launch_experts_us * layers
    }

    /// The output layer, for the sequences that get a token.
    pub(super) fn output_us(&self, sequences: f64) -> f64 {
        self.product_us(sequences, &self.output)
    }

    /// Attention of prompts in all layers: `tokens` that make `pairs`.
    pub(super) fn prefill_us(&self, tokens: f64, pairs: f64) -> f64 {
        let model = self.setup.model;
        let (query, cached) = (self.query(), self.cached());
        let time = |pairs: f64| self.prefill.time_us(tokens, pairs * self.setup.engine.sustained, query, cached);
        let sliding =
            model.sliding.map_or(0.0, |it| f64::from(it.layers) * time(pairs.min(tokens * f64::from(it.window))));
        f64::from(model.full_layers()) * time(pairs) + sliding
    }

    /// Attention of generating sequences in all layers, but for what they hold in layers that keep every token. Sequences
    /// are taken to be longer than a window.
    pub(super) fn decode_us(&self, sequences: f64) -> f64 {
        let model = self.setup.model;
        let kernel = self.setup.engine.decode_attention;
        let base = kernel * self.decode.base_us(sequences, self.query(), self.cached());
        let windows = model
            .sliding
            .map_or(0.0, |it| f64::from(it.layers) * f64::from(it.window) * sequences * self.layer_kv_us());
        f64::from(model.layers) * base + windows
    }

    /// Attention for each token that generating sequences hold, all layers.
    pub(super) fn kv_token_us(&self) -> f64 {
        f64::from(self.setup.model.full_layers()) * self.layer_kv_us()
    }

    fn layer_kv_us(&self) -> f64 {
        let kernel = self.setup.engine.decode_attention;
        kernel * self.decode.per_token_us(self.cached(), self.setup.kv.bytes() as f64, self.setup.hardware.bandwidth)
    }
}
