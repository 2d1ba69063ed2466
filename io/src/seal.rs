//! The seal of datagrams: nothing that was not sealed with a key of the ring is looked at.
//!
//! ```text
//! offset  size  field
//!      0     2  magic 0x51, version 1
//!      2     4  key id: first 4 bytes of SHA-256(key)
//!      6    24  nonce, random
//!     30     n  XChaCha20-Poly1305 ciphertext; associated data = bytes 0..6 ‖ cluster id
//!   30+n    16  tag
//! ```
//!
//! The first key seals, all open, so a key is replaced in three rollouts: add, use, remove. Without a
//! keyring the key is derived from the cluster's name alone: that protects nobody, but takes the same
//! 46 bytes and keeps two clusters on one machine from reading each other.
//!
//! Absent on purpose: an answer of any kind to bytes that do not open, and a replay window (what a
//! datagram says is ordered or idempotent by itself).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use quorate_core::ids::ClusterId;
use quorate_core::limits;
use sha2::{Digest, Sha256};

use crate::config::{Secret, SecretError, read_keyring};

const MAGIC: [u8; 2] = [0x51, 1];
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + KEY_ID_BYTES;
const _: () = assert!(HEADER_BYTES + NONCE_BYTES + TAG_BYTES == limits::SEAL_BYTES);

/// The keys of a node. Immutable: a reload swaps the whole ring.
pub struct Keyring {
    cluster: ClusterId,
    keys: Vec<Key>,
    protects: bool,
}

/// Why bytes did not open. None of them is ever answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unopened {
    /// Too short for a seal, or longer than a datagram may be.
    Size,
    /// Not a datagram of ours, or of another version.
    Magic,
    /// Sealed with a key that is not in the ring.
    Key,
    /// Changed on the way, or of another cluster.
    Tag,
}

/// Why texts are no keyring. Never says a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// None, or more than the ring holds.
    #[error("a keyring has 1 to {max} keys, not {count}", max = limits::KEYRING_KEYS_MAX)]
    Count {
        /// How many there are.
        count: usize,
    },
    /// Not the base64 of 32 bytes.
    #[error("key {position} of the keyring is not the base64 of {KEY_BYTES} bytes")]
    Key {
        /// Which, from 1.
        position: usize,
    },
    /// The same key, or one whose id collides.
    #[error("key {position} of the keyring is there twice")]
    Twice {
        /// Which, from 1.
        position: usize,
    },
    /// The file cannot be read.
    #[error("`cluster.keyring_file`: {0}")]
    File(#[from] SecretError),
}

/// Where the keys come from. The file wins; without keys there is no protection.
#[derive(Debug, Clone, Default)]
pub struct KeyringSource {
    /// Base64 of 32 bytes each, the sealing one first.
    pub keys: Vec<Secret>,
    /// A file with the same, read again at each reload.
    pub file: Option<PathBuf>,
}

impl KeyringSource {
    /// Reads the ring.
    pub fn load(&self, cluster: &ClusterId) -> Result<Keyring, KeyringError> {
        let read = self.file.as_ref().map(|path| read_keyring(path)).transpose()?;
        let keys = read.as_ref().unwrap_or(&self.keys);
        if keys.is_empty() && self.file.is_none() {
            return Ok(Keyring::open(cluster));
        }
        Keyring::parse(cluster, keys.iter().map(Secret::reveal))
    }
}

impl Keyring {
    /// A ring of base64 texts, the sealing key first.
    pub fn parse<'a>(
        cluster: &ClusterId,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Keyring, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut count = 0;
        for text in texts {
            count += 1;
            let bytes = STANDARD.decode(text).ok();
            let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
            let key = Key::new(bytes.ok_or(KeyringError::Key { position: count })?);
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyringError::Twice { position: count });
            }
            if keys.len() < limits::KEYRING_KEYS_MAX {
                keys.push(key);
            }
        }
        if count == 0 || count > limits::KEYRING_KEYS_MAX {
            return Err(KeyringError::Count { count });
        }
        Ok(Keyring { cluster: cluster.clone(), keys, protects: true })
    }

    /// A ring that anybody can make who knows the cluster's name.
    pub fn open(cluster: &ClusterId) -> Keyring {
        let mut hasher = Sha256::new();
        hasher.update(b"quorate: datagrams without a keyring\0");
        hasher.update(cluster.0.as_bytes());
        let key = Key::new(hasher.finalize().into());
        Keyring { cluster: cluster.clone(), keys: vec![key], protects: false }
    }

    /// Whether an outsider who knows the cluster's name can neither read nor write.
    pub fn protects(&self) -> bool {
        self.protects
    }

    /// The ids of the keys in hexadecimal, the sealing one first. Never the keys.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("{:08x}", u32::from_be_bytes(key.id))).collect()
    }

    /// Seals `plain` with the first key and a fresh random nonce.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the machine has entropy");
        self.seal_with(plain, nonce)
    }

    /// The plain text of `datagram`.
    pub fn unseal(&self, datagram: &[u8]) -> Result<Vec<u8>, Unopened> {
        if datagram.len() > limits::DATAGRAM_BYTES_MAX {
            return Err(Unopened::Size);
        }
        let (header, rest) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(Unopened::Size)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened::Size)?;
        if ciphertext.len() < TAG_BYTES {
            return Err(Unopened::Size);
        }
        let id = header.strip_prefix(&MAGIC).ok_or(Unopened::Magic)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(Unopened::Key)?;
        let payload = Payload { msg: ciphertext, aad: &self.associated(*header) };
        key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Unopened::Tag)
    }

    fn seal_with(&self, plain: &[u8], nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let key = self.keys.first().expect("a ring has at least one key");
        let [id0, id1, id2, id3] = key.id;
        let header = [MAGIC[0], MAGIC[1], id0, id1, id2, id3];
        let payload = Payload { msg: plain, aad: &self.associated(header) };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload);
        let mut datagram = Vec::with_capacity(limits::SEAL_BYTES + plain.len());
        datagram.extend_from_slice(&header);
        datagram.extend_from_slice(&nonce);
        datagram.extend_from_slice(&sealed.expect("a datagram is far below the cipher's limit"));
        datagram
    }

    fn associated(&self, header: [u8; HEADER_BYTES]) -> Vec<u8> {
        [&header, self.cluster.0.as_bytes()].concat()
    }
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(bytes: [u8; KEY_BYTES]) -> Key {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let [id0, id1, id2, id3, ..] = digest;
        let cipher = XChaCha20Poly1305::new(&chacha20poly1305::Key::from(bytes));
        Key { id: [id0, id1, id2, id3], cipher }
    }
}

/// Shows the ids alone.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
