//! The `quorate-fuzz` command: every target for a time, several side by side, with what was tried counted.
//!
//! Exit 0: every law held for enough inputs. 1: a law was broken, or too few inputs were tried. 2: usage.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use quorate_fuzz::TARGETS;
use quorate_fuzz::search::{Searched, Target, Until, search};

/// Tries arbitrary inputs against decoders and machines.
#[derive(Debug, Parser)]
#[command(name = "quorate-fuzz", version, max_term_width = 100)]
struct Cli {
    /// Targets; all if none is named.
    #[arg(value_name = "TARGET", value_parser = target)]
    targets: Vec<&'static Target>,
    /// How long each is searched.
    #[arg(long, value_name = "S", default_value_t = 20)]
    seconds: u64,
    /// What every input follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Targets at a time; the cores if not said.
    #[arg(long)]
    jobs: Option<usize>,
    /// The least inputs in all.
    #[arg(long, value_name = "N", default_value_t = 1)]
    least: u64,
}

fn target(name: &str) -> Result<&'static Target, String> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("no target is called `{name}`; there are {}", names()))
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    if cli.targets.is_empty() {
        cli.targets = TARGETS.iter().collect();
    }
    let done = search_all(&cli);
    let executions: u64 = done.iter().map(|searched| searched.executions).sum();
    let broken = done.iter().filter(|searched| searched.found.is_some()).count();
    let (count, seed, least) = (done.len(), cli.seed, cli.least);
    say(&format!(
        "{count} targets, {executions} executions from seed {seed}, {broken} laws broken"
    ));
    if executions < least {
        say(&format!("{least} executions were asked for: give it more --seconds or fewer --jobs"));
    }
    if broken == 0 && executions >= least { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Every target that is named, each told as it ends.
fn search_all(cli: &Cli) -> Vec<Searched> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs.unwrap_or_else(cores).max(1) {
            scope.spawn(|| {
                while let Some(target) = cli.targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let until = Until::Elapsed(Duration::from_secs(cli.seconds));
                    let searched = search(target, cli.seed, until);
                    say(&searched.to_string());
                    if let Some(path) = searched.keep() {
                        say(&format!("  the input is {}", path.display()));
                    }
                    done.lock().expect("no search panics").push(searched);
                }
            });
        }
    });
    done.into_inner().expect("no search panics")
}

fn say(line: &str) {
    // Whoever does not listen any more misses nothing but words.
    let _ = writeln!(std::io::stdout(), "{line}");
}
