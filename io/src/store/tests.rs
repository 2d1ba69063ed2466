//! The store against power cuts, flipped bits, full disks and second processes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use quorate_core::ids::Ticket;
use redb::backends::InMemoryBackend;

use super::*;

/// The two files of a store in memory, whose bytes the test can see, and that can refuse to grow.
#[derive(Debug, Clone, Default)]
struct Disk {
    tree: Medium,
    journal: Medium,
}

#[derive(Debug, Clone, Default)]
struct Medium {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn holding([tree, journal]: [Vec<u8>; 2]) -> Disk {
        let medium = |bytes| Medium { bytes: Arc::new(Mutex::new(bytes)), full: Arc::default() };
        Disk { tree: medium(tree), journal: medium(journal) }
    }

    fn bytes(&self) -> [Vec<u8>; 2] {
        [&self.tree, &self.journal].map(|medium| medium.bytes.lock().unwrap().clone())
    }

    fn fill(&self, full: bool) {
        [&self.tree, &self.journal].iter().for_each(|one| one.full.store(full, Ordering::Relaxed));
    }

    fn open(&self) -> Result<(Store, Image), StoreError> {
        Store::open_on(self.tree.clone(), self.journal.clone())
    }
}

impl Medium {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("a small disk");
        let bytes = self.bytes.lock().unwrap();
        let found = bytes.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.room()?;
        self.bytes.lock().unwrap().resize(usize::try_from(length).expect("a small disk"), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        let start = usize::try_from(offset).expect("a small disk");
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn put(key: &str, value: &str) -> (Keyspace, String, Option<Blob>) {
    (Keyspace::Local, key.to_owned(), Some(Blob::from(value)))
}

fn delete(key: &str) -> (Keyspace, String, Option<Blob>) {
    (Keyspace::Local, key.to_owned(), None)
}

fn node() -> quorate_core::ids::NodeId {
    "n1".parse().expect("a node id")
}

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let disk = Disk::default();
    let (mut store, image) = disk.open().expect("an empty disk");
    assert!(image.is_empty());
    let meta = (Keyspace::Meta, "incarnation".to_owned(), Some(Blob::from("7")));
    store.apply(&[vec![put("a", "1"), put("b", "1"), meta]]).expect("room");
    store
        .apply(&[vec![put("a", "2")], vec![delete("b"), put("c", ""), delete("x")]])
        .expect("room");
    drop(store);
    let (_, image) = disk.open().expect("closed in order");
    let rows: Vec<String> = image.iter().map(|(key, value)| format!("{key:?}={value:?}")).collect();
    assert_eq!(rows, [r#"(Meta, "incarnation")="7""#, r#"(Local, "a")="2""#, r#"(Local, "c")="""#]);
}

#[test]
fn power_lost_without_warning_keeps_every_stored_batch() {
    let disk = Disk::default();
    let (mut store, _) = disk.open().expect("an empty disk");
    for round in 0..20 {
        store.apply(&[vec![put("round", &round.to_string())]]).expect("room");
        let survivor = Disk::holding(disk.bytes());
        let (_, image) = survivor.open().expect("a batch is whole");
        let stored = image.get(&(Keyspace::Local, "round".to_owned()));
        assert_eq!(stored, Some(&Blob::from(round.to_string().as_str())));
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless_and_never_read() {
    let disk = Disk::default();
    let (mut store, _) = disk.open().expect("an empty disk");
    for round in 0..3_u32 {
        let rows = (0..40).map(|row| put(&format!("row/{row:02}"), &format!("{round}-{row}")));
        store.apply(&[rows.collect()]).expect("room");
    }
    let powerless = disk.bytes();
    drop(store);
    let closed = disk.bytes();
    std::panic::set_hook(Box::new(|_| {})); // The engine may give up loudly; that is caught.
    for (kind, bytes) in [("powerless", powerless), ("closed", closed)] {
        let (_, whole) = Disk::holding(bytes.clone()).open().expect("nothing flipped");
        for file in 0..2 {
            let mut refused = 0;
            // Everything that is not zero may matter; zeros are unused space, and are sampled.
            let places = 0..bytes[file].len().min(LOOKED_AT);
            let places = places.filter(|at| bytes[file][*at] != 0 || at % 4099 == 0);
            for at in places.step_by(7) {
                let mut flipped = bytes.clone();
                flipped[file][at] ^= 1 << (at % 8);
                match Disk::holding(flipped).open() {
                    Ok((_, image)) => {
                        assert_eq!(image, whole, "{kind}: byte {at} of {file} changed the image");
                    }
                    Err(StoreError::Corrupt(_)) => refused += 1,
                    Err(other) => panic!("{kind}: byte {at} of {file} gave {other}"),
                }
            }
            assert!(refused > 0, "{kind}: no flip in {file} was noticed");
        }
    }
    let _ = std::panic::take_hook();
}

/// Bytes of a file in which bits are flipped: more than this test writes.
const LOOKED_AT: usize = 2 * 1024 * 1024;

/// Something done to the rows behind the store's back.
type Change<'a> = &'a dyn Fn(&mut redb::Table<'_, &str, &[u8]>);

#[test]
fn a_row_under_another_key_or_missing_is_noticed_although_every_page_is_well() {
    let corrupt = |change: Change<'_>| {
        let disk = Disk::default();
        let (mut store, _) = disk.open().expect("an empty disk");
        store.apply(&[vec![put("a", "1"), put("b", "2")]]).expect("room");
        store.settle(&[]).expect("room");
        let transaction = store.database.begin_write().expect("alone");
        change(&mut transaction.open_table(ROWS[1].1).expect("was made"));
        transaction.commit().expect("room");
        drop(store);
        disk.open().map(|_| ()).map_err(|error| error.to_string())
    };
    let moved = corrupt(&|rows| {
        let record = rows.remove("a").expect("readable").expect("there").value().to_vec();
        rows.insert("c", record.as_slice()).expect("room");
    });
    assert_eq!(moved, Err("the store is corrupt: row `local/c` fails its checksum".to_owned()));
    let missing = corrupt(&|rows| drop(rows.remove("a").expect("readable")));
    let expected = "the store is corrupt: rows of `local` are missing or stale";
    assert_eq!(missing, Err(expected.to_owned()));
    assert_eq!(corrupt(&|_| {}), Ok(()));
}

#[test]
fn a_full_disk_is_named_and_nothing_is_reported_stored() {
    let disk = Disk::default();
    let (mut store, _) = disk.open().expect("an empty disk");
    disk.fill(true);
    let error = store.apply(&[vec![put("a", &"x".repeat(100_000))]]).expect_err("full");
    assert!(matches!(error, StoreError::Write(_)), "{error}");
}

fn watch() -> Watch {
    let local = quorate_core::ids::Replica { node: node(), incarnation: Default::default() };
    let published = Arc::new(crate::shell::tests::published(local, Default::default()));
    let (handle, _, _) = crate::handle::Handle::new(published);
    let build = crate::metrics::Build { version: String::new(), started_seconds: 0 };
    let meters = Arc::new(crate::metrics::Meters::new(&handle, &build, Vec::new()));
    Watch { meters, vitals: Arc::new(crate::health::Vitals::new(Default::default())) }
}

#[tokio::test]
async fn waiting_batches_are_reported_in_order_and_after_a_failure_none_is() {
    let disk = Disk::default();
    let (store, _) = disk.open().expect("an empty disk");
    let mut keeper = Keeper::of_store(store, (), crate::net::TokioNet, watch());
    for number in 0..100 {
        keeper.store(Ticket(number), vec![put("n", &number.to_string())]);
    }
    for number in 0..100 {
        assert!(matches!(keeper.report().await, Kept::Stored(Ticket(n)) if n == number));
    }
    assert_eq!(keeper.waiting(), 0);
    disk.fill(true);
    keeper.store(Ticket(100), vec![put("n", &"x".repeat(100_000))]);
    keeper.store(Ticket(101), vec![put("n", "x")]);
    assert!(matches!(keeper.report().await, Kept::Failed(StoreError::Write(_))));
    disk.fill(false);
    keeper.store(Ticket(102), vec![put("n", "x")]);
    assert!(keeper.try_report().is_none());
}

#[tokio::test]
async fn without_a_store_every_batch_is_stored_at_once() {
    let mut keeper = Keeper::of_memory();
    keeper.store(Ticket(3), vec![put("a", "1")]);
    assert!(matches!(keeper.try_report(), Some(Kept::Stored(Ticket(3)))));
}

#[test]
fn a_directory_is_private_and_names_its_holder() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = temporary("held");
    let directory = Directory::take(&path, &node()).expect("nobody has it");
    let (mut store, _) = directory.open().expect("an empty directory");
    store.apply(&[vec![put("a", "1")]]).expect("room");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("store/node.redb")), 0o600);
    let held = Directory::take(&path, &node()).expect_err("held").to_string();
    let holder = format!("is in use by process {} of node n1", std::process::id());
    assert!(held.ends_with(&holder), "{held}");
    drop((store, directory));
    let (_, image) = Directory::take(&path, &node()).expect("free").open().expect("whole");
    assert_eq!(image.len(), 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Directory::take(&path, &node()), Err(StoreError::Exposed { .. })));
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn a_place_that_is_no_directory_or_no_store_is_refused() {
    let path = temporary("wrong");
    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(Directory::take(&path, &node()), Err(StoreError::Directory { .. })));
    std::fs::remove_file(&path).unwrap();
    let directory = Directory::take(&path, &node()).expect("fresh");
    std::fs::create_dir(path.join("store")).unwrap();
    std::fs::write(path.join("store/node.redb"), "somebody else's file, long enough to read")
        .unwrap();
    let refused = directory.open().expect_err("no store");
    assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn the_engine_itself_is_asked_through_its_backend() {
    let files = (InMemoryBackend::new(), InMemoryBackend::new());
    let (mut store, image) = Store::open_on(files.0, files.1).expect("memory");
    assert!(image.is_empty());
    store.apply(&[]).expect("nothing to do");
}

/// What a store holds, as `key=value`.
fn held(image: &Image) -> Vec<String> {
    let text = |value: &Blob| String::from_utf8_lossy(value).into_owned();
    image.iter().map(|((_, key), value)| format!("{key}={}", text(value))).collect()
}

#[test]
fn of_a_write_that_was_cut_off_whole_batches_are_there_in_order_or_none() {
    let disk = Disk::default();
    let (mut store, _) = disk.open().expect("an empty disk");
    store.apply(&[vec![put("a", "told")]]).expect("room");
    let before = disk.bytes();
    // Three sectors, one, and two: whatever was told of stands before them.
    let (long, longer) = ("b".repeat(1200), "d".repeat(700));
    store
        .apply(&[vec![put("b", &long)], vec![put("c", "c")], vec![put("d", &longer)]])
        .expect("room");
    let after = disk.bytes();
    let place = |sector: usize| (1 + sector) * 512..(2 + sector) * 512;
    for reached in 0_u32..1 << 6 {
        let mut torn = before.clone();
        for sector in (0..6).filter(|sector| reached >> sector & 1 == 1) {
            torn[1][place(sector)].copy_from_slice(&after[1][place(sector)]);
        }
        let (_, image) = Disk::holding(torn).open().expect("nobody was told of more");
        let whole = (reached & 0b111 == 0b111, reached & 0b1000 != 0, reached >> 4 == 0b11);
        let expected = match whole {
            (false, ..) => 1,
            (true, false, _) => 2,
            (true, true, false) => 3,
            (true, true, true) => 4,
        };
        assert_eq!(image.len(), expected, "{reached:06b}: {:?}", image.keys());
    }
}

#[test]
fn what_is_left_of_a_write_that_was_cut_off_is_not_taken_for_a_later_one() {
    let disk = Disk::default();
    drop(disk.open().expect("an empty disk"));
    let (mut store, _) = disk.open().expect("closed in order");
    store.apply(&[vec![put("lost", "x")], vec![put("ghost", "x")]]).expect("room");
    let mut bytes = disk.bytes();
    bytes[1][..512].fill(0); // The first of the two never reached the disk.
    let disk = Disk::holding(bytes);
    let (mut store, image) = disk.open().expect("nobody was told");
    assert!(image.is_empty());
    store.apply(&[vec![put("new", "x")]]).expect("room");
    let (_, image) = Disk::holding(disk.bytes()).open().expect("power was lost");
    assert_eq!(held(&image), ["new=x"]);
}

#[test]
fn a_journal_that_is_full_begins_anew_and_what_is_larger_goes_past_it() {
    let disk = Disk::default();
    let (mut store, _) = disk.open().expect("an empty disk");
    let batches = JOURNAL_BYTES / 512 + 100;
    for number in 0..batches {
        store.apply(&[vec![put("n", &number.to_string()), put("m", "")]]).expect("room");
    }
    let large = "x".repeat(JOURNAL_BYTES + 1);
    store.apply(&[vec![put("large", &large)], vec![delete("m")]]).expect("room");
    store.apply(&[vec![put("small", "x")]]).expect("room");
    let (_, image) = Disk::holding(disk.bytes()).open().expect("power was lost");
    let last = format!("n={}", batches - 1);
    assert_eq!(held(&image), [format!("large={large}"), last, "small=x".to_owned()]);
}

#[test]
fn a_journal_that_is_gone_or_ahead_of_its_tree_is_refused() {
    let disk = Disk::default();
    let (mut store, _) = disk.open().expect("an empty disk");
    let old = disk.bytes();
    store.apply(&[vec![put("a", "1")]]).expect("room");
    store.settle(&[]).expect("room");
    store.apply(&[vec![put("b", "1")]]).expect("room");
    let new = disk.bytes();
    for (tree, journal, why) in [
        (&new[0], &Vec::new(), "it is missing, or cut short"),
        (&old[0], &new[1], "it goes on behind what the tree holds"),
    ] {
        let opened = Disk::holding([tree.clone(), journal.clone()]).open();
        let refused = opened.expect_err("a part of it is lost").to_string();
        assert_eq!(refused, format!("the store is corrupt: the journal is damaged: {why}"));
    }
}
