//! Connections to upstreams: kept, secured, and given up in time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, Uri};
use futures_util::future::BoxFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use quorate_core::limits;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::Unserved;

/// How long an unused connection is kept.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// Unused connections kept per host.
const UNUSED_PER_HOST_MAX: usize = 256;

/// How the gateway reaches upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Authorities that are trusted beside the web's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// How long a connection may take, its security included.
    pub connect_max: Duration,
    /// How long the head of an answer may take.
    pub head_max: Duration,
    /// How long what is judged of an answer is waited for; then it is passed on as it comes.
    pub judged_max: Duration,
    /// How long an upstream may keep silent inside a body.
    pub idle_max: Duration,
}

impl Default for GatewaySettings {
    fn default() -> GatewaySettings {
        GatewaySettings {
            authorities: Vec::new(),
            connect_max: Duration::from_secs(5),
            head_max: Duration::from_secs(60),
            judged_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(300),
        }
    }
}

/// The connections of one process.
pub(super) struct Upstream {
    client: Client<InTime<HttpsConnector<HttpConnector>>, Watched>,
    head_max: Duration,
    pub(super) judged_max: Duration,
    pub(super) idle_max: Duration,
}

impl Upstream {
    pub(super) fn new(settings: &GatewaySettings) -> Upstream {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = crate::probe::client_trusting(&settings.authorities, &[]);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(UNUSED_MAX)
            .pool_max_idle_per_host(UNUSED_PER_HOST_MAX)
            .http1_max_buf_size(limits::GATEWAY_READ_AHEAD_BYTES_MAX)
            .build(InTime(connector.wrap_connector(tcp), settings.connect_max));
        let GatewaySettings { head_max, judged_max, idle_max, .. } = *settings;
        Upstream { client, head_max, judged_max, idle_max }
    }

    pub(super) fn head_max(&self) -> Duration {
        self.head_max
    }

    /// The head of an answer, with its body to come. Without a `deadline` the body is still going up, and only
    /// when none of it does is the head waited for.
    pub(super) async fn ask(
        &self,
        request: Request<Body>,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, Unserved> {
        let sent = Arc::new(AtomicU64::new(0));
        let request = request.map(|body| Watched { body, sent: sent.clone() });
        let asking = self.client.request(request);
        let late = async {
            if let Some(deadline) = deadline {
                return tokio::time::sleep_until(deadline.min(Instant::now() + self.head_max))
                    .await;
            }
            let mut seen = None;
            loop {
                let frames = sent.load(Ordering::Relaxed);
                if seen == Some(frames) {
                    return;
                }
                seen = Some(frames);
                tokio::time::sleep(self.head_max).await;
            }
        };
        tokio::select! {
            answer = asking => answer.map_err(|_| Unserved::Unreachable),
            () = late => Err(Unserved::Late),
        }
    }
}

/// A body that counts what was taken of it.
struct Watched {
    body: Body,
    sent: Arc<AtomicU64>,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connector that gives up in time.
#[derive(Clone)]
struct InTime<C>(C, Duration);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> tower::Service<Uri> for InTime<C>
where
    C: tower::Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<BoxError> + Send + 'static,
    C::Response: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, most) = (self.0.call(uri), self.1);
        Box::pin(async move {
            match tokio::time::timeout(most, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(late) => Err(late.into()),
            }
        })
    }
}
