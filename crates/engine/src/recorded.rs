//! Backends of recorded runs: known by name, asked by nobody.

use std::sync::Arc;

use async_trait::async_trait;
use lumos_core::price::Price;
use lumos_core::program::BackendRef;
use lumos_core::{
    Backend, BackendError, BackendErrorKind, BackendInfo, ChatRequest, Completion, DeltaSink, Embeddings,
};

use crate::binding::BoundBackend;

struct Recorded(BackendRef);

/// A backend as a run's log names it.
pub fn recorded_backend(reference: &BackendRef) -> Arc<BoundBackend> {
    Arc::new(BoundBackend {
        backend: Arc::new(Recorded(reference.clone())),
        reference: reference.clone(),
        price: Price::Unknown,
        is_remote: false,
        cache: None,
        occupancy: None,
        gate: None,
    })
}

fn unasked() -> BackendError {
    BackendError::new(BackendErrorKind::Unusable, "a recorded backend answers nothing")
}

#[async_trait]
impl Backend for Recorded {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            model: self.0.model.clone(),
            provider: self.0.provider.clone(),
            chat: true,
            embed: true,
            context_tokens: None,
            dimensions: None,
            digest: String::new(),
            detail: String::new(),
        }
    }

    fn count_input_tokens(&self, _: &ChatRequest) -> Option<u64> {
        None
    }

    async fn chat(&self, _: ChatRequest, _: &dyn DeltaSink) -> Result<Completion, BackendError> {
        Err(unasked())
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embeddings, BackendError> {
        Err(unasked())
    }
}
