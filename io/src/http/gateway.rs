//! `/gateway/{pool}/…`: requests to a pool's provider, through an account of it.
//!
//! A client shows its token as it would show the provider's key; neither that nor anything else of it goes up.
//! What an upstream answers goes down as it comes. What this node refuses is a problem like any other.

use axum::http::{HeaderName, HeaderValue, Uri};

use super::Surface;
use super::pools::nobody;
use super::problem::{Code, Problem};
use super::route::{Answer, Call, Outcome, Passing, Route, Takes, Verb, not_found};
use crate::access::Scope;
use crate::gateway::{Asked, Unserved};

pub(super) fn routes() -> Vec<Route> {
    let verbs = [Verb::Get, Verb::Post, Verb::Put, Verb::Patch, Verb::Delete];
    let routes = verbs.map(|verb| {
        Route::change(verb, PATH, Scope::Use, "gateway.request", |call| Box::pin(pass(call)))
            .counted("gateway.request")
            .takes(Takes::Stream)
            .statuses(&[404, 408, 502])
    });
    routes.into()
}

const PATH: &str = "/gateway/{pool}/{rest}";
/// Which pool an answer came by.
const POOL: HeaderName = HeaderName::from_static("quorate-pool");
/// How many accounts were asked for it.
const ATTEMPTS: HeaderName = HeaderName::from_static("quorate-attempts");

async fn pass(mut call: Call) -> Outcome {
    let unknown = || not_found("this pool");
    let Passing { method, uri, body } = call.passing.take().expect("the pipeline put it there");
    let (pool, target) = split(&uri).ok_or_else(unknown)?;
    let body = body.into_inner().expect("nobody holds this lock");
    let asked = Asked { method, target, headers: std::mem::take(&mut call.headers), body };
    let surface = &call.surface;
    let served = surface.gateway.serve(&pool, asked).await;
    let attempts = HeaderValue::from(served.attempts);
    let name = HeaderValue::from_str(&pool).map_err(|_| unknown())?;
    match served.answer {
        Ok(mut response) => {
            response.headers_mut().insert(POOL, name);
            response.headers_mut().insert(ATTEMPTS, attempts);
            Ok(Answer::passed(response).about(pool))
        }
        Err(Unserved::NoPool) => Err(unknown()),
        Err(unserved) => {
            let problem = problem(surface, unserved);
            surface.meters.gateway_request(&pool, problem.status().as_u16());
            Err(problem.header(POOL, name).header(ATTEMPTS, attempts))
        }
    }
}

/// The pool's name, and what follows it.
fn split(uri: &Uri) -> Option<(String, Uri)> {
    let rest = uri.path_and_query()?.as_str().strip_prefix("/gateway/")?;
    let (pool, _) = rest.split_once('/')?;
    let target = rest.get(pool.len()..)?.parse().ok()?;
    Some((pool.to_owned(), target))
}

fn problem(surface: &Surface, unserved: Unserved) -> Problem {
    let (code, detail) = match unserved {
        Unserved::Refused(refused) => return nobody(surface, refused),
        Unserved::NoPool => return not_found("this pool"),
        Unserved::Full => {
            (Code::QueueFull, "as many requests as this node takes are on their way; retry shortly")
        }
        Unserved::Climbs => {
            (Code::InvalidRequest, "the path has a segment `.` or `..`: say where it leads")
        }
        Unserved::BrokenBody => (Code::InvalidRequest, "the body broke off"),
        Unserved::SlowBody => (Code::RequestTimeout, "the body did not arrive in time"),
        Unserved::Unusable => (
            Code::AccountUnusable,
            "no account that was picked has a key where the gateway looks for one (`api_key`, \
             `access_token`, `token.access_token`, `tokens.access_token`, `key`), or the pool needs an \
             `upstream`",
        ),
        Unserved::Proxied => (
            Code::AccountUnusable,
            "an account that was picked has a `proxy_url`, and the gateway connects directly only: take \
             `proxy_url` out of its record, or serve the pool by a proxy of yours that asks for leases \
             (`POST /v1/pools/{pool}/leases`)",
        ),
        Unserved::Unreachable => (
            Code::UpstreamUnreachable,
            "the provider cannot be reached, or broke off before it answered; no account is blamed",
        ),
        Unserved::Late => (
            Code::UpstreamTimeout,
            "the provider did not begin to answer in time; it may have acted",
        ),
    };
    Problem::new(code, detail)
}
