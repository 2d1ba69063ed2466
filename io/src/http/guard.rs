//! Who gets in: the size of headers, the host that is named, the token and its scope.

use axum::http::request::Parts;
use axum::http::{HeaderValue, header};

use super::Surface;
use super::problem::{Code, Problem};
use super::route::{AuditRule, Needs, Route, Takes};
use crate::access::{Actor, Caller, Scope, Stranger};
use crate::audit::{Counted, Record};
use crate::gateway::TOKEN_HEADERS;

/// Bytes of all header names and values.
pub(super) const HEADERS_BYTES_MAX: usize = 32 * 1024;

/// Who a request is made for that began on this side, such as a line of a chat. It cannot come from outside:
/// only this process puts it into a request.
#[derive(Debug, Clone)]
pub(super) struct Inside(pub(super) Actor);

/// What holds for every request but those of probes.
pub(super) fn admit(surface: &Surface, parts: &Parts) -> Result<(), Problem> {
    check_size(parts)?;
    check_host(surface, parts)
}

/// Refuses headers beyond the bound.
pub(super) fn check_size(parts: &Parts) -> Result<(), Problem> {
    let bytes: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        let detail = format!("the headers have {bytes} bytes; {HEADERS_BYTES_MAX} are allowed");
        return Err(Problem::new(Code::HeadersTooLarge, detail));
    }
    Ok(())
}

/// Against DNS rebinding: a browser that was lured here names a host that is not ours.
fn check_host(surface: &Surface, parts: &Parts) -> Result<(), Problem> {
    if matches!(caller(parts), Caller::Unix { .. }) {
        return Ok(());
    }
    let named = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = parts.uri.authority().map(axum::http::uri::Authority::as_str).or(named);
    let host = authority.map(without_port).unwrap_or_default().to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let ours = surface.settings.hosts.iter().any(|name| name.eq_ignore_ascii_case(&host));
    if loopback || ours {
        return Ok(());
    }
    let detail = "`Host` is neither loopback nor listed in `http.hosts`";
    Err(Problem::new(Code::WrongHost, detail))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

pub(super) fn caller(parts: &Parts) -> Caller {
    let unknown = Caller::Tcp(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
    parts.extensions.get::<Caller>().copied().unwrap_or(unknown)
}

/// Who is asking, if the route wants to know; a refusal is counted and written down.
pub(super) fn authorise(
    surface: &Surface,
    route: Route,
    parts: &Parts,
    request_id: &str,
) -> Result<Option<Actor>, Problem> {
    let wanted = match route.needs {
        Needs::NothingAtAll | Needs::Nothing => return Ok(None),
        Needs::Metrics if surface.settings.metrics_open => return Ok(None),
        Needs::Metrics => Scope::Read,
        Needs::Scope(scope) => scope,
    };
    if let Some(Inside(actor)) = parts.extensions.get() {
        return permit(surface, route, wanted, actor.clone(), request_id).map(Some);
    }
    let token = token(route, parts);
    let recognised = surface.access.recognise(surface.host.now(), caller(parts), token);
    let actor = match recognised {
        Ok(actor) => actor,
        Err(stranger) => {
            let from = caller_name(caller(parts));
            let problem = refuse_stranger(surface, stranger, &from);
            note_refusal(surface, route, wanted, &from, &problem, request_id);
            return Err(problem);
        }
    };
    permit(surface, route, wanted, actor, request_id).map(Some)
}

fn permit(
    surface: &Surface,
    route: Route,
    wanted: Scope,
    actor: Actor,
    request_id: &str,
) -> Result<Actor, Problem> {
    if actor.may(wanted) {
        return Ok(actor);
    }
    surface.meters.auth_failure("scope");
    let detail = format!("this needs the scope `{wanted}`, which the token does not hold");
    let problem = Problem::new(Code::ScopeMissing, detail).with("scope", wanted.name());
    note_refusal(surface, route, wanted, &actor.name, &problem, request_id);
    Err(problem)
}

/// The token that is shown. To the gateway it may be shown as its provider's key would be.
fn token(route: Route, parts: &Parts) -> Option<&str> {
    let shown = parts.headers.get(header::AUTHORIZATION).and_then(bearer);
    if shown.is_some() || route.takes != Takes::Stream {
        return shown;
    }
    let key = TOKEN_HEADERS.iter().find_map(|name| parts.headers.get(*name)?.to_str().ok());
    let query = parts.uri.query().unwrap_or_default();
    key.or_else(|| query.split('&').find_map(|part| part.strip_prefix("key=")))
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse_stranger(surface: &Surface, stranger: Stranger, from: &str) -> Problem {
    let challenge = HeaderValue::from_static("Bearer realm=\"quorate\"");
    let unauthenticated = |detail: &str| {
        Problem::new(Code::Unauthenticated, detail).header(header::WWW_AUTHENTICATE, challenge)
    };
    match stranger {
        Stranger::Missing => {
            surface.meters.auth_failure("missing");
            unauthenticated("send `Authorization: Bearer qt_…`, or use the Unix socket")
        }
        Stranger::Unknown => {
            surface.meters.auth_failure("unknown");
            unauthenticated("the token is not known here; it may have been revoked")
        }
        Stranger::Closed { wait, just_now } => {
            surface.meters.auth_failure("closed");
            if just_now {
                tracing::warn!(
                    from,
                    "ten wrong tokens in a minute; the address is closed for 60 s"
                );
            }
            let detail = "too many wrong tokens came from this address";
            Problem::new(Code::RateLimited, detail).retry_after(wait)
        }
    }
}

fn caller_name(caller: Caller) -> String {
    match caller {
        Caller::Tcp(address) => address.ip().to_string(),
        Caller::Unix { uid } => format!("uid:{uid}"),
    }
}

/// An access refusal of a change is a line; what is refused all day is one line a minute.
fn note_refusal(
    surface: &Surface,
    route: Route,
    wanted: Scope,
    actor: &str,
    problem: &Problem,
    request_id: &str,
) {
    let Some(audit) = &surface.audit else { return };
    let verb = route.audit.verb().unwrap_or("access.read");
    let record = || Record {
        at: surface.wall_now(),
        node: surface.node_id(),
        actor: actor.to_owned(),
        scope: wanted.name().to_owned(),
        verb: verb.to_owned(),
        object: route.path.to_owned(),
        outcome: problem.code.name().to_owned(),
        request_id: request_id.to_owned(),
        ..Record::default()
    };
    match route.audit {
        AuditRule::Line(_) if problem.code != Code::RateLimited => {
            let _ = audit.note(record()); // The refusal itself leaves whatever the log says.
        }
        AuditRule::Line(_) | AuditRule::Counted(_) | AuditRule::Never => {
            let what = Counted { actor, verb, outcome: problem.code.name() };
            audit.count(what, surface.host.now(), record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_host() {
        let cases = [("localhost:8420", "localhost"), ("[::1]:80", "[::1]"), ("a", "a")];
        for (authority, host) in cases {
            assert_eq!(without_port(authority), host);
        }
    }
}
