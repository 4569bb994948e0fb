//! Webhooks between HTTP and the pollers: what was said to have moved is looked at now.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::StatusCode;

use crate::config;
use crate::exporters::metrics::Metrics;
use crate::http::{HookHead, TakeHook};
use crate::observation::{Basis, Fact, Interval, Measure};
use crate::observers::hooks::{BODY_BYTES_MAX, Head, Hooks, Moved, Refused, Stamps, Trigger};
use crate::observers::schedule::{Asked, LookNow};
use crate::observers::{Reporter, now};

/// Takes deliveries. Nothing in it waits: a look is asked for, and a time is noted.
#[derive(Debug)]
pub struct Taker {
    hooks: RwLock<Arc<Hooks>>,
    stamps: Stamps,
    look_now: LookNow,
    /// For what senders may expect.
    reporter: Reporter,
    metrics: Arc<Metrics>,
}

impl Taker {
    /// One for the configured webhooks.
    #[must_use]
    pub fn new(hooks: &[config::Hook], look_now: LookNow, reporter: Reporter, metrics: Arc<Metrics>) -> Self {
        let stamps = reporter.stamps().clone();
        Self { hooks: RwLock::new(Arc::new(Hooks::new(hooks))), stamps, look_now, reporter, metrics }
    }

    /// Takes a new configuration, and names what it changes. A delivery that is being read ends as it began.
    pub fn change(&self, hooks: &[config::Hook]) -> Vec<String> {
        let mut in_force = self.hooks.write().unwrap_or_else(PoisonError::into_inner);
        let new = in_force.with(hooks);
        let changed = new.changes(&in_force);
        *in_force = Arc::new(new);
        changed
    }

    fn hooks(&self) -> Arc<Hooks> {
        self.hooks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self, trigger: &Trigger) -> Asked {
        // The time first: the look may be over before the next line.
        self.stamps.note(trigger);
        let asked = match &trigger.moved {
            Moved::Tag { repository, tag, .. } => self.look_now.repository(repository, tag.as_ref()),
            Moved::Branch { repository, branch, .. } => {
                self.look_now.branches(|url| repository.fits(url), branch.as_deref())
            }
            Moved::AnyBranch { branch } => self.look_now.branches(|_| true, branch.as_deref()),
        };
        tracing::debug!(?trigger.moved, ?asked, "a webhook asks for a look");
        asked
    }

    fn count(&self, hook: &str, result: &'static str) {
        self.metrics.measure(&Measure::HookRequest { hook: hook.into(), result });
    }

    /// Counts what was refused, and says it: a status and a sentence.
    fn refuse(&self, head: HookHead<'_>, refused: Refused) -> (StatusCode, String) {
        let (status, result) = match &refused {
            Refused::Unknown => (StatusCode::NOT_FOUND, "unknown"),
            Refused::Unproven => (StatusCode::UNAUTHORIZED, "unproven"),
            Refused::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Refused::Repeated => (StatusCode::ACCEPTED, "repeated"),
            Refused::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Refused::NoSecret => (StatusCode::SERVICE_UNAVAILABLE, "no_secret"),
            Refused::NoKeys => (StatusCode::SERVICE_UNAVAILABLE, "no_keys"),
        };
        // A name that somebody made up is no label.
        self.count(if refused == Refused::Unknown { "" } else { head.name }, result);
        (status, refused.to_string())
    }
}

impl TakeHook for Taker {
    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn admit(&self, head: HookHead<'_>) -> Result<(), (StatusCode, String)> {
        self.hooks().admit(known(head)).map_err(|refused| self.refuse(head, refused))
    }

    fn take(&self, head: HookHead<'_>, body: &[u8]) -> Result<(), (StatusCode, String)> {
        // Who may expect something is heard whole, or asked to come again.
        let mut room = self.reporter.room();
        if room.is_none() && self.hooks().may_expect(head.name) {
            return Err(self.refuse(head, Refused::Busy));
        }
        let triggers =
            self.hooks().take(known(head), body, now()).map_err(|refused| self.refuse(head, refused))?;
        self.count(head.name, "taken");
        for trigger in &triggers {
            // Of what nobody looks at nothing is expected.
            if self.look(trigger) != Asked::Unknown
                && let Some(fact) = expected(trigger)
                && let Some(room) = room.take()
            {
                room.fact(Interval::at(trigger.received), Basis::Hint, fact);
            }
        }
        Ok(())
    }

    fn unread(&self, head: HookHead<'_>) {
        self.count(head.name, "unread");
    }
}

fn expected(trigger: &Trigger) -> Option<Fact> {
    let Moved::Tag { repository, tag: Some(tag), .. } = &trigger.moved else { return None };
    let (repository, tag, environment) = (repository.clone(), tag.clone(), trigger.expected_in.clone()?);
    Some(Fact::Expected { repository, tag, environment })
}

fn known(head: HookHead<'_>) -> Head<'_> {
    Head { hook: head.name, path_secret: head.path_secret, headers: head.headers }
}
