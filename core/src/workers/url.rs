//! Canonical URLs: one worker, one spelling.
//!
//! Canonicalising twice changes nothing, and a URL is looked up in this form only. Two choices make that
//! hold: a path that still ends in `/` after one was removed is refused, and so is one that ends in what
//! reads as a rank (`@` and digits).
//!
//! Absent on purpose: resolving names, and guessing a scheme.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// The first rule of the canonical form that a text breaks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum UrlError {
    /// Length or characters.
    #[error("a worker url has 1 to 2048 bytes and no blank, control or bidirectional character")]
    Malformed,
    /// Scheme.
    #[error("a worker url begins with http:// https:// grpc:// grpcs:// or ipc://")]
    Scheme,
    /// Credentials.
    #[error("a worker url carries no credentials; use `api_key`")]
    Userinfo,
    /// Query or fragment.
    #[error("a worker url has neither query nor fragment")]
    Query,
    /// Host.
    #[error("the host is a name, four decimals, or an ipv6 address in brackets")]
    Host,
    /// Port.
    #[error("the port is 1 to 65535; grpc and grpcs need one")]
    Port,
    /// Path.
    #[error("the path has no `.` or `..` segment, broken escape or rank; ipc has an absolute one")]
    Path,
    /// Rank.
    #[error("a data-parallel rank is at most 65535")]
    Rank,
}

impl UrlError {
    /// The word of the error surface.
    pub fn code(self) -> &'static str {
        match self {
            UrlError::Malformed => "url_malformed",
            UrlError::Scheme => "url_scheme",
            UrlError::Userinfo => "url_userinfo",
            UrlError::Query => "url_query",
            UrlError::Host => "url_host",
            UrlError::Port => "url_port",
            UrlError::Path => "url_path",
            UrlError::Rank => "url_rank",
        }
    }
}

/// A URL in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Without the rank: what is probed and called.
    pub base: Arc<str>,
    /// With the rank: what identifies the worker.
    pub identity: Arc<str>,
    /// A name, or an address without brackets; empty for `ipc`.
    pub host: String,
}

impl Url {
    /// The canonical form of a base URL and a rank. The first rule that fails is the refusal.
    pub fn canonical(text: &str, rank: Option<u32>) -> Result<Url, UrlError> {
        check_characters(text)?;
        let (scheme, rest) = split_scheme(text)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        ensure(!authority.contains('@'), UrlError::Userinfo)?;
        ensure(!path.contains(['?', '#']), UrlError::Query)?;
        let (mut base, mut host) = (format!("{scheme}://"), String::new());
        if scheme == "ipc" {
            ensure(authority.is_empty(), UrlError::Path)?;
        } else {
            let (name, port) = split_port(authority)?;
            host = canonical_host(name)?;
            match host.contains(':') {
                true => base.extend(["[", &host, "]"]),
                false => base.push_str(&host),
            }
            if let Some(port) = canonical_port(scheme, port)? {
                base.push_str(&format!(":{port}"));
            }
        }
        let path = canonical_path(path)?;
        ensure(scheme != "ipc" || !path.is_empty(), UrlError::Path)?;
        base.push_str(&path);
        let base: Arc<str> = Arc::from(base);
        let identity = match rank {
            None => Arc::clone(&base),
            Some(rank) if rank > 65_535 => return Err(UrlError::Rank),
            Some(rank) => Arc::from(format!("{base}@{rank}")),
        };
        ensure(identity.len() <= limits::URL_BYTES_MAX, UrlError::Malformed)?;
        Ok(Url { base, identity, host })
    }

    /// Reads what [`Url::identity`] prints, or a base in any spelling.
    pub fn lookup(text: &str) -> Result<Url, UrlError> {
        match split_rank(text) {
            Some((base, rank)) => Url::canonical(base, Some(rank)),
            None => Url::canonical(text, None),
        }
    }
}

fn split_rank(text: &str) -> Option<(&str, u32)> {
    let (base, digits) = text.rsplit_once('@')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { Some((base, digits.parse().unwrap_or(u32::MAX))) } else { None }
}

fn check_characters(text: &str) -> Result<(), UrlError> {
    let bidi = |letter: char| matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let odd = |letter: char| letter.is_whitespace() || letter.is_control() || bidi(letter);
    ensure((1..=limits::URL_BYTES_MAX).contains(&text.len()), UrlError::Malformed)?;
    ensure(!text.chars().any(odd), UrlError::Malformed)
}

fn split_scheme(text: &str) -> Result<(&'static str, &str), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let known = SCHEMES.into_iter().find(|known| known.eq_ignore_ascii_case(scheme));
    Ok((known.ok_or(UrlError::Scheme)?, rest))
}

/// The host and the text after its colon, if there is one.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if !authority.starts_with('[') {
        let split = authority.split_once(':');
        return Ok(split.map_or((authority, None), |(host, port)| (host, Some(port))));
    }
    let end = authority.find(']').ok_or(UrlError::Host)?;
    let (host, rest) = authority.split_at(end + 1);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(UrlError::Host),
    }
}

fn canonical_host(text: &str) -> Result<String, UrlError> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(UrlError::Host)?;
        return address.parse::<Ipv6Addr>().map(|ip| ip.to_string()).map_err(|_| UrlError::Host);
    }
    let mut name = text.to_ascii_lowercase();
    if !name.is_ascii() || name.contains("xn--") {
        let bytes = text.as_bytes();
        let mapped = idna::domain_to_ascii_cow(bytes, idna::AsciiDenyList::URL);
        name = mapped.map_err(|_| UrlError::Host)?.into_owned();
    }
    let name = name.strip_suffix('.').unwrap_or(&name);
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    // The source: the WHATWG rule "ends in a number", so that no resolver reads an address that
    // policy took for a name.
    if number(last) || last.strip_prefix("0x").is_some_and(is_hex) {
        let address = name.parse::<Ipv4Addr>().map_err(|_| UrlError::Host)?;
        return Ok(address.to_string());
    }
    ensure(name.len() <= 253 && name.split('.').all(is_label), UrlError::Host)?;
    Ok(name.to_owned())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let ends = !label.starts_with('-') && !label.ends_with('-');
    (1..=63).contains(&label.len()) && ends && label.bytes().all(inner)
}

fn canonical_port(scheme: &str, text: Option<&str>) -> Result<Option<u16>, UrlError> {
    let Some(text) = text else {
        return if scheme.starts_with("grpc") { Err(UrlError::Port) } else { Ok(None) };
    };
    ensure(text.bytes().all(|byte| byte.is_ascii_digit()), UrlError::Port)?;
    let port: u16 = text.parse().map_err(|_| UrlError::Port)?;
    ensure(port > 0, UrlError::Port)?;
    let implied = (scheme == "http" && port == 80) || (scheme == "https" && port == 443);
    Ok((!implied).then_some(port))
}

fn canonical_path(text: &str) -> Result<String, UrlError> {
    let mut path = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        path.push(letter);
        if letter == '%' {
            for _ in 0..2 {
                let digit = letters.next().filter(char::is_ascii_hexdigit).ok_or(UrlError::Path)?;
                path.push(digit.to_ascii_uppercase());
            }
        } else {
            ensure(letter.is_ascii_alphanumeric() || PATH_MARKS.contains(letter), UrlError::Path)?;
        }
    }
    if path.ends_with('/') {
        path.pop();
    }
    let dots = |segment: &str| matches!(segment.replace("%2E", ".").as_str(), "." | "..");
    // What ends in a slash still, or in what reads as a rank, would not be its own canonical form.
    let stable = !path.ends_with('/') && split_rank(&path).is_none();
    ensure(stable && !path.split('/').any(dots), UrlError::Path)?;
    Ok(path)
}

fn ensure(holds: bool, error: UrlError) -> Result<(), UrlError> {
    if holds { Ok(()) } else { Err(error) }
}

const SCHEMES: [&str; 5] = ["http", "https", "grpc", "grpcs", "ipc"];

/// What a path may hold beside letters, digits and escapes (RFC 3986, `pchar` and `/`).
const PATH_MARKS: &str = "/-._~!$&'()*+,;=:@";

#[cfg(test)]
mod tests;
