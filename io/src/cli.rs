//! The `quorate` command: noun, verb. It only ever speaks HTTP, but for what must work without a node.
//!
//! Data goes to stdout, words to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict,
//! 5 unavailable; `serve` also 75 restart wanted, 78 cannot be used as configured.

pub(crate) mod args;
pub(crate) mod client;
mod credentials;
mod demo;
mod dev;
mod doctor;
mod events;
mod kv;
mod local;
mod lock;
mod members;
pub(crate) mod operator;
mod raft;
mod recover;
mod serve;
mod show;
mod transfer;
mod workers;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Args, Command, Noun};
use client::{Client, Failure};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Command::Serve(serve) => return serve::run(&serve),
        Command::Dev(dev) => return dev::run(&dev),
        Command::Init(init) => local::init(&init),
        Command::Config(config) => local::config(&config),
        Command::Token(args::Token::New(token)) => local::token_new(&token),
        Command::Ca(verb) => local::ca(&verb),
        Command::Explain { code } => local::explain(&code),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "quorate", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => local::man(&Args::command()),
        Command::Remote(noun) => remote(&args.target, noun),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("quorate: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Everything that asks a running node, and its relatives that need none.
fn remote(target: &args::Target, noun: Noun) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let client = Client::new(target)?;
        match noun {
            Noun::Status => show::status(&client).await,
            Noun::Health => show::health(&client).await,
            Noun::Doctor => doctor::run(&client).await,
            Noun::Member(verb) => members::run(&client, verb).await,
            Noun::Members => members::run(&client, args::Member::default()).await,
            Noun::Worker(verb) => workers::run(&client, verb).await,
            Noun::Workers => workers::run(&client, args::Worker::default()).await,
            Noun::Credential(verb) => credentials::run(&client, verb).await,
            Noun::Credentials => credentials::run(&client, args::Credential::default()).await,
            Noun::Operator(words) => show::operate(&client, words).await,
            Noun::Pools => {
                let list = args::operator::Operator::Pool(args::operator::Pool::List);
                show::operate(&client, list).await
            }
            Noun::Kv(verb) => kv::run(&client, verb).await,
            Noun::Lock(lock) => lock::run(&client, &lock).await,
            Noun::Gossip(args::Gossip::Show) => show::gossip(&client).await,
            Noun::Event(args::Event::Follow { types }) => events::follow(&client, &types).await,
            Noun::Events => events::follow(&client, &[]).await,
            Noun::Raft(verb) => raft::raft(&client, verb).await,
            Noun::Node(verb) => show::node(&client, verb).await,
            Noun::Trace(args::Trace::Record { seconds }) => show::trace(&client, seconds).await,
            Noun::Key(args::Key::New) => local::key_new(),
            Noun::Key(args::Key::List) | Noun::Keys => show::keys(&client).await,
            Noun::Audit(args::Audit::Tail { after }) => show::audit(&client, after).await,
            Noun::Audit(args::Audit::Verify { directory }) => local::audit_verify(&directory),
        }
    })
}
