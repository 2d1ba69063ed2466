//! Who a credential is: a tenant and an id, and the handle that stands for both.
//!
//! An id is a relative path, because the default store is a folder. What could leave that folder, hide from
//! whoever reads a list, or be another id in another notation is refused: here once, for reading, writing
//! and deleting alike.
//!
//! Absent on purpose: file names. A store says how it writes an id.

use std::fmt;
use std::sync::Arc;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

use crate::ids::CredentialHandle;
use crate::limits;

/// The tenant of whoever names none.
pub const DEFAULT_TENANT: &str = "default";
/// Ids below this belong to attached sessions.
const RESERVED_FOLDER: &str = "ws/";
/// Paths of the surface, and so no ids.
const RESERVED: [&str; 2] = ["ws", "attach"];

/// Tenant and id of a credential, both valid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "(String, String)", try_from = "(String, String)")]
pub struct Key {
    tenant: Arc<str>,
    id: Arc<str>,
}

/// Why a text names no credential. Each sentence says what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty or too long.
    #[error("an id has 1 to 512 bytes")]
    Length,
    /// It may leave its folder, or names it twice.
    #[error(
        "an id is a relative path: no leading or doubled `/`, no `.` or `..` between slashes, no `\\`"
    )]
    Path,
    /// A character that hides or deceives.
    #[error("an id has no control or bidirectional character")]
    Character,
    /// The same text has another notation.
    #[error("an id is written in Unicode normalization form C")]
    NotNormal,
    /// It is taken.
    #[error("`ws/…` and `attach` belong to attached sessions; choose another id")]
    Reserved,
    /// Its tenant is none.
    #[error("a tenant is 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `-`")]
    Tenant,
}

impl Key {
    /// The credential `id` of `tenant`.
    pub fn new(tenant: &str, id: &str) -> Result<Key, KeyError> {
        check_tenant(tenant)?;
        check_id(id)?;
        Ok(Key { tenant: Arc::from(tenant), id: Arc::from(id) })
    }

    /// The credential `id` of the default tenant.
    pub fn of_default(id: &str) -> Result<Key, KeyError> {
        Key::new(DEFAULT_TENANT, id)
    }

    /// Whose it is.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Its id among the tenant's.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What stands for it in metrics, logs, pools and gossip.
    pub fn handle(&self) -> CredentialHandle {
        CredentialHandle::of(&self.tenant, &self.id)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}

impl From<Key> for (String, String) {
    fn from(key: Key) -> (String, String) {
        (key.tenant.to_string(), key.id.to_string())
    }
}

impl TryFrom<(String, String)> for Key {
    type Error = KeyError;

    fn try_from((tenant, id): (String, String)) -> Result<Key, KeyError> {
        Key::new(&tenant, &id)
    }
}

fn check_tenant(tenant: &str) -> Result<(), KeyError> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=limits::TENANT_BYTES_MAX).contains(&tenant.len());
    if fits && tenant.bytes().all(letter) { Ok(()) } else { Err(KeyError::Tenant) }
}

fn check_id(id: &str) -> Result<(), KeyError> {
    if !(1..=limits::CREDENTIAL_ID_BYTES_MAX).contains(&id.len()) {
        return Err(KeyError::Length);
    }
    if id.contains('\\') || id.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(KeyError::Path);
    }
    if id.chars().any(|letter| letter.is_control() || is_bidi(letter)) {
        return Err(KeyError::Character);
    }
    if !ComposingNormalizerBorrowed::new_nfc().is_normalized(id) {
        return Err(KeyError::NotNormal);
    }
    if RESERVED.contains(&id) || id.starts_with(RESERVED_FOLDER) {
        return Err(KeyError::Reserved);
    }
    Ok(())
}

/// The marks, embeddings and isolates of UAX #9: they change the order in which others are shown.
fn is_bidi(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(id: &str) -> KeyError {
        Key::of_default(id).expect_err(id)
    }

    #[test]
    fn a_handle_is_the_start_of_a_hash_over_tenant_and_id() {
        let key = Key::of_default("openai-default").expect("an id");
        assert_eq!(key.handle().to_string(), "04ef958ab3e85752");
        assert_eq!("04ef958ab3e85752".parse(), Ok(key.handle()));
        let other = Key::new("default-openai", "default").expect("an id");
        assert_ne!(key.handle(), other.handle());
    }

    #[test]
    fn ids_are_relative_paths_that_stay_where_they_are() {
        for good in ["a", "codex-1", "team/codex-1", "..a/b..", "ws-1", "attached", "é", "x y"] {
            assert_eq!(Key::of_default(good).expect(good).id(), good);
        }
        for bad in ["/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\\b", "../../etc/passwd"] {
            assert_eq!(refused(bad), KeyError::Path, "{bad}");
        }
        assert_eq!(refused(""), KeyError::Length);
        assert_eq!(refused(&"x".repeat(513)), KeyError::Length);
        assert!(Key::of_default(&"x".repeat(512)).is_ok());
    }

    #[test]
    fn ids_that_deceive_a_reader_are_refused() {
        for bad in ["a\nb", "a\0", "a\u{7f}", "a\u{202e}nosj", "\u{2066}a", "a\u{85}"] {
            assert_eq!(refused(bad), KeyError::Character, "{bad:?}");
        }
        assert_eq!(refused("e\u{301}"), KeyError::NotNormal);
        for taken in ["ws/a", "ws", "attach"] {
            assert_eq!(refused(taken), KeyError::Reserved);
        }
    }

    #[test]
    fn a_tenant_is_a_plain_word() {
        for bad in ["", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert_eq!(Key::new(bad, "a"), Err(KeyError::Tenant), "{bad}");
        }
        assert_eq!(Key::new("A.b_c-9", "a").map(|key| key.to_string()), Ok("A.b_c-9/a".to_owned()));
    }

    #[test]
    fn what_arrives_from_elsewhere_is_checked_like_what_is_typed() {
        let key = Key::new("t", "a/b").expect("an id");
        let text = serde_json::to_string(&key).expect("two texts");
        assert_eq!(serde_json::from_str::<Key>(&text).expect("the same"), key);
        assert!(serde_json::from_str::<Key>(r#"["t","../b"]"#).is_err());
    }
}
