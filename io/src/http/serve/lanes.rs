//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the thread that it was given to, and so does what it asks of providers: for a request nobody is
//! woken on another thread, and no thread looks for work at another's. A new one goes where fewest are open.
//!
//! Absent on purpose: moving a connection that is open. A thread with many long answers stays slower than the others
//! until some of them end ([decision 17](../../../../docs/decisions/0017-connections-stay-on-their-thread.md)).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http::pipeline::ANSWER_MAX;
use crate::threads;

/// How often a thread that ends looks whether anything still runs on it.
const LOOK: Duration = Duration::from_millis(10);

/// See the module. Dropped, its threads end.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    _ends_with_it: oneshot::Sender<()>,
}

impl Lanes {
    /// One for each processor.
    pub(super) fn start() -> io::Result<Lanes> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).map(Lane::start).collect::<io::Result<Vec<Lane>>>().map(Lanes)
    }

    /// Runs what `serve` makes on the lane that has least to do.
    pub(super) fn run<F>(&self, serve: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let fewest = self.0.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed));
        let lane = fewest.expect("there is a processor at least");
        lane.connections.fetch_add(1, Ordering::Relaxed);
        let ended = Ended(lane.connections.clone());
        lane.runtime.spawn(async move {
            let _ended = ended;
            serve().await;
        });
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ends, end) = oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            threads::answer_promptly();
            runtime.block_on(until(end));
        })?;
        Ok(Lane { runtime: handle, connections: Arc::default(), _ends_with_it: ends })
    }
}

/// Waits for the end, and then for the changes that nobody waits for any more: none is made by half.
async fn until(end: oneshot::Receiver<()>) {
    let _ = end.await; // It is never sent, only dropped.
    let late = Instant::now() + ANSWER_MAX;
    let tasks = Handle::current().metrics();
    while tasks.num_alive_tasks() > 0 && Instant::now() < late {
        tokio::time::sleep(LOOK).await;
    }
}

/// Counts a connection out, however it ends.
struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
