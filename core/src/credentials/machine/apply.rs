//! What one look means for what is in use. The queue and the surfaces that write come here alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::key::Key;
use super::super::record::Record;
use super::super::view::Trouble;
use super::super::{Answer, Change, Digest, Errand, Event, Head, Look, Output, Seen};
use super::{Asked, Credentials, Held, Missing};
use crate::limits;
use crate::time::{Instant, UnixTime};
use crate::wire::{self, Blob};

/// Rows of the local store begin with this.
const PREFIX: &str = "credentials/";
/// Bytes of an encoded row: three numbers, a flag and a digest.
const ROW_BYTES_MAX: usize = 128;

/// What is kept of a credential between two lives.
#[derive(Serialize, Deserialize)]
struct Row {
    revision: u64,
    deleted: bool,
    digest: Digest,
    updated_at: UnixTime,
}

impl Credentials {
    /// The revisions of a former life. A row that does not read is as good as none.
    pub(super) fn restore(&mut self, kept: &BTreeMap<String, Blob>) {
        for (name, value) in kept.range(PREFIX.to_owned()..) {
            if canary!("credentials.forgets_revisions") {
                break;
            }
            let Some(name) = name.strip_prefix(PREFIX) else { break };
            let key = name.split_once('/').and_then(|(tenant, id)| Key::new(tenant, id).ok());
            let row = wire::decode::<Row, ROW_BYTES_MAX>(value).ok();
            let Some((key, row)) = key.zip(row) else { continue };
            let head = Head {
                handle: key.handle(),
                key: key.clone(),
                revision: row.revision,
                deleted: row.deleted,
                digest: row.digest,
                updated_at: row.updated_at,
                record: None,
                exposed: false,
            };
            self.show(head, 0);
        }
    }

    /// Takes up what a look found.
    pub(super) fn apply(&mut self, now: Instant, key: &Key, look: Look, out: &mut Vec<Output>) {
        let late = self.held.get(key).is_some_and(|held| held.order >= look.order);
        if late && !canary!("credentials.believes_late_looks") {
            self.queue.counters.stale += 1;
            return;
        }
        match look.seen {
            Seen::Failed { what } => {
                self.queue.counters.failed += 1;
                // A look that was not answered is no evidence: the next absence is the first again.
                self.missing.remove(key);
                self.failed(now, what, out);
            }
            Seen::Invalid { what } => {
                self.missing.remove(key);
                self.settle(key, out);
                self.trouble(now, key, &what);
            }
            Seen::Absent => {
                self.trouble_is_over(key);
                self.absent(now, key, look.at);
            }
            Seen::Record { digest, record, exposed } => {
                let fresh = Fresh { order: look.order, at: look.at, digest, record, exposed };
                match self.install(key, fresh, out) {
                    Installed::Changed => self.queue.counters.applied += 1,
                    Installed::Same => self.queue.counters.stale += 1,
                    Installed::Full => {
                        self.queue.counters.failed += 1;
                        self.trouble(now, key, "there are 4096 credentials already");
                    }
                }
            }
        }
    }

    /// A surface wrote: no evidence is needed beyond its word.
    pub(super) fn wrote(&mut self, key: &Key, look: Look, out: &mut Vec<Output>) -> Answer {
        let known = self.held.get(key);
        let newer = known.is_none_or(|held| held.order < look.order);
        let changed = match look.seen {
            Seen::Record { digest, record, exposed } if newer => {
                let fresh = Fresh { order: look.order, at: look.at, digest, record, exposed };
                match self.install(key, fresh, out) {
                    Installed::Full => return Answer::Full,
                    Installed::Changed => true,
                    Installed::Same => false,
                }
            }
            Seen::Absent if newer && known.is_some_and(|held| !held.head.deleted) => {
                self.remove(key, look.at, look.order, out);
                true
            }
            // It was deleted, or no record: no look from before brings anything back.
            Seen::Absent if newer => {
                self.trouble_is_over(key);
                if let Some(held) = self.held.get_mut(key) {
                    held.order = look.order;
                }
                false
            }
            // A look of the queue was quicker, and has found what was written.
            Seen::Absent | Seen::Record { .. } => false,
            Seen::Invalid { what } | Seen::Failed { what } => {
                panic!("a surface wrote what is no record: {what}")
            }
        };
        match self.held.get(key) {
            Some(held) => Answer::Applied { head: held.head.clone(), changed },
            None => Answer::Done,
        }
    }

    fn install(&mut self, key: &Key, fresh: Fresh, out: &mut Vec<Output>) -> Installed {
        self.missing.remove(key);
        self.settle(key, out);
        self.trouble_is_over(key);
        let Fresh { order, at, digest, record, exposed } = fresh;
        let known = self.held.get(key).map(|held| held.head.clone());
        let same = known.as_ref().is_some_and(|head| !head.deleted && head.digest == digest);
        let undated = same && !canary!("credentials.dates_what_is_the_same");
        let is_live = known.as_ref().is_some_and(|head| !head.deleted);
        if !is_live && self.live >= limits::CREDENTIALS_MAX {
            return Installed::Full;
        }
        if exposed && known.as_ref().is_none_or(|head| !head.exposed) {
            out.push(Output::Announce(Event::FileExposed { handle: key.handle() }));
        }
        let revision = known.as_ref().map_or(1, |head| head.revision + u64::from(!same));
        let head = Head {
            key: key.clone(),
            handle: key.handle(),
            revision,
            deleted: false,
            digest,
            updated_at: known.as_ref().filter(|_| undated).map_or(at, |head| head.updated_at),
            record: Some(Arc::from(record)),
            exposed,
        };
        if known.as_deref() == Some(&head) {
            self.held.get_mut(key).expect("it is known").order = order;
            return Installed::Same;
        }
        let change = (!same).then(|| change(known.as_deref(), &head));
        // The row that is kept of it outlives a deletion and a restart, and holds the digest of the last body.
        let renewed = known.is_some_and(|known| known.digest != digest);
        self.keep(&head, out);
        let head = self.show(head, order);
        out.push(Output::Changed { head: head.clone(), renewed });
        if let Some(change) = change {
            out.push(Output::Announce(changed(&head, provider(&head), change)));
            return Installed::Changed;
        }
        Installed::Same
    }

    /// `key` is gone. K1, K3: its revision rises and stays.
    pub(super) fn remove(&mut self, key: &Key, at: UnixTime, order: u64, out: &mut Vec<Output>) {
        let held = self.held.get(key).expect("only what is known is removed");
        let was = held.head.clone();
        let head = Head {
            revision: was.revision + 1,
            deleted: true,
            record: None,
            updated_at: at,
            ..(*was).clone()
        };
        let order = order.max(held.order);
        self.missing.remove(key);
        self.trouble_is_over(key);
        self.settle(key, out);
        self.keep(&head, out);
        let head = self.show(head, order);
        out.push(Output::Changed { head: head.clone(), renewed: false });
        self.ask(Asked::Nothing, Errand::Forget { key: key.clone() }, out);
        out.push(Output::Announce(changed(&head, provider(&was), Change::Removed)));
        self.bound_tombstones(out);
    }

    /// Makes `head` what is known. K1.
    fn show(&mut self, head: Head, order: u64) -> Arc<Head> {
        let head = Arc::new(head);
        let key = head.key.clone();
        let before = self.held.insert(key.clone(), Held { head: head.clone(), order });
        let was = before.map(|held| held.head);
        assert!(
            was.as_ref().is_none_or(|was| was.revision <= head.revision),
            "K1: the revision of {} fell to {}",
            head.handle,
            head.revision
        );
        let was_live = was.is_some_and(|was| !was.deleted);
        self.live = self.live + usize::from(!head.deleted) - usize::from(was_live);
        self.shown.heads.insert(key, head.clone());
        self.shown.version += 1;
        self.shown.stale = true;
        head
    }

    fn keep(&self, head: &Head, out: &mut Vec<Output>) {
        let known = self.held.get(&head.key).map(|held| &held.head);
        let same = known.is_some_and(|known| known.revision == head.revision);
        if same && !canary!("credentials.writes_what_is_the_same") {
            return;
        }
        let row = Row {
            revision: head.revision,
            deleted: head.deleted,
            digest: head.digest,
            updated_at: head.updated_at,
        };
        let value = Some(Blob::from(wire::encode(&row)));
        out.push(Output::Persist { key: row_key(&head.key), value });
    }

    /// Forgets the revisions of what was deleted before `before`.
    pub(super) fn purge(&mut self, before: UnixTime, out: &mut Vec<Output>) -> Answer {
        let old =
            self.held.values().filter(|held| held.head.deleted && held.head.updated_at < before);
        let old: Vec<Key> = old.map(|held| held.head.key.clone()).collect();
        old.iter().for_each(|key| self.forget(key, out));
        Answer::Purged { count: old.len() }
    }

    fn bound_tombstones(&mut self, out: &mut Vec<Output>) {
        if self.held.len() - self.live <= limits::CREDENTIAL_TOMBSTONES_MAX {
            return;
        }
        let deleted = self.held.values().map(|held| &held.head).filter(|head| head.deleted);
        let oldest = deleted.min_by_key(|head| (head.updated_at, head.key.clone()));
        if let Some(key) = oldest.map(|head| head.key.clone()) {
            self.forget(&key, out);
        }
    }

    fn forget(&mut self, key: &Key, out: &mut Vec<Output>) {
        self.held.remove(key);
        self.shown.heads.remove(key);
        self.shown.version += 1;
        self.shown.stale = true;
        out.push(Output::Persist { key: row_key(key), value: None });
    }

    fn absent(&mut self, now: Instant, key: &Key, at: UnixTime) {
        if self.held.get(key).is_none_or(|held| held.head.deleted) {
            self.queue.counters.stale += 1;
            return;
        }
        let missing = self.missing.entry(key.clone()).or_insert(Missing::new(now));
        (missing.asked, missing.at) = (false, at);
        missing.sure |= missing.first + limits::CREDENTIAL_ABSENCE_GAP <= now;
    }

    fn trouble(&mut self, now: Instant, key: &Key, what: &str) {
        if self.troubles.get(key).is_some_and(|trouble| &*trouble.what == what) {
            return;
        }
        if self.troubles.len() >= limits::CREDENTIALS_MAX && !self.troubles.contains_key(key) {
            return; // The listing counts them all.
        }
        let known = self.troubles.get(key);
        let since = known.map_or(now, |trouble| trouble.since);
        let reported = known.is_some_and(|trouble| trouble.reported);
        self.troubles.insert(key.clone(), Trouble { since, what: Arc::from(what), reported });
        self.shown.stale = true;
    }

    fn trouble_is_over(&mut self, key: &Key) {
        self.shown.stale |= self.troubles.remove(key).is_some();
    }

    /// `key` is there, or needs no breaker.
    pub(super) fn settle(&mut self, key: &Key, out: &mut Vec<Output>) {
        if self.breaker.settle(key) {
            out.push(Output::Announce(Event::BreakerClosed));
            self.shown.stale = true;
        }
    }
}

/// A record that a look found.
struct Fresh {
    order: u64,
    at: UnixTime,
    digest: Digest,
    record: Box<Record>,
    exposed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installed {
    Changed,
    Same,
    Full,
}

fn row_key(key: &Key) -> String {
    format!("{PREFIX}{key}")
}

fn provider(head: &Head) -> Arc<str> {
    head.record.as_ref().map_or_else(|| Arc::from(""), |record| record.provider.clone())
}

fn changed(head: &Head, provider: Arc<str>, change: Change) -> Event {
    Event::Changed { handle: head.handle, provider, revision: head.revision, change }
}

fn change(before: Option<&Head>, after: &Head) -> Change {
    let disabled = |head: &Head| head.record.as_ref().is_some_and(|record| record.disabled);
    match before {
        Some(before) if !before.deleted => match (disabled(before), disabled(after)) {
            (false, true) => Change::Disabled,
            (true, false) => Change::Enabled,
            (true, true) | (false, false) => Change::Updated,
        },
        Some(_) | None => Change::Added,
    }
}
