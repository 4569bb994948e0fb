//! Maps that are looked up for every fact. Nothing may depend on their order; where an order is seen, they are sorted
//! first, and in a checkpoint they are written sorted.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// See the file's front line.
pub type Map<K, V> = HashMap<K, V, RandomState>;

/// The same without values.
pub type Set<T> = HashSet<T, RandomState>;

/// Writes a map as a sorted one would be.
pub fn sorted<K, V, H, S>(map: &HashMap<K, V, H>, to: S) -> Result<S::Ok, S::Error>
where
    K: Serialize + Ord,
    V: Serialize,
    H: BuildHasher,
    S: Serializer,
{
    let mut entries: Vec<(&K, &V)> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    let mut map = to.serialize_map(Some(entries.len()))?;
    for (key, value) in entries {
        map.serialize_entry(key, value)?;
    }
    map.end()
}
