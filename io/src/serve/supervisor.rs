//! What the process tells its supervisor: that it is ready, that its loop turns, that it stops.
//!
//! The protocol is `sd_notify(3)`: datagrams of `KEY=value` to the socket that `NOTIFY_SOCKET` names.
//!
//! Absent on purpose: anything when nobody asked to be told.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

/// How often readiness is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Whoever started this process and wants to be told.
pub(super) struct Supervisor {
    socket: Option<UnixDatagram>,
    interval: Duration,
    watched: bool,
    ready: bool,
}

impl Supervisor {
    /// The one that the environment names; nobody, if it names none or is not there.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> Supervisor {
        let socket = environment.get("NOTIFY_SOCKET").and_then(|name| {
            let connected = connect(name);
            if let Err(error) = &connected {
                warn!(%error, "the supervisor cannot be told anything");
            }
            connected.ok()
        });
        let watchdog = watchdog(environment);
        let interval = watchdog.map_or(LOOK_INTERVAL, |patience| (patience / 3).min(LOOK_INTERVAL));
        Supervisor { socket, interval, watched: watchdog.is_some(), ready: false }
    }

    /// Returns when it is time to [`Supervisor::look`] again; never, if nobody wants to be told.
    pub(super) async fn due(&self) {
        match self.socket {
            Some(_) => tokio::time::sleep(self.interval).await,
            None => std::future::pending().await,
        }
    }

    /// Tells that the node is ready, once, and each time that it lives.
    pub(super) fn look(&mut self, ready: bool, live: bool) {
        if ready && !self.ready {
            self.ready = true;
            self.tell("READY=1");
        }
        if live && self.watched {
            self.tell("WATCHDOG=1");
        }
    }

    /// Tells that the process is about to end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, word: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(word.as_bytes())
        {
            warn!(%error, word, "the supervisor was not told");
        }
    }
}

/// A path, or a name in the abstract namespace after an `@`.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name.as_bytes()))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A supervisor that does not read must not stop the node.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The supervisor's patience, if it watches this very process.
fn watchdog(environment: &BTreeMap<String, String>) -> Option<Duration> {
    let ours = std::process::id().to_string();
    if environment.get("WATCHDOG_PID").is_some_and(|process| *process != ours) {
        return None;
    }
    let micros = environment.get("WATCHDOG_USEC")?.parse().ok()?;
    Some(Duration::from_micros(micros)).filter(|patience| !patience.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(socket: &str) -> BTreeMap<String, String> {
        let pairs = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "3000")];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn readiness_is_told_once_and_life_each_time() {
        let name = format!("quorate-supervisor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let heard = UnixDatagram::bind_addr(&address).expect("a free name");
        heard.set_nonblocking(true).expect("a socket option");
        let mut supervisor = Supervisor::of(&environment(&format!("@{name}")));
        supervisor.look(false, true);
        supervisor.look(true, false);
        supervisor.look(true, true);
        supervisor.stopping();
        let next = || {
            let mut word = [0; 32];
            let count = heard.recv(&mut word).ok()?;
            Some(String::from_utf8_lossy(&word[..count]).into_owned())
        };
        let words: Vec<String> = std::iter::from_fn(next).collect();
        assert_eq!(words, ["WATCHDOG=1", "READY=1", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn another_process_is_watched_and_not_this_one() {
        let mut environment = environment("/nowhere");
        assert_eq!(watchdog(&environment), Some(Duration::from_millis(3)));
        environment.insert("WATCHDOG_PID".to_owned(), "0".to_owned());
        assert_eq!(watchdog(&environment), None);
        // Nobody is there: telling is no error.
        Supervisor::of(&environment).look(true, true);
    }
}
