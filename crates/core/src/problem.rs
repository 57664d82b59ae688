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
    /// By file, then by place in it; for sorting.
    pub fn by_place(&self, other: &Self) -> std::cmp::Ordering {
        (&self.file, self.line, self.column).cmp(&(&other.file, other.line, other.column))
    }

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
    let lower = name.chars().take(64).collect::<String>().to_lowercase();
    let length = lower.chars().count();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.chars().count();
            let most = 1 + length.min(other) / 4;
            if length.abs_diff(other) > most {
                return None;
            }
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            // Names that share nothing, such as `a` and `b`, are not near.
            (distance <= most && distance < length.min(other)).then_some((distance, candidate))
        })
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
