//! Connections: two ordered pipes with a window, set up by an exchange, ended by a word, a break or silence.
//!
//! A pipe keeps what it was given until the link carries it: a cut link delays bytes and loses none, and a
//! stream may break between any two of them. A process that ends resets its connections, or, if its whole
//! machine went, leaves the other side with a half-open end.

mod table;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use quorate_core::ids::ConnectionId;
use quorate_core::limits;
use quorate_core::node::Input;
use quorate_core::time::micros;
use quorate_core::wire::frame::{Class, Frame, FrameReader};
use quorate_core::wire::session::{Bye, Session};
use quorate_core::wire::{Blob, encode};

use super::elsewhere::Order;
use super::{Event, World};
use crate::clock::Micros;
use crate::net::{Kind, State};
use table::Table;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub enum StreamEvent {
    /// The dialer's first packet reaches the listener.
    Asked(u64),
    /// The listener's answer reaches the dialer.
    Agreed(u64),
    /// Nobody listens there.
    Refused(u64),
    /// The dialer has waited long enough.
    TimedOut(u64),
    /// The oldest piece of the pipe *from* this side is there.
    Piece(u64, usize),
    /// This side hears that the other is gone.
    Reset(u64, usize),
}

/// Every connection of the run.
#[derive(Debug, Default)]
pub struct Streams {
    table: Table,
    /// Pipes that stood still with pieces in them; some may have gone on or ended since.
    standing: BTreeSet<(u64, usize)>,
}

/// One connection. Side 0 dialled, side 1 accepted.
#[derive(Debug)]
struct Stream {
    ends: [End; 2],
    pipes: [Pipe; 2],
    open: bool,
}

#[derive(Debug, Clone, Copy)]
struct End {
    machine: usize,
    process: u64,
    connection: ConnectionId,
    here: bool,
}

/// What one side sends to the other.
#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<(Micros, Piece)>,
    /// When the last piece was given, and when it is there.
    given: Option<Micros>,
    last: Micros,
    moving: bool,
    /// Bytes that were read and of which the sender has not heard.
    freed: usize,
    reader: FrameReader,
    broken: bool,
}

#[derive(Debug)]
enum Piece {
    Bytes(Blob),
    End,
}

impl World {
    pub(super) fn dial(
        &mut self,
        machine: usize,
        process: u64,
        connection: ConnectionId,
        to: SocketAddr,
    ) {
        let patience = micros(self.machine(machine).settings.link.connect_timeout);
        let target = self.addresses.get(&to).copied().filter(|target| *target != machine);
        let near = End { machine, process, connection, here: true };
        let far = End { machine: target.unwrap_or(machine), process: 0, connection, here: false };
        let stream = Stream { ends: [near, far], pipes: Default::default(), open: false };
        let id = self.streams.table.add(stream);
        if let Some(running) = self.process_mut(machine, process) {
            running.connections.insert(connection, (id, 0));
        }
        self.queue.push(self.now + patience, Event::Stream(StreamEvent::TimedOut(id)));
        let Some(target) = target else { return };
        if self.link(machine, target).state(Kind::Stream) == State::Open {
            let at = self.now + self.link_mut(machine, target).piece();
            self.queue.push(at, Event::Stream(StreamEvent::Asked(id)));
        }
    }

    pub(super) fn write(
        &mut self,
        machine: usize,
        process: u64,
        connection: ConnectionId,
        bytes: Blob,
    ) {
        self.give(machine, process, connection, Piece::Bytes(bytes));
    }

    /// Gives bytes to whichever connection is open from one machine to another; false if none is.
    pub(super) fn write_between(&mut self, from: usize, to: usize, bytes: Blob) -> bool {
        let open = self.streams.table.iter().map(|(_, stream)| stream);
        let open = open.filter(|stream| stream.open);
        let mut near = open.filter_map(|Stream { ends: [one, other], .. }| {
            let both = one.here && other.here;
            let dialled = (one.machine, other.machine) == (from, to);
            let accepted = (other.machine, one.machine) == (from, to);
            (both && (dialled || accepted)).then_some(if dialled { *one } else { *other })
        });
        let last = near.next_back();
        drop(near);
        let Some(End { process, connection, .. }) = last else { return false };
        self.write(from, process, connection, bytes);
        true
    }

    pub(super) fn hang_up(&mut self, machine: usize, process: u64, connection: ConnectionId) {
        self.give(machine, process, connection, Piece::End);
        let Some(running) = self.process_mut(machine, process) else { return };
        let Some((id, side)) = running.connections.remove(&connection) else { return };
        self.late(machine, process, connection);
        let Some(stream) = self.streams.table.get_mut(id) else { return };
        if !stream.open {
            self.streams.table.remove(id);
        } else if let Some(end) = stream.ends.get_mut(side) {
            end.here = false;
        }
    }

    /// A host may have read something of a connection before it heard that it is over.
    fn late(&mut self, machine: usize, process: u64, connection: ConnectionId) {
        let draws = &mut self.draws_of(machine).late;
        if !draws.chance(1, 4) {
            return;
        }
        let bye = |bye| Frame::new(Class::Session, encode(&Session::Bye(bye)));
        let input = match draws.below(6) {
            0 => Input::Closed { connection },
            1 => Input::Writable { connection, bytes: limits::WINDOW_BYTES },
            2 => Input::Broken { connection, what: "it ended within a frame".to_owned() },
            3 => Input::Frame { connection, frame: bye(Bye::Leaving) },
            4 => Input::Frame { connection, frame: bye(Bye::Duplicate) },
            _ if connection.is_dialled() => Input::ConnectFailed { connection },
            _ => Input::Closed { connection },
        };
        self.input(machine, process, input);
    }

    fn give(&mut self, machine: usize, process: u64, connection: ConnectionId, piece: Piece) {
        let Some(running) = self.process_mut(machine, process) else { return };
        let Some((id, side)) = running.connections.get(&connection).copied() else { return };
        let Some(far) = self.side_of(id, 1 - side).map(|end| end.machine) else { return };
        let now = self.now;
        let Some(pipe) = self.pipe(id, side) else { return };
        // What a turn writes goes together.
        if pipe.given != Some(now) {
            let at = now + self.link_mut(machine, far).piece();
            let Some(pipe) = self.pipe(id, side) else { return };
            pipe.given = Some(now);
            pipe.last = at.max(pipe.last);
        }
        let Some(pipe) = self.pipe(id, side) else { return };
        let at = pipe.last;
        pipe.pieces.push_back((at, piece));
        if !pipe.moving {
            pipe.moving = true;
            self.queue.push(at, Event::Stream(StreamEvent::Piece(id, side)));
        }
    }

    pub(super) fn stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Asked(id) => self.asked(id),
            StreamEvent::Agreed(id) => self.agreed(id),
            StreamEvent::Refused(id) | StreamEvent::TimedOut(id) => self.not_connected(id),
            StreamEvent::Piece(id, side) => while self.piece(id, side) {},
            StreamEvent::Reset(id, side) => self.reset(id, side),
        }
    }

    fn asked(&mut self, id: u64) {
        let Some(stream) = self.streams.table.get(id) else { return };
        let [near, far] = stream.ends;
        let back_open = self.link(far.machine, near.machine).state(Kind::Stream) == State::Open;
        let after = self.link_mut(far.machine, near.machine).piece();
        let from = SocketAddr::new(self.machine(near.machine).address.ip(), ephemeral(id));
        let host = self.machine_mut(far.machine);
        let Some(process) = host.process.as_mut() else {
            if back_open && !host.dark {
                self.queue.push(self.now + after, Event::Stream(StreamEvent::Refused(id)));
            }
            return;
        };
        if process.asleep {
            return;
        }
        process.accepted += 1;
        let connection = ConnectionId::accepted(process.accepted);
        process.connections.insert(connection, (id, 1));
        let number = process.number;
        let stream = self.streams.table.get_mut(id).expect("it was there, above");
        stream.open = true;
        let [_, end] = &mut stream.ends;
        *end = End { machine: far.machine, process: number, connection, here: true };
        self.input(far.machine, number, Input::Accepted { connection, from });
        self.writable(id, 1, limits::WINDOW_BYTES);
        if back_open {
            self.queue.push(self.now + after, Event::Stream(StreamEvent::Agreed(id)));
        }
    }

    fn agreed(&mut self, id: u64) {
        let Some(end) = self.side_of(id, 0) else { return };
        if !self.connects(id) {
            return;
        }
        self.input(end.machine, end.process, Input::Connected { connection: end.connection });
        self.writable(id, 0, limits::WINDOW_BYTES);
        self.mark_agreed(id);
    }

    /// Whether the dialer of `id` still waits for its connection.
    fn connects(&self, id: u64) -> bool {
        let Some(stream) = self.streams.table.get(id) else { return false };
        let [near, _] = stream.ends;
        let host = self.machine(near.machine);
        host.process.as_ref().is_some_and(|process| {
            process.number == near.process
                && process.connections.contains_key(&near.connection)
                && !process.agreed.contains(&near.connection)
        })
    }

    fn mark_agreed(&mut self, id: u64) {
        let Some(end) = self.side_of(id, 0) else { return };
        if let Some(process) = self.process_mut(end.machine, end.process) {
            process.agreed.insert(end.connection);
        }
    }

    fn not_connected(&mut self, id: u64) {
        let Some(end) = self.side_of(id, 0) else { return };
        if !self.connects(id) {
            return;
        }
        if let Some(process) = self.process_mut(end.machine, end.process) {
            process.connections.remove(&end.connection);
        }
        self.input(end.machine, end.process, Input::ConnectFailed { connection: end.connection });
        // An accepted end stays half open: only silence tells it.
        if let Some(stream) = self.streams.table.get_mut(id) {
            let [near, _] = &mut stream.ends;
            near.here = false;
            if !stream.open {
                self.streams.table.remove(id);
            }
        }
    }

    /// The oldest piece of a pipe is there; whether the next is, too.
    fn piece(&mut self, id: u64, side: usize) -> bool {
        let (Some(near), Some(far)) = (self.side_of(id, side), self.side_of(id, 1 - side)) else {
            return false;
        };
        let open = self.link(near.machine, far.machine).state(Kind::Stream) == State::Open;
        let host = self.machine(far.machine);
        let reading = host.process.as_ref().filter(|process| process.number == far.process);
        let stands = reading.is_some_and(|process| process.standing_until.is_some());
        let gone = reading.is_none() || !far.here;
        let Some(pipe) = self.pipe(id, side) else { return false };
        if !open || stands {
            pipe.moving = false;
            self.streams.standing.insert((id, side));
            return false;
        }
        let Some((_, piece)) = pipe.pieces.pop_front() else {
            pipe.moving = false;
            return false;
        };
        if gone {
            self.tell_reset(id, side);
            return false;
        }
        match piece {
            Piece::Bytes(bytes) => self.deliver(id, side, &bytes),
            Piece::End => {
                self.reset(id, 1 - side);
                return false;
            }
        }
        self.next_piece(id, side)
    }

    /// Plans the arrival of the next piece, unless it is here already.
    fn next_piece(&mut self, id: u64, side: usize) -> bool {
        let (Some(near), Some(far)) = (self.side_of(id, side), self.side_of(id, 1 - side)) else {
            return false;
        };
        let reader = self.link(near.machine, far.machine).reader;
        let now = self.now;
        let Some(pipe) = self.pipe(id, side) else { return false };
        let Some((at, piece)) = pipe.pieces.front() else {
            pipe.moving = false;
            return false;
        };
        let length = match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::End => 0,
        };
        let slow = reader.map_or(0, |rate| length * 1_000_000 / rate.max(1));
        let at = (*at).max(now) + slow;
        let here = at == now;
        if !here {
            self.queue.push(at, Event::Stream(StreamEvent::Piece(id, side)));
        }
        here
    }

    /// Bytes reach the far process, and their sender may give more: it hears so by quarters of its window.
    fn deliver(&mut self, id: u64, side: usize, bytes: &Blob) {
        let Some(far) = self.side_of(id, 1 - side) else { return };
        let Some(pipe) = self.pipe(id, side) else { return };
        if pipe.broken {
            return;
        }
        if let Some(frame) = pipe.reader.take_whole(bytes) {
            let input = Input::Frame { connection: far.connection, frame };
            self.input(far.machine, far.process, input);
        } else {
            pipe.reader.push(bytes);
            self.read_frames(id, side, far);
        }
        let Some(pipe) = self.pipe(id, side) else { return };
        pipe.freed += bytes.len();
        if pipe.freed >= limits::WINDOW_BYTES / 4 {
            let freed = std::mem::take(&mut pipe.freed);
            self.writable(id, side, freed);
        }
    }

    /// Hands the far process every frame that is whole.
    fn read_frames(&mut self, id: u64, side: usize, far: End) {
        loop {
            let Some(pipe) = self.pipe(id, side) else { return };
            match pipe.reader.next_frame() {
                Ok(Some(frame)) => {
                    let input = Input::Frame { connection: far.connection, frame };
                    self.input(far.machine, far.process, input);
                }
                Ok(None) => break,
                Err(error) => {
                    pipe.broken = true;
                    let what = error.to_string();
                    let input = Input::Broken { connection: far.connection, what };
                    self.input(far.machine, far.process, input);
                    break;
                }
            }
        }
    }

    fn writable(&mut self, id: u64, side: usize, bytes: usize) {
        let Some(end) = self.side_of(id, side).filter(|end| end.here) else { return };
        let input = Input::Writable { connection: end.connection, bytes };
        self.input(end.machine, end.process, input);
    }

    /// The machine at the far end of `side` says that nobody holds this connection any more.
    fn tell_reset(&mut self, id: u64, side: usize) {
        let (Some(near), Some(far)) = (self.side_of(id, side), self.side_of(id, 1 - side)) else {
            return;
        };
        let back = self.link_mut(far.machine, near.machine);
        if back.state(Kind::Stream) != State::Open {
            return;
        }
        let at = back.piece();
        self.queue.push(self.now + at, Event::Stream(StreamEvent::Reset(id, side)));
    }

    /// `side` learns that the connection is over.
    fn reset(&mut self, id: u64, side: usize) {
        let Some(stream) = self.streams.table.remove(id) else { return };
        let Some(end) = stream.ends.get(side).copied() else { return };
        let Some(process) = self.process_mut(end.machine, end.process) else { return };
        if process.connections.remove(&end.connection).is_some() {
            self.input(end.machine, end.process, Input::Closed { connection: end.connection });
        }
    }

    /// Breaks every stream between two machines at some byte of what is on its way.
    pub(super) fn break_streams(&mut self, one: usize, other: usize) -> usize {
        if self.elsewhere.is_some() {
            self.order(Order::Reset { one, other });
            return 0;
        }
        let between = |stream: &Stream| {
            let [near, far] = stream.ends;
            stream.open && [(one, other), (other, one)].contains(&(near.machine, far.machine))
        };
        let ids: Vec<u64> =
            self.streams.table.iter().filter(|(_, s)| between(s)).map(|(id, _)| id).collect();
        for id in &ids {
            for side in [0, 1] {
                self.deliver_part(*id, side);
            }
            let Some(stream) = self.streams.table.remove(*id) else { continue };
            for end in stream.ends.iter().filter(|end| end.here) {
                let Some(process) = self.process_mut(end.machine, end.process) else { continue };
                process.connections.remove(&end.connection);
                let input = Input::Closed { connection: end.connection };
                self.input(end.machine, end.process, input);
            }
        }
        ids.len()
    }

    /// Delivers a prefix, cut at any byte, of the oldest piece, and nothing after it.
    fn deliver_part(&mut self, id: u64, side: usize) {
        let Some(near) = self.side_of(id, side).map(|end| end.machine) else { return };
        let Some(pipe) = self.pipe(id, side) else { return };
        let next = pipe.pieces.pop_front();
        pipe.pieces.clear();
        let Some((_, Piece::Bytes(bytes))) = next else { return };
        let length = self.draws_of(near).crash.index(bytes.len() + 1);
        let part = bytes.get(..length).map(Blob::from).unwrap_or_default();
        self.deliver(id, side, &part);
    }

    /// A process ended: its connections are reset, or left half open where the machine went silently.
    pub(super) fn streams_of_ended(&mut self, machine: usize, process: u64, silently: bool) {
        let ended = |end: &End| end.machine == machine && end.process == process;
        let ids: Vec<(u64, usize)> = self
            .streams
            .table
            .iter()
            .filter_map(|(id, stream)| Some((id, stream.ends.iter().position(ended)?)))
            .collect();
        for (id, side) in ids {
            let Some(stream) = self.streams.table.get_mut(id) else { continue };
            if let Some(end) = stream.ends.get_mut(side) {
                end.here = false;
            }
            if !stream.open {
                self.streams.table.remove(id);
            } else if !silently {
                self.deliver_part(id, side);
                self.tell_reset(id, 1 - side);
            }
        }
    }

    /// Pieces that waited for a link or a reader look again.
    pub(super) fn unblock_streams(&mut self) {
        for (id, side) in std::mem::take(&mut self.streams.standing) {
            let Some(pipe) = self.pipe(id, side) else { continue };
            if !pipe.moving && !pipe.pieces.is_empty() {
                pipe.moving = true;
                self.queue.push(self.now, Event::Stream(StreamEvent::Piece(id, side)));
            }
        }
    }

    fn side_of(&self, id: u64, side: usize) -> Option<End> {
        self.streams.table.get(id)?.ends.get(side).copied()
    }

    fn pipe(&mut self, id: u64, side: usize) -> Option<&mut Pipe> {
        self.streams.table.get_mut(id)?.pipes.get_mut(side)
    }
}

fn ephemeral(id: u64) -> u16 {
    40_000 + u16::try_from(id % 20_000).expect("below 20 000")
}
