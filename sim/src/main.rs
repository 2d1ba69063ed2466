//! The `quorate-sim` command.

fn main() {}
