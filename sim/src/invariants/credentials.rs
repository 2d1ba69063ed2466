//! Promises about credentials.
//!
//! The folder of each machine is the truth. What a look answered is noted when its answer is handed over, on the
//! machine's own clock, so that every removal can be asked for its evidence.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::{CredentialHandle, Ticket};
use quorate_core::limits;
use quorate_core::node::credentials::{
    Answer as Answered, Change, Command, Credentials, Digest, Errand, Event, Found, Key, Listing,
    Seen,
};
use quorate_core::node::{Announcement, Answer, Call, Effect, Input, Reply, Request};
use quorate_core::time::Instant;

use super::{Id, Ledger, Turn};
use crate::folder::{File, digest};
use crate::verdict::Failure;
use crate::world::machine::Machine;

/// What is known of the credentials of one run.
#[derive(Debug, Default)]
pub struct Watch {
    observers: BTreeMap<usize, Observer>,
}

/// What is known of one process.
#[derive(Debug, Default)]
struct Observer {
    revisions: BTreeMap<Key, Seal>,
    /// First and last look in a row that found nothing.
    absent: BTreeMap<CredentialHandle, (Instant, Instant)>,
    /// Which key a look is for.
    looks: BTreeMap<Ticket, Key>,
    /// A surface deleted it.
    deleted: BTreeMap<CredentialHandle, u64>,
    /// An operator has accepted whatever is missing.
    accepted: bool,
}

/// What a revision stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seal {
    revision: u64,
    what: (bool, Digest),
}

impl Watch {
    /// A process starts on `machine`.
    pub(super) fn started(&mut self, machine: usize) {
        self.observers.insert(machine, Observer::default());
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let credentials = turn.process.node.credentials();
        let Some(observer) = self.observers.get_mut(&turn.machine) else { return Ok(()) };
        let now = turn.local();
        let mut concerned = false;
        for input in turn.inputs {
            concerned |= observer.hear(now, input);
        }
        for effect in turn.effects {
            match effect {
                Effect::Call { ticket, call: Call::Credential(errand) } => {
                    if let Errand::Look { key } = errand {
                        observer.looks.insert(*ticket, key.clone());
                    }
                    concerned = true;
                }
                Effect::Announce(Announcement::Credential(Event::Changed {
                    handle,
                    change: Change::Removed,
                    ..
                })) => {
                    let evidence = observer.evidence(*handle);
                    ledger.hold(Id::K7, turn.machine, evidence, || {
                        format!("{handle} was removed without a word, and was not missed twice")
                    })?;
                    concerned = true;
                }
                Effect::Announce(Announcement::Credential(_))
                | Effect::Reply { reply: Reply::Credential(Answered::Applied { .. }), .. } => {
                    concerned = true;
                }
                _ => {}
            }
        }
        if !concerned {
            return Ok(());
        }
        observer.accepted = false;
        let depth = credentials.depth();
        ledger.hold(Id::K5, turn.machine, depth <= limits::AUTH_UPDATES_MAX, || {
            format!("{depth} credentials wait")
        })?;
        for head in credentials.heads() {
            let present = Seal { revision: head.revision, what: (head.deleted, head.digest) };
            let before = observer.revisions.insert(head.key.clone(), present);
            // Back to an old body within one turn is two steps.
            let follows = before.is_none_or(|before| {
                let steps = present.revision.checked_sub(before.revision);
                let same = before.what == present.what;
                steps.is_some_and(|steps| if same { steps != 1 } else { steps > 0 })
            });
            ledger.hold(Id::K1, turn.machine, follows, || {
                format!("{} was {before:?} and is {present:?}", head.key)
            })?;
        }
        Ok(())
    }

    /// What is in use is what is there, but for what the breaker holds and what is torn.
    pub(crate) fn quiet(
        &self,
        part: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        for index in part {
            let Some(machine) = machines.get(*index) else { continue };
            let Some(process) = &machine.process else { continue };
            if !machine.settings.credentials.enabled || machine.folder.is_away() {
                continue;
            }
            let wrong = differs(machine, process.node.credentials());
            ledger.hold(Id::K8, *index, wrong.is_none(), || wrong.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// What of the node's view is not what its folder holds.
fn differs(machine: &Machine, credentials: &Credentials) -> Option<String> {
    for (key, file) in machine.folder.files() {
        let File::Whole(content) = file else { continue };
        let head = credentials.head(key).filter(|head| !head.deleted && head.record.is_some());
        if head.is_none_or(|head| head.digest != digest(*content)) {
            return Some(format!("{key} is there and is not in use as it is"));
        }
    }
    let missing = credentials
        .heads()
        .filter(|head| !head.deleted && machine.folder.file(&head.key).is_none());
    let (missing, held) = (missing.count(), credentials.breaker_holds());
    (missing != held)
        .then(|| format!("{missing} are in use and not there, of which {held} are held"))
}

impl Observer {
    /// Notes what came in; whether it is about credentials.
    fn hear(&mut self, now: Instant, input: &Input) -> bool {
        match input {
            Input::Answered { ticket, answer: Answer::Credential(found) } => {
                let key = self.looks.remove(ticket);
                match (key, found) {
                    (Some(key), Found::Look(look)) => self.looked(now, key.handle(), &look.seen),
                    (None, Found::Listing(Ok(listing))) => self.listed(now, listing),
                    _ => {}
                }
                true
            }
            Input::Request { request: Request::Credential(command), .. } => {
                match command {
                    Command::Wrote { key, look } => {
                        self.looked(now, key.handle(), &look.seen);
                        if look.seen == Seen::Absent {
                            *self.deleted.entry(key.handle()).or_default() += 1;
                        }
                    }
                    Command::Accept => self.accepted = true,
                    Command::Hint { .. }
                    | Command::Rescan
                    | Command::Restore
                    | Command::Purge { .. } => {}
                }
                true
            }
            _ => false,
        }
    }

    fn looked(&mut self, now: Instant, handle: CredentialHandle, seen: &Seen) {
        match seen {
            Seen::Absent => {
                let first = self.absent.get(&handle).map_or(now, |(first, _)| *first);
                self.absent.insert(handle, (first, now));
            }
            Seen::Record { .. } | Seen::Invalid { .. } => {
                self.absent.remove(&handle);
            }
            Seen::Failed { .. } => {}
        }
    }

    /// What is not listed was looked for, and not found.
    fn listed(&mut self, now: Instant, listing: &Listing) {
        let found: BTreeSet<&Key> = listing.found.iter().map(|(key, _)| key).collect();
        let missing: Vec<CredentialHandle> =
            self.revisions.keys().filter(|key| !found.contains(key)).map(Key::handle).collect();
        missing.into_iter().for_each(|handle| self.looked(now, handle, &Seen::Absent));
        for key in found {
            self.absent.remove(&key.handle());
        }
    }

    fn evidence(&mut self, handle: CredentialHandle) -> bool {
        let by_word = self.deleted.remove(&handle).is_some() || self.accepted;
        let gap = limits::CREDENTIAL_ABSENCE_GAP;
        let missed =
            self.absent.get(&handle).is_some_and(|(first, last)| last.since(*first) >= gap);
        by_word || missed
    }
}
