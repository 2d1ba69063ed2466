//! P-2 from one life to the next: a rest is stored in the turn in which it is said, and whoever starts says what
//! its store kept.

use std::collections::BTreeMap;

use quorate_core::node::pools::said::{ClearSaid, RestSaid};
use quorate_core::node::{Effect, Input, Keyspace};
use quorate_core::wire::Blob;
use quorate_core::wire::segment::Topic;
use serde::de::DeserializeOwned;

use super::super::{Id, Ledger, Turn};
use super::Observer;
use super::words::{Words, covers};
use crate::verdict::Failure;

impl Observer {
    /// Of a turn, by what was said before it.
    pub(super) fn lives(
        &self,
        turn: &Turn<'_>,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        self.stored(turn, ledger)?;
        if turn.inputs.iter().any(|input| matches!(input, Input::Start)) {
            lived_on(turn, unix, ledger)?;
        }
        Ok(())
    }

    fn stored(&self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let own = self.words.books.get(&turn.process.node.local().node);
        let said = turn.process.touched.writes.iter().filter(|one| one.topic == Topic::POOLS);
        let said = said.filter_map(|one| Some((rest_of(&one.entry.key)?, &one.entry.value)));
        let said: BTreeMap<&str, &Option<Blob>> = said.collect();
        if said.is_empty() {
            return Ok(());
        }
        let batches = turn.effects.iter().filter_map(|effect| match effect {
            Effect::Store { batch, .. } => Some(batch),
            _ => None,
        });
        let rows = batches.flatten().filter(|row| row.0 == Keyspace::Local);
        let rows =
            rows.filter_map(|(_, row, value)| Some((rest_of(row.strip_prefix(SAID)?)?, value)));
        let rows: BTreeMap<&str, &Option<Blob>> = rows.collect();
        for (target, value) in said {
            // Whoever takes another life says all of it again, and has it in its store.
            let before = own.and_then(|own| own.rests.get(target));
            let again = before.is_some() && before == value.as_ref().and_then(read).as_ref();
            let stored = rows.get(target) == Some(&value);
            ledger.hold(Id::P2, turn.machine, again || stored, || {
                format!("{target} is said to rest, and the store does not hear of it")
            })?;
        }
        Ok(())
    }
}

fn lived_on(turn: &Turn<'_>, unix: u64, ledger: &mut Ledger) -> Result<(), Failure> {
    let disk = turn.machines.get(turn.machine).and_then(|machine| machine.disk.as_ref());
    let Some(image) = disk.map(|disk| disk.image()) else { return Ok(()) };
    let mut words = Words::default();
    words.read(turn.process.node.maps(), unix);
    let own = words.books.get(&turn.process.node.local().node);
    for ((keyspace, row), value) in image.iter().filter(|((one, _), _)| *one == Keyspace::Local) {
        let Some(target) = row.strip_prefix(SAID).and_then(rest_of) else { continue };
        let Some(kept) = read::<RestSaid>(value) else { continue };
        let clear = image.get(&(*keyspace, format!("{SAID}c/{target}")));
        let clear = clear.and_then(read::<ClearSaid>);
        let void =
            clear.is_some_and(|clear| clear.covers.iter().any(|one| covers(one, &kept.origin)));
        if void || kept.rest_until <= unix {
            continue;
        }
        // No clock that is right can be so far behind.
        let until = kept.rest_until.min(unix.saturating_add(REST_MS_MAX));
        let said = own.and_then(|own| own.rests.get(target));
        let lives = said.is_some_and(|said| said.rest_until >= until);
        ledger.hold(Id::P2, turn.machine, lives, || {
            format!("{target} rests until {until} by the store of a node that says {said:?}")
        })?;
    }
    Ok(())
}

fn rest_of(key: &str) -> Option<&str> {
    key.strip_prefix("r/")
}

fn read<T: DeserializeOwned>(value: &Blob) -> Option<T> {
    serde_json::from_slice(value).ok()
}

/// Rows of the store that keep what a node says of pools.
const SAID: &str = "pools/said/";
/// No rest is longer than 8 days: `pools.md` §10.
const REST_MS_MAX: u64 = 8 * 86_400_000;
