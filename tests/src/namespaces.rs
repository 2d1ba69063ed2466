//! Machines of a test, as network namespaces of this one: one interface each, joined by a bridge, gone with the test.
//!
//! Whatever is cut is lost in silence, as in a network: frames go to a link address that nobody has. Only namespaces,
//! interfaces and addresses that the test made itself are touched.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// A link address that no interface of the test has.
const NOBODY: &str = "02:00:00:00:00:01";

/// Namespaces on one bridge; this process is on it too.
#[derive(Debug)]
pub struct Machines {
    tag: String,
    net: [u8; 3],
    count: u8,
}

/// What a machine that runs such tests lacks, in one line; nothing if it lacks nothing.
pub fn missing() -> Option<String> {
    let tried = Command::new("ip").args(["netns", "list"]).output();
    let why = match tried {
        Err(_) => "the command `ip`: apt-get install iproute2",
        Ok(said) if !said.status.success() => "a kernel with network namespaces",
        Ok(_) => {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let capable = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
            let bits = capable.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
            // CAP_NET_ADMIN and CAP_SYS_ADMIN.
            let needed = (1 << 12) | (1 << 21);
            if bits.is_some_and(|bits| bits & needed == needed) {
                return None;
            }
            "the privileges of root"
        }
    };
    Some(format!("network namespaces cannot be made here, for want of {why}"))
}

impl Machines {
    /// So many machines, numbered from 0.
    pub fn new(count: u8) -> Machines {
        let id = std::process::id();
        let byte = |number: u32| u8::try_from(number).expect("a remainder is small");
        // Of the block for tests of networks (RFC 2544), which nobody routes.
        let net = [198, 18 + byte(id / 250 % 2), byte(id % 250)];
        let machines = Machines { tag: format!("q{id}"), net, count };
        let bridge = format!("{}b", machines.tag);
        ip(&["link", "add", &bridge, "type", "bridge"]);
        let own = format!("{}/24", machines.address(254));
        ip(&["address", "add", &own, "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        (0..count).for_each(|index| machines.join(index));
        machines
    }

    fn join(&self, index: u8) {
        let (space, near, far) = (self.space(index), self.port(index), format!("{}f", self.tag));
        ip(&["netns", "add", &space]);
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far]);
        ip(&["link", "set", &near, "master", &format!("{}b", self.tag), "up"]);
        ip(&["link", "set", &far, "netns", &space, "name", "eth0"]);
        let address = format!("{}/24", self.address(index + 1));
        ip(&["-n", &space, "address", "add", &address, "dev", "eth0"]);
        ip(&["-n", &space, "link", "set", "lo", "up"]);
        ip(&["-n", &space, "link", "set", "eth0", "up"]);
    }

    /// An address of a machine.
    pub fn listens(&self, index: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address(index + 1)), port)
    }

    /// `program`, to be run on a machine.
    pub fn command(&self, index: u8, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(index)]).arg(program);
        command
    }

    /// Nothing that `from` sends reaches `to`; the other way stays open.
    pub fn lose(&self, from: u8, to: u8) {
        let to = self.address(to + 1).to_string();
        let words = ["neigh", "replace", &to, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"];
        ip(&[&["-n", &self.space(from)], &words[..]].concat());
    }

    /// No word passes between `some` and everybody else.
    pub fn cut(&self, some: &[u8]) {
        for one in some {
            for other in (0..self.count).filter(|other| !some.contains(other)) {
                self.lose(*one, other);
                self.lose(other, *one);
            }
        }
    }

    /// Everybody hears everybody again.
    pub fn heal(&self) {
        for index in 0..self.count {
            ip(&["-n", &self.space(index), "neigh", "flush", "all", "nud", "permanent"]);
        }
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, host)
    }

    fn space(&self, index: u8) -> String {
        format!("{}n{index}", self.tag)
    }

    fn port(&self, index: u8) -> String {
        format!("{}p{index}", self.tag)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        // Interfaces in a namespace, and their other ends, go with it.
        for index in 0..self.count {
            drop(Command::new("ip").args(["netns", "delete", &self.space(index)]).status());
        }
        drop(Command::new("ip").args(["link", "delete", &format!("{}b", self.tag)]).status());
    }
}

fn ip(words: &[&str]) {
    let said = Command::new("ip").args(words).output().expect("`ip` runs");
    assert!(said.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&said.stderr));
}
