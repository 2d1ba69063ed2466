//! Providers of models: accounts with windows of their own, and answers that are not always honest.
//!
//! What an account truly has left is known here alone. Full, it says so as vendors do: with the wait that is
//! true, with none, with a second that is too short, with a week, or with something that is no wait at all.
//!
//! A plan may say instead how accounts are: their windows, what they give in one, and what they say when full.
//!
//! Absent on purpose: what an answer means. The node under test says that.

use std::collections::BTreeMap;

use quorate_core::node::pools::Ended;
use quorate_core::node::pools::answer::Endpoint;
use quorate_core::random::Rng;
use quorate_core::wire::Blob;

use crate::clock::Micros;
use crate::plan::text::parse_time;

/// Every account that was ever asked.
#[derive(Debug)]
pub struct Providers {
    rng: Rng,
    terms: Terms,
    accounts: BTreeMap<String, Account>,
}

/// One account.
#[derive(Debug)]
struct Account {
    capacity: u64,
    window: Micros,
    used: u64,
    resets_at: Micros,
    manner: Manner,
}

/// What a full account says of its wait.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Honest,
    Silent,
    Short,
    Week,
    Garbage,
    Family,
}

const MANNERS: [(&str, Manner); 6] = [
    ("honest", Manner::Honest),
    ("silent", Manner::Silent),
    ("short", Manner::Short),
    ("week", Manner::Week),
    ("garbage", Manner::Garbage),
    ("family", Manner::Family),
];

/// What a plan says of accounts; what it does not say is drawn.
#[derive(Debug, Default)]
pub struct Terms {
    /// Of the first account, the second, and so on.
    windows: Vec<Micros>,
    capacity: Option<u64>,
    manner: Option<Manner>,
    /// Nothing else ever goes wrong.
    reliable: bool,
}

impl Terms {
    /// Keys of a `given` line that are about accounts.
    pub const KEYS: [&str; 4] = ["pool.windows", "pool.capacity", "pool.manner", "pool.reliable"];

    /// What a plan gives; `None`: not in a form that can be used.
    pub fn of(given: &BTreeMap<String, String>) -> Option<Terms> {
        let mut terms = Terms::default();
        for (key, value) in given {
            match key.as_str() {
                "pool.windows" => {
                    let windows = value.split(',').map(|one| parse_time(one).ok());
                    terms.windows = windows.collect::<Option<Vec<Micros>>>()?;
                }
                "pool.capacity" => terms.capacity = Some(value.parse().ok()?),
                "pool.manner" => {
                    let known = MANNERS.into_iter().find(|(name, _)| name == value);
                    terms.manner = Some(known?.1);
                }
                "pool.reliable" => terms.reliable = value.parse().ok()?,
                _ => {}
            }
        }
        Some(terms)
    }
}

/// No wait, whatever else they are.
const NO_WAITS: [&str; 6] = ["-5", "1e9", "NaN", "0x10", "", "99999999999999999999999999"];

impl Providers {
    /// Nobody was asked yet.
    pub fn new(rng: Rng) -> Providers {
        Providers { rng, terms: Terms::default(), accounts: BTreeMap::new() }
    }

    /// From now on accounts are as a plan says.
    pub fn agree(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// How long the answer to request `number` takes.
    pub fn latency(&self, number: u64) -> Micros {
        let mut draws = self.rng.child(&format!("latency/{number}"));
        let slow = draws.below(32) == 0;
        20_000 + draws.below(if slow { 30_000_000 } else { 1_500_000 })
    }

    /// What `account` makes of request `number` for `model` (empty: none is named).
    pub fn answer(&mut self, now: Micros, account: &str, model: &str, number: u64) -> Ended {
        let mut draws = self.rng.child(&format!("answer/{number}"));
        let number = account.strip_prefix('a').and_then(|number| number.parse().ok()).unwrap_or(1);
        let fresh = || {
            let mut rng = self.rng.child(&format!("account/{account}"));
            Account::new(&mut rng, &self.terms, number)
        };
        let account = self.accounts.entry(account.to_owned()).or_insert_with(fresh);
        account.answer(now, model, self.terms.reliable, &mut draws)
    }
}

impl Account {
    /// The `number`th account, from 1.
    fn new(rng: &mut Rng, terms: &Terms, number: usize) -> Account {
        let windows = [2_000_000, 10_000_000, 60_000_000, 7_200_000_000];
        let (capacity, window) = (1 + rng.below(12), rng.pick(&windows).copied().unwrap_or(1));
        let manner = rng.pick(&MANNERS).map_or(Manner::Honest, |(_, manner)| *manner);
        let place = number.saturating_sub(1).checked_rem(terms.windows.len());
        let said = place.and_then(|place| terms.windows.get(place)).copied();
        Account {
            capacity: terms.capacity.unwrap_or(capacity),
            window: said.unwrap_or(window),
            used: 0,
            resets_at: 0,
            manner: terms.manner.unwrap_or(manner),
        }
    }

    fn answer(&mut self, now: Micros, model: &str, reliable: bool, draws: &mut Rng) -> Ended {
        match draws.below(60) {
            _ if reliable => {}
            0 => return Ended::Cancelled,
            1 => return answered(401, &[], r#"{"error":{"type":"authentication_error"}}"#),
            2 => return answered(402, &[], "{}"),
            3 => return answered(500, &[], "<html>"),
            4 => return answered(529, &[], r#"{"error":{"type":"overloaded_error"}}"#),
            5 => return answered(403, &[], "{}"),
            6 => return answered(503, &[("retry-after", "3")], ""),
            _ => {}
        }
        if now >= self.resets_at {
            (self.used, self.resets_at) = (0, now + self.window);
        }
        self.used += 1;
        if self.used <= self.capacity {
            return answered(200, &[], "{}");
        }
        let left = (self.resets_at - now).div_ceil(1_000_000).to_string();
        let no_wait = draws.pick(&NO_WAITS).copied().unwrap_or_default();
        let wait = match self.manner {
            Manner::Honest | Manner::Family => Some(left.as_str()),
            Manner::Silent => None,
            Manner::Short => Some("1"),
            Manner::Week => Some("604800"),
            Manner::Garbage => Some(no_wait),
        };
        let mut headers: Vec<(&str, &str)> =
            wait.map(|wait| ("retry-after", wait)).into_iter().collect();
        if matches!(self.manner, Manner::Family) && model.contains("opus") {
            headers.push(("anthropic-ratelimit-unified-status", "rejected"));
            headers.push(("anthropic-ratelimit-unified-representative-claim", "seven_day_opus"));
        }
        answered(429, &headers, r#"{"error":{"type":"rate_limit_error","message":"slow down"}}"#)
    }
}

fn answered(status: u16, headers: &[(&str, &str)], body: &str) -> Ended {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (headers, body) = (headers.collect(), Blob::from(body));
    Ended::Answered { status, headers, body, endpoint: Endpoint::Api }
}
