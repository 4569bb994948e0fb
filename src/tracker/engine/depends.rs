//! Whom an applier waits for that must be ready first.

use std::collections::BTreeSet;

use super::verdict::{is_waiting, one_line, says_ready, who};
use super::{EngineState, Engines};
use crate::observation::{EngineKey, ObjectKey};
use crate::tracker::journey::Who;

/// Dependencies of dependencies that are followed. Real ones are a few deep; a longer chain, or one in a circle, is
/// named by where it was left.
const DEPTH_MAX: usize = 16;

/// What it says is of an older generation: whoever waits for it goes on waiting.
fn is_behind(state: &EngineState) -> bool {
    state.now.observed_generation < state.now.generation
}

impl Engines {
    /// What keeps a dependent waiting: the last one of its dependencies' dependencies that does not wait itself.
    pub(super) fn dependency(&self, dependent: &EngineState) -> Option<(Option<&EngineState>, Who)> {
        let mut seen: BTreeSet<&EngineKey> = BTreeSet::new();
        let mut found = None;
        let mut waits = dependent;
        for _ in 0..DEPTH_MAX {
            seen.insert(&waits.now.key);
            let Some(needed) = self.needed_by(waits) else { break };
            let Some(state) = self.get(&needed) else {
                let missing = Who {
                    object: one_line(&needed.to_string()).as_str().into(),
                    says: "it does not exist".into(),
                    commits: Vec::new(),
                };
                return Some((None, missing));
            };
            found = Some(state);
            if !says_waiting(state) || seen.contains(&state.now.key) {
                break;
            }
            waits = state;
        }
        let state = found?;
        let failing = state.failing.as_ref().map(|(says, _)| &says.message);
        let says = match (failing, &state.now.ready) {
            (Some(words), _) => words,
            (None, _) if state.now.suspended => "it is suspended",
            (None, _) if is_behind(state) => "its controller has not read its last change",
            (None, Some(ready)) => &*ready.message,
            (None, None) => "it does not say that it is ready",
        };
        Some((Some(state), who(state, says)))
    }

    /// The dependency that it names, else the first that is not ready, else the first.
    fn needed_by(&self, dependent: &EngineState) -> Option<EngineKey> {
        let kind = dependent.now.key.kind;
        let needed = dependent.applier()?.depends_on.iter();
        let needed: Vec<EngineKey> = needed
            .map(|(namespace, name)| EngineKey { kind, namespace: namespace.clone(), name: name.clone() })
            .collect();
        let says = dependent.failing.as_ref().map(|(says, _)| says).or(dependent.now.ready.as_ref());
        let named = |key: &&EngineKey| {
            let quoted = format!("'{}/{}'", key.namespace, key.name);
            says.is_some_and(|says| says.message.contains(&quoted))
        };
        let unready = |key: &&EngineKey| !self.get(key).is_some_and(is_ready);
        needed.iter().find(named).or_else(|| needed.iter().find(unready)).or(needed.first()).cloned()
    }

    /// Workloads whose appliers wait for this one now, directly or not.
    pub(super) fn waiting_for(&self, key: &EngineKey) -> BTreeSet<ObjectKey> {
        let mut workloads = BTreeSet::new();
        let mut reached: BTreeSet<&EngineKey> = BTreeSet::new();
        let mut next = vec![key];
        for _ in 0..DEPTH_MAX {
            let depends = |state: &&EngineState| {
                let needed = state.applier().into_iter().flat_map(|role| &role.depends_on);
                let is_next = |(namespace, name): &(_, _)| {
                    next.iter().any(|key| (&key.namespace, &key.name) == (namespace, name))
                };
                state.now.key.kind == key.kind && needed.into_iter().any(is_next)
            };
            let dependents: Vec<&EngineKey> = self
                .waiting
                .iter()
                .filter_map(|key| self.get(key))
                .filter(depends)
                .map(|state| &state.now.key)
                .filter(|key| reached.insert(key))
                .collect();
            if dependents.is_empty() {
                break;
            }
            workloads.extend(dependents.iter().flat_map(|key| self.brings(key)));
            next = dependents;
        }
        workloads
    }
}

/// Whoever waits for it has no reason to any more.
pub(super) fn is_ready(state: &EngineState) -> bool {
    says_ready(&state.now) && !is_behind(state)
}

/// It fails with nothing but that another one is not ready.
pub(super) fn says_waiting(state: &EngineState) -> bool {
    state.failing.as_ref().is_some_and(|(says, _)| is_waiting(says))
}
