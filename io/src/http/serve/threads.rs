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

use crate::http::pipeline::ANSWER_MAX;
use crate::threads::Own;

/// See the module. Dropped, its threads end.
#[derive(Debug)]
pub(super) struct Threads(Vec<Server>);

#[derive(Debug)]
struct Server {
    thread: Own,
    connections: Arc<AtomicUsize>,
}

impl Threads {
    /// One for each processor.
    pub(super) fn start() -> io::Result<Threads> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).map(Server::start).collect::<io::Result<Vec<Server>>>().map(Threads)
    }

    /// Runs what `serve` makes on the thread that has fewest connections.
    pub(super) fn run<F>(&self, serve: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let fewest = self.0.iter().min_by_key(|server| server.connections.load(Ordering::Relaxed));
        let server = fewest.expect("there is a processor at least");
        server.connections.fetch_add(1, Ordering::Relaxed);
        let ended = Ended(server.connections.clone());
        server.thread.runtime().spawn(async move {
            let _ended = ended;
            serve().await;
        });
    }
}

impl Server {
    fn start(number: usize) -> io::Result<Server> {
        // Changes that nobody waits for any more are awaited at the end: none is made by half.
        let thread = Own::start(format!("serve-{number}"), ANSWER_MAX)?;
        Ok(Server { thread, connections: Arc::default() })
    }
}

/// Counts a connection out, however it ends.
struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
