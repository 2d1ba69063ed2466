//! Who gets through, and who does not, over a pipe.

use std::sync::atomic::{AtomicU32, Ordering};

use quorate_core::ids::{Incarnation, NodeId};
use quorate_core::wire::encode;
use quorate_core::wire::session::{Bye, Greeting, MAGIC};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::authority;

/// A folder with an authority and certificates of `a` and `b`; gone with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-secure-{}-{number}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&folder.0); // Of an earlier run.
        authority::init(&folder.0).expect("a temporary folder");
        folder.issue("a", 2);
        folder.issue("b", 2);
        folder
    }

    pub(crate) fn issue(&self, name: &str, years: u32) {
        authority::issue(&self.0, &node(name), years).expect("an authority");
    }

    pub(crate) fn files(&self, name: &str) -> TlsFiles {
        let file = |name: String| self.0.join(name);
        let (cert, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
        TlsFiles { ca: file("ca.pem".to_owned()), cert, key, verify_names: true }
    }

    fn secure(&self, name: &str) -> Secure {
        secure(&self.files(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn secure(files: &TlsFiles) -> Secure {
    let secure = Secure::default();
    secure.load(files, &ClusterId("prod".into())).expect("good files");
    secure
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

/// Lets `one` dial `other`: whom each side then holds for named, or that it came to nothing.
async fn meet(one: &Secure, other: &Secure) -> Option<(Option<Names>, Option<Names>)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (one, other) = (one.clone(), other.clone());
    let accepting = tokio::spawn(async move {
        let (mut stream, names) = other.accepted(far).await.ok()?;
        stream.write_all(b"welcome").await.ok()?;
        stream.flush().await.ok()?;
        Some((stream, names))
    });
    let dialled = async {
        let (mut stream, names) = one.dialled(near).await.ok()?;
        stream.write_all(b"hello, whoever you are").await.ok()?;
        stream.flush().await.ok()?;
        // Under TLS 1.3 a refusal of the dialer's certificate shows at its first read.
        let mut heard = [0; 7];
        stream.read_exact(&mut heard).await.ok()?;
        Some((stream, names))
    };
    let dialled = dialled.await;
    let accepted = accepting.await.expect("no panic");
    Some((dialled?.1, accepted?.1))
}

fn greeting(name: &str) -> Frame {
    let greeting = Greeting {
        magic: MAGIC,
        cluster: ClusterId("prod".into()),
        protocol: (1, 1),
        node: node(name),
        incarnation: Incarnation(1),
        born: Incarnation(1),
        addresses: vec![].into(),
        called: None,
        genesis: None,
        resume: vec![].into(),
        settings: vec![].into(),
    };
    Frame::new(Class::Session, encode(&Session::Hello(greeting)))
}

#[tokio::test]
async fn two_nodes_of_one_authority_meet_and_are_who_they_say() {
    let folder = Folder::new();
    let met = meet(&folder.secure("a"), &folder.secure("b")).await.expect("both are of one house");
    let (b, a) = (met.0.expect("a name"), met.1.expect("a name"));
    assert!(b.admit(&greeting("b")) && a.admit(&greeting("a")));
    assert!(!b.admit(&greeting("a")) && !a.admit(&greeting("b")), "a wrong name is refused");
    let bye = Frame::new(Class::Session, encode(&Session::Bye(Bye::Closing)));
    assert!(b.admit(&bye) && b.admit(&Frame::new(Class::Gossip, vec![1])));
}

#[tokio::test]
async fn another_authority_no_certificate_and_an_ended_one_are_refused_on_both_sides() {
    let (folder, stranger) = (Folder::new(), Folder::new());
    folder.issue("old", 0);
    let good = folder.secure("a");
    for bad in [stranger.secure("b"), folder.secure("old"), Secure::default()] {
        assert!(meet(&bad, &good).await.is_none(), "it dialled");
        assert!(meet(&good, &bad).await.is_none(), "it accepted");
    }
}

#[tokio::test]
async fn a_uri_names_a_node_of_its_cluster_alone() {
    let names = |uri: &str| Names {
        cluster: ClusterId("prod".into()),
        dns: vec!["*.prod".to_owned()],
        uris: vec![uri.to_owned()],
    };
    assert!(names("quorate://prod/a").admit(&greeting("a")));
    assert!(!names("quorate://test/a").admit(&greeting("a")));
    assert!(!names("quorate://prod/a").admit(&greeting("x.prod")), "a wildcard names nobody");
}

#[tokio::test]
async fn new_files_serve_new_connections_and_bad_ones_change_nothing() {
    let (folder, renewed) = (Folder::new(), Folder::new());
    let (a, b) = (folder.secure("a"), folder.secure("b"));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (dialled, accepted) = tokio::join!(a.dialled(near), b.accepted(far));
    let (mut open, mut end) = (dialled.expect("good").0, accepted.expect("good").0);

    let cluster = ClusterId("prod".into());
    let broken = TlsFiles { cert: folder.0.join("nowhere.pem"), ..folder.files("a") };
    assert!(matches!(a.load(&broken, &cluster), Err(SecureError::Unreadable(..))));
    let broken = TlsFiles { cert: folder.0.join("a.key"), ..folder.files("a") };
    assert!(matches!(a.load(&broken, &cluster), Err(SecureError::NoPem(..))));
    assert!(meet(&a, &b).await.is_some(), "the last good ones stay");

    a.load(&renewed.files("a"), &cluster).expect("good files");
    assert!(meet(&a, &b).await.is_none(), "b has not heard of the new authority");
    b.load(&renewed.files("b"), &cluster).expect("good files");
    assert!(meet(&a, &b).await.is_some());
    // What was open carries on.
    open.write_all(b"still here").await.expect("open");
    open.flush().await.expect("open");
    let mut heard = [0; 10];
    end.read_exact(&mut heard).await.expect("open");
    assert_eq!(&heard, b"still here");
}

#[test]
fn an_authority_is_made_once_and_its_keys_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    assert!(matches!(authority::init(&folder.0), Err(authority::AuthorityError::Exists(_))));
    for name in ["ca.key", "a.key"] {
        let mode = std::fs::metadata(folder.0.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
