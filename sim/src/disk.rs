//! The disk of one machine, as far as rows of the store go.
//!
//! A batch is *pending* until its sync ends and *durable* after. Batches become durable in order; at a
//! crash any suffix of the pending ones is lost, never a piece of one.
//!
//! Absent on purpose: files and sectors. They come with the machines that own some.

use std::collections::VecDeque;

use quorate_core::ids::Ticket;
use quorate_core::node::{Image, Keyspace};
use quorate_core::wire::Blob;

/// Rows to write or, without a value, to delete.
pub type Batch = Vec<(Keyspace, String, Option<Blob>)>;

/// Durable rows, and batches on their way.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    durable: Image,
    pending: VecDeque<(Ticket, Batch)>,
}

impl Disk {
    /// What a start reads.
    pub fn image(&self) -> &Image {
        &self.durable
    }

    /// Takes a batch; it is durable after its `sync`.
    pub fn write(&mut self, ticket: Ticket, batch: Batch) {
        self.pending.push_back((ticket, batch));
    }

    /// The oldest pending batch becomes durable; its ticket.
    pub fn sync(&mut self) -> Option<Ticket> {
        let (ticket, batch) = self.pending.pop_front()?;
        for (keyspace, key, value) in batch {
            match value {
                Some(value) => self.durable.insert((keyspace, key), value),
                None => self.durable.remove(&(keyspace, key)),
            };
        }
        Some(ticket)
    }

    /// How many batches wait.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The process or the power is gone: the first `kept` pending batches reached the medium.
    pub fn crash(&mut self, kept: usize) {
        for _ in 0..kept {
            self.sync();
        }
        self.pending.clear();
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
            disk.crash(kept);
            assert_eq!(disk.image().len(), kept);
            assert_eq!(disk.pending(), 0);
        }
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
