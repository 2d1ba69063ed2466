//! The agreed log beside etcd: the same machine, the same run, the same callers, both with fsync on.
//!
//! ```text
//! cargo bench -p quorate-tests --bench beside_etcd            # puts and gets, three nodes of each in turn
//! cargo bench -p quorate-tests --bench beside_etcd -- kill    # from the death of the leader to the next write
//! cargo bench -p quorate-tests --bench beside_etcd -- idle    # what nobody asked for costs
//! cargo bench -p quorate-tests --bench beside_etcd -- start   # starts with a long log, and with 64 MiB of values
//! ```
//!
//! `etcd` must be on the path (Debian: `apt-get install etcd-server`). Both are spoken to by clients of this file's
//! own, as small as can be and alike, since they share the processors with what they measure: one connection each, one
//! question at a time. Rounds alternate, the figure is the median of rounds, and processor time of the servers is
//! told beside it, which depends less on what else the machine does. `QUORATE_ROUNDS` says how many rounds there are,
//! or kills.

mod cluster;
mod grpc;
mod load;
mod wire;

use std::time::Duration;

use cluster::{Cluster, Etcd, Quorate, kill_and_wait};
use load::{Fill, Load, Question, run};

/// How long each load lasts.
const LASTS: Duration = Duration::from_secs(3);
const KILLS: usize = 20;

fn main() {
    let what = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    match what.as_deref() {
        None | Some("puts") => puts_and_gets(),
        Some("kill") => kills(),
        Some("idle") => idle(),
        Some("start") => start(),
        Some(other) => panic!("`{other}` is none of puts, kill, idle, start"),
    }
}

/// One row of the table.
struct Row {
    name: &'static str,
    load: Load,
}

fn rows() -> Vec<Row> {
    let row =
        |name, question, callers| Row { name, load: Load { question, callers, lasts: LASTS } };
    vec![
        row("put, 1 caller", Question::Put, 1),
        row("put, 64 callers", Question::Put, 64),
        row("put, 256 callers", Question::Put, 256),
        row("linearizable get, 64 callers", Question::Get, 64),
        row("local get, 64 callers", Question::GetLocal, 64),
    ]
}

fn puts_and_gets() {
    let rounds = number("QUORATE_ROUNDS", 3);
    let only = std::env::var("QUORATE_ROW").unwrap_or_default();
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.name.contains(&only)).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(measured_all(&Etcd::start(3), &rows));
        ours.push(measured_all(&Quorate::start(3), &rows));
    }
    println!("| what | system | per second | median ms | p99 ms | server CPU µs each |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for row in &rows {
        let next = |rounds: &mut Vec<Vec<Told>>| {
            Told::median(rounds.iter_mut().map(|round| round.remove(0)).collect())
        };
        let (ours, theirs) = (next(&mut ours), next(&mut theirs));
        for (system, told) in [("etcd", &theirs), ("quorate", &ours)] {
            println!(
                "| {} | {system} | {:.0} | {:.2} | {:.2} | {:.0} |",
                row.name, told.rate, told.median, told.p99, told.cpu
            );
        }
        println!(
            "| | **ratio** | {:.2} | {:.2} | {:.2} | {:.2} |",
            ours.rate / theirs.rate,
            ours.median / theirs.median,
            ours.p99 / theirs.p99,
            ours.cpu / theirs.cpu
        );
    }
}

fn measured_all(cluster: &impl Cluster, rows: &[Row]) -> Vec<Told> {
    rows.iter().map(|row| measured(cluster, row.load)).collect()
}

/// What one load saw.
struct Told {
    rate: f64,
    median: f64,
    p99: f64,
    cpu: f64,
}

impl Told {
    fn median(mut all: Vec<Told>) -> Told {
        all.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let middle = all.len() / 2;
        all.into_iter().nth(middle).expect("there is a round at least")
    }
}

fn measured(cluster: &impl Cluster, load: Load) -> Told {
    let before = cluster.cpu();
    let mut took = run(cluster.leader(), load);
    let cpu = cluster.cpu().saturating_sub(before);
    took.sort_unstable();
    assert!(!took.is_empty(), "nothing was answered");
    let at = |share: usize| {
        took.get(took.len() * share / 100).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
    };
    Told {
        rate: took.len() as f64 / LASTS.as_secs_f64(),
        median: at(50),
        p99: at(99),
        cpu: cpu.as_secs_f64() * 1e6 / took.len() as f64,
    }
}

fn kills() {
    let kills = number("QUORATE_ROUNDS", KILLS);
    println!("| system | kills | median s | worst s |\n| --- | --- | --- | --- |");
    report("etcd", kill_and_wait(&mut Etcd::start(3), kills));
    report("quorate", kill_and_wait(&mut Quorate::start(3), kills));
}

fn report(system: &str, mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    let seconds = |gap: Option<&Duration>| gap.map_or(0.0, Duration::as_secs_f64);
    let (median, worst) = (seconds(gaps.get(gaps.len() / 2)), seconds(gaps.last()));
    println!("| {system} | {} | {median:.2} | {worst:.2} |", gaps.len());
}

fn idle() {
    let lasts =
        Duration::from_secs(u64::try_from(number("QUORATE_SECONDS", 20)).expect("a short while"));
    println!("| system | nodes | CPU ms per node and second | bytes sent per node and second |");
    println!("| --- | --- | --- | --- |");
    idle_of("etcd", &Etcd::start(3), 3, lasts);
    for nodes in [3, 15] {
        idle_of("quorate", &Quorate::start(nodes), nodes, lasts);
    }
}

fn idle_of(system: &str, cluster: &impl Cluster, nodes: usize, lasts: Duration) {
    std::thread::sleep(Duration::from_secs(10)); // Until it has settled.
    let (cpu, sent) = (cluster.cpu(), cluster.sent_bytes());
    std::thread::sleep(lasts);
    let cpu = cluster.cpu().saturating_sub(cpu).as_secs_f64() * 1000.0;
    let sent = cluster.sent_bytes() - sent;
    let shares = nodes as f64 * lasts.as_secs_f64();
    println!("| {system} | {nodes} | {:.1} | {:.0} |", cpu / shares, sent / shares);
}

fn start() {
    println!("| system | entries | keys | bytes of a value | ready after s |");
    println!("| --- | --- | --- | --- | --- |");
    for what in [load::HISTORY, load::VALUES] {
        start_with("etcd", Etcd::start(1), what);
        start_with("quorate", Quorate::start(1), what);
    }
}

fn start_with(system: &str, mut cluster: impl Cluster, what: Fill) {
    load::fill(cluster.leader(), what);
    let Fill { entries, keys, value } = what;
    let ready = cluster.restart_all().as_secs_f64();
    println!("| {system} | {entries} | {keys} | {} | {ready:.2} |", value.len());
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
