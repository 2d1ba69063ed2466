//! `quorate dev`: three real nodes on this machine that keep one log, two providers with limits, two workers, and a
//! trickle of requests to all of them.
//!
//! Every node is a child process with its own configuration file, store, sockets and certificate; what
//! works here works on three machines. Children end when this process does: they watch their standard input.

mod keyboard;
mod nodes;
mod providers;
mod shown;
mod traffic;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;

use super::args::Dev;
use super::client::{CONTEXT, Failure};
use super::demo::{self, DemoWorker, Traffic};
use keyboard::Keyboard;
use nodes::{Node, Outside, Plan};
use providers::{Kind, Provider};
use shown::{Cast, News};
use traffic::Totals;

/// How long all three may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long node c stays frozen.
const FREEZE: Duration = Duration::from_secs(10);

/// The models that the providers are asked for.
const MODELS: [&str; 2] = ["gpt-5", "claude-sonnet-4"];

/// Held by the process that runs in the folder.
const LOCK: &str = "lock";

/// Runs until `q`, Ctrl-C or SIGTERM; with `--once` until everything is ready.
pub(super) fn run(args: &Dev) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quorate dev: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(develop(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("quorate dev: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn develop(args: &Dev) -> Result<(), Failure> {
    let started = Instant::now();
    let _lock = prepare(args)?;
    let alpha = DemoWorker::start("alpha", 9101).await.map_err(failed("worker alpha"))?;
    let beta = DemoWorker::start("beta", 9102).await.map_err(failed("worker beta"))?;
    let codex = Provider::start(Kind::Codex, 9201).await.map_err(failed("provider codex"))?;
    let claude = Provider::start(Kind::Claude, 9202).await.map_err(failed("provider claude"))?;
    let notices = traffic::hear_notices(9203).await.map_err(failed("the notices"))?;
    let outside = Outside {
        workers: vec![alpha.address, beta.address],
        providers: vec![(codex.kind.name(), codex.url()), (claude.kind.name(), claude.url())],
        notices,
    };
    let cast = Cast { workers: [alpha, beta], providers: [codex, claude] };
    let plan = Plan::new(&args.directory, outside).await.map_err(failed("the plan"))?;
    let mut nodes = plan.start().map_err(failed("the nodes"))?;
    write_context(&plan).map_err(failed(CONTEXT))?;
    let ready = wait_ready(&mut nodes, &cast.workers).await;
    if ready.is_ok() {
        shown::block(&nodes, &cast, args, &plan, started.elapsed());
        if !args.once {
            perform(&mut nodes, &cast).await;
        }
    }
    nodes::stop(&mut nodes).await;
    ready
}

/// Requests flow, and keys are obeyed, until the end is asked for.
async fn perform(nodes: &mut [Node], cast: &Cast) {
    let (picks, totals) = (Arc::new(Traffic::default()), Arc::new(Totals::default()));
    let clients: Vec<_> = nodes.iter().map(|node| node.client.clone()).collect();
    let to_workers = tokio::spawn(demo::traffic(clients.clone(), Arc::clone(&picks)));
    let to_pools = tokio::spawn(traffic::run(clients, Arc::clone(&totals)));
    follow(nodes, cast, &picks, &totals).await;
    to_workers.abort();
    to_pools.abort();
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure::Failed(format!("{what}: {error}"))
}

/// Takes the folder for this process; with `--clean` what an earlier run left goes.
fn prepare(args: &Dev) -> Result<File, Failure> {
    let failed = failed("the working folder");
    std::fs::create_dir_all(&args.directory).map_err(&failed)?;
    let path = args.directory.join(LOCK);
    let lock = File::options().create(true).append(true).open(path).map_err(&failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let folder = args.directory.display();
            let help = "stop it first, or choose another folder with --directory";
            return Err(Failure::Conflict(format!(
                "`quorate dev` runs in {folder} already: {help}"
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if args.clean {
        clean(&args.directory).map_err(&failed)?;
    }
    Ok(lock)
}

fn clean(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != LOCK {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Leaves address and token for other commands that run in this folder.
fn write_context(plan: &Plan) -> std::io::Result<()> {
    let context = json!({ "address": plan.first_address(), "token": plan.token });
    let path = plan.directory.join("context");
    nodes::write_private(&path, &context.to_string())
}

/// Waits until every node is ready, knows who leads the log and has seen both workers well.
async fn wait_ready(nodes: &mut [Node], workers: &[DemoWorker]) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_WITHIN;
    for node in nodes {
        while !is_ready(node, workers.len()).await {
            if let Some(status) = node.ended() {
                let log = node.log.display();
                let words = format!("node {} ended with {status}: see {log}", node.name);
                return Err(Failure::Failed(words));
            }
            if Instant::now() > deadline {
                let words = format!("node {} is not ready: see {}", node.name, node.log.display());
                return Err(Failure::Unavailable(words));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn is_ready(node: &Node, workers: usize) -> bool {
    let ready = node.client.raw(Method::GET, "/readyz", None, None).await;
    if !ready.is_ok_and(|answer| answer.status.is_success()) {
        return false;
    }
    let members = node.client.get("/v1/cluster/members?state=alive").await;
    let routable = node.client.get("/v1/workers?status=ready").await;
    let count = |list: Result<serde_json::Value, Failure>| {
        list.map_or(0, |list| super::show::items(&list).len())
    };
    let led = node.client.get("/v0/operations/raft").await;
    let led = led.is_ok_and(|log| log.get("leader").is_some_and(|leader| leader.is_string()));
    led && count(members) == nodes::NAMES.len() && count(routable) == workers
}

/// Obeys the keyboard and prints what happens, until the end is asked for.
async fn follow(nodes: &mut [Node], cast: &Cast, picks: &Traffic, totals: &Totals) {
    let mut keyboard = Keyboard::open();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let mut stop = std::pin::pin!(nodes::asked_to_stop());
    let mut news = News::default();
    let mut thaw: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            key = keyboard.key() => match key {
                Some('q') | None => return,
                Some('1') => toggle(cast.workers.first()),
                Some('2') => toggle(cast.workers.get(1)),
                Some('4') => refuse(cast.providers.first()),
                Some('5') => refuse(cast.providers.get(1)),
                Some('k') => nodes::toggle_life(nodes, 1),
                Some('z') if thaw.is_none() => {
                    nodes::freeze(nodes, 2);
                    thaw = Some(Instant::now() + FREEZE);
                }
                Some(_) => {}
            },
            _ = ticks.tick() => {
                nodes::restart_wanted(nodes);
                if thaw.is_some_and(|at| Instant::now() >= at) {
                    nodes::thaw(nodes, 2);
                    thaw = None;
                }
                news.say(nodes, picks, totals).await;
            }
        }
    }
}

fn toggle(worker: Option<&DemoWorker>) {
    if let Some(worker) = worker {
        let word = if worker.toggle() { "fails now" } else { "is well again" };
        println!("  worker {} {word}", worker.name);
    }
}

fn refuse(provider: Option<&Provider>) {
    let Some(provider) = provider else { return };
    let (refuses, name) = (provider.toggle(), provider.kind.name());
    match (provider.kind, refuses) {
        (Kind::Codex, true) => println!("  {name} answers 429 to every account now"),
        (Kind::Claude, true) => println!("  {name} is overloaded now"),
        (Kind::Codex | Kind::Claude, false) => println!("  {name} answers again"),
    }
}
