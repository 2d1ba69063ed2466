//! What the surface asks of its process and not of the node.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use quorate_core::time::{Instant, UnixTime};

use crate::clock;
use crate::record::TraceError;

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

    /// Begins a recording of every turn for so long, and says where it is written.
    fn trace(&self, lasts: Duration) -> Result<PathBuf, TraceError> {
        let _ = lasts;
        Err(TraceError::Absent)
    }

    /// Whether this process can keep the bearer keys of workers.
    fn keeps_worker_keys(&self) -> bool {
        false
    }

    /// Keeps a worker's bearer key under the URL that is probed. It is durable when this returns.
    fn keep_worker_key(&self, url: &str, key: &str) -> Result<(), String> {
        let _ = (url, key);
        Err("this process keeps no keys".to_owned())
    }

    /// Drops the key of a worker that goes.
    fn forget_worker_key(&self, url: &str) {
        let _ = url;
    }

    /// Reads the configuration again; names the changed keys that need a restart.
    fn reload(&self) -> BoxFuture<'static, Result<Vec<&'static str>, ReloadError>> {
        Box::pin(std::future::ready(Err(ReloadError::Busy)))
    }
}

/// Why the configuration stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadError {
    /// It is not valid as a whole.
    Invalid(String),
    /// The process is at something else: another reload, or its end.
    Busy,
}

/// A host with nothing of its own.
#[derive(Debug, Default)]
pub struct BareHost;

impl Host for BareHost {}
