//! Puts into the store that everybody agrees on, reads of it in the process, and changes that are watched.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use quorate_core::ids::Ticket;
use quorate_core::kv::{
    Binding, Bounds, Command, Input, Key, Keys, Kv, Namespace, Operation, Output, Path, Settings,
    Transaction, VERSION, WatchRequest,
};
use quorate_core::limits;
use quorate_core::machine::Machine;
use quorate_core::wire::{Blob, encode};

use crate::fixtures::NOW;

/// What one sample applies.
const PUTS: usize = 100;

/// The store of a node, and where its log stands.
struct Store {
    kv: Kv,
    index: u64,
}

impl Store {
    /// With so many keys, and nothing of how they came.
    fn of(keys: u64) -> Store {
        let mut store = Store { kv: Kv::new(Settings::default()), index: 0 };
        store.handle(Input::Copy { here: true });
        let bytes_max = 4 << 30; // History of the very first versions counts, too.
        store.apply(encoded(&Command::Bound(Bounds { bytes_max, ..Bounds::default() })));
        let all: Vec<u64> = (0..keys).collect();
        for part in all.chunks(limits::KV_TRANSACTION_OPERATIONS_MAX) {
            store.apply(puts(part));
        }
        let revision = store.kv.state().revision();
        store.apply(encoded(&Command::Compact { revision }));
        assert_eq!(store.kv.state().keys(), keys, "every put was taken");
        store
    }

    fn apply(&mut self, payload: Blob) -> Vec<Output> {
        self.index += 1;
        self.handle(Input::Apply { index: self.index, log_time: 0, version: VERSION, payload })
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.kv.handle(NOW, input, &mut out);
        out
    }
}

fn space() -> Namespace {
    "bench".parse().expect("a namespace")
}

fn key(number: u64) -> Key {
    Key::new(format!("/workers/{number:07}").as_bytes()).expect("a key")
}

fn encoded(command: &Command) -> Blob {
    Blob::from(encode(command))
}

/// One transaction that puts 256 bytes under each of these keys.
fn puts(keys: &[u64]) -> Blob {
    let put = |number: &u64| Operation::Put {
        key: key(*number),
        value: Blob::from(vec![7; 256]),
        lease: Binding::None,
        previous: false,
    };
    let then: Vec<Operation> = keys.iter().map(put).collect();
    encoded(&Command::Transact(Transaction {
        namespace: space(),
        compare: Vec::new().into(),
        then: then.into(),
        otherwise: Vec::new().into(),
    }))
}

/// Numbers of keys all over `0..keys`.
fn spread(keys: u64) -> impl Iterator<Item = u64> {
    (0_u64..).map(move |turn| turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys)
}

/// New versions of keys that exist, an entry each.
#[divan::bench(args = [1_000, 1_000_000], sample_count = 100, sample_size = 1)]
fn put(bencher: Bencher<'_, '_>, keys: u64) {
    let mut store = Store::of(keys);
    let mut numbers = spread(keys);
    bencher
        .counter(ItemsCount::new(PUTS))
        .with_inputs(|| {
            numbers.by_ref().take(PUTS).map(|number| puts(&[number])).collect::<Vec<Blob>>()
        })
        .bench_local_values(|payloads| {
            for payload in payloads {
                black_box(store.apply(payload));
            }
        });
}

/// The version of a key, as any thread of the process reads it.
#[divan::bench(args = [1_000, 1_000_000])]
fn local_get(bencher: Bencher<'_, '_>, keys: u64) {
    let mut store = Store::of(keys);
    let view = store.kv.publish(NOW).expect("what was not yet published");
    let paths: Vec<Path> =
        spread(keys).take(4096).map(|number| Path::new(&space(), &key(number))).collect();
    let mut next = paths.iter().cycle();
    bencher.bench_local(|| {
        let path = next.next().expect("a cycle");
        assert!(view.get(path).is_some(), "every key is there");
    });
}

/// Changes beside 10 000 watches: each of a key of its own, and of all keys. Whatever is told is taken at once.
#[divan::bench(args = [false, true], sample_count = 20, sample_size = 1)]
fn change_that_is_watched(bencher: Bencher<'_, '_>, by_all: bool) {
    let keys = limits::KV_WATCHES_MAX as u64;
    let mut store = Store::of(keys);
    for number in 0..keys {
        let what = if by_all { Keys::Prefix(Blob::from("/")) } else { Keys::One(key(number)) };
        let request = WatchRequest { namespace: space(), keys: what, from: None, previous: false };
        store.handle(Input::Watch { ticket: Ticket(number), request });
    }
    let mut numbers = spread(keys);
    bencher.with_inputs(|| puts(&[numbers.next().expect("for ever")])).bench_local_values(
        |payload| {
            let told = store.apply(payload);
            let revision = store.kv.state().revision();
            let mut heard = 0;
            for output in told {
                if let Output::Watched { ticket, .. } = output {
                    heard += 1;
                    store.handle(Input::Taken { ticket, revision });
                }
            }
            assert_eq!(heard, if by_all { keys } else { 1 }, "whoever watches is told");
        },
    );
}
