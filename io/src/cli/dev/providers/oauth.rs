//! A token endpoint: access tokens of five minutes, and refresh tokens that are good once. Whoever shows a spent
//! one has stolen it, or was stolen from: the whole family of tokens that came from the first is revoked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::response::Response;
use serde_json::{Value, json};

use super::{answer, refusal};

/// How long an access token lasts.
const LASTS: Duration = Duration::from_secs(300);

/// What was given out.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Given>);

#[derive(Default)]
struct Given {
    count: u64,
    /// Accounts and ends, by access token.
    access: BTreeMap<String, (String, Instant)>,
    /// Accounts, by refresh token that is good.
    refresh: BTreeMap<String, String>,
    /// Accounts, by refresh token that was good once.
    spent: BTreeMap<String, String>,
    /// Accounts that began; the first refresh token of each is its name.
    begun: BTreeSet<String>,
    revoked: BTreeSet<String>,
}

impl Tokens {
    /// Whose token it is.
    pub(super) fn account(&self, token: &str) -> Option<String> {
        let plain = token.strip_prefix("demo-").filter(|name| !name.is_empty());
        if let Some(name) = plain {
            return Some(name.to_owned());
        }
        let given = self.0.lock().expect("no holder of this lock panics");
        let (account, ends) = given.access.get(token)?;
        (Instant::now() < *ends && !given.revoked.contains(account)).then(|| account.clone())
    }

    /// Answers `{"grant_type": "refresh_token", "refresh_token": …}`.
    pub(super) fn respond(&self, body: &[u8]) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("grant_type") != "refresh_token" {
            return refusal(400, &json!({"error": "unsupported_grant_type"}));
        }
        let mut given = self.0.lock().expect("no holder of this lock panics");
        match given.refresh(text("refresh_token")) {
            Ok(document) => answer(200, &[], &document),
            Err(error) => refusal(400, &json!({"error": error})),
        }
    }
}

impl Given {
    fn refresh(&mut self, token: &str) -> Result<Value, &'static str> {
        let first = token.strip_prefix("refresh-").filter(|name| !name.is_empty());
        if let Some(name) = first
            && self.begun.insert(name.to_owned())
        {
            self.refresh.insert(token.to_owned(), name.to_owned());
        }
        if let Some(account) = self.spent.get(token) {
            self.revoked.insert(account.clone());
            return Err("refresh_token_reused");
        }
        let account = self.refresh.remove(token).ok_or("invalid_grant")?;
        if self.revoked.contains(&account) {
            return Err("invalid_grant");
        }
        self.spent.insert(token.to_owned(), account.clone());
        self.count += 1;
        let (access, next) = (format!("at-{}", self.count), format!("rt-{}", self.count));
        self.access.insert(access.clone(), (account.clone(), Instant::now() + LASTS));
        self.refresh.insert(next.clone(), account);
        Ok(json!({
            "access_token": access, "refresh_token": next, "token_type": "Bearer",
            "expires_in": LASTS.as_secs(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_is_good_once_and_its_reuse_revokes_the_family() {
        let tokens = Tokens::default();
        let refresh = |token: &str| tokens.0.lock().expect("free").refresh(token);
        let text = |value: &Value, key: &str| value[key].as_str().expect("a token").to_owned();
        let first = refresh("refresh-codex-1").expect("it is good");
        let (access, next) = (text(&first, "access_token"), text(&first, "refresh_token"));
        assert_eq!(tokens.account(&access).as_deref(), Some("codex-1"));
        let second = refresh(&next).expect("it is good");
        assert_eq!(refresh("refresh-codex-1"), Err("refresh_token_reused"));
        assert_eq!(tokens.account(&text(&second, "access_token")), None);
        assert_eq!(refresh(&text(&second, "refresh_token")), Err("invalid_grant"));
        assert_eq!(refresh("nonsense"), Err("invalid_grant"));
        assert_eq!(tokens.account("demo-claude-2").as_deref(), Some("claude-2"));
        assert_eq!(tokens.account("demo-"), None);
    }
}
