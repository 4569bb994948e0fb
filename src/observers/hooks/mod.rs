//! Webhooks: "look now", and never more than that.
//!
//! A delivery is checked (`proof.rs`, and `oidc/` for the tokens of Pub/Sub), read (`payload/`, a file per kind of sender), and becomes [`Trigger`]s: this
//! tag, this branch may have moved. Whoever polls the thing looks at once and reports what it finds; polling alone
//! finds the same, only later. The one thing that is taken from a delivery is its time, and only from a sender who
//! proved to know the secret: see [`Trigger::happened`]. The next kind of sender is a kind in `config`, its way of
//! proof in `proof.rs`, and a file in `payload/`.

mod oidc;
mod payload;
mod proof;
mod repeats;
mod secrets;
mod stamps;
mod trigger;

pub use oidc::Tokens;
pub use stamps::Stamps;
pub use trigger::{GitName, Moved, STAMPED_WITHIN_MILLIS, Trigger};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use reqwest::header::HeaderMap;

use self::proof::Proof;
use self::repeats::Repeats;
use self::secrets::Secrets;
use crate::config;
use crate::observation::Time;
use crate::observers::now;

/// Largest body that is read. A push of a hundred commits has a tenth of it; of a larger one only the hurry is lost.
pub const BODY_BYTES_MAX: usize = 512 << 10;
/// Things that one delivery can hurry. Beyond it the rest waits for its poll.
const TRIGGERS_MAX: usize = 64;
/// Characters of what is wrong with a delivery. Ours have some hundred; the name of a field that is none may have any.
const COMPLAINT_LENGTH_MAX: usize = 400;

/// Every configured webhook.
#[derive(Debug, Default)]
pub struct Hooks {
    hooks: BTreeMap<String, Arc<Hook>>,
}

#[derive(Debug)]
struct Hook {
    config: config::Hook,
    /// One of these two is there, or both; what is there must hold.
    secrets: Option<Secrets>,
    tokens: Option<Tokens>,
    repeats: Arc<Repeats>,
}

/// A request as far as it is known before its body is read.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub hook: &'a str,
    /// What follows the name in the address.
    pub path_secret: Option<&'a str>,
    pub headers: &'a HeaderMap,
}

/// Why a delivery was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no webhook has this name: see `hooks` in the configuration")]
    Unknown,
    #[error("the signature, the token or the secret in the address is missing or wrong")]
    Unproven,
    #[error("{0}")]
    Malformed(String),
    /// Nothing is wrong with it: it was taken before.
    #[error("taken before")]
    Repeated,
    #[error("too much is said at the moment: send it again")]
    Busy,
    #[error("the secret of this webhook cannot be read at the moment")]
    NoSecret,
    #[error("the keys that sign tokens are not here yet; send it again")]
    NoKeys,
}

impl Refused {
    /// What a sender is told, and the log: it may quote what was sent.
    fn malformed(why: &str) -> Self {
        let letters = why.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self::Malformed(letters.take(COMPLAINT_LENGTH_MAX).collect())
    }
}

impl Hooks {
    #[must_use]
    pub fn new(hooks: &[config::Hook]) -> Self {
        Self::default().with(hooks)
    }

    /// Those of a new configuration. What it does not change goes on as it is, and what was taken before is not taken
    /// again because a webhook has another secret now.
    #[must_use]
    pub fn with(&self, hooks: &[config::Hook]) -> Self {
        let hook = |config: &config::Hook| {
            let before = self.hooks.get(&config.name);
            let unchanged = before.filter(|before| before.config == *config).cloned();
            let hook = unchanged.unwrap_or_else(|| {
                Arc::new(Hook {
                    config: config.clone(),
                    secrets: config.secret_file.as_deref().map(Secrets::of),
                    tokens: config.oidc.as_ref().map(Tokens::new),
                    repeats: before.map(|before| before.repeats.clone()).unwrap_or_default(),
                })
            });
            (config.name.clone(), hook)
        };
        Self { hooks: hooks.iter().map(hook).collect() }
    }

    /// The names of those that are other than before, new, or gone.
    #[must_use]
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.hooks.keys().chain(before.hooks.keys()).collect();
        let config = |hooks: &Self, name: &str| hooks.hooks.get(name).map(|hook| hook.config.clone());
        let changed = names.into_iter().filter(|name| config(self, name) != config(before, name));
        changed.cloned().collect()
    }

    /// Whether it is worth reading the body: without it most of what is wrong with a request can be told.
    ///
    /// # Errors
    /// See [`Refused`]. What proves itself by its body is not refused yet.
    pub fn admit(&self, head: Head<'_>) -> Result<(), Refused> {
        let hook = self.hooks.get(head.hook).ok_or(Refused::Unknown)?;
        hook.prove(|proof, secrets| proof.may_hold(head, secrets), head)
    }

    /// Whether its sender may say what is to go live.
    #[must_use]
    pub fn may_expect(&self, hook: &str) -> bool {
        self.hooks.get(hook).is_some_and(|hook| !hook.config.expect_in.is_empty())
    }

    /// Reads a whole delivery: what may have moved. Nothing, where it is about something else.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn take(&self, head: Head<'_>, body: &[u8], received: Time) -> Result<Vec<Trigger>, Refused> {
        let hook = self.hooks.get(head.hook).ok_or(Refused::Unknown)?;
        hook.prove(|proof, secrets| proof.holds(head, body, secrets), head)?;
        let payload =
            payload::read(&hook.config, head.headers, body).map_err(|why| Refused::malformed(&why))?;
        if hook.repeats.is_repeated(payload.id.as_deref(), body) {
            return Err(Refused::Repeated);
        }
        let mut triggers = payload.triggers;
        triggers.retain(Trigger::is_short);
        triggers.truncate(TRIGGERS_MAX);
        for trigger in &mut triggers {
            trigger.received = received;
            // In an address a secret proves who may hurry us, not who wrote the text.
            trigger.stamped = trigger.stamped.filter(|_| Proof::of(hook.config.kind).is_of_the_sender());
        }
        Ok(triggers)
    }
}

impl Hook {
    /// Everything that is configured must hold; the secret first, for it costs least.
    fn prove(&self, holds: impl Fn(Proof, &[String]) -> bool, head: Head<'_>) -> Result<(), Refused> {
        if let Some(secrets) = &self.secrets {
            let secrets = secrets.read().ok_or(Refused::NoSecret)?;
            if !holds(Proof::of(self.config.kind), &secrets) {
                return Err(Refused::Unproven);
            }
        }
        match &self.tokens {
            Some(tokens) => tokens.check(head.headers, now(), Instant::now()),
            None if self.secrets.is_some() => Ok(()),
            // The configuration is refused before it comes to this.
            None => Err(Refused::NoSecret),
        }
    }
}
