//! Random entries against a model that keeps a whole map per revision.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::key_of;
use crate::kv::state::{Restoring, Wanted};
use crate::kv::*;
use crate::wire::{Blob, encode};

type Map = BTreeMap<(String, Vec<u8>), Version>;

/// What a store is, in the simplest way.
#[derive(Debug)]
struct Model {
    index: u64,
    now: u64,
    /// By revision; the last is the present.
    maps: Vec<Map>,
    compacted: u64,
    /// Time to live and deadline.
    leases: BTreeMap<u64, (u64, u64)>,
}

impl Model {
    fn revision(&self) -> u64 {
        self.maps.len() as u64 - 1
    }

    fn present(&self) -> &Map {
        self.maps.last().expect("the first map is empty")
    }

    /// The whole state as it would be, then its place at the next revision if it differs.
    fn write(&mut self, change: impl FnOnce(&mut Map, u64)) -> u64 {
        let (mut map, next) = (self.present().clone(), self.maps.len() as u64);
        change(&mut map, next);
        if map != *self.present() {
            self.maps.push(map);
        }
        self.revision()
    }

    fn apply(&mut self, now: u64, command: &Command) -> Outcome {
        self.index += 1;
        self.now = now;
        self.perform(command).unwrap_or_else(Outcome::Refused)
    }

    fn perform(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Transact(transaction) => self.transact(transaction),
            Command::Grant { ttl_ms } => {
                self.leases.insert(self.index, (*ttl_ms, self.now + ttl_ms));
                Ok(Outcome::Granted { lease: LeaseId(self.index), ttl_ms: *ttl_ms })
            }
            Command::KeepAlive { leases } => {
                let now = self.now;
                let ttls = leases.iter().map(|id| match self.leases.get_mut(&id.0) {
                    Some((ttl, deadline)) => {
                        *deadline = now + *ttl;
                        *ttl
                    }
                    None => 0,
                });
                Ok(Outcome::Renewed { ttls_ms: ttls.collect::<Vec<_>>().into() })
            }
            Command::Revoke { lease } => {
                if !self.leases.contains_key(&lease.0) {
                    return Err(Refusal::LeaseNotFound(*lease));
                }
                Ok(self.end(&[lease.0], Cause::Revoked))
            }
            Command::Expire => {
                let due = self.leases.iter().filter(|(_, (_, deadline))| *deadline <= self.now);
                let due: Vec<u64> = due.map(|(id, _)| *id).collect();
                Ok(self.end(&due, Cause::Expired))
            }
            Command::Compact { revision } if *revision > self.revision() => {
                Err(Refusal::Future { revision: self.revision() })
            }
            Command::Compact { revision } => {
                self.compacted = self.compacted.max(*revision);
                Ok(Outcome::Compacted { compact_revision: self.compacted })
            }
            Command::Acquire(acquire) => self.acquire(acquire),
            Command::Release { lock, hold } => {
                let found = self.line(lock).into_iter().find(|(fence, lease)| match hold {
                    Hold::Lease(id) => id.0 == *lease,
                    Hold::Fence(wanted) => wanted == fence,
                });
                let (_, lease) = found.ok_or(Refusal::NotHeld)?;
                let revision = self.write(|map, _| {
                    map.remove(&contender(lock, lease));
                });
                Ok(Outcome::Left { revision })
            }
            Command::Withdraw { lock, fence, revoke } => self.withdraw(lock, *fence, *revoke),
            Command::Bound(_) => Ok(Outcome::Bounded),
        }
    }

    fn end(&mut self, ids: &[u64], cause: Cause) -> Outcome {
        let before = self.present().len();
        let bound = |version: &Version| version.lease.is_some_and(|id| ids.contains(&id.0));
        let revision = self.write(|map, _| map.retain(|_, version| !bound(version)));
        for id in ids {
            self.leases.remove(id);
        }
        let deleted = before as u64 - self.present().len() as u64;
        Outcome::Ended { revision, leases: ids.len() as u64, deleted, cause }
    }

    /// Contenders of a lock: fence and lease, in order.
    fn line(&self, lock: &Lock) -> Vec<(u64, u64)> {
        let prefix = contender(lock, 0).1;
        let prefix = &prefix[..prefix.len() - 1];
        let found = self
            .present()
            .iter()
            .filter(|((space, key), _)| space == "_locks" && key.starts_with(prefix));
        let mut line: Vec<(u64, u64)> = found
            .map(|(_, held)| (held.create_revision, held.lease.expect("contenders are bound").0))
            .collect();
        line.sort();
        line
    }

    fn permits(&self, lock: &Lock) -> Option<u32> {
        let (_, lease) = *self.line(lock).first()?;
        let held = &self.present()[&contender(lock, lease)];
        Some(u32::from(held.value[0]))
    }

    fn acquire(&mut self, acquire: &Acquire) -> Result<Outcome, Refusal> {
        let Acquire { lock, lease, permits } = acquire;
        let line = self.line(lock);
        if let Some(present) = self.permits(lock).filter(|present| present != permits) {
            return Err(Refusal::PermitsDiffer { permits: present });
        }
        let id = match lease {
            Holder::Lease(id) if !self.leases.contains_key(&id.0) => {
                return Err(Refusal::LeaseNotFound(*id));
            }
            Holder::Lease(id) => id.0,
            Holder::Grant(ttl) => {
                self.leases.insert(self.index, (*ttl, self.now + ttl));
                self.index
            }
        };
        let (fence, place) = match line.iter().position(|(_, lease)| *lease == id) {
            Some(place) => (line[place].0, place),
            None => {
                let value = Blob::from(encode(permits));
                let fence = self.write(|map, next| {
                    put(map, contender(lock, id), (value, Some(LeaseId(id))), next);
                });
                (fence, line.len())
            }
        };
        Ok(Outcome::Contends { lease: LeaseId(id), fence, held: place < *permits as usize })
    }

    fn withdraw(&mut self, lock: &Lock, fence: u64, revoke: bool) -> Result<Outcome, Refusal> {
        let line = self.line(lock);
        let place = line.iter().position(|(other, _)| *other == fence).ok_or(Refusal::NotHeld)?;
        if place < self.permits(lock).expect("somebody stands here") as usize {
            return Err(Refusal::Held);
        }
        let id = line[place].1;
        let revision = self.write(|map, _| drop(map.remove(&contender(lock, id))));
        let bound = self.present().values().any(|held| held.lease == Some(LeaseId(id)));
        if revoke && !bound {
            self.leases.remove(&id);
        }
        Ok(Outcome::Left { revision })
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<Outcome, Refusal> {
        let space = transaction.namespace.as_str().to_owned();
        let before = self.present().clone();
        let at = |key: &Key| before.get(&(space.clone(), key.as_slice().to_vec()));
        let succeeded =
            transaction.compare.iter().all(|compare| fulfils(at(&compare.key), compare));
        let branch = if succeeded { &transaction.then } else { &transaction.otherwise };
        for branch in [&transaction.then, &transaction.otherwise] {
            if let Some(key) = written_twice(branch) {
                return Err(Refusal::Invalid(Invalid::WrittenTwice(key)));
            }
        }
        let (mut after, next) = (before.clone(), self.maps.len() as u64);
        let mut results = Vec::new();
        for operation in branch.iter() {
            results.push(match operation {
                Operation::Put { key, value, lease, previous } => {
                    let old = at(key);
                    let lease = match lease {
                        Binding::None => None,
                        Binding::Keep => old.and_then(|old| old.lease),
                        Binding::Lease(id) => Some(*id),
                    };
                    if let Some(id) = lease.filter(|id| !self.leases.contains_key(&id.0)) {
                        return Err(Refusal::LeaseNotFound(id));
                    }
                    let place = (space.clone(), key.as_slice().to_vec());
                    let new = put(&mut after, place, (value.clone(), lease), next);
                    let previous = old.filter(|_| *previous).cloned().map(Into::into);
                    let (create_revision, version) = (new.create_revision, new.version);
                    Done::Put { create_revision, version, lease, previous }
                }
                Operation::Delete(keys) => {
                    let meant =
                        |place: &(String, Vec<u8>)| place.0 == space && means(keys, &place.1);
                    after.retain(|place, _| !meant(place));
                    Done::Deleted {
                        count: before.keys().filter(|place| meant(place)).count() as u64,
                    }
                }
                Operation::Get(keys) => {
                    let found = before.iter();
                    let found =
                        found.filter(|(place, _)| place.0 == space && means(keys, &place.1));
                    let items = found.map(|((_, key), held)| Item {
                        key: Key::new(key).expect("a key"),
                        held: held.clone().into(),
                    });
                    Done::Got { items: items.collect::<Vec<_>>().into(), more: false }
                }
            });
        }
        let revision = self.write(|map, _| *map = after);
        Ok(Outcome::Transacted { succeeded, revision, results: results.into() })
    }
}

fn put(
    map: &mut Map,
    place: (String, Vec<u8>),
    (value, lease): (Blob, Option<LeaseId>),
    revision: u64,
) -> Version {
    let old = map.get(&place);
    let held = Version {
        value,
        create_revision: old.map_or(revision, |old| old.create_revision),
        mod_revision: revision,
        version: old.map_or(1, |old| old.version + 1),
        lease,
    };
    map.insert(place, held.clone());
    held
}

fn contender(lock: &Lock, lease: u64) -> (String, Vec<u8>) {
    let name = std::str::from_utf8(lock.name.as_slice()).expect("a name of these tests");
    ("_locks".to_owned(), format!("{}/{name}/{lease}", lock.namespace).into_bytes())
}

fn means(keys: &Keys, key: &[u8]) -> bool {
    match keys {
        Keys::One(one) => one.as_slice() == key,
        Keys::Prefix(prefix) => key.starts_with(prefix),
        Keys::Range { from, to } => key >= &**from && to.as_ref().is_none_or(|to| key < &**to),
    }
}

/// The first key of the later of two writes that could meet, over all short keys of these letters.
fn written_twice(branch: &[Operation]) -> Option<Blob> {
    let mut writes: Vec<Keys> = branch
        .iter()
        .filter_map(|operation| match operation {
            Operation::Put { key, .. } => Some(Keys::One(key.clone())),
            Operation::Delete(keys) => Some(keys.clone()),
            Operation::Get(_) => None,
        })
        .filter(|keys| candidates().iter().any(|key| means(keys, key)))
        .collect();
    let first = |keys: &Keys| match keys {
        Keys::One(key) => key.as_slice().to_vec(),
        Keys::Prefix(prefix) => prefix.to_vec(),
        Keys::Range { from, .. } => from.to_vec(),
    };
    let last = |keys: &Keys| candidates().into_iter().rfind(|key| means(keys, key));
    writes.sort_by_key(|keys| (first(keys), last(keys)));
    let pairs = writes.iter().zip(writes.iter().skip(1));
    let met = pairs
        .into_iter()
        .find(|(left, right)| candidates().iter().any(|key| means(left, key) && means(right, key)));
    met.map(|(_, right)| Blob::from(first(right)))
}

/// Every key of up to three letters that the strategies could name, and their neighbours.
fn candidates() -> Vec<Vec<u8>> {
    let letters = [b'\0', b'a', b'b', b'c', b'd'];
    let mut all: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..3 {
        let longer = all.iter().flat_map(|key| {
            letters.iter().map(move |letter| [key.as_slice(), &[*letter]].concat())
        });
        all = all.iter().cloned().chain(longer.collect::<Vec<_>>()).collect();
    }
    all.retain(|key| !key.is_empty());
    all.sort();
    all.dedup();
    all
}

fn fulfils(held: Option<&Version>, compare: &Compare) -> bool {
    fn is<T: Ord>(relation: Relation, left: T, right: T) -> bool {
        match relation {
            Relation::Equal => left == right,
            Relation::Unequal => left != right,
            Relation::Less => left < right,
            Relation::Greater => left > right,
        }
    }
    let number = |value: fn(&Version) -> u64| held.map_or(0, value);
    match &compare.than {
        Than::ModRevision(than) => is(compare.is, number(|held| held.mod_revision), *than),
        Than::CreateRevision(than) => is(compare.is, number(|held| held.create_revision), *than),
        Than::Version(than) => is(compare.is, number(|held| held.version), *than),
        Than::Lease(than) => is(compare.is, number(|held| held.lease.map_or(0, |id| id.0)), *than),
        Than::Value(than) => held.is_some_and(|held| is(compare.is, &held.value, than)),
    }
}

fn a_key() -> impl Strategy<Value = Key> {
    prop_oneof![Just("a"), Just("aa"), Just("ab"), Just("b"), Just("c")].prop_map(key_of)
}

fn some_keys() -> impl Strategy<Value = Keys> {
    let text = prop_oneof![Just(""), Just("a"), Just("ab"), Just("b"), Just("d")];
    prop_oneof![
        4 => a_key().prop_map(Keys::One),
        2 => text.clone().prop_map(|text| Keys::Prefix(Blob::from(text))),
        1 => (text.clone(), proptest::option::of(text)).prop_map(|(from, to)| Keys::Range {
            from: Blob::from(from),
            to: to.map(Blob::from),
        }),
    ]
}

fn an_operation() -> impl Strategy<Value = Operation> {
    let lease = prop_oneof![
        3 => Just(Binding::None),
        1 => Just(Binding::Keep),
        2 => (1_u64..40).prop_map(|id| Binding::Lease(LeaseId(id))),
    ];
    let value = "[xyz]{0,3}".prop_map(|text| Blob::from(text.as_str()));
    let put = (a_key(), value, lease, any::<bool>());
    let put = put.prop_map(|(key, value, lease, previous)| Operation::Put {
        key,
        value,
        lease,
        previous,
    });
    prop_oneof![
        4 => put,
        1 => some_keys().prop_map(Operation::Delete),
        1 => some_keys().prop_map(Operation::Get),
    ]
}

fn a_compare() -> impl Strategy<Value = Compare> {
    use Relation::{Equal, Greater, Less, Unequal};
    let is = prop_oneof![Just(Equal), Just(Unequal), Just(Less), Just(Greater)];
    let than = prop_oneof![
        (0_u64..9).prop_map(Than::ModRevision),
        (0_u64..9).prop_map(Than::CreateRevision),
        (0_u64..3).prop_map(Than::Version),
        (0_u64..40).prop_map(Than::Lease),
        "[xyz]{0,1}".prop_map(|text| Than::Value(Blob::from(text.as_str()))),
    ];
    (a_key(), is, than).prop_map(|(key, is, than)| Compare { key, is, than })
}

fn a_transaction() -> impl Strategy<Value = Command> {
    let branch = || proptest::collection::vec(an_operation(), 0..4);
    let compare = proptest::collection::vec(a_compare(), 0..2);
    let namespace = prop_oneof![Just("a"), Just("aa"), Just("b")];
    (namespace, compare, branch(), branch()).prop_map(|(namespace, compare, then, otherwise)| {
        Command::Transact(Transaction {
            namespace: namespace.parse().expect("a namespace"),
            compare: compare.into(),
            then: then.into(),
            otherwise: otherwise.into(),
        })
    })
}

fn a_lock_command() -> impl Strategy<Value = Command> {
    let lock = prop_oneof![Just("l"), Just("ll")].prop_map(|name| Lock {
        namespace: "a".parse().expect("a namespace"),
        name: LockName::new(name.as_bytes()).expect("a name"),
    });
    let holder = prop_oneof![
        2 => (1_u64..40).prop_map(|id| Holder::Lease(LeaseId(id))),
        1 => (1000_u64..9000).prop_map(Holder::Grant),
    ];
    let hold = prop_oneof![
        (1_u64..40).prop_map(|id| Hold::Lease(LeaseId(id))),
        (1_u64..40).prop_map(Hold::Fence),
    ];
    let permits = prop_oneof![3 => Just(2_u32), 1 => Just(1)];
    prop_oneof![
        4 => (lock.clone(), holder, permits).prop_map(|(lock, lease, permits)| {
            Command::Acquire(Acquire { lock, lease, permits })
        }),
        2 => (lock.clone(), hold).prop_map(|(lock, hold)| Command::Release { lock, hold }),
        1 => (lock, 1_u64..40, any::<bool>()).prop_map(|(lock, fence, revoke)| {
            Command::Withdraw { lock, fence, revoke }
        }),
    ]
}

fn a_command() -> impl Strategy<Value = Command> {
    let leases = proptest::collection::vec((1_u64..40).prop_map(LeaseId), 0..3);
    prop_oneof![
        10 => a_transaction(),
        3 => (1000_u64..9000).prop_map(|ttl_ms| Command::Grant { ttl_ms }),
        1 => leases.prop_map(|leases| Command::KeepAlive { leases: leases.into() }),
        1 => (1_u64..40).prop_map(|id| Command::Revoke { lease: LeaseId(id) }),
        2 => Just(Command::Expire),
        1 => (0_u64..30).prop_map(|revision| Command::Compact { revision }),
        4 => a_lock_command(),
    ]
}

/// Everything of `state` is what the model says, at every revision that can be read.
fn compare_all(model: &Model, state: &State) {
    assert_eq!(state.revision(), model.revision());
    assert_eq!(state.compact_revision(), model.compacted);
    let leases: BTreeMap<u64, (u64, u64)> =
        state.leases().map(|(id, lease)| (id.0, (lease.ttl_ms, lease.deadline))).collect();
    assert_eq!(leases, model.leases);
    for revision in model.compacted..=model.revision() {
        assert_eq!(listed(state, revision), model.maps[revision as usize], "at {revision}");
    }
    if let Some(before) = model.compacted.checked_sub(1) {
        assert!(state.get(&Path::new(&space("a"), &key_of("a")), Some(before)).is_err());
    }
    // History, replayed over what was, makes what is (KV-3: every change is there, once).
    let mut replayed = model.maps[model.compacted as usize].clone();
    for (revision, changed) in state.since(0) {
        for change in &changed.changes {
            let place = (change.path.namespace().to_owned(), change.path.key().to_vec());
            assert_eq!(change.previous.as_deref(), replayed.get(&place));
            match &change.what {
                What::Put(held) => replayed.insert(place, Version::clone(held)),
                What::Delete(_) => replayed.remove(&place),
            };
        }
        assert_eq!(replayed, model.maps[revision as usize], "through {revision}");
    }
    assert_eq!(&replayed, model.present());
}

fn space(text: &str) -> Namespace {
    text.parse().expect("a namespace")
}

/// All namespaces, in pages of two.
fn listed(state: &State, revision: u64) -> Map {
    let mut all = Map::new();
    for namespace in ["a", "aa", "b", "_locks"].map(space) {
        let (keys, mut after) = (Keys::Prefix(Blob::default()), None::<Key>);
        loop {
            let wanted = Wanted {
                namespace: &namespace,
                keys: &keys,
                after: after.as_ref(),
                revision: Some(revision),
                limit: 2,
                keys_only: false,
            };
            let page = state.page(&wanted).expect("not compacted");
            for item in page.items.iter() {
                let path = Path::new(&namespace, &item.key);
                let got = state.get(&path, Some(revision)).expect("not compacted");
                assert_eq!(got, Some(&item.held), "a page shows what a read shows");
                let place = (namespace.as_str().to_owned(), item.key.as_slice().to_vec());
                all.insert(place, Version::clone(&item.held));
            }
            after = page.items.last().map(|item| item.key.clone());
            if !page.more {
                break;
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_log_makes_what_the_model_says_and_a_restored_state_is_the_state(
        entries in proptest::collection::vec((0_u64..3000, a_command()), 1..40),
        chunk in 1_usize..200,
    ) {
        let mut model = Model {
            index: 0,
            now: 0,
            maps: vec![Map::new()],
            compacted: 0,
            leases: BTreeMap::new(),
        };
        let mut state = State::default();
        let mut now = 0;
        for (passed, command) in &entries {
            now += passed;
            let before = state.clone();
            let expected = model.apply(now, command);
            let outcome = state.apply(model.index, now, &encode(command));
            prop_assert_eq!(&outcome, &expected, "{:?}", command);
            // KV-8: a refused write changed nothing.
            if matches!(outcome, Outcome::Refused(_)) {
                prop_assert_eq!(before.digest(), state.digest());
                prop_assert_eq!(before.revision(), state.revision());
            }
        }
        compare_all(&model, &state);
        let (mut section, mut restoring) = (state.section(), Restoring::default());
        while let Some(bytes) = section.chunk(chunk) {
            prop_assert!(bytes.len() <= chunk);
            restoring.push(&bytes).expect("a piece of a section");
        }
        prop_assert_eq!(restoring.finish().expect("a whole section"), state);
    }
}
