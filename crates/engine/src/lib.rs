//! The tokio driver of lumos: executor, records, events.
