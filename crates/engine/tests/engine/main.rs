//! The engine on agents made for these tests: what runs when, what ends it, and what is kept of it.

mod agents;
mod changed;
mod durable;
mod limits;
mod live;
mod people;
mod policies;
mod records;
mod server;
