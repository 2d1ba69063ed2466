//! What the surface asks of its process and not of the node.

use std::time::Duration;

use quorate_core::time::{Instant, UnixTime};

use crate::clock;

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
