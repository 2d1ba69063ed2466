//! What a turn did, by what came into it: P-3, P-4, P-5's edges, P-7, P-14's targets and P-16.

use std::sync::Arc;

use quorate_core::ids::CredentialHandle;
use quorate_core::limits;
use quorate_core::node::pools::view::{LaneView, State};
use quorate_core::node::pools::{Answer, Class, Command, Event, Name, Profile, Snapshot, Strategy};
use quorate_core::node::{Announcement, Effect, Input, Reply, Request};
use quorate_core::wire::segment::Topic;

use super::super::{Id, Ledger, Turn};
use super::words::{STATED_MS_MAX, Standing, reach};
use super::{Observer, Watch, here, moment};
use crate::verdict::Failure;

impl Watch {
    /// P-7: what rests by a report is the member of its lease.
    pub(super) fn blame(&self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let reported = commands(turn).filter_map(|command| match command {
            Command::ReportLease { lease, .. } => self.leases.get(lease),
            _ => None,
        });
        let reported: Vec<CredentialHandle> = reported.copied().collect();
        // What one could not do may be told of once another did it: then both are of one request.
        let judged = turn.effects.iter().any(|effect| {
            matches!(effect, Effect::Reply { reply: Reply::Pool(Answer::Judged { .. }), .. })
        });
        for effect in turn.effects {
            let Effect::Announce(Announcement::Pool(Event::Rested { credential, class, .. })) =
                effect
            else {
                continue;
            };
            let denied = matches!(class, Class::PermissionDenied | Class::ModelUnavailable);
            let blamed = reported.contains(credential) || (denied && judged);
            ledger.hold(Id::P7, turn.machine, blamed, || {
                format!("{credential} rests ({class}), and {reported:?} were reported")
            })?;
        }
        Ok(())
    }
}

impl Observer {
    /// P-18: of a pool that is gone nothing is told. P-5: of a lane one edge follows the other.
    pub(super) fn edges(
        &mut self,
        turn: &Turn<'_>,
        snapshot: &Snapshot,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        for effect in turn.effects {
            let (pool, lane, exhausted) = match effect {
                Effect::Announce(Announcement::Pool(Event::Exhausted { pool, lane, .. })) => {
                    (pool, lane, true)
                }
                Effect::Announce(Announcement::Pool(Event::Recovered { pool, lane, .. })) => {
                    (pool, lane, false)
                }
                _ => continue,
            };
            // What came before a removal in the same turn is no fault.
            let there = snapshot.pool(pool.as_str()).is_some() || turn.inputs.len() > 1;
            ledger.hold(Id::P18, turn.machine, there, || {
                format!("`{pool}` is gone, and told of: exhausted: {exhausted}")
            })?;
            let before = self.edges.insert((pool.clone(), Arc::clone(lane)), exhausted);
            ledger.hold(Id::P5, turn.machine, before != Some(exhausted), || {
                format!("`{lane}` is said twice in a row to be exhausted: {exhausted}")
            })?;
        }
        Ok(())
    }

    /// P-3, P-4 and P-16, by what was known before this turn.
    pub(super) fn acts(
        &self,
        turn: &Turn<'_>,
        snapshot: &Snapshot,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        self.apart(turn, ledger)?;
        let clocked = turn.inputs.iter().any(|input| matches!(input, Input::Clock { .. }));
        for effect in turn.effects {
            let Effect::Announce(Announcement::Pool(event)) = effect else { continue };
            match event {
                Event::Rested { pool, class, scope, rest_until, stated_reset, .. } => {
                    self.targets(turn, scope, unix, ledger)?;
                    if clocked {
                        continue;
                    }
                    let pool = snapshot.pool(pool.as_str());
                    let profile =
                        pool.map_or_else(Profile::default, |pool| pool.definition.profile);
                    let (least, most) = profile.clamp_of(*class);
                    let rest = rest_until.0.saturating_sub(unix);
                    let stated = stated_reset.map_or(0, |at| at.0.saturating_sub(unix));
                    let within = (least..=most).contains(&rest) && stated <= STATED_MS_MAX;
                    ledger.hold(Id::P16, turn.machine, within, || {
                        format!("a rest ({class}) of {rest} ms, stated {stated}: {least}..{most}")
                    })?;
                }
                Event::Failover { pool, lane, from, class, .. } => {
                    self.moved(turn, snapshot, (pool, lane), (*from, *class), unix, ledger)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// P-3: whoever was active gives way in a turn in which it is not preferred.
    fn moved(
        &self,
        turn: &Turn<'_>,
        snapshot: &Snapshot,
        (name, lane): (&Name, &Arc<str>),
        (from, class): (CredentialHandle, Option<Class>),
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(pool) = snapshot.pool(name.as_str()) else { return Ok(()) };
        let failover = pool.definition.strategy == Strategy::Failover;
        let row = pool.rows.iter().find(|row| row.handle == from);
        let of = (from, row.map_or(1, |row| row.epoch));
        let (at, also) = (moment(pool, unix), here(pool));
        let before = self.words.standing(at, pool, of, lane, &also);
        let mut words = super::Words::default();
        words.read(turn.process.node.maps(), unix);
        let after = words.standing(at, pool, of, lane, &also);
        let gone = row.is_none_or(|row| row.state == State::Disabled);
        // Who was set aside by a word of this turn may be back by another.
        let aside = |effect: &Effect| match effect {
            Effect::Announce(Announcement::Pool(Event::Parked { pool, member, until })) => {
                pool == name && *member == from && until.is_some()
            }
            _ => false,
        };
        let now = words.parked(unix, of) || turn.effects.iter().any(aside);
        let parked = self.words.parked(unix, of) || now;
        let rested = before != Standing::Servable || after != Standing::Servable;
        let why = gone || parked || rested;
        ledger.hold(Id::P3, turn.machine, failover && why, || {
            format!("`{lane}` leaves {from} ({class:?}), which is preferred")
        })
    }

    /// P-3: the pointer of a lane is where it was, but for the moves that were told.
    pub(super) fn pointers(
        &self,
        turn: &Turn<'_>,
        snapshot: &Snapshot,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(before) = self.shown.as_ref().filter(|_| turn.inputs.len() <= 1) else {
            return Ok(()); // A pool may have gone and come again.
        };
        for pool in snapshot.pools.values() {
            let former = before.pool(pool.name.as_str());
            let common = pool.views.first().and_then(|view| view.active);
            for view in &pool.views {
                let same = |one: &&LaneView| one.model == view.model;
                let was = former.and_then(|former| former.views.iter().find(same)?.active);
                let Some(was) = was else { continue };
                let told = turn.effects.iter().fold(was, |at, effect| match effect {
                    Effect::Announce(Announcement::Pool(Event::Failover {
                        pool: of,
                        lane,
                        from,
                        to,
                        ..
                    })) if *of == pool.name && *lane == view.model && *from == at => *to,
                    _ => at,
                });
                // A lane that went and came again begins where the common one is.
                let anew = !view.model.is_empty() && view.active == common;
                ledger.hold(Id::P3, turn.machine, view.active == Some(told) || anew, || {
                    let (lane, is) = (&view.model, view.active);
                    format!("`{lane}` was said to be at {told}, and is at {is:?}")
                })?;
            }
        }
        Ok(())
    }

    /// P-14: of a member with as many targets as it may have the whole rests, and no further one.
    fn targets(
        &self,
        turn: &Turn<'_>,
        target: &str,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        // What else came in may have ended some.
        let alone = turn.inputs.len() == 1 && !self.words.rests.contains_key(target);
        if !alone || reach(target).is_none() || target.starts_with("p:") {
            return Ok(());
        }
        let rest = target.splitn(3, '/').nth(2).unwrap_or_default();
        let member = target.strip_suffix(rest).unwrap_or(target);
        let others = |words: &super::Words| {
            let of = words.rests.keys().filter(|one| one.starts_with(member));
            of.filter(|one| **one != *target).count()
        };
        let mut known = others(&self.words);
        if known >= limits::POOL_TARGETS_MAX {
            let mut words = super::Words::default();
            words.read(turn.process.node.maps(), unix);
            known = known.min(others(&words));
        }
        ledger.hold(Id::P14, turn.machine, known < limits::POOL_TARGETS_MAX, || {
            format!("{target} rests beside {known} others of its member")
        })
    }

    /// P-4: who asks for a park writes no rest, and what an answer teaches parks nobody.
    fn apart(&self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let parks = |command: &Command| {
            matches!(
                command,
                Command::Park { .. } | Command::Unpark { .. } | Command::Rotate { .. }
            )
        };
        let of_pools = commands(turn).count() == turn.inputs.len() && !turn.inputs.is_empty();
        let (parking, taught) =
            (of_pools && commands(turn).all(parks), of_pools && !commands(turn).any(parks));
        let said = turn.process.touched.writes.iter();
        let said = said.filter(|one| one.topic == Topic::POOLS && one.entry.value.is_some());
        for wrote in said {
            let key = &wrote.entry.key;
            let mixed = (parking && key.starts_with("r/")) || (taught && key.starts_with("k/"));
            ledger.hold(Id::P4, turn.machine, !mixed, || {
                format!("{} is said by {:?}", &**key, turn.inputs)
            })?;
        }
        Ok(())
    }
}

/// Commands about pools among what came into a turn.
fn commands<'a>(turn: &Turn<'a>) -> impl Iterator<Item = &'a Command> {
    turn.inputs.iter().filter_map(|input| match input {
        Input::Request { request: Request::Pool(command), .. } => Some(&**command),
        _ => None,
    })
}
