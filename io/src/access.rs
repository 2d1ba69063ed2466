//! Who may do what: tokens, scopes, and a brake on guessing.
//!
//! A token is `qt_`, 8 characters of id, `_` and 43 characters of base64url (256 bits). Only its SHA-256
//! is kept. It is compared with every known hash, always with all of them and always in whole, so the
//! time taken says nothing about a near miss. Ten wrong tokens within a minute close an address for a
//! minute. A connection over the Unix socket is authenticated by the peer's user id.
//!
//! Absent on purpose: passwords, cookies, and a way to read a token back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quorate_core::time::Instant;
use sha2::{Digest as _, Sha256};

/// Wrong tokens of one address within [`FAILURE_WINDOW`] that close it.
const FAILURES_MAX: u32 = 10;
/// See [`FAILURES_MAX`].
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// How long an address stays closed.
const CLOSED_FOR: Duration = Duration::from_secs(60);
/// Addresses watched at a time; the one that failed longest ago makes room.
const ADDRESSES_MAX: usize = 4096;

/// What a caller may be permitted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every GET without secrets.
    Read,
    /// What applications do: worker picks and reports.
    Use,
    /// Workers, drain, logs; implies `use`.
    Operate,
    /// Members, audit, dump, keyring; implies `read` and `operate`.
    Admin,
    /// Reading secrets back.
    Secrets,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 5] =
        [Scope::Read, Scope::Use, Scope::Operate, Scope::Admin, Scope::Secrets];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Use => "use",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
            Scope::Secrets => "secrets",
        }
    }

    /// Whether holding this scope permits `wanted`.
    fn permits(self, wanted: Scope) -> bool {
        match self {
            Scope::Admin => wanted != Scope::Secrets,
            Scope::Operate => matches!(wanted, Scope::Operate | Scope::Use),
            Scope::Read | Scope::Use | Scope::Secrets => self == wanted,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A token as configuration lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// SHA-256 of the whole token.
    pub hash: [u8; 32],
    /// What it permits.
    pub scopes: Vec<Scope>,
    /// Its name in the audit log.
    pub label: String,
}

/// A token at the one moment when it can be seen.
#[derive(Clone)]
pub struct MintedToken {
    /// The secret; shown once, stored nowhere.
    pub token: String,
    /// What is kept of it.
    pub hash: [u8; 32],
}

impl MintedToken {
    /// A new token from the system's entropy.
    pub fn mint() -> Result<MintedToken, getrandom::Error> {
        let mut bytes = [0_u8; 38];
        getrandom::fill(&mut bytes)?;
        let (id, secret) = bytes.split_at(6);
        let token = format!("qt_{}_{}", URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(secret));
        Ok(MintedToken { hash: hash(&token), token })
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MintedToken(…)")
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A SHA-256 from lower-case hex; `None` if it is none.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit))
        .collect();
    bytes.try_into().ok()
}

/// What is kept of a token.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Where a connection comes from, as the listener saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over the Unix socket, with the peer's user id.
    Unix {
        /// The peer's.
        uid: u32,
    },
}

/// Who a request is made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its name in the audit log: a token's label, or `uid:<number>`.
    pub name: String,
    /// What it holds.
    pub scopes: Vec<Scope>,
}

impl Actor {
    /// Whether it may do what needs `wanted`.
    pub fn may(&self, wanted: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.permits(wanted))
    }
}

/// Why nobody was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// No token was shown.
    Missing,
    /// The token is not known.
    Unknown,
    /// Its address is closed for this long.
    Closed {
        /// How long.
        wait: Duration,
        /// Whether this very attempt closed it: worth one log line.
        just_now: bool,
    },
}

/// The tokens a node knows and the addresses that guessed.
#[derive(Debug)]
pub struct Access {
    tokens: ArcSwap<Vec<StaticToken>>,
    own_uid: u32,
    failures: Mutex<BTreeMap<IpAddr, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
    closed_until: Option<Instant>,
}

impl Access {
    /// Knows `tokens`; `own_uid` is the user that the node runs as.
    pub fn new(tokens: Vec<StaticToken>, own_uid: u32) -> Access {
        let tokens = ArcSwap::from_pointee(tokens);
        Access { tokens, own_uid, failures: Mutex::default() }
    }

    /// Forgets all tokens and knows these.
    pub fn replace(&self, tokens: Vec<StaticToken>) {
        self.tokens.store(tokens.into());
    }

    /// Who is calling.
    pub fn recognise(
        &self,
        now: Instant,
        caller: Caller,
        token: Option<&str>,
    ) -> Result<Actor, Stranger> {
        match caller {
            Caller::Unix { uid } if uid == 0 || uid == self.own_uid => {
                Ok(Actor { name: format!("uid:{uid}"), scopes: vec![Scope::Admin, Scope::Secrets] })
            }
            // Another user of this host may still hold a token; all of them share one count.
            Caller::Unix { .. } => self.by_token(now, IpAddr::V6(Ipv6Addr::UNSPECIFIED), token),
            Caller::Tcp(address) => self.by_token(now, network(address.ip()), token),
        }
    }

    fn by_token(
        &self,
        now: Instant,
        address: IpAddr,
        token: Option<&str>,
    ) -> Result<Actor, Stranger> {
        let mut failures = self.failures.lock().expect("no holder of this lock panics");
        if let Some(until) = failures.get(&address).and_then(|failures| failures.closed_until) {
            if now < until {
                return Err(Stranger::Closed { wait: until.since(now), just_now: false });
            }
            failures.remove(&address);
        }
        let Some(token) = token else { return Err(Stranger::Missing) };
        match self.find(&hash(token)) {
            Some(actor) => Ok(actor),
            None => Err(count(&mut failures, now, address)),
        }
    }

    /// The actor whose token has this hash. Looks at every token whichever matches.
    fn find(&self, hash: &[u8; 32]) -> Option<Actor> {
        let tokens = self.tokens.load();
        let mut found = None;
        for token in tokens.iter() {
            if same(&token.hash, hash) {
                found = Some(token);
            }
        }
        let token = found?;
        Some(Actor { name: token.label.clone(), scopes: token.scopes.clone() })
    }
}

/// Counts a failure of `address`, and closes it at the last.
fn count(failures: &mut BTreeMap<IpAddr, Failures>, now: Instant, address: IpAddr) -> Stranger {
    let fresh = Failures { since: now, count: 0, closed_until: None };
    let known = failures.get(&address).copied();
    let mut row = known.filter(|row| now.since(row.since) < FAILURE_WINDOW).unwrap_or(fresh);
    row.count += 1;
    let closes = row.count >= FAILURES_MAX;
    if closes {
        row.closed_until = Some(now + CLOSED_FOR);
    }
    if known.is_none() && failures.len() >= ADDRESSES_MAX {
        let oldest = failures.iter().min_by_key(|(_, row)| row.since).map(|(address, _)| *address);
        oldest.map(|address| failures.remove(&address));
    }
    failures.insert(address, row);
    if closes { Stranger::Closed { wait: CLOSED_FOR, just_now: true } } else { Stranger::Unknown }
}

/// Compares in a time that depends on nothing.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference =
        left.iter().zip(right).fold(0, |sum, (one, other)| sum | std::hint::black_box(one ^ other));
    std::hint::black_box(difference) == 0
}

/// Who counts as one guesser: an IPv4 address, or an IPv6 /64, which one customer owns whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller =
        Caller::Tcp(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9));

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn one_token(scopes: &[Scope]) -> (Access, String) {
        let minted = MintedToken::mint().expect("the system has entropy");
        let token =
            StaticToken { hash: minted.hash, scopes: scopes.to_vec(), label: "ci".to_owned() };
        (Access::new(vec![token], 1000), minted.token)
    }

    #[test]
    fn a_token_has_its_form_and_is_never_minted_twice() {
        let one = MintedToken::mint().expect("the system has entropy");
        let other = MintedToken::mint().expect("the system has entropy");
        assert_ne!(one.token, other.token);
        assert_eq!(one.token.len(), 3 + 8 + 1 + 43);
        assert!(one.token.starts_with("qt_") && one.token.as_bytes()[11] == b'_');
        assert_eq!(hash(&one.token), one.hash);
        assert!(!format!("{one:?}").contains(&one.token));
    }

    #[test]
    fn admin_implies_read_and_operate_but_not_secrets_and_operate_implies_use_alone() {
        let (access, token) = one_token(&[Scope::Admin]);
        let admin = access.recognise(at(0), CALLER, Some(&token)).expect("known");
        let may = [Scope::Read, Scope::Use, Scope::Operate, Scope::Admin, Scope::Secrets];
        assert_eq!(may.map(|scope| admin.may(scope)), [true, true, true, true, false]);
        let operator = Actor { name: String::new(), scopes: vec![Scope::Operate] };
        assert_eq!(may.map(|scope| operator.may(scope)), [false, true, true, false, false]);
    }

    #[test]
    fn ten_wrong_tokens_in_a_minute_close_an_address_for_a_minute() {
        let (access, token) = one_token(&[Scope::Read]);
        for _ in 0..9 {
            assert_eq!(access.recognise(at(1), CALLER, Some("qt_no")), Err(Stranger::Unknown));
        }
        let wait = CLOSED_FOR;
        let closed = access.recognise(at(2), CALLER, Some("qt_no"));
        assert_eq!(closed, Err(Stranger::Closed { wait, just_now: true }));
        let refused = access.recognise(at(32), CALLER, Some(&token));
        let wait = Duration::from_secs(30);
        assert_eq!(refused, Err(Stranger::Closed { wait, just_now: false }));
        let elsewhere = Caller::Tcp("10.0.0.1:1".parse().expect("an address"));
        assert!(access.recognise(at(32), elsewhere, Some(&token)).is_ok());
        assert!(access.recognise(at(62), CALLER, Some(&token)).is_ok(), "the minute is over");
    }

    #[test]
    fn failures_that_are_a_minute_apart_close_nothing() {
        let (access, _) = one_token(&[Scope::Read]);
        for minute in 0..30 {
            let refused = access.recognise(at(minute * 60), CALLER, Some("qt_no"));
            assert_eq!(refused, Err(Stranger::Unknown));
        }
    }

    #[test]
    fn a_missing_token_is_refused_and_is_no_guess() {
        let (access, token) = one_token(&[Scope::Read]);
        for _ in 0..100 {
            assert_eq!(access.recognise(at(0), CALLER, None), Err(Stranger::Missing));
        }
        assert!(access.recognise(at(0), CALLER, Some(&token)).is_ok());
    }

    #[test]
    fn the_socket_knows_root_and_the_nodes_own_user_and_nobody_else() {
        let (access, _) = one_token(&[]);
        for uid in [0, 1000] {
            let actor = access.recognise(at(0), Caller::Unix { uid }, None).expect("at home");
            assert!(actor.may(Scope::Admin) && actor.may(Scope::Secrets));
        }
        let stranger = access.recognise(at(0), Caller::Unix { uid: 1001 }, None);
        assert_eq!(stranger, Err(Stranger::Missing));
    }

    #[test]
    fn the_table_of_guessers_is_bounded_and_a_network_is_one_guesser() {
        let (access, _) = one_token(&[]);
        for number in 0..5000_u32 {
            let ip = IpAddr::V4(std::net::Ipv4Addr::from(number));
            let caller = Caller::Tcp(SocketAddr::new(ip, 1));
            let _ = access.recognise(at(u64::from(number)), caller, Some("qt_no"));
        }
        assert_eq!(access.failures.lock().expect("free").len(), ADDRESSES_MAX);
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
