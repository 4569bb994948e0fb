//! The StatefulSet controller: pods with fixed names, made in order and replaced from the last to the
//! partition. No volumes.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value, json};

use super::conditions::{count, set_count};
use super::events::{Recorder, Source};
use super::fields::Writer;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::replicasets::{is_ready, pod_of};
use super::revisions::{self, REVISION_HASH};
use super::store::{Store, text};
use crate::demo::truth::Truth;

pub(super) struct StatefulSets {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    truth: Truth,
    /// Per StatefulSet the last revision that was complete, so that each is told once.
    told_live: HashMap<String, String>,
}

impl StatefulSets {
    pub(super) fn new(store: Arc<Store>, recorder: Arc<Recorder>, truth: Truth) -> Self {
        Self { store, recorder, truth, told_live: HashMap::new() }
    }

    pub(super) fn pass(&mut self) {
        let (_, sets) = self.store.list(Kind::StatefulSet, None);
        self.told_live.retain(|uid, _| sets.iter().any(|set| set["metadata"]["uid"] == uid.as_str()));
        for set in sets {
            if let Err(refusal) = self.step(&set) {
                tracing::debug!(message = refusal.message, "a stateful set's step is put off");
            }
        }
    }

    fn step(&mut self, set: &Value) -> Result<(), Refusal> {
        let newest = text(&revisions::newest(&self.store, set)?["metadata"], "name");
        let current = set["status"]["currentRevision"].as_str().unwrap_or(&newest).to_owned();
        let mut pods = self.store.owned(Kind::Pod, set);
        pods.sort_by_key(|pod| ordinal(pod));
        let (newest, current) = (newest.as_str(), current.as_str());
        if !self.make_next(set, &pods, newest, current)? {
            self.take_one(set, &pods, newest)?;
        }
        self.write_status(set, &pods, newest, current)
    }

    /// Makes the first pod that is missing; true while the set is still being filled.
    fn make_next(
        &self,
        set: &Value,
        pods: &[Arc<Value>],
        newest: &str,
        current: &str,
    ) -> Result<bool, Refusal> {
        let ordered = set["spec"]["podManagementPolicy"] != "Parallel";
        for at in 0..count(&set["spec"]["replicas"]) {
            match pods.iter().find(|pod| ordinal(pod) == Some(at)) {
                Some(pod) if ordered && !is_ready(pod) => {
                    // A pod of an old template that will never be ready may be replaced all the same.
                    return Ok(pod["metadata"]["labels"][REVISION_HASH] == newest || is_going(pod));
                }
                Some(_) => {}
                None => {
                    let revision = if at < partition(set) { current } else { newest };
                    self.make(set, at, revision)?;
                    if ordered {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn make(&self, set: &Value, at: u64, revision: &str) -> Result<(), Refusal> {
        let metadata = &set["metadata"];
        let kept = revisions::template(&self.store, &text(metadata, "namespace"), revision);
        let mut pod = pod_of(set, &kept.unwrap_or_else(|| set["spec"]["template"].clone()));
        let name = format!("{}-{at}", text(metadata, "name"));
        pod["metadata"]["name"] = Value::from(name.clone());
        pod["metadata"]["generateName"] = Value::from(format!("{}-", text(metadata, "name")));
        let labels = &mut pod["metadata"]["labels"];
        labels[REVISION_HASH] = Value::from(revision);
        labels["statefulset.kubernetes.io/pod-name"] = Value::from(name.clone());
        labels["apps.kubernetes.io/pod-index"] = Value::from(at.to_string());
        pod["spec"]["hostname"] = Value::from(name.clone());
        self.store.create(Kind::Pod, pod, Writer::main(Source::StatefulSetController.manager()), None)?;
        let message = format!("create Pod {name} in StatefulSet {} successful", text(metadata, "name"));
        self.recorder.normal(Source::StatefulSetController, set, "SuccessfulCreate", message);
        Ok(())
    }

    /// Takes away the last pod that is too many or has an old template, one at a time.
    fn take_one(&self, set: &Value, pods: &[Arc<Value>], newest: &str) -> Result<(), Refusal> {
        let wanted = count(&set["spec"]["replicas"]);
        if pods.iter().any(|pod| is_going(pod)) {
            return Ok(());
        }
        let rolls = set["spec"]["updateStrategy"]["type"] == "RollingUpdate";
        let outdated = |pod: &Value| {
            let old = pod["metadata"]["labels"][REVISION_HASH] != newest;
            ordinal(pod) >= Some(wanted) || rolls && old && ordinal(pod) >= Some(partition(set))
        };
        let Some(pod) = pods.iter().rev().find(|pod| outdated(pod)) else { return Ok(()) };
        let (metadata, set_name) = (&pod["metadata"], text(&set["metadata"], "name"));
        let name = text(metadata, "name");
        self.store.delete(Kind::Pod, &text(metadata, "namespace"), &name, None)?;
        let message = format!("delete Pod {name} in StatefulSet {set_name} successful");
        self.recorder.normal(Source::StatefulSetController, set, "SuccessfulDelete", message);
        Ok(())
    }

    fn write_status(
        &mut self,
        set: &Value,
        pods: &[Arc<Value>],
        newest: &str,
        current: &str,
    ) -> Result<(), Refusal> {
        let with = |revision: &str| {
            let of =
                |pod: &&Arc<Value>| pod["metadata"]["labels"][REVISION_HASH] == revision && !is_going(pod);
            pods.iter().filter(of).count() as u64
        };
        let (total, updated) = (pods.len() as u64, with(newest));
        let ready = pods.iter().filter(|pod| is_ready(pod) && !is_going(pod)).count() as u64;
        let wanted = count(&set["spec"]["replicas"]);
        let complete = total == wanted && updated == wanted && ready == wanted;
        let current = if complete { newest } else { current };
        let metadata = &set["metadata"];
        let writer = Writer::status(Source::StatefulSetController.manager());
        let name = text(metadata, "name");
        let at = Utc::now();
        self.store.update(Kind::StatefulSet, &text(metadata, "namespace"), &name, writer, |object| {
            let status = &mut object["status"];
            status["observedGeneration"] = metadata["generation"].clone();
            // These two are there even when they are zero.
            status["replicas"] = json!(total);
            status["availableReplicas"] = json!(ready);
            set_count(status, "readyReplicas", ready);
            set_count(status, "updatedReplicas", updated);
            set_count(status, "currentReplicas", with(current));
            status["currentRevision"] = Value::from(current);
            status["updateRevision"] = Value::from(newest);
            status["collisionCount"] = json!(0);
            Ok(())
        })?;
        let uid = text(metadata, "uid");
        if complete && wanted > 0 && self.told_live.get(&uid).is_none_or(|told| told != newest) {
            revisions::tell_live(&self.truth, &self.store, set, at);
            self.told_live.insert(uid, newest.to_owned());
        }
        Ok(())
    }
}

fn is_going(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

fn ordinal(pod: &Value) -> Option<u64> {
    pod["metadata"]["name"].as_str()?.rsplit_once('-')?.1.parse().ok()
}

fn partition(set: &Value) -> u64 {
    count(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"])
}
