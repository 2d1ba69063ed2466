//! What callers define: read from the agreed store, changed there in one transaction, and told to the node.
//!
//! A change is planned by [`Agreed`] over what was just read, and succeeds only if nobody changed the same pool or
//! credential meanwhile; else it is planned anew. Every node follows the store and tells itself.
//!
//! Absent on purpose: what a change comes to, and what a definition may be.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::limits;
use quorate_core::node::kv::{
    self, Answer as Done, Binding, Compare, Failure, Found, Key, Keys, Namespace, Operation, Page,
    Question, Relation, Than, Told, Transaction, WatchRequest,
};
use quorate_core::node::pools::agreed::{Agreed, Change, NAMESPACE, Wish};
use quorate_core::node::pools::{Command, Definition, Name, Refusal};
use quorate_core::node::{Reply, Request};
use quorate_core::wire::Blob;

use crate::handle::{AskError, Handle};

/// How long the store may take.
const WITHIN: Duration = Duration::from_secs(25);
/// How long to wait before the store is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a change is planned anew because of others.
const PLANS_MAX: usize = 8;

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unchanged {
    /// The wish cannot be.
    Refused(Refusal),
    /// The store did not do it.
    Store(Box<Failure>),
    /// The node did not answer.
    Node(AskError),
    /// Others kept changing the same.
    Contended,
    /// It is not what the caller takes it for.
    Differs(Box<Definition>),
}

impl From<AskError> for Unchanged {
    fn from(error: AskError) -> Unchanged {
        Unchanged::Node(error)
    }
}

/// Does what `wish` says if the pool is `expected`, and tells this node of it. `document` defines the pools that are
/// not changed here.
pub(crate) async fn change(
    handle: &Handle,
    pool: &Name,
    wish: Wish,
    document: &BTreeMap<Name, Definition>,
    expected: impl Fn(&Definition) -> bool,
) -> Result<Change, Unchanged> {
    for _ in 0..PLANS_MAX {
        let agreed = read(handle).await?;
        let change = agreed.change(pool, wish.clone(), document).map_err(Unchanged::Refused)?;
        if let Some(before) = change.before.as_ref().filter(|before| !expected(before)) {
            return Err(Unchanged::Differs(Box::new(before.clone())));
        }
        let request = kv::Request::Transact(transaction(&change));
        let asked = Request::Agree { request: Box::new(request) };
        let done = answer(handle.ask(asked, WITHIN).await?)?;
        let Done::Transacted { succeeded, revision, .. } = done else {
            unreachable!("a transaction is answered as one, not by {done:?}")
        };
        if succeeded {
            let mut pools = agreed.pools();
            match &change.after {
                Some(after) => pools.insert(pool.clone(), after.clone()),
                None => pools.remove(pool),
            };
            tell(handle, revision, pools).await?;
            return Ok(change);
        }
    }
    Err(Unchanged::Contended)
}

/// Tells the node what is agreed on, and again whenever it changes, until it ends.
pub(crate) async fn follow(handle: Handle) {
    loop {
        match told(&handle).await {
            Err(Unchanged::Node(AskError::Stopped)) => return,
            Err(why) => tracing::debug!(?why, "what callers define is not read"),
            Ok(revision) => watch(&handle, revision).await,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn watch(handle: &Handle, revision: u64) {
    let request = WatchRequest {
        namespace: namespace(),
        keys: Keys::Prefix(Blob::default()),
        from: Some(revision + 1),
        previous: false,
    };
    let Ok(mut watching) = handle.watch(request).await else { return };
    while let Some(event) = watching.next().await {
        match event {
            kv::Event::Changes { revision, .. } => {
                watching.taken(revision).await;
                if told(handle).await.is_err() {
                    return;
                }
            }
            kv::Event::Progress { .. } => {}
            kv::Event::Compacted(_) | kv::Event::Refused(_) => return,
        }
    }
}

/// Reads everything and tells the node; the revision at which it was so.
async fn told(handle: &Handle) -> Result<u64, Unchanged> {
    let agreed = read(handle).await?;
    tell(handle, agreed.revision(), agreed.pools()).await?;
    Ok(agreed.revision())
}

async fn tell(
    handle: &Handle,
    revision: u64,
    pools: BTreeMap<Name, Definition>,
) -> Result<(), AskError> {
    let command = Command::Agreed { revision, pools };
    handle.ask_in_line(Request::Pool(Box::new(command)), WITHIN).await.map(drop)
}

/// All that is agreed on, as it is now.
async fn read(handle: &Handle) -> Result<Agreed, Unchanged> {
    let (mut items, mut at, mut after) = (Vec::new(), None, None);
    loop {
        let question = Question::List {
            namespace: namespace(),
            keys: Keys::Prefix(Blob::default()),
            after: after.take(),
            revision: at,
            limit: u16::try_from(limits::KV_PAGE_ITEMS_MAX).unwrap_or(u16::MAX),
            keys_only: false,
        };
        let mode = kv::Mode::Linearizable;
        let request = kv::Request::Ask { question, mode, min_revision: 0 };
        let asked = Request::Agree { request: Box::new(request) };
        let Done::Told(Told { what, .. }) = answer(handle.ask(asked, WITHIN).await?)? else {
            unreachable!("a question is answered as one")
        };
        let Found::Page { revision, page: Page { items: more, more: is_more } } = what else {
            continue; // That revision was forgotten meanwhile: from the beginning.
        };
        at = Some(revision);
        items.extend(more.iter().cloned());
        match items.last().filter(|_| is_more) {
            Some(last) => after = Some(last.key.clone()),
            None => {
                let rows = items.iter().map(|item| {
                    (item.key.as_slice(), item.held.value.as_slice(), item.held.mod_revision)
                });
                return Ok(Agreed::read(revision, rows));
            }
        }
    }
}

fn answer(reply: Reply) -> Result<Done, Unchanged> {
    match reply {
        Reply::Kv(Done::Failed(failure)) => Err(Unchanged::Store(Box::new(failure))),
        Reply::Kv(done) => Ok(done),
        reply @ (Reply::Done
        | Reply::Refused(_)
        | Reply::Worker(_)
        | Reply::Credential(_)
        | Reply::Pool(_)
        | Reply::Raft(_)
        | Reply::Watching { .. }) => {
            unreachable!("a request to the store is answered by it, not by {reply:?}")
        }
    }
}

fn namespace() -> Namespace {
    NAMESPACE.parse().expect("it is a name")
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).expect("names of pools are short")
}

fn transaction(change: &Change) -> Transaction {
    let compare = change.compare.iter().map(|(name, changed)| Compare {
        key: key(name),
        is: Relation::Equal,
        than: Than::ModRevision(*changed),
    });
    let put = change.put.iter().map(|(name, value)| Operation::Put {
        key: key(name),
        value: value.clone(),
        lease: Binding::None,
        previous: false,
    });
    let delete = change.delete.iter().map(|name| Operation::Delete(Keys::One(key(name))));
    Transaction {
        namespace: namespace(),
        compare: compare.collect::<Vec<_>>().into(),
        then: put.chain(delete).collect::<Vec<_>>().into(),
        otherwise: Vec::new().into(),
    }
}
