//! Pools that callers made: what all nodes have agreed on, and what a change of it writes.
//!
//! The agreed store keeps a definition under `pool/<name>`, and under `index/<first hex digit of a handle>` which
//! credential is in which of these pools. A change is one transaction over the keys that it touches, each compared with
//! the revision at which it was read: of two changes that touch one pool or one credential only one succeeds, and the
//! other is planned anew.
//!
//! A credential that is put into a pool gets an epoch above every revision so far, so that what was learnt of it before
//! says nothing about it: an account that is added again is a new one.
//!
//! Absent on purpose: reading and writing, which are the host's; pools of the document, which nobody changes here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Definition, Listed, Members, Name, Refusal};
use crate::ids::CredentialHandle;
use crate::limits;
use crate::wire::Blob;

/// The namespace of the agreed store.
pub const NAMESPACE: &str = "pools";

/// What the store held at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Of the store.
    revision: u64,
    /// With the revision of each.
    pools: BTreeMap<Name, (Definition, u64)>,
    /// By key, with the revision of each.
    index: BTreeMap<String, (Index, u64)>,
}

/// Which credential is in which pool.
type Index = BTreeMap<CredentialHandle, Name>;

/// A caller's wish about what a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Make a pool.
    Create(Definition),
    /// Replace what it is.
    Set(Definition),
    /// Remove it.
    Remove,
    /// Put a credential in at the end, or change its share.
    Add(Listed),
    /// Take a credential out.
    Drop(CredentialHandle),
    /// Say what is reset once the pool is back; empty: nothing.
    SetAuthReset(String),
}

/// What a wish comes to: one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Keys, and the revision of the last change of each; 0: there is none.
    pub compare: Vec<(String, u64)>,
    /// Keys with what they hold from then on.
    pub put: Vec<(String, Blob)>,
    /// Keys that go.
    pub delete: Vec<String>,
    /// What the pool was.
    pub before: Option<Definition>,
    /// What it is then.
    pub after: Option<Definition>,
}

impl Agreed {
    /// What `rows` (key, value, revision of its last change) say at `revision`. What is no pool is left out.
    pub fn read<'a>(
        revision: u64,
        rows: impl IntoIterator<Item = (&'a [u8], &'a [u8], u64)>,
    ) -> Agreed {
        let mut agreed = Agreed { revision, ..Agreed::default() };
        for (key, value, changed) in rows {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            if let Some(name) = key.strip_prefix(POOL).and_then(|name| name.parse().ok()) {
                if let Ok(definition) = serde_json::from_slice::<Definition>(value) {
                    agreed.pools.insert(name, (definition, changed));
                }
            } else if key.starts_with(INDEX)
                && let Ok(index) = serde_json::from_slice::<Index>(value)
            {
                agreed.index.insert(key.to_owned(), (index, changed));
            }
        }
        agreed
    }

    /// The revision at which it was so.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Every pool.
    pub fn pools(&self) -> BTreeMap<Name, Definition> {
        let pools = self.pools.iter();
        pools.map(|(name, (definition, _))| (name.clone(), definition.clone())).collect()
    }

    /// What `wish` about `pool` comes to, where `document` defines the pools that nobody changes here.
    pub fn change(
        &self,
        pool: &Name,
        wish: Wish,
        document: &BTreeMap<Name, Definition>,
    ) -> Result<Change, Refusal> {
        let known = self.pools.get(pool);
        let before = known.map(|(definition, _)| definition);
        let mut after = after(pool, wish, before, document)?;
        if before.is_none() && self.pools.len() + document.len() >= limits::POOLS_MAX {
            return Err(Refusal::Full { what: "pools".to_owned(), limit: limits::POOLS_MAX });
        }
        if let Some(after) = &mut after {
            self.mint(before, after);
            after.check().map_err(|wrong| {
                let super::definition::DefinitionError { field, detail } = wrong;
                Refusal::Invalid { field, detail }
            })?;
        }
        let mut change = Change {
            compare: vec![(key(pool), known.map_or(0, |(_, changed)| *changed))],
            put: Vec::new(),
            delete: Vec::new(),
            before: before.cloned(),
            after: after.clone(),
        };
        match &after {
            Some(after) => change.put.push((key(pool), json(after))),
            None => change.delete.push(key(pool)),
        }
        self.index(pool, &mut change, document)?;
        Ok(change)
    }

    /// Gives credentials that were not in the pool an epoch of their own.
    fn mint(&self, before: Option<&Definition>, after: &mut Definition) {
        let Members::Listed(members) = &mut after.members else { return };
        let known: BTreeMap<&str, u64> = before.map(listed).unwrap_or_default();
        for member in members {
            let epoch = known.get(member.credential.as_str()).copied();
            member.epoch = epoch.unwrap_or(self.revision + 1);
        }
    }

    /// Notes who comes and who goes; a credential is in one pool at most.
    fn index(
        &self,
        pool: &Name,
        change: &mut Change,
        document: &BTreeMap<Name, Definition>,
    ) -> Result<(), Refusal> {
        let [was, is] = [&change.before, &change.after]
            .map(|definition| definition.as_ref().map(handles).unwrap_or_default());
        let mut touched: BTreeMap<String, Index> = BTreeMap::new();
        let row = |handle: &CredentialHandle| {
            let key = index_key(*handle);
            let row = self.index.get(&key).map(|(index, _)| index.clone()).unwrap_or_default();
            (key, row)
        };
        for handle in was.difference(&is) {
            let (key, fresh) = row(handle);
            touched.entry(key).or_insert(fresh).remove(handle);
        }
        for handle in is.difference(&was) {
            let in_document = document.iter().find(|(_, other)| handles(other).contains(handle));
            let (key, fresh) = row(handle);
            let index = touched.entry(key).or_insert(fresh);
            let other = in_document.map(|(name, _)| name).or(index.get(handle));
            if let Some(other) = other {
                return Err(Refusal::CredentialPooled { pool: other.clone(), member: *handle });
            }
            index.insert(*handle, pool.clone());
        }
        for (key, index) in touched {
            let changed = self.index.get(&key).map_or(0, |(_, changed)| *changed);
            change.compare.push((key.clone(), changed));
            change.put.push((key, json(&index)));
        }
        Ok(())
    }
}

/// What the pool is once the wish is done; `None`: it is gone.
fn after(
    pool: &Name,
    wish: Wish,
    before: Option<&Definition>,
    document: &BTreeMap<Name, Definition>,
) -> Result<Option<Definition>, Refusal> {
    let is_managed = document.contains_key(pool);
    if let Wish::Create(definition) = wish {
        return match is_managed || before.is_some() {
            true => Err(Refusal::PoolExists { pool: pool.clone() }),
            false => Ok(Some(definition)),
        };
    }
    if is_managed {
        return Err(Refusal::ManagedByConfig { pool: pool.clone() });
    }
    let mut after = before.cloned().ok_or_else(|| Refusal::NoPool { pool: pool.clone() })?;
    match wish {
        Wish::Create(definition) | Wish::Set(definition) => after = definition,
        Wish::Remove => return Ok(None),
        Wish::SetAuthReset(target) => after.auth_reset_target = target,
        Wish::Add(member) => {
            let members = listed_members(&mut after)?;
            match members.iter_mut().find(|one| one.credential == member.credential) {
                Some(known) => known.weight = member.weight,
                None => members.push(member),
            }
        }
        Wish::Drop(member) => {
            let members = listed_members(&mut after)?;
            let count = members.len();
            members.retain(|one| one.handle() != member);
            if members.len() == count {
                return Err(Refusal::NoMember { pool: pool.clone(), member });
            }
        }
    }
    Ok(Some(after))
}

fn listed_members(definition: &mut Definition) -> Result<&mut Vec<Listed>, Refusal> {
    match &mut definition.members {
        Members::Listed(members) => Ok(members),
        Members::Of { provider } => {
            let detail = format!("are all credentials of `{provider}`; change the pool as a whole");
            Err(Refusal::Invalid { field: "members".to_owned(), detail })
        }
    }
}

fn listed(definition: &Definition) -> BTreeMap<&str, u64> {
    match &definition.members {
        Members::Listed(members) => {
            members.iter().map(|one| (one.credential.as_str(), one.epoch)).collect()
        }
        Members::Of { .. } => BTreeMap::new(),
    }
}

fn handles(definition: &Definition) -> BTreeSet<CredentialHandle> {
    match &definition.members {
        Members::Listed(members) => members.iter().map(Listed::handle).collect(),
        Members::Of { .. } => BTreeSet::new(),
    }
}

fn key(pool: &Name) -> String {
    format!("{POOL}{pool}")
}

fn index_key(handle: CredentialHandle) -> String {
    let first = handle.to_string().chars().next().unwrap_or('0');
    format!("{INDEX}{first}")
}

fn json(value: &impl Serialize) -> Blob {
    Blob::from(serde_json::to_vec(value).expect("it has only texts for keys"))
}

const POOL: &str = "pool/";
const INDEX: &str = "index/";

#[cfg(test)]
mod tests {
    use super::*;

    /// The store, as far as pools see it.
    #[derive(Default)]
    struct Store {
        revision: u64,
        rows: BTreeMap<String, (Blob, u64)>,
    }

    impl Store {
        fn read(&self) -> Agreed {
            let rows = self.rows.iter();
            let rows =
                rows.map(|(key, (value, changed))| (key.as_bytes(), value.as_slice(), *changed));
            Agreed::read(self.revision, rows)
        }

        /// Whether the conditions held.
        fn transact(&mut self, change: &Change) -> bool {
            let current = |key: &String| self.rows.get(key).map_or(0, |(_, changed)| *changed);
            if change.compare.iter().any(|(key, changed)| current(key) != *changed) {
                return false;
            }
            self.revision += 1;
            for key in &change.delete {
                self.rows.remove(key);
            }
            for (key, value) in &change.put {
                self.rows.insert(key.clone(), (value.clone(), self.revision));
            }
            true
        }

        fn wish(&mut self, pool: &str, wish: Wish) -> Result<Definition, Refusal> {
            let change = self.read().change(&name(pool), wish, &document())?;
            assert!(self.transact(&change), "nobody else writes");
            Ok(change.after.unwrap_or_default())
        }
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn one(credential: &str) -> Listed {
        Listed { credential: credential.to_owned(), weight: None, epoch: 1 }
    }

    fn of(credentials: &[&str]) -> Definition {
        let members = Members::Listed(credentials.iter().map(|id| one(id)).collect());
        Definition { members, ..Definition::default() }
    }

    fn document() -> BTreeMap<Name, Definition> {
        BTreeMap::from([(name("fixed"), of(&["d1"]))])
    }

    fn epochs(definition: &Definition) -> Vec<u64> {
        listed(definition).into_values().collect()
    }

    #[test]
    fn a_credential_is_in_one_pool_at_most_and_a_new_one_when_it_is_added_again() {
        let mut store = Store::default();
        assert_eq!(epochs(&store.wish("a", Wish::Create(of(&["x", "y"]))).expect("made")), [1, 1]);
        let taken = store.wish("b", Wish::Create(of(&["y"]))).expect_err("it is in a");
        assert_eq!(taken.code(), "credential_pooled");
        let taken = store.wish("b", Wish::Create(of(&["d1"]))).expect_err("it is the document's");
        assert_eq!(taken.code(), "credential_pooled");
        let handle = one("y").handle();
        store.wish("a", Wish::Drop(handle)).expect("it is in");
        store.wish("b", Wish::Create(of(&["y"]))).expect("it is free");
        store.wish("b", Wish::Remove).expect("it is there");
        let back = store.wish("a", Wish::Add(one("y"))).expect("it is free");
        assert_eq!(epochs(&back), [1, 5], "x stays who it was");
        let heavier = Listed { weight: Some(7), ..one("y") };
        assert_eq!(epochs(&store.wish("a", Wish::Add(heavier)).expect("another share")), [1, 5]);
    }

    #[test]
    fn of_two_changes_that_were_planned_alike_one_succeeds() {
        let mut store = Store::default();
        let both = ["a", "b"].map(|pool| {
            let wish = Wish::Create(of(&["x"]));
            store.read().change(&name(pool), wish, &document()).expect("it is free")
        });
        assert_eq!(both.each_ref().map(|change| store.transact(change)), [true, false]);
    }

    #[test]
    fn each_refusal_says_what_is_in_the_way() {
        let mut store = Store::default();
        store.wish("a", Wish::Create(of(&["x"]))).expect("made");
        let everyone = Members::Of { provider: "codex".to_owned() };
        let everyone = Definition { members: everyone, ..Definition::default() };
        store.wish("all", Wish::Create(everyone)).expect("made");
        for (pool, wish, code) in [
            ("a", Wish::Create(of(&["z"])), "pool_exists"),
            ("fixed", Wish::Create(of(&["z"])), "pool_exists"),
            ("fixed", Wish::Set(of(&["z"])), "managed_by_config"),
            ("fixed", Wish::Remove, "managed_by_config"),
            ("fixed", Wish::Add(one("z")), "managed_by_config"),
            ("fixed", Wish::SetAuthReset(String::new()), "managed_by_config"),
            ("none", Wish::Set(of(&["z"])), "not_found"),
            ("none", Wish::Drop(one("z").handle()), "not_found"),
            ("a", Wish::Drop(one("z").handle()), "not_found"),
            ("a", Wish::Drop(one("x").handle()), "invalid_request"),
            ("a", Wish::Set(of(&[])), "invalid_request"),
            ("a", Wish::SetAuthReset("-x".to_owned()), "invalid_request"),
            ("all", Wish::Add(one("z")), "invalid_request"),
        ] {
            let before = store.rows.clone();
            let refused = store.wish(pool, wish.clone()).expect_err("it is refused");
            assert_eq!(refused.code(), code, "{pool}: {wish:?}");
            assert_eq!(store.rows, before);
        }
        let set = store.wish("a", Wish::SetAuthReset("login-1".to_owned())).expect("a target");
        assert_eq!(set.auth_reset_target, "login-1");
        assert_eq!(store.read().pools().len(), 2);
    }

    #[test]
    fn what_is_no_pool_is_left_out() {
        let rows: [(&[u8], &[u8], u64); 4] = [
            (b"pool/a", b"{", 1),
            (b"pool/-a", b"{}", 1),
            (b"index/0", b"[]", 1),
            (b"\xff", b"", 1),
        ];
        assert_eq!(Agreed::read(9, rows), Agreed { revision: 9, ..Agreed::default() });
    }
}
