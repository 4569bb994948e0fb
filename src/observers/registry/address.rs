//! Which network addresses may be asked: a registry's answer must not turn us against our own network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, io};

use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::Problem;

/// Cloud metadata services outside the link-local ranges: AWS (machine and Pod Identity) and Google over IPv6,
/// Alibaba, Azure's WireServer, which has an address as public ones have, and Oracle's older one.
const METADATA: [IpAddr; 6] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Which kinds of address a client may connect to. Public ones always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All: the host that the operator wrote down.
    Anywhere,
    /// All but metadata services and link-local: where a loopback registry sends us on.
    Machine,
    /// All but the machine itself as well: what a workload's image names, and where a listed registry sends us
    /// that is in a private network itself.
    Private,
    /// Public only: where any other registry sends us.
    Public,
}

impl Reach {
    /// Whether this address may be asked.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().or_else(|| translated(v6)).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let (this_machine, link_local, private) = match address {
            IpAddr::V4(v4) => (
                v4.is_loopback() || v4.octets()[0] == 0,
                v4.is_link_local() || v4.is_broadcast() || v4.is_multicast(),
                v4.is_private() || is_inside(v4),
            ),
            IpAddr::V6(v6) => (
                v6.is_loopback() || v6.is_unspecified(),
                v6.is_unicast_link_local() || v6.is_multicast(),
                // The second is a translator's own prefix (RFC 8215): it leads to what the operator of it chose.
                v6.is_unique_local() || v6.segments()[..3] == [0x64, 0xff9b, 1],
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

/// What others than [`Ipv4Addr::is_private`] are somebody's inside: 100.64.0.0/10, the provider's side of an address
/// translator; 192.0.0.0/24 and 198.18.0.0/15, which some use as private ones.
fn is_inside(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    a == 100 && b & 0xc0 == 64 || [a, b, c] == [192, 0, 0] || a == 198 && b & 0xfe == 18
}

/// The address inside of another: what a translator makes of 64:ff9b::/96 (RFC 6052), what a 6to4 gateway makes of
/// 2002::/16, and the old way to write one, `::a.b.c.d`.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        // `::` and `::1` mean this machine.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => (high, low),
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Whether a registry was last found in a private network or on this machine. Shared by what resolves its name
/// and what asks where it sends us.
#[derive(Debug, Clone, Default)]
pub struct Inside(Arc<AtomicBool>);

impl Inside {
    /// As far as the address is known before any name is resolved.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        let inside = Self::default();
        inside.learn(literal(url.host_str().unwrap_or_default()));
        inside
    }

    /// Takes in the addresses of the registry itself. All of them count: one that a stranger added to a public
    /// name does not make it ours.
    pub fn learn(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut addresses = addresses.into_iter().peekable();
        let is_inside = addresses.peek().is_some() && addresses.all(|address| !Reach::Public.allows(address));
        self.0.store(is_inside, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where one kind of request may go, now.
#[derive(Debug, Clone)]
pub enum Guard {
    /// To the registry itself; what its name leads to is remembered.
    Home(Reach, Inside),
    /// Where it sends us, whatever its own address.
    Away(Reach),
    /// Where it sends us: [`Reach::Private`] from inside, else [`Reach::Public`].
    AwayFrom(Inside),
}

impl Guard {
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self {
            Self::Home(reach, _) | Self::Away(reach) => *reach,
            Self::AwayFrom(inside) if inside.get() => Reach::Private,
            Self::AwayFrom(_) => Reach::Public,
        }
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

/// Turns a name into addresses.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// What is known of names beyond one registry. Clones share it.
#[derive(Clone)]
pub struct Names {
    lookup: Lookup,
    /// Hosts that the operator named.
    named: Arc<RwLock<BTreeSet<String>>>,
}

impl Default for Names {
    /// The system turns names into addresses, and nobody named any.
    fn default() -> Self {
        Self::of(Arc::new(|host| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.collect()) })
        }))
    }
}

impl Names {
    /// Somebody else turns names into addresses.
    #[must_use]
    pub fn of(lookup: Lookup) -> Self {
        Self { lookup, named: Arc::default() }
    }

    /// From now on the operator names these, each with or without a port: a registry may send us there.
    pub fn name<H: AsRef<str>>(&self, hosts: impl IntoIterator<Item = H>) {
        let host =
            |host: H| Url::parse(&format!("https://{}/", host.as_ref())).ok()?.host_str().map(str::to_owned);
        *self.named.write().unwrap_or_else(PoisonError::into_inner) =
            hosts.into_iter().filter_map(host).collect();
    }

    fn is_named(&self, host: &str) -> bool {
        self.named.read().unwrap_or_else(PoisonError::into_inner).contains(host)
    }

    /// What may be asked of this host.
    pub(super) fn reach(&self, guard: &Guard, host: &str) -> Reach {
        if self.is_named(host) { Reach::Anywhere } else { guard.reach() }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("named", &self.named).finish_non_exhaustive()
    }
}

/// Resolves names and leaves out the addresses that may not be asked, at the moment of connecting: checking
/// earlier would leave time for the name to change.
#[derive(Debug)]
pub struct GuardedResolver {
    guard: Guard,
    names: Names,
    /// A proxy is named by the operator, and is asked in place of every other host.
    proxies: BTreeSet<String>,
}

impl GuardedResolver {
    #[must_use]
    pub fn new(guard: Guard, names: Names) -> Self {
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .filter_map(|text| Url::parse(&text).ok()?.host_str().map(str::to_owned))
            .collect();
        Self { guard, names, proxies }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let is_proxy = self.proxies.contains(&host);
        let reach = if is_proxy { Reach::Anywhere } else { self.names.reach(&self.guard, &host) };
        let inside = match &self.guard {
            Guard::Home(_, inside) if !is_proxy => Some(inside.clone()),
            Guard::Home(..) | Guard::Away(_) | Guard::AwayFrom(_) => None,
        };
        let looked_up = (self.names.lookup)(host.clone());
        Box::pin(async move {
            let found = looked_up.await?;
            if let Some(inside) = inside {
                inside.learn(found.iter().map(SocketAddr::ip));
            }
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
