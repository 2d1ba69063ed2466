//! `quorate serve`: a node in the foreground.

use std::process::ExitCode;

use super::args::Serve;
use super::local::sources;
use crate::config::{self, Config};
use crate::daemon::{self, EXIT_CONFIG};

/// Runs a node until it ends.
pub(super) fn run(args: &Serve) -> ExitCode {
    let sources = sources(&args.sources);
    let config = match Config::load(&sources) {
        Ok((config, _)) => config,
        Err(problems) => {
            eprint!("{}", config::report(&problems));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quorate serve: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(daemon::run(config, sources, args.with_parent)) {
        Ok(code) => ExitCode::from(code),
        Err(refused) => {
            eprintln!("quorate serve: {refused}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
