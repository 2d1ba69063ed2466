//! Names of nodes, of their lives and what becomes of these, and of what a host holds for them.
//!
//! Everything that a node mints carries its [`Replica`]: a restarted node is never mistaken for its
//! former self.

use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::limits;

/// A configured, stable node name: `[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?`, and not `watch`, which is
/// a path of the HTTP surface.
///
/// Every table of every machine is keyed by it, so a name of the usual length stands in place: to compare
/// or copy it follows no pointer and counts no holder.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodeId(Text);

/// One text has one form: short whenever it fits.
#[derive(Clone, Eq, Hash)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "equal texts have equal bytes in one form")]
enum Text {
    /// The length, and the bytes padded with zeros, which no name holds.
    Short(u8, [u8; SHORT_BYTES]),
    Long(Arc<str>),
}

const SHORT_BYTES: usize = 22;

/// Why a text is no [`NodeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no node id: use 1 to 63 of a-z, 0-9, `.`, `_`, `-`, with a letter or digit at both ends, and not `watch`"
)]
pub struct NodeIdError {
    text: String,
}

impl NodeId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short(length, bytes) => {
                let text = bytes.get(..usize::from(*length)).map(std::str::from_utf8);
                text.and_then(Result::ok).expect("a name is ASCII, and no longer than its place")
            }
            Text::Long(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        let mut bytes = [0; SHORT_BYTES];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Text::Short(length, bytes)
            }
            _ => Text::Long(Arc::from(text)),
        }
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Text) -> bool {
        match (self, other) {
            // No name holds the padding, so that equal bytes are of equal length.
            (Text::Short(_, ours), Text::Short(_, theirs)) => words(ours) == words(theirs),
            (Text::Long(ours), Text::Long(theirs)) => ours == theirs,
            (Text::Short(..), Text::Long(_)) | (Text::Long(_), Text::Short(..)) => false,
        }
    }
}

impl Ord for NodeId {
    #[inline]
    fn cmp(&self, other: &NodeId) -> Ordering {
        match (&self.0, &other.0) {
            // The padding sorts before every letter, so the bytes are in the order of their texts.
            (Text::Short(_, ours), Text::Short(_, theirs)) => words(ours).cmp(&words(theirs)),
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

/// The bytes of a short text as numbers in the same order: compared in place, where a comparison of bytes
/// is a call. The last word begins within the second.
#[inline]
fn words(bytes: &[u8; SHORT_BYTES]) -> (u64, u64, u64) {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let second = bytes.get(8..16).and_then(<[u8]>::first_chunk);
    (word(bytes.first_chunk()), word(second), word(bytes.last_chunk()))
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &NodeId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<NodeId, NodeIdError> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends =
            bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
        let inner = bytes.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'_' | b'-'));
        if ends && inner && bytes.len() <= limits::NODE_ID_BYTES_MAX && text != "watch" {
            Ok(NodeId(Text::from(text)))
        } else {
            Err(NodeIdError { text: text.chars().take(80).collect() })
        }
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = NodeId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node id")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<NodeId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which life of a node: rises at every start, and whenever the node learns that it was given up for
/// dead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The next life.
    pub fn next(self) -> Incarnation {
        Incarnation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One life of one node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Who.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What becomes of a replica, as every other machine hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// It is a member.
    Up { replica: Replica, born: Incarnation, address: SocketAddr },
    /// It may be gone.
    Suspect { replica: Replica },
    /// It is not gone after all.
    Refuted { replica: Replica },
    /// It is no member any more.
    Departed { replica: Replica, reason: Reason },
    /// A newer life replaced it.
    Renamed { old: Replica, new: Replica, born: Incarnation, address: SocketAddr },
    /// It is fenced; nothing of it is kept.
    Forgotten { node: NodeId, fence: Incarnation },
}

/// Why a replica departed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Given up for dead.
    Failed,
    /// Said goodbye.
    Left,
    /// An operator evicted it.
    Evicted,
}

/// A cluster's name; nodes of different clusters learn nothing of each other. 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ClusterId(pub Arc<str>);

impl CredentialHandle {
    /// Of the credential `id` of `tenant`.
    pub fn of(tenant: &str, id: &str) -> CredentialHandle {
        let mut hasher = sha2::Sha256::new();
        hasher.update(tenant.as_bytes());
        hasher.update([0]);
        hasher.update(id.as_bytes());
        let hash = hasher.finalize();
        CredentialHandle(u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes")))
    }
}

/// One transport connection in one process: its number is never used again, so an event that carries
/// an old one changes nothing. Even numbers were dialled by the node, odd ones accepted by the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The `number`th connection that the node dialled.
    pub fn dialled(number: u64) -> ConnectionId {
        ConnectionId(number * 2)
    }

    /// The `number`th connection that the host accepted.
    pub fn accepted(number: u64) -> ConnectionId {
        ConnectionId(number * 2 + 1)
    }

    /// Whether this node dialled it.
    pub fn is_dialled(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// One log of one node: random, never 0, drawn when the log is created and kept with it. A node whose
/// disk is new is another member, so that no vote is cast twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MemberId(pub u64);

/// A credential as metrics, logs, pools and peers name it: the first 8 bytes of the SHA-256 over its tenant,
/// a zero byte and its id. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CredentialHandle(pub u64);

/// A text is no [`CredentialHandle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a credential's handle is 16 hexadecimal digits in lower case")]
pub struct CredentialHandleError;

impl fmt::Display for CredentialHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CredentialHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CredentialHandle {
    type Err = CredentialHandleError;

    fn from_str(text: &str) -> Result<CredentialHandle, CredentialHandleError> {
        let digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(CredentialHandleError);
        }
        u64::from_str_radix(text, 16).map(CredentialHandle).map_err(|_| CredentialHandleError)
    }
}

impl From<CredentialHandle> for String {
    fn from(handle: CredentialHandle) -> String {
        handle.to_string()
    }
}

impl TryFrom<String> for CredentialHandle {
    type Error = CredentialHandleError;

    fn try_from(text: String) -> Result<CredentialHandle, CredentialHandleError> {
        text.parse()
    }
}

/// A question waiting for its answer. Tickets of requests are minted by the host, those of stores and
/// calls by the node; the two never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ticket(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_is_a_lower_case_label() {
        for good in ["a", "n1", "gw-a", "gw_a.eu-1", &"x".repeat(63)] {
            assert_eq!(good.parse::<NodeId>().expect(good).as_str(), good);
        }
        for bad in ["", "-a", "a-", "Gw", "a b", "watch", "ä", "@0", &"x".repeat(64)] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn a_handle_is_the_head_of_a_hash() {
        let handle = CredentialHandle::of("default", "openai-default");
        assert_eq!(handle.to_string(), "04ef958ab3e85752");
        assert_eq!("04ef958ab3e85752".parse(), Ok(handle));
        for wrong in ["", "04EF958ab3e85752", "04ef958ab3e8575", "+4ef958ab3e85752"] {
            assert_eq!(wrong.parse::<CredentialHandle>(), Err(CredentialHandleError), "{wrong}");
        }
    }

    #[test]
    fn node_ids_are_ordered_and_equal_as_their_texts_are() {
        let mut texts = vec!["a".to_owned(), "a.".repeat(9) + "a", "b".to_owned()];
        for length in [1, 7, 8, 9, 14, 15, 16, 17, 21, 22, 23, 24, 63] {
            texts.extend(["m", "n", "z"].map(|letter| letter.repeat(length)));
            texts.push("n".repeat(length) + "1");
            texts.push("n".repeat(length - 1) + "m");
        }
        let fits = |text: &String| text.len() <= limits::NODE_ID_BYTES_MAX;
        for left in texts.iter().filter(|text| fits(text)) {
            for right in texts.iter().filter(|text| fits(text)) {
                let ids = [left, right].map(|text| text.parse::<NodeId>().expect("a node id"));
                let [one, other] = &ids;
                assert_eq!(one.cmp(other), left.cmp(right), "{left} and {right}");
                assert_eq!(one == other, left == right, "{left} and {right}");
            }
        }
    }
}
