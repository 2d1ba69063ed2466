//! One question to a worker: are you well?
//!
//! Whom we may ask is the node's policy. A name is resolved at each probe, *every* address of it is
//! checked, and the connection is made to a checked one, so a name that means another host a moment later
//! gains nothing. No redirect is followed, no proxy is used, no header is sent but `host`, `user-agent`,
//! `accept` (or gRPC's own) and the key this node holds.
//!
//! Resolving and connecting have the probe's timeout, and from the send on the answer has it again.
//!
//! Absent on purpose: judgement. What an outcome means for a worker is the node's business.

mod ask;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::workers::{Mode, Policy, Probe, ProbeOutcome};
use quorate_core::time::Instant;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::config::Secret;
use crate::resolve;
use crate::serve::SharedKeys;

pub(crate) use ask::beside;

/// Holds what probes need: roots of trust and the keys of workers.
pub(crate) struct Prober {
    keys: SharedKeys,
    tls: Arc<ClientConfig>,
    tls_grpc: Arc<ClientConfig>,
}

/// Anything that bytes go over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where a worker is.
struct Target<'a> {
    secure: bool,
    /// As it stands in the URL: the `host` header.
    authority: &'a str,
    port: u16,
    path: &'a str,
}

impl Prober {
    pub(crate) fn new(keys: SharedKeys) -> Prober {
        let plain = client(&[]);
        let grpc = client(&[b"h2"]);
        Prober { keys, tls: Arc::new(plain), tls_grpc: Arc::new(grpc) }
    }

    /// Asks; says how it ended and how long the answer took from the send, or until there was no send.
    pub(crate) async fn probe(&self, policy: &Policy, probe: &Probe) -> (ProbeOutcome, Duration) {
        let began = clock::now();
        let mut sent = None;
        let outcome = match self.outcome(policy, probe, &mut sent).await {
            Ok(()) => ProbeOutcome::Good,
            Err(outcome) => outcome,
        };
        (outcome, clock::now().since(sent.unwrap_or(began)))
    }

    async fn outcome(
        &self,
        policy: &Policy,
        probe: &Probe,
        sent: &mut Option<Instant>,
    ) -> Result<(), ProbeOutcome> {
        if let Some(path) = probe.url.strip_prefix("ipc://") {
            return self.connect_local(probe, path).await;
        }
        let target = Target::of(&probe.url).ok_or(ProbeOutcome::Local)?;
        let key = self.key(probe)?;
        let key = key.as_ref();
        let stream = self.reach(policy, probe, &target).await?;
        *sent = Some(clock::now());
        let asking = async {
            match probe.mode {
                Mode::Grpc => ask::grpc(stream, &target, key).await,
                Mode::Http | Mode::Ipc | Mode::Unknown(_) => {
                    ask::http(stream, &target, &probe.path, key).await
                }
            }
        };
        tokio::time::timeout(probe.timeout, asking).await.unwrap_or(Err(ProbeOutcome::Timeout))
    }

    /// The key that goes along. One that the node believes in and we do not hold is no evidence.
    fn key(&self, probe: &Probe) -> Result<Option<Secret>, ProbeOutcome> {
        let Some(prefix) = &probe.key else { return Ok(None) };
        self.keys.load().get(prefix).cloned().map(Some).ok_or(ProbeOutcome::Local)
    }

    async fn connect_local(&self, probe: &Probe, path: &str) -> Result<(), ProbeOutcome> {
        if !probe.own {
            return Err(ProbeOutcome::Policy);
        }
        let connecting = tokio::time::timeout(probe.timeout, UnixStream::connect(path));
        match connecting.await {
            Ok(connected) => connected.map(drop).map_err(|error| blame(&error)),
            Err(_) => Err(ProbeOutcome::Connect),
        }
    }

    /// A connection to a checked address.
    async fn reach(
        &self,
        policy: &Policy,
        probe: &Probe,
        target: &Target<'_>,
    ) -> Result<Box<dyn Stream>, ProbeOutcome> {
        policy.admit_host(&probe.host, probe.own).map_err(|_| ProbeOutcome::Policy)?;
        let deadline = clock::now() + probe.timeout;
        let resolving = resolve::addresses_of(&probe.host, target.port);
        let addresses = within(deadline, resolving).await?.map_err(|error| blame(&error))?;
        for address in &addresses {
            let admitted = policy.admit_address(&probe.host, address.ip(), probe.own);
            admitted.map_err(|_| ProbeOutcome::Policy)?;
        }
        let stream = within(deadline, connect_any(&addresses)).await??;
        if !target.secure {
            return Ok(Box::new(stream));
        }
        let config = if probe.mode == Mode::Grpc { &self.tls_grpc } else { &self.tls };
        let name = ServerName::try_from(probe.host.clone()).map_err(|_| ProbeOutcome::Tls)?;
        let securing = TlsConnector::from(config.clone()).connect(name, stream);
        let secured = within(deadline, securing).await.map_err(|_| ProbeOutcome::Tls)?;
        Ok(Box::new(secured.map_err(|_| ProbeOutcome::Tls)?))
    }
}

impl<'a> Target<'a> {
    /// Reads a canonical URL.
    fn of(url: &'a str) -> Option<Target<'a>> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (secure, implied) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            "grpc" => (false, 0),
            "grpcs" => (true, 0),
            _ => return None,
        };
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok()?,
            _ => implied,
        };
        Some(Target { secure, authority, port, path })
    }
}

/// The first address that takes a connection.
async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, ProbeOutcome> {
    let mut outcome = ProbeOutcome::Connect;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => outcome = blame(&error),
        }
    }
    Err(outcome)
}

/// Whether the worker is to blame for an error, or this host.
fn blame(error: &io::Error) -> ProbeOutcome {
    const OURS: [i32; 7] = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENETUNREACH,
        libc::ENETDOWN,
        libc::EADDRNOTAVAIL,
        libc::EPERM,
    ];
    let ours = error.raw_os_error().is_some_and(|code| OURS.contains(&code));
    // The resolver has no error code for "ask again later", only this sentence of the C library.
    let resolver = error.to_string().contains("Temporary failure in name resolution");
    if ours || resolver { ProbeOutcome::Local } else { ProbeOutcome::Connect }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, ProbeOutcome> {
    let left = deadline.since(clock::now());
    tokio::time::timeout(left, work).await.map_err(|_| ProbeOutcome::Connect)
}

/// TLS towards the world, with the roots of the web.
pub(crate) fn client(protocols: &[&[u8]]) -> ClientConfig {
    client_trusting(&[], protocols)
}

/// The same, with further authorities; what is none is left out.
pub(crate) fn client_trusting(
    authorities: &[CertificateDer<'static>],
    protocols: &[&[u8]],
) -> ClientConfig {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

#[cfg(test)]
mod tests;
