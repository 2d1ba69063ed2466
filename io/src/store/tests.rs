//! The store against power cuts, flipped bits, full disks and second processes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use quorate_core::ids::Ticket;
use redb::backends::InMemoryBackend;

use super::*;

/// A disk in memory whose bytes the test can see, and that can refuse to write.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn holding(bytes: Vec<u8>) -> Disk {
        Disk { bytes: Arc::new(Mutex::new(bytes)), full: Arc::default() }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
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
    let (store, image) = Store::open_on(disk.clone()).expect("an empty disk");
    assert!(image.is_empty());
    let meta = (Keyspace::Meta, "incarnation".to_owned(), Some(Blob::from("7")));
    store.apply(&[vec![put("a", "1"), put("b", "1"), meta]]).expect("room");
    store
        .apply(&[vec![put("a", "2")], vec![delete("b"), put("c", ""), delete("x")]])
        .expect("room");
    drop(store);
    let (_, image) = Store::open_on(disk).expect("closed in order");
    let rows: Vec<String> = image.iter().map(|(key, value)| format!("{key:?}={value:?}")).collect();
    assert_eq!(rows, [r#"(Meta, "incarnation")="7""#, r#"(Local, "a")="2""#, r#"(Local, "c")="""#]);
}

#[test]
fn power_lost_without_warning_keeps_every_stored_batch() {
    let disk = Disk::default();
    let (store, _) = Store::open_on(disk.clone()).expect("an empty disk");
    for round in 0..20 {
        store.apply(&[vec![put("round", &round.to_string())]]).expect("room");
        let survivor = Disk::holding(disk.bytes());
        let (_, image) = Store::open_on(survivor).expect("a batch is whole");
        let stored = image.get(&(Keyspace::Local, "round".to_owned()));
        assert_eq!(stored, Some(&Blob::from(round.to_string().as_str())));
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless_and_never_read() {
    let disk = Disk::default();
    let (store, _) = Store::open_on(disk.clone()).expect("an empty disk");
    for round in 0..3_u32 {
        let rows = (0..40).map(|row| put(&format!("row/{row:02}"), &format!("{round}-{row}")));
        store.apply(&[rows.collect()]).expect("room");
    }
    let powerless = disk.bytes();
    drop(store);
    let closed = disk.bytes();
    std::panic::set_hook(Box::new(|_| {})); // The engine may give up loudly; that is caught.
    for (kind, bytes) in [("powerless", powerless), ("closed", closed)] {
        let (_, whole) = Store::open_on(Disk::holding(bytes.clone())).expect("nothing flipped");
        let mut refused = 0;
        // Everything that is not zero may matter; zeros are unused space, and are sampled.
        let places = (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 4099 == 0);
        for at in places.step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match Store::open_on(Disk::holding(flipped)) {
                Ok((_, image)) => assert_eq!(image, whole, "{kind}: byte {at} changed the image"),
                Err(StoreError::Corrupt(_)) => refused += 1,
                Err(other) => panic!("{kind}: byte {at} gave {other}"),
            }
        }
        assert!(refused > 0, "{kind}: no flip was noticed");
    }
    let _ = std::panic::take_hook();
}

/// Something done to the rows behind the store's back.
type Change<'a> = &'a dyn Fn(&mut redb::Table<'_, &str, &[u8]>);

#[test]
fn a_row_under_another_key_or_missing_is_noticed_although_every_page_is_well() {
    let corrupt = |change: Change<'_>| {
        let disk = Disk::default();
        let (store, _) = Store::open_on(disk.clone()).expect("an empty disk");
        store.apply(&[vec![put("a", "1"), put("b", "2")]]).expect("room");
        let transaction = store.database.begin_write().expect("alone");
        change(&mut transaction.open_table(ROWS[1].1).expect("was made"));
        transaction.commit().expect("room");
        drop(store);
        Store::open_on(disk).map(|_| ()).map_err(|error| error.to_string())
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
    let (store, _) = Store::open_on(disk.clone()).expect("an empty disk");
    disk.full.store(true, Ordering::Relaxed);
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
    let (store, _) = Store::open_on(disk.clone()).expect("an empty disk");
    let mut keeper = Keeper::of_store(store, (), watch());
    for number in 0..100 {
        keeper.store(Ticket(number), vec![put("n", &number.to_string())]);
    }
    for number in 0..100 {
        assert!(matches!(keeper.report().await, Kept::Stored(Ticket(n)) if n == number));
    }
    assert_eq!(keeper.waiting(), 0);
    disk.full.store(true, Ordering::Relaxed);
    keeper.store(Ticket(100), vec![put("n", &"x".repeat(100_000))]);
    keeper.store(Ticket(101), vec![put("n", "x")]);
    assert!(matches!(keeper.report().await, Kept::Failed(StoreError::Write(_))));
    disk.full.store(false, Ordering::Relaxed);
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
    let (store, _) = directory.open().expect("an empty directory");
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
    let (store, image) = Store::open_on(InMemoryBackend::new()).expect("memory");
    assert!(image.is_empty());
    store.apply(&[]).expect("nothing to do");
}
