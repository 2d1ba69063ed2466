//! Transactions: conditions and reads see the state before, writes share one revision.

use std::sync::Arc;

use super::super::command::{
    Binding, Compare, Done, Invalid, Item, LeaseId, Limit, Operation, Outcome, Refusal, Relation,
    Than, Transaction, Version,
};
use super::super::name::{Key, Keys, Namespace, Path};
use super::{Cause, State, Write, Writes};
use crate::limits;
use crate::wire::Blob;

impl State {
    pub(super) fn transact(&mut self, transaction: Transaction) -> Result<Outcome, Refusal> {
        transaction.check().map_err(Refusal::Invalid)?;
        let Transaction { namespace, compare, then, otherwise } = transaction;
        let succeeded = compare.iter().all(|compare| self.fulfils(&namespace, compare));
        let branch = if succeeded { then.0 } else { otherwise.0 };
        let (mut writes, mut results) = (Writes::new(), Vec::with_capacity(branch.len()));
        for operation in branch {
            results.push(self.prepare(&namespace, operation, &mut writes)?);
        }
        check_results(&results)?;
        self.check_room(&writes)?;
        self.check_leases(&writes)?;
        let revision = self.commit(writes);
        Ok(Outcome::Transacted { succeeded, revision, results: results.into() })
    }

    fn fulfils(&self, namespace: &Namespace, compare: &Compare) -> bool {
        let held = self.live.get(&Path::new(namespace, &compare.key));
        let number = |read: fn(&Version) -> u64| held.map_or(0, |held| read(held));
        let is = compare.is;
        match &compare.than {
            Than::ModRevision(than) => is.holds(&number(|held| held.mod_revision), than),
            Than::CreateRevision(than) => is.holds(&number(|held| held.create_revision), than),
            Than::Version(than) => is.holds(&number(|held| held.version), than),
            Than::Lease(than) => is.holds(&number(|held| held.lease.map_or(0, |id| id.0)), than),
            Than::Value(than) => held.is_some_and(|held| is.holds(&held.value, than)),
        }
    }

    /// What `operation` answers, and what it will write.
    fn prepare(
        &self,
        namespace: &Namespace,
        operation: Operation,
        writes: &mut Writes,
    ) -> Result<Done, Refusal> {
        match operation {
            Operation::Put { key, value, lease, previous } => {
                self.prepare_put(Path::new(namespace, &key), value, (lease, previous), writes)
            }
            Operation::Delete(keys) => {
                let mut count = 0;
                for path in self.paths(namespace, &keys) {
                    writes.insert(path, Write::Delete(Cause::Deleted));
                    count += 1;
                }
                Ok(Done::Deleted { count })
            }
            Operation::Get(keys) => Ok(self.got(namespace, &keys)),
        }
    }

    fn prepare_put(
        &self,
        path: Path,
        value: Blob,
        (binding, previous): (Binding, bool),
        writes: &mut Writes,
    ) -> Result<Done, Refusal> {
        let before = self.live.get(&path);
        let lease = match binding {
            Binding::None => None,
            Binding::Lease(lease) => Some(lease),
            Binding::Keep => before.and_then(|before| before.lease),
        };
        if let Some(lease) = lease.filter(|lease| !self.leases.contains_key(lease)) {
            return Err(Refusal::LeaseNotFound(lease));
        }
        let done = Done::Put {
            create_revision: before.map_or(self.revision + 1, |before| before.create_revision),
            version: before.map_or(1, |before| before.version + 1),
            lease,
            previous: before.filter(|_| previous).cloned(),
        };
        writes.insert(path, Write::Put { value, lease });
        Ok(done)
    }

    fn got(&self, namespace: &Namespace, keys: &Keys) -> Done {
        let (mut items, mut more, mut bytes) = (Vec::new(), false, 0);
        let span = keys.span(namespace);
        let found = span.bounds().into_iter().flat_map(|span| self.live.range::<_, [u8]>(span));
        for (path, held) in found {
            // One beyond what fits, so that the check of the whole answer sees that it does not.
            if items.len() == limits::KV_PAGE_ITEMS_MAX || bytes > limits::KV_RESULT_BYTES_MAX {
                more = true;
                break;
            }
            bytes += path.key().len() + held.value.len();
            let key = Key::new(path.key()).expect("a path ends with a key");
            items.push(Item { key, held: Arc::clone(held) });
        }
        Done::Got { items: items.into(), more }
    }

    fn paths(&self, namespace: &Namespace, keys: &Keys) -> Vec<Path> {
        let span = keys.span(namespace);
        let Some(bounds) = span.bounds() else { return Vec::new() };
        self.live.range::<_, [u8]>(bounds).map(|(path, _)| path.clone()).collect()
    }

    /// Whether the leases that `writes` bind to have room, leaving apart what the same writes unbind.
    fn check_leases(&self, writes: &Writes) -> Result<(), Refusal> {
        let mut more: std::collections::BTreeMap<LeaseId, i64> = Default::default();
        for (path, write) in writes {
            let before = self.live.get(path).and_then(|before| before.lease);
            let after = match write {
                Write::Put { lease, .. } => *lease,
                Write::Delete(_) => None,
            };
            if before != after {
                before.into_iter().for_each(|lease| *more.entry(lease).or_default() -= 1);
                after.into_iter().for_each(|lease| *more.entry(lease).or_default() += 1);
            }
        }
        let full = more.into_iter().filter(|(_, more)| *more > 0).any(|(lease, more)| {
            let keys = self.leases.get(&lease).map_or(0, |lease| lease.keys.len() as u64);
            keys.saturating_add_signed(more) > self.bounds.lease_keys_max
        });
        if full { Err(Refusal::LimitReached(Limit::LeaseKeys)) } else { Ok(()) }
    }
}

impl Relation {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Relation::Equal => left == right,
            Relation::Unequal => left != right,
            Relation::Less => left < right,
            Relation::Greater => left > right,
        }
    }
}

fn check_results(results: &[Done]) -> Result<(), Refusal> {
    let bytes = results.iter().map(|done| match done {
        Done::Put { previous, .. } => previous.as_ref().map_or(0, |held| held.value.len()),
        Done::Deleted { .. } => 0,
        Done::Got { items, .. } => {
            items.iter().map(|item| item.key.as_slice().len() + item.held.value.len()).sum()
        }
    });
    let fits = bytes.sum::<usize>() <= limits::KV_RESULT_BYTES_MAX;
    if fits { Ok(()) } else { Err(Refusal::Invalid(Invalid::Results)) }
}
