//! How a node finds others: seeds, tried for ever.
//!
//! While nobody is met every seed is resolved anew and all its addresses are dialled; the wait doubles
//! from 500 ms to 8 s, ± 20 %. Every minute random seeds that are no member's address are tried as well,
//! so two halves that forgot each other meet again (M-10): a few at a time, since of three seeds two may
//! be gone for good, and the third must be found in time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::Output;
use crate::limits;
use crate::random::Rng;
use crate::time::Instant;

/// A `host:port` whose host is resolved at each attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed {
    host: String,
    port: u16,
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Seed, String> {
        let wrong = |why: &str| format!("`{text}` is no host:port: {why}");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
        let port: u16 = port.parse().map_err(|_| wrong("the port is no number below 65536"))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let six = bracketed.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if port == 0 {
            return Err(wrong("port 0 cannot be dialled"));
        }
        if !six && (host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(word)) {
            return Err(wrong("the host is neither a name nor an address"));
        }
        Ok(Seed { host: host.to_owned(), port })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What is known of a seed.
#[derive(Debug, Clone, Default)]
struct Tried {
    /// How often it failed in a row.
    failures: u32,
    /// What its name stood for last.
    addresses: Vec<SocketAddr>,
}

/// All seeds and the attempts on them.
#[derive(Debug)]
pub(super) struct Seeds {
    rng: Rng,
    /// Seeds as configured or joined.
    seeds: BTreeMap<String, Tried>,
    resolving: BTreeSet<String>,
    dialling: BTreeMap<SocketAddr, (String, Instant)>,
    /// After this long a dial of which nothing was heard may be repeated.
    dial_timeout: Duration,
    delay: Duration,
    attempt_at: Option<Instant>,
    bridge_at: Instant,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) reached: u64,
}

impl Seeds {
    pub(super) fn new(
        join: &[String],
        dial_timeout: Duration,
        now: Instant,
        mut rng: Rng,
    ) -> Seeds {
        let seeds =
            join.iter().take(limits::SEEDS_MAX).map(|seed| (seed.clone(), Tried::default()));
        let seeds = seeds.collect();
        let bridge_at = now + rng.jitter(BRIDGE_INTERVAL, JITTER_PERCENT);
        Seeds {
            rng,
            seeds,
            resolving: BTreeSet::new(),
            dialling: BTreeMap::new(),
            dial_timeout,
            delay: DELAY_MIN,
            attempt_at: None,
            bridge_at,
            refused: 0,
            failed: 0,
            reached: 0,
        }
    }

    /// Adds seeds as far as there is room, and says whether there was.
    pub(super) fn add(&mut self, seeds: impl IntoIterator<Item = String>) -> bool {
        for seed in seeds {
            if self.seeds.len() >= limits::SEEDS_MAX && !self.seeds.contains_key(&seed) {
                return false;
            }
            self.seeds.entry(seed).or_default();
        }
        true
    }

    /// Tries all seeds from now on while `alone`, starting with the shortest wait.
    pub(super) fn pursue(&mut self, now: Instant, alone: bool) {
        if !alone || self.seeds.is_empty() {
            self.attempt_at = None;
        } else if self.attempt_at.is_none() {
            self.delay = DELAY_MIN;
            self.attempt_at = Some(now);
        }
    }

    /// Whatever they refused is over: the waits begin anew.
    pub(super) fn begin_anew(&mut self) {
        self.attempt_at = None;
    }

    /// Tries these seeds once, now.
    pub(super) fn attempt(&mut self, seeds: &[String], out: &mut Vec<Output>) {
        for seed in seeds {
            self.resolving.insert(seed.clone());
            out.push(Output::Resolve { seed: seed.clone() });
        }
    }

    pub(super) fn next_wake(&self) -> Instant {
        let bridge_at = if self.seeds.is_empty() { FOREVER } else { self.bridge_at };
        self.attempt_at.map_or(bridge_at, |at| at.min(bridge_at))
    }

    /// Tries what is due. `known` tells addresses of members and our own.
    pub(super) fn tick(
        &mut self,
        now: Instant,
        known: impl Fn(&SocketAddr) -> bool,
        out: &mut Vec<Output>,
    ) {
        if self.attempt_at.is_some_and(|at| at <= now) {
            let all: Vec<String> = self.seeds.keys().cloned().collect();
            self.attempt(&all, out);
            self.attempt_at = Some(now + self.rng.jitter(self.delay, JITTER_PERCENT));
            self.delay = (self.delay * 2).min(DELAY_MAX);
            sometimes!("membership.seed_waits_longest", self.delay == DELAY_MAX);
        }
        if self.bridge_at <= now {
            self.bridge_at = now + self.rng.jitter(BRIDGE_INTERVAL, JITTER_PERCENT);
            let strange = |tried: &Tried| {
                tried.addresses.is_empty() || tried.addresses.iter().any(|address| !known(address))
            };
            let strange = self.seeds.iter().filter(|(_, tried)| strange(tried));
            let mut strange: Vec<String> = strange.map(|(seed, _)| seed.clone()).collect();
            self.rng.shuffle(&mut strange);
            strange.truncate(limits::BRIDGES_MAX);
            sometimes!("membership.bridge", !strange.is_empty());
            self.attempt(&strange, out);
        }
    }

    /// What the names of `seeds` stood for last; nothing, if one of them stands for nothing.
    pub(super) fn addresses(&self, seeds: &[String]) -> Option<BTreeSet<SocketAddr>> {
        let mut all = BTreeSet::new();
        for seed in seeds {
            let tried = self.seeds.get(seed).filter(|tried| !tried.addresses.is_empty())?;
            all.extend(&tried.addresses);
        }
        Some(all)
    }

    /// Dials what a seed's name stands for. `known` tells addresses of members and our own.
    pub(super) fn resolved(
        &mut self,
        now: Instant,
        seed: &str,
        addresses: Vec<SocketAddr>,
        known: impl Fn(&SocketAddr) -> bool,
        out: &mut Vec<Output>,
    ) {
        if !self.resolving.remove(seed) {
            sometimes!("membership.resolved_unasked");
            return; // Asked by nobody, or answered before.
        }
        if let Some(tried) = self.seeds.get_mut(seed) {
            tried.addresses.clone_from(&addresses);
            tried.addresses.truncate(limits::ADDRESSES_PER_SEED_MAX);
        }
        self.dialling.retain(|_, (_, until)| *until > now);
        if addresses.is_empty() {
            self.failed += 1;
            self.fail(seed.to_owned(), out);
        }
        for address in addresses.into_iter().take(limits::ADDRESSES_PER_SEED_MAX) {
            if !known(&address) && !self.dialling.contains_key(&address) {
                self.dialling.insert(address, (seed.to_owned(), now + self.dial_timeout));
                out.push(Output::DialSeed { address });
            }
        }
    }

    /// A link came up: whichever seed led there has worked.
    pub(super) fn linked(&mut self, address: SocketAddr) {
        if let Some((seed, _)) = self.dialling.remove(&address) {
            sometimes!("membership.seed_reached");
            self.reached += 1;
            self.seeds.entry(seed).and_modify(|tried| tried.failures = 0);
        }
    }

    /// A dial came to nothing.
    pub(super) fn unreached(&mut self, address: SocketAddr, refused: bool, out: &mut Vec<Output>) {
        let Some((seed, _)) = self.dialling.remove(&address) else { return };
        sometimes!("membership.seed_unreached", !refused);
        sometimes!("membership.seed_refused", refused);
        *(if refused { &mut self.refused } else { &mut self.failed }) += 1;
        self.fail(seed, out);
    }

    fn fail(&mut self, seed: String, out: &mut Vec<Output>) {
        let Some(tried) = self.seeds.get_mut(&seed) else { return };
        tried.failures = tried.failures.saturating_add(1);
        out.push(Output::JoinFailed { failures: tried.failures, seed });
    }
}

const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(8);
const JITTER_PERCENT: u32 = 20;
const BRIDGE_INTERVAL: Duration = Duration::from_secs(60);
const HOST_BYTES_MAX: usize = 253;
const FOREVER: Instant = Instant::from_micros(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

    proptest! {
        #[test]
        fn a_formatted_seed_parses_to_itself(name in "[a-z0-9._-]{1,60}", port in 1_u16..) {
            let seed: Seed = format!("{name}:{port}").parse().expect("well formed");
            prop_assert_eq!(seed.to_string().parse::<Seed>(), Ok(seed));
        }

        #[test]
        fn every_socket_address_is_a_seed(ip: [u8; 16], four: bool, port in 1_u16..) {
            let ip = if four { [ip[0], ip[1], ip[2], ip[3]].into() } else { ip.into() };
            let address = SocketAddr::new(ip, port);
            let seed: Seed = address.to_string().parse().expect("an address is a seed");
            prop_assert_eq!(seed.to_string().parse::<SocketAddr>().expect("still one"), address);
        }

        #[test]
        fn any_text_is_a_seed_or_refused(text: String) {
            let _ = text.parse::<Seed>();
        }
    }

    #[test]
    fn a_seed_without_port_or_host_is_refused() {
        for bad in
            ["", "host", ":1", "host:", "host:0", "host:65536", "a b:1", "::1:7420", "[::1:1"]
        {
            assert!(bad.parse::<Seed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bridge_leads_to_a_seed_that_is_not_all_members() {
        let join = ["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()];
        let mut seeds = Seeds::new(&join, DIAL_TIMEOUT, Instant::ZERO, Rng::from_number(1));
        let address = |low| SocketAddr::from(([10, 0, 0, low], 1));
        let (known, mut out) = (|known: &SocketAddr| *known != address(2), Vec::new());
        seeds.attempt(&join, &mut out);
        for (seed, low) in join.iter().zip(1..) {
            seeds.resolved(Instant::ZERO, seed, vec![address(low)], known, &mut out);
        }
        for _ in 0..10 {
            out.clear();
            let now = seeds.next_wake();
            seeds.tick(now, known, &mut out);
            assert_eq!(out, [Output::Resolve { seed: "b:1".into() }], "M-10");
        }
    }

    #[test]
    fn who_is_born_again_while_it_is_alone_waits_for_nothing() {
        let mut seeds =
            Seeds::new(&["a:1".into()], DIAL_TIMEOUT, Instant::ZERO, Rng::from_number(1));
        seeds.pursue(Instant::ZERO, true);
        let mut now = Instant::ZERO;
        for _ in 0..8 {
            seeds.tick(now, |_| false, &mut Vec::new());
            now = seeds.next_wake();
        }
        seeds.tick(now, |_| false, &mut Vec::new());
        let now = now + Duration::from_secs(1);
        seeds.pursue(now, true);
        assert!(seeds.next_wake() > now);
        seeds.begin_anew();
        seeds.pursue(now, true);
        assert_eq!((seeds.next_wake(), seeds.delay), (now, DELAY_MIN), "M-10");
    }

    #[test]
    fn the_wait_doubles_from_half_a_second_to_eight() {
        let mut seeds =
            Seeds::new(&["a:1".into()], DIAL_TIMEOUT, Instant::ZERO, Rng::from_number(1));
        seeds.pursue(Instant::ZERO, true);
        let (mut now, mut waits) = (Instant::ZERO, Vec::new());
        for _ in 0..8 {
            seeds.tick(now, |_| false, &mut Vec::new());
            let next = seeds.attempt_at.expect("for ever");
            waits.push(next.since(now));
            now = next;
        }
        for (wait, center) in waits.into_iter().zip([500, 1000, 2000, 4000, 8000, 8000, 8000, 8000])
        {
            let center = Duration::from_millis(center);
            assert!(
                (center * 8 / 10..=center * 12 / 10).contains(&wait),
                "{wait:?} near {center:?}"
            );
        }
    }
}
