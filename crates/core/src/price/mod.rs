//! What calls cost: prices per token with their dates and sources, and what a reserved machine costs when it is idle.
//!
//! All of it is integer arithmetic on nano-dollars. A price is dollars per million tokens, the cost of an attempt is the
//! exact sum over its classes of tokens, divided by a million and rounded half to even once. Nothing here reads a clock
//! or a file: the day for which a price is wanted is an argument.

mod catalog;
mod charge;
mod date;
mod genai_prices;
mod matching;
mod prompt_cache;
mod reserved;
mod text;
mod token;

pub use catalog::{Catalog, Change, Entry, LookupError};
pub use charge::{Bounds, Price};
pub use date::{Date, ParseDateError};
pub use genai_prices::{Imported, Skipped, from_genai_prices};
pub use prompt_cache::{CacheRule, PromptCaches, cached_tokens};
pub use reserved::{ReservedCost, reserved};
pub use token::{Batch, Cost, Rates, Schedule, Tier, TokenPrice};
