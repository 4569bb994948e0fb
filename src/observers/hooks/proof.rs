//! How a sender proves to know the secret. Every comparison takes the same time, whatever it finds.

use reqwest::header::HeaderMap;
use ring::hmac;

use super::Head;
use crate::config::HookKind;

/// What a kind of sender can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// HMAC-SHA256 over the raw body, as hexadecimal digits after `sha256=` or alone, in the first of these
    /// headers that is there.
    Signed(&'static [&'static str]),
    /// The secret itself in this header, alone or after `Bearer`.
    Token(&'static str),
    /// Either of both.
    SignedOrToken(&'static [&'static str], &'static str),
    /// The secret ends the address.
    Path,
}

impl Proof {
    #[must_use]
    pub fn of(kind: HookKind) -> Self {
        match kind {
            HookKind::Distribution | HookKind::Harbor => Self::Token("authorization"),
            HookKind::Gitlab => Self::Token("x-gitlab-token"),
            HookKind::Ghcr | HookKind::Github => Self::Signed(&["x-hub-signature-256"]),
            HookKind::Gitea => {
                Self::Signed(&["x-hub-signature-256", "x-forgejo-signature", "x-gitea-signature"])
            }
            HookKind::Bitbucket => Self::Signed(&["x-hub-signature"]),
            HookKind::GenericHmac => Self::Signed(&["x-signature"]),
            HookKind::Cdevents | HookKind::Hint => Self::SignedOrToken(&["x-signature"], "authorization"),
            HookKind::Dockerhub | HookKind::Quay | HookKind::Gar | HookKind::Generic => Self::Path,
        }
    }

    /// Whether the sender proved to have written the text, or to be trusted with it.
    #[must_use]
    pub fn is_of_the_sender(self) -> bool {
        self != Self::Path
    }

    /// False where the proof is missing or wrong before the body is known.
    #[must_use]
    pub fn may_hold(self, head: Head<'_>, secrets: &[String]) -> bool {
        match self {
            Self::Signed(names) => signature(head.headers, names).is_some(),
            Self::Token(name) => has_token(head.headers, name, secrets),
            Self::SignedOrToken(names, name) => {
                signature(head.headers, names).is_some() || has_token(head.headers, name, secrets)
            }
            Self::Path => head.path_secret.is_some_and(|secret| is_one_of(secret.as_bytes(), secrets)),
        }
    }

    /// Whether the whole delivery is proven.
    #[must_use]
    pub fn holds(self, head: Head<'_>, body: &[u8], secrets: &[String]) -> bool {
        match self {
            Self::Signed(names) => is_signed(head.headers, names, body, secrets),
            Self::SignedOrToken(names, name) => {
                is_signed(head.headers, names, body, secrets) || has_token(head.headers, name, secrets)
            }
            Self::Token(_) | Self::Path => self.may_hold(head, secrets),
        }
    }
}

/// The bytes of a well-formed signature.
fn signature(headers: &HeaderMap, names: &[&str]) -> Option<[u8; 32]> {
    let text = names.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
    let text = text.strip_prefix("sha256=").unwrap_or(text);
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn is_signed(headers: &HeaderMap, names: &[&str], body: &[u8], secrets: &[String]) -> bool {
    let Some(signature) = signature(headers, names) else { return false };
    let fits = |secret: &String| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, body, &signature).is_ok()
    };
    secrets.iter().filter(|secret| fits(secret)).count() > 0
}

fn has_token(headers: &HeaderMap, name: &str, secrets: &[String]) -> bool {
    let Some(value) = headers.get(name) else { return false };
    let value = value.as_bytes();
    let alone = value.strip_prefix(b"Bearer ").unwrap_or(value);
    is_one_of(alone, secrets)
}

/// Compares tags of both, which are of one length and tell nothing about what they were made of.
fn is_one_of(text: &[u8], secrets: &[String]) -> bool {
    let fits = |secret: &String| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"compared, not signed");
        hmac::verify(&key, text, hmac::sign(&key, secret.as_bytes()).as_ref()).is_ok()
    };
    secrets.iter().filter(|secret| fits(secret)).count() > 0
}
