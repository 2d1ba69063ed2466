//! Reads: now, or exactly as it was at a revision that is not compacted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::command::{Item, Version};
use super::super::name::{Key, Keys, Namespace, Path, Span};
use super::State;
use crate::limits;
use crate::wire::List;

/// That revision is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// The least that can be read.
    pub compact_revision: u64,
}

/// Keys in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// At most 1000.
    pub items: List<Item, { limits::KV_PAGE_ITEMS_MAX }>,
    /// Whether there are more behind the last.
    pub more: bool,
}

impl State {
    /// The version of a key, at `revision` or now.
    pub fn get(
        &self,
        path: &Path,
        revision: Option<u64>,
    ) -> Result<Option<&Arc<Version>>, Compacted> {
        match self.dated(revision)? {
            None => Ok(self.live.get(path)),
            Some(revision) => Ok(self.visible(path, revision)),
        }
    }

    /// The keys behind `after`, at `revision` or now. Values are left out with `keys_only`.
    pub fn page(&self, wanted: &Wanted<'_>) -> Result<Page, Compacted> {
        let mut span = wanted.keys.span(wanted.namespace);
        if let Some(after) = wanted.after {
            let next = Span::one(&Path::new(wanted.namespace, after)).end;
            span.start = span.start.max(next);
        }
        sometimes!("kv.listed");
        let mut pager = Pager::new(wanted);
        match self.dated(wanted.revision)? {
            None => {
                let live = span.bounds().into_iter();
                let mut live = live.flat_map(|span| self.live.range::<_, [u8]>(span));
                while live.next().is_some_and(|(path, held)| pager.takes(path, held)) {}
            }
            Some(revision) => self.page_at(&span, revision, &mut pager),
        }
        Ok(pager.page)
    }

    /// Live keys and those that went after `revision`, merged in order.
    fn page_at(&self, span: &Span, revision: u64, pager: &mut Pager) {
        let Some(bounds) = span.bounds() else { return };
        let mut live = self.live.range::<_, [u8]>(bounds).map(|(path, _)| path).peekable();
        let mut gone = self.changed_paths(span).peekable();
        loop {
            let path = match (live.peek(), gone.peek()) {
                (Some(left), Some(right)) => Path::clone(left.min(&right)),
                (Some(path), None) => Path::clone(path),
                (None, Some(path)) => path.clone(),
                (None, None) => return,
            };
            live.next_if(|other| **other == path);
            gone.next_if(|other| *other == path);
            let held = self.visible(&path, revision);
            if held.is_some_and(|held| !pager.takes(&path, held)) {
                return;
            }
        }
    }

    /// Paths that history knows, each once.
    fn changed_paths(&self, span: &Span) -> impl Iterator<Item = Path> {
        let end = span.dated();
        let mut next = end.clone().map(|range| range.start);
        std::iter::from_fn(move || {
            let end = end.as_ref()?.end.clone();
            let from = next.take().filter(|from| *from < end)?;
            let ((path, _), _) = self.past.range(from..end).next()?;
            next = Some((path.clone(), u64::MAX));
            Some(path.clone())
        })
    }

    /// The version of a key at a revision of history.
    pub(super) fn visible(&self, path: &Path, revision: u64) -> Option<&Arc<Version>> {
        let later = (path.clone(), revision + 1)..=(path.clone(), u64::MAX);
        match self.past.range(later).next() {
            Some((_, before)) => before.as_ref(),
            None => self.live.get(path),
        }
    }

    /// `None`: now.
    fn dated(&self, revision: Option<u64>) -> Result<Option<u64>, Compacted> {
        let Some(revision) = revision.filter(|revision| *revision < self.revision) else {
            return Ok(None);
        };
        if revision < self.compact_revision {
            return Err(Compacted { compact_revision: self.compact_revision });
        }
        Ok(Some(revision))
    }
}

/// What a page is of.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose keys.
    pub namespace: &'a Namespace,
    /// Which.
    pub keys: &'a Keys,
    /// Those behind this one.
    pub after: Option<&'a Key>,
    /// As they were; `None` as they are.
    pub revision: Option<u64>,
    /// At most so many, and at most 1000.
    pub limit: usize,
    /// Leave the values out.
    pub keys_only: bool,
}

/// A page being filled.
struct Pager {
    page: Page,
    bytes: usize,
    limit: usize,
    keys_only: bool,
}

impl Pager {
    fn new(wanted: &Wanted<'_>) -> Pager {
        let limit = wanted.limit.clamp(1, limits::KV_PAGE_ITEMS_MAX);
        Pager { page: Page::default(), bytes: 0, limit, keys_only: wanted.keys_only }
    }

    /// Takes one more, or says that the page is full.
    fn takes(&mut self, path: &Path, held: &Arc<Version>) -> bool {
        let value = if self.keys_only { 0 } else { held.value.len() };
        let bytes = path.key().len() + value + usize::from(ITEM_BYTES);
        let first = self.page.items.is_empty();
        let fits = first || self.bytes + bytes <= limits::KV_PAGE_BYTES_MAX;
        if self.page.items.len() == self.limit || !fits {
            self.page.more = true;
            return false;
        }
        self.bytes += bytes;
        let held = match self.keys_only {
            true => Arc::new(Version { value: Default::default(), ..Version::clone(held) }),
            false => Arc::clone(held),
        };
        let key = Key::new(path.key()).expect("a path ends with a key");
        self.page.items.0.push(Item { key, held });
        true
    }
}

/// What an item takes beside its key and value, at most.
const ITEM_BYTES: u8 = 64;
