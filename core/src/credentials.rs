//! Credentials: which accounts this node knows, and how a change of one arrives.
//!
//! A credential is a record that somebody keeps in a store: today a folder of files. Here its *head* is
//! decided over: who it is, which revision of it is in use, and what of it is public. The body, which is
//! the secret, stays with the host.
//!
//! ```text
//!   watcher ─ Hint ─▶ queue ─▶ Look ─▶ host reads one file ─▶ Looked ─▶ in use ─▶ pools, readers
//!   every minute ─▶ List ─▶ what differs ─┘                              │
//!   a surface wrote ─ Wrote ─────────────────────────────────────────────┘ at once, by the same rule
//! ```
//!
//! A hint says *look there*, never what is there: truth is what a look finds, so a hint that is lost, late,
//! repeated or forged costs a look or a wait. A folder counts nothing, so the revisions are counted here and
//! kept in the node's own store: one higher for every changed body and every deletion, and they outlive it.
//!
//! Reading order: a [`key`] is an identity, a [`record`] is what is public of a body, a [`moment`] is how
//! bodies write time, the [`queue`] holds what is to be looked at, the [`breaker`] holds what is missing, and
//! [`machine`] is the one `match`.
//!
//! Invariants held here: K1 revisions of a credential only rise, K3 what is deleted stays deleted until a
//! look finds it, K5 the queue keeps its bound, K7 a deletion has evidence: a word, or two looks apart that
//! found nothing, within the breaker. K9 a repeated hint changes nothing.
//!
//! Absent on purpose: secrets (no type of this crate holds one), cooldowns and picks (they are pools' and
//! name a credential by its handle), shared stores, refresh, encryption at rest.

pub mod breaker;
pub mod key;
pub mod machine;
pub mod moment;
pub mod queue;
pub mod record;
pub mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{CredentialHandle, Ticket};
use crate::time::UnixTime;
use crate::wire::Blob;

pub use key::{DEFAULT_TENANT, Key, KeyError};
pub use machine::Credentials;
pub use queue::{Counters, Offered, Source};
pub use record::{Fault, PERSONAL, PUBLIC, Record};
pub use view::{Drain, Snapshot, Trouble};

/// What a node keeps its credentials in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Whether there is a store at all. Without one nothing is ever looked for.
    pub enabled: bool,
}

/// The SHA-256 of a body's canonical form.
pub type Digest = [u8; 32];

/// What is known of a credential: the part that everybody may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Who.
    pub key: Key,
    /// What stands for it elsewhere.
    pub handle: CredentialHandle,
    /// Rises with every change of the body and with deletion.
    pub revision: u64,
    /// Whether it is gone. Its revision is remembered.
    pub deleted: bool,
    /// Of the body; of a deleted one, of its last.
    pub digest: Digest,
    /// When the store says that it changed.
    pub updated_at: UnixTime,
    /// What is public of the body. None while it was not read in this life, and of a deleted one.
    pub record: Option<Arc<Record>>,
    /// Whether others on the machine may read its file.
    pub exposed: bool,
}

/// What a look at one record found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Rises with every look and every write of the host: an older one replaces no newer.
    pub order: u64,
    /// When the store says that what is there came to be.
    pub at: UnixTime,
    /// What is there.
    pub seen: Seen,
}

/// See [`Look`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// Something that is no record, perhaps half of one.
    Invalid {
        /// Why, without a word of what is there.
        what: String,
    },
    /// The store did not answer.
    Failed {
        /// What it said, without a word of what is there.
        what: String,
    },
    /// A record.
    Record {
        /// Of its body.
        digest: Digest,
        /// What is public of it.
        record: Box<Record>,
        /// Whether others on the machine may read its file.
        exposed: bool,
    },
}

/// What a store lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// As of a [`Look`]: what is known from a later look is not judged by this.
    pub order: u64,
    /// Every record, with the digest of its body; none of what is there and is no record.
    pub found: Vec<(Key, Option<Digest>)>,
    /// Records that are not in it because there are too many: then an absence says nothing.
    pub left_out: u64,
    /// Files whose names are no ids.
    pub misnamed: u64,
}

/// What the machine asks of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Read one record; answered by [`Found::Look`].
    Look {
        /// Which.
        key: Key,
    },
    /// Say what is there; answered by [`Found::Listing`].
    List,
    /// This body is used no more; answered by [`Found::Done`].
    Forget {
        /// Whose.
        key: Key,
    },
    /// Write the bodies in use back, where nothing is; answered by [`Found::Done`].
    Restore {
        /// Whose.
        keys: Vec<Key>,
    },
}

/// What came of an [`Errand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Of one record.
    Look(Look),
    /// Of all, or why not.
    Listing(Result<Listing, String>),
    /// Done, as far as it could be.
    Done,
}

/// What a caller may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Something may have changed there; answered by [`Answer::Offered`].
    Hint {
        /// Where.
        keys: Vec<Key>,
    },
    /// Look at everything; answered by [`Answer::Done`] at once.
    Rescan,
    /// A surface has written, or deleted: take it up now; answered by [`Answer::Applied`].
    Wrote {
        /// What.
        key: Key,
        /// As it is now.
        look: Look,
    },
    /// The absences that the breaker holds were meant; answered by [`Answer::Settled`].
    Accept,
    /// They were not: write the records back; answered by [`Answer::Settled`].
    Restore,
    /// Forget the revisions of what was deleted before; answered by [`Answer::Purged`].
    Purge {
        /// When.
        before: UnixTime,
    },
}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What became of hints.
    Offered {
        /// They wait now.
        queued: usize,
        /// They waited already.
        coalesced: usize,
        /// There was no room.
        overflowed: usize,
    },
    /// Begun.
    Done,
    /// The head as it is now.
    Applied {
        /// It.
        head: Arc<Head>,
        /// Whether that is news.
        changed: bool,
    },
    /// There are as many credentials as may be.
    Full,
    /// So many were held; none if the breaker was not open.
    Settled {
        /// How many.
        held: usize,
    },
    /// So many revisions are forgotten.
    Purged {
        /// How many.
        count: usize,
    },
}

/// What can happen to credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Begin to look. Once, first.
    Start,
    /// A caller's command.
    Command {
        /// Echoed.
        ticket: Ticket,
        /// What.
        command: Command,
    },
    /// An errand ended.
    Found {
        /// Which.
        ticket: Ticket,
        /// How.
        found: Found,
    },
    /// The node leaves: nothing more is looked at, and what waits is counted as dropped.
    Stop,
    /// `next_wake` has passed.
    Tick,
}

/// What credentials ask of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask the store; answered by `Found`.
    Run {
        /// Echoed.
        ticket: Ticket,
        /// What.
        errand: Errand,
    },
    /// Keep (or, without a value, forget) a row of the local store. The key begins with `credentials/`.
    Persist {
        /// Which.
        key: String,
        /// What.
        value: Option<Blob>,
    },
    /// This is in use now, or is no more: `deleted`.
    Changed {
        /// What.
        head: Arc<Head>,
        /// Whether its body is another than the last one known here, a deletion or a restart ago too.
        renewed: bool,
    },
    /// What there is has been read for the first time, or cannot be. Once, and at once where there is no store.
    Loaded,
    /// Tell observers.
    Announce(Event),
    /// Answer a caller.
    Reply {
        /// Whom.
        ticket: Ticket,
        /// What.
        answer: Answer,
    },
}

/// What observers hear of credentials. No id, and nothing personal: handles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// One is new, another, or gone.
    Changed {
        /// Which.
        handle: CredentialHandle,
        /// Whose account; empty of one that is gone and was not read in this life.
        provider: Arc<str>,
        /// As which revision.
        revision: u64,
        /// What became of it.
        change: Change,
    },
    /// A file is no record, and has been none for a while; the last good one stays in use.
    FileInvalid {
        /// Which.
        handle: CredentialHandle,
        /// Why.
        what: String,
    },
    /// Others on the machine may read a file.
    FileExposed {
        /// Which.
        handle: CredentialHandle,
    },
    /// So much is missing that nothing is removed; an operator decides.
    BreakerOpened {
        /// How many are held.
        held: usize,
    },
    /// Nothing is held any more.
    BreakerClosed,
    /// The folder holds more than may be.
    LimitReached {
        /// How many are not in use for that.
        left_out: u64,
    },
    /// A batch of the queue was looked at.
    Drained {
        /// How many were in it.
        batch: usize,
        /// From the first look to the last.
        took: std::time::Duration,
    },
    /// The store does not answer (`None`: does again).
    Store {
        /// What it said.
        failure: Option<String>,
    },
}

/// What became of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new, or there again.
    Added,
    /// Its body is another.
    Updated,
    /// Its body is another and says that it must not be used.
    Disabled,
    /// Its body is another and does not say so any more.
    Enabled,
    /// It is gone.
    Removed,
}
