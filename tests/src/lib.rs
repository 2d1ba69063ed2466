//! What must stay true, across the crates.
