//! One owner map: stub.
