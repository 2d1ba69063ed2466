//! A small certificate authority for clusters without one: `ca.pem` and `ca.key` in a folder, and what
//! they issue beside them.
//!
//! Absent on purpose: renewal by itself, revocation, and use as anybody else's authority. Certificates of
//! nodes are issued again before they end; nodes read them again when they change.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_core::ids::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::clock;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It would overwrite a key.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// The key or the name cannot be used.
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes an authority in `folder`.
pub fn init(folder: &Path) -> Result<(), AuthorityError> {
    std::fs::create_dir_all(folder)
        .map_err(|error| AuthorityError::File(folder.to_owned(), error))?;
    let key = KeyPair::generate()?;
    let certificate = parameters(AUTHORITY_YEARS).self_signed(&key)?;
    write(&folder.join(KEY), &key.serialize_pem(), 0o600)?;
    write(&folder.join(CERTIFICATE), &certificate.pem(), 0o644)
}

/// Issues a certificate for `node`, valid for `years` from now on (0: it has ended already).
pub fn issue(folder: &Path, node: &NodeId, years: u32) -> Result<(), AuthorityError> {
    let path = folder.join(KEY);
    let text = std::fs::read_to_string(&path).map_err(|error| AuthorityError::File(path, error))?;
    // The certificate of the authority says who it is, and that is the same for all of them.
    let issuer = Issuer::new(parameters(AUTHORITY_YEARS), KeyPair::from_pem(&text)?);
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::DnsName(node.as_str().try_into()?)];
    leaf.distinguished_name.push(DnType::CommonName, node.as_str());
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    lasts(&mut leaf, years);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    let file = |kind: &str| folder.join(format!("{node}.{kind}"));
    replace(&file("key"), &key.serialize_pem(), 0o600)?;
    replace(&file("pem"), &certificate.pem(), 0o644)
}

fn parameters(years: u32) -> CertificateParams {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "quorate cluster authority");
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasts(&mut authority, years);
    authority
}

/// From now on for `years`; 0 ended a second ago.
fn lasts(certificate: &mut CertificateParams, years: u32) {
    let now = Duration::from_secs(clock::wall().0 / 1000);
    let origin = date_time_ymd(1970, 1, 1);
    certificate.not_before = origin + now.saturating_sub(SKEW);
    certificate.not_after = origin + (now + years * YEAR).saturating_sub(Duration::from_secs(1));
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    if path.exists() {
        return Err(AuthorityError::Exists(path.to_owned()));
    }
    replace(path, text, mode)
}

/// Whole or not at all: a node may be reading it.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let unfinished = path.with_extension("new");
    let written = (|| -> std::io::Result<()> {
        let _ = std::fs::remove_file(&unfinished); // Of a run that did not finish.
        let mut file: File =
            File::options().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    })();
    written.map_err(|error| AuthorityError::File(path.to_owned(), error))
}

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const AUTHORITY_YEARS: u32 = 10;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// A node whose clock is behind by less than this believes a certificate that was just issued.
const SKEW: Duration = Duration::from_secs(24 * 3600);
