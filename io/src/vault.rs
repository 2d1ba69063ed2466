//! Bodies of credentials: the only place of a node that holds their secrets.
//!
//! The node decides over heads; whoever needs a body asks [`Vault::body`] for the handle that a pick gave.
//! A body is shared whole and never changes under its reader: a new one replaces it in the map, and the old
//! one is wiped when the last reader lets it go.
//!
//! Reading order: a [`secret`] can be used and not shown, [`canonical`] is the one form in which bodies are
//! compared, a [`body`] is a record with its secrets, `file` is the folder, `watch` hears who edits it, and
//! [`edit`] is how surfaces write.
//!
//! Absent on purpose: decisions. Which file counts, and as which revision, is the node's.

pub mod body;
pub mod canonical;
pub mod edit;
mod file;
pub mod secret;
mod watch;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdMap;
use quorate_core::ids::CredentialHandle;
use quorate_core::node::credentials::{Errand, Found, Key, Look, Seen};

use crate::clock;
use crate::handle::Handle;
use edit::in_store;
use file::Folder;

pub use body::{Body, BodyError};
pub use edit::{Condition, EditError, Edited};
pub use file::PlaceError;
pub use secret::{Purpose, Secret};

/// The bodies in use, read by any thread without a lock, and the folder that they come from. Cheap to clone.
#[derive(Clone, Default)]
pub struct Vault {
    bodies: Arc<ArcSwap<OrdMap<CredentialHandle, Arc<Body>>>>,
    folder: Option<Arc<Folder>>,
    /// Surfaces write one after the other.
    editing: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({} bodies)", self.bodies.load().len())
    }
}

impl Vault {
    /// The bodies of `folder`, which is made if it is not there. Nothing is read yet.
    pub fn open(folder: &Path) -> io::Result<Vault> {
        Ok(Vault { folder: Some(Arc::new(Folder::open(folder)?)), ..Vault::default() })
    }

    /// The body in use of `handle`. Costs two pointers and a search; made for every request.
    pub fn body(&self, handle: CredentialHandle) -> Option<Arc<Body>> {
        self.bodies.load().get(&handle).cloned()
    }

    /// Where the folder is, if there is one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref().map(Folder::root)
    }

    /// Tells the node of edits in the folder, until it has ended.
    pub(crate) fn watch(&self, handle: Handle) {
        if let Some(folder) = &self.folder {
            tokio::spawn(watch::follow(folder.root().to_owned(), handle));
        }
    }

    /// Does what the node wants of its store. Always answers, and in time.
    pub(crate) async fn run(&self, errand: Errand) -> Found {
        let Some(folder) = self.folder.clone() else {
            return nothing(&errand, "this process keeps no credentials");
        };
        let (vault, wanted) = (self.clone(), errand.clone());
        let done = in_store(move || Ok(vault.perform(&folder, wanted))).await;
        done.unwrap_or_else(|error| nothing(&errand, &error.to_string()))
    }

    fn perform(&self, folder: &Folder, errand: Errand) -> Found {
        match errand {
            Errand::Look { key } => Found::Look(self.look(folder, &key)),
            Errand::List => Found::Listing(folder.list()),
            Errand::Forget { key } => {
                self.bodies_drop(key.handle());
                Found::Done
            }
            Errand::Restore { keys } => {
                keys.iter().for_each(|key| self.write_back(folder, key));
                Found::Done
            }
        }
    }

    fn look(&self, folder: &Folder, key: &Key) -> Look {
        folder.look(key, |body| self.bodies_put(key.handle(), Arc::new(body)))
    }

    /// What is there stays; nothing there becomes what is in use.
    fn write_back(&self, folder: &Folder, key: &Key) {
        let Some(body) = self.body(key.handle()) else { return };
        let missing = matches!(folder.look(key, drop).seen, Seen::Absent | Seen::Failed { .. });
        if missing && let Err(error) = folder.write(key, &body) {
            let (handle, kind) = (key.handle(), error.kind());
            tracing::warn!(%handle, %kind, "a credential could not be written back");
        }
    }

    fn bodies_put(&self, handle: CredentialHandle, body: Arc<Body>) {
        self.bodies.rcu(|bodies| bodies.update(handle, body.clone()));
    }

    fn bodies_drop(&self, handle: CredentialHandle) {
        self.bodies.rcu(|bodies| bodies.without(&handle));
    }

    /// Holds `body` as `key` though no file does: for processes that get their bodies elsewhere.
    pub fn hold(&self, key: &Key, body: Body) {
        self.bodies_put(key.handle(), Arc::new(body));
    }
}

/// The answer of a store that did not answer.
fn nothing(errand: &Errand, what: &str) -> Found {
    let what = what.to_owned();
    match errand {
        Errand::Look { .. } => {
            Found::Look(Look { order: u64::MAX, at: clock::wall(), seen: Seen::Failed { what } })
        }
        Errand::List => Found::Listing(Err(what)),
        Errand::Forget { .. } | Errand::Restore { .. } => Found::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_the_body_that_it_took() {
        let vault = Vault::default();
        let handle = CredentialHandle(7);
        let body = |key: &str| {
            let text = format!(r#"{{"type":"codex","access_token":"{key}"}}"#);
            Arc::new(Body::read(text.as_bytes()).expect("a record"))
        };
        vault.bodies_put(handle, body("one"));
        let held = vault.body(handle).expect("it was put");
        vault.bodies_put(handle, body("two"));
        let token = |body: &Body| {
            body.secret("access_token").map(|secret| secret.expose(Purpose::Test).to_owned())
        };
        assert_eq!(token(&held).as_deref(), Some("one"));
        assert_eq!(vault.body(handle).as_deref().and_then(token).as_deref(), Some("two"));
        vault.bodies_drop(handle);
        assert!(vault.body(handle).is_none() && token(&held).is_some());
        assert_eq!(format!("{vault:?}"), "Vault(0 bodies)");
    }
}
