//! What a flight record costs the node that keeps it: the same work with and without, turn about.
//!
//! A caller asks one thing after another, each a turn of its own, so nothing is shared between turns: the most that
//! recording can cost. Both run on one thread, the record on its own, so that the time of this thread is what the loop
//! pays and the rest of the process what the writer does. A record that ended early would have cost less, so each is
//! read to its end.
//!
//! Absent on purpose: thresholds, and the disk's own time, which no turn waits for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorate::record::RecordSettings;
use quorate::serve::{Running, ServeSettings, start};
use quorate_core::ids::{ClusterId, NodeId};
use quorate_core::node::flight::{Block, MAGIC, next_block};
use quorate_core::node::settings::Profile;
use quorate_core::node::{Reply, Request, Settings};

/// Requests of one measurement.
const REQUESTS: u32 = 20_000;
/// Requests after which the caller takes a breath: on a busy machine the writer may not run for longer than its queue
/// of 4096 turns lasts, and the record would end.
const BURST: u32 = 500;
const BREATH: Duration = Duration::from_millis(20);
/// Measurements of each kind; the median is shown.
const ROUNDS: usize = 9;
const WITHIN: Duration = Duration::from_secs(30);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!("| work | record | wall µs | loop µs | writer µs | turns | bytes a turn |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for work in [Work::Drain, Work::Labels, Work::LabelsToAPeer] {
        let mut rounds: [Vec<Spent>; 2] = Default::default();
        for round in 0..ROUNDS {
            for (which, recorded) in [false, true].into_iter().enumerate() {
                let spent = runtime.block_on(measure(work, recorded, round));
                rounds.get_mut(which).expect("two kinds").push(spent);
            }
        }
        for (recorded, spent) in ["off", "on"].into_iter().zip(&rounds) {
            println!("{}", row(work, recorded, spent));
        }
    }
}

/// What is asked of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The least that a turn can do.
    Drain,
    /// A write of its own.
    Labels,
    /// The same, pushed to a peer over its link.
    LabelsToAPeer,
}

/// What one measurement took, per request.
struct Spent {
    wall: f64,
    this_thread: f64,
    others: f64,
    turns: f64,
    bytes_a_turn: f64,
}

async fn measure(work: Work, recorded: bool, round: usize) -> Spent {
    let folder = recorded.then(|| folder(round));
    let mut node = start(settings("a", None, folder.clone()), Vec::new()).await.expect("it starts");
    let mut peer = None;
    if work == Work::LabelsToAPeer {
        let there = settings("b", Some(node.address), None);
        peer = Some(start(there, Vec::new()).await.expect("it starts"));
        while node.handle.published().links.load().links.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let before = (cpu(libc::CLOCK_THREAD_CPUTIME_ID), process());
    let mut wall = 0.0;
    for burst in 0..REQUESTS / BURST {
        let began = Instant::now();
        for number in 0..BURST {
            let reply = node.handle.ask(request(work, burst * BURST + number), WITHIN).await;
            assert_eq!(reply, Ok(Reply::Done));
        }
        wall += began.elapsed().as_secs_f64();
        tokio::time::sleep(BREATH).await;
    }
    let this_thread = cpu(libc::CLOCK_THREAD_CPUTIME_ID) - before.0;
    end(&mut node, peer.as_mut()).await;
    let others = process() - before.1 - (cpu(libc::CLOCK_THREAD_CPUTIME_ID) - before.0);
    let (turns, bytes) = folder.as_deref().map_or((0, 0), read);
    let each = |spent: f64| spent / f64::from(REQUESTS);
    Spent {
        wall: each(wall) * 1e6,
        this_thread: each(this_thread) * 1e6,
        others: each(others).max(0.0) * 1e6,
        turns: turns as f64,
        bytes_a_turn: bytes as f64 / turns.max(1) as f64,
    }
}

/// The node first, which waits for its record.
async fn end(node: &mut Running, peer: Option<&mut Running>) {
    node.halt().await;
    if let Some(peer) = peer {
        peer.halt().await;
    }
}

fn request(work: Work, number: u32) -> Request {
    match work {
        Work::Drain => Request::Drain { on: number.is_multiple_of(2) },
        Work::Labels | Work::LabelsToAPeer => {
            let labels = BTreeMap::from([("turn".to_owned(), number.to_string())]);
            Request::SetLabels { labels }
        }
    }
}

fn settings(name: &str, seed: Option<SocketAddr>, record: Option<PathBuf>) -> ServeSettings {
    let listen: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let node: NodeId = name.parse().expect("a node id");
    let mut settings = Settings::new(node, ClusterId("bench".into()), listen, Profile::Local);
    settings.membership.join = seed.into_iter().map(|seed| seed.to_string()).collect();
    ServeSettings {
        node: settings,
        data: None,
        listen,
        advertise: None,
        keyring: Default::default(),
        insecure: false,
        tls: None,
        worker_keys: BTreeMap::new(),
        credentials: None,
        record: record.map(|directory| RecordSettings { directory, bytes_max: 1 << 32 }),
    }
}

fn folder(round: usize) -> PathBuf {
    std::env::temp_dir().join(format!("quorate-bench-record-{}-{round}", std::process::id()))
}

/// Turns and bytes of the record in `folder`, which is whole, and gone afterwards.
fn read(folder: &Path) -> (u64, u64) {
    let entries = std::fs::read_dir(folder).expect("a folder of records");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let (mut turns, mut bytes, mut ended) = (0, 0, String::new());
    for file in files {
        let content = std::fs::read(file).expect("a record");
        bytes += content.len() as u64;
        let mut rest = content.strip_prefix(&MAGIC).expect("the magic");
        while let Some(block) = next_block(&mut rest) {
            match block.expect("a whole block") {
                Block::Turn(_) => turns += 1,
                Block::End(why) => ended = why,
                Block::Head(_) | Block::Row(_) | Block::Next(_) => {}
            }
        }
    }
    assert_eq!(ended, "stopped", "a record that ended early costs less");
    std::fs::remove_dir_all(folder).expect("it is ours");
    (turns, bytes)
}

fn row(work: Work, recorded: &str, spent: &[Spent]) -> String {
    let median = |of: fn(&Spent) -> f64| {
        let mut all: Vec<f64> = spent.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let (wall, own) = (median(|one| one.wall), median(|one| one.this_thread));
    let (others, turns) = (median(|one| one.others), median(|one| one.turns));
    let bytes = median(|one| one.bytes_a_turn);
    format!("| {work:?} | {recorded} | {wall:.2} | {own:.2} | {others:.2} | {turns} | {bytes:.0} |")
}

fn process() -> f64 {
    cpu(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Processor seconds by that clock.
fn cpu(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the only clocks of processor time there are")]
    // SAFETY: `time` is a valid place for the answer, and the clocks exist on every system we build for.
    let told = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(told, 0, "there is a clock of processor time");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
