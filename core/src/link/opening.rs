//! From a transport connection to a finished handshake.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::dial::{LEAVING_WAIT, REFUSED_WAIT, SELF_WAIT, Wait};
use super::handshake::{House, Unwelcome, Verdict, judge_hello, judge_welcome};
use super::pairing::Met;
use super::{Connection, Links, Output, Stage, Subject, Target};
use crate::ids::{ConnectionId, NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::decode;
use crate::wire::frame::{Class, Frame, framed};
use crate::wire::session::{Greeting, MAGIC, Refusal, Session};

impl Links {
    /// Our dial reached somebody: say hello.
    pub(super) fn connected(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Stage::Connecting(target) = &connection.stage else { return };
        let called = match target {
            Target::Peer(node) => Some(node.clone()),
            Target::Seed => None,
        };
        connection.stage = Stage::Greeting(target.clone());
        connection.since = now;
        self.agenda.set(Subject::Connection(id), now + self.settings.handshake_timeout);
        let resume = called.as_ref().and_then(|node| self.resume(node));
        let mut hello = self.greeting(self.settings.protocol, called);
        hello.resume = resume.into_iter().collect::<Vec<_>>().into();
        let hello = Session::Hello(hello);
        self.write_session(id, &hello, out);
    }

    /// Somebody connected: wait for a hello, if there is room to wait.
    pub(super) fn accepted(
        &mut self,
        now: Instant,
        id: ConnectionId,
        from: SocketAddr,
        out: &mut Vec<Output>,
    ) {
        if self.connections.contains_key(&id) {
            return;
        }
        if !self.has_place(now, from.ip(), out) {
            sometimes!("link.accepts_full");
            self.counts.handshake("full");
            out.push(Output::Disconnect { connection: id });
            return;
        }
        *self.accepting.entry(from.ip()).or_default() += 1;
        self.connections.insert(id, Connection::new(now, from, Stage::Accepted));
        self.agenda.set(Subject::Connection(id), now + self.settings.handshake_timeout);
    }

    /// The host could not secure a connection. Certificates are mended while nodes run: whoever dialled keeps
    /// its schedule.
    pub(super) fn unsecured(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.pair().is_none() {
            self.counts.handshake("tls");
        }
        self.hang_up(now, id, "tls", Wait::Backoff, out);
    }

    /// Whoever speaks has the certificate of another node. A dialer is told; whoever answered is left.
    pub(super) fn misnamed(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.stage == Stage::Accepted {
            self.write_session(id, &Session::Refused(Refusal::WrongNode), out);
        }
        self.counts.handshake("tls");
        self.misbehaved(now, id, "a certificate that names another node", out);
    }

    /// Whether one more may wait here with its hello. Who is late with it gives way: a peer of which
    /// nothing arrives but its dials would keep everybody else out.
    fn has_place(&mut self, now: Instant, address: IpAddr, out: &mut Vec<Output>) -> bool {
        let here = self.accepting.get(&address).copied().unwrap_or(0);
        let all: usize = self.accepting.values().sum();
        let crowded_here = here >= limits::ACCEPTS_PER_ADDRESS_MAX;
        if !crowded_here && all < self.settings.accepts_max {
            return true;
        }
        let late = self.connections.iter().filter(|(_, one)| {
            one.stage == Stage::Accepted
                && now.since(one.since) >= HELLO_PATIENCE
                && (!crowded_here || one.address.ip() == address)
        });
        let Some(latest) = late.min_by_key(|(_, one)| one.since).map(|(id, _)| *id) else {
            return false;
        };
        self.counts.handshake("timeout");
        self.hang_up(now, latest, "late", Wait::Backoff, out);
        true
    }

    /// A frame on a connection whose handshake is not finished.
    pub(super) fn session_frame(
        &mut self,
        now: Instant,
        id: ConnectionId,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get(&id) else { return };
        let session = decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(&frame.payload);
        match (&connection.stage, session) {
            (Stage::Accepted, Ok(Session::Hello(hello))) => self.hello(now, id, hello, out),
            (Stage::Greeting(target), Ok(Session::Welcome(welcome))) => {
                let target = target.clone();
                self.welcome(now, id, &target, welcome, out);
            }
            (Stage::Greeting(_), Ok(Session::Refused(refusal))) => {
                self.refused(now, id, refusal, out);
            }
            (Stage::Greeting(_), Ok(Session::Bye(_))) => self.lost(now, id, "closed", out),
            _ => self.misbehaved(now, id, "an undecodable or misplaced session frame", out),
        }
    }

    fn hello(&mut self, now: Instant, id: ConnectionId, hello: Greeting, out: &mut Vec<Output>) {
        let Some(address) = hello.addresses.first().copied() else {
            self.misbehaved(now, id, "a greeting without an address", out);
            return;
        };
        match judge_hello(&hello, &self.house(&hello.node)) {
            Verdict::Silence => {
                sometimes!("link.hello_of_another_cluster");
                self.counts.handshake("cluster");
                if canary!("link.answers_strangers") {
                    self.write_session(id, &Session::Refused(Refusal::WrongNode), out);
                }
                self.hang_up(now, id, "cluster", Wait::Backoff, out);
            }
            Verdict::Refused(refusal) => {
                sometimes!("link.hello_stale", matches!(refusal, Refusal::Stale { .. }));
                sometimes!("link.hello_leaving", matches!(refusal, Refusal::Leaving));
                self.counts.handshake(outcome(&refusal));
                if refusal == Refusal::Genesis {
                    out.push(Output::Conflict { node: Some(hello.node), address });
                }
                self.write_session(id, &Session::Refused(refusal), out);
                self.hang_up(now, id, "refused", Wait::Backoff, out);
            }
            Verdict::Welcome { protocol } => {
                let mut welcome = self.greeting((protocol, protocol), None);
                welcome.resume = self.resume(&hello.node).into_iter().collect::<Vec<_>>().into();
                self.write_session(id, &Session::Welcome(welcome), out);
                let resume = self.resume_of(&hello);
                let peer = Replica { node: hello.node, incarnation: hello.incarnation };
                let met = Met { peer, born: hello.born, address, protocol, resume, by_seed: false };
                self.open(now, id, met, out);
            }
        }
    }

    fn welcome(
        &mut self,
        now: Instant,
        id: ConnectionId,
        target: &Target,
        welcome: Greeting,
        out: &mut Vec<Output>,
    ) {
        let Some(address) = welcome.addresses.first().copied() else {
            self.misbehaved(now, id, "a greeting without an address", out);
            return;
        };
        let called = match target {
            Target::Peer(node) => Some(node),
            Target::Seed => None,
        };
        match judge_welcome(&welcome, called, &self.house(&welcome.node)) {
            Ok(protocol) => {
                let resume = self.resume_of(&welcome);
                let peer = Replica { node: welcome.node, incarnation: welcome.incarnation };
                let by_seed = *target == Target::Seed;
                let met = Met { peer, born: welcome.born, address, protocol, resume, by_seed };
                self.open(now, id, met, out);
            }
            Err(unwelcome) => {
                sometimes!("link.welcome_stale", unwelcome == Unwelcome::Stale);
                let (outcome, wait) = match unwelcome {
                    Unwelcome::Cluster => ("cluster", Wait::Backoff),
                    Unwelcome::Node => ("node", Wait::AtLeast(REFUSED_WAIT)),
                    Unwelcome::Version => ("version", Wait::AtLeast(REFUSED_WAIT)),
                    Unwelcome::Stale => ("stale", Wait::Backoff),
                };
                self.counts.handshake(outcome);
                self.hang_up(now, id, outcome, wait, out);
            }
        }
    }

    /// Our hello was refused; what then is the dialer's column of the table.
    fn refused(&mut self, now: Instant, id: ConnectionId, refusal: Refusal, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let address = connection.address;
        if let (Refusal::Genesis, Stage::Greeting(target)) = (&refusal, &connection.stage) {
            let node = match target {
                Target::Peer(node) => Some(node.clone()),
                Target::Seed => None,
            };
            out.push(Output::Conflict { node, address });
        }
        sometimes!("link.refused_stale", matches!(refusal, Refusal::Stale { .. }));
        sometimes!("link.refused_leaving", matches!(refusal, Refusal::Leaving));
        let outcome = outcome(&refusal);
        self.counts.handshake(outcome);
        let wait = match refusal {
            Refusal::WrongNode | Refusal::Version { .. } | Refusal::Genesis | Refusal::Full => {
                Wait::AtLeast(REFUSED_WAIT)
            }
            Refusal::Settings { .. } => Wait::AtLeast(REFUSED_WAIT),
            Refusal::Leaving => Wait::AtLeast(LEAVING_WAIT),
            Refusal::SelfCall => {
                self.shun(now, address);
                Wait::AtLeast(SELF_WAIT)
            }
            Refusal::Stale { known } => {
                out.push(Output::Stale { known, address });
                Wait::Backoff
            }
        };
        self.hang_up(now, id, outcome, wait, out);
    }

    fn house(&self, greeter: &NodeId) -> House<'_> {
        let peer = self.peers.get(greeter);
        House {
            protocol: self.settings.protocol,
            cluster: &self.settings.cluster,
            local: &self.local,
            genesis: self.genesis.map(|genesis| genesis.0),
            settings: &[],
            known: peer.map(|peer| peer.life),
            fence: self.fences.of(greeter),
            has_room: peer.is_some() || self.peers.len() < limits::MEMBERS_MAX,
            leaving: self.leaving,
        }
    }

    fn greeting(&self, protocol: (u16, u16), called: Option<NodeId>) -> Greeting {
        Greeting {
            magic: MAGIC,
            cluster: self.settings.cluster.clone(),
            protocol,
            node: self.local.node.clone(),
            incarnation: self.local.incarnation,
            born: self.born,
            addresses: vec![self.settings.address].into(),
            called,
            genesis: self.genesis.map(|genesis| genesis.0),
            resume: vec![].into(),
            settings: vec![].into(),
        }
    }

    /// Session frames go first: they do not wait for the window.
    pub(super) fn write_session(
        &mut self,
        id: ConnectionId,
        session: &Session,
        out: &mut Vec<Output>,
    ) {
        let bytes = framed(Class::Session, false, session);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.window.spend(bytes.len());
        }
        out.push(Output::Write { connection: id, bytes });
    }
}

fn outcome(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::WrongNode => "node",
        Refusal::SelfCall => "self",
        Refusal::Version { .. } => "version",
        Refusal::Genesis => "genesis",
        Refusal::Settings { .. } => "settings",
        Refusal::Stale { .. } => "stale",
        Refusal::Full => "full",
        Refusal::Leaving => "leaving",
    }
}

/// After this long without a hello an accepted connection gives way to the next, where places are few.
const HELLO_PATIENCE: Duration = Duration::from_secs(1);
