//! The files that something was found of, by their digests.

use std::fmt::Write;

use lumos_core::load::Bundle;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileDigest {
    /// Its name as it was given, or found.
    pub file: String,
    /// SHA-256 of its text, in hexadecimal; of what was built in memory, of its value in JSON.
    pub sha256: String,
}

/// The files of a bundle: workflows, agents with their prompts, the deployment.
pub fn files(bundle: &Bundle) -> Vec<FileDigest> {
    let mut files = Vec::new();
    let mut add = |file: &str, bytes: &[u8]| files.push(FileDigest { file: file.to_owned(), sha256: digest(bytes) });
    let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
    for source in bundle.sources() {
        match source.text.as_str() {
            "" => add(&source.parsed.file, &json(serde_json::to_vec(&source.parsed.spec))),
            text => add(&source.parsed.file, text.as_bytes()),
        }
    }
    for agent in bundle.agents.values() {
        match &agent.text {
            Some(text) => add(&agent.parsed.file, text.as_bytes()),
            None => add(&agent.parsed.file, &json(serde_json::to_vec(agent.spec()))),
        }
        let named = agent.spec().prompt().and_then(|prompt| prompt.user_file.as_deref());
        if let Some((name, text)) = named.zip(agent.user_prompt.as_deref()) {
            add(&agent.folder.join(name).display().to_string(), text.as_bytes());
        }
    }
    if let Some(deployment) = &bundle.deployment {
        match &deployment.text {
            Some(text) => add(&deployment.parsed.file, text.as_bytes()),
            None => add(&deployment.parsed.file, &json(serde_json::to_vec(&deployment.parsed.spec))),
        }
    }
    files
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
