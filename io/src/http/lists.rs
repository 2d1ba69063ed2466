//! Queries, pages of lists, and preconditions.
//!
//! A list is ordered by key and cut by key: the cursor names the last key that was seen, so what exists
//! throughout is seen exactly once, whatever comes and goes meanwhile. An unknown query parameter is
//! refused: a filter with a typing error must not list everything.

use axum::extract::Query as AxumQuery;
use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::problem::{Code, Problem};

/// Items of a page, unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Items of a page at most.
const LIMIT_MAX: usize = 1000;

/// The parameters of a query, each to be taken once.
#[derive(Debug, Default)]
pub(crate) struct Query {
    left: Vec<(String, String)>,
}

impl Query {
    /// The parameters of `uri`.
    pub(crate) fn of(uri: &Uri) -> Result<Query, Problem> {
        let AxumQuery(left) = AxumQuery::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Code::InvalidRequest, "the query does not decode"))?;
        Ok(Query { left })
    }

    /// Every value of `name`.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) =
            std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key == name);
        self.left = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The one value of `name`.
    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(invalid(format!("`{name}` may be given once")));
        }
        Ok(values.pop())
    }

    /// `true`, `false` or absent; a bare `?name` is `true`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.one(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(invalid(format!("`{name}` is `true` or `false`"))),
        }
    }

    /// A number in `range`.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (low, high) = (range.start(), range.end());
        number
            .map(Some)
            .ok_or_else(|| invalid(format!("`{name}` is a number from {low} to {high}")))
    }

    /// Where a page begins and how long it is.
    pub(crate) fn page(&mut self) -> Result<Page, Problem> {
        let limit = self.number("limit", 1..=LIMIT_MAX as u64)?;
        let limit =
            limit.map_or(LIMIT_DEFAULT, |limit| usize::try_from(limit).unwrap_or(LIMIT_MAX));
        let after = self.one("cursor")?.map(|cursor| decode_cursor(&cursor)).transpose()?;
        Ok(Page { limit, after })
    }

    /// Ends the reading: what is left was not asked for.
    pub(crate) fn finish(&self) -> Result<(), Problem> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                Err(invalid(format!("`{name}` is no parameter of this path")))
            }
        }
    }
}

/// A piece of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// The key after which the page begins.
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The page of `items`, which are in ascending order of key and begin after [`Page::after`].
    pub(crate) fn cut(&self, items: impl Iterator<Item = (String, Value)>) -> Value {
        let mut items =
            items.skip_while(|(key, _)| self.after().is_some_and(|after| key.as_str() <= after));
        let mut page = Vec::new();
        let mut last = None;
        for (key, item) in items.by_ref().take(self.limit) {
            page.push(item);
            last = Some(key);
        }
        let more = items.next().is_some();
        json!({"items": page, "next_cursor": last.filter(|_| more).map(|key| URL_SAFE_NO_PAD.encode(key))})
    }
}

fn decode_cursor(cursor: &str) -> Result<String, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| invalid("`cursor` is not one that this list gave out".to_owned()))
}

/// What `If-Match` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Nothing.
    Absent,
    /// That it exists.
    Any,
    /// That it is one of these.
    Tags(Vec<String>),
}

impl IfMatch {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap) -> Result<IfMatch, Problem> {
        let Some(value) = headers.get(header::IF_MATCH) else { return Ok(IfMatch::Absent) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(IfMatch::Any);
        }
        let tags = text.split(',').map(|tag| {
            let tag = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
            Some(tag.to_owned())
        });
        let tags: Option<Vec<String>> = tags.collect();
        tags.map(IfMatch::Tags)
            .ok_or_else(|| invalid("`If-Match` is `*` or quoted tags".to_owned()))
    }

    /// Refuses unless `tag` (without quotes) is meant.
    pub(crate) fn check(&self, tag: &str) -> Result<(), Problem> {
        match self {
            IfMatch::Tags(tags) if !tags.iter().any(|one| one == tag) => {
                let detail = "it has changed since it was read; read it again and decide anew";
                Err(Problem::new(Code::PreconditionFailed, detail).with("revision", tag))
            }
            IfMatch::Tags(_) | IfMatch::Any | IfMatch::Absent => Ok(()),
        }
    }

    /// Refuses if nothing was said.
    pub(crate) fn required(self) -> Result<IfMatch, Problem> {
        if self == IfMatch::Absent {
            let detail = "send `If-Match` with the `ETag` that was read";
            return Err(Problem::new(Code::PreconditionRequired, detail));
        }
        Ok(self)
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/x?{text}").parse().expect("a path")).expect("a query")
    }

    #[test]
    fn a_list_is_walked_to_its_end_while_it_changes_and_nothing_is_seen_twice() {
        let mut keys: Vec<String> = (0..250).map(|number| format!("k{number:03}")).collect();
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let text =
                cursor.map_or("limit=100".into(), |cursor| format!("limit=100&cursor={cursor}"));
            let page = query(&text).page().expect("a page");
            let cut = page.cut(keys.iter().map(|key| (key.clone(), json!(key))));
            let items = cut["items"].as_array().expect("items");
            seen.extend(items.iter().map(|item| item.as_str().expect("a key").to_owned()));
            keys.retain(|key| key != "k050"); // Gone after it was seen: nothing shifts.
            keys.insert(0, "a-new".into());
            keys.sort();
            cursor = cut["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 250);
        assert!(seen.is_sorted());
    }

    #[test]
    fn a_page_at_the_exact_end_has_no_successor() {
        let page = query("limit=2").page().expect("a page");
        let cut = page.cut(["a", "b"].into_iter().map(|key| (key.into(), json!(key))));
        assert_eq!(cut["next_cursor"], Value::Null);
    }

    #[test]
    fn a_query_with_anything_odd_is_refused() {
        for odd in ["limit=0", "limit=1001", "limit=x", "cursor=%25", "limit=1&limit=2"] {
            assert!(query(odd).page().is_err(), "{odd}");
        }
        assert!(query("stat=alive").finish().is_err());
        assert!(query("now=maybe").flag("now").is_err());
        assert!(query("now").flag("now").expect("a bare flag is set"));
    }

    #[test]
    fn a_precondition_is_required_compared_and_refused() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, text.parse().expect("a header"));
            IfMatch::of(&headers)
        };
        assert!(IfMatch::of(&HeaderMap::new()).expect("absent").required().is_err());
        assert!(of("\"7\"").expect("a tag").check("7").is_ok());
        assert!(of("\"6\", \"7\"").expect("two tags").check("7").is_ok());
        let stale = of("\"6\"").expect("a tag").check("7").expect_err("stale");
        assert_eq!(stale.code, Code::PreconditionFailed);
        assert!(of("*").expect("any").check("7").is_ok());
        assert!(of("7").is_err());
    }
}
