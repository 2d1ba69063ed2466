//! What the raft engine calls by the name of `protobuf`: three functions and an error.
//!
//! The engine encodes one thing by itself, the content of a change of configuration, and only to read it
//! again in the same call. Its messages, entries and snapshots travel and rest in our own codec.
//!
//! Absent on purpose: protobuf.

/// A value with bytes.
pub trait Message {
    /// Becomes what `bytes` say.
    fn merge_from_bytes(&mut self, bytes: &[u8]) -> Result<(), ProtobufError>;
    /// About how many bytes it takes.
    fn compute_size(&self) -> u32;
    /// Its bytes.
    fn write_to_bytes(&self) -> Result<Vec<u8>, ProtobufError>;
}

/// Bytes that are no value.
#[derive(Debug)]
pub struct ProtobufError;

impl std::fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes that are no change of configuration")
    }
}

impl std::error::Error for ProtobufError {}
