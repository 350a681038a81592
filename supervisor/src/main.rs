//! The `plugbay` command.
fn main() {}
