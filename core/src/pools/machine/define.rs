//! Which pools there are, and who belongs to them.
//!
//! What was learnt of a surviving (credential, epoch) stays through every change of a definition. P-18: a pool
//! that is gone has no timer and says nothing.

use super::super::lane::Who;
use super::super::pick::Member;
use super::super::said::{self, Said};
use super::super::target::Target;
use super::super::{Cause, Event, Members, rest};
use super::*;

/// What the store keeps of a pool: whom each lane's pointer names, since when a lane is exhausted that was said
/// to be, and then who else there was.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Kept {
    active: BTreeMap<Arc<str>, (CredentialHandle, u64)>,
    exhausted: BTreeMap<Arc<str>, u64>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    others: BTreeSet<NodeId>,
}

/// What callers have defined.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Defined {
    /// Of the store; 0 until it was heard of in this life.
    #[serde(skip)]
    revision: u64,
    pools: BTreeMap<Name, Definition>,
}

impl Pools {
    /// Takes up what the store and configuration name, says it, and only then that all of it is said.
    pub(super) fn start(&mut self, unix: u64, out: &mut Vec<Output>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let rows = std::mem::take(&mut self.persisted);
        let said = rows.iter().filter_map(|(key, value)| Some((key.strip_prefix(SAID)?, value)));
        for (key, value) in said {
            let key = crate::wire::segment::Key::from(key);
            match said::read_entry(&key, Some(value)) {
                // What is over by now goes when its pool is looked at: only that knows its numbers.
                Ok(Said::Rest(..)) if canary!("pools.forgets_rests") => {}
                Ok(Said::Rest(target, Some(mut rest))) => {
                    rest::cut(unix, &mut rest);
                    self.say_rest(&target, Some(rest), out);
                }
                Ok(Said::Park(target, Some(park))) => self.say_park(&target, Some(park), out),
                Ok(Said::Notice(of, Some(said))) => self.say_notice(&of, Some(said), out),
                Ok(Said::Clear(target, Some(clear))) => {
                    self.covered.insert(target.clone(), unix);
                    self.say_clear(&target, Some(clear), out);
                }
                Ok(_) | Err(_) => {
                    out.push(Output::Persist { key: format!("{SAID}{key}"), value: None });
                }
            }
        }
        // Without a quorum the last definitions that were heard of hold.
        let agreed = rows.get(AGREED).and_then(|row| serde_json::from_slice::<Defined>(row).ok());
        self.agreed = agreed.unwrap_or_default();
        self.define(out);
        let own = self.books.get(&self.local.node);
        let told = own.into_iter().flat_map(|own| own.notices.keys());
        let told = told.filter_map(|of| super::hear::pool_of(of));
        let gone: BTreeSet<Name> = told.filter(|pool| !self.pools.contains_key(pool)).collect();
        gone.iter().for_each(|pool| self.forget_notices(pool, out));
        for (name, pool) in &mut self.pools {
            let row = rows.get(&format!("{KEPT}{name}"));
            let kept = row.and_then(|row| serde_json::from_slice::<Kept>(row).ok());
            let Some(kept) = kept else { continue };
            for (lane, who) in kept.active {
                let place = pool.members.iter().position(|member| member.who == who);
                if let Some(place) = place {
                    pool.lanes.entry(lane).or_default().active = Some((who, place));
                }
            }
            self.awaited.extend(kept.others);
            for (lane, since) in kept.exhausted {
                let lane = pool.lanes.entry(lane).or_default();
                (lane.exhausted, lane.told) = (Some(since), true);
            }
        }
        out.push(Output::Ready);
    }

    pub(super) fn keep(&self, name: &Name, out: &mut Vec<Output>) {
        let key = format!("{KEPT}{name}");
        let Some(pool) = self.pools.get(name) else {
            return out.push(Output::Persist { key, value: None });
        };
        let active = |(lane, state): (&Arc<str>, &LaneState)| {
            state.active.map(|(who, _)| (Arc::clone(lane), who))
        };
        let exhausted =
            |(lane, state): (&Arc<str>, &LaneState)| Some((Arc::clone(lane), state.told_since()?));
        let exhausted: BTreeMap<Arc<str>, u64> = pool.lanes.iter().filter_map(exhausted).collect();
        let others = self.members.keys().chain(&self.awaited);
        let others = others.filter(|node| !exhausted.is_empty() && **node != self.local.node);
        let kept = Kept {
            active: pool.lanes.iter().filter_map(active).collect(),
            others: others.cloned().collect(),
            exhausted,
        };
        out.push(Output::Persist { key, value: Some(said::blob(&kept)) });
    }

    /// What callers have defined is this from now on. At one revision the later word says more.
    pub(super) fn agree(
        &mut self,
        revision: u64,
        pools: BTreeMap<Name, Definition>,
        out: &mut Vec<Output>,
    ) {
        if revision < self.agreed.revision {
            return;
        }
        self.agreed.revision = revision;
        if self.agreed.pools == pools {
            return;
        }
        self.agreed.pools = pools;
        let row = said::blob(&self.agreed);
        out.push(Output::Persist { key: AGREED.to_owned(), value: Some(row) });
        self.because = (Cause::Defined, false);
        self.define(out);
    }

    pub(super) fn reload(&mut self, settings: Settings, out: &mut Vec<Output>) {
        self.settings = settings;
        self.because = (Cause::Defined, false);
        self.define(out);
    }

    /// Makes the pools what their definitions say.
    pub(super) fn define(&mut self, out: &mut Vec<Output>) {
        let document = self.settings.pools.iter().map(|row| (row, true));
        let agreed = self.agreed.pools.iter().map(|row| (row, false));
        let agreed = agreed.filter(|((name, _), _)| !self.settings.pools.contains_key(*name));
        let wanted: BTreeMap<Name, (Definition, bool)> = document
            .chain(agreed)
            .take(limits::POOLS_MAX)
            .map(|((name, definition), managed)| (name.clone(), (definition.clone(), managed)))
            .collect();
        let gone = self.pools.keys().filter(|name| !wanted.contains_key(*name));
        let gone: Vec<Name> = gone.cloned().collect();
        for name in gone {
            if let Some(at) = self.pools.remove(&name).and_then(|pool| pool.due) {
                self.due.remove(&(at, name.clone()));
            }
            self.dirty.insert(name.clone());
            self.keep(&name, out);
            self.forget_notices(&name, out);
            out.push(Output::Announce(Event::Changed { pool: name }));
        }
        for (name, (definition, from_document)) in wanted {
            let pool = self.pools.entry(name).or_insert_with(|| PoolState {
                definition: Arc::new(definition.clone()),
                from_document,
                own: definition.own_model(),
                members: Vec::new(),
                stale: true,
                judged_for: Vec::new(),
                lanes: BTreeMap::from([(Arc::from(""), LaneState::default())]),
                due: None,
                shown: Arc::from([]),
            });
            pool.from_document = from_document;
            if *pool.definition != definition {
                pool.own = definition.own_model();
                pool.definition = Arc::new(definition);
            }
        }
        self.enlist();
        self.touch_all();
    }

    /// P-18: what people were told of a pool that is gone is said no more.
    fn forget_notices(&mut self, name: &Name, out: &mut Vec<Output>) {
        let own = self.books.get(&self.local.node);
        let ours = own.into_iter().flat_map(|own| own.notices.keys());
        let of = |of: &&Arc<str>| of.split_once('/').is_some_and(|(pool, _)| pool == name.as_str());
        let ours: Vec<Arc<str>> = ours.filter(of).cloned().collect();
        ours.iter().for_each(|of| self.say_notice(of, None, out));
    }

    /// Makes the members of every pool those that its definition and the known credentials amount to. A
    /// credential is in one pool at most: the first that lists it, else the first of its provider.
    pub(super) fn enlist(&mut self) {
        let mut pooled: BTreeMap<CredentialHandle, Name> = BTreeMap::new();
        let mut lists: BTreeMap<Name, Vec<(Who, Option<u32>)>> = BTreeMap::new();
        for (name, pool) in &self.pools {
            let Members::Listed(listed) = &pool.definition.members else { continue };
            let list = lists.entry(name.clone()).or_default();
            for one in listed {
                let handle = one.handle();
                if pooled.len() < limits::POOL_MEMBERS_MAX && !pooled.contains_key(&handle) {
                    pooled.insert(handle, name.clone());
                    list.push(((handle, one.epoch), one.weight));
                }
            }
        }
        let mut by_id: Vec<&Arc<Credential>> = self.credentials.values().collect();
        by_id.sort_by(|left, right| left.id.cmp(&right.id));
        for (name, pool) in &self.pools {
            let Members::Of { provider } = &pool.definition.members else { continue };
            let list = lists.entry(name.clone()).or_default();
            for one in by_id.iter().filter(|one| *one.provider == **provider) {
                if pooled.len() < limits::POOL_MEMBERS_MAX && !pooled.contains_key(&one.handle) {
                    pooled.insert(one.handle, name.clone());
                    list.push(((one.handle, 1), None));
                }
            }
        }
        self.stale.retain(|handle| pooled.contains_key(handle));
        self.pooled = pooled;
        for (name, list) in lists {
            let Some(pool) = self.pools.get_mut(&name) else { continue };
            let mut before: BTreeMap<Who, Arc<Load>> =
                pool.members.drain(..).map(|member| (member.who, member.load)).collect();
            let member = |(who, weight)| {
                let load = before.remove(&who).unwrap_or_default();
                MemberState { who, weight, load, needs: Vec::new(), drops_at: None, row: None }
            };
            pool.stale = true;
            pool.members = list.into_iter().map(member).collect();
            pool.shown = pool.members.iter().map(|one| show(one, &self.credentials)).collect();
            self.look_at(name);
        }
    }

    /// A credential is there, changed, or is gone.
    pub(super) fn credential(&mut self, handle: CredentialHandle, credential: Option<Credential>) {
        self.because = (Cause::Credential, false);
        let after = credential.map(Arc::new);
        let before = match after.clone() {
            Some(after) => self.credentials.insert(handle, after),
            None => self.credentials.remove(&handle),
        };
        if !self.credentials.contains_key(&handle) {
            self.renewed.remove(&handle);
        }
        if before != after {
            self.enlist();
        }
    }

    /// P-2: another body is another answer to whether the upstream takes it.
    pub(super) fn renewed(&mut self, unix: u64, handle: CredentialHandle, out: &mut Vec<Output>) {
        let of = |epoch| (Subject::Credential(handle), epoch);
        let rests = self.folded.range(of(0)..=of(u64::MAX));
        let rests = rests.flat_map(|(whom, reaches)| reaches.iter().map(move |row| (whom, row)));
        let refused = rests.filter(|(_, (_, rest))| rest.class.needs_proof());
        let refused: Vec<Target> = refused
            .map(|(whom, (reach, _))| Target { whom: whom.clone(), reach: reach.clone() })
            .collect();
        for target in &refused {
            self.clear(unix, target, Cause::Credential, out);
        }
    }
}

fn show(
    member: &MemberState,
    credentials: &BTreeMap<CredentialHandle, Arc<Credential>>,
) -> Arc<Member> {
    let (handle, epoch) = member.who;
    let credential = credentials.get(&handle).cloned();
    let weight = member.weight.or(credential.as_ref().map(|one| one.weight)).unwrap_or(1);
    Arc::new(Member { handle, epoch, credential, weight, load: Arc::clone(&member.load) })
}

/// Rows of what we say, by entry.
pub(super) const SAID: &str = "pools/said/";
/// The row of what callers have defined.
const AGREED: &str = "pools/agreed";
/// Rows of pointers and edges, by pool.
const KEPT: &str = "pools/kept/";
