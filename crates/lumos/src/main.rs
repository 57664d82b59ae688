//! The `lumos` command.

fn main() {}
