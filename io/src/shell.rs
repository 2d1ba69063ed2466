//! The loop that owns a node.
//!
//! ```text
//!   wake · stored · answered · datagrams · peers · requests
//!        └──────────────┬───────────────────────────┘   one of each in turn, at most 64
//!                    handle × n, flush once, perform in order
//! ```
//!
//! One turn reads the clock once. Whatever waits is taken round robin, so no kind of input can starve
//! another; while too many batches wait for the disk only the clock and the store are heard, and what is
//! not taken slows its sender down. The loop turns at least once a second and says so, for whoever watches
//! from another thread.
//!
//! Absent on purpose: decisions. A test here about *what* to do belongs into the node.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::ids::Ticket;
use quorate_core::limits;
use quorate_core::machine::Machine;
use quorate_core::node::{Answer, Effect, Input, Node, Published};
use quorate_core::time::{Instant, UnixTime, millis};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;

use crate::datagrams::Incoming;
use crate::health::Vitals;
use crate::metrics::Meters;
use crate::net::Net;
use crate::peers::{Event, Lane, What};
use crate::perform::{Asks, End, Hands};
use crate::record::Recorder;
use crate::store::Kept;
use crate::traffic::{Queue, Traffic};

/// Longest time between two turns.
const BEAT: Duration = Duration::from_secs(1);

/// How often the wall clock is read.
const WALL_INTERVAL: Duration = Duration::from_secs(1);
/// From so many milliseconds apart on, the two clocks have parted.
const WALL_DRIFT_MS: u64 = 20;

/// What the loop needs of a node.
pub trait Mind: Machine<Input = Input, Output = Effect> {
    /// Ends a turn.
    fn flush(&mut self, now: Instant, out: &mut Vec<Effect>);
    /// The snapshots that any thread may read.
    fn published(&self) -> &Arc<Published>;
}

impl Mind for Node {
    fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        Node::flush(self, now, out);
    }

    fn published(&self) -> &Arc<Published> {
        Node::published(self)
    }
}

/// Where inputs come from, in the order of their urgency.
pub(crate) struct Ears {
    pub(crate) answers: mpsc::Receiver<(Ticket, Answer)>,
    pub(crate) datagrams: mpsc::Receiver<Incoming>,
    pub(crate) events: UnboundedReceiver<Event>,
    pub(crate) asks: Asks,
    pub(crate) halted: oneshot::Receiver<()>,
}

/// A node with its ears and hands.
pub(crate) struct Shell<N: Net, M> {
    pub(crate) mind: M,
    pub(crate) ears: Ears,
    pub(crate) hands: Hands<N>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) recorder: Recorder,
    pub(crate) wall: Wall,
}

/// What the node was last told of the wall clock.
#[derive(Debug, Default)]
pub(crate) struct Wall {
    unix: UnixTime,
    read_at: Instant,
}

/// Something that was heard.
enum Noise {
    /// It is time, or nothing happened for a [`BEAT`].
    Clock,
    Halted,
    Kept(Kept),
    Answer(Ticket, Answer),
    Datagram(Incoming),
    Event(Event),
    Ask(crate::handle::Ask),
}

#[derive(Clone, Copy)]
enum Source {
    Store,
    Answers,
    Datagrams,
    Peers,
    Requests,
}

const SOURCES: [Source; 5] =
    [Source::Store, Source::Answers, Source::Datagrams, Source::Peers, Source::Requests];

impl<N: Net, M: Mind> Shell<N, M> {
    /// Turns until the node ends.
    pub(crate) async fn run(mut self) -> End {
        let mut effects = Vec::new();
        let now = self.hands.net.now();
        self.read_wall(now, &mut effects);
        self.handle(now, Input::Start, &mut effects);
        let mut ended = self.finish_turn(now, &mut effects);
        while ended.is_none() {
            let due = self.due();
            let noise = self.listen(due).await;
            ended = self.turn(noise, due, &mut effects);
        }
        self.recorder.close();
        ended.expect("the loop ends for a reason")
    }

    fn due(&self) -> Instant {
        let beat = self.hands.net.now() + BEAT;
        self.mind.next_wake().map_or(beat, |wake| wake.at.min(beat))
    }

    async fn listen(&mut self, due: Instant) -> Noise {
        let room = self.hands.keeper.has_room();
        let answerable = room && self.hands.replies.have_room();
        let (ears, hands) = (&mut self.ears, &mut self.hands);
        tokio::select! {
            biased;
            _ = &mut ears.halted => Noise::Halted,
            () = hands.net.sleep_until(due) => Noise::Clock,
            kept = hands.keeper.report() => Noise::Kept(kept),
            Some((ticket, answer)) = ears.answers.recv(), if room => Noise::Answer(ticket, answer),
            Some(incoming) = ears.datagrams.recv(), if room => Noise::Datagram(incoming),
            Some(event) = ears.events.recv(), if room => Noise::Event(event),
            Some(ask) = ears.asks.recv(), if answerable => Noise::Ask(ask),
        }
    }

    /// One turn: the clock, what was heard, what else waits.
    fn turn(&mut self, first: Noise, due: Instant, effects: &mut Vec<Effect>) -> Option<End> {
        let now = self.hands.net.now();
        if now.since(self.wall.read_at) >= WALL_INTERVAL {
            self.read_wall(now, effects);
        }
        if self.mind.next_wake().is_some_and(|wake| wake.at <= now) {
            self.meters.loop_lag.observe(now.since(due).as_secs_f64());
            self.handle(now, Input::Wake, effects);
        }
        let mut ended = self.take(now, first, effects);
        let mut taken = 1;
        while taken < limits::TURN_INPUTS_MAX && ended.is_none() {
            let before = taken;
            for source in SOURCES {
                let Some(noise) = self.try_listen(source) else { continue };
                ended = ended.or(self.take(now, noise, effects));
                taken += 1;
            }
            if taken == before {
                break;
            }
        }
        let performed = self.finish_turn(now, effects);
        ended.or(performed)
    }

    fn try_listen(&mut self, source: Source) -> Option<Noise> {
        let (ears, hands) = (&mut self.ears, &mut self.hands);
        if !matches!(source, Source::Store) && !hands.keeper.has_room() {
            return None;
        }
        match source {
            Source::Store => hands.keeper.try_report().map(Noise::Kept),
            Source::Answers => {
                ears.answers.try_recv().ok().map(|(ticket, answer)| Noise::Answer(ticket, answer))
            }
            Source::Datagrams => ears.datagrams.try_recv().ok().map(Noise::Datagram),
            Source::Peers => ears.events.try_recv().ok().map(Noise::Event),
            Source::Requests if !hands.replies.have_room() => None,
            Source::Requests => ears.asks.try_recv().ok().map(Noise::Ask),
        }
    }

    fn take(&mut self, now: Instant, noise: Noise, effects: &mut Vec<Effect>) -> Option<End> {
        let input = match noise {
            Noise::Clock => return None,
            Noise::Halted => return Some(End::Halted),
            Noise::Kept(Kept::Failed(error)) => return Some(End::Store(error)),
            Noise::Kept(Kept::Stored(ticket)) => {
                self.hands.replies.stored();
                Input::Stored { ticket }
            }
            Noise::Answer(ticket, answer) => Input::Answered { ticket, answer },
            Noise::Datagram(Incoming { from, plain }) => Input::Datagram { from, bytes: plain },
            Noise::Event(event) => self.happened(event)?,
            Noise::Ask(ask) => {
                let (ticket, request) = self.hands.replies.wait(ask);
                Input::Request { ticket, request }
            }
        };
        self.handle(now, input, effects);
        None
    }

    /// Tells the node what the wall clock reads, at first and whenever it parted from the monotonic one.
    fn read_wall(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let unix = self.hands.net.wall();
        let expected = self.wall.unix.0.saturating_add(millis(now.since(self.wall.read_at)));
        self.wall.read_at = now;
        if unix.0.abs_diff(expected) > WALL_DRIFT_MS {
            self.wall.unix = unix;
            self.handle(now, Input::Clock { unix }, effects);
        } else {
            self.wall.unix = UnixTime(expected);
        }
    }

    fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        self.recorder.note(&input);
        self.mind.handle(now, input, effects);
    }

    /// What became of a connection, unless the node has closed it meanwhile.
    fn happened(&mut self, event: Event) -> Option<Input> {
        let Event { connection, what } = event;
        let lanes = &mut self.hands.lanes;
        if !lanes.contains_key(&connection) && !matches!(what, What::Accepted { .. }) {
            return None;
        }
        let input = match what {
            What::Accepted { from, lane } => {
                lanes.insert(connection, lane);
                Input::Accepted { connection, from }
            }
            What::Connected => Input::Connected { connection },
            What::Frame(frame, _read_on) => Input::Frame { connection, frame },
            What::Broken(what) => Input::Broken { connection, what },
            What::Unsecured(what) => Input::Unsecured { connection, what },
            What::Misnamed => Input::Misnamed { connection },
            What::Writable => {
                let bytes = lanes.get(&connection).map_or(0, Lane::take_freed);
                Input::Writable { connection, bytes }
            }
            What::ConnectFailed => {
                lanes.remove(&connection);
                Input::ConnectFailed { connection }
            }
            What::Closed => {
                lanes.remove(&connection);
                Input::Closed { connection }
            }
        };
        Some(input)
    }

    fn finish_turn(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Option<End> {
        let before = self.hands.net.now();
        self.mind.flush(now, effects);
        let flushed = self.hands.net.now();
        self.recorder.turned(now, effects);
        let mut ended = None;
        for effect in effects.drain(..) {
            ended = ended.or(self.hands.perform(now, effect));
        }
        self.hands.replies.settle();
        let done = self.hands.net.now();
        self.meters.snapshot_publish.observe(flushed.since(before).as_secs_f64());
        self.meters.loop_turn.observe(done.since(now).as_secs_f64());
        self.traffic.depth(Queue::DatagramsIn, self.ears.datagrams.len());
        self.traffic.depth(Queue::DatagramsOut, self.hands.outbox.depth());
        self.traffic.depth(Queue::Peers, self.ears.events.len());
        self.traffic.depth(Queue::Requests, self.ears.asks.len() + self.hands.replies.len());
        self.traffic.depth(Queue::Store, self.hands.keeper.waiting());
        self.vitals.turned(done);
        ended
    }
}

#[cfg(test)]
pub(crate) mod tests;
