//! The request itself, over a connection that is there.

use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_core::limits;
use quorate_core::node::workers::ProbeOutcome;

use super::{Stream, Target};
use crate::config::Secret;

const USER_AGENT: &str = concat!("quorate/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// `HealthCheckRequest {}`: not compressed, no bytes, so the service as a whole is meant.
const GRPC_REQUEST: &[u8] = &[0, 0, 0, 0, 0];
/// Field 1, a varint: `HealthCheckResponse.status`.
const GRPC_STATUS_TAG: u8 = 8;
const GRPC_SERVING: u8 = 1;

/// `GET` and any status of 200..299. Of the body no more is read than the bound.
pub(super) async fn http(
    stream: Box<dyn Stream>,
    target: &Target<'_>,
    path: &str,
    key: Option<&Secret>,
) -> Result<(), ProbeOutcome> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| ProbeOutcome::Protocol)?;
    let request = Request::builder()
        .uri(format!("{}{path}", target.path))
        .header(header::HOST, target.authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .body(Empty::<Bytes>::new());
    let mut request = request.map_err(|_| ProbeOutcome::Local)?;
    authorize(request.headers_mut(), key)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(|_| ProbeOutcome::Protocol)?;
        if !answer.status().is_success() {
            return Err(ProbeOutcome::Status);
        }
        read(answer.into_body()).await.map(drop)
    };
    beside(connection, asking).await
}

/// `grpc.health.v1.Health/Check` and the answer `SERVING`.
pub(super) async fn grpc(
    stream: Box<dyn Stream>,
    target: &Target<'_>,
    key: Option<&Secret>,
) -> Result<(), ProbeOutcome> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(16 * 1024);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| ProbeOutcome::Protocol)?;
    let scheme = if target.secure { "https" } else { "http" };
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("{scheme}://{}/grpc.health.v1.Health/Check", target.authority))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::from_static(GRPC_REQUEST)));
    let mut request = request.map_err(|_| ProbeOutcome::Local)?;
    authorize(request.headers_mut(), key)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(|_| ProbeOutcome::Protocol)?;
        serving(answer).await
    };
    beside(connection, asking).await
}

async fn serving(answer: Response<Incoming>) -> Result<(), ProbeOutcome> {
    if answer.status() != StatusCode::OK || refused(answer.headers()) {
        return Err(ProbeOutcome::Status);
    }
    let whole = Limited::new(answer.into_body(), limits::PROBE_BODY_BYTES_MAX).collect().await;
    let whole = whole.map_err(|_| ProbeOutcome::Protocol)?;
    if whole.trailers().is_some_and(refused) {
        return Err(ProbeOutcome::Status);
    }
    match *whole.to_bytes() {
        // Not compressed, and the status first, as every encoder writes it. 0 is the default of an
        // absent field: unknown.
        [0, _, _, _, _, GRPC_STATUS_TAG, GRPC_SERVING, ..] => Ok(()),
        [0, 0, 0, 0, 0] | [0, _, _, _, _, GRPC_STATUS_TAG, ..] => Err(ProbeOutcome::Status),
        _ => Err(ProbeOutcome::Protocol),
    }
}

fn refused(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status != "0")
}

fn authorize(headers: &mut HeaderMap, key: Option<&Secret>) -> Result<(), ProbeOutcome> {
    let Some(key) = key else { return Ok(()) };
    let value = HeaderValue::try_from(format!("Bearer {}", key.reveal()));
    let mut value = value.map_err(|_| ProbeOutcome::Local)?;
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    Ok(())
}

/// Reads until the end or the bound: what a healthy worker says beyond it is not our business.
async fn read(mut body: Incoming) -> Result<usize, ProbeOutcome> {
    let mut bytes = 0;
    while bytes < limits::PROBE_BODY_BYTES_MAX && !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|_| ProbeOutcome::Protocol)?;
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(bytes)
}

/// Drives `connection` while the question is open. Its own end is told to whoever waits for an answer.
pub(crate) async fn beside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    asking: impl Future<Output = T>,
) -> T {
    let driving = async {
        let _ = connection.await; // The question hears of it.
        std::future::pending().await
    };
    tokio::select! {
        answer = asking => answer,
        never = driving => never,
    }
}
