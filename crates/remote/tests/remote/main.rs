//! The backend for remote models against a server that answers, and fails, by a script.

mod chat;
mod embeddings;
mod failures;
mod secrets;
mod shapes;
mod suite;
mod support;
mod tools;
mod transport;
mod usage;
