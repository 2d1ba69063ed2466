//! Connections with peers under mutual TLS 1.3: both sides show a certificate of the cluster's authority,
//! and it must name the node that speaks.
//!
//! A certificate names a node by DNS name, or by URI as `quorate://<cluster>/<node>`; wildcards name
//! nobody. Whom a dial reaches is not known before it greets, so the name is compared with the greeting,
//! which is the first frame on both sides. The files are read again when they change: new connections use
//! the new ones, those that are open stay.
//!
//! Absent on purpose: certificates of other surfaces, revocation lists (a new authority revokes), and who
//! is dialled again when: that is the node's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use quorate_core::ids::ClusterId;
use quorate_core::limits;
use quorate_core::wire::decode;
use quorate_core::wire::frame::{Class, Frame};
use quorate_core::wire::session::Session;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that both sides trust, in PEM.
    pub ca: PathBuf,
    /// Our certificate and what leads to the authority, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Whether a certificate must name the node that shows it.
    pub verify_names: bool,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// A file is not there, or not readable.
    #[error("failed to read {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A file holds something else.
    #[error("{0} holds no {1} in PEM")]
    NoPem(PathBuf, &'static str),
    /// They do not fit each other.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// A connection, secured or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// What connections with peers use; swapped when the files change. Empty, they are not secured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secure(Arc<ArcSwapOption<Contexts>>);

#[derive(Debug)]
struct Contexts {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    cluster: ClusterId,
    verify_names: bool,
}

/// Whom a peer's certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    cluster: ClusterId,
    dns: Vec<String>,
    uris: Vec<String>,
}

impl Secure {
    /// Reads the files and uses them for new connections. What was used before stays if they cannot be.
    pub(crate) fn load(&self, files: &TlsFiles, cluster: &ClusterId) -> Result<(), SecureError> {
        self.0.store(Some(Arc::new(Contexts::read(files, cluster)?)));
        Ok(())
    }

    /// Secures a connection that we dialled.
    pub(crate) async fn dialled<S: Wire + 'static>(
        &self,
        stream: S,
    ) -> std::io::Result<(Box<dyn Wire>, Option<Names>)> {
        let Some(contexts) = self.0.load_full() else { return Ok((Box::new(stream), None)) };
        // Nobody looks at this name: the greeting says who answered.
        let name = ServerName::try_from("peer").expect("it is a name");
        let stream = TlsConnector::from(contexts.client.clone()).connect(name, stream).await?;
        let names = contexts.names(stream.get_ref().1.peer_certificates())?;
        Ok((Box::new(stream), names))
    }

    /// Secures a connection that we accepted.
    pub(crate) async fn accepted<S: Wire + 'static>(
        &self,
        stream: S,
    ) -> std::io::Result<(Box<dyn Wire>, Option<Names>)> {
        let Some(contexts) = self.0.load_full() else { return Ok((Box::new(stream), None)) };
        let stream = TlsAcceptor::from(contexts.server.clone()).accept(stream).await?;
        let names = contexts.names(stream.get_ref().1.peer_certificates())?;
        Ok((Box::new(stream), names))
    }
}

impl Names {
    /// Whether a frame may come from whoever showed the certificate: a greeting must be of a node that it
    /// names.
    pub(crate) fn admit(&self, frame: &Frame) -> bool {
        if frame.class != Class::Session {
            return true;
        }
        let session = decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(&frame.payload);
        let (Ok(Session::Hello(greeting)) | Ok(Session::Welcome(greeting))) = session else {
            return true; // A refusal or a goodbye says nothing about its author.
        };
        let node = greeting.node.as_str();
        let uri = format!("quorate://{}/{node}", self.cluster.0);
        self.dns.iter().any(|name| name == node) || self.uris.contains(&uri)
    }
}

impl Contexts {
    fn read(files: &TlsFiles, cluster: &ClusterId) -> Result<Contexts, SecureError> {
        let unusable = |error: &dyn std::fmt::Display| SecureError::Unusable(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca)? {
            roots.add(authority).map_err(|error| unusable(&error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&files.cert)?;
        let no_key = |_| SecureError::NoPem(files.key.clone(), "key");
        let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?).map_err(no_key)?;

        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(clients.map_err(|error| unusable(&error))?)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable(&error))?;
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OfAuthority { roots, provider }))
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(&error))?;
        let (server, client) = (Arc::new(server), Arc::new(client));
        let verify_names = files.verify_names;
        Ok(Contexts { server, client, cluster: cluster.clone(), verify_names })
    }

    fn names(&self, shown: Option<&[CertificateDer<'static>]>) -> std::io::Result<Option<Names>> {
        if !self.verify_names {
            return Ok(None);
        }
        let nameless = || std::io::Error::other("the peer showed no readable certificate");
        let shown = shown.and_then(<[_]>::first).ok_or_else(nameless)?;
        let shown = webpki::EndEntityCert::try_from(shown).map_err(|_| nameless())?;
        Ok(Some(Names {
            cluster: self.cluster.clone(),
            dns: shown.valid_dns_names().map(str::to_owned).collect(),
            uris: shown.valid_uri_names().map(str::to_owned).collect(),
        }))
    }
}

/// Whether the peer refused what we showed, rather than the connection ending.
pub(crate) fn is_refusal(error: &std::io::Error) -> bool {
    matches!(cause(error), Some(Error::AlertReceived(_)))
}

/// Why a connection is not secured, with the remedy.
pub(crate) fn words(error: &std::io::Error) -> String {
    let fixed = match cause(error) {
        Some(Error::InvalidCertificate(wrong)) => of_certificate(wrong),
        Some(Error::NoCertificatesPresented) => {
            Some("it shows no certificate: set tls.cert and tls.key there")
        }
        Some(Error::AlertReceived(alert)) => of_alert(*alert),
        // Whatever it says, it is not TLS 1.3.
        Some(Error::InvalidMessage(_) | Error::PeerIncompatible(_)) => Some(PLAIN),
        _ if error.kind() == std::io::ErrorKind::UnexpectedEof => Some(PLAIN),
        _ => None,
    };
    fixed.map_or_else(|| error.to_string(), str::to_owned)
}

fn of_certificate(wrong: &CertificateError) -> Option<&'static str> {
    use CertificateError as Wrong;
    if matches!(wrong, Wrong::Expired | Wrong::ExpiredContext { .. }) {
        return Some("its certificate has ended: issue it a new one, and compare the clocks");
    }
    if matches!(wrong, Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) {
        return Some("its certificate is not valid yet: compare the clocks");
    }
    let foreign = matches!(wrong, Wrong::UnknownIssuer | Wrong::BadSignature);
    foreign.then_some("its certificate is of an authority that tls.ca does not hold here")
}

/// What a peer makes of our certificate, as far as it says (RFC 8446 §6.2).
fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Alert;
    if alert == Alert::CertificateExpired {
        return Some("it refuses our certificate, which has ended: issue a new one");
    }
    if alert == Alert::CertificateRequired {
        return Some("it wants a certificate of ours: set tls.cert and tls.key here");
    }
    let foreign = matches!(alert, Alert::UnknownCA | Alert::DecryptError | Alert::BadCertificate);
    foreign.then_some("it refuses our certificate: is its authority in tls.ca there?")
}

fn cause(error: &std::io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

const PLAIN: &str = "it does not speak TLS: set tls.ca, tls.cert and tls.key on both sides";

/// Accepts every certificate of the authority; its name is compared with the greeting.
#[derive(Debug)]
struct OfAuthority {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfAuthority {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = ParsedCertificate::try_from(shown)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&shown, &self.roots, between, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecureError> {
    let none = || SecureError::NoPem(path.to_owned(), "certificate");
    let bytes = bytes(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let read = read.map_err(|_| none())?;
    if read.is_empty() { Err(none()) } else { Ok(read) }
}

fn bytes(path: &Path) -> Result<Vec<u8>, SecureError> {
    std::fs::read(path).map_err(|error| SecureError::Unreadable(path.to_owned(), error))
}

#[cfg(test)]
pub(crate) mod tests;
