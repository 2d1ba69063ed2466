//! Canonical URLs: one worker, one spelling.

use serde::{Deserialize, Serialize};

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
