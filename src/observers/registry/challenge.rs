//! What a registry asks for in `WWW-Authenticate` (RFC 9110, 11.6.1), and whom its answer may be told to.

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from the service at `realm`.
    Bearer { realm: Url, service: Option<String> },
}

/// Why a challenge cannot be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// Neither Basic nor Bearer was offered.
    NoneKnown,
    /// The token service's address is no URL, or is plain http behind an https registry.
    Realm(&'static str),
}

/// Reads every offer in the headers and takes the best: a token rather than the password each time.
/// `plain_http`: the operator allowed http for this registry, so its token service may use it too.
pub fn parse(headers: &HeaderMap, plain_http: bool) -> Result<Challenge, Unusable> {
    let mut basic = false;
    for header in headers.get_all(WWW_AUTHENTICATE) {
        let mut scheme = String::new();
        let mut bearer = Vec::new();
        for (word, name, value) in parameters(header.to_str().unwrap_or_default()) {
            if let Some(word) = word {
                scheme = word.to_ascii_lowercase();
                basic |= scheme == "basic";
            }
            if scheme == "bearer" && !name.is_empty() {
                bearer.push((name, value));
            }
        }
        let of =
            |wanted: &str| bearer.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        if let Some(realm) = of("realm") {
            let url = Url::parse(&realm).map_err(|_| Unusable::Realm("its address cannot be read"))?;
            if url.scheme() != "https" && !(plain_http && url.scheme() == "http") {
                return Err(Unusable::Realm("its address does not use https"));
            }
            return Ok(Challenge::Bearer { realm: url, service: of("service") });
        }
    }
    if basic { Ok(Challenge::Basic) } else { Err(Unusable::NoneKnown) }
}

/// Splits a header into `(scheme if one starts here, name, value)`. Both schemes and parameters are divided by
/// commas; a scheme is a word before a space that has no `=` in it.
fn parameters(header: &str) -> Vec<(Option<String>, String, String)> {
    let mut found = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let end = super::link::outside_quotes(rest, ',').unwrap_or(rest.len());
        let part = rest[..end].trim();
        rest = rest.get(end + 1..).unwrap_or_default();
        let (scheme, parameter) = match part.split_once(char::is_whitespace) {
            Some((word, parameter)) if !word.contains('=') => (Some(word.to_owned()), parameter.trim()),
            None if !part.contains('=') && !part.is_empty() => (Some(part.to_owned()), ""),
            _ => (None, part),
        };
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        found.push((scheme, name.trim().to_ascii_lowercase(), unquoted(value.trim())));
    }
    found
}

fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(c) = characters.next() {
        text.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    text
}

/// Whether a registry's password may be told to a token service: it runs on the registry's own host (any
/// port), or both hosts have the same parent domain, as `registry-1.docker.io` and `auth.docker.io` have.
///
/// The parent is the last two labels, or the last three where the last but one has at most three letters
/// (`example.co.uk`). An address has no parent. Any other token service is asked anonymously.
#[must_use]
pub fn may_know_password(registry: &str, realm: &str) -> bool {
    let (registry, realm) = (registry.to_ascii_lowercase(), realm.to_ascii_lowercase());
    registry == realm || parent(&registry).is_some_and(|domain| parent(&realm) == Some(domain))
}

fn parent(host: &str) -> Option<&str> {
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let (last, second) = (dots.next()?, dots.next());
    if is_address {
        return None;
    }
    let Some(second) = second else { return Some(host) };
    if last - second - 1 > 3 {
        return Some(&host[second + 1..]);
    }
    dots.next().map_or(Some(host), |third| Some(&host[third + 1..]))
}
