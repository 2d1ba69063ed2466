//! The exchange that makes it certain: digest → rows → final rows → pull → segments.
//!
//! | message | answered by | so |
//! | --- | --- | --- |
//! | digest | rows of the buckets that differ, at most 8 | a digest never answers a digest |
//! | rows | final rows where we are ahead, a pull where we are behind | |
//! | final rows | a pull where we are behind | rows never answer final rows (G-10) |
//! | pull | what is held, over the link if it is up, else the target's lane | |

use super::lane::Owed;
use super::ledger::{bucket_of, pack, unpack};
use super::{Gossip, Output};
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::message::{Digest, Pull, Row, Rows};
use crate::wire::segment::{Progress, Topic};
use crate::wire::{Blob, Transport, integer_bytes};

/// `last`, the mask of buckets and the count, at their longest.
const ROWS_HEADER_BYTES: usize = 1 + 9 + 3;

impl Gossip {
    /// One digest to the next of the ring.
    pub(super) fn send_digest(&mut self, out: &mut Vec<Output>) {
        let Some(to) = self.roster.next(&mut self.rng) else { return };
        let digest = self.digest();
        out.push(Output::Digest { to, digest });
    }

    pub(super) fn digest(&mut self) -> Digest {
        let members = u16::try_from(self.members()).unwrap_or(u16::MAX);
        // No shared map is held: its groups are equal everywhere.
        let shared = Blob::from(vec![0; 8 * limits::DIGEST_BUCKETS]);
        Digest { members, owners: pack(&self.ledger.hashes()), shared }
    }

    pub(super) fn compare(
        &mut self,
        now: Instant,
        from: &Replica,
        transport: Transport,
        digest: &Digest,
        out: &mut Vec<Output>,
    ) {
        let (Some(theirs), Some(_)) = (unpack(&digest.owners), unpack(&digest.shared)) else {
            let what = "a digest without 64 hashes of each kind";
            return out.push(Output::Misbehaved { peer: from.node.clone(), what });
        };
        sometimes!("gossip.digest_of_a_stranger", !self.peers.contains_key(&from.node));
        let Some(peer) = self.peers.get_mut(&from.node) else { return };
        peer.last_digest = Some(now);
        let ours = self.ledger.hashes();
        let differs = |index: usize| ours.get(index) != theirs.get(index);
        let unequal: Vec<usize> = (0..limits::DIGEST_BUCKETS).filter(|one| differs(*one)).collect();
        sometimes!("gossip.digest_equal", unequal.is_empty());
        sometimes!("gossip.digest_unequal", !unequal.is_empty());
        if unequal.is_empty() {
            peer.behind = 0;
            self.tally.digests_equal += 1;
        } else {
            self.tally.digests_unequal += 1;
        }
        self.acknowledge(from, &unequal, out);
        self.answer_digest(&from.node, transport, &unequal, out);
    }

    /// Every map in an equal bucket is level with the peer's.
    fn acknowledge(&mut self, from: &Replica, unequal: &[usize], out: &mut Vec<Output>) {
        let waiting: Vec<(Topic, Replica)> =
            self.backlog.sources().map(|(topic, source)| (topic, source.clone())).collect();
        for (topic, source) in waiting {
            if !unequal.contains(&bucket_of(&source.node)) {
                let complete = self.ledger.complete(topic, &source);
                self.backlog.known(&from.node, topic, &source, complete);
            }
        }
        let own = bucket_of(&self.local.node);
        if unequal.contains(&own) {
            return;
        }
        let level = self.ledger.rows(own).filter(|(_, replica, _)| **replica == self.local);
        out.extend(level.map(|(topic, replica, progress)| Output::Level {
            peer: from.clone(),
            topic,
            replica: replica.clone(),
            complete: progress.complete,
        }));
    }

    /// Rows of at most 8 unequal buckets, going on after the last one that this peer was told.
    fn answer_digest(
        &mut self,
        to: &NodeId,
        transport: Transport,
        unequal: &[usize],
        out: &mut Vec<Output>,
    ) {
        let Some(peer) = self.peers.get(to) else { return };
        let later = unequal.iter().filter(|bucket| **bucket >= peer.cursor);
        let earlier = unequal.iter().filter(|bucket| **bucket < peer.cursor);
        let most =
            if sim_point!("gossip.one_bucket") { 1 } else { limits::DIGEST_BUCKETS_PER_ANSWER };
        let turn: Vec<usize> = later.chain(earlier).copied().take(most).collect();
        if turn.is_empty() {
            return;
        }
        sometimes!("gossip.buckets_left", turn.len() < unequal.len());
        let whole: usize = turn.iter().map(|bucket| self.bucket_bytes(*bucket)).sum();
        let fits = whole + ROWS_HEADER_BYTES <= self.section_max();
        let by_link = transport == Transport::Link || (!fits && self.linked.contains(to));
        let transport = if by_link { Transport::Link } else { Transport::Datagram };
        let (rows, last) = self.rows_of(&turn, self.rows_bytes_max(transport));
        if let Some(peer) = self.peers.get_mut(to) {
            peer.cursor = (last + 1) % limits::DIGEST_BUCKETS;
        }
        out.push(Output::Rows { to: to.clone(), transport, rows });
    }

    /// The rows of the first of `buckets`, as many as fit, and the last bucket looked at. Of a bucket that
    /// does not fit alone a random part is told, and the mask does not claim it.
    fn rows_of(&mut self, buckets: &[usize], bytes_max: usize) -> (Rows, usize) {
        let mut room = Room::new(bytes_max);
        let (mut mask, mut last, mut rows) = (0_u64, 0, Vec::new());
        for bucket in buckets {
            let held: Vec<Row> = self.ledger.rows(*bucket).map(row).collect();
            let bytes: usize = held.iter().map(row_bytes).sum();
            if room.takes(bytes, held.len()) {
                mask |= 1 << *bucket;
                rows.extend(held);
            } else if rows.is_empty() && mask == 0 {
                let start = self.rng.index(held.len());
                let turned = held.iter().cycle().skip(start).take(held.len());
                rows.extend(turned.take_while(|row| room.takes(row_bytes(row), 1)).cloned());
                last = *bucket;
                break;
            } else {
                break;
            }
            last = *bucket;
        }
        (Rows { last: false, buckets: mask, rows: rows.into() }, last)
    }

    fn bucket_bytes(&self, bucket: usize) -> usize {
        self.ledger.rows(bucket).map(|held| row_bytes(&row(held))).sum()
    }

    fn rows_bytes_max(&self, transport: Transport) -> usize {
        match transport {
            Transport::Link => limits::SEGMENTS_BYTES_MAX - ROWS_HEADER_BYTES,
            Transport::Datagram => self.section_max().saturating_sub(ROWS_HEADER_BYTES),
        }
    }

    pub(super) fn read_rows(
        &mut self,
        now: Instant,
        from: &Replica,
        transport: Transport,
        rows: &Rows,
        out: &mut Vec<Output>,
    ) {
        if !self.peers.contains_key(&from.node) {
            return;
        }
        let mut behind: Vec<Row> = Vec::new();
        for theirs in rows.rows.iter() {
            let ours = self.ledger.get(theirs.topic, &theirs.replica).unwrap_or_default();
            self.learn_row(now, from, theirs, ours, out);
            if theirs.progress.complete < ours.complete {
                behind.push(row((theirs.topic, &theirs.replica, ours)));
            }
        }
        behind.extend(self.unnamed(rows));
        sometimes!("gossip.final_rows", rows.last);
        if let Some(peer) = self.peers.get_mut(&from.node) {
            let told = |row: &&Row| {
                rows.rows
                    .iter()
                    .find(|theirs| theirs.topic == row.topic && theirs.replica == row.replica)
            };
            let lacks = |row: &Row| {
                let had = told(&row).map_or(0, |theirs| theirs.progress.complete);
                row.progress.complete.saturating_sub(had)
            };
            peer.behind = behind.iter().map(lacks).sum();
        }
        let answers = !rows.last || canary!("gossip.answers_final_rows");
        if answers && !behind.is_empty() {
            sometimes!("gossip.ahead_of_rows");
            let to = from.node.clone();
            let fits = behind.iter().map(row_bytes).sum::<usize>()
                <= self.rows_bytes_max(Transport::Datagram);
            let by_link = transport == Transport::Link || (!fits && self.linked.contains(&to));
            let transport = if by_link { Transport::Link } else { Transport::Datagram };
            let mut room = Room::new(self.rows_bytes_max(transport));
            behind.retain(|row| room.takes(row_bytes(row), 1));
            let rows = Rows { last: true, buckets: 0, rows: behind.into() };
            out.push(Output::Rows { to, transport, rows });
        }
    }

    /// What one row of a peer teaches.
    fn learn_row(
        &mut self,
        now: Instant,
        from: &Replica,
        theirs: &Row,
        ours: Progress,
        out: &mut Vec<Output>,
    ) {
        let Row { topic, replica, progress } = theirs;
        self.backlog.known(&from.node, *topic, replica, progress.complete);
        if *replica == self.local {
            let heard = progress.head.max(progress.complete).max(progress.floor);
            if heard > ours.head {
                let (topic, replica) = (*topic, replica.clone());
                out.push(Output::Shown { topic, replica, head: heard, floor: progress.floor });
            }
            return;
        }
        if progress.complete > ours.complete && self.may_want(*topic, replica) {
            sometimes!("gossip.behind_a_row");
            self.pulls.want(*topic, replica, &from.node, progress.complete, now, false);
        }
    }

    /// Whether we would take this map at all: of a known topic and a known foreign life, and not a former
    /// life whose map we have dropped for its successor's.
    pub(super) fn may_want(&self, topic: Topic, replica: &Replica) -> bool {
        let known = self.known.get(&replica.node);
        replica.node != self.local.node
            && Topic::ALL.contains(&topic)
            && known.is_some_and(|incarnation| replica.incarnation <= *incarnation)
            && (self.ledger.get(topic, replica).is_some()
                || !self.ledger.holds_newer(topic, replica))
    }

    /// What we hold in the buckets that `rows` are all of, and `rows` do not name.
    fn unnamed(&self, rows: &Rows) -> Vec<Row> {
        let named: std::collections::BTreeSet<(Topic, &Replica)> =
            rows.rows.iter().map(|row| (row.topic, &row.replica)).collect();
        let buckets =
            (0..limits::DIGEST_BUCKETS).filter(|bucket| rows.buckets & (1 << bucket) != 0);
        let held = buckets.flat_map(|bucket| self.ledger.rows(bucket));
        held.filter(|(topic, replica, _)| !named.contains(&(*topic, *replica))).map(row).collect()
    }

    pub(super) fn answer_pull(
        &mut self,
        from: &Replica,
        transport: Transport,
        pull: Pull,
        out: &mut Vec<Output>,
    ) {
        let to = from.node.clone();
        if transport == Transport::Link || self.linked.contains(&to) {
            sometimes!("gossip.pull_by_link");
            return out.push(Output::Serve { to, pull });
        }
        if !self.peers.contains_key(&to) {
            return;
        }
        let mut owes = false;
        for want in pull.wants.iter() {
            let upto = self.ledger.complete(want.topic, &want.replica);
            if upto > want.from {
                let (topic, replica) = (want.topic, want.replica.clone());
                self.lanes.owe(&to, Owed { topic, replica, from: want.from, upto });
                owes = true;
            }
        }
        sometimes!("gossip.pull_of_nothing", !owes);
        if owes {
            sometimes!("gossip.pull_into_lane");
            out.push(Output::Round { target: to, datagrams: self.settings.burst });
        }
    }

    /// Asks for what is wanted, and ends what has taken too long.
    pub(super) fn replan(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.pulls.is_due(now) {
            return;
        }
        let ledger = &self.ledger;
        self.pulls.expire(now, |(topic, replica)| ledger.complete(*topic, replica));
        let section_max = self.section_max();
        let linked = &self.linked;
        let path = |peer: &NodeId| match linked.contains(peer) {
            true => (Transport::Link, limits::SEGMENTS_BYTES_MAX),
            false => (Transport::Datagram, section_max),
        };
        let complete = |(topic, replica): &(Topic, Replica)| ledger.complete(*topic, replica);
        let pulls = self.pulls.plan(now, self.settings.pull_timeout, complete, path);
        out.extend(pulls.into_iter().map(|(to, transport, pull)| Output::Pull {
            to,
            transport,
            pull,
        }));
    }
}

/// What is left of a message of rows.
struct Room {
    bytes: usize,
    rows: usize,
}

impl Room {
    fn new(bytes: usize) -> Room {
        Room { bytes, rows: limits::ROWS_MAX }
    }

    fn takes(&mut self, bytes: usize, rows: usize) -> bool {
        if bytes > self.bytes || rows > self.rows {
            return false;
        }
        self.bytes -= bytes;
        self.rows -= rows;
        true
    }
}

fn row((topic, replica, progress): (Topic, &Replica, Progress)) -> Row {
    Row { topic, replica: replica.clone(), progress }
}

fn row_bytes(row: &Row) -> usize {
    let name = row.replica.node.as_str().len();
    let Progress { complete, head, floor } = row.progress;
    let numbers = [row.replica.incarnation.0, complete, head, floor];
    1 + 1 + name + numbers.into_iter().map(integer_bytes).sum::<usize>()
}
