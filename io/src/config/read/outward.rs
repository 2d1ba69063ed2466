//! What pools do towards the outside: resetting logins, telling people, hearing chats, asking providers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Reader;
use crate::access::Scope;
use crate::gateway::GatewaySettings;
use crate::pools::chat::ChatSettings;
use crate::pools::reset::{PLACEHOLDER, ResetSettings};
use crate::pools::sinks::{SinkKind, SinkSettings};
use crate::secure;

/// What pools do towards the outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outward {
    /// What resets a login; without it nothing does.
    pub reset: Option<ResetSettings>,
    /// Who is told.
    pub sinks: Vec<SinkSettings>,
    /// Who may give orders by chat.
    pub chat: Option<ChatSettings>,
}

/// A row of `notices.sinks`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
enum Sink {
    Webhook {
        name: String,
        url: String,
        secret: String,
    },
    Telegram {
        name: String,
        #[serde(default = "telegram")]
        url: String,
        token: String,
        chat: String,
    },
}

/// No provider begins to answer in less.
const HEAD_MIN: Duration = Duration::from_secs(1);

fn telegram() -> String {
    "https://api.telegram.org".to_owned()
}

/// A row of `chat.telegram.chats`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatRow {
    id: i64,
    scopes: Vec<Scope>,
}

impl Reader<'_> {
    pub(super) fn outward(&mut self) -> Outward {
        Outward { reset: self.reset(), sinks: self.sinks(), chat: self.chat() }
    }

    pub(super) fn gateway(&mut self) -> GatewaySettings {
        let head_max = self.millis("gateway.head_timeout_ms");
        let file = self.text("gateway.ca").filter(|path| !path.is_empty());
        let read = file.map_or(Ok(Vec::new()), |path| secure::certificates(Path::new(&path)));
        let authorities = read.unwrap_or_else(|error| {
            self.problem("ca_unreadable", "gateway.ca", format!("`gateway.ca`: {error}"), None);
            Vec::new()
        });
        if head_max < HEAD_MIN {
            let message = "`gateway.head_timeout_ms` must be 1000 to 600000".to_owned();
            self.problem("value_out_of_range", "gateway.head_timeout_ms", message, None);
        }
        GatewaySettings { authorities, head_max, ..GatewaySettings::default() }
    }

    fn reset(&mut self) -> Option<ResetSettings> {
        let argv = self.texts("auth_reset.argv");
        let user = self.text("auth_reset.user").unwrap_or_default();
        if argv.is_empty() {
            return None;
        }
        let targets = argv.iter().filter(|word| *word == PLACEHOLDER).count();
        if targets != 1 || argv.first().is_some_and(|word| !word.starts_with('/')) {
            let message = format!(
                "`auth_reset.argv` must begin with an absolute path and hold `{PLACEHOLDER}` exactly once"
            );
            let help = Some("write [\"/usr/local/bin/reset-login\", \"{target}\"]");
            self.problem("auth_reset_argv", "auth_reset.argv", message, help);
        }
        let ids = user.split_once(':').and_then(|(user, group)| {
            Some((user.parse::<u32>().ok()?, group.parse::<u32>().ok()?))
        });
        if !user.is_empty() && ids.is_none() {
            let message = format!("`auth_reset.user` is `{user}`; it must be two numbers, uid:gid");
            self.problem("auth_reset_user", "auth_reset.user", message, Some("write 65534:65534"));
        }
        if user.is_empty() && rustix::process::geteuid().is_root() {
            let message = "`auth_reset.user` is not set, and this process is root".to_owned();
            let help = Some("name who runs the program, as in 65534:65534");
            self.problem("auth_reset_user", "auth_reset.argv", message, help);
        }
        Some(ResetSettings { argv, user: ids })
    }

    fn sinks(&mut self) -> Vec<SinkSettings> {
        let mut sinks: Vec<SinkSettings> = Vec::new();
        for (index, table) in self.tables("notices.sinks").into_iter().enumerate() {
            let path = format!("notices.sinks[{index}]");
            let row = match table.try_into::<Sink>() {
                Ok(row) => row,
                Err(error) => {
                    let message = format!("`{path}`: {}", error.message());
                    let help = "write { kind = \"webhook\", name, url, secret } or { kind = \"telegram\", name, token, chat }";
                    self.problem("sink_invalid", "notices.sinks", message, Some(help));
                    continue;
                }
            };
            let (name, url, secret) = match &row {
                Sink::Webhook { name, url, secret } => (name, url, secret),
                Sink::Telegram { name, url, token, .. } => (name, url, token),
            };
            if !quorate_core::node::pools::definition::is_label(name)
                || sinks.iter().any(|sink| sink.name == *name)
            {
                let message =
                    format!("`{path}.name` must be a name of its own, of a-z, 0-9, `.`, `_`, `-`");
                self.problem("sink_invalid", "notices.sinks", message, None);
            }
            if !url.starts_with("http://") && !url.starts_with("https://") {
                let message = format!("`{path}.url` must be a URL of http or https");
                self.problem("sink_invalid", "notices.sinks", message, None);
            }
            let Some(secret) = self.secret(&path, secret) else { continue };
            let name = name.clone();
            let kind = match row {
                Sink::Webhook { url, .. } => SinkKind::Webhook { url, secret },
                Sink::Telegram { url, chat, .. } => SinkKind::Telegram { url, token: secret, chat },
            };
            sinks.push(SinkSettings { name, kind });
        }
        sinks
    }

    fn chat(&mut self) -> Option<ChatSettings> {
        let reference = self.text("chat.telegram.secret").filter(|text| !text.is_empty())?;
        let secret = self.secret("chat.telegram.secret", &reference);
        let mut chats = BTreeMap::new();
        for (index, table) in self.tables("chat.telegram.chats").into_iter().enumerate() {
            match table.try_into::<ChatRow>() {
                Ok(row) => {
                    chats.insert(row.id, row.scopes);
                }
                Err(error) => {
                    let message = format!("`chat.telegram.chats[{index}]`: {}", error.message());
                    let help = Some("write { id = -1001, scopes = [\"read\", \"operate\"] }");
                    self.problem("chat_invalid", "chat.telegram.chats", message, help);
                }
            }
        }
        Some(ChatSettings { secret: secret?, chats })
    }
}
