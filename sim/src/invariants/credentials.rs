//! Promises about credentials.
//!
//! The folder of each machine is the truth. What a look answered is noted when its answer is handed over, on the
//! machine's own clock, so that every removal can be asked for its evidence; in [`looks`], in which order that
//! counts.
//!
//! Absent on purpose: events of a bus and shared stores, which nothing in a run has yet.

mod looks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::ids::{CredentialHandle, Ticket};
use quorate_core::limits;
use quorate_core::node::credentials::{
    Answer as Answered, Change, Command, Credentials, Digest, Errand, Event, Found, Head, Key,
    Listing, Seen,
};
use quorate_core::node::{Announcement, Answer, Call, Effect, Input, Keyspace, Reply, Request};
use quorate_core::time::Instant;
use quorate_core::wire::Blob;

use self::looks::{Around, Looks};
use super::{Id, Ledger, Turn};
use crate::folder::{File, digest};
use crate::verdict::Failure;
use crate::world::machine::Machine;

/// What is known of the credentials of one run.
#[derive(Debug, Default)]
pub struct Watch {
    observers: BTreeMap<usize, Observer>,
    /// By machine and row of its store: what each value that was ever written stands for.
    kept: BTreeMap<(usize, String), BTreeMap<Blob, Arc<Head>>>,
}

/// What is known of one process.
#[derive(Debug, Default)]
struct Observer {
    /// What it knew after its last turn; none before the first, in which it knows what its store kept.
    heads: Option<BTreeMap<Key, Arc<Head>>>,
    /// First and last look in a row that found nothing, and which look the last one was.
    absent: BTreeMap<CredentialHandle, (Instant, Instant, u64)>,
    /// Which key a look is for.
    asked: BTreeMap<Ticket, Key>,
    looks: Looks,
    /// A surface deleted it.
    deleted: BTreeMap<CredentialHandle, u64>,
    /// An operator has accepted whatever is missing.
    accepted: bool,
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
        let first = observer.heads.is_none();
        let before = observer.heads.take().unwrap_or_default();
        let mut told = Told::default();
        for input in turn.inputs {
            told.concerned |= observer.hear(now, &before, input);
        }
        for effect in turn.effects {
            observer.see(turn.machine, effect, &mut told, ledger)?;
        }
        if !told.concerned && !first {
            observer.heads = Some(before);
            return Ok(());
        }
        let accepted = std::mem::take(&mut observer.accepted);
        let depth = credentials.depth();
        ledger.hold(Id::K5, turn.machine, depth <= limits::AUTH_UPDATES_MAX, || {
            format!("{depth} credentials wait")
        })?;
        let heads = credentials.heads().map(|head| (head.key.clone(), Arc::clone(head)));
        let heads: BTreeMap<Key, Arc<Head>> = heads.collect();
        for head in heads.values().filter(|_| !first) {
            told.judge(turn.machine, before.get(&head.key), head, ledger)?;
        }
        if turn.inputs.len() == 1 && !accepted {
            told.at_once(turn.machine, &heads, ledger)?;
        }
        if first {
            outlived(turn, &self.kept, &heads, ledger)?;
        }
        for (row, value) in std::mem::take(&mut told.written) {
            let head = key_of(&row).and_then(|key| heads.get(&key));
            let values = self.kept.entry((turn.machine, row)).or_default();
            values.extend(head.map(|head| (value, Arc::clone(head))));
        }
        let removed = heads.iter().filter(|(_, head)| told.missed.contains(&head.handle));
        let removed = removed.map(|(key, _)| key.clone()).collect();
        let (machine, before, after) = (turn.machine, &before, credentials);
        observer.looks.judge(&Around { machine, now, before, after, removed }, ledger)?;
        observer.heads = Some(heads);
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

/// K1, of one life and the next: what the store kept is known again, or something later.
fn outlived(
    turn: &Turn<'_>,
    kept: &BTreeMap<(usize, String), BTreeMap<Blob, Arc<Head>>>,
    heads: &BTreeMap<Key, Arc<Head>>,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let disk = turn.machines.get(turn.machine).and_then(|machine| machine.disk.as_ref());
    for ((keyspace, row), value) in disk.iter().flat_map(|disk| disk.image()) {
        let local = *keyspace == Keyspace::Local;
        let values = kept.get(&(turn.machine, row.clone())).filter(|_| local);
        let Some(was) = values.and_then(|values| values.get(value)) else { continue };
        let head = heads.get(&was.key);
        let follows = head.is_some_and(|head| {
            head.revision > was.revision
                || (head.revision == was.revision && what(head) == what(was))
        });
        ledger.hold(Id::K1, turn.machine, follows, || {
            format!("a former life kept {was:?}, and this one knows {head:?}")
        })?;
    }
    Ok(())
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

/// What a turn wrote and told of credentials.
#[derive(Debug, Default)]
struct Told {
    /// Whether it was about credentials at all.
    concerned: bool,
    changes: BTreeMap<CredentialHandle, usize>,
    rows: BTreeMap<CredentialHandle, usize>,
    /// The last value of each row.
    written: BTreeMap<String, Blob>,
    /// What was removed without a word.
    missed: BTreeSet<CredentialHandle>,
}

impl Told {
    /// K1 and K2, of one head and of what it was before.
    fn judge(
        &self,
        machine: usize,
        known: Option<&Arc<Head>>,
        head: &Head,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let [rows, changes] = [&self.rows, &self.changes]
            .map(|counts| counts.get(&head.handle).copied().unwrap_or_default());
        let key = &head.key;
        let same = known.is_some_and(|known| what(known) == what(head));
        // Back to an old body within one turn is two changes.
        ledger.hold(Id::K2, machine, rows == changes && !(same && changes == 1), || {
            format!("{key} was {known:?} and is {head:?}: {rows} rows, {changes} changes")
        })?;
        let follows = known.is_none_or(|known| {
            let steps = head.revision.checked_sub(known.revision);
            steps.is_some_and(|steps| if same { steps != 1 } else { steps > 0 })
        });
        ledger.hold(Id::K1, machine, follows, || format!("{key} was {known:?} and is {head:?}"))
    }

    /// K7: without a word at most a fifth goes at once, or three.
    fn at_once(
        &self,
        machine: usize,
        heads: &BTreeMap<Key, Arc<Head>>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let gone = self.missed.len();
        let known = heads.values().filter(|head| !head.deleted).count() + gone;
        if gone == 0 {
            return Ok(());
        }
        ledger.hold(Id::K7, machine, gone <= ALWAYS_MAX.max(known / SHARE), || {
            format!("{gone} of {known} were removed at once, without a word")
        })
    }
}

impl Observer {
    /// Notes what went out.
    fn see(
        &mut self,
        machine: usize,
        effect: &Effect,
        told: &mut Told,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        match effect {
            Effect::Call { ticket, call: Call::Credential(errand) } => {
                told.concerned = true;
                if let Errand::Look { key } = errand {
                    self.asked.insert(*ticket, key.clone());
                    self.looks.begins(machine, *ticket, key, ledger)?;
                }
            }
            Effect::Announce(Announcement::Credential(Event::Changed {
                handle, change, ..
            })) => {
                told.concerned = true;
                *told.changes.entry(*handle).or_default() += 1;
                if *change == Change::Removed {
                    let by_word = self.deleted.remove(handle).is_some();
                    if !by_word {
                        told.missed.insert(*handle);
                    }
                    let evidence = by_word || self.is_missed(*handle);
                    ledger.hold(Id::K7, machine, evidence, || {
                        format!("{handle} was removed without a word, and was not missed twice")
                    })?;
                }
            }
            Effect::Store { batch, .. } => {
                for (keyspace, row, value) in batch {
                    let key = key_of(row).filter(|_| *keyspace == Keyspace::Local);
                    let Some((key, value)) = key.zip(value.as_ref()) else { continue };
                    told.concerned = true;
                    *told.rows.entry(key.handle()).or_default() += 1;
                    told.written.insert(row.clone(), value.clone());
                }
            }
            Effect::Announce(Announcement::Credential(_))
            | Effect::Reply { reply: Reply::Credential(Answered::Applied { .. }), .. } => {
                told.concerned = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what came in; whether it is about credentials.
    fn hear(&mut self, now: Instant, known: &BTreeMap<Key, Arc<Head>>, input: &Input) -> bool {
        self.looks.hear(now, input);
        match input {
            Input::Answered { ticket, answer: Answer::Credential(found) } => {
                let key = self.asked.remove(ticket);
                match (key, found) {
                    (Some(key), Found::Look(look)) => {
                        self.looked(now, key.handle(), look.order, &look.seen);
                    }
                    (None, Found::Listing(Ok(listing))) => self.listed(now, known, listing),
                    _ => {}
                }
                true
            }
            Input::Request { request: Request::Credential(command), .. } => {
                match command {
                    Command::Wrote { key, look } => {
                        self.looked(now, key.handle(), look.order, &look.seen);
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

    fn looked(&mut self, now: Instant, handle: CredentialHandle, order: u64, seen: &Seen) {
        match seen {
            Seen::Absent => {
                let first = self.absent.get(&handle).map_or(now, |(first, ..)| *first);
                self.absent.insert(handle, (first, now, order));
            }
            Seen::Record { .. } | Seen::Invalid { .. } => {
                self.absent.remove(&handle);
            }
            Seen::Failed { .. } => {}
        }
    }

    /// What is not listed was looked for, and not found.
    fn listed(&mut self, now: Instant, known: &BTreeMap<Key, Arc<Head>>, listing: &Listing) {
        let found: BTreeSet<&Key> = listing.found.iter().map(|(key, _)| key).collect();
        let missing: Vec<CredentialHandle> =
            known.keys().filter(|key| !found.contains(key)).map(Key::handle).collect();
        missing
            .into_iter()
            .for_each(|handle| self.looked(now, handle, listing.order, &Seen::Absent));
        // A list that began before a look says nothing against it.
        let handles: BTreeSet<CredentialHandle> = found.into_iter().map(Key::handle).collect();
        self.absent
            .retain(|handle, (_, _, order)| *order > listing.order || !handles.contains(handle));
    }

    /// Whether it was missed twice, or an operator has accepted whatever is missing.
    fn is_missed(&self, handle: CredentialHandle) -> bool {
        let gap = limits::CREDENTIAL_ABSENCE_GAP;
        let absent = self.absent.get(&handle);
        self.accepted || absent.is_some_and(|(first, last, _)| last.since(*first) >= gap)
    }
}

/// What a revision stands for.
fn what(head: &Head) -> (bool, Digest) {
    (head.deleted, head.digest)
}

/// Whose row of the local store it is, if it is one of credentials.
fn key_of(row: &str) -> Option<Key> {
    let (tenant, id) = row.strip_prefix("credentials/")?.split_once('/')?;
    Key::new(tenant, id).ok()
}

/// So many may always be missed at once, and else one in so many: `credentials.md` §3.
const ALWAYS_MAX: usize = 3;
const SHARE: usize = 5;
