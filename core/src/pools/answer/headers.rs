//! The headers that have a name in the rules, in lower case and without the blanks around their values.

use std::borrow::Cow;

use crate::pools::wait::number::trim;

/// Headers that some rule names; all others are dropped unread.
#[derive(Debug, Default)]
pub(in crate::pools) struct Headers<'a> {
    lines: Vec<(Cow<'a, str>, &'a str)>,
    has_buckets: bool,
}

/// Beginnings of the names, and whether they stand for windows of a rate limit.
const STEMS: [(&str, bool); 10] = [
    ("retry-after", false),
    ("x-ratelimit-", true),
    ("anthropic-ratelimit-", true),
    ("ratelimit", true),
    ("x-codex-", false),
    ("content-type", false),
    ("date", false),
    ("server", false),
    ("x-amzn-errortype", false),
    ("x-ms-retry-after-ms", false),
];

/// Whether some rule looks at headers of this name, in any case: all others may be left out.
pub fn is_heard(name: &str) -> bool {
    stem(name).is_some()
}

fn stem(name: &str) -> Option<&'static (&'static str, bool)> {
    let head = |stem: &str| name.as_bytes().get(..stem.len());
    STEMS
        .iter()
        .find(|(stem, _)| head(stem).is_some_and(|head| head.eq_ignore_ascii_case(stem.as_bytes())))
}

impl<'a> Headers<'a> {
    pub(in crate::pools) fn read(all: &'a [(String, String)]) -> Headers<'a> {
        let mut headers = Headers::default();
        for (name, value) in all {
            let Some((_, is_bucket)) = stem(name) else { continue };
            let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
            let name = match is_lower {
                true => Cow::Borrowed(name.as_str()),
                false => Cow::Owned(name.to_ascii_lowercase()),
            };
            headers.lines.push((name, trim(value)));
            headers.has_buckets |= is_bucket;
        }
        headers
    }

    /// Whether any window of a rate limit is told of.
    pub(in crate::pools) fn has_buckets(&self) -> bool {
        self.has_buckets
    }

    /// Every line of `name`.
    pub(in crate::pools) fn every(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(other, _)| other == name).map(|(_, value)| *value)
    }

    /// The first line of `name`.
    pub(in crate::pools) fn first(&self, name: &str) -> Option<&'a str> {
        self.entry(name).map(|(_, value)| value)
    }

    /// The first line of `name`, with the name.
    pub(in crate::pools) fn entry(&self, name: &str) -> Option<(&str, &'a str)> {
        let found = self.lines.iter().find(|(other, _)| other == name);
        found.map(|(name, value)| (name.as_ref(), *value))
    }

    /// What follows `stem` in the names that begin with it, each once, in the order of first appearance.
    pub(in crate::pools) fn suffixes(&self, stem: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for (name, _) in &self.lines {
            match name.strip_prefix(stem) {
                Some(suffix) if !suffix.is_empty() && !found.contains(&suffix) => {
                    found.push(suffix)
                }
                Some(_) | None => {}
            }
        }
        found
    }
}
