//! For tests: a server on this machine that speaks OpenAI's, Anthropic's and Gemini's protocols by a script, fails in
//! every way that is asked for and records what it receives to the byte; and the checks that every backend must pass.
//!
//! It reads sockets itself instead of using an HTTP library, because a library would hide the bytes of a request's
//! head, the moment at which a client closes, and the ways to answer wrongly.

pub mod conformance;
mod limits;
mod protocol;
mod script;
mod server;
mod tls;

pub use limits::Limits;
pub use script::{Answer, Break, Ending, Received, Reply, Script, Tokens, UsageShown};
pub use server::FaultServer;
