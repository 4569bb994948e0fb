//! Which labels say to whom something belongs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels of namespaces and workloads. The first of a list that an object has counts; a workload's own goes before its
/// namespace's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ownership {
    /// Labels that name the team. Default: `knotmeter.dev/team`, `team`, `owner`.
    pub team: Vec<String>,
    /// Labels that say how much hangs on it. Default: `knotmeter.dev/tier`, `tier`.
    pub tier: Vec<String>,
}

impl Default for Ownership {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            team: words(&["knotmeter.dev/team", "team", "owner"]),
            tier: words(&["knotmeter.dev/tier", "tier"]),
        }
    }
}

impl Ownership {
    /// What is wrong with it: the key and a sentence.
    ///
    /// # Errors
    /// A text that no label can be called.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (key, labels) in [("team", &self.team), ("tier", &self.tier)] {
            for (at, label) in labels.iter().enumerate() {
                if !is_label(label) {
                    let message =
                        format!("{label:?} is no label: write it as in `prefix.example.com/name` or `name`");
                    return Err((format!("{key}[{at}]"), message));
                }
            }
        }
        Ok(())
    }
}

/// As Kubernetes has it: an optional DNS name, then up to 63 letters, digits, `-`, `_` and `.`.
fn is_label(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let ends_well = |text: &str| {
        let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        end(text.bytes().next()) && end(text.bytes().next_back())
    };
    let fits = |text: &str, max: usize, more: &[u8]| {
        text.len() <= max
            && ends_well(text)
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    fits(name, 63, b"-_.") && prefix.is_none_or(|prefix| fits(prefix, 253, b"-."))
}
