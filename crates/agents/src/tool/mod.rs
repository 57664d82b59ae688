//! Tools: a calculator, and HTTP GET within an allow-list. None of them starts a process.
//!
//! The value of a calculation is `{result, expression}`, that of a request `{result, url, status, content_type}` with
//! `json` where the answer is JSON.

mod allow;
mod calculator;
mod http;

use std::sync::Arc;

use lumos_core::SharedAgent;
use lumos_core::spec::{ToolKind, ToolSpec};

use crate::build::BuildError;
use calculator::Calculator;
use http::HttpGet;

pub(crate) fn new(spec: &ToolSpec) -> Result<SharedAgent, BuildError> {
    Ok(match &spec.tool {
        ToolKind::Calculator => Arc::new(Calculator),
        ToolKind::HttpGet { allow, max_bytes, timeout_s } => Arc::new(HttpGet::new(allow, *max_bytes, *timeout_s)?),
    })
}
