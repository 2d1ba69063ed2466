//! Whose addresses we may call.
//!
//! Importing a worker means connecting to an address that a peer chose. `deny` is looked at first and
//! always holds link-local, multicast, unspecified and, unless the claim is our own, loopback. Where our
//! own peers reach us by loopback all of them are on this machine and mean the same by it: then loopback
//! is for `allow` to decide. Own claims are checked against `deny` only. An IPv4-mapped address is the IPv4 address it stands for.
//!
//! Absent on purpose: resolving. The host resolves a name and asks about *every* address; one denied
//! address refuses the name as a whole.

use std::net::IpAddr;

/// Private networks: what `allow` holds unless configured.
pub const ALLOW_DEFAULT: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// The compiled rules of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    same_machine: bool,
}

/// A rule denied an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The rule, as configured, or the word for a built-in one; `allow` if no rule allows the address.
    pub rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    text: String,
    matches: Matches,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Matches {
    Everything,
    Nothing,
    Suffix(String),
    Network(IpAddr, u32),
}

impl Policy {
    /// Compiles rules. One that does not parse allows nothing, or denies everything. `same_machine`: every
    /// peer is on this machine.
    pub fn new(allow: &[String], deny: &[String], same_machine: bool) -> Policy {
        let compile = |rules: &[String], broken: &Matches| {
            let rule = |text: &String| Rule {
                text: text.clone(),
                matches: parse(text).unwrap_or_else(|| broken.clone()),
            };
            rules.iter().map(rule).collect()
        };
        Policy {
            allow: compile(allow, &Matches::Nothing),
            deny: compile(deny, &Matches::Everything),
            same_machine,
        }
    }

    /// Whether a text is a rule: a CIDR, an address, a host suffix (`.gpu.internal`), or `*`.
    pub fn is_rule(text: &str) -> bool {
        parse(text).is_some()
    }

    /// What can be said before a name is resolved: `host` is a name or an address without brackets.
    pub fn admit_host(&self, host: &str, own: bool) -> Result<(), Denied> {
        if let Ok(address) = host.parse() {
            return self.admit_address(host, address, own);
        }
        deny_by(self.deny.iter().find(|rule| rule.matches_name(host)))
    }

    /// Whether a probe of `host` may connect to `address`, which `host` is or resolved to. `own`: we
    /// claim the worker ourselves.
    pub fn admit_address(&self, host: &str, address: IpAddr, own: bool) -> Result<(), Denied> {
        let address = address.to_canonical();
        if let Some(rule) = built_in(address, own || self.same_machine) {
            return Err(Denied { rule: rule.to_owned() });
        }
        let matching = |rule: &&Rule| rule.matches_address(address) || rule.matches_name(host);
        deny_by(self.deny.iter().find(matching))?;
        if own || self.allow.iter().any(|rule| matching(&rule)) {
            return Ok(());
        }
        Err(Denied { rule: "allow".to_owned() })
    }
}

fn deny_by(rule: Option<&Rule>) -> Result<(), Denied> {
    rule.map_or(Ok(()), |rule| Err(Denied { rule: rule.text.clone() }))
}

impl Rule {
    fn matches_address(&self, address: IpAddr) -> bool {
        match &self.matches {
            Matches::Everything => true,
            Matches::Nothing | Matches::Suffix(_) => false,
            Matches::Network(network, bits) => contains(*network, *bits, address),
        }
    }

    fn matches_name(&self, host: &str) -> bool {
        match &self.matches {
            Matches::Everything => true,
            Matches::Nothing | Matches::Network(..) => false,
            Matches::Suffix(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
        }
    }
}

fn built_in(address: IpAddr, loopback_is_ours: bool) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    match () {
        () if link_local => Some("link-local"),
        () if address.is_multicast() || broadcast => Some("multicast"),
        () if address.is_unspecified() => Some("unspecified"),
        () if address.is_loopback() && !loopback_is_ours => Some("loopback"),
        () => None,
    }
}

fn parse(text: &str) -> Option<Matches> {
    if text == "*" {
        return Some(Matches::Everything);
    }
    if text.len() > 1 && text.starts_with('.') {
        return Some(Matches::Suffix(text.to_ascii_lowercase()));
    }
    let (network, bits) = match text.split_once('/') {
        Some((network, bits)) => (network.parse::<IpAddr>().ok()?, bits.parse().ok()?),
        None => {
            let address = text.parse::<IpAddr>().ok()?;
            (address, width(address))
        }
    };
    (bits <= width(network)).then_some(Matches::Network(network, bits))
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let same_family = network.is_ipv4() == address.is_ipv4();
    let differing = number(network) ^ number(address);
    same_family && (bits == 0 || differing >> (128 - bits) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_policy() -> Policy {
        Policy::new(&ALLOW_DEFAULT.map(str::to_owned), &["10.9.0.0/16".to_owned()], false)
    }

    fn verdict(policy: &Policy, host: &str, address: &str, own: bool) -> String {
        let address = address.parse().expect("an address");
        policy.admit_address(host, address, own).map_or_else(|denied| denied.rule, |()| "ok".into())
    }

    #[test]
    fn imports_are_limited_to_what_allow_names() {
        let policy = default_policy();
        for (address, expected) in [
            ("10.0.0.7", "ok"),
            ("172.31.255.255", "ok"),
            ("172.32.0.0", "allow"),
            ("192.168.1.1", "ok"),
            ("100.64.0.1", "ok"),
            ("100.128.0.0", "allow"),
            ("fd00::1", "ok"),
            ("2001:db8::1", "allow"),
            ("8.8.8.8", "allow"),
            ("10.9.1.1", "10.9.0.0/16"),
            ("169.254.169.254", "link-local"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::ffff:10.0.0.7", "ok"),
            ("fe80::1", "link-local"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("0.0.0.0", "unspecified"),
            ("::", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
        ] {
            assert_eq!(verdict(&policy, address, address, false), expected, "{address}");
        }
    }

    #[test]
    fn an_own_claim_is_checked_against_deny_only_and_may_be_loopback() {
        let policy = default_policy();
        for (address, expected) in [
            ("8.8.8.8", "ok"),
            ("127.0.0.1", "ok"),
            ("10.9.1.1", "10.9.0.0/16"),
            ("169.254.169.254", "link-local"),
        ] {
            assert_eq!(verdict(&policy, address, address, true), expected, "{address}");
        }
    }

    #[test]
    fn a_suffix_allows_a_name_and_never_a_denied_address_behind_it() {
        let policy = Policy::new(&[".gpu.internal".into()], &[".bad.gpu.internal".into()], false);
        assert_eq!(verdict(&policy, "a.gpu.internal", "8.8.8.8", false), "ok");
        assert_eq!(verdict(&policy, "a.gpu.internal", "169.254.169.254", false), "link-local");
        assert_eq!(verdict(&policy, "gpu.internal.evil", "10.0.0.1", false), "allow");
        assert_eq!(verdict(&policy, "a.bad.gpu.internal", "8.8.8.8", true), ".bad.gpu.internal");
        assert!(policy.admit_host("a.bad.gpu.internal", true).is_err());
        assert_eq!(policy.admit_host("a.gpu.internal", false), Ok(()));
        assert!(policy.admit_host("169.254.169.254", true).is_err());
    }

    #[test]
    fn a_rule_that_does_not_parse_allows_nothing_and_denies_everything() {
        for text in ["", ".", "10.0.0.0/33", "host", "10.0.0.0/x", "fc00::/129"] {
            assert!(!Policy::is_rule(text), "{text}");
        }
        let closed = Policy::new(&["nonsense".into()], &[], false);
        assert_eq!(verdict(&closed, "x", "10.0.0.1", false), "allow");
        let shut = Policy::new(&["*".into()], &["nonsense".into()], false);
        assert_eq!(verdict(&shut, "x", "10.0.0.1", true), "nonsense");
        assert_eq!(verdict(&Policy::new(&["*".into()], &[], false), "x", "8.8.8.8", false), "ok");
    }

    #[test]
    fn loopback_is_for_allow_to_decide_where_every_peer_is_on_this_machine() {
        let loopback = ["127.0.0.0/8".to_owned()];
        let rule = |policy: Policy| verdict(&policy, "127.0.0.1", "127.0.0.1", false);
        assert_eq!(rule(Policy::new(&loopback, &[], false)), "loopback");
        assert_eq!(rule(Policy::new(&loopback, &[], true)), "ok");
        assert_eq!(rule(Policy::new(&[], &[], true)), "allow");
        let link_local = Policy::new(&["*".into()], &[], true);
        assert_eq!(verdict(&link_local, "x", "169.254.169.254", false), "link-local");
    }
}
