//! What can go wrong in a local model, and which kind of backend error each becomes.

use std::path::Path;

use lumos_core::{BackendError, BackendErrorKind};

/// A failure of a local model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The files are missing, damaged or of a kind that is not understood.
    #[error("{0}")]
    Unusable(String),
    /// The request cannot be met by this model.
    #[error("{0}")]
    Invalid(String),
    /// Prompt and answer do not fit the context together.
    #[error(
        "the prompt has {prompt} tokens and max_tokens asks for {answer} more, but the context holds {context}; \
         {}", context_hint(*prompt, *context)
    )]
    Context {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that the answer may have.
        answer: usize,
        /// Tokens that fit the context.
        context: usize,
    },
    /// Nobody waits for the answer any more.
    #[error("cancelled")]
    Cancelled,
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

fn context_hint(prompt: usize, context: usize) -> String {
    if prompt >= context {
        "shorten the prompt, raise the backend's `context` or use a model with a longer one".to_owned()
    } else {
        format!("set max_tokens to {} at most or shorten the prompt", context - prompt)
    }
}

impl Error {
    /// The file at `path` cannot be used because of `reason`.
    pub(crate) fn unusable(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Unusable(format!("{}: {reason}", path.display()))
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Internal(format!("the model failed to compute: {error}"))
    }
}

impl From<Error> for BackendError {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Unusable(_) => BackendErrorKind::Unusable,
            Error::Invalid(_) => BackendErrorKind::InvalidRequest,
            Error::Context { .. } => BackendErrorKind::ContextExceeded,
            Error::Cancelled | Error::Internal(_) => BackendErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Results of this crate's internals.
pub(crate) type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_error_names_both_figures_and_what_would_fit() {
        let error = BackendError::from(Error::Context { prompt: 100, answer: 50, context: 128 });
        assert_eq!(error.kind, BackendErrorKind::ContextExceeded);
        assert!(error.message.contains("100 tokens") && error.message.contains("holds 128"), "{error}");
        assert!(error.message.contains("max_tokens to 28"), "{error}");

        let error = Error::Context { prompt: 128, answer: 1, context: 128 }.to_string();
        assert!(error.contains("shorten the prompt, raise"), "{error}");
    }
}
