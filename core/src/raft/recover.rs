//! What an operator does to the copy on the store of a stopped node, where a majority is gone for good.
//!
//! A survivor becomes the only voter of a new log that goes on where its copy ends: everything that it holds
//! counts as committed, and changes of the old configuration that it has not applied yet become nothing. All
//! other copies are of another log from then on, and are dropped so that their nodes can be added again.
//!
//! Absent on purpose: the judgement that nobody else holds more; that is the operator's.

use std::collections::BTreeMap;

use super::durable::{self, Damaged, Found, Identity, Rows};
use super::group::{Configuration, Hard};
use super::{Genesis, NodeId, Room, Row};
use crate::wire::Blob;

/// A copy that can go on alone, and how.
#[derive(Debug)]
pub struct Survivor {
    /// Whose copy it is.
    pub node: NodeId,
    /// Which log it was.
    pub was: Genesis,
    /// Term and index of its last entry: the greatest such pair of all copies is the one to go on with.
    pub last: (u64, u64),
    /// Who voted.
    pub voters: Vec<NodeId>,
    /// What makes it the only voter of the new log: one batch.
    pub rows: Vec<Row>,
}

/// Why a copy cannot go on alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is none.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// There is nothing to go on with.
    #[error("there is no copy of a log in it that ever was a member's")]
    NoCopy,
}

/// The survivor in `rows`, as the only voter of `genesis`.
pub fn survivor(rows: &Rows, genesis: Genesis) -> Result<Survivor, Unfit> {
    let Some((found, mut slots)) = durable::read(rows)? else { return Err(Unfit::NoCopy) };
    let Found { identity, hard, image, before, entries } = found;
    let (Some(was), Some((mut image, _))) = (identity.genesis, image) else {
        return Err(Unfit::NoCopy);
    };
    let member = identity.member;
    let state = &mut image.state;
    let Some(node) = state.nodes.get(&member).cloned() else { return Err(Unfit::NoCopy) };
    let voters = state.configuration.voters.iter().filter_map(|voter| state.nodes.get(voter));
    let voters: Vec<NodeId> = voters.cloned().collect();
    let behind = state.applied.index;
    let base = before.max(state.applied);
    let last = entries.last().map_or((base.term, base.index), |entry| (entry.term, entry.index));
    state.genesis = genesis;
    state.configuration = Configuration { voters: [member].into(), ..Configuration::default() };
    state.nodes = BTreeMap::from([(member, node.clone())]);

    let mut changed = vec![durable::identity_row(&Identity { member, genesis: Some(genesis) })];
    let hard = Hard { term: hard.term + 1, vote: 0, commit: last.1 };
    changed.push(durable::hard_row(&hard));
    for mut entry in entries {
        if entry.configuration && entry.index > behind {
            (entry.configuration, entry.payload) = (false, Blob::default());
            changed.push(durable::entry_row(&entry));
        }
    }
    changed.extend(slots.write(&image.encode()).into_iter().flatten());
    changed.extend(rows.keys().filter(|(_, key)| durable::is_promise(key)).map(deleted));
    Ok(Survivor { node, was, last, voters, rows: changed })
}

/// What drops the copy in `rows`, and the promise: its node waits to be added as if it had never had one.
pub fn dropped(rows: &Rows) -> Vec<Row> {
    rows.keys().map(deleted).collect()
}

fn deleted((room, key): &(Room, String)) -> Row {
    Row { room: *room, key: key.clone(), value: None }
}
