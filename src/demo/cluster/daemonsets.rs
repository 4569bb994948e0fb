//! The DaemonSet controller: one pod on the one node, replaced by taking the old one away first.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value, json};

use super::conditions::set_count;
use super::events::{Recorder, Source};
use super::fields::Writer;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::replicasets::{is_ready, is_staying, pod_of};
use super::revisions::{self, REVISION_HASH};
use super::store::{Store, text};
use crate::demo::truth::Truth;

pub(super) struct DaemonSets {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    truth: Truth,
    /// Per DaemonSet the last revision that was complete, so that each is told once.
    told_live: HashMap<String, String>,
}

impl DaemonSets {
    pub(super) fn new(store: Arc<Store>, recorder: Arc<Recorder>, truth: Truth) -> Self {
        Self { store, recorder, truth, told_live: HashMap::new() }
    }

    pub(super) fn pass(&mut self) {
        let (_, sets) = self.store.list(Kind::DaemonSet, None);
        self.told_live.retain(|uid, _| sets.iter().any(|set| set["metadata"]["uid"] == uid.as_str()));
        for set in sets {
            if let Err(refusal) = self.step(&set) {
                tracing::debug!(message = refusal.message, "a daemon set's step is put off");
            }
        }
    }

    fn step(&mut self, set: &Value) -> Result<(), Refusal> {
        let revision = revisions::newest(&self.store, set)?;
        let hash = text(&revision["metadata"]["labels"], REVISION_HASH);
        let pods = self.store.owned(Kind::Pod, set);
        let staying: Vec<&Arc<Value>> = pods.iter().filter(|pod| is_staying(pod)).collect();
        let rolls = set["spec"]["updateStrategy"]["type"] == "RollingUpdate";
        let newest = |pod: &Value| pod["metadata"]["labels"][REVISION_HASH] == hash.as_str();
        if pods.is_empty() {
            self.make(set, &hash)?;
        } else if let Some(old) = staying.iter().find(|pod| rolls && !newest(pod)) {
            let metadata = &old["metadata"];
            let name = text(metadata, "name");
            self.store.delete(Kind::Pod, &text(metadata, "namespace"), &name, None)?;
            let message = format!("Deleted pod: {name}");
            self.recorder.normal(Source::DaemonSetController, set, "SuccessfulDelete", message);
        }
        let updated = staying.iter().filter(|pod| newest(pod)).count() as u64;
        let ready = staying.iter().filter(|pod| is_ready(pod)).count() as u64;
        let at = Utc::now();
        self.write_status(set, staying.len() as u64, updated, ready)?;
        let uid = text(&set["metadata"], "uid");
        if updated == 1 && ready == 1 && self.told_live.get(&uid) != Some(&hash) {
            revisions::tell_live(&self.truth, &self.store, set, at);
            self.told_live.insert(uid, hash);
        }
        Ok(())
    }

    fn make(&self, set: &Value, hash: &str) -> Result<(), Refusal> {
        let mut pod = pod_of(set, &set["spec"]["template"]);
        pod["metadata"]["generateName"] = Value::from(format!("{}-", text(&set["metadata"], "name")));
        pod["metadata"]["labels"][REVISION_HASH] = Value::from(hash);
        let writer = Writer::main(Source::DaemonSetController.manager());
        let made = self.store.create(Kind::Pod, pod, writer, None)?;
        let message = format!("Created pod: {}", text(&made["metadata"], "name"));
        self.recorder.normal(Source::DaemonSetController, set, "SuccessfulCreate", message);
        Ok(())
    }

    fn write_status(&self, set: &Value, scheduled: u64, updated: u64, ready: u64) -> Result<(), Refusal> {
        let metadata = &set["metadata"];
        let writer = Writer::status(Source::DaemonSetController.manager());
        let name = text(metadata, "name");
        self.store.update(Kind::DaemonSet, &text(metadata, "namespace"), &name, writer, |object| {
            let status = &mut object["status"];
            status["observedGeneration"] = metadata["generation"].clone();
            status["desiredNumberScheduled"] = json!(1);
            status["currentNumberScheduled"] = json!(scheduled);
            status["numberMisscheduled"] = json!(0);
            status["numberReady"] = json!(ready);
            set_count(status, "updatedNumberScheduled", updated);
            set_count(status, "numberAvailable", ready);
            set_count(status, "numberUnavailable", 1_u64.saturating_sub(ready));
            Ok(())
        })?;
        Ok(())
    }
}
