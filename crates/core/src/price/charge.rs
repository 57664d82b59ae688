//! What a backend charges for a call, whichever way it is paid.

use super::TokenPrice;
use crate::money::Usd;
use crate::usage::CallReport;

/// What a backend costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Price {
    /// Dollars per hour of the machine, charged by busy time.
    PerHour(Usd),
    /// Dollars per token.
    Tokens(Box<TokenPrice>),
    /// Not known.
    Unknown,
}

impl Price {
    /// The cost of a call; `None` when the price or what it is charged by is unknown.
    pub fn cost(&self, report: &CallReport) -> Option<Usd> {
        match self {
            Self::PerHour(usd) => usd.scaled(report.busy_us?, 3_600_000_000),
            Self::Tokens(price) => price.cost(&report.usage, false).map(|cost| cost.usd),
            Self::Unknown => None,
        }
    }

    /// Most that an attempt can cost; `None` when nothing bounds it.
    pub fn worst_cost(&self, bounds: &Bounds) -> Option<Usd> {
        match self {
            Self::PerHour(usd) => usd.scaled(bounds.time_us?, 3_600_000_000),
            Self::Tokens(price) => price.worst_cost(bounds.input_tokens, bounds.output_tokens),
            Self::Unknown => None,
        }
    }
}

/// What an attempt cannot exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Input tokens of all its calls.
    pub input_tokens: u64,
    /// Output tokens of all its calls.
    pub output_tokens: u64,
    /// Microseconds; `None` when it may take for ever.
    pub time_us: Option<u64>,
}
