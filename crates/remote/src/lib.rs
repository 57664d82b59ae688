//! Models behind an address: OpenAI, Anthropic, Gemini and every server that speaks OpenAI's format (vLLM, llama.cpp,
//! Ollama, LiteLLM). One file per protocol; transport, answers' shapes and secrets are common to all.
//!
//! Every chat is streamed. What is counted: bytes of requests as HTTP/1.1 writes them, head and body, without what
//! TLS and a proxy add; tokens as the server reports them, unknown where it does not; TTFT and busy time by the clock
//! that the options carry. The environment is never read, a proxy of the system excepted.

mod answer;
mod anthropic;
mod backend;
mod embedding;
mod failure;
mod gemini;
mod headers;
mod openai;
mod options;
mod secret;
mod shape;
mod sse;
mod transport;
mod wire;

pub use backend::RemoteBackend;
pub use lumos_core::spec::{PromptCache, Provider, Structured};
pub use options::{RemoteOptions, Timeouts};
pub use secret::Secret;
