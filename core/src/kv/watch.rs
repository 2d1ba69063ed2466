//! Watches: every matching change once, in order, all of a revision together, or that it is too late.
//!
//! ```text
//!            a change fits the buffer                  the buffer is full
//!   current ───────────────────────▶ current   current ──────────────────▶ lagging
//!   lagging ─ fed from history, round robin ─▶ current, once the end of history is reached
//!   lagging ─ its next revision was compacted ─▶ ended
//! ```
//!
//! A watch knows the next revision that it has not dealt with; so it resumes here or at any other node, and
//! nothing is ever skipped (KV-3). The host says what it has taken off its hands, which is all the flow
//! control there is.
//!
//! Absent on purpose: how a watch of a node without a copy asks another. To that watch, too, it is history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ask::Changed;
use super::name::{Keys, Namespace, Path, Span};
use super::state::{Compacted, Revision, State};
use super::{Event, Settings};
use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;

/// What a watcher wants.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WatchRequest {
    /// Whose keys.
    pub namespace: Namespace,
    /// Which: one, or a prefix.
    pub keys: Keys,
    /// The first revision; `None` is the next.
    pub from: Option<u64>,
    /// With the versions before.
    pub previous: bool,
}

/// The watches of a node.
#[derive(Debug, Default)]
pub(super) struct Watches {
    open: BTreeMap<Ticket, Watch>,
    /// Watches of one key, by its path.
    exact: BTreeMap<Path, BTreeSet<Ticket>>,
    /// All others, by the bytes that their paths begin with.
    prefixes: BTreeMap<Blob, BTreeSet<Ticket>>,
    /// How many of these have so many bytes: only such beginnings of a path are looked up.
    lengths: BTreeMap<usize, usize>,
    /// Lagging, with room.
    hungry: BTreeSet<Ticket>,
    /// Who was fed last.
    fed: Option<Ticket>,
    /// When history was last read for the hungry.
    fed_at: Instant,
    progress: BTreeSet<(Instant, Ticket)>,
    changes_buffer: usize,
    bytes_buffer: u64,
    pub(super) changes_total: u64,
}

/// One watch.
#[derive(Debug)]
struct Watch {
    request: WatchRequest,
    span: Span,
    /// The first revision that was not dealt with; a current watch has dealt with all that are.
    next: u64,
    lagging: bool,
    /// Handed out and not taken: revision, changes, bytes.
    waiting: VecDeque<(u64, usize, u64)>,
    told_at: Instant,
}

/// What comes out of watches.
pub(super) type Events = Vec<(Ticket, Event)>;

impl Watches {
    pub(super) fn new(settings: &Settings) -> Watches {
        Watches {
            changes_buffer: settings.watch_buffer_changes,
            bytes_buffer: settings.watch_buffer_bytes,
            ..Watches::default()
        }
    }

    pub(super) fn resize(&mut self, settings: &Settings) {
        self.changes_buffer = settings.watch_buffer_changes;
        self.bytes_buffer = settings.watch_buffer_bytes;
    }

    /// A new watch, behind which `state` lies up to its revision.
    pub(super) fn open(&mut self, now: Instant, id: Ticket, request: WatchRequest, state: &State) {
        let span = request.keys.span(&request.namespace);
        let next = request.from.unwrap_or(state.revision() + 1);
        self.index(&request, id);
        let lagging = next <= state.revision();
        let waiting = VecDeque::new();
        self.open.insert(id, Watch { request, span, next, lagging, waiting, told_at: now });
        if lagging {
            self.hungry.insert(id);
        }
        self.progress.insert((now + limits::KV_PROGRESS_INTERVAL, id));
    }

    pub(super) fn close(&mut self, id: Ticket) -> Option<WatchRequest> {
        let watch = self.open.remove(&id)?;
        self.hungry.remove(&id);
        self.unindex(&watch.request, id);
        Some(WatchRequest { from: Some(watch.next), ..watch.request })
    }

    /// Every watch, with where each goes on. None is left.
    pub(super) fn take(&mut self, state: &State) -> Vec<(Ticket, WatchRequest)> {
        self.fall_behind(state);
        let ids: Vec<Ticket> = self.open.keys().copied().collect();
        ids.into_iter().filter_map(|id| Some((id, self.close(id)?))).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn lagging(&self) -> usize {
        self.open.values().filter(|watch| watch.lagging).count()
    }

    fn index(&mut self, request: &WatchRequest, id: Ticket) {
        match &request.keys {
            Keys::One(key) => {
                let path = Path::new(&request.namespace, key);
                self.exact.entry(path).or_default().insert(id);
            }
            Keys::Prefix(_) | Keys::Range { .. } => {
                let start = beginning(request);
                *self.lengths.entry(start.len()).or_default() += 1;
                self.prefixes.entry(start).or_default().insert(id);
            }
        }
    }

    fn unindex(&mut self, request: &WatchRequest, id: Ticket) {
        match &request.keys {
            Keys::One(key) => drop_from(&mut self.exact, &Path::new(&request.namespace, key), id),
            Keys::Prefix(_) | Keys::Range { .. } => {
                let start = beginning(request);
                drop_from(&mut self.prefixes, &start, id);
                let count = self.lengths.get_mut(&start.len()).expect("it was counted when opened");
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&start.len());
                }
            }
        }
    }

    /// Who may want to know of a change of `path`.
    fn interested(&self, path: &Path) -> impl Iterator<Item = Ticket> {
        let bytes = path.as_slice();
        let lengths = self.lengths.range(..=bytes.len());
        let starts = lengths.filter_map(move |(length, _)| bytes.get(..*length));
        let prefixes = starts.filter_map(|start| self.prefixes.get(&Blob::from(start)));
        self.exact.get(path).into_iter().chain(prefixes).flatten().copied()
    }

    /// A revision was just made.
    pub(super) fn changed(
        &mut self,
        now: Instant,
        revision: u64,
        changed: &Revision,
        events: &mut Events,
    ) {
        let paths = changed.changes.iter();
        let interested: BTreeSet<Ticket> =
            paths.flat_map(|change| self.interested(&change.path)).collect();
        for id in interested {
            let bounds = (self.changes_buffer, self.bytes_buffer);
            let watch = self.open.get_mut(&id).expect("an index names open watches");
            if watch.lagging || revision < watch.next {
                continue;
            }
            watch.next = revision;
            match watch.offer(now, revision, changed, bounds) {
                Offer::Nothing => watch.next = revision + 1,
                Offer::Taken(count, event) => {
                    self.changes_total += count;
                    events.push((id, event));
                }
                Offer::Full => watch.lagging = true,
            }
        }
    }

    /// The host has taken everything through `revision` off its hands.
    pub(super) fn taken(&mut self, id: Ticket, revision: u64) {
        let Some(watch) = self.open.get_mut(&id) else { return };
        while watch.waiting.front().is_some_and(|(waiting, ..)| *waiting <= revision) {
            watch.waiting.pop_front();
        }
        if watch.lagging {
            self.hungry.insert(id);
        }
    }

    /// Feeds the hungry from history: so much a turn, the next one first.
    pub(super) fn feed(&mut self, now: Instant, state: &State, events: &mut Events) {
        if self.hungry.is_empty() || now < self.fed_at + limits::KV_FEED_INTERVAL {
            return;
        }
        self.fed_at = now;
        let mut budget = Budget {
            changes: limits::KV_WATCH_CHANGES_PER_TURN as u64,
            examined: limits::KV_WATCH_EXAMINED_PER_TURN,
        };
        let behind = self.fed.map_or(Ticket(0), |fed| Ticket(fed.0 + 1));
        let after: Vec<Ticket> = self.hungry.range(behind..).copied().collect();
        let before: Vec<Ticket> = self.hungry.range(..behind).copied().collect();
        for id in after.into_iter().chain(before) {
            if budget.is_spent() {
                break;
            }
            self.fed = Some(id);
            self.feed_one(now, id, state, &mut budget, events);
        }
    }

    fn feed_one(
        &mut self,
        now: Instant,
        id: Ticket,
        state: &State,
        budget: &mut Budget,
        events: &mut Events,
    ) {
        let bounds = (self.changes_buffer, self.bytes_buffer);
        let watch = self.open.get_mut(&id).expect("the hungry are open");
        if watch.next <= state.compact_revision() {
            let compact_revision = state.compact_revision();
            events.push((id, Event::Compacted(Compacted { compact_revision })));
            self.close(id);
            return;
        }
        for (revision, changed) in state.since(watch.next) {
            if budget.is_spent() {
                return;
            }
            budget.examined = budget.examined.saturating_sub(changed.changes.len());
            match watch.offer(now, revision, changed, bounds) {
                Offer::Nothing => watch.next = revision + 1,
                Offer::Taken(count, event) => {
                    self.changes_total += count;
                    budget.changes = budget.changes.saturating_sub(count);
                    events.push((id, event));
                }
                Offer::Full => {
                    self.hungry.remove(&id);
                    return;
                }
            }
        }
        watch.lagging = false;
        self.hungry.remove(&id);
    }

    /// Tells quiet watches how far they are.
    pub(super) fn progress(&mut self, now: Instant, state: &State, events: &mut Events) {
        while self.progress.first().is_some_and(|(at, _)| *at <= now) {
            let (_, id) = self.progress.pop_first().expect("the first was just there");
            let Some(watch) = self.open.get_mut(&id) else { continue };
            if now.since(watch.told_at) >= limits::KV_PROGRESS_INTERVAL {
                watch.told_at = now;
                let revision = if watch.lagging { watch.next - 1 } else { state.revision() };
                events.push((id, Event::Progress { revision }));
            }
            self.progress.insert((watch.told_at + limits::KV_PROGRESS_INTERVAL, id));
        }
    }

    /// Another state takes the place of `state`: everybody reads on in its history.
    pub(super) fn fall_behind(&mut self, state: &State) {
        for (id, watch) in &mut self.open {
            if !watch.lagging {
                watch.next = watch.next.max(state.revision() + 1);
                watch.lagging = true;
                self.hungry.insert(*id);
            }
        }
    }

    /// When there is something to do: history to read, or a quiet watch to tell.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        let hungry = !self.hungry.is_empty();
        let feed = hungry.then(|| {
            (self.fed_at + limits::KV_FEED_INTERVAL, "a lagging watch is fed from history")
        });
        let quiet = self.progress.first();
        let quiet = quiet.map(|(at, _)| (*at, "a quiet watch hears how far it is"));
        feed.into_iter().chain(quiet).min()
    }
}

/// What became of a revision that a watch was offered.
enum Offer {
    /// None of it matches.
    Nothing,
    /// So many changes are on their way.
    Taken(u64, Event),
    /// There is no room.
    Full,
}

/// What a turn may spend on lagging watches.
struct Budget {
    changes: u64,
    examined: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.changes == 0 || self.examined == 0
    }
}

impl Watch {
    fn offer(
        &mut self,
        now: Instant,
        revision: u64,
        changed: &Revision,
        (changes_max, bytes_max): (usize, u64),
    ) -> Offer {
        let matching = changed.changes.iter().filter(|change| self.span.holds(&change.path));
        let previous = self.request.previous;
        let changes: Vec<Changed> =
            matching.map(|change| change.told(revision, previous)).collect();
        if changes.is_empty() {
            return Offer::Nothing;
        }
        let bytes = changes.iter().map(|change| change.bytes() as u64).sum::<u64>();
        let held = self
            .waiting
            .iter()
            .fold((0, 0), |sum, (_, changes, bytes)| (sum.0 + changes, sum.1 + bytes));
        // One revision is never parted, so an empty buffer takes any.
        let fits = held.0 + changes.len() <= changes_max && held.1 + bytes <= bytes_max;
        if !fits && !self.waiting.is_empty() {
            return Offer::Full;
        }
        let count = changes.len();
        self.waiting.push_back((revision, count, bytes));
        self.next = revision + 1;
        self.told_at = now;
        Offer::Taken(count as u64, Event::Changes { revision, changes })
    }
}

fn beginning(request: &WatchRequest) -> Blob {
    match &request.keys {
        Keys::Prefix(_) => request.keys.span(&request.namespace).start,
        // A range begins like all of its namespace; its span says the rest.
        Keys::One(_) | Keys::Range { .. } => Span::prefix(&request.namespace, &[]).start,
    }
}

fn drop_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Ticket>>, key: &K, id: Ticket) {
    let Some(held) = index.get_mut(key) else { return };
    held.remove(&id);
    if held.is_empty() {
        index.remove(key);
    }
}
