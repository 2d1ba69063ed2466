//! Answers that are kept, so that a repeated POST happens once.
//!
//! The same actor, key, path and body within 24 h get the stored answer; another body is refused; while
//! the first is still running, the second is told to come back. What failed for a moment (5xx, 429) is
//! not kept: repeating it is the point.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use quorate_core::time::Instant;

use super::problem::{Code, Problem};

/// Keys kept at a time; the oldest finished one makes room.
const KEYS_MAX: usize = 4096;
/// Bytes of kept answers.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Which request a key belongs to: actor, key, method and path.
pub(super) type Key = (String, String, String);

/// An answer that can be sent again.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The keys of one node.
#[derive(Debug, Default)]
pub(super) struct Idempotency {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<Key, Row>,
    finished: VecDeque<(Instant, Key)>,
    bytes: usize,
}

#[derive(Debug)]
struct Row {
    body: [u8; 32],
    kept: Option<Kept>,
}

impl Idempotency {
    /// Whether the request is the first of its key (`None`), or the answer that it already has.
    pub(super) fn begin(
        &self,
        now: Instant,
        key: &Key,
        body: [u8; 32],
    ) -> Result<Option<Kept>, Problem> {
        let mut table = self.table.lock().expect("no holder of this lock panics");
        table.expire(now);
        if let Some(row) = table.rows.get(key) {
            return row.answer(&body).map(Some);
        }
        if table.rows.len() >= KEYS_MAX && !table.drop_oldest() {
            let detail = "too many requests with an idempotency key are running; retry shortly";
            return Err(Problem::new(Code::QueueFull, detail));
        }
        table.rows.insert(key.clone(), Row { body, kept: None });
        Ok(None)
    }

    /// Keeps the answer of a request that was the first of its key, if it may be sent again.
    pub(super) fn finish(&self, now: Instant, key: Key, kept: Kept) {
        let mut table = self.table.lock().expect("no holder of this lock panics");
        let passing = kept.status.is_server_error() || kept.status == StatusCode::TOO_MANY_REQUESTS;
        if passing || kept.body.len() > BYTES_MAX {
            table.rows.remove(&key);
            return;
        }
        table.bytes += kept.body.len();
        table.finished.push_back((now, key.clone()));
        if let Some(row) = table.rows.get_mut(&key) {
            row.kept = Some(kept);
        }
        while table.bytes > BYTES_MAX && table.drop_oldest() {}
    }
}

impl Row {
    fn answer(&self, body: &[u8; 32]) -> Result<Kept, Problem> {
        if self.body != *body {
            let detail = "the idempotency key was used with another body; take a new key";
            return Err(Problem::new(Code::IdempotencyMismatch, detail));
        }
        self.kept.clone().ok_or_else(|| {
            let detail = "the first request with this idempotency key is still running";
            Problem::new(Code::Conflict, detail).retry_after(Duration::from_secs(1))
        })
    }
}

impl Table {
    fn expire(&mut self, now: Instant) {
        while self.finished.front().is_some_and(|(at, _)| now.since(*at) >= KEPT_FOR) {
            self.drop_oldest();
        }
    }

    /// Drops the oldest finished key; running ones stay.
    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.finished.pop_front() else { return false };
        let row = self.rows.remove(&key);
        self.bytes -= row.and_then(|row| row.kept).map_or(0, |kept| kept.body.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("ci".into(), name.into(), "POST /v1/x".into())
    }

    fn kept(status: u16) -> Kept {
        let status = StatusCode::from_u16(status).expect("a status");
        Kept { status, headers: HeaderMap::new(), body: Bytes::from_static(b"{}") }
    }

    #[test]
    fn a_repeated_request_gets_the_stored_answer_and_another_body_is_refused() {
        let keys = Idempotency::default();
        let (now, body) = (Instant::ZERO, [1; 32]);
        assert!(keys.begin(now, &key("a"), body).expect("the first").is_none());
        let running = keys.begin(now, &key("a"), body).expect_err("it still runs");
        assert_eq!((running.code, running.retry_after.is_some()), (Code::Conflict, true));
        keys.finish(now, key("a"), kept(201));
        let again = keys.begin(now, &key("a"), body).expect("the second").expect("is kept");
        assert_eq!(again.status, StatusCode::CREATED);
        let other = keys.begin(now, &key("a"), [2; 32]).expect_err("another body");
        assert_eq!(other.code, Code::IdempotencyMismatch);
        let tomorrow = now + KEPT_FOR;
        assert!(keys.begin(tomorrow, &key("a"), body).expect("forgotten").is_none());
    }

    #[test]
    fn what_failed_for_a_moment_may_be_repeated() {
        let keys = Idempotency::default();
        for status in [429, 503, 504] {
            assert!(keys.begin(Instant::ZERO, &key("a"), [1; 32]).expect("free").is_none());
            keys.finish(Instant::ZERO, key("a"), kept(status));
        }
    }

    #[test]
    fn the_table_is_bounded_and_running_requests_stay_in_it() {
        let keys = Idempotency::default();
        assert!(keys.begin(Instant::ZERO, &key("running"), [1; 32]).expect("free").is_none());
        for number in 0..10_000 {
            let key = key(&number.to_string());
            assert!(keys.begin(Instant::ZERO, &key, [1; 32]).expect("room is made").is_none());
            keys.finish(Instant::ZERO, key, kept(200));
        }
        assert_eq!(keys.table.lock().expect("free").rows.len(), KEYS_MAX);
        assert!(keys.begin(Instant::ZERO, &key("running"), [1; 32]).is_err());
    }
}
