//! The thread that writes: whatever waits when it comes round shares one sync.
//!
//! Batches are reported in the order in which they were handed over. There is no wait to fill a group:
//! while one is synced, the next gathers.
//!
//! Absent on purpose: a second attempt. After a failure nothing more is written or reported.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use quorate_core::ids::Ticket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock;
use crate::health::{StoreState, Vitals};
use crate::metrics::Meters;

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
}

impl Keeper {
    /// For a node without a store.
    pub(crate) fn of_memory() -> Keeper {
        let (kept, reports) = unbounded_channel();
        Keeper { batches: Way::Memory(kept), reports, waiting: 0 }
    }

    /// Starts the thread over `store`. It ends, and `held` is dropped, when this value was dropped and
    /// everything that waited is written.
    pub(crate) fn of_store(store: Store, held: impl Send + 'static, watch: Watch) -> Keeper {
        let (batches, waiting) = mpsc::channel();
        let (kept, reports) = unbounded_channel();
        let work = move || {
            let (_held, mut store) = (held, store); // The file is closed before it is let go.
            write_all(&mut store, &waiting, &kept, &watch);
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work);
        thread.expect("the machine can start a thread");
        Keeper { batches: Way::Thread(batches), reports, waiting: 0 }
    }

    /// Hands over a batch.
    pub(crate) fn store(&mut self, ticket: Ticket, batch: Batch) {
        self.waiting += 1;
        match &self.batches {
            // Neither receiver can be gone: one is ours, the other reports before it ends.
            Way::Memory(kept) => drop(kept.send(Kept::Stored(ticket))),
            Way::Thread(batches) => drop(batches.send((ticket, batch))),
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

fn write_all(
    store: &mut Store,
    waiting: &mpsc::Receiver<(Ticket, Batch)>,
    kept: &UnboundedSender<Kept>,
    watch: &Watch,
) {
    while let Ok(first) = waiting.recv() {
        let group = std::iter::once(first).chain(waiting.try_iter().take(BATCHES_WAITING_MAX));
        let (tickets, batches): (Vec<Ticket>, Vec<Batch>) = group.unzip();
        let began = clock::now();
        if let Err(error) = store.apply(&batches) {
            watch.vitals.store(StoreState::Fatal { why: error.to_string() });
            let _ = kept.send(Kept::Failed(error)); // The loop may have ended before us.
            return;
        }
        watch.committed(clock::now().since(began));
        for ticket in tickets {
            let _ = kept.send(Kept::Stored(ticket));
        }
    }
}
