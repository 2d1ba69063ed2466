//! How things are called: namespaces, keys, locks, and what a span of keys is.
//!
//! A [`Path`] is a namespace, a zero byte, and a key. No namespace holds a zero byte, so paths are ordered
//! by namespace and then by key, and every [`Span`] that a [`Keys`] stands for lies inside its namespace:
//! that alone keeps one namespace from showing another's keys (KV-6).
//!
//! Absent on purpose: who may write where. The front door knows callers; a replica knows entries.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;
use crate::wire::Blob;

/// A tree of keys that sees only itself: `[a-z][a-z0-9._-]{0,62}`, or with a leading `_` one of Quorate's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Namespace(Arc<str>);

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NameError {
    /// Not of the form of a namespace.
    #[error("a namespace is 1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter")]
    Namespace,
    /// Empty or too long.
    #[error("a key has 1 to 1024 bytes")]
    Key,
    /// Empty, too long, or with a slash.
    #[error("the name of a lock has 1 to 255 bytes and no `/`")]
    Lock,
}

/// Where contenders are kept.
pub const LOCKS: &str = "_locks";
/// Namespaces that are changed by calls of their own; those with a leading `_` beside.
pub const RESERVED: [&str; 3] = ["config", "pools", "access"];

impl Namespace {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it belongs to Quorate, so that callers cannot write there.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_') || RESERVED.contains(&self.as_str())
    }

    /// The namespace of contenders.
    pub(super) fn locks() -> Namespace {
        Namespace(Arc::from(LOCKS))
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Namespace, NameError> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let inner = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        };
        let begins = text.as_bytes().first().copied().is_some_and(first);
        let fits = text.len() <= limits::KV_NAMESPACE_BYTES_MAX;
        if begins && fits && text.bytes().all(inner) {
            Ok(Namespace(Arc::from(text)))
        } else {
            Err(NameError::Namespace)
        }
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Namespace, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a value inside its namespace: 1 to 1024 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key(Blob);

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: &[u8]) -> Result<Key, NameError> {
        let legal = (1..=limits::KV_KEY_BYTES_MAX).contains(&bytes.len());
        if legal { Ok(Key(Blob::from(bytes))) } else { Err(NameError::Key) }
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        Key::new(&Blob::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A key with its namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Blob);

impl Path {
    /// The path of `key` in `namespace`.
    pub fn new(namespace: &Namespace, key: &Key) -> Path {
        Path(joined(namespace, key.as_slice()))
    }

    /// Its namespace, as text.
    pub fn namespace(&self) -> &str {
        std::str::from_utf8(self.halves().0).expect("a path begins with a namespace")
    }

    /// Its key's bytes.
    pub fn key(&self) -> &[u8] {
        self.halves().1
    }

    /// Namespace, zero and key.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn halves(&self) -> (&[u8], &[u8]) {
        let zero = self.0.iter().position(|byte| *byte == 0).expect("a path has a zero");
        let (namespace, rest) = self.0.split_at(zero);
        (namespace, rest.split_first().map_or(&[], |(_, key)| key))
    }
}

impl Borrow<[u8]> for Path {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Path, D::Error> {
        let bytes = Blob::deserialize(deserializer)?;
        let wrong = serde::de::Error::custom;
        let zero = bytes.iter().position(|byte| *byte == 0);
        let (namespace, rest) =
            bytes.split_at_checked(zero.unwrap_or(0)).ok_or_else(|| wrong(NameError::Namespace))?;
        let namespace = std::str::from_utf8(namespace).map_err(|_| wrong(NameError::Namespace))?;
        namespace.parse::<Namespace>().map_err(wrong)?;
        Key::new(rest.get(1..).unwrap_or_default()).map_err(wrong)?;
        Ok(Path(bytes))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.key().escape_ascii())
    }
}

/// Which keys of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// This one.
    One(Key),
    /// All that begin so; all of the namespace, if empty.
    Prefix(Blob),
    /// From one key (inclusive) to another (exclusive); without an end, to the last.
    Range {
        /// The first.
        from: Blob,
        /// The first that is not meant.
        to: Option<Blob>,
    },
}

impl Keys {
    /// Whether the bytes of every part are short enough to be compared with keys.
    pub fn is_legal(&self) -> bool {
        let fits = |bytes: &Blob| bytes.len() <= limits::KV_KEY_BYTES_MAX;
        match self {
            Keys::One(_) => true,
            Keys::Prefix(prefix) => fits(prefix),
            Keys::Range { from, to } => fits(from) && to.as_ref().is_none_or(fits),
        }
    }

    /// How many bytes name them.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Keys::One(key) => key.as_slice().len(),
            Keys::Prefix(prefix) => prefix.len(),
            Keys::Range { from, to } => from.len() + to.as_ref().map_or(0, |to| to.len()),
        }
    }

    /// The paths that are meant.
    pub(super) fn span(&self, namespace: &Namespace) -> Span {
        match self {
            Keys::One(key) => Span::one(&Path::new(namespace, key)),
            Keys::Prefix(prefix) => Span::prefix(namespace, prefix),
            Keys::Range { from, to } => {
                let end = Span::prefix(namespace, &[]).end;
                let end = to.as_ref().map_or(end, |to| joined(namespace, to));
                Span { start: joined(namespace, from), end }
            }
        }
    }
}

/// Paths from `start` (inclusive) to `end` (exclusive).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: Blob,
    pub(super) end: Blob,
}

impl Span {
    /// Exactly this path.
    pub(super) fn one(path: &Path) -> Span {
        let mut end = path.as_slice().to_vec();
        end.push(0);
        Span { start: path.0.clone(), end: Blob::from(end) }
    }

    /// Everything of `namespace` that begins with `prefix`.
    pub(super) fn prefix(namespace: &Namespace, prefix: &[u8]) -> Span {
        let start = joined(namespace, prefix);
        let mut end = start.to_vec();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        let last = end.last_mut().expect("the zero before the key can rise");
        *last += 1;
        if prefix.is_empty() && canary!("kv.lists_the_next_namespace") {
            *last = b'/';
        }
        Span { start, end: Blob::from(end) }
    }

    /// The bytes that its first key would have.
    pub(super) fn first_key(&self) -> Blob {
        let zero = self.start.iter().position(|byte| *byte == 0);
        let key = zero.and_then(|zero| self.start.get(zero + 1..));
        Blob::from(key.unwrap_or_default())
    }

    /// Whether `path` is meant.
    pub(super) fn holds(&self, path: &Path) -> bool {
        *self.start <= *path.as_slice() && *path.as_slice() < *self.end
    }

    /// Whether some path could be in both.
    pub(super) fn overlaps(&self, other: &Span) -> bool {
        let start = std::cmp::max(&self.start, &other.start);
        start < std::cmp::min(&self.end, &other.end)
    }

    /// The bounds, for a map of paths. `None` when nothing is meant.
    pub(super) fn bounds(&self) -> Option<Bounds<'_>> {
        let some = *self.start < *self.end;
        some.then(|| (Bound::Included(&*self.start), Bound::Excluded(&*self.end)))
    }

    /// The bounds, for a map of paths with a revision. `None` when nothing is meant.
    pub(super) fn dated(&self) -> Option<std::ops::Range<(Path, u64)>> {
        let some = *self.start < *self.end;
        some.then(|| (Path(self.start.clone()), 0)..(Path(self.end.clone()), 0))
    }
}

/// From where to where in a map of paths.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The name of a lock or semaphore: 1 to 255 bytes without `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LockName(Blob);

impl LockName {
    /// A lock of this name.
    pub fn new(bytes: &[u8]) -> Result<LockName, NameError> {
        let fits = (1..=limits::KV_LOCK_NAME_BYTES_MAX).contains(&bytes.len());
        let legal = fits && !bytes.contains(&b'/');
        if legal { Ok(LockName(Blob::from(bytes))) } else { Err(NameError::Lock) }
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for LockName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LockName, D::Error> {
        LockName::new(&Blob::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A lock of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lock {
    /// Whose.
    pub namespace: Namespace,
    /// Which.
    pub name: LockName,
}

impl Lock {
    /// What the keys of its contenders begin with, slash included.
    pub(super) fn prefix(&self) -> Blob {
        let parts = [self.namespace.as_str().as_bytes(), self.name.as_slice(), b""];
        Blob::from(parts.join(&b'/'))
    }

    /// Where the contender that holds `lease` is kept.
    pub(super) fn contender(&self, lease: u64) -> Path {
        let key = [self.prefix().as_slice(), lease.to_string().as_bytes()].concat();
        let key = Key::new(&key).expect("a namespace, a name and a number make a key");
        Path::new(&Namespace::locks(), &key)
    }

    /// The paths of all its contenders.
    pub(super) fn span(&self) -> Span {
        Span::prefix(&Namespace::locks(), &self.prefix())
    }

    /// What [`Lock::prefix`] gives, of the contender at `path`; `None` if that is no contender.
    pub(super) fn prefix_of(path: &Path) -> Option<Blob> {
        if path.namespace() != LOCKS {
            return None;
        }
        let slash = path.key().iter().rposition(|byte| *byte == b'/')?;
        path.key().get(..=slash).map(Blob::from)
    }
}

fn joined(namespace: &Namespace, key: &[u8]) -> Blob {
    Blob::from([namespace.as_str().as_bytes(), &[0], key].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(text: &str) -> Namespace {
        text.parse().expect("a namespace")
    }

    fn path(space: &str, key: &[u8]) -> Path {
        Path::new(&namespace(space), &Key::new(key).expect("a key"))
    }

    #[test]
    fn a_namespace_is_a_lower_case_word() {
        for good in ["a", "app", "a.b-c_d0", "_locks", "config", &"x".repeat(63)] {
            assert_eq!(namespace(good).as_str(), good);
        }
        for bad in ["", "A", "0a", "a b", "a/b", "ä", "a\0", &"x".repeat(64)] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad:?} must be refused");
        }
        assert!(["_a", "config", "pools", "access"].iter().all(|n| namespace(n).is_reserved()));
        assert!(!namespace("configs").is_reserved());
    }

    #[test]
    fn a_prefix_holds_what_begins_so_and_nothing_of_a_neighbour() {
        let span = Keys::Prefix(Blob::from(&[0xFF, 0xFF][..])).span(&namespace("a"));
        assert!(span.holds(&path("a", &[0xFF, 0xFF])));
        assert!(span.holds(&path("a", &[0xFF, 0xFF, 0xFF, 3])));
        assert!(!span.holds(&path("a", &[0xFF, 0xFE, 9])));
        assert!(!span.holds(&path("b", &[0])));
        let all = Keys::Prefix(Blob::default()).span(&namespace("a"));
        assert!(all.holds(&path("a", &[0])) && all.holds(&path("a", &[0xFF; 1024])));
        assert!(!all.holds(&path("a-", &[0])) && !all.holds(&path("aa", &[0])));
    }

    #[test]
    fn a_range_that_ends_before_it_begins_means_nothing() {
        let keys = Keys::Range { from: Blob::from("b"), to: Some(Blob::from("a")) };
        let span = keys.span(&namespace("n"));
        assert_eq!((span.bounds(), span.dated()), (None, None));
        assert!(!span.overlaps(&Span::one(&path("n", b"aa"))));
    }

    #[test]
    fn overlapping_is_sharing_a_possible_path() {
        let one = |key: &[u8]| Span::one(&path("n", key));
        assert!(one(b"a").overlaps(&one(b"a")));
        assert!(!one(b"a").overlaps(&one(b"aa")) && !one(b"a").overlaps(&one(b"a\0")));
        assert!(Keys::Prefix(Blob::from("a")).span(&namespace("n")).overlaps(&one(b"aa")));
        assert!(!Keys::Prefix(Blob::from("a")).span(&namespace("n")).overlaps(&one(b"b")));
    }

    #[test]
    fn a_lock_keeps_its_contenders_apart_from_those_of_longer_names() {
        let lock = |name: &str| Lock {
            namespace: namespace("app"),
            name: LockName::new(name.as_bytes()).expect("a name"),
        };
        let contender = lock("db").contender(17);
        assert_eq!(format!("{contender:?}"), "_locks/app/db/17");
        assert!(lock("db").span().holds(&contender) && !lock("d").span().holds(&contender));
        assert_eq!(Lock::prefix_of(&contender), Some(lock("db").prefix()));
        assert!(LockName::new(b"a/b").is_err() && LockName::new(&[]).is_err());
    }
}
