//! The way to the node: its pools as they were last published, its clock, and who hears what became of a
//! request.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::pools::{Answer, Class, Command, Name, Pool, Report};
use quorate_core::node::{Reply, Request};
use quorate_core::time::{Instant, UnixTime};

use crate::handle::{AskError, Handle};
use crate::http::Host;
use crate::metrics::Meters;
use crate::pools::figures::{Ended, Figures};

/// See the module.
pub(crate) struct Accounts {
    /// The node.
    pub(crate) handle: Handle,
    /// Its clocks.
    pub(crate) host: Arc<dyn Host>,
    /// What is counted.
    pub(crate) meters: Arc<Meters>,
    /// What providers were asked for.
    pub(crate) figures: Arc<Figures>,
}

/// How long the node may take to hear of a request.
const WITHIN: Duration = Duration::from_secs(25);

impl Accounts {
    /// The pool of that name, as it was last published.
    pub(super) fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.handle.published().pools.load().pool(name).cloned()
    }

    /// The node's clock.
    pub(super) fn now(&self) -> Instant {
        self.host.now()
    }

    /// The wall clock.
    pub(super) fn wall(&self) -> UnixTime {
        self.host.wall()
    }

    /// A pick was made.
    pub(super) fn picked(&self, began: Instant) {
        self.meters.pool_pick.observe(self.since(began));
    }

    /// The head of an answer leaves for a client.
    pub(super) fn first_byte(&self, began: Instant) {
        self.meters.gateway_first_byte.observe(self.since(began));
    }

    /// A client is answered.
    pub(super) fn answered(&self, pool: &str, status: u16) {
        self.meters.gateway_request(pool, status);
    }

    /// An account was asked; `class` is what came of it, `None` where the client went away first.
    pub(super) fn attempted(&self, report: &Report, provider: &str, class: Option<Class>) {
        self.meters.gateway_attempt(report.pool.as_str(), class);
        if let Some(class) = class {
            let now = self.now();
            let ended = Ended { class, took: Some(now.since(report.sent_at)), tokens: 0 };
            self.figures.ended(now, provider, ended);
        }
    }

    /// An answer has said how many tokens it used.
    pub(super) fn used(&self, provider: &str, tokens: u64) {
        self.figures.used(self.now(), provider, tokens);
    }

    fn since(&self, began: Instant) -> f64 {
        self.now().since(began).as_secs_f64()
    }

    /// Takes the probe that a pick was given; false if somebody was faster.
    pub(super) async fn probing(&self, report: &Report) -> bool {
        let command = Command::Probing {
            pool: report.pool.clone(),
            credential: report.credential,
            epoch: report.epoch,
            model: report.model.clone(),
        };
        matches!(self.tell(command).await, Ok(Reply::Pool(Answer::Done)))
    }

    /// Nobody could be picked, and somebody asked.
    pub(super) async fn wanted(&self, pool: &Name, model: Option<&str>) {
        let command = Command::Wanted { pool: pool.clone(), model: model.map(Arc::from) };
        self.heard(self.tell(command).await);
    }

    /// Tells the node what became of a request; ends when its snapshots know.
    pub(super) async fn report(&self, report: Report) {
        self.heard(self.tell(Command::Report(Box::new(report))).await);
    }

    /// A word to the node waits for its place: lost, an account that is limited would be asked again.
    async fn tell(&self, command: Command) -> Result<Reply, AskError> {
        self.handle.ask_in_line(Request::Pool(Box::new(command)), WITHIN).await
    }

    fn heard(&self, told: Result<Reply, AskError>) {
        match told {
            Ok(_) | Err(AskError::Stopped) => {}
            Err(error) => tracing::warn!(%error, "the node did not hear what became of a request"),
        }
    }
}
