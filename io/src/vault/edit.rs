//! What surfaces write: one edit at a time, each under a condition, and in use before it is answered.
//!
//! The record is read again first: an edit that somebody made in the folder meanwhile counts before the
//! condition is looked at. An equal body is not written. Who is answered may believe that file and revision
//! are durable, and reads what it wrote.
//!
//! Absent on purpose: a second attempt. An edit whose answer is late is *ambiguous*: its caller reads.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::credentials::{Answer, Command, Head, Key, Look, Seen};
use quorate_core::node::{Reply, Request};
use serde_json::Value;

use super::body::{Body, BodyError};
use super::file::{Folder, PlaceError, place};
use super::{Purpose, Vault};
use crate::handle::{AskError, Handle};

/// How long the node may take to take up what was written.
const ASK_TIME: Duration = Duration::from_secs(10);
/// How long the store may take.
pub(super) const STORE_TIME: Duration = Duration::from_secs(5);

/// What must be so for an edit to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is there, or it was deleted.
    Absent,
    /// This revision is there.
    Revision(u64),
    /// Whatever is there.
    Any,
}

/// What an edit left behind.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The head as it is now.
    pub head: Arc<Head>,
    /// Whether anything was changed.
    pub changed: bool,
}

/// Why an edit was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EditError {
    /// This node keeps none.
    #[error("this node keeps no credentials: set credentials.store")]
    NoStore,
    /// The store has no place for the id.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What would be written is no record.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The condition does not hold; the head as it is.
    #[error("it has changed since it was read; read it again and decide anew")]
    Conflict(Option<Arc<Head>>),
    /// There is no such credential.
    #[error("there is no such credential here")]
    Missing,
    /// As many as may be are there.
    #[error("there are 4096 credentials already; delete one first")]
    Full,
    /// The store did not do it.
    #[error("the store did not take it: {0}")]
    Store(String),
    /// The node did not say whether it took it up.
    #[error(transparent)]
    Unanswered(#[from] AskError),
}

impl Vault {
    /// Writes `body` as `key`.
    pub async fn put(
        &self,
        handle: &Handle,
        key: &Key,
        body: Body,
        condition: Condition,
    ) -> Result<Edited, EditError> {
        let folder = self.folder.clone().ok_or(EditError::NoStore)?;
        place(key)?;
        let _alone = self.editing.lock().await;
        let head = self.present(handle, &folder, key).await?;
        check(condition, head.as_ref())?;
        if let Some(head) = head.filter(|head| !head.deleted && head.digest == body.digest()) {
            return Ok(Edited { head, changed: false });
        }
        let body = Arc::new(body);
        let (key, written) = (key.clone(), body.clone());
        let wrote = in_store({
            let (folder, key) = (folder, key.clone());
            move || folder.write(&key, &written)
        });
        let look = wrote.await?;
        self.bodies_put(key.handle(), body);
        wrote_it(handle, key, look).await
    }

    /// Deletes `key`.
    pub async fn delete(
        &self,
        handle: &Handle,
        key: &Key,
        condition: Condition,
    ) -> Result<Edited, EditError> {
        let folder = self.folder.clone().ok_or(EditError::NoStore)?;
        place(key)?;
        let _alone = self.editing.lock().await;
        let head = self.present(handle, &folder, key).await?;
        if head.as_ref().is_none_or(|head| head.deleted) {
            return Err(EditError::Missing);
        }
        check(condition, head.as_ref())?;
        let removed = in_store({
            let key = key.clone();
            move || folder.remove(&key)
        });
        let look = removed.await?;
        wrote_it(handle, key.clone(), look).await
    }

    /// Writes `key` with another word on whether it may be used. The rest of its body stays.
    pub async fn set_disabled(
        &self,
        handle: &Handle,
        key: &Key,
        disabled: bool,
    ) -> Result<Edited, EditError> {
        let published = handle.published().credentials.load_full();
        let head = published.heads.get(key).filter(|head| !head.deleted);
        let body = self.body(key.handle()).filter(|_| head.is_some()).ok_or(EditError::Missing)?;
        let mut value: Value = serde_json::from_str(body.whole().expose(Purpose::Store))
            .expect("a canonical form is JSON");
        if let Some(members) = value.as_object_mut() {
            members.insert("disabled".to_owned(), Value::Bool(disabled));
        }
        let changed = Body::of(value)?;
        let condition = head.map_or(Condition::Any, |head| Condition::Revision(head.revision));
        self.put(handle, key, changed, condition).await
    }

    /// The head of `key`, after the node has taken up what stands in the folder.
    async fn present(
        &self,
        handle: &Handle,
        folder: &Arc<Folder>,
        key: &Key,
    ) -> Result<Option<Arc<Head>>, EditError> {
        let (folder, name, vault) = (folder.clone(), key.clone(), self.clone());
        let look = in_store(move || {
            let look = folder.look(&name, |body| vault.bodies_put(name.handle(), Arc::new(body)));
            Ok(look)
        });
        let look = look.await?;
        let head = handle.published().credentials.load().heads.get(key).cloned();
        let known = head.as_ref().filter(|head| !head.deleted).map(|head| head.digest);
        match &look.seen {
            Seen::Record { digest, .. } if known != Some(*digest) => {
                wrote_it(handle, key.clone(), look).await.map(|edited| Some(edited.head))
            }
            Seen::Failed { what } => Err(EditError::Store(what.clone())),
            // One look that finds nothing, or half of something, changes nothing.
            Seen::Record { .. } | Seen::Absent | Seen::Invalid { .. } => Ok(head),
        }
    }
}

fn check(condition: Condition, head: Option<&Arc<Head>>) -> Result<(), EditError> {
    let live = head.filter(|head| !head.deleted);
    let holds = match condition {
        Condition::Any => true,
        Condition::Absent => live.is_none(),
        Condition::Revision(revision) => live.is_some_and(|head| head.revision == revision),
    };
    if holds { Ok(()) } else { Err(EditError::Conflict(head.cloned())) }
}

/// The node takes up what was written; its answer comes when the revision is durable.
async fn wrote_it(handle: &Handle, key: Key, look: Look) -> Result<Edited, EditError> {
    let request = Request::Credential(Command::Wrote { key, look });
    let Reply::Credential(answer) = handle.ask(request, ASK_TIME).await? else {
        unreachable!("what was written is answered by credentials");
    };
    match answer {
        Answer::Applied { head, changed } => Ok(Edited { head, changed }),
        Answer::Full => Err(EditError::Full),
        // Nothing was known of what is not there.
        Answer::Done => Err(EditError::Missing),
        Answer::Offered { .. } | Answer::Settled { .. } | Answer::Purged { .. } => {
            unreachable!("what was written is answered by its head, not by {answer:?}")
        }
    }
}

/// Runs `work` where it may block, within the time that a store has.
pub(super) async fn in_store<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, EditError> {
    let working = tokio::task::spawn_blocking(work);
    let late = |_| EditError::Store(format!("no answer in {} s", STORE_TIME.as_secs()));
    let done = tokio::time::timeout(STORE_TIME, working).await.map_err(late)?;
    let failed = |error: std::io::Error| EditError::Store(error.to_string());
    done.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string()))).map_err(failed)
}
