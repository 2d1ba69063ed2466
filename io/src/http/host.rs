//! What the surface asks of its process and not of the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_core::time::{Instant, UnixTime};

use crate::clock;
use crate::log::Log;
use crate::serve::Running;

/// The process around a surface.
pub trait Host: Send + Sync {
    /// The node's clock.
    fn now(&self) -> Instant {
        clock::now()
    }

    /// The wall clock.
    fn wall(&self) -> UnixTime {
        clock::wall()
    }

    /// Ids of the keys that open datagrams, the sealing one first. Never the keys.
    fn key_ids(&self) -> Vec<String> {
        Vec::new()
    }

    /// Sets the log filter, which falls back by itself.
    fn set_log(&self, filter: &str, lasts: Duration) -> Result<(), String> {
        let _ = (filter, lasts);
        Err("this process has no log filter".to_owned())
    }

    /// Whether this process can keep the bearer keys of workers.
    fn keeps_worker_keys(&self) -> bool {
        false
    }

    /// Keeps a worker's bearer key under its canonical URL.
    fn keep_worker_key(&self, url: &str, key: &str) {
        let _ = (url, key);
    }
}

/// A host with nothing of its own.
#[derive(Debug, Default)]
pub struct BareHost;

impl Host for BareHost {}

/// The process of a node that runs: its keyring and its log.
#[derive(Debug)]
pub struct ProcessHost {
    keyring: crate::datagrams::SharedKeyring,
    log: Log,
    filter: String,
    changes: Arc<AtomicU64>,
}

impl ProcessHost {
    /// The process of `running`, whose log falls back to `filter`.
    pub fn new(running: &Running, log: Log, filter: String) -> ProcessHost {
        ProcessHost { keyring: running.keyring.clone(), log, filter, changes: Arc::default() }
    }
}

impl Host for ProcessHost {
    fn key_ids(&self) -> Vec<String> {
        self.keyring.load().ids()
    }

    fn set_log(&self, filter: &str, lasts: Duration) -> Result<(), String> {
        self.log.set_filter(filter).map_err(|error| error.to_string())?;
        let change = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        let (log, filter, changes) = (self.log.clone(), self.filter.clone(), self.changes.clone());
        tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            // A later change has its own end.
            if changes.load(Ordering::Acquire) == change
                && let Err(error) = log.set_filter(&filter)
            {
                tracing::error!(%error, "the log filter does not fall back");
            }
        });
        Ok(())
    }
}
