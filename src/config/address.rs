//! Addresses as everybody may read them.

use std::sync::Arc;

/// An address without the user and password in it: what facts, labels, logs and messages carry.
///
/// A password that is not percent-encoded (`https://bot:a/b@host`) breaks the address; then everything up to the
/// last `@` is taken for credentials, because a message must rather lose a path than show a password.
#[must_use]
pub fn public_url(configured: &str) -> Arc<str> {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let Some((scheme, rest)) = configured.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        // `git@host:path` has a user and no password; `https//bot:secret@host` was meant to be an address.
        return match configured.rsplit_once('@') {
            Some((before, rest)) if before.contains(':') => rest.into(),
            _ => configured.into(),
        };
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let at = match authority.rfind('@') {
        Some(at) => Some(at),
        // The text after the colon is no port, so it is the beginning of a password.
        None => authority
            .rsplit_once(':')
            .filter(|(_, port)| {
                !authority.ends_with(']') && (port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()))
            })
            .and_then(|_| rest.rfind('@')),
    };
    match at {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]).into(),
        None => configured.into(),
    }
}
