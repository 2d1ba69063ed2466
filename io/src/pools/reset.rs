//! Runs the program that resets a login, once its pool is back.
//!
//! No shell: the configured words, with the target in the place of `{target}`. The program sees `PATH` and
//! `HOME` and nothing else of this process, has no input, no place for output, a process group of its own,
//! and another user where this process is root. After 30 s its whole group is killed, and whatever a program
//! that ended left behind in its group is killed, too. Each run is a line of the audit log.
//!
//! Absent on purpose: when to run (`quorate_core::node::pools::reset`), and trying again.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::Announcement;
use quorate_core::node::pools::reset::{Due, Resets};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::audit::{Audit, Record};
use crate::clock;
use crate::handle::Handle;
use crate::metrics::Meters;

/// The word of the command that a target takes the place of.
pub(crate) const PLACEHOLDER: &str = "{target}";
/// How long a run may take.
const RUN_TIME: Duration = Duration::from_secs(30);

/// How a run ended, as `pool_auth_resets_total` and the audit log tell it.
pub(crate) const OUTCOMES: [&str; 4] = ["ok", "error", "timeout", "unsupported"];

/// The program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetSettings {
    /// Its path and arguments; exactly one is `{target}`.
    pub argv: Vec<String>,
    /// As whom it runs: user and group; without, as this process.
    pub user: Option<(u32, u32)>,
}

/// Runs what recoveries call for until the node ends.
pub(crate) async fn tend(
    handle: Handle,
    settings: ResetSettings,
    audit: Option<Audit>,
    meters: Arc<Meters>,
) {
    let mut heard = handle.listen();
    let published = handle.shared();
    let node = published.members.load().local.node.to_string();
    drop(handle); // Only the loop keeps the channel open.
    let mut resets = Resets::default();
    let mut running = JoinSet::new();
    loop {
        for due in resets.due(clock::now(), &published.pools.load()) {
            running.spawn(run(settings.clone(), due, RUN_TIME));
        }
        let next = resets.next_due(clock::now()).map(|at| at.since(clock::now()));
        tokio::select! {
            announced = heard.recv() => match announced {
                Ok(heard) => {
                    if let Announcement::Pool(event) = &heard.announcement {
                        resets.hear(event);
                    }
                }
                Err(RecvError::Lagged(_)) => {} // What was missed is not known, and is not guessed.
                Err(RecvError::Closed) => return,
            },
            Some(Ok((due, outcome))) = running.join_next() => {
                resets.ended(&due.target);
                meters.auth_reset(outcome);
                tell(&node, &due, outcome, audit.as_ref()).await;
            }
            () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {}
        }
    }
}

async fn tell(node: &str, due: &Due, outcome: &'static str, audit: Option<&Audit>) {
    let (pool, target) = (due.pool.as_str(), due.target.as_str());
    match outcome {
        "ok" => tracing::info!(pool, target, "the login was reset"),
        _ => tracing::warn!(pool, target, outcome, "the login was not reset"),
    }
    let record = Record {
        at: clock::rfc3339(clock::wall()),
        node: node.to_owned(),
        actor: "system".to_owned(),
        verb: "auth_reset".to_owned(),
        object: format!("{pool} {target}"),
        outcome: outcome.to_owned(),
        ..Record::default()
    };
    if let Some(audit) = audit
        && let Err(error) = audit.append(record).await
    {
        tracing::warn!(%error, "a reset is not in the audit log");
    }
}

/// One run to its end.
async fn run(settings: ResetSettings, due: Due, time: Duration) -> (Due, &'static str) {
    let outcome = match command(&settings, &due.target) {
        Some(command) => perform(command, time).await,
        None => "unsupported",
    };
    (due, outcome)
}

/// The command, or `None` where this process may not become its user.
fn command(settings: &ResetSettings, target: &str) -> Option<Command> {
    let mut words = settings.argv.iter();
    let mut command = Command::new(words.next()?);
    command.args(words.map(|word| if word == PLACEHOLDER { target } else { word }));
    command.env_clear();
    for name in ["PATH", "HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    let ourselves = (rustix::process::geteuid(), rustix::process::getegid());
    match settings.user {
        Some((user, group)) if ourselves.0.is_root() => {
            command.uid(user).gid(group);
        }
        Some(user) if user != (ourselves.0.as_raw(), ourselves.1.as_raw()) => return None,
        None if ourselves.0.is_root() => return None,
        Some(_) | None => {}
    }
    Some(command)
}

async fn perform(mut command: Command, time: Duration) -> &'static str {
    let Ok(mut child) = command.spawn() else { return "error" };
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let waited = tokio::time::timeout(time, child.wait()).await;
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL); // Nobody is left in it, as a rule.
    }
    match waited {
        Ok(Ok(status)) if status.success() => "ok",
        Ok(_) => "error",
        Err(_) => {
            let _ = child.wait().await; // It was killed; this only takes it off the table.
            "timeout"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(argv: &[&str]) -> ResetSettings {
        let root = rustix::process::geteuid().is_root();
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        ResetSettings { argv, user: root.then_some((65_534, 65_534)) }
    }

    fn due(target: &str) -> Due {
        Due { pool: "codex".parse().expect("a name"), target: target.to_owned() }
    }

    /// A folder that anybody may write to, since the program is somebody else.
    fn folder(name: &str) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&folder, open).expect("its own folder");
        folder
    }

    async fn ended(argv: &[&str], target: &str, time: Duration) -> &'static str {
        run(settings(argv), due(target), time).await.1
    }

    #[tokio::test]
    async fn a_program_gets_the_target_as_one_word_and_little_else() {
        let folder = folder("reset-words");
        let file = folder.join("seen");
        let script = format!("cat > {0}; echo \"$1\" \"$#\" >> {0}; env >> {0}", file.display());
        let argv = ["/bin/sh", "-c", &script, "sh", "{target}"];
        assert_eq!(ended(&argv, "codex-1", RUN_TIME).await, "ok");
        let seen = std::fs::read_to_string(&file).expect("it was written");
        std::fs::remove_dir_all(&folder).expect("its own folder");
        let mut lines = seen.lines();
        assert_eq!(lines.next(), Some("codex-1 1"), "nothing came from standard input: {seen}");
        // A shell adds these by itself.
        let known = ["PATH=", "HOME=", "PWD=", "SHLVL=", "_=", "OLDPWD="];
        for line in lines {
            assert!(known.iter().any(|name| line.starts_with(name)), "the program saw {line}");
        }
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_is_an_error() {
        assert_eq!(ended(&["/bin/false", "{target}"], "a", RUN_TIME).await, "error");
        assert_eq!(ended(&["/no/such/program", "{target}"], "a", RUN_TIME).await, "error");
    }

    #[tokio::test]
    async fn a_program_that_sleeps_is_killed_with_its_children() {
        let folder = folder("reset-sleeps");
        let (begun, file) = (folder.join("begun"), folder.join("pid"));
        let script = format!(
            "sleep 1000 & echo $! > {0}; mv {0} {1}; wait",
            begun.display(),
            file.display()
        );
        let argv = ["/bin/sh", "-c", &script, "{target}"];
        assert_eq!(ended(&argv, "a", Duration::from_secs(2)).await, "timeout");
        let child = std::fs::read_to_string(&file).expect("two seconds start a shell");
        std::fs::remove_dir_all(&folder).expect("its own folder");
        assert!(gone(child.trim()).await, "the sleeping child {child} outlived its group");
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_ends_with_it() {
        let folder = folder("reset-leaves");
        let file = folder.join("pid");
        let script = format!("sleep 1000 & echo $! > {}", file.display());
        assert_eq!(ended(&["/bin/sh", "-c", &script, "{target}"], "a", RUN_TIME).await, "ok");
        let child = std::fs::read_to_string(&file).expect("it was written");
        std::fs::remove_dir_all(&folder).expect("its own folder");
        assert!(gone(child.trim()).await, "the child {child} was left behind");
    }

    /// Whether a process ends; who was killed may wait for somebody to take it off the table.
    async fn gone(process: &str) -> bool {
        let stat = std::path::Path::new("/proc").join(process).join("stat");
        for _ in 0..1000 {
            match std::fs::read_to_string(&stat) {
                Err(_) => return true,
                Ok(stat) if stat.contains(") Z ") => return true,
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        false
    }

    #[test]
    fn nobody_is_run_as_root_by_accident() {
        let root = rustix::process::geteuid().is_root();
        let argv = vec!["/bin/true".to_owned(), PLACEHOLDER.to_owned()];
        let as_us = ResetSettings { argv: argv.clone(), user: None };
        assert_eq!(command(&as_us, "a").is_none(), root);
        let as_other = ResetSettings { argv, user: Some((65_533, 65_533)) };
        assert_eq!(command(&as_other, "a").is_none(), !root);
    }
}
