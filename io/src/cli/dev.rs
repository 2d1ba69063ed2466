//! `quorate dev`: three real nodes on this machine that keep one log, two workers, a trickle of requests.
//!
//! Every node is a child process with its own configuration file, store, sockets and certificate; what
//! works here works on three machines. Children end when this process does: they watch their standard input.

mod keyboard;
mod nodes;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;

use super::args::Dev;
use super::client::{CONTEXT, Failure};
use super::demo::{self, DemoWorker, Traffic};
use keyboard::Keyboard;
use nodes::{Node, Plan};

/// How long all three may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long node c stays frozen.
const FREEZE: Duration = Duration::from_secs(10);

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
    let workers = [alpha, beta];
    let plan = Plan::new(&args.directory, &workers).await.map_err(failed("the plan"))?;
    let mut nodes = plan.start().map_err(failed("the nodes"))?;
    write_context(&plan).map_err(failed(CONTEXT))?;
    let ready = wait_ready(&mut nodes, &workers).await;
    if ready.is_ok() {
        print_block(&nodes, &workers, args, &plan, started.elapsed());
        if !args.once {
            let totals = Arc::new(Traffic::default());
            let clients = nodes.iter().map(|node| node.client.clone()).collect();
            let traffic = tokio::spawn(demo::traffic(clients, Arc::clone(&totals)));
            follow(&mut nodes, &workers, &totals).await;
            traffic.abort();
        }
    }
    nodes::stop(&mut nodes).await;
    ready
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

/// Whether commands that are started in this folder look here.
fn is_context(path: &Path) -> bool {
    let (found, looked) = (path.canonicalize(), Path::new(CONTEXT).canonicalize());
    found.is_ok() && found.ok() == looked.ok()
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

fn print_block(nodes: &[Node], workers: &[DemoWorker], args: &Dev, plan: &Plan, took: Duration) {
    let program = program();
    let list = |rows: Vec<String>| rows.join("   ");
    let addresses = list(nodes.iter().map(|node| format!("{} {}", node.name, node.http)).collect());
    let workers = list(
        workers.iter().map(|worker| format!("{} http://{}", worker.name, worker.address)).collect(),
    );
    let tries = [
        "member list",
        "worker list",
        "worker pick --model demo",
        "credential list",
        "credential show codex-1",
        "raft status",
        "kv put app/greeting hello",
        "kv get app/greeting",
        "lock app/nightly -- echo held",
        "event follow",
    ];
    // Where other commands do not find the context by themselves they are told.
    let target = if is_context(&plan.directory.join("context")) {
        String::new()
    } else {
        format!(" --address {} --token {}", plan.first_address(), plan.token)
    };
    let tries: Vec<String> =
        tries.iter().map(|words| format!("{program}{target} {words}")).collect();
    println!("  nodes        {addresses}      ready in {:.1} s", took.as_secs_f64());
    println!("  workers      {workers}      model {}", demo::MODEL);
    println!(
        "  credentials  {}  (edit, add or delete a file and watch it arrive on all three)",
        plan.accounts().display()
    );
    println!(
        "  files        {}  (configuration, stores and logs of all three)",
        args.directory.display()
    );
    println!("  try this     {}", tries.join("\n               "));
    if Keyboard::is_there() && !args.once {
        println!(
            "  keys         1 alpha fails · 2 beta fails · k kill node b · z freeze node c for 10 s · q quit"
        );
    }
}

/// The program as it was started, unless the path finds the same file by its name alone.
fn program() -> String {
    let started = std::env::args().next().unwrap_or_else(|| "quorate".to_owned());
    let present = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("quorate")).find(|at| at.exists());
    let found = found.and_then(|found| std::fs::canonicalize(found).ok());
    if found.is_some() && found == present { "quorate".to_owned() } else { started }
}

/// Obeys the keyboard and prints what happens, until the end is asked for.
async fn follow(nodes: &mut [Node], workers: &[DemoWorker], totals: &Traffic) {
    let mut keyboard = Keyboard::open();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let mut stop = std::pin::pin!(nodes::asked_to_stop());
    let mut shown = String::new();
    let mut thaw: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            key = keyboard.key() => match key {
                Some('q') | None => return,
                Some('1') => toggle(workers.first()),
                Some('2') => toggle(workers.get(1)),
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
                let line = summary(nodes, totals).await;
                if line != shown {
                    println!("  {line}");
                    shown = line;
                }
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

/// What the first node that answers sees, in a line; changes only when something changed.
async fn summary(nodes: &[Node], totals: &Traffic) -> String {
    let unpicked = totals.unpicked.load(Ordering::Relaxed);
    for node in nodes {
        let members = node.client.get("/v1/cluster/members").await;
        let workers = node.client.get("/v1/workers").await;
        let (Ok(members), Ok(workers)) = (members, workers) else { continue };
        let row = |value: &serde_json::Value, name: &str, state: &str| {
            format!("{} {}", super::show::text(value, name), super::show::text(value, state))
        };
        let members =
            super::show::items(&members).iter().map(|member| row(member, "/id", "/state"));
        let workers =
            super::show::items(&workers).iter().map(|worker| row(worker, "/url", "/status"));
        let (members, workers): (Vec<_>, Vec<_>) = (members.collect(), workers.collect());
        return format!(
            "seen by {}: {}   {}   requests without a worker: {unpicked}",
            node.name,
            members.join(", "),
            workers.join(", "),
        );
    }
    "no node answers".to_owned()
}
