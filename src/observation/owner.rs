//! To whom something belongs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What the configured labels of an object say. A label that is empty says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Owner {
    /// Who is asked.
    pub team: Option<Arc<str>>,
    /// How much hangs on it, in the shop's own words.
    pub tier: Option<Arc<str>>,
}

impl Owner {
    /// What this one does not say the other one does.
    #[must_use]
    pub fn or(&self, other: Option<&Self>) -> Self {
        let other = |part: fn(&Self) -> &Option<Arc<str>>| other.and_then(|other| part(other).clone());
        Self {
            team: self.team.clone().or_else(|| other(|owner| &owner.team)),
            tier: self.tier.clone().or_else(|| other(|owner| &owner.tier)),
        }
    }
}

/// A namespace, by its metadata alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub uid: Arc<str>,
    pub name: Arc<str>,
    pub owner: Owner,
}
