//! Which network addresses may be asked: a registry's answer must not turn us against our own network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::Problem;

/// Cloud metadata services outside the link-local ranges: AWS over IPv6, and Alibaba.
const METADATA: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// Which kinds of address a client may connect to. Public ones always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All: the host that the operator wrote down.
    Anywhere,
    /// All but metadata services and link-local: where a loopback registry sends us on.
    Machine,
    /// All but the machine itself as well: what a workload's image names, and where a listed registry sends us.
    Private,
    /// Public only: where an unlisted registry sends us.
    Public,
}

impl Reach {
    /// Whether this address may be asked.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let (this_machine, link_local, private) = match address {
            IpAddr::V4(v4) => (
                v4.is_loopback() || v4.octets()[0] == 0,
                v4.is_link_local() || v4.is_broadcast() || v4.is_multicast(),
                // 100.64.0.0/10 is the provider's side of an address translator: somebody's inside.
                v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
            ),
            IpAddr::V6(v6) => (
                v6.is_loopback() || v6.is_unspecified(),
                v6.is_unicast_link_local() || v6.is_multicast(),
                v6.is_unique_local(),
            ),
        };
        let link_local = link_local || METADATA.contains(&address);
        match self {
            Self::Anywhere => true,
            Self::Machine => !link_local,
            Self::Private => !link_local && !this_machine,
            Self::Public => !link_local && !this_machine && !private,
        }
    }

    /// Refuses an address written as such in the URL: those never pass a resolver.
    pub(super) fn check(self, url: &Url) -> Result<(), Problem> {
        let host = url.host_str().unwrap_or_default();
        let refused = literal(host).filter(|address| !self.allows(*address));
        refused.map_or(Ok(()), |address| {
            Err(Problem::Refused { host: host.into(), address: address.to_string() })
        })
    }
}

/// The address that a URL's host is, if it is one rather than a name.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a registry's host, with or without port, is this machine.
#[must_use]
pub fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || literal(host).is_some_and(|address| address.is_loopback())
}

/// A name that leads to an address that may not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, which is refused")]
pub struct RefusedAddress {
    pub host: String,
    pub address: IpAddr,
}

/// Resolves names and leaves out the addresses that may not be asked, at the moment of connecting: checking
/// earlier would leave time for the name to change.
#[derive(Debug)]
pub struct GuardedResolver {
    reach: Reach,
    /// A proxy is named by the operator, and is asked in place of every other host.
    proxies: BTreeSet<String>,
}

impl GuardedResolver {
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .filter_map(|text| Url::parse(&text).ok()?.host_str().map(str::to_owned))
            .collect();
        Self { reach, proxies }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let reach = if self.proxies.contains(&host) { Reach::Anywhere } else { self.reach };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| reach.allows(address.ip())).collect();
            match found.first() {
                Some(first) if allowed.is_empty() => {
                    Err(Box::new(RefusedAddress { host, address: first.ip() }) as _)
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
