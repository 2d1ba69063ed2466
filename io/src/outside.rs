//! The world beyond the peers, as the shell asks it.

use std::future::Future;
use std::pin::Pin;

use quorate_core::node::{Answer, Call};

/// The answer to a call, in time.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Whoever performs calls: this machine in production, a script in a false world. A call always has an
/// answer, and has it in the time that the call itself allows.
pub trait Outside: Send + Sync + 'static {
    /// Begins `call`.
    fn answer(&self, call: Call) -> Answering;
}
