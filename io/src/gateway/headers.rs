//! What may pass: headers and queries on their way up and down.

use axum::http::{HeaderMap, HeaderName, header};

/// Headers of one connection and not of what it carries (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where clients show their token to us: as they would show the key of one provider or another.
pub(crate) const TOKEN_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// What else is said to us and does not go up. `host` and the length are made anew.
const OURS: [&str; 5] = ["authorization", "cookie", "host", "content-length", "expect"];

/// A client's headers as they go up.
pub(super) fn upwards(headers: HeaderMap) -> HeaderMap {
    without(downwards(headers), |name| OURS.contains(&name) || TOKEN_HEADERS.contains(&name))
}

/// An upstream's headers as they go down.
pub(super) fn downwards(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    without(headers, |name| HOP_BY_HOP.contains(&name))
}

/// Those that are there are few beside those that could be: a name is looked up once it has been seen.
fn without(mut headers: HeaderMap, is_out: impl Fn(&str) -> bool) -> HeaderMap {
    let seen = headers.keys().filter(|name| is_out(name.as_str()));
    for name in seen.cloned().collect::<Vec<HeaderName>>() {
        headers.remove(name);
    }
    headers
}

/// A query without the keys that clients show in it.
pub(super) fn query(query: &str) -> String {
    let is_key = |part: &&str| part.split('=').next().is_some_and(|name| name == "key");
    query.split('&').filter(|part| !is_key(part)).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_or_to_us_does_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("authorization", "Bearer qt_x"),
            ("x-goog-api-key", "qt_x"),
            ("cookie", "a=b"),
            ("accept", "text/event-stream"),
        ] {
            headers.append(name, value.parse().expect("a value"));
        }
        let up = upwards(headers.clone());
        assert_eq!(up.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        let down = downwards(headers);
        assert!(down.contains_key("cookie") && !down.contains_key("x-hop"));
        assert_eq!(query("alt=sse&key=qt_x&keys=2"), "alt=sse&keys=2");
        assert_eq!(query("key=qt_x"), "");
    }
}
