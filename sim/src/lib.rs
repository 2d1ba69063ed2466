//! What could happen: the same node in a false world.
