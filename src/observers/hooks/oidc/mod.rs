//! The token that Google's Pub/Sub sends with a push: proof that Google sends, and for whom.
//!
//! `token` reads a token and says whether it is for us; `keys` has Google's public keys and fetches them where one is
//! missing. Nothing here waits: a delivery for which there are no keys yet is asked to come again, which Pub/Sub does.
//! Only one algorithm is known, so that no token can choose another.

mod keys;
mod token;

use std::time::Instant;

use reqwest::header::{AUTHORIZATION, HeaderMap};

use self::keys::{Found, Keys};
use self::token::Token;
use super::Refused;
use crate::config;
use crate::observation::Time;

/// Checks the tokens of one webhook.
#[derive(Debug)]
pub struct Tokens {
    wanted: config::Oidc,
    keys: Keys,
}

impl Tokens {
    /// Begins to fetch the keys, so that they are here when the first delivery comes.
    #[must_use]
    pub fn new(wanted: &config::Oidc) -> Self {
        let keys = Keys::at(&wanted.keys_url);
        keys.refresh(Instant::now());
        Self { wanted: wanted.clone(), keys }
    }

    /// With keys that were published so, and are fetched anew when they are old. `None` where these are none.
    #[must_use]
    pub fn with_keys(wanted: &config::Oidc, published: &[u8], at: Instant) -> Option<Self> {
        Some(Self { wanted: wanted.clone(), keys: Keys::fetched(&wanted.keys_url, published, at)? })
    }

    /// Whether these headers carry a good token. The cheap questions come first: a signature is only checked where
    /// everything else is right. `now` and `at` are the same moment by two clocks.
    ///
    /// # Errors
    /// [`Refused::Unproven`], or [`Refused::NoKeys`] where it cannot be told yet.
    pub fn check(&self, headers: &HeaderMap, now: Time, at: Instant) -> Result<(), Refused> {
        let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = text.and_then(|text| text.strip_prefix("Bearer "));
        let token = token.and_then(|token| Token::read(token, &self.wanted, now)).ok_or(Refused::Unproven)?;
        match self.keys.find(token.key_id(), at) {
            Found::Key(key) if token.is_signed_by(&key) => Ok(()),
            Found::Key(_) | Found::Unknown => Err(Refused::Unproven),
            Found::NoneYet => Err(Refused::NoKeys),
        }
    }
}
