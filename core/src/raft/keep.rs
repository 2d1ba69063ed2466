//! What is made durable, and what a start does with it.
//!
//! Batches are numbered; they become durable in order, and whoever waits for one waits for all before it.

use std::collections::BTreeMap;

use super::durable::{self, Found, Identity, Slots};
use super::group::{Batch, Boot, Group, Hard, Point};
use super::state::{Image, State};
use super::{Deed, Genesis, NodeId, Output, Raft, Row, founding};
use crate::ids::MemberId;
use crate::time::Instant;
use crate::wire::raft::Entry;

/// Whom a durable batch concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The group's batch of this number.
    Group(u64),
    /// The founders' promise of this number.
    Founding(u64),
    /// Pieces of the snapshot of this number.
    Image(u64),
    /// Nobody waits for it; it only stands before others.
    Aside,
}

impl Raft {
    /// Begins: says what was restored, and keeps who this is.
    pub(super) fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        let leftovers = std::mem::take(&mut self.leftovers);
        if !leftovers.is_empty() {
            self.store(leftovers, Purpose::Aside, out);
        }
        if let Some(sections) = self.restored.take() {
            let (index, log_time) = (self.state.applied.index, self.state.log_time);
            out.push(Output::Restore { index, log_time, sections });
        }
        if self.settings.eligible && self.group.is_none() {
            let row = durable::identity_row(&self.identity);
            self.store(vec![row], Purpose::Aside, out);
        }
        self.begin_ticking(now);
        self.look_around(now, out);
        out.push(Output::Tell);
    }

    /// Where no copy is kept no time passes.
    fn begin_ticking(&mut self, now: Instant) {
        if self.group.is_some() && self.tick_at.is_none() {
            self.tick_at = Some(now + self.settings.tick);
        }
    }

    /// Goes on where the store says.
    pub(super) fn resume(&mut self, now: Instant, found: Found) {
        let Found { identity, hard, image, before, entries } = found;
        let Some(genesis) = identity.genesis else { return };
        self.identity = identity;
        self.rows = before.index + 1..before.index + 1 + entries.len() as u64;
        let (image, bytes) = match image {
            Some((image, bytes)) => (image, Some(bytes)),
            None => (Image::blank(genesis), None),
        };
        self.leading.restored(now, image.state.log_time);
        self.leading.held(now, &entries);
        let applied = image.state.applied.index;
        let moves = entries.iter().any(|entry| entry.configuration && entry.index > applied);
        if !moves && image.state.configuration.is_only(self.identity.member) {
            self.campaign_at = Some(now);
        }
        self.open_group(&image, hard, before, entries);
        self.image = bytes;
        self.restored = Some(image.sections);
        self.state = image.state;
    }

    /// The cluster has formed its log, and this node is among its first voters.
    pub(super) fn form(
        &mut self,
        now: Instant,
        genesis: Genesis,
        voters: BTreeMap<MemberId, NodeId>,
        voters_max: u8,
        out: &mut Vec<Output>,
    ) {
        if self.identity.genesis.is_some() || !voters.contains_key(&self.identity.member) {
            return; // Told twice, or about another.
        }
        let member = self.identity.member;
        self.store(formed(genesis, member, voters.clone(), voters_max), Purpose::Aside, out);
        let state = State::formed(genesis, voters, voters_max);
        let image = Image { number: 0, state, sections: BTreeMap::new() };
        self.identity.genesis = Some(genesis);
        self.leading.held(now, &[]);
        let before = image.state.applied;
        self.open_group(&image, BEGINNING, before, Vec::new());
        self.rows = 2..2;
        if image.state.configuration.is_only(member) {
            self.campaign_at = Some(now);
        }
        let bytes = image.encode();
        let _ = self.slots.write(&bytes); // The rows that were just stored.
        self.image = Some(bytes);
        self.state = image.state;
        self.begin_ticking(now);
        out.push(Output::Tell);
    }

    /// A leader of a log that we have no copy of speaks to our member: this is ours from now on.
    pub(super) fn adopt(&mut self, now: Instant, genesis: Genesis, out: &mut Vec<Output>) {
        self.identity.genesis = Some(genesis);
        let image = Image::blank(genesis);
        self.state = image.state.clone();
        self.open_group(&image, Hard::default(), Point::default(), Vec::new());
        self.rows = 1..1;
        self.begin_ticking(now);
        let row = durable::identity_row(&self.identity);
        self.store(vec![row], Purpose::Aside, out);
        out.push(Output::Tell);
    }

    fn open_group(&mut self, image: &Image, hard: Hard, before: Point, entries: Vec<Entry>) {
        let boot = Boot {
            genesis: image.state.genesis,
            member: self.identity.member,
            hard,
            image: image.head(),
            before,
            entries,
            timing: self.settings.timing(),
        };
        self.group = Some(Group::new(boot, self.rng.child("group")));
    }

    pub(super) fn store(&mut self, rows: Vec<Row>, purpose: Purpose, out: &mut Vec<Output>) {
        self.store_number += 1;
        self.stores.push_back((self.store_number, purpose));
        out.push(Output::Store { number: self.store_number, rows });
    }

    /// A batch is durable.
    pub(super) fn stored(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let first = self.stores.pop_front();
        let purpose = first.filter(|(of, _)| *of == number).map(|(_, purpose)| purpose);
        match purpose.expect("batches become durable in order") {
            Purpose::Aside => {}
            Purpose::Image(number) => self.pieces_stored(number, out),
            Purpose::Founding(number) => self.found(now, founding::Input::Stored { number }, out),
            Purpose::Group(number) => {
                let mut deeds = Vec::new();
                if let Some(group) = &mut self.group {
                    group.stored(number, &mut deeds);
                }
                self.perform(now, deeds, out);
            }
        }
    }

    /// The group's batch, as rows.
    pub(super) fn keep(&mut self, now: Instant, batch: Batch, out: &mut Vec<Output>) {
        let Batch { number, hard, entries, cut, snapshot } = batch;
        let mut rows = vec![durable::hard_row(&hard)];
        if let Some(id) = snapshot {
            rows.extend(self.give_up_taking());
            rows.extend(durable::cut_rows(self.rows.clone()));
            self.rows = id.index + 1..id.index + 1;
            if let Some((_, bytes)) = &self.arrived {
                let mut batches = self.slots.write(bytes);
                rows.extend(batches.pop().unwrap_or_default());
                for pieces in batches {
                    self.store(pieces, Purpose::Aside, out);
                }
            }
        }
        rows.extend(durable::cut_rows(cut.start.max(self.rows.start)..cut.end));
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.rows = self.rows.start.min(first.index)..last.index + 1;
        }
        self.leading.held(now, &entries);
        rows.extend(entries.iter().map(durable::entry_row));
        self.store(rows, Purpose::Group(number), out);
    }

    /// Carries out what the group asks for.
    pub(super) fn perform(&mut self, now: Instant, deeds: Vec<Deed>, out: &mut Vec<Output>) {
        for deed in deeds {
            match deed {
                Deed::Send(message) => self.send(now, message, out),
                Deed::Store(batch) => self.keep(now, batch, out),
                Deed::Commit(entries) => self.committed.extend(entries),
                Deed::Installed(_) => self.installed(now, out),
                Deed::Read { number, index } => self.reads.answered(number, index),
                Deed::WantImage => self.want_image(),
            }
        }
    }
}

/// The rows of a log that has just been formed.
pub fn formed(
    genesis: Genesis,
    member: MemberId,
    voters: BTreeMap<MemberId, NodeId>,
    voters_max: u8,
) -> Vec<Row> {
    let state = State::formed(genesis, voters, voters_max);
    let image = Image { number: 0, state, sections: BTreeMap::new() };
    let identity = Identity { member, genesis: Some(genesis) };
    let mut rows = vec![durable::identity_row(&identity), durable::hard_row(&BEGINNING)];
    rows.extend(Slots::default().write(&image.encode()).into_iter().flatten());
    rows
}

/// Index 1 was never written by anybody: it stands for the beginning.
const BEGINNING: Hard = Hard { term: 1, vote: 0, commit: 1 };

impl Identity {
    /// Whether `member` is ours.
    pub(super) fn is(&self, member: MemberId) -> bool {
        self.member == member
    }
}
