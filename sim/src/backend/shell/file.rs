//! The disk below a simulated shell's store: files in sectors, of which a crash leaves what was synced and any part
//! of the rest.
//!
//! What is written between two reports of the store has its time only then: a crash comes after any of those
//! operations, and of what is not synced by then each sector survives or not.
//!
//! Absent on purpose: names of files, and disks that lie.

use std::io;
use std::sync::{Arc, Mutex};

use quorate::store::{StorageBackend, Store, StoreError};
use quorate_core::node::Image;
use quorate_core::random::Rng;
use quorate_core::wire::Blob;

use super::lock;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk with the files of a store: its tree and its journal. Cheap to clone; all clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Sectors>>);

/// One of its files.
#[derive(Debug)]
struct File {
    disk: Disk,
    which: usize,
}

#[derive(Debug, Default)]
struct Sectors {
    /// The files as whoever has them open sees them.
    seen: [Vec<u8>; 2],
    /// As they are if everything since was lost.
    kept: [Vec<u8>; 2],
    /// What was done since, to which file.
    done: Vec<(usize, Done)>,
    dead: bool,
    full: bool,
    errors: u32,
}

#[derive(Debug)]
enum Done {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
    Sync,
}

impl Disk {
    /// A disk on which a store holds `image`.
    pub(super) fn holding(image: &Image) -> Disk {
        let disk = Disk::default();
        if image.is_empty() {
            return disk;
        }
        let (mut store, _) = disk.open().expect("an empty disk takes a store");
        let row = |((space, key), value): (&(_, String), &Blob)| {
            (*space, key.clone(), Some(value.clone()))
        };
        store.apply(&[image.iter().map(row).collect()]).expect("the disk has room");
        drop(store);
        disk.settle();
        disk
    }

    /// Opens the store on it.
    pub(super) fn open(&self) -> Result<(Store, Image), StoreError> {
        let [tree, journal] = [0, 1].map(|which| File { disk: self.clone(), which });
        Store::open_on(tree, journal)
    }

    /// What was done so far has had its time.
    pub(super) fn settle(&self) {
        let mut sectors = lock(&self.0);
        let certain = sectors.certain(sectors.done.len());
        let done = std::mem::take(&mut sectors.done);
        for ((which, done), certain) in done.into_iter().zip(certain) {
            if certain {
                done.to(sectors.kept_of(which));
            } else {
                sectors.done.push((which, done));
            }
        }
    }

    /// Nothing is read or written any more.
    pub(super) fn die(&self) {
        lock(&self.0).dead = true;
    }

    /// After a crash: some of what was under way is there.
    pub(super) fn survive(&self, draws: &mut Rng) {
        let mut sectors = lock(&self.0);
        let reached = draws.index(sectors.done.len() + 1);
        let certain = sectors.certain(reached);
        let done = std::mem::take(&mut sectors.done);
        for ((which, done), certain) in done.into_iter().zip(certain) {
            let kept = sectors.kept_of(which);
            if certain { done.to(kept) } else { done.partly_to(kept, draws) }
        }
        sectors.seen = sectors.kept.clone();
        sectors.dead = false;
    }

    /// There is no room any more, or there is; and so many more operations fail.
    pub(super) fn trouble(&self, full: bool, errors: u32) {
        let mut sectors = lock(&self.0);
        sectors.full = full;
        sectors.errors += errors;
    }
}

impl Sectors {
    fn kept_of(&mut self, which: usize) -> &mut Vec<u8> {
        self.kept.get_mut(which).expect("a store has two files")
    }

    fn seen_of(&mut self, which: usize) -> &mut Vec<u8> {
        self.seen.get_mut(which).expect("a store has two files")
    }

    /// Which of the first `reached` operations a later sync of the same file, also among them, has made certain.
    fn certain(&self, reached: usize) -> Vec<bool> {
        let mut synced = [false; 2];
        let backwards = self.done.iter().take(reached).rev().map(|(which, done)| {
            let synced = synced.get_mut(*which).expect("a store has two files");
            *synced |= matches!(done, Done::Sync);
            *synced
        });
        let mut certain: Vec<bool> = backwards.collect();
        certain.reverse();
        certain
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn writable(&mut self) -> io::Result<()> {
        self.alive()?;
        if self.full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if self.errors > 0 {
            self.errors -= 1;
            return Err(io::Error::other("the disk refuses"));
        }
        Ok(())
    }

    fn do_it(&mut self, which: usize, done: Done) -> io::Result<()> {
        self.writable()?;
        done.to(self.seen_of(which));
        self.done.push((which, done));
        Ok(())
    }
}

impl Done {
    fn to(&self, bytes: &mut Vec<u8>) {
        match self {
            Done::Write { at, bytes: new } => put(bytes, *at, new),
            Done::Resize(length) => bytes.resize(*length, 0),
            Done::Sync => {}
        }
    }

    /// Each sector of a write survives or not; so does a change of length.
    fn partly_to(self, bytes: &mut Vec<u8>, draws: &mut Rng) {
        match self {
            Done::Write { at, bytes: new } => {
                let (mut at, mut rest) = (at, new.as_slice());
                while !rest.is_empty() {
                    let length = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
                    let (sector, others) = rest.split_at(length);
                    if draws.chance(1, 2) {
                        put(bytes, at, sector);
                    }
                    (at, rest) = (at + length, others);
                }
            }
            Done::Resize(length) => {
                if draws.chance(1, 2) {
                    bytes.resize(length, 0);
                }
            }
            Done::Sync => {}
        }
    }
}

/// Writes `new` at `at`. A write beyond the end makes the file longer.
fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(new);
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file is small")
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        let mut sectors = lock(&self.disk.0);
        sectors.alive()?;
        Ok(sectors.seen_of(self.which).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut sectors = lock(&self.disk.0);
        sectors.alive()?;
        let from = place(offset);
        let found = sectors.seen_of(self.which).get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        lock(&self.disk.0).do_it(self.which, Done::Resize(place(length)))
    }

    fn sync_data(&self) -> io::Result<()> {
        lock(&self.disk.0).do_it(self.which, Done::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let write = Done::Write { at: place(offset), bytes: data.to_vec() };
        lock(&self.disk.0).do_it(self.which, write)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn file(disk: &Disk, which: usize) -> File {
        File { disk: disk.clone(), which }
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_any_sectors_of_the_rest() {
        let mut ways = BTreeSet::new();
        for seed in 0..200 {
            let disk = Disk::default();
            let file = file(&disk, 0);
            file.write(0, &[1; 1024]).expect("room");
            file.sync_data().expect("room");
            disk.settle();
            file.write(0, &[2; 1024]).expect("room");
            disk.die();
            assert!(file.len().is_err() && file.write(0, &[3]).is_err());
            disk.survive(&mut Rng::from_number(seed));
            let mut seen = [0; 1024];
            file.read(0, &mut seen).expect("alive");
            let (first, second) = seen.split_at(SECTOR_BYTES);
            for sector in [first, second] {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
            }
            ways.insert((first[0], second[0]));
        }
        assert_eq!(ways.len(), 4, "old and new, in every way: {ways:?}");
    }

    #[test]
    fn a_crash_may_come_before_a_sync_whose_time_had_not_come() {
        let survive = |seed| {
            let disk = Disk::default();
            let file = file(&disk, 0);
            file.set_len(1).expect("room");
            file.sync_data().expect("room");
            disk.settle();
            file.write(0, &[7]).expect("room");
            file.sync_data().expect("room");
            disk.survive(&mut Rng::from_number(seed));
            let mut seen = [0];
            file.read(0, &mut seen).expect("alive");
            seen[0]
        };
        let survivors: BTreeSet<u8> = (0..100).map(survive).collect();
        assert_eq!(survivors, BTreeSet::from([0, 7]));
    }

    #[test]
    fn a_sync_of_one_file_says_nothing_about_the_other() {
        let lost = (0..100).any(|seed| {
            let disk = Disk::default();
            let (tree, journal) = (file(&disk, 0), file(&disk, 1));
            tree.write(0, &[7]).expect("room");
            journal.write(0, &[8]).expect("room");
            journal.sync_data().expect("room");
            disk.settle();
            disk.survive(&mut Rng::from_number(seed));
            assert_eq!(journal.len().expect("alive"), 1, "it was synced");
            tree.len().expect("alive") == 0
        });
        assert!(lost, "what was never synced is always there");
    }
}
