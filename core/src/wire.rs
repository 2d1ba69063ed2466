//! What crosses the network, and how it becomes values again.
//!
//! Everything that a peer can send is decoded here: sealed datagrams carry [`datagram`] sections, links
//! carry [`frame`]s, and both carry the [`message`]s and [`segment`]s. The codec is bincode 2 in its
//! standard configuration (little endian, variable integers), always under a byte limit.
//!
//! | rule of decoding | because |
//! | --- | --- |
//! | the outer length is compared with the class's limit before anything is buffered | a length field may say 2⁴⁰ |
//! | the decoder has a limit, too | lengths inside may lie |
//! | element counts are bounded by [`List`] before the first element is read | a count costs nothing to write |
//! | the canonical re-encoding equals the input | otherwise two byte strings are one value, and trailing bytes pass in silence |
//! | no recursive and no zero-sized wire types | a byte limit bounds neither depth nor their number |
//! | nothing is skipped or defaulted; what is optional inside a value travels as JSON | a skipped field shifts its successors |
//!
//! Absent on purpose: meaning. A decoded value is well formed, not yet believed.

pub mod datagram;
pub mod founding;
pub mod frame;
pub mod message;
pub mod raft;
pub mod segment;
pub mod session;

use std::fmt;
use std::sync::Arc;

use bincode::enc::write::Writer;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// The protocol versions that this build speaks, lowest and highest.
pub const PROTOCOL: (u16, u16) = (1, 1);

/// How bytes travel between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// A sealed datagram.
    Datagram,
    /// A frame of a link.
    Link,
}

/// Why bytes are no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// More bytes than the class allows.
    #[error("{length} bytes are more than the {limit} of this class")]
    TooLarge {
        /// What was there or was announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The bytes end before the value does, or are no value of this type.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A value, but not in its one canonical form.
    #[error("not in canonical form")]
    NotCanonical,
    /// A version that this build does not speak.
    #[error("version {0} is not known")]
    Version(u8),
}

/// Encodes a value. Encoding cannot fail: wire types have no fallible parts.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    encode_into(value, &mut bytes);
    bytes
}

/// Encodes a value behind what `bytes` holds already.
pub fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    write(value, Appending(bytes)).expect("wire types always encode");
}

fn write<T: Serialize>(value: &T, writer: impl Writer) -> Result<(), bincode::error::EncodeError> {
    #[expect(clippy::disallowed_methods, reason = "this module owns the codec's configuration")]
    let configuration = bincode::config::standard();
    bincode::serde::encode_into_writer(value, writer, configuration)
}

/// Puts what is encoded behind what is there.
struct Appending<'a>(&'a mut Vec<u8>);

impl Writer for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Takes what is encoded off the front of what it should be; the first byte that differs ends it.
struct Comparing<'a, 'b>(&'a mut &'b [u8]);

impl Writer for Comparing<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        let rest = self.0.strip_prefix(bytes);
        *self.0 = rest.ok_or(bincode::error::EncodeError::UnexpectedEnd)?;
        Ok(())
    }
}

/// Most messages are no longer, and need no second allocation.
const USUAL_BYTES: usize = 64;

/// Decodes exactly one value of at most `LIMIT` bytes from all of `bytes`.
pub fn decode<T: DeserializeOwned + Serialize, const LIMIT: usize>(
    bytes: &[u8],
) -> Result<T, WireError> {
    if bytes.len() > LIMIT {
        return Err(WireError::TooLarge { length: bytes.len(), limit: LIMIT });
    }
    // The codec's own limit counts every integer by its width in memory, whatever it took on the wire, so
    // it must be eight times what was checked above. It still stops a length that lies.
    let decoded = if LIMIT <= limits::DATAGRAM_BYTES_MAX {
        decode_within::<T, { 8 * limits::DATAGRAM_BYTES_MAX }>(bytes)
    } else if LIMIT <= limits::FRAME_SESSION_BYTES_MAX {
        decode_within::<T, { 8 * limits::FRAME_SESSION_BYTES_MAX }>(bytes)
    } else if LIMIT <= limits::FRAME_GOSSIP_BYTES_MAX {
        decode_within::<T, { 8 * limits::FRAME_GOSSIP_BYTES_MAX }>(bytes)
    } else {
        decode_within::<T, { 8 * limits::FRAME_CONTROL_BYTES_MAX }>(bytes)
    };
    let (value, used): (T, usize) =
        decoded.map_err(|_| WireError::Malformed("no value of this type"))?;
    if used != bytes.len() || !is_canonical(&value, bytes) {
        return Err(WireError::NotCanonical);
    }
    Ok(value)
}

fn is_canonical<T: Serialize>(value: &T, mut bytes: &[u8]) -> bool {
    write(value, Comparing(&mut bytes)).is_ok() && bytes.is_empty()
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(
    bytes: &[u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    #[expect(clippy::disallowed_methods, reason = "this module owns the codec's configuration")]
    bincode::serde::decode_from_slice(bytes, bincode::config::standard().with_limit::<LIMIT>())
}

/// Bytes that are carried and not looked into; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob(Arc<[u8]>);

impl Blob {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(Arc::from(bytes))
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Blob {
        Blob(Arc::from(bytes))
    }
}

impl From<&str> for Blob {
    fn from(text: &str) -> Blob {
        Blob(Arc::from(text.as_bytes()))
    }
}

impl std::ops::Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob::from(bytes))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob::from(bytes))
            }
            /// JSON has no bytes: there they are a list of numbers.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Blob, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(Blob::from(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// A list whose length is checked before its first element is decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<T, const MAX: usize> From<Vec<T>> for List<T, MAX> {
    /// Wraps `items`; a longer list is a bug of the producer, found when it is encoded.
    fn from(items: Vec<T>) -> Self {
        List(items)
    }
}

impl<T, const MAX: usize> std::ops::Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(
            self.0.len() <= MAX,
            "a list of {} was built where {MAX} is the bound",
            self.0.len()
        );
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = List<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let count = items.size_hint().unwrap_or(0);
                if count > MAX {
                    return Err(serde::de::Error::invalid_length(count, &self));
                }
                let mut list = Vec::with_capacity(count.min(64));
                while let Some(item) = items.next_element()? {
                    if list.len() == MAX {
                        return Err(serde::de::Error::invalid_length(MAX + 1, &self));
                    }
                    list.push(item);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Items(std::marker::PhantomData))
    }
}

/// The bytes that an unsigned integer takes on the wire.
pub const fn integer_bytes(value: u64) -> usize {
    match value {
        0..=250 => 1,
        251..=0xFFFF => 3,
        0x1_0000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_integer_form_and_trailing_bytes_are_refused() {
        assert_eq!(decode::<u64, 16>(&[7]), Ok(7));
        assert_eq!(decode::<u64, 16>(&[251, 7, 0]), Err(WireError::NotCanonical));
        assert_eq!(decode::<u64, 16>(&[7, 7]), Err(WireError::NotCanonical));
        assert_eq!(
            decode::<u64, 2>(&[251, 7, 1]),
            Err(WireError::TooLarge { length: 3, limit: 2 })
        );
    }

    #[test]
    fn a_message_of_small_integers_may_fill_its_limit() {
        let many = vec![(1_u64, 2_u64); 500];
        assert_eq!(decode::<Vec<(u64, u64)>, 1003>(&encode(&many)), Ok(many));
    }

    #[test]
    fn a_count_beyond_the_bound_is_refused_before_its_elements() {
        let long = encode(&vec![1_u8; 5]);
        assert!(decode::<List<u8, 4>, 64>(&long).is_err());
        assert_eq!(decode::<List<u8, 5>, 64>(&long).expect("five fit").len(), 5);
        // Announces 2⁴⁰ elements in nine bytes.
        let mut lie = vec![253];
        lie.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        assert!(decode::<List<u8, 4>, 64>(&lie).is_err());
        assert!(decode::<Blob, 64>(&lie).is_err());
    }

    #[test]
    fn integer_bytes_tells_the_encoded_length() {
        for value in [0, 250, 251, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX] {
            assert_eq!(encode(&value).len(), integer_bytes(value), "{value}");
        }
    }
}
