//! The ConfigMaps of a cluster: when their data was written, as far as anybody watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evidence::merge;
use super::stage::Evidence;
use crate::observation::{Basis, ConfigMap, Interval};

/// Writes that are remembered of each: a revision asks for the first one after its commit.
const WRITES_MAX: usize = 16;
/// Far more than a large cluster has; beyond it newcomers are not followed.
const CONFIG_MAPS_MAX: usize = 100_000;

/// Namespace and name.
type Place = (Arc<str>, Arc<str>);

/// See the file's front line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ConfigMaps {
    known: BTreeMap<Place, Known>,
    places: BTreeMap<Arc<str>, Place>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    uid: Arc<str>,
    epoch: u64,
    written: Option<Interval>,
    /// Oldest first.
    writes: Vec<Evidence>,
}

impl ConfigMaps {
    /// A ConfigMap is so; true if its data was written since we last heard of it.
    pub fn take(&mut self, now: &ConfigMap, at: Evidence, backfill: bool, epoch: u64) -> bool {
        let place = (now.namespace.clone(), now.name.clone());
        if self.known.len() >= CONFIG_MAPS_MAX && !self.known.contains_key(&place) {
            return false;
        }
        self.places.insert(now.uid.clone(), place.clone());
        let known = self.known.entry(place).or_insert_with(|| Known {
            uid: "".into(),
            epoch,
            written: None,
            writes: Vec::new(),
        });
        let same = known.uid == now.uid;
        // Without the server's own word only a watched change is certain to be one.
        let repeated =
            same && now.written == known.written && (now.written.is_some() || at.basis != Basis::Watch);
        (known.uid, known.epoch, known.written) = (now.uid.clone(), epoch, now.written);
        // What was there at the first look was written when it says so, or nobody knows when.
        if repeated || (backfill && now.written.is_none()) {
            return false;
        }
        let own = now.written.map(|interval| Evidence { interval, basis: Basis::ManagedFields });
        known.writes.push(own.map_or(at, |own| merge(own, at).0));
        if known.writes.len() > WRITES_MAX {
            known.writes.remove(0);
        }
        true
    }

    /// It was deleted. A namesake made later is a write.
    pub fn gone(&mut self, uid: &str) {
        if let Some(place) = self.places.remove(uid)
            && self.known.get(&place).is_some_and(|known| *known.uid == *uid)
        {
            self.known.remove(&place);
        }
    }

    /// A complete look of a new epoch is over: what it did not name is gone.
    pub fn sweep(&mut self, epoch: u64) {
        self.known.retain(|_, known| known.epoch >= epoch);
        self.places.retain(|uid, place| self.known.get(place).is_some_and(|known| known.uid == *uid));
    }

    /// The first write that does not end before a moment began, and does not begin after another one ended.
    pub fn written(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        after: Interval,
        before: Option<Interval>,
    ) -> Option<Evidence> {
        let known = self.known.get(&(namespace.clone(), name.clone()))?;
        let fits = |write: &&Evidence| {
            write.interval.not_after >= after.not_before
                && before.is_none_or(|before| write.interval.not_before <= before.not_after)
        };
        known.writes.iter().find(fits).copied()
    }
}
