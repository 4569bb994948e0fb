//! The namespaces of a cluster: to whom what is in them belongs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observation::{Namespace, Owner};

/// Far more than a cluster has; beyond it newcomers belong to nobody.
const NAMESPACES_MAX: usize = 50_000;

/// By name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Namespaces(BTreeMap<Arc<str>, Known>);

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    uid: Arc<str>,
    owner: Owner,
    epoch: u64,
}

impl Namespaces {
    /// A namespace is so. One without an owner is as good as none.
    pub fn take(&mut self, now: &Namespace, epoch: u64) {
        if now.owner == Owner::default() {
            self.0.remove(&now.name);
        } else if self.0.len() < NAMESPACES_MAX || self.0.contains_key(&now.name) {
            let known = Known { uid: now.uid.clone(), owner: now.owner.clone(), epoch };
            self.0.insert(now.name.clone(), known);
        }
    }

    /// It was deleted. A namesake made later stays.
    pub fn gone(&mut self, uid: &str) {
        self.0.retain(|_, known| *known.uid != *uid);
    }

    /// A complete look of a new epoch is over: what it did not name is gone.
    pub fn sweep(&mut self, epoch: u64) {
        self.0.retain(|_, known| known.epoch >= epoch);
    }

    /// To whom what is in it belongs.
    #[must_use]
    pub fn owner(&self, name: &str) -> Option<&Owner> {
        self.0.get(name).map(|known| &known.owner)
    }
}
