//! The command line: what is asked, and what is printed.

mod marks;
mod scenario;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use quorate_sim::backend::Backend;
use quorate_sim::invariants::pools::Calls;
use quorate_sim::plan::{Plan, draw};
use quorate_sim::replay;
use quorate_sim::run::{self, Options, Outcome};
use quorate_sim::shrink::{self, Budget};
use quorate_sim::swarm::{self, Plans, Summary, leave};
use quorate_sim::trace::{self, Difference, hex};
use quorate_sim::world::faults::Level;
use quorate_sim::{invariants, plan, view};

/// Runs whole clusters in a false world.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds.
    Swarm {
        /// Which, half open.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: (u64, u64),
        #[command(flatten)]
        world: WorldArgs,
        /// Threads; the cores if not said.
        #[arg(long)]
        jobs: Option<usize>,
        /// Print exactly one JSON object.
        #[arg(long)]
        json: bool,
        /// Where failures leave their plan and trace.
        #[arg(long, value_name = "DIR", default_value = "target/sim")]
        out: PathBuf,
    },
    /// Run one seed.
    Run {
        /// Which.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        world: WorldArgs,
        /// Write every turn there.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
    },
    /// Run a trace or a flight record again, and compare.
    Replay {
        /// A trace, a record, or a folder of records.
        file: PathBuf,
        /// Even if another build wrote it.
        #[arg(long)]
        force: bool,
    },
    /// Make a failing plan, or the plan of a trace, small.
    Shrink {
        /// It.
        file: PathBuf,
        /// Its seed; the first that it names if not said.
        #[arg(long)]
        seed: Option<u64>,
        /// How long it may take.
        #[arg(long, value_name = "S", default_value_t = 120)]
        seconds: u64,
    },
    /// Show a plan, or the plan of a trace, as it runs in this build; or the trace that a node made of itself.
    View {
        /// It.
        file: PathBuf,
        /// Its seed; the first that it names if not said.
        #[arg(long)]
        seed: Option<u64>,
        /// Write one page for a browser there.
        #[arg(long, value_name = "OUT")]
        html: Option<PathBuf>,
    },
    /// Run scenario files.
    Scenario {
        /// A file, or a folder of them.
        path: PathBuf,
        /// Which seeds, half open; the file's own if not said.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Option<(u64, u64)>,
        /// Threads; the cores if not said.
        #[arg(long)]
        jobs: Option<usize>,
        /// Print exactly one JSON object.
        #[arg(long)]
        json: bool,
        /// Who drives the nodes; files that ask for what it cannot do are named and left out.
        #[arg(long, value_name = "NAME", default_value = "direct", value_parser = Backend::named)]
        backend: Backend,
    },
    /// Run each seed twice, the second time in another process, and compare.
    Check {
        /// Which, half open.
        #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "1..65")]
        seeds: (u64, u64),
        #[command(flatten)]
        world: WorldArgs,
    },
    /// Say what is promised, when it is looked at, and how often it was.
    Invariants {
        /// Seeds to count with, half open.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Option<(u64, u64)>,
        /// Print exactly one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say which places in the machines were reached, and by which seeds; the missing ones first.
    Marks {
        /// Seeds to reach them with, half open.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Option<(u64, u64)>,
        /// What `swarm --json` and `scenario --json` printed, to be added.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        reports: Vec<PathBuf>,
        /// Print exactly one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let out one deliberate mistake after another: each must break the promise that watches for it.
    #[cfg(feature = "canary")]
    Canaries {
        /// Processor seconds for each.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// This one alone.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// Make what breaks it small as well, in at most so many seconds each.
        #[arg(long, value_name = "S")]
        shrink: Option<u64>,
    },
    /// Print the plan of a seed.
    #[command(hide = true)]
    Plan {
        /// Which.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        world: WorldArgs,
    },
}

#[derive(Debug, Clone, Args)]
struct WorldArgs {
    /// Nodes; drawn if not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=250))]
    nodes: Option<u16>,
    /// Seconds of safety; drawn if not said.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time: Option<u64>,
    /// A scenario to perturb.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// Give every plan a pool of accounts; one in four has one if not said.
    #[arg(long, conflicts_with = "base")]
    pools: bool,
    /// Who drives the nodes.
    #[arg(long, value_name = "NAME", default_value = "direct", value_parser = Backend::named)]
    backend: Backend,
}

/// Plans drawn for a backend: what is beyond its reach is left out.
struct Drawn {
    world: draw::World,
    backend: Backend,
}

impl Plans for Drawn {
    fn of(&self, seed: u64) -> Plan {
        match self.backend {
            Backend::Direct => self.world.of(seed),
            #[cfg(feature = "turmoil")]
            Backend::Turmoil => swarm::Within(&self.world).of(seed),
        }
    }
}

/// What ends a command early: exit 2 and a sentence.
type Refused = String;

impl WorldArgs {
    fn world(&self) -> Result<Drawn, Refused> {
        let base = self.base.as_deref().map(read).transpose()?;
        let (nodes, pools) = (self.nodes.map(usize::from), self.pools);
        let world = draw::World { nodes, seconds: self.time, base, pools };
        Ok(Drawn { world, backend: self.backend })
    }

    /// The same flags, for another process or for whoever repeats a run.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let other = (self.backend != Backend::default()).then_some(self.backend);
        let pairs = [
            ("--nodes", self.nodes.map(|nodes| nodes.to_string())),
            ("--time", self.time.map(|time| time.to_string())),
            ("--base", self.base.as_ref().map(|base| base.display().to_string())),
            ("--backend", other.map(|backend| backend.name().to_owned())),
        ];
        for (flag, value) in pairs {
            words.extend(value.map(|value| [flag.to_owned(), value]).into_iter().flatten());
        }
        words.extend(self.pools.then(|| "--pools".to_owned()));
        words
    }

    fn again(&self, seed: u64) -> String {
        let words = self.words();
        let gap = if words.is_empty() { "" } else { " " };
        format!("quorate-sim run --seed {seed}{gap}{}", words.join(" "))
    }
}

/// Reads the command line and obeys.
pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Swarm { seeds, world, jobs, json, out } => swarm(seeds, &world, jobs, json, &out),
        Command::Run { seed, world, trace } => run_one(seed, &world, trace),
        Command::Replay { file, force } => replay_file(&file, force),
        Command::Shrink { file, seed, seconds } => shrink_file(&file, seed, seconds),
        Command::View { file, seed, html } => view_file(&file, seed, html.as_deref()),
        Command::Scenario { path, seeds, jobs, json, backend } => {
            scenario::run(&path, seeds, (jobs.unwrap_or_else(cores), backend), json)
        }
        Command::Check { seeds, world } => check(seeds, &world),
        Command::Invariants { seeds, json } => list_invariants(seeds, json),
        Command::Marks { seeds, reports, json } => marks::list(seeds, &reports, json),
        #[cfg(feature = "canary")]
        Command::Canaries { seconds, only, shrink } => {
            canaries(seconds, only.as_deref(), shrink.map(Duration::from_secs))
        }
        Command::Plan { seed, world } => world.world().map(|world| {
            say(world.of(seed).to_string().trim_end());
            true
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(refused) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "error: {refused}");
            ExitCode::from(2)
        }
    }
}

/// A line on stdout. A reader that has gone away wants no more of them.
fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no range of seeds like `1..65`");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    Ok((first.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: &Path) -> Result<Plan, Refused> {
    trace::read::plan(path).map(|(plan, _)| plan).map_err(|error| error.to_string())
}

fn swarm(
    seeds: (u64, u64),
    args: &WorldArgs,
    jobs: Option<usize>,
    json: bool,
    out: &Path,
) -> Result<bool, Refused> {
    let world = args.world()?;
    let heard = |outcome: &Outcome| {
        if outcome.failure.is_some() && !json {
            say(&outcome.line());
        }
    };
    let jobs = jobs.unwrap_or_else(cores);
    let mut summary = swarm::swarm(&world, args.backend, seeds, jobs, &heard);
    let cpu = swarm::cpu_seconds();
    let left = leave::leave(out, &world, args.backend, &summary.failures, jobs);
    summary.shrunk = left.map_err(|error| format!("{}: {error}", out.display()))?;
    let again = |(seed, _)| args.again(seed);
    if json {
        say(&summary.json("swarm", cpu, &again, Some(out)).to_string());
    } else {
        say(&told(&summary, cpu));
    }
    Ok(summary.is_clean())
}

fn told(summary: &Summary, cpu: f64) -> String {
    let virtual_seconds = summary.virtual_us as f64 / 1e6;
    let (seeds, failed) = (summary.hashes.len(), summary.failures.len());
    let slowest = summary.converged.iter().max().copied().unwrap_or_default() as f64 / 1e6;
    let levels: Vec<String> = Level::ALL.into_iter().map(|level| done(summary, level)).collect();
    format!(
        "{seeds} seeds, {failed} failed, {virtual_seconds:.0} virtual seconds in {cpu:.1} CPU seconds \
         ({:.0} to 1), {} events ({:.0} a CPU second), slowest quiet {slowest:.0}s, hash {}\n{}\n{}",
        virtual_seconds / cpu,
        summary.events,
        summary.events as f64 / cpu,
        hex(summary.hash()),
        levels.join("\n"),
        called(summary.calls),
    )
}

/// What callers of pools got.
fn called(calls: Calls) -> String {
    let Calls { sent, tries, refused, cooling } = calls;
    format!(
        "pools: {sent} calls, of these {tries} tries, {refused} refused; calls to a cooling member while a servable \
         one existed: {cooling}"
    )
}

/// What was done on one level, a seed of it, and which classes hardly took part.
fn done(summary: &Summary, level: Level) -> String {
    let on = |class: &str| Level::of(class) == level;
    let classes = summary.faults.all().filter(|(class, count)| on(class) && *count > 0);
    let classes: Vec<String> = classes.map(|(class, count)| format!("{class} {count}")).collect();
    let total = summary.faults.total(level);
    let each = total as f64 / summary.hashes.len().max(1) as f64;
    let rare = summary.faults.rare(level).join(", ");
    let rare = if rare.is_empty() { "none" } else { &rare };
    let (name, classes) = (level.name(), classes.join(", "));
    format!("{name}: {total}, {each:.0} a seed ({classes}); below 1 % of them: {rare}")
}

fn run_one(seed: u64, args: &WorldArgs, trace: Option<PathBuf>) -> Result<bool, Refused> {
    let plan = args.world()?.of(seed);
    let backend = args.backend;
    let options = Options { trace, keep: true, backend, ..Options::default() };
    let outcome = run::run(&plan, seed, &options);
    outcome.story.iter().for_each(|line| say(line));
    say(&outcome.line());
    Ok(outcome.failure.is_none())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Refused> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let inner = entry.map_err(wrong)?.path();
        if inner.is_dir() {
            found.extend(files(&inner)?);
        } else if inner.extension().is_some_and(|extension| extension == "scn") {
            found.push(inner);
        }
    }
    found.sort();
    Ok(found)
}

fn named_as_it_lies(path: &Path, plan: &Plan) -> Result<(), Refused> {
    if shrink::name_of(path) == plan.name {
        return Ok(());
    }
    Err(format!("{}: it says that it is `{}`", path.display(), plan.name))
}

fn replay_file(file: &Path, force: bool) -> Result<bool, Refused> {
    let wrong = |error: trace::read::ReadError| error.to_string();
    let differences: Vec<Difference> = if is_trace(file) {
        replay::world(file, force).map_err(wrong)?.into_iter().collect()
    } else {
        let flights = replay::records(file, force).map_err(wrong)?;
        for flight in &flights {
            let ended = flight.ended.as_deref().unwrap_or("killed");
            say(&format!("{}: {} turns, {ended}", flight.replica, flight.turns));
        }
        flights.into_iter().filter_map(|flight| flight.difference).collect()
    };
    let Some(first) = differences.first() else {
        say("identical");
        return Ok(true);
    };
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "it had ended".into());
    say(&format!("event {} differs", first.event));
    say(&format!("  there: {}", side(&first.there)));
    say(&format!("  here:  {}", side(&first.here)));
    Ok(false)
}

fn view_file(file: &Path, seed: Option<u64>, html: Option<&Path>) -> Result<bool, Refused> {
    let picture = look(file, seed).map_err(|error| error.to_string())?;
    let Some(out) = html else {
        say(picture.text().trim_end());
        return Ok(true);
    };
    let page = picture.html();
    std::fs::write(out, &page).map_err(|error| format!("{}: {error}", out.display()))?;
    say(&format!("{}: {} KiB", out.display(), page.len() / 1024));
    Ok(true)
}

/// What there is to see of a plan, of a world's trace, or of a trace that a node made of itself.
fn look(file: &Path, seed: Option<u64>) -> Result<view::Picture, trace::read::ReadError> {
    let head = match is_trace(file) {
        true => Some(trace::read::open(file)?.0),
        false => None,
    };
    if head.as_ref().is_some_and(|head| head.kind == "node") {
        return view::node::look(file);
    }
    let (plan, own) = trace::read::plan(file)?;
    let seed = seed.or(own).or(plan.seeds.map(|(first, _)| first)).unwrap_or(1);
    let command = format!("quorate-sim scenario {} --seeds {seed}..{}", file.display(), seed + 1);
    let command = head.map_or(command, |head| head.command);
    Ok(view::look(&plan, seed, &command))
}

fn is_trace(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jsonl")
}

fn shrink_file(file: &Path, seed: Option<u64>, seconds: u64) -> Result<bool, Refused> {
    let (plan, own) = trace::read::plan(file).map_err(|error| error.to_string())?;
    let seed = seed.or(own).or(plan.seeds.map(|(first, _)| first)).unwrap_or(1);
    let budget = Budget { time: Duration::from_secs(seconds), ..Budget::default() };
    let began = std::time::Instant::now();
    let Some(mut shrunk) = shrink::shrink(&plan, seed, budget) else {
        return Err(format!("{}: seed {seed} does not fail", file.display()));
    };
    let small = file.with_extension("small.scn");
    shrunk.plan.name = shrink::name_of(&small);
    let text = shrunk.plan.to_string();
    std::fs::write(&small, &text).map_err(|error| format!("{}: {error}", small.display()))?;
    say(text.trim_end());
    let (lines, before) = (shrunk.lines(), plan.to_string().lines().count());
    let (runs, seconds) = (shrunk.runs, began.elapsed().as_secs_f64());
    say(&format!("{lines} lines of {before}, {runs} runs in {seconds:.1}s: {}", small.display()));
    Ok(true)
}

/// Each seed here and in another process.
fn check(seeds: (u64, u64), args: &WorldArgs) -> Result<bool, Refused> {
    let world = args.world()?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut same = seeds.0 < seeds.1;
    for seed in seeds.0..seeds.1 {
        let options = Options { backend: args.backend, ..Options::default() };
        let here = run::run(&world.of(seed), seed, &options);
        let there = Process::new(&own)
            .args(["run", "--seed", &seed.to_string()])
            .args(args.words())
            .output()
            .map_err(|error| error.to_string())?;
        let there = String::from_utf8_lossy(&there.stdout).into_owned();
        let there = there.lines().last().unwrap_or_default().to_owned();
        if here.line() != there {
            same = false;
            say(&format!("seed {seed} differs\n  here:  {}\n  there: {there}", here.line()));
            first_difference(seed, &world.of(seed), args, &own)?;
        }
    }
    let count = seeds.1.saturating_sub(seeds.0);
    say(&format!("{count} seeds twice: {}", if same { "identical" } else { "different" }));
    Ok(same)
}

/// Traces both runs and prints the first line in which they part.
fn first_difference(seed: u64, plan: &Plan, args: &WorldArgs, own: &Path) -> Result<(), Refused> {
    let folder = std::env::temp_dir().join(format!("quorate-sim-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let (here, there) = (folder.join("here.jsonl"), folder.join("there.jsonl"));
    let (trace, backend) = (Some(here.clone()), args.backend);
    run::run(plan, seed, &Options { trace, backend, ..Options::default() });
    Process::new(own)
        .args(["run", "--seed", &seed.to_string(), "--trace"])
        .arg(&there)
        .args(args.words())
        .output()
        .map_err(|error| error.to_string())?;
    let texts = [here, there].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let [here, there] = &texts;
    let differs = here.lines().zip(there.lines()).skip(1).find(|(one, other)| one != other);
    if let Some((one, other)) = differs {
        say(&format!("first event that differs:\n  here:  {one}\n  there: {other}"));
    }
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())
}

#[cfg(feature = "canary")]
fn canaries(seconds: u64, only: Option<&str>, small: Option<Duration>) -> Result<bool, Refused> {
    let all = quorate_sim::canaries::CANARIES.iter();
    let wanted: Vec<_> = all.filter(|one| only.is_none_or(|name| name == one.name)).collect();
    if wanted.is_empty() {
        let name = only.unwrap_or_default();
        let names = quorate_sim::canaries::CANARIES.iter().map(|canary| canary.name);
        return Err(format!("no canary is called `{name}`{}", plan::names::nearest(name, names)));
    }
    Ok(wanted.into_iter().fold(true, |all, canary| {
        let caught = quorate_sim::canaries::hunt(canary, seconds);
        say(&caught.line());
        if let (Some((seed, _)), Some(time)) = (&caught.by, small) {
            let began = std::time::Instant::now();
            let budget = Budget { time, ..Budget::default() };
            if let Some((before, shrunk)) = quorate_sim::canaries::shrink(canary, *seed, budget) {
                let (lines, runs, id) = (shrunk.lines(), shrunk.runs, &shrunk.failure.id);
                let seconds = began.elapsed().as_secs_f64();
                say(&format!("  {id} in {lines} lines of {before}, {runs} runs in {seconds:.1}s"));
                say(shrunk.plan.to_string().trim_end());
            }
        }
        all && caught.by.is_some()
    }))
}

fn list_invariants(seeds: Option<(u64, u64)>, json: bool) -> Result<bool, Refused> {
    let world = draw::World::default();
    let summary = seeds.map(|seeds| swarm::swarm(&world, Backend::Direct, seeds, cores(), &|_| {}));
    let summary = summary.unwrap_or_default();
    let demanded = demanded();
    let mut rows = Vec::new();
    for (index, row) in invariants::TABLE.iter().enumerate() {
        let (evaluated, failed) = summary.ledger.counts(index);
        let scenarios: Vec<&String> = demanded
            .iter()
            .filter(|(_, ids)| ids.iter().any(|id| id == row.id))
            .map(|(name, _)| name)
            .collect();
        if json {
            rows.push(serde_json::json!({
                "id": row.id, "statement": row.statement, "when": row.when.name(),
                "evaluated": evaluated, "failed": failed, "scenarios": scenarios,
            }));
        } else {
            let names: Vec<&str> = scenarios.iter().map(|name| name.as_str()).collect();
            let (id, when, statement) = (row.id, row.when.name(), row.statement);
            say(&format!("{id:<6} {when:<8} {evaluated:>12}  {statement}  [{}]", names.join(" ")));
        }
    }
    if json {
        say(&serde_json::json!({"format": 1, "command": "invariants", "invariants": rows})
            .to_string());
    }
    Ok(summary.failures.is_empty())
}

/// Scenarios of the repository, where it is at hand, and the ids that each demands.
fn demanded() -> Vec<(String, Vec<String>)> {
    let files = files(Path::new("tests/scenarios")).unwrap_or_default();
    let plans = files.iter().filter_map(|file| read(file).ok());
    let ids = |plan: &Plan| {
        let named = |then: &plan::Then| match then {
            plan::Then::Always(ids) | plan::Then::By(_, ids) | plan::Then::End(ids) => ids.clone(),
            plan::Then::Answer(..) | plan::Then::Mark(_) | plan::Then::Count { .. } => Vec::new(),
        };
        plan.thens.iter().flat_map(named).collect()
    };
    plans.map(|plan| (plan.name.clone(), ids(&plan))).collect()
}
