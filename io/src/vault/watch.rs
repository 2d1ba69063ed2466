//! Who edits the folder is heard of at once, and at worst within a minute.
//!
//! Events of the kernel are hints: after 100 ms without another one for a path, the node is told to look
//! there. What they cannot say (an overflow, a folder that moved, a link that was turned) becomes a look at
//! everything. The node also looks at everything by itself every minute, so a lost event costs a wait.
//!
//! Absent on purpose: reading. What is there is found by the look that the node asks for.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use quorate_core::node::Request;
use quorate_core::node::credentials::{Command, Key};
use quorate_core::time::Instant;
use tokio::sync::mpsc;

use super::file::UNFINISHED;
use crate::clock;
use crate::handle::{AskError, Handle};

/// Silence after which a path is looked at.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often somebody looks whether the folder is still the same one.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Events that wait; beyond them everything is looked at.
const EVENTS_MAX: usize = 4096;
/// How long the node may take to note a hint.
const ASK_TIME: Duration = Duration::from_secs(5);

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// Look there.
    At(Key),
    /// Look everywhere.
    Everywhere,
}

/// Watches `root` until the node has ended.
pub(super) async fn follow(root: PathBuf, handle: Handle) {
    let lost = Arc::new(AtomicBool::new(false));
    let (told, mut hears) = mpsc::channel(EVENTS_MAX);
    let mut watched = Watched::default();
    let mut due: BTreeMap<Key, Instant> = BTreeMap::new();
    let mut ticks = tokio::time::interval(LOOK_AFTER);
    loop {
        let next = due.values().min().copied();
        let wait = next.map_or(LOOK_AFTER, |at| at.since(clock::now()));
        let mut everywhere = false;
        tokio::select! {
            Some(said) = hears.recv() => match said {
                Said::At(key) => drop(due.insert(key, clock::now() + DEBOUNCE)),
                Said::Everywhere => everywhere = true,
            },
            () = tokio::time::sleep(wait), if next.is_some() => {}
            _ = ticks.tick() => everywhere = watched.renew(&root, &told, &lost),
        }
        everywhere |= lost.swap(false, Ordering::Relaxed);
        let keys = ripe(&mut due, clock::now());
        let hint = (!keys.is_empty()).then_some(Command::Hint { keys });
        let rescan = everywhere.then_some(Command::Rescan);
        for command in hint.into_iter().chain(rescan) {
            match handle.ask(Request::Credential(command), ASK_TIME).await {
                Err(AskError::Stopped) => return,
                Ok(_) | Err(AskError::Deadline) => {}
                Err(AskError::QueueFull) => lost.store(true, Ordering::Relaxed),
            }
        }
    }
}

/// Takes out what was quiet for long enough.
fn ripe(due: &mut BTreeMap<Key, Instant>, now: Instant) -> Vec<Key> {
    let ripe: Vec<Key> =
        due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
    due.retain(|_, at| *at > now);
    ripe
}

/// The kernel's watch of one folder, for as long as it is that folder.
#[derive(Default)]
struct Watched {
    watcher: Option<RecommendedWatcher>,
    folder: Option<(u64, u64)>,
    refused: bool,
}

impl Watched {
    /// Watches anew if another folder stands there now; says whether that is so.
    fn renew(&mut self, root: &Path, told: &mpsc::Sender<Said>, lost: &Arc<AtomicBool>) -> bool {
        let folder = std::fs::metadata(root).ok().map(|found| (found.dev(), found.ino()));
        if folder == self.folder {
            return false;
        }
        self.folder = folder;
        self.watcher = None;
        if folder.is_none() {
            return true;
        }
        match watch(root, told.clone(), lost.clone()) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.refused = false;
            }
            Err(error) if !self.refused => {
                self.refused = true;
                let error = &error.kind;
                tracing::warn!(
                    ?error,
                    "the folder of credentials is looked at once a minute: \
                    the kernel refuses to watch it"
                );
            }
            Err(_) => {}
        }
        true
    }
}

fn watch(
    root: &Path,
    told: mpsc::Sender<Said>,
    lost: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    let folder = root.to_owned();
    let hear = move |event: notify::Result<notify::Event>| {
        for said in of_event(&folder, event) {
            if told.try_send(said).is_err() {
                lost.store(true, Ordering::Relaxed);
            }
        }
    };
    let mut watcher = notify::recommended_watcher(hear)?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn of_event(root: &Path, event: notify::Result<notify::Event>) -> Vec<Said> {
    let Ok(event) = event else { return vec![Said::Everywhere] };
    if event.need_rescan() {
        return vec![Said::Everywhere];
    }
    let read = matches!(event.kind, EventKind::Access(kind) if !is_close_of_write(kind));
    if read {
        return Vec::new();
    }
    // A folder that changes in its rights says nothing of its records.
    let rights = matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_)));
    event.paths.iter().filter_map(|path| of_path(root, path, rights)).collect()
}

fn is_close_of_write(kind: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    kind == AccessKind::Close(AccessMode::Write)
}

/// What a changed path means.
fn of_path(root: &Path, path: &Path, rights: bool) -> Option<Said> {
    let inner = path.strip_prefix(root).ok()?;
    let name = inner.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with(UNFINISHED) {
        return None;
    }
    let id = inner.to_str().and_then(|inner| inner.strip_suffix(".json"));
    let key = id.and_then(|id| Key::of_default(id).ok());
    match key {
        Some(key) if !name.starts_with('.') => Some(Said::At(key)),
        // A folder came or went, or a link that others lead through was turned.
        _ if rights => None,
        _ => Some(Said::Everywhere),
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, Flag, MetadataKind, RemoveKind};

    use super::*;

    fn said(kind: EventKind, path: &str) -> Vec<Said> {
        let event = notify::Event::new(kind).add_path(PathBuf::from(path));
        of_event(Path::new("/auths"), Ok(event))
    }

    fn at(id: &str) -> Vec<Said> {
        vec![Said::At(Key::of_default(id).expect("an id"))]
    }

    #[test]
    fn an_event_says_where_to_look_and_everywhere_when_it_cannot() {
        let created = EventKind::Create(CreateKind::File);
        let rights = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        assert_eq!(said(created, "/auths/a.json"), at("a"));
        assert_eq!(said(rights, "/auths/team/a.json"), at("team/a"));
        assert_eq!(said(EventKind::Remove(RemoveKind::File), "/auths/a.json"), at("a"));
        assert_eq!(said(EventKind::Access(AccessKind::Read), "/auths/a.json"), []);
        assert_eq!(said(created, "/auths/.quorate-1"), []);
        // Not below the folder, though its name begins like it.
        assert_eq!(said(created, "/auths-old/a.json"), []);
        assert_eq!(said(created, "/auths/..data"), [Said::Everywhere]);
        assert_eq!(said(EventKind::Create(CreateKind::Folder), "/auths/team"), [Said::Everywhere]);
        assert_eq!(said(rights, "/auths/team"), []);
        let overflow = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(of_event(Path::new("/auths"), Ok(overflow)), [Said::Everywhere]);
        let failed = Err(notify::Error::generic("gone"));
        assert_eq!(of_event(Path::new("/auths"), failed), [Said::Everywhere]);
    }

    #[test]
    fn a_path_is_looked_at_when_it_was_quiet() {
        let key = |id: &str| Key::of_default(id).expect("an id");
        let mut due = BTreeMap::from([
            (key("a"), Instant::from_millis(100)),
            (key("b"), Instant::from_millis(101)),
        ]);
        assert_eq!(ripe(&mut due, Instant::from_millis(99)), []);
        assert_eq!(ripe(&mut due, Instant::from_millis(100)), [key("a")]);
        assert_eq!(due.len(), 1);
    }
}
