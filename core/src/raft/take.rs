//! Taking a snapshot: piece by piece, while entries go on being applied.
//!
//! Between two entries the state is held as it is, which costs nothing: the services' states are persistent. Its pieces
//! are written beside the old snapshot, the next one when the one before is durable, so that neither a turn nor a batch
//! is longer than a piece asks for. With the last piece it becomes current, and the log in front of it goes.
//!
//! Absent on purpose: what the services' pieces mean.

use super::counts::Moved;
use super::durable::{self, Writing};
use super::keep::Purpose;
use super::state::{State, encode_section};
use super::{Output, Raft, Row, Subject};
use crate::wire::Blob;

/// A snapshot that is being taken.
pub(super) struct Taking {
    number: u64,
    /// The log's own state, as it was.
    state: State,
    /// What is encoded.
    bytes: Vec<u8>,
    writing: Writing,
}

impl Raft {
    /// Whether enough was applied since the last snapshot. A snapshot is written whole, so the log behind it is to be as
    /// long as it was: then all snapshots together cost no more than the log.
    pub(super) fn image_is_due(&self) -> bool {
        let (entries, bytes) = self.since_image;
        let last = self.image.as_ref().map_or(0, |image| image.len() as u64);
        let long = entries >= self.settings.snapshot_entries && bytes >= last;
        long || bytes >= self.settings.snapshot_bytes
    }

    /// Has a snapshot of what is applied taken, as soon as nothing is being applied.
    pub(super) fn want_image(&mut self) {
        self.image_wanted = true;
    }

    /// Holds the state as it is now, if that is wanted and may be.
    pub(super) fn freeze_if_wanted(&mut self, out: &mut Vec<Output>) {
        let Some(group) = self.group.as_ref().filter(|group| !group.takes_snapshot()) else {
            return;
        };
        if !self.image_wanted || self.taking.is_some() {
            return;
        }
        self.image_wanted = false;
        let newest = group.image().is_some_and(|image| {
            image.point == self.state.applied && image.configuration == self.state.configuration
        });
        if newest {
            return;
        }
        self.leading.image_number += 1;
        self.since_image = (0, 0);
        let number = self.leading.image_number;
        let state = self.state.clone();
        let bytes = state.encode(number);
        let mut writing = self.slots.begin();
        let rows = writing.add(&bytes);
        self.taking = Some(Taking { number, state, bytes, writing });
        out.push(Output::Freeze { number });
        self.go_on_taking(number, rows, out);
    }

    /// A piece of the services' states, or that there is no more.
    pub(super) fn piece_taken(
        &mut self,
        number: u64,
        piece: Option<(Subject, Blob)>,
        out: &mut Vec<Output>,
    ) {
        // It may have been given up for one of the leader's.
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.number == number) else {
            return;
        };
        let Some((subject, piece)) = piece else { return self.finish_taking(out) };
        let encoded = encode_section(subject, &piece);
        let rows = taking.writing.add(&encoded);
        taking.bytes.extend_from_slice(&encoded);
        self.go_on_taking(number, rows, out);
    }

    /// Pieces are durable: it is time for the next.
    pub(super) fn pieces_stored(&mut self, number: u64, out: &mut Vec<Output>) {
        if self.taking.as_ref().is_some_and(|taking| taking.number == number) {
            out.push(Output::NextPiece { number });
        }
    }

    /// Stores what is whole before more is asked for.
    fn go_on_taking(&mut self, number: u64, rows: Vec<Row>, out: &mut Vec<Output>) {
        if rows.is_empty() {
            out.push(Output::NextPiece { number });
        } else {
            self.store(rows, Purpose::Image(number), out);
        }
    }

    /// The snapshot becomes current, and entries that only the old one needed go.
    fn finish_taking(&mut self, out: &mut Vec<Output>) {
        let Some(Taking { number, state, bytes, writing }) = self.taking.take() else { return };
        let mut last = self.slots.finish(writing);
        if let Some(group) = &mut self.group {
            group.set_image(state.head(number));
            let through = state.applied.index.saturating_sub(self.settings.trailing_entries);
            let gone = group.compact(through);
            let gone = self.rows.start..gone.end.clamp(self.rows.start, self.rows.end);
            self.rows.start = gone.end;
            last.extend(durable::cut_rows(gone));
            // A start needs a commit index that the snapshot does not exceed.
            last.push(durable::hard_row(&group.hard()));
        }
        self.store(last, Purpose::Aside, out);
        self.image = Some(Blob::from(bytes));
        self.counts.snapshot(Moved::Taken);
    }

    /// One of the leader's replaces the state: what was written of this one goes.
    pub(super) fn give_up_taking(&mut self) -> Vec<Row> {
        self.image_wanted = false;
        self.taking.take().map(|taking| taking.writing.given_up()).unwrap_or_default()
    }
}
