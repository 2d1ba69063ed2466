//! From merged layers to typed settings: every type and range, and what cannot work together.

mod outward;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use quorate_core::ids::{ClusterId, NodeId};
use quorate_core::limits;
use quorate_core::node::Settings;
use quorate_core::node::settings::{Profile, SettingError};
use quorate_core::node::workers::Spec;
use toml::Value;

use super::Problem;
use super::catalogue::{self, Kind};
use super::layers::{Layers, Place};
use super::pools;
use super::secret::{Secret, SecretError, read_private};
use crate::gateway::GatewaySettings;
use crate::secure::TlsFiles;

pub use outward::Outward;

/// Everything that `serve` needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node.
    pub node: Settings,
    /// Where store, socket and audit log live.
    pub data: PathBuf,
    /// UDP and TCP address for peers.
    pub cluster_listen: SocketAddr,
    /// Whether the advertised address was configured; else the bound port is advertised.
    pub advertised: bool,
    /// Keys in base64, the sealing one first.
    pub keyring: Vec<Secret>,
    /// The file they came from, reread on SIGHUP.
    pub keyring_file: Option<PathBuf>,
    /// What secures links.
    pub tls: Option<TlsFiles>,
    /// The folder of credentials, if the node keeps any.
    pub credentials: Option<PathBuf>,
    /// Secrets by URL prefix.
    pub worker_keys: BTreeMap<String, Secret>,
    /// The HTTP surface.
    pub http: HttpConfig,
    /// What pools do towards the outside.
    pub outward: Outward,
    /// How the gateway reaches providers.
    pub gateway: GatewaySettings,
    /// `auto`, `text` or `json`.
    pub log_format: String,
    /// Which lines are logged.
    pub log_filter: String,
    /// Unready for so long before an orderly stop.
    pub shutdown_delay: Duration,
    /// Where a flight record goes; only a flag of `serve` says so.
    pub record: Option<PathBuf>,
    /// The most bytes of one.
    pub record_bytes_max: u64,
    /// What each key says that takes effect at a start alone, but for numbers of protocols.
    pub fixed: BTreeMap<&'static str, String>,
}

/// What the HTTP surface needs.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Its address.
    pub listen: SocketAddr,
    /// Names beside loopback by which it may be called.
    pub hosts: Vec<String>,
    /// Whether `/metrics` needs no token.
    pub metrics_open: bool,
    /// Checks that `/readyz` leaves out.
    pub ready_exclude: Vec<String>,
    /// Checks that count though they are only shown.
    pub ready_require: Vec<String>,
    /// Static tokens.
    pub tokens: Vec<TokenConfig>,
}

/// A token, known by its hash.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// SHA-256 of the token, in lower-case hex.
    pub hash: String,
    /// What it permits.
    pub scopes: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub label: String,
}

/// The scopes a token may have.
const SCOPES: [&str; 5] = ["read", "use", "operate", "admin", "secrets"];

/// Reads all rows. What is wrong becomes a problem; a value is made only if nothing essential is.
pub(super) fn config(layers: &Layers, problems: &mut Vec<Problem>) -> Option<Config> {
    let mut reader = Reader { layers, problems };
    reader.types();
    let cluster_listen = reader.address("cluster.listen")?;
    let advertise = reader.text("cluster.advertise").filter(|text| !text.is_empty());
    let address = match &advertise {
        Some(text) => reader.advertised("cluster.advertise", text, cluster_listen)?,
        None => cluster_listen,
    };
    let join = reader.texts("cluster.join");
    let node = reader.node_id(&join)?;
    let cluster = reader.cluster_id(&join)?;
    let mut settings = Settings::new(node, cluster, address, reader.profile());
    // Whoever joins others waits to be added to their log.
    settings.raft.expect = u8::from(join.is_empty());
    reader.numbers(&mut settings);
    settings.raft.eligible = reader.flag("raft.eligible");
    settings.membership.zone = reader.text("node.zone").unwrap_or_default();
    settings.membership.labels = reader.map("node.labels");
    settings.membership.join = join;
    reader.identity_bounds(&settings);
    let worker_keys = reader.worker_keys();
    reader.workers(&mut settings, &worker_keys);
    pools::read(&mut reader, &mut settings);
    let keyring_file = reader.text("cluster.keyring_file").filter(|text| !text.is_empty());
    let keyring_file = keyring_file.map(PathBuf::from);
    let keyring = reader.keyring(keyring_file.as_ref());
    let data = PathBuf::from(reader.text("data")?);
    let credentials = reader.credentials(&data);
    let http = reader.http()?;
    let tls = reader.tls();
    let outward = reader.outward();
    let gateway = reader.gateway();
    reader.open_binds(cluster_listen, (&keyring, tls.is_some()), &http);
    Some(Config {
        node: settings,
        data,
        credentials,
        cluster_listen,
        advertised: advertise.is_some(),
        keyring,
        keyring_file,
        tls,
        worker_keys,
        http,
        outward,
        gateway,
        log_format: reader.text("log.format").unwrap_or_default(),
        log_filter: reader.text("log.filter").unwrap_or_default(),
        shutdown_delay: reader.millis("shutdown.delay_ms"),
        record: None,
        record_bytes_max: reader.bytes("trace.record_bytes_max"),
        fixed: layers.fixed(),
    })
}

pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn problem(
        &mut self,
        code: &'static str,
        path: &str,
        message: String,
        help: Option<&str>,
    ) {
        let place = self.layers.get(path).map_or(Place::Default, |row| row.place.clone());
        self.problems.push(Problem { code, message, place, help: help.map(str::to_owned) });
    }

    /// Every written row against the type of its key.
    fn types(&mut self) {
        let rows: Vec<(String, Value)> =
            self.layers.rows.iter().map(|(path, row)| (path.clone(), row.value.clone())).collect();
        for (path, value) in rows {
            let Some(key) = catalogue::find(&path) else { continue };
            let wanted = match (key.kind, &value) {
                (Kind::Number(_), Value::Integer(0..)) => continue,
                (Kind::Number(_), _) => "a whole number",
                (Kind::Millis(max) | Kind::Bytes(max), Value::Integer(amount)) => {
                    if u64::try_from(*amount).is_ok_and(|amount| amount <= max) {
                        continue;
                    }
                    let message = format!("`{path}` is {amount}; it must be 0 to {max}");
                    self.problem("value_out_of_range", &path, message, None);
                    continue;
                }
                (Kind::Millis(_), _) => "milliseconds, a whole number",
                (Kind::Bytes(_), _) => "bytes, a whole number",
                (Kind::Text, Value::String(_)) | (Kind::Flag, Value::Boolean(_)) => continue,
                (Kind::Text, _) => "a text",
                (Kind::Flag, _) => "true or false",
                (Kind::Texts, Value::Array(items)) if items.iter().all(Value::is_str) => continue,
                (Kind::Texts, _) => "a list of texts",
                (Kind::Choice(words), value) => {
                    let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    if words.contains(&word.as_str()) {
                        continue;
                    }
                    let message =
                        format!("`{path}` is {value}; it must be one of {}", words.join(", "));
                    self.problem("value_unknown", &path, message, None);
                    continue;
                }
                (Kind::Map, Value::String(_)) if path != key.path => continue,
                (Kind::Map, Value::Table(table)) if table.is_empty() => continue,
                (Kind::Map, _) => "a text under each key",
                (Kind::Tables, Value::Array(items)) if items.iter().all(Value::is_table) => {
                    continue;
                }
                (Kind::Tables, _) => "a list of tables",
                (Kind::Pools, Value::Table(table)) if table.is_empty() => continue,
                (Kind::Pools, _) if path != key.path => continue, // Read as a whole, below.
                (Kind::Pools, _) => "a table under each name",
            };
            self.problem("type_wrong", &path, format!("`{path}` must be {wanted}"), None);
        }
    }

    fn value(&self, path: &str) -> Option<Value> {
        if let Some(row) = self.layers.get(path) {
            return Some(row.value.clone());
        }
        let default = catalogue::find(path)?.default;
        let table = format!("x = {default}").parse::<toml::Table>();
        table.ok().and_then(|mut table| table.remove("x"))
    }

    fn text(&self, path: &str) -> Option<String> {
        self.value(path)?.as_str().map(str::to_owned)
    }

    fn flag(&self, path: &str) -> bool {
        self.value(path).and_then(|value| value.as_bool()).unwrap_or(false)
    }

    fn texts(&self, path: &str) -> Vec<String> {
        let value = self.value(path);
        let items = value.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn map(&self, path: &str) -> BTreeMap<String, String> {
        let below = format!("{path}.");
        let rows = self.layers.rows.iter();
        rows.filter_map(|(key, row)| {
            Some((key.strip_prefix(&below)?.to_owned(), row.value.as_str()?.to_owned()))
        })
        .collect()
    }

    fn tables(&self, path: &str) -> Vec<toml::Table> {
        let value = self.value(path);
        let items = value.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_table).cloned().collect()
    }

    fn bytes(&self, path: &str) -> u64 {
        let value = self.value(path).and_then(|value| value.as_integer());
        value.and_then(|value| value.try_into().ok()).unwrap_or(0)
    }

    fn millis(&self, path: &str) -> Duration {
        let value = self.value(path).and_then(|value| value.as_integer());
        Duration::from_millis(value.and_then(|value| value.try_into().ok()).unwrap_or(0))
    }

    fn address(&mut self, path: &str) -> Option<SocketAddr> {
        let text = self.text(path)?;
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("`{path}` is `{text}`; it must be an IP address with a port");
            self.problem(
                "address_malformed",
                path,
                message,
                Some("write 127.0.0.1:7420 or [::1]:7420"),
            );
        }
        address
    }

    /// An advertised address may be a name; it is resolved once, at the start.
    fn advertised(&mut self, path: &str, text: &str, listen: SocketAddr) -> Option<SocketAddr> {
        let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        match found {
            Some(address) if address.port() == 0 => {
                let message = format!("`{path}` has port 0");
                self.problem(
                    "address_malformed",
                    path,
                    message,
                    Some("name the port that peers reach"),
                );
                None
            }
            Some(_) if listen.port() == 0 => {
                let message = format!(
                    "`cluster.listen` takes any port, but `{path}` names the fixed one of `{text}`"
                );
                self.problem("conflict", path, message, Some("give cluster.listen a port too"));
                None
            }
            Some(address) => Some(address),
            None => {
                let message =
                    format!("`{path}` is `{text}`, which is no address and does not resolve");
                self.problem("address_malformed", path, message, Some("write host:port"));
                None
            }
        }
    }

    fn node_id(&mut self, join: &[String]) -> Option<NodeId> {
        let written = self.text("node.id").filter(|text| !text.is_empty());
        let name = written.clone().unwrap_or_else(host_name);
        if name == "localhost" && !join.is_empty() {
            let message = "`node.id` is `localhost`, which every machine is".to_owned();
            self.problem("node_id", "node.id", message, Some("set node.id to a name of its own"));
            return None;
        }
        match name.parse() {
            Ok(node) => Some(node),
            Err(error) => {
                let origin = if written.is_some() { "" } else { " (the host name)" };
                let message = format!("`node.id`{origin}: {error}");
                self.problem("node_id", "node.id", message, Some("set node.id"));
                None
            }
        }
    }

    fn cluster_id(&mut self, join: &[String]) -> Option<ClusterId> {
        let name = self.text("cluster.id").unwrap_or_default();
        let name = if name.is_empty() && join.is_empty() { "local".to_owned() } else { name };
        if name.is_empty() {
            let message = "`cluster.join` is set and `cluster.id` is not".to_owned();
            self.problem(
                "cluster_id",
                "cluster.join",
                message,
                Some("set cluster.id to the name that the seeds have"),
            );
            return None;
        }
        if name.len() > limits::CLUSTER_ID_BYTES_MAX {
            let message = format!("`cluster.id` has {} bytes; 255 is the most", name.len());
            self.problem("cluster_id", "cluster.id", message, None);
            return None;
        }
        Some(ClusterId(name.as_str().into()))
    }

    fn profile(&self) -> Profile {
        match self.text("membership.profile").as_deref() {
            Some("local") => Profile::Local,
            Some("wan") => Profile::Wan,
            _ => Profile::Lan,
        }
    }

    fn numbers(&mut self, settings: &mut Settings) {
        let mut wrong = Vec::new();
        for (path, row) in &self.layers.rows {
            let number = row.value.as_integer().and_then(|value| u64::try_from(value).ok());
            let is_number =
                catalogue::find(path).is_some_and(|key| matches!(key.kind, Kind::Number(_)));
            if let (true, Some(number)) = (is_number, number)
                && let Err(error) = settings.set(path, number)
            {
                wrong.push((path.clone(), error));
            }
        }
        wrong.extend(settings.conflicts().into_iter().map(|error| (place_of(&error), error)));
        for (path, error) in wrong {
            self.problem("value_out_of_range", &path, error.to_string(), None);
        }
    }

    fn identity_bounds(&mut self, settings: &Settings) {
        let membership = &settings.membership;
        if membership.zone.len() > limits::ZONE_BYTES_MAX {
            let message = format!("`node.zone` has more than {} bytes", limits::ZONE_BYTES_MAX);
            self.problem("value_out_of_range", "node.zone", message, None);
        }
        if membership.labels.len() > limits::LABELS_MAX {
            let message = format!("`node.labels` has more than {} pairs", limits::LABELS_MAX);
            self.problem("value_out_of_range", "node.labels", message, None);
        }
        for (key, value) in &membership.labels {
            let long = key.len() > limits::LABEL_KEY_BYTES_MAX
                || value.len() > limits::LABEL_VALUE_BYTES_MAX;
            if long || key.is_empty() {
                let path = format!("node.labels.{key}");
                let message = format!("`{path}`: a key has 1 to 63 bytes, a value at most 255");
                self.problem("value_out_of_range", &path, message, None);
            }
        }
    }

    /// A store without a folder of its own has one beside the node's.
    fn credentials(&self, data: &std::path::Path) -> Option<PathBuf> {
        if self.text("credentials.store").as_deref() == Some("none") {
            return None;
        }
        let folder = self.text("credentials.folder").filter(|folder| !folder.is_empty());
        Some(folder.map_or_else(|| data.join("auths"), PathBuf::from))
    }

    fn worker_keys(&mut self) -> BTreeMap<String, Secret> {
        let mut secrets = BTreeMap::new();
        for (prefix, reference) in self.map("workers.keys") {
            let path = format!("workers.keys.{prefix}");
            if let Some(secret) = self.secret(&path, &reference) {
                secrets.insert(prefix, secret);
            }
        }
        secrets
    }

    fn secret(&mut self, path: &str, reference: &str) -> Option<Secret> {
        let secret = Secret::read(reference, |name| std::env::var(name).ok());
        if let Err(error) = &secret {
            self.problem("secret_unreadable", path, format!("`{path}`: {error}"), None);
        }
        secret.ok()
    }

    fn workers(&mut self, settings: &mut Settings, keys: &BTreeMap<String, Secret>) {
        let workers = &mut settings.workers;
        workers.allow = self.texts("workers.allow");
        workers.deny = self.texts("workers.deny");
        workers.linger = self.millis("workers.linger_ms");
        let remove = self.millis("workers.remove_failed_after_ms");
        workers.remove_failed_after = Some(remove).filter(|after| !after.is_zero());
        workers.metrics_per_worker = self.flag("workers.metrics_per_worker");
        workers.keys = keys.keys().cloned().collect();
        for (index, table) in self.tables("workers.register").into_iter().enumerate() {
            let spec = serde_json::to_value(table).map_err(|error| error.to_string());
            match spec.and_then(|spec| Spec::from_request(spec).map_err(|error| error.to_string()))
            {
                Ok(spec) => workers.registrations.push(spec),
                Err(error) => {
                    let message = format!("`workers.register[{index}]`: {error}");
                    self.problem("worker_invalid", "workers.register", message, None);
                }
            }
        }
    }

    fn keyring(&mut self, file: Option<&PathBuf>) -> Vec<Secret> {
        let Some(file) = file else {
            return self.texts("cluster.keyring").iter().map(|key| Secret::new(key)).collect();
        };
        match read_keyring(file) {
            Ok(keys) => keys,
            Err(error) => {
                let message = format!("`cluster.keyring_file`: {error}");
                self.problem("secret_unreadable", "cluster.keyring_file", message, None);
                Vec::new()
            }
        }
    }

    fn http(&mut self) -> Option<HttpConfig> {
        let mut tokens = Vec::new();
        for (index, table) in self.tables("access.tokens").into_iter().enumerate() {
            let path = format!("access.tokens[{index}]");
            match table.try_into::<TokenConfig>() {
                Ok(token) => {
                    self.token(&path, &token);
                    tokens.push(token);
                }
                Err(error) => {
                    let message = format!("`{path}`: {}", error.message());
                    let help = Some("write { hash = \"<sha-256 in hex>\", scopes = [\"read\"] }");
                    self.problem("token_invalid", "access.tokens", message, help);
                }
            }
        }
        Some(HttpConfig {
            listen: self.address("listen.http")?,
            hosts: self.texts("http.hosts"),
            metrics_open: self.flag("metrics.open"),
            ready_exclude: self.texts("ready.exclude"),
            ready_require: self.texts("ready.require"),
            tokens,
        })
    }

    fn token(&mut self, path: &str, token: &TokenConfig) {
        let hex =
            token.hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if token.hash.len() != 64 || !hex {
            let message = format!("`{path}.hash` is no SHA-256 in lower-case hex");
            self.problem("token_invalid", "access.tokens", message, None);
        }
        for scope in token.scopes.iter().filter(|scope| !SCOPES.contains(&scope.as_str())) {
            let message = format!("`{path}.scopes` has `{scope}`; known are {}", SCOPES.join(", "));
            self.problem("token_invalid", "access.tokens", message, None);
        }
    }

    /// All of the three files, or none; the key is private.
    fn tls(&mut self) -> Option<TlsFiles> {
        let keys = ["tls.ca", "tls.cert", "tls.key"];
        let [ca, cert, key] = keys.map(|key| self.text(key).filter(|text| !text.is_empty()));
        if ca.is_none() && cert.is_none() && key.is_none() {
            return None;
        }
        let (Some(ca), Some(cert), Some(key)) = (ca, cert, key) else {
            let message = "`tls.ca`, `tls.cert` and `tls.key` belong together".to_owned();
            self.problem("conflict", "tls.ca", message, Some("set all three, or none"));
            return None;
        };
        if let Err(error) = read_private(std::path::Path::new(&key)) {
            self.problem("secret_unreadable", "tls.key", format!("`tls.key`: {error}"), None);
        }
        let [ca, cert, key] = [ca, cert, key].map(PathBuf::from);
        Some(TlsFiles { ca, cert, key, verify_names: self.flag("link.verify_names") })
    }

    /// Beyond loopback nothing is open by accident.
    fn open_binds(
        &mut self,
        cluster: SocketAddr,
        protection: (&[Secret], bool),
        http: &HttpConfig,
    ) {
        let lacks = match protection {
            ([], false) => Some("neither a keyring nor TLS"),
            ([], true) => Some("TLS but no keyring"),
            (_, false) => Some("a keyring but no TLS"),
            (_, true) => None,
        };
        let lacks = lacks.filter(|_| !cluster.ip().is_loopback() && !self.flag("cluster.insecure"));
        if let Some(have) = lacks {
            let message = format!("`cluster.listen` is {cluster}, beyond loopback, with {have}");
            let help = Some(
                "set cluster.keyring and tls.ca, tls.cert, tls.key (`quorate ca` makes them), or \
                 say cluster.insecure = true on a network you trust",
            );
            self.problem("open_bind_refused", "cluster.listen", message, help);
        }
        let open = !http.listen.ip().is_loopback();
        if open && http.tokens.is_empty() {
            let message =
                format!("`listen.http` is {}, beyond loopback, without any token", http.listen);
            let help = Some("list one in access.tokens");
            self.problem("open_bind_refused", "listen.http", message, help);
        }
        if open && !self.flag("listen.plaintext") {
            let message = format!("`listen.http` is {}, beyond loopback, without TLS", http.listen);
            let help = Some(
                "listen on loopback, or say listen.plaintext = true behind a proxy that speaks TLS",
            );
            self.problem("open_bind_refused", "listen.http", message, help);
        }
    }
}

/// Reads a keyring file: one key in base64 a line, blank lines and `#` comments aside.
pub fn read_keyring(file: &std::path::Path) -> Result<Vec<Secret>, SecretError> {
    let text = read_private(file)?;
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Secret::new).collect())
}

fn place_of(error: &SettingError) -> String {
    match error {
        SettingError::Unknown { key } => key.clone(),
        SettingError::Range { key, .. } => (*key).to_owned(),
        SettingError::Order { left, .. } => (*left).to_owned(),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_lowercase()
}
