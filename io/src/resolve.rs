//! Names become addresses, anew at every question.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A name that takes longer does not resolve.
const RESOLVE_TIME: Duration = Duration::from_secs(5);

/// All addresses of `host:port`; none if it does not resolve.
pub(crate) async fn addresses(name: &str) -> Vec<SocketAddr> {
    lookup(tokio::net::lookup_host(name)).await.unwrap_or_default()
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
