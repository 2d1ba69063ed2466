//! One change to everybody, and what silence costs: this project beside `chitchat` and bare `foca`.
//!
//! Every cluster does the same work in virtual time. One node writes a value of some twenty bytes, a few seconds after
//! the one before; how long until 99.9 % of the nodes have it is counted in rounds of 200 ms, the gossip interval of all
//! three. Before the first write each cluster is left alone for a while, and what a node sends in a second of that is
//! counted: payload of datagrams and streams, for this project with the seal of each datagram, which the others lack.
//! A loss takes away that share of all datagrams; streams, which only this project has, send again later.
//!
//! ```text
//! cargo bench -p quorate-sim --features peers --bench peers             # 60 nodes
//! cargo bench -p quorate-sim --features peers --bench peers -- 1000     # takes long
//! ```

mod peer_chitchat;
mod peer_foca;
mod this;

/// The gossip interval of all.
const ROUND_MS: u64 = 200;
/// How closely the spread of a write is watched.
const STEP_MS: u64 = 20;
/// From a write to the next.
const APART_MS: u64 = 3_000;
/// How long a write is waited for.
const GIVE_UP_MS: u64 = 60_000;
/// Silence before the first write: the first half is not counted.
const SILENCE_MS: u64 = 60_000;

/// What is asked of a cluster.
#[derive(Debug, Clone, Copy)]
struct Case {
    nodes: usize,
    loss_percent: u64,
    writes: u64,
}

impl Case {
    /// How many nodes are 99.9 %.
    fn enough(self) -> usize {
        (self.nodes * 999).div_ceil(1000)
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Figures {
    /// Rounds until a write was everywhere; a write that was given up takes all of them.
    rounds: Vec<f64>,
    /// What a node sends in a second of silence.
    idle_bytes: f64,
}

fn main() {
    let wanted: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if wanted.is_empty() { vec![60] } else { wanted };
    println!(
        "| nodes | loss | cluster | rounds p50 | p99 | most | idle bytes per node and second |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for nodes in sizes {
        let writes = if nodes > 100 { 10 } else { 100 };
        for loss_percent in [0, 10, 30] {
            let case = Case { nodes, loss_percent, writes };
            row(case, "quorate", &this::measure(case));
            row(case, "foca", &peer_foca::measure(case));
            row(case, "chitchat", &peer_chitchat::measure(case));
        }
    }
}

fn row(case: Case, cluster: &str, figures: &Figures) {
    let mut rounds = figures.rounds.clone();
    rounds.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let place = (rounds.len() * percent).div_ceil(100).max(1) - 1;
        rounds.get(place).copied().unwrap_or(f64::INFINITY)
    };
    println!(
        "| {} | {} % | {cluster} | {:.1} | {:.1} | {:.1} | {:.0} |",
        case.nodes,
        case.loss_percent,
        at(50),
        at(99),
        at(100),
        figures.idle_bytes
    );
}

/// Milliseconds as rounds.
fn rounds(ms: u64) -> f64 {
    ms as f64 / ROUND_MS as f64
}

/// What each of `nodes` sent per second in the second half of the silence.
fn per_second(bytes: u64, nodes: usize) -> f64 {
    bytes as f64 / nodes as f64 / (SILENCE_MS / 2) as f64 * 1000.0
}
