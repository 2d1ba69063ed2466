//! Upstreams: asked over secured connections, and given up in time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::Unserved;
use super::connections::{Arriving, Connections};

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
    connections: Arc<Connections>,
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
        let connector = connector.wrap_connector(tcp);
        let connections = Arc::new(Connections::new(connector, settings.connect_max));
        let GatewaySettings { head_max, judged_max, idle_max, .. } = *settings;
        Upstream { connections, head_max, judged_max, idle_max }
    }

    /// Lets go of connections that were not used for a while.
    pub(super) fn sweep(&self) {
        self.connections.sweep();
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
    ) -> Result<Response<Answer>, Unserved> {
        let sent = Arc::new(AtomicU64::new(0));
        let request = request.map(|body| Watched { body, sent: sent.clone() });
        let asking = self.connections.ask(request);
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

/// The body of an answer.
pub(super) type Answer = Arriving;

/// A body that counts what was taken of it.
pub(super) struct Watched {
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
