//! The disk of one machine, as far as rows of the store go.
//!
//! A batch is *pending* until its sync ends and *durable* after. Batches become durable in order; at a
//! crash any suffix of the pending ones is lost, never a piece of one.
//!
//! Absent on purpose: files and sectors. They come with the machines that own some. What goes wrong, and what
//! follows from it: `world/disks.rs`.

use std::collections::VecDeque;

use quorate_core::ids::Ticket;
use quorate_core::node::{INCARNATION_KEY, Image, Keyspace};
use quorate_core::wire::Blob;

use crate::clock::Micros;
use crate::world::disks::names_a_life;

/// Rows to write or, without a value, to delete.
pub type Batch = Vec<(Keyspace, String, Option<Blob>)>;

/// Whether a batch holds rows of the agreed log. Agreement rests on true syncs: no quorum survives a majority of
/// disks that lie, so none does about these.
fn is_of_the_log(batch: &Batch) -> bool {
    let log = [Keyspace::Log, Keyspace::Hard, Keyspace::Snapshot];
    batch.iter().any(|(keyspace, _, _)| log.contains(keyspace))
}

/// Durable rows, and batches on their way.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    durable: Image,
    pending: VecDeque<(Ticket, Batch)>,
    /// Batches whose sync was reported and not done.
    unsynced: VecDeque<Batch>,
    lying: bool,
    lying_since: Option<Micros>,
    /// There is no room.
    pub full: bool,
    /// Writes that will fail.
    pub errors: u32,
    /// What is read fails its checksum.
    pub damaged: bool,
}

impl Disk {
    /// What a start reads.
    pub fn image(&self) -> &Image {
        &self.durable
    }

    /// A disk that holds `image`.
    pub fn holding(image: Image) -> Disk {
        Disk { durable: image, ..Disk::default() }
    }

    /// How many of the pending batches `image` shows, if it is what may be left of this disk: all that is durable,
    /// and pending batches in order. The row that names a life is whoever opened the store's own.
    pub fn kept_in(&self, image: &Image) -> Option<usize> {
        let rows = |image: &Image| -> Vec<((Keyspace, String), Blob)> {
            let others = image.iter().filter(|((_, key), _)| key != INCARNATION_KEY);
            others.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let found = rows(image);
        let mut left = Disk::holding(self.durable.clone());
        let mut pending = self.pending.iter();
        for kept in 0..=self.pending.len() {
            if rows(&left.durable) == found {
                return Some(kept);
            }
            pending.next().into_iter().for_each(|(_, batch)| left.apply(batch.clone()));
        }
        None
    }

    /// What a row holds by all that a sync has confirmed, whether or not it is written.
    pub fn promised(&self, keyspace: Keyspace, key: &str) -> Option<&Blob> {
        let rows = self.unsynced.iter().rev().flat_map(|batch| batch.iter().rev());
        let newest = rows.into_iter().find(|row| row.0 == keyspace && row.1 == key);
        match newest {
            Some((_, _, value)) => value.as_ref(),
            None => self.durable.get(&(keyspace, key.to_owned())),
        }
    }

    /// Takes a batch; it is durable after its `sync`.
    pub fn write(&mut self, ticket: Ticket, batch: Batch) {
        self.pending.push_back((ticket, batch));
    }

    /// The oldest pending batch becomes durable, or is said to be; its ticket.
    pub fn sync(&mut self) -> Option<Ticket> {
        let (ticket, batch) = self.pending.pop_front()?;
        if self.lying && !names_a_life(&batch) && !is_of_the_log(&batch) {
            self.unsynced.push_back(batch);
            return Some(ticket);
        }
        // What a true sync finds unwritten it writes as well.
        for batch in std::mem::take(&mut self.unsynced) {
            self.apply(batch);
        }
        self.lying_since = self.lying_since.filter(|_| self.lying);
        self.apply(batch);
        Some(ticket)
    }

    fn apply(&mut self, batch: Batch) {
        for (keyspace, key, value) in batch {
            match value {
                Some(value) => self.durable.insert((keyspace, key), value),
                None => self.durable.remove(&(keyspace, key)),
            };
        }
    }

    /// From now on syncs are reported and not done, or (`None`) done again.
    pub fn lie(&mut self, since: Option<Micros>) {
        self.lying = since.is_some();
        self.lying_since = self.lying_since.or(since);
    }

    /// Since when what was promised may be lost.
    pub fn lying_since(&self) -> Option<Micros> {
        self.lying_since
    }

    /// Whether the next write fails.
    pub fn refuses(&mut self) -> bool {
        let fails = self.full || self.errors > 0;
        self.errors = self.errors.saturating_sub(1);
        fails
    }

    /// How many batches were promised and not written.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// How many batches wait.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The process or the power is gone: of what was promised and not written the first `promised` batches
    /// reached the medium, and if these are all, of what was pending the first `kept`.
    pub fn crash(&mut self, promised: usize, kept: usize) {
        let all = promised >= self.unsynced.len();
        let reached: Vec<Batch> = self.unsynced.drain(..).take(promised).collect();
        reached.into_iter().for_each(|batch| self.apply(batch));
        let pending = std::mem::take(&mut self.pending);
        for (_, batch) in pending.into_iter().take(if all { kept } else { 0 }) {
            self.apply(batch);
        }
        self.lying_since = self.lying_since.filter(|_| self.lying);
    }

    /// Nothing is left.
    pub fn wipe(&mut self) {
        *self = Disk::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(key: &str, value: &str) -> Batch {
        vec![(Keyspace::Local, key.to_owned(), Some(Blob::from(value)))]
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_what_was_pending() {
        for kept in 0..3 {
            let mut disk = Disk::default();
            for number in 0..3 {
                disk.write(Ticket(number), batch(&number.to_string(), "x"));
            }
            disk.crash(0, kept);
            assert_eq!(disk.image().len(), kept);
            assert_eq!(disk.pending(), 0);
        }
    }

    #[test]
    fn a_crash_takes_a_suffix_of_what_was_promised_and_a_true_sync_saves_it() {
        for promised in 0..3 {
            let mut disk = Disk::default();
            disk.lie(Some(5));
            for number in 0..2 {
                disk.write(Ticket(number), batch(&number.to_string(), "x"));
                assert_eq!(disk.sync(), Some(Ticket(number)));
            }
            assert_eq!((disk.image().len(), disk.unsynced()), (0, 2));
            disk.write(Ticket(2), batch("2", "x"));
            disk.crash(promised, 1);
            assert_eq!(disk.image().len(), if promised == 2 { 3 } else { promised });
        }
        let mut disk = Disk::default();
        disk.lie(Some(5));
        disk.write(Ticket(0), batch("0", "x"));
        disk.sync();
        disk.lie(None);
        assert_eq!(disk.lying_since(), Some(5));
        assert_eq!(disk.promised(Keyspace::Local, "0"), Some(&Blob::from("x")));
        assert!(disk.image().is_empty(), "and yet it is not written");
        disk.write(Ticket(1), batch("1", "x"));
        disk.sync();
        assert_eq!((disk.image().len(), disk.lying_since()), (2, None));
    }

    #[test]
    fn a_row_without_value_is_deleted() {
        let mut disk = Disk::default();
        disk.write(Ticket(1), batch("a", "1"));
        disk.write(Ticket(2), vec![(Keyspace::Local, "a".to_owned(), None)]);
        assert_eq!(disk.sync(), Some(Ticket(1)));
        assert_eq!(disk.image().len(), 1);
        assert_eq!(disk.sync(), Some(Ticket(2)));
        assert!(disk.image().is_empty());
        assert_eq!(disk.sync(), None);
    }
}
