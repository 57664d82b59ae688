//! The engine on agents made for these tests: what runs when, what ends it, and what is kept of it.

mod agents;
mod durable;
mod limits;
mod live;
mod policies;
mod records;
mod server;
