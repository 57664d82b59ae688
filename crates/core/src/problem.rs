//! A problem in a file, with its place and what would be valid.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A problem in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file as the user named it.
    pub file: String,
    /// Line from 1; `None` when the problem has no place in the file.
    pub line: Option<u32>,
    /// Column from 1, in characters.
    pub column: Option<u32>,
    /// The node (or agent, backend) it belongs to.
    pub node: Option<String>,
    /// The field it belongs to.
    pub field: Option<String>,
    /// A lowercase fragment.
    pub message: String,
    /// What would be valid.
    pub hint: Option<String>,
    /// An error keeps the file from being used, a warning does not.
    pub severity: Severity,
}

impl Problem {
    /// An error of a file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            node: None,
            field: None,
            message: message.into(),
            hint,
            severity: Severity::Error,
        }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but somebody should know.
    Warning,
}

/// The candidate that a mistyped name most likely meant; `None` when none is close.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(64).collect();
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(name.chars().count()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COL: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line.unwrap_or(1), self.column.unwrap_or(1))?;
        if self.severity == Severity::Warning {
            write!(f, "warning: ")?;
        }
        f.write_str(&self.message)
    }
}
