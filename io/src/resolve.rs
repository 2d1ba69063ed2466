//! Names become addresses, anew at every question.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A name that takes longer does not resolve.
const RESOLVE_TIME: Duration = Duration::from_secs(5);

/// The addresses of `host:port` at which a peer of a node that listens at `local` can be; none if it does not
/// resolve. Whoever listens in one family alone has no peers in the other: where `localhost` is `::1` as well, that
/// is nobody, and nobody need be waited for there.
pub(crate) async fn peers(name: &str, local: IpAddr) -> Vec<SocketAddr> {
    let found = lookup(tokio::net::lookup_host(name)).await.unwrap_or_default();
    found.into_iter().filter(|address| can_meet(local, address.ip())).collect()
}

/// Only a socket on the wildcard of IPv6 speaks both.
fn can_meet(local: IpAddr, peer: IpAddr) -> bool {
    match local {
        IpAddr::V4(_) => peer.is_ipv4(),
        IpAddr::V6(own) => peer.is_ipv6() || own.is_unspecified(),
    }
}

/// All addresses of a host that is a name, or an address without brackets.
pub(crate) async fn addresses_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    lookup(tokio::net::lookup_host((host, port))).await
}

async fn lookup(
    looking: impl Future<Output = io::Result<impl Iterator<Item = SocketAddr>>>,
) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(RESOLVE_TIME, looking).await;
    let mut addresses: Vec<SocketAddr> =
        found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_both_families_is_whom_one_can_meet() {
        let [four, six, any] = ["127.0.0.1", "::1", "::"].map(|text| text.parse().expect("an ip"));
        assert!(can_meet(four, four) && !can_meet(four, six), "`localhost` is one machine");
        assert!(can_meet(six, six) && !can_meet(six, four));
        assert!(can_meet(any, four) && can_meet(any, six));
    }
}
