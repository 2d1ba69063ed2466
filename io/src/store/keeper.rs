//! The thread that writes: whatever waits when it comes round shares one sync. Over a disk that is made up
//! it is a task, and the time that a sync takes is the disk's.
//!
//! Batches are reported in the order in which they were handed over. There is no wait to fill a group:
//! while one is synced, the next gathers.
//!
//! Absent on purpose: a second attempt. After a failure nothing more is written or reported.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use quorate_core::ids::Ticket;
use quorate_core::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::health::{StoreState, Vitals};
use crate::metrics::Meters;
use crate::net::Net;
use crate::serve::Medium;
use crate::threads;

use super::{Batch, Store, StoreError};

/// Batches that wait, beyond which the loop takes no new work.
const BATCHES_WAITING_MAX: usize = 256;

/// What becomes of batches.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is durable.
    Stored(Ticket),
    /// It is not, and nothing after it will be.
    Failed(StoreError),
}

/// Who is told how the store does.
pub(crate) struct Watch {
    pub(crate) meters: Arc<Meters>,
    pub(crate) vitals: Arc<Vitals>,
}

impl Watch {
    /// A group is durable.
    pub(crate) fn committed(&self, latency: Duration) {
        self.meters.store_duration.observe(latency.as_secs_f64());
        self.vitals.store(StoreState::Well { latency });
    }
}

/// The loop's end of the store. The reports are as many as the batches, so their bound is
/// [`BATCHES_WAITING_MAX`] and what one turn may add.
#[derive(Debug)]
pub(crate) struct Keeper {
    batches: Way,
    reports: UnboundedReceiver<Kept>,
    waiting: usize,
}

#[derive(Debug)]
enum Way {
    /// Nothing is kept: every batch is as durable as the process at once.
    Memory(UnboundedSender<Kept>),
    /// The thread does it.
    Thread(mpsc::Sender<(Ticket, Batch)>),
    /// The task does it.
    Task(UnboundedSender<(Ticket, Batch)>),
}

impl Keeper {
    /// For a node without a store.
    pub(crate) fn of_memory() -> Keeper {
        let (kept, reports) = unbounded_channel();
        Keeper { batches: Way::Memory(kept), reports, waiting: 0 }
    }

    /// Starts the thread over `store`. It ends, and `held` is dropped, when this value was dropped and
    /// everything that waited is written.
    pub(crate) fn of_store(
        store: Store,
        held: impl Send + 'static,
        net: impl Net,
        watch: Watch,
    ) -> Keeper {
        let (batches, waiting) = mpsc::channel();
        let (kept, reports) = unbounded_channel();
        let work = move || {
            threads::answer_promptly(); // Whole turns wait for the end of a sync.
            let (_held, store) = (held, store); // The file is closed before it is let go.
            write_all(Writer { net, store, kept, watch }, &waiting);
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work);
        thread.expect("the machine can start a thread");
        Keeper { batches: Way::Thread(batches), reports, waiting: 0 }
    }

    /// Starts the task over a store that lies on `medium`. It ends as the thread does.
    pub(crate) fn of_medium(
        net: &impl Net,
        store: Store,
        medium: Box<dyn Medium>,
        watch: Watch,
    ) -> Keeper {
        let (batches, waiting) = unbounded_channel();
        let (kept, reports) = unbounded_channel();
        net.spawn(write_on(Writer { net: net.clone(), store, kept, watch }, medium, waiting));
        Keeper { batches: Way::Task(batches), reports, waiting: 0 }
    }

    /// Hands over a batch.
    pub(crate) fn store(&mut self, ticket: Ticket, batch: Batch) {
        self.waiting += 1;
        match &self.batches {
            // Neither receiver can be gone: one is ours, the other reports before it ends.
            Way::Memory(kept) => drop(kept.send(Kept::Stored(ticket))),
            Way::Thread(batches) => drop(batches.send((ticket, batch))),
            Way::Task(batches) => drop(batches.send((ticket, batch))),
        }
    }

    /// Batches not yet reported.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether new work may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < BATCHES_WAITING_MAX
    }

    /// The next report. Cancel safe.
    pub(crate) async fn report(&mut self) -> Kept {
        match self.reports.recv().await {
            Some(kept) => self.reported(kept),
            None => std::future::pending().await, // Failed, and said so.
        }
    }

    /// The next report that is already there.
    pub(crate) fn try_report(&mut self) -> Option<Kept> {
        let kept = self.reports.try_recv().ok()?;
        Some(self.reported(kept))
    }

    fn reported(&mut self, kept: Kept) -> Kept {
        self.waiting = self.waiting.saturating_sub(1);
        kept
    }
}

/// Who writes, and where it says what became of it.
struct Writer<N> {
    net: N,
    store: Store,
    kept: UnboundedSender<Kept>,
    watch: Watch,
}

impl<N: Net> Writer<N> {
    /// Writes a group with one sync. After a failure nothing more may be written.
    fn write(&mut self, batches: &[Batch]) -> Result<(), ()> {
        self.store.apply(batches).map_err(|error| {
            self.watch.vitals.store(StoreState::Fatal { why: error.to_string() });
            let _ = self.kept.send(Kept::Failed(error)); // The loop may have ended before us.
        })
    }

    /// Says that a group, begun at `began`, is durable.
    fn report(&self, began: Instant, tickets: Vec<Ticket>) {
        self.watch.committed(self.net.now().since(began));
        for ticket in tickets {
            let _ = self.kept.send(Kept::Stored(ticket));
        }
    }
}

fn write_all<N: Net>(mut writer: Writer<N>, waiting: &mpsc::Receiver<(Ticket, Batch)>) {
    while let Ok(first) = waiting.recv() {
        let group = std::iter::once(first).chain(waiting.try_iter().take(BATCHES_WAITING_MAX));
        let (tickets, batches): (Vec<Ticket>, Vec<Batch>) = group.unzip();
        let began = writer.net.now();
        if writer.write(&batches).is_err() {
            return;
        }
        writer.report(began, tickets);
    }
}

async fn write_on<N: Net>(
    mut writer: Writer<N>,
    mut medium: Box<dyn Medium>,
    mut waiting: UnboundedReceiver<(Ticket, Batch)>,
) {
    while let Some(first) = waiting.recv().await {
        let others = std::iter::from_fn(|| waiting.try_recv().ok()).take(BATCHES_WAITING_MAX);
        let (tickets, batches): (Vec<Ticket>, Vec<Batch>) =
            std::iter::once(first).chain(others).unzip();
        let began = writer.net.now();
        if writer.write(&batches).is_err() {
            return;
        }
        writer.net.sleep_until(began + medium.delay()).await;
        medium.settled();
        writer.report(began, tickets);
    }
}
