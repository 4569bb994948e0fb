//! One token: what it says, and whether Google signed that. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

use crate::config;
use crate::observation::Time;

/// Who issues tokens, see <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>.
const ISSUER: &str = "https://accounts.google.com";
/// The only algorithm: RSA with SHA-256, as Google signs.
const ALGORITHM: &str = "RS256";
/// Google's tokens have about 1 KiB.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far Google's clock and ours may be apart, in milliseconds.
const LEEWAY_MILLIS: i64 = 30_000;

/// A public key in two numbers, as bytes.
pub type Key = RsaPublicKeyComponents<Vec<u8>>;

/// A token that is for us and in force. Its signature is not checked yet.
pub struct Token<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    key_id: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Extensions that must be understood, and we understand none.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    email: String,
    email_verified: bool,
    /// Unix seconds.
    exp: i64,
    iat: i64,
}

impl<'a> Token<'a> {
    /// `None` where it is no token, or not one for us now.
    pub fn read(text: &'a str, wanted: &config::Oidc, now: Time) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = part(header)?;
        let claims: Claims = part(claims)?;
        let is_ours = claims.iss == ISSUER
            && claims.aud == wanted.audience
            && claims.email == wanted.service_account
            && claims.email_verified;
        let millis = |seconds: i64| seconds.saturating_mul(1000);
        let in_force = now.0 < millis(claims.exp).saturating_add(LEEWAY_MILLIS)
            && now.0 >= millis(claims.iat).saturating_sub(LEEWAY_MILLIS);
        if header.alg != ALGORITHM || header.crit.is_some() || !is_ours || !in_force {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { signed, signature, key_id: header.kid })
    }

    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Ring refuses keys below 2048 bits.
    pub fn is_signed_by(&self, key: &Key) -> bool {
        key.verify(&RSA_PKCS1_2048_8192_SHA256, self.signed.as_bytes(), &self.signature).is_ok()
    }
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
