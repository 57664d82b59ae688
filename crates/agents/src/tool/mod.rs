//! Tools: a calculator, and HTTP GET within an allow-list. None of them starts a process.
//!
//! The value of a calculation is `{result, expression}`, that of a request `{result, url, status, content_type}` with
//! `json` where the answer is JSON.

#[cfg(feature = "http")]
mod allow;
mod calculator;
#[cfg(feature = "http")]
mod http;

use std::sync::Arc;

use lumos_core::SharedAgent;
use lumos_core::spec::{ToolKind, ToolSpec};

use crate::build::BuildError;
use calculator::Calculator;

pub(crate) fn new(spec: &ToolSpec) -> Result<SharedAgent, BuildError> {
    Ok(match &spec.tool {
        ToolKind::Calculator => Arc::new(Calculator),
        #[cfg(feature = "http")]
        ToolKind::HttpGet { allow, max_bytes, timeout_s } => {
            Arc::new(http::HttpGet::new(allow, *max_bytes, *timeout_s)?)
        }
        #[cfg(not(feature = "http"))]
        ToolKind::HttpGet { .. } => {
            return Err(BuildError::new("tool", "this build has no HTTP").with_hint("build with the feature `http`"));
        }
    })
}
