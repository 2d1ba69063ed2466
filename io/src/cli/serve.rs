//! `quorate serve`: a node in the foreground.

use std::io::Read as _;
use std::process::ExitCode;

use rustix::process::{Signal, getpid, kill_process};

use super::args::Serve;
use super::local::sources;
use crate::config::{self, Config};
use crate::serve::{Exit, run as run_node};
use crate::threads;

/// Runs a node until it ends.
pub(super) fn run(args: &Serve) -> ExitCode {
    let sources = sources(&args.sources);
    let config = match Config::load(&sources) {
        Ok((config, _)) => Config { record: args.record.clone(), ..config },
        Err(problems) => {
            eprint!("{}", config::report(&problems));
            return ExitCode::from(Exit::Unusable.code());
        }
    };
    let runtime = match threads::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quorate serve: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    if args.with_parent {
        std::thread::spawn(stop_with_parent);
    }
    let exit = runtime.block_on(run_node(config, sources));
    ExitCode::from(exit.code())
}

/// The end of standard input is the end of the parent: an orderly stop, as by a signal.
fn stop_with_parent() {
    let mut ignored = [0; 64];
    while std::io::stdin().read(&mut ignored).is_ok_and(|count| count > 0) {}
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        tracing::error!("the parent is gone, and no signal says so: {error}");
    }
}
