//! The grammar of the reader's scripts: an answer, line by line, and what it means.
//!
//! ```text
//! when  429 provider=zai model= endpoint=token
//! head  retry-after: 3
//! body  {"error":{"code":"1308"}}
//! then  quota_exhausted credential header:retry-after 3000 rests 10000
//! ```
//!
//! Without more the provider is `generic`, the model `m`, the endpoint `api`, and the clock stands at
//! 2026-02-21T08:00:00Z. `then` lists class, scope, source, stated wait and first rest under the default
//! profile, `-` for what is not there.

use crate::pools::Profile;
use crate::pools::answer::{Answer, Endpoint, judge};
use crate::time::UnixTime;

/// 2026-02-21T08:00:00Z.
pub(super) const NOW: UnixTime = UnixTime(1_771_660_800_000);

/// One answer of a script.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) provider: String,
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Told {
    fn new(words: &str) -> Told {
        let mut words = words.split_whitespace();
        let status = words.next().and_then(|status| status.parse().ok()).expect("a status");
        let mut told = Told {
            provider: "generic".into(),
            endpoint: Endpoint::Api,
            model: "m".into(),
            status,
            headers: Vec::new(),
            body: Vec::new(),
        };
        for word in words {
            match word.split_once('=').expect("a key and a value") {
                ("provider", provider) => told.provider = provider.into(),
                ("model", model) => told.model = model.into(),
                ("endpoint", "token") => told.endpoint = Endpoint::Token,
                _ => panic!("`{word}` is no setting"),
            }
        }
        told
    }

    /// What it means, in the words of `then`.
    pub(super) fn meaning(&self) -> String {
        let verdict = judge(&Answer {
            provider: &self.provider,
            endpoint: self.endpoint,
            model: &self.model,
            now: NOW,
            status: self.status,
            headers: &self.headers,
            body: &self.body,
        });
        let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
        let rest = Profile::default().rest_ms(&verdict, 1);
        let concurrency = if verdict.is_concurrency { " concurrency" } else { "" };
        format!(
            "{} {} {} {} rests {}{concurrency}",
            verdict.class,
            verdict.scope,
            verdict.source.as_deref().unwrap_or("-"),
            number(verdict.stated_wait_ms),
            number(rest),
        )
    }
}

/// Runs every answer of `script`.
#[track_caller]
pub(super) fn check(script: &str) {
    let (mut told, mut wrong, mut count) = (None::<Told>, Vec::new(), 0);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        // One blank behind the colon separates; what follows it belongs to the value.
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match head {
            "#" => {}
            "when" => told = Some(Told::new(rest)),
            "head" => {
                let (name, value) = rest.split_once(": ").unwrap_or((rest, ""));
                let told = told.as_mut().expect("an answer was begun");
                told.headers.push((name.to_owned(), value.replace("\\t", "\t")));
            }
            "body" => {
                let told = told.as_mut().expect("an answer was begun");
                if !told.body.is_empty() {
                    told.body.push(b'\n');
                }
                told.body.extend(rest.as_bytes());
            }
            "then" => {
                let told = told.as_ref().expect("an answer was begun");
                count += 1;
                let meaning = told.meaning();
                if meaning != rest {
                    wrong.push(format!("{told:?}\n  - {rest}\n  + {meaning}"));
                }
            }
            _ => panic!("`{line}` begins with none of when, head, body, then, #"),
        }
    }
    assert!(count > 0, "the script says nothing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
