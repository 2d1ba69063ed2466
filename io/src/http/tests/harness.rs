//! A surface over a node that answers by a script, and a caller.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use quorate_core::ids::{ClusterId, CredentialHandle, Incarnation, NodeId, Replica, Ticket};
use quorate_core::machine::{Count, Machine as _};
use quorate_core::node::credentials;
use quorate_core::node::membership::{Member, State};
use quorate_core::node::pools::{self, Pools};
use quorate_core::node::settings::Profile;
use quorate_core::node::workers::claim::{Admin, Statement};
use quorate_core::node::workers::view::{ClaimView, Lease, ProbeView};
use quorate_core::node::workers::{EntryView, Snapshot, Spec, Status};
use quorate_core::node::{
    Announcement, Image, Input, Members, Node, Published, Reply, Request as Wish, Settings,
};
use quorate_core::time::{Instant, UnixTime};
use quorate_core::wire::Blob;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower::ServiceExt as _;

use super::super::{Host, HttpSettings, Parts, ReloadError, Surface, router};
use super::store::Store;
use crate::access::{Access, Caller, MintedToken, Scope, StaticToken};
use crate::audit::Audit;
use crate::config::Secret;
use crate::gateway::GatewaySettings;
use crate::handle::{Handle, Heard};
use crate::health::Vitals;
use crate::metrics::{Build, Meters, Source};
use crate::pools::chat::ChatSettings;
use crate::record::TraceError;
use crate::traffic::Traffic;
use crate::vault::Vault;

/// A clock that a test moves.
pub(super) struct FalseHost {
    micros: AtomicU64,
    pub(super) filters: Mutex<Vec<String>>,
    pub(super) keys: Mutex<BTreeMap<String, String>>,
    pub(super) reload: Mutex<Result<Vec<&'static str>, ReloadError>>,
}

impl Host for FalseHost {
    fn now(&self) -> Instant {
        Instant::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn wall(&self) -> UnixTime {
        UnixTime(1_700_000_000_000 + self.micros.load(Ordering::Relaxed) / 1000)
    }

    fn key_ids(&self) -> Vec<String> {
        vec!["a1b2c3d4".to_owned()]
    }

    fn set_log(&self, filter: &str, _lasts: std::time::Duration) -> Result<(), String> {
        if filter == "nonsense[" {
            return Err("`nonsense[` is no filter".to_owned());
        }
        self.filters.lock().expect("free").push(filter.to_owned());
        Ok(())
    }

    fn trace(&self, lasts: std::time::Duration) -> Result<PathBuf, TraceError> {
        match lasts.as_secs() {
            599 => Err(TraceError::Busy),
            600 => Err(TraceError::Absent),
            598 => Err(TraceError::Failed("no space left on device".to_owned())),
            _ => Ok(PathBuf::from("/data/trace/1.jsonl")),
        }
    }

    fn keeps_worker_keys(&self) -> bool {
        true
    }

    fn keep_worker_key(&self, url: &str, key: &str) -> Result<(), String> {
        if key == "no-room" {
            return Err("no space left on device".to_owned());
        }
        self.keys.lock().expect("free").insert(url.to_owned(), key.to_owned());
        Ok(())
    }

    fn forget_worker_key(&self, url: &str) {
        self.keys.lock().expect("free").remove(url);
    }

    fn reload(&self) -> BoxFuture<'static, Result<Vec<&'static str>, ReloadError>> {
        let outcome = self.reload.lock().expect("free").clone();
        Box::pin(std::future::ready(outcome))
    }
}

/// Replies in the order of the wishes, and what was wished for.
#[derive(Default)]
pub(super) struct Script {
    pub(super) replies: VecDeque<Reply>,
    pub(super) wishes: Vec<Wish>,
    /// Whether the node keeps silent.
    pub(super) mute: bool,
}

pub(super) struct World {
    pub(super) surface: Arc<Surface>,
    pub(super) host: Arc<FalseHost>,
    pub(super) published: Arc<Published>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) announce: broadcast::Sender<Heard>,
    pub(super) tokens: BTreeMap<&'static str, String>,
    pub(super) data: PathBuf,
    pub(super) vault: Vault,
    router: axum::Router,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reaction {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Reaction {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request in the making; a reader on loopback unless told otherwise.
pub(super) struct Asking {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    pub(super) caller: Caller,
}

pub(super) fn asking(method: &str, path: &str) -> Asking {
    Asking {
        method: method.parse().expect("a method"),
        path: path.to_owned(),
        headers: vec![("host", "127.0.0.1:8420".to_owned())],
        body: Body::empty(),
        caller: Caller::Tcp(([127, 0, 0, 1], 40_000).into()),
    }
}

impl Asking {
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Asking {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn json(self, body: &Value) -> Asking {
        let mut asking = self.header("content-type", "application/json");
        asking.body = Body::from(body.to_string());
        asking
    }

    pub(super) fn body(mut self, body: impl Into<Body>) -> Asking {
        self.body = body.into();
        self
    }

    pub(super) fn by(mut self, caller: Caller) -> Asking {
        self.caller = caller;
        self
    }

    pub(super) fn token(self, token: &str) -> Asking {
        self.header("authorization", &format!("Bearer {token}"))
    }
}

impl World {
    /// Three members, two workers, one token of each scope.
    pub(super) fn new() -> World {
        let codex = json!({"members": ["codex-1", "codex-2"]});
        World::of(&codex, GatewaySettings::default())
    }

    /// The same with another pool `codex`.
    pub(super) fn of(codex: &Value, gateway: GatewaySettings) -> World {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let data =
            std::env::temp_dir().join(format!("quorate-http-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&data).expect("the temporary directory is writable");
        let host = Arc::new(FalseHost {
            micros: AtomicU64::new(20_000_000),
            filters: Mutex::default(),
            keys: Mutex::default(),
            reload: Mutex::new(Ok(vec!["listen.http"])),
        });
        let published = Arc::new(published());
        let mut pools = pools(codex);
        pools.flush(host.now(), &mut Vec::new());
        if let Some(snapshot) = pools.publish(host.now()) {
            published.pools.store(snapshot);
        }
        let pools = Arc::new(Mutex::new(pools));
        let (machine, shown, clock) = (pools.clone(), published.clone(), host.clone());
        let (handle, mut asks, announce) = Handle::new(published.clone());
        let script = Arc::new(Mutex::new(Script::default()));
        let scripted = script.clone();
        tokio::spawn(async move {
            let (mut unanswered, mut store) = (Vec::new(), Store::default());
            while let Some(ask) = asks.recv().await {
                let Some(ask) = store.pass(ask) else { continue };
                let mut script = scripted.lock().expect("free");
                script.wishes.push(ask.request.clone());
                if let quorate_core::node::Request::Pool(command) = ask.request {
                    let mut pools = machine.lock().expect("free");
                    let _ = ask.reply.send(decide(&mut pools, clock.now(), *command, &shown));
                    continue;
                }
                if script.mute {
                    unanswered.push(ask.reply);
                    continue;
                }
                let reply = script.replies.pop_front().unwrap_or(Reply::Done);
                let _ = ask.reply.send(reply);
            }
        });
        let (access, tokens) = access();
        let vitals = Arc::new(Vitals::new(Instant::ZERO));
        vitals.booted();
        vitals.turned(host.now());
        let build = Build { version: "0.1.0".to_owned(), started_seconds: 1_700_000_000 };
        let traffic: Source = Arc::new(Traffic::default());
        let records: Source = Arc::new(crate::record::Endings::default());
        let meters = Arc::new(Meters::new(&handle, &build, vec![traffic, records]));
        meters.open_sink("ops"); // As a node with this sink would at its start.
        let audit = Audit::open(&data, meters.audit_observer()).expect("the log opens");
        let vault = Vault::default();
        let surface = Surface::new(Parts {
            handle,
            settings: settings(),
            host: host.clone(),
            access,
            audit: Some(audit),
            meters,
            vitals: vitals.clone(),
            vault: vault.clone(),
            gateway,
        });
        tokio::spawn(super::super::tend(surface.clone()));
        let router = router(surface.clone());
        World { surface, host, published, vitals, script, announce, tokens, data, vault, router }
    }

    pub(super) fn now(&self) -> Instant {
        self.host.now()
    }

    pub(super) fn pass(&self, millis: u64) {
        self.host.micros.fetch_add(millis * 1000, Ordering::Relaxed);
        self.vitals.turned(self.host.now());
    }

    pub(super) fn will_reply(&self, reply: Reply) {
        self.script.lock().expect("free").replies.push_back(reply);
    }

    pub(super) fn last_wish(&self) -> Option<Wish> {
        self.script.lock().expect("free").wishes.last().cloned()
    }

    pub(super) fn announce(&self, announcement: Announcement) {
        let _ = self.announce.send(Heard { at: self.now(), announcement });
    }

    /// The raw answer, for streams.
    pub(super) async fn open(&self, asking: Asking) -> Response {
        let mut request = Request::builder().method(asking.method).uri(asking.path);
        for (name, value) in asking.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(asking.body).expect("a request");
        request.extensions_mut().insert(asking.caller);
        self.router.clone().oneshot(request).await.expect("a router always answers")
    }

    /// A real socket before the surface, and who answers there.
    pub(super) async fn listen(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let listeners = vec![super::super::Listener::Tcp(listener)];
        let serving = super::super::serve(listeners, self.router.clone(), std::future::pending());
        tokio::spawn(serving.expect("threads"));
        address
    }

    /// The whole answer.
    pub(super) async fn ask(&self, asking: Asking) -> Reaction {
        let (parts, body) = self.open(asking).await.into_parts();
        let bytes = body.collect().await.expect("the body is there").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("answers are text");
        Reaction { status: parts.status, headers: parts.headers, text }
    }

    /// The answer to a holder of `scope`.
    pub(super) async fn ask_as(&self, scope: &str, asking: Asking) -> Reaction {
        let token = self.tokens.get(scope).expect("a scope");
        self.ask(asking.token(token)).await
    }

    pub(super) async fn get(&self, path: &str) -> Reaction {
        self.ask_as("admin", asking("GET", path)).await
    }

    /// Every line of the audit log.
    pub(super) fn audit_lines(&self) -> Vec<Value> {
        let lines = crate::audit::read_after(&self.data.join("audit"), 0, 10_000);
        let lines = lines.expect("the log reads");
        lines.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    pub(super) fn set_members(&self, change: impl FnOnce(&mut Members)) {
        let mut members = Members::clone(&self.published.members.load());
        members.version += 1;
        change(&mut members);
        self.published.members.store(Arc::new(members));
    }
}

/// What a real pool machine answers; what it publishes is there before its answer.
fn decide(
    pools: &mut Pools,
    now: Instant,
    command: pools::Command,
    published: &Published,
) -> Reply {
    let mut out = Vec::new();
    pools.handle(now, pools::Input::Command { ticket: Ticket(1), command }, &mut out);
    pools.flush(now, &mut out);
    if let Some(snapshot) = pools.publish(now) {
        published.pools.store(snapshot);
    }
    let answer = out.into_iter().find_map(|output| match output {
        pools::Output::Reply { answer, .. } => Some(answer),
        pools::Output::Write { .. }
        | pools::Output::Ready
        | pools::Output::Persist { .. }
        | pools::Output::Announce(_)
        | pools::Output::Misbehaved { .. } => None,
    });
    Reply::Pool(answer.expect("every command is answered"))
}

/// The handle of a credential of the harness.
pub(super) fn account(id: &str) -> CredentialHandle {
    CredentialHandle::of("default", id)
}

/// All of them; the pool has the first two.
const ACCOUNTS: [&str; 4] = ["codex-1", "codex-2", "codex-3", "codex-4"];

/// What is known of the accounts.
fn heads() -> credentials::Snapshot {
    let head = |id: &str| {
        let key = credentials::Key::of_default(id).expect("a key");
        let head = credentials::Head {
            key: key.clone(),
            handle: key.handle(),
            revision: 1,
            deleted: false,
            digest: Default::default(),
            updated_at: UnixTime(1_700_000_000_000),
            record: None,
            exposed: false,
        };
        (key, Arc::new(head))
    };
    let heads = ACCOUNTS.into_iter().map(head).collect();
    credentials::Snapshot { heads, ..Default::default() }
}

/// One pool, and the accounts.
fn pools(codex: &Value) -> Pools {
    let definition = serde_json::from_value(codex.clone());
    let definition: pools::Definition = definition.expect("a definition");
    let name = "codex".parse().expect("a name");
    let settings =
        pools::Settings { pools: BTreeMap::from([(name, definition)]), ..Default::default() };
    let local = Replica { node: node("n1"), incarnation: Incarnation(57) };
    let mut pools = Pools::new(settings, local, &BTreeMap::new());
    let mut out = Vec::new();
    let now = Instant::from_micros(20_000_000);
    let unix = UnixTime(1_700_000_020_000);
    pools.handle(now, pools::Input::Clock { unix }, &mut out);
    pools.handle(now, pools::Input::Start, &mut out);
    for id in ACCOUNTS {
        let credential = pools::Credential {
            handle: account(id),
            id: id.into(),
            provider: "codex".into(),
            disabled: false,
            needs_login: false,
            priority: 0,
            weight: 1,
            quota_group: None,
        };
        let (handle, credential) = (credential.handle, Some(Box::new(credential)));
        pools.handle(
            now,
            pools::Input::Credential { handle, credential, renewed: false },
            &mut out,
        );
    }
    pools.handle(now, pools::Input::Loaded, &mut out);
    pools
}

fn settings() -> HttpSettings {
    HttpSettings {
        cluster: "prod".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: UnixTime(1_700_000_000_000),
        hosts: vec!["gw.example.org".to_owned()],
        metrics_open: false,
        ready_exclude: Vec::new(),
        ready_require: Vec::new(),
        has_seeds: true,
        loopback: true,
        chat: Some(ChatSettings {
            secret: Secret::new("hush"),
            chats: BTreeMap::from([(7, vec![Scope::Read]), (8, vec![Scope::Read, Scope::Operate])]),
        }),
    }
}

fn access() -> (Access, BTreeMap<&'static str, String>) {
    let scopes = [Scope::Read, Scope::Use, Scope::Operate, Scope::Admin, Scope::Secrets];
    let mut tokens = BTreeMap::new();
    let mut known = Vec::new();
    for scope in scopes {
        let minted = MintedToken::mint().expect("the system has entropy");
        let label = format!("test-{scope}");
        known.push(StaticToken { hash: minted.hash, scopes: vec![scope], label });
        tokens.insert(scope.name(), minted.token);
    }
    (Access::new(known, 1000), tokens)
}

pub(super) fn node(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

pub(super) fn member(name: &str, state: State) -> Member {
    let facts = [
        ("zone", "\"eu-1\""),
        ("labels", "{\"tier\":\"edge\"}"),
        ("versions", "{\"software\":\"0.1.0\",\"protocol_min\":1,\"protocol_max\":1}"),
        ("addresses", "{\"http\":\"http://10.0.0.9:8420\"}"),
    ];
    Member {
        node: node(name),
        incarnation: Incarnation(57),
        born: Incarnation(57),
        state,
        address: "10.0.0.9:7420".parse().expect("an address"),
        since: Instant::from_millis(1000),
        local: name == "n1",
        facts: facts.iter().map(|(key, value)| ((*key).into(), Blob::from(*value))).collect(),
        missing: None,
    }
}

pub(crate) fn published() -> Published {
    let rows = [("n1", State::Alive), ("n2", State::Alive), ("n3", State::Failed)];
    let rows = rows.map(|(name, state)| (node(name), Arc::new(member(name, state))));
    let members = Members {
        version: 912,
        local: Replica { node: node("n1"), incarnation: Incarnation(57) },
        born: Incarnation(57),
        joined: true,
        leaving: false,
        draining: false,
        rows: rows.into_iter().collect(),
        score: 0,
        full: false,
        at: Instant::ZERO,
    };
    let mut workers = Snapshot::default();
    for (number, url) in [(1, "http://10.0.0.7:8000"), (2, "http://10.0.0.8:8000")] {
        let entry = entry(number, url);
        workers.ids.insert(entry.id.clone(), entry.url.clone());
        workers.entries.insert(entry.url.clone(), Arc::new(entry));
    }
    Published {
        members: ArcSwap::from_pointee(members),
        workers: ArcSwap::from_pointee(workers),
        credentials: ArcSwap::from_pointee(heads()),
        pools: ArcSwap::default(),
        gossip: ArcSwap::default(),
        links: ArcSwap::default(),
        raft: ArcSwap::default(),
        kv: ArcSwap::default(),
        log: ArcSwap::default(),
        replicas: ArcSwap::default(),
        counts: ArcSwap::from_pointee(fresh_counts()),
    }
}

/// Every series of a node that has just begun.
fn fresh_counts() -> Vec<Count> {
    let counts = fresh_node(Vec::new()).published().counts.load_full();
    counts.to_vec()
}

/// The workers of a node that registers these.
pub(crate) fn registered(specs: &[Value]) -> Arc<Snapshot> {
    let specs = specs.iter().map(|spec| Spec::from_request(spec.clone()).expect("a spec"));
    fresh_node(specs.collect()).published().workers.load_full()
}

fn fresh_node(registrations: Vec<Spec>) -> Node {
    let cluster = ClusterId("prod".into());
    let address = "127.0.0.1:7420".parse().expect("an address");
    let mut settings = Settings::new(node("n1"), cluster, address, Profile::Local);
    settings.workers.registrations = registrations;
    let image = Image::default();
    let mut fresh = Node::boot(settings, Incarnation(57), &image, [0; 32], Instant::ZERO);
    let mut effects = Vec::new();
    fresh.handle(Instant::ZERO, Input::Start, &mut effects);
    fresh.flush(Instant::ZERO, &mut effects);
    fresh
}

pub(super) fn entry(number: u64, url: &str) -> EntryView {
    let owner = node("n1");
    let id = quorate_core::node::workers::claim::id(&owner, url);
    let spec = json!({"url": url, "models": [{"id": "llama"}], "labels": {"gpu": "h100"}});
    let spec = Spec::from_request(spec).expect("a spec");
    let claim = ClaimView {
        id: id.clone(),
        owner: owner.clone(),
        incarnation: Incarnation(57),
        lease: Lease::Own,
        statement: Statement::Healthy,
        version: 1,
        revision: 7,
        admin: Admin::Active,
    };
    EntryView {
        number,
        id,
        url: url.into(),
        status: Status::Ready,
        overlay: None,
        since: Instant::from_millis(1000),
        chosen: owner,
        claims: vec![claim],
        probe: ProbeView::default(),
        spec: Arc::new(spec),
        removing: false,
    }
}
