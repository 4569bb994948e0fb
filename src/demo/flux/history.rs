//! The history of a Kustomization: the last sets of manifests, by what was built and how it ended.

use std::time::Duration;

use serde_json::{Value, json};

use super::clock;

/// Entries kept, as in Flux.
const ENTRIES_MAX: usize = 5;

/// Notes a look: the same manifests with the same end count on, others begin a new entry in front.
pub(super) fn upsert(status: &mut Value, digest: &str, took: Duration, outcome: &str, revision: &str) {
    let mut entries = status["history"].as_array().cloned().unwrap_or_default();
    let same = |entry: &Value| entry["digest"] == digest && entry["lastReconciledStatus"] == outcome;
    let now = clock::now();
    let mut entry = match entries.iter().position(same) {
        Some(at) => entries.remove(at),
        None => json!({"digest": digest, "firstReconciled": now, "lastReconciledStatus": outcome}),
    };
    entry["lastReconciled"] = Value::from(now);
    entry["lastReconciledDuration"] = Value::from(clock::print(took));
    entry["totalReconciliations"] = json!(entry["totalReconciliations"].as_u64().unwrap_or(0) + 1);
    entry["metadata"] = json!({"revision": revision});
    entries.insert(0, entry);
    entries.truncate(ENTRIES_MAX);
    status["history"] = json!(entries);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_manifests_count_on_and_come_to_the_front() {
        let mut status = json!({});
        let mut note = |digest: &str| {
            upsert(&mut status, digest, Duration::from_millis(5), "ReconciliationSucceeded", "main@sha1:1");
            let entries = status["history"].as_array().unwrap();
            let shown =
                |one: &Value| format!("{}{}", one["digest"].as_str().unwrap(), one["totalReconciliations"]);
            entries.iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(note("a"), ["a1"]);
        assert_eq!(note("a"), ["a2"]);
        assert_eq!(note("b"), ["b1", "a2"]);
        assert_eq!(note("a"), ["a3", "b1"]);
        for digest in ["c", "d", "e", "f"] {
            note(digest);
        }
        assert_eq!(note("g"), ["g1", "f1", "e1", "d1", "c1"]);
    }
}
