//! The gateway beside nginx: the same machine, the same run, the same callers, the same provider behind both.
//!
//! ```text
//! cargo bench -p quorate-tests --bench beside_nginx
//! ```
//!
//! `nginx` must be on the path (Debian: `apt-get install nginx-light`). It is what a reverse proxy does at least:
//! one upstream, connections kept on both sides, no access log, a key put into a header. The gateway does the same and
//! looks a token up, reads the request's model, picks an account, judges the answer. Callers and provider are of this
//! file, as small as can be, since they share the processors with what they measure. Rounds alternate, the figure is
//! the median of rounds, and processor time of the proxy is told beside it, which depends less on what else the machine
//! does. `QUORATE_ROUNDS` says how many rounds there are.

mod load;
mod proxies;

use std::time::Duration;

use load::{Target, run};
use proxies::{Direct, Nginx, Proxy, Quorate};

/// How long each load lasts.
const LASTS: Duration = Duration::from_secs(4);
/// Callers at once, each with a connection of its own, one request after the other.
const CALLERS: [usize; 3] = [1, 16, 64];

fn main() {
    let rounds = std::env::var("QUORATE_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(3);
    let provider = load::provider();
    let proxies: [Box<dyn Proxy>; 3] = [
        Box::new(Direct(provider)),
        Box::new(Nginx::start(provider)),
        Box::new(Quorate::start(provider)),
    ];
    println!("| callers | by | per second | median ms | p99 ms | proxy CPU µs each |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for callers in CALLERS {
        let mut all: Vec<Vec<Told>> = proxies.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (proxy, told) in proxies.iter().zip(&mut all) {
                told.push(measured(&**proxy, callers));
            }
        }
        let told: Vec<Told> = all.into_iter().map(Told::median).collect();
        for (proxy, told) in proxies.iter().zip(&told) {
            println!(
                "| {callers} | {} | {:.0} | {:.3} | {:.3} | {:.0} |",
                proxy.name(),
                told.rate,
                told.median,
                told.p99,
                told.cpu
            );
        }
        let [direct, nginx, quorate] = told.as_slice() else { unreachable!("three were measured") };
        println!(
            "| | **quorate / nginx** | {:.2} | {:.2} | {:.2} | {:.2} |",
            quorate.rate / nginx.rate,
            quorate.median / nginx.median,
            quorate.p99 / nginx.p99,
            quorate.cpu / nginx.cpu
        );
        println!(
            "| | added at the median, ms | | nginx {:.3}, quorate {:.3} | | |",
            nginx.median - direct.median,
            quorate.median - direct.median
        );
    }
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

fn measured(proxy: &dyn Proxy, callers: usize) -> Told {
    let Target { address, head } = proxy.target();
    let before = proxy.cpu();
    let mut took = run(&Target { address, head }, callers, LASTS);
    let cpu = proxy.cpu().saturating_sub(before);
    took.sort_unstable();
    assert!(!took.is_empty(), "{} answered nothing", proxy.name());
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
