//! What weights and the KV cache are stored in.

use serde::{Deserialize, Serialize};

/// What the weights of a model are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// 16 bits: FP16 or BF16.
    #[serde(alias = "Fp16")]
    Bf16,
    /// 8-bit floats, computed in FP8 where the hardware can.
    Fp8,
    /// 8-bit floats with a scale for each block of 128 × 128.
    Fp8Block,
    /// 4-bit integers with a 16-bit scale and a 4-bit zero for each 128 (AWQ), computed in 16 bits.
    #[serde(alias = "Awq")]
    Int4,
    /// 4-bit floats with an 8-bit scale for each 32; experts only, the rest is in 16 bits.
    Mxfp4,
    /// GGUF `Q8_0`.
    Q8_0,
    /// GGUF `Q6_K`.
    #[serde(rename = "Q6_K")]
    Q6K,
    /// GGUF `Q5_K_M`.
    #[serde(rename = "Q5_K_M")]
    Q5KM,
    /// GGUF `Q4_K_M`.
    #[serde(rename = "Q4_K_M")]
    Q4KM,
    /// GGUF `Q4_0`.
    Q4_0,
}

/// What a matrix product computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Precision {
    /// 16-bit floats.
    Bf16,
    /// 8-bit floats with one scale for a tensor or a row.
    Fp8,
    /// 8-bit floats with a scale for each block.
    Fp8Block,
}

impl Precision {
    /// Bytes of a number.
    pub fn bytes(self) -> f64 {
        match self {
            Self::Bf16 => 2.0,
            Self::Fp8 | Self::Fp8Block => 1.0,
        }
    }
}

/// Bits of a weight in 16 bits.
const PLAIN: f64 = 16.0;

impl Format {
    /// Bits per weight of the layers' matrices. GGUF: the block types' own sizes; for the mixtures (`_M`) what llama.cpp's
    /// table of quantizations says of Llama 3.1 8B (github.com/ggml-org/llama.cpp, tools/quantize/README.md).
    pub fn bits(self) -> f64 {
        match self {
            Self::Bf16 => PLAIN,
            Self::Fp8 => 8.0,
            // A 32-bit scale for each 128 × 128.
            Self::Fp8Block => 8.0 + 32.0 / 16384.0,
            Self::Int4 => 4.0 + 20.0 / 128.0,
            Self::Mxfp4 => 4.25,
            Self::Q8_0 => 8.5,
            Self::Q6K => 6.5625,
            Self::Q5KM => 5.7036,
            Self::Q4KM => 4.8944,
            Self::Q4_0 => 4.5,
        }
    }

    /// Bits per weight of attention, of a model with experts.
    pub fn attention_bits(self, has_experts: bool) -> f64 {
        if self == Self::Mxfp4 && has_experts { PLAIN } else { self.bits() }
    }

    /// Bits per weight of the embedding and of the output layer: only GGUF files quantize them.
    pub fn vocabulary_bits(self) -> f64 {
        match self {
            Self::Q8_0 | Self::Q6K | Self::Q5KM | Self::Q4KM | Self::Q4_0 => self.bits(),
            Self::Bf16 | Self::Fp8 | Self::Fp8Block | Self::Int4 | Self::Mxfp4 => PLAIN,
        }
    }

    /// What products with such weights would compute in on hardware that can.
    pub fn precision(self) -> Precision {
        match self {
            Self::Fp8 => Precision::Fp8,
            Self::Fp8Block => Precision::Fp8Block,
            Self::Bf16 | Self::Int4 | Self::Mxfp4 | Self::Q8_0 | Self::Q6K | Self::Q5KM | Self::Q4KM | Self::Q4_0 => {
                Precision::Bf16
            }
        }
    }

    /// The name of its kernel for experts in the catalogs of hardware; `mxfp4` is the engine's for that format.
    pub(super) fn experts_kernel(self, mxfp4: &str) -> &str {
        match self {
            Self::Fp8 | Self::Fp8Block => "fp8",
            Self::Mxfp4 => mxfp4,
            Self::Int4 => "marlin",
            Self::Bf16 | Self::Q8_0 | Self::Q6K | Self::Q5KM | Self::Q4KM | Self::Q4_0 => "bf16",
        }
    }
}

/// What the KV cache is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KvFormat {
    /// 16 bits.
    #[default]
    #[serde(alias = "Fp16")]
    Bf16,
    /// 8-bit floats.
    Fp8,
}

impl KvFormat {
    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bf16 => 2,
            Self::Fp8 => 1,
        }
    }
}
