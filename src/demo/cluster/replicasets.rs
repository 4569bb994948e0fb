//! The ReplicaSet controller and the garbage collector: as many pods as wanted, and none without an owner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::conditions::{self, count, set_count};
use super::deployments::owner_reference;
use super::events::{Recorder, Said, Source};
use super::fields::Writer;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::store::{Store, controller_of, seconds, text};
use crate::demo::fault::{Fault, Faults};
use crate::demo::random::Random;

/// A pod that could not be created is tried again after this, doubling up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(8);

pub(super) struct ReplicaSets {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    faults: Faults,
    random: Random,
    refused: HashMap<String, (Instant, Duration)>,
}

impl ReplicaSets {
    pub(super) fn new(store: Arc<Store>, recorder: Arc<Recorder>, faults: Faults) -> Self {
        Self { store, recorder, faults, random: Random::fresh(), refused: HashMap::new() }
    }

    pub(super) fn pass(&mut self) {
        let (_, sets) = self.store.list(Kind::ReplicaSet, None);
        let (_, pods) = self.store.list(Kind::Pod, None);
        let mut by_owner: HashMap<&str, Vec<&Arc<Value>>> = HashMap::new();
        for pod in &pods {
            if let Some(owner) = controller_of(pod) {
                by_owner.entry(owner).or_default().push(pod);
            }
        }
        for set in &sets {
            let owned =
                set["metadata"]["uid"].as_str().and_then(|uid| by_owner.remove(uid)).unwrap_or_default();
            if let Err(refusal) = self.step(set, &owned) {
                tracing::debug!(message = refusal.message, "a replica set's step is put off");
            }
        }
        self.refused.retain(|uid, _| sets.iter().any(|set| set["metadata"]["uid"] == uid.as_str()));
        self.collect_garbage();
    }

    fn step(&mut self, set: &Arc<Value>, owned: &[&Arc<Value>]) -> Result<(), Refusal> {
        let staying: Vec<&Value> = owned.iter().map(|pod| &***pod).filter(|pod| is_staying(pod)).collect();
        let wanted = count(&set["spec"]["replicas"]) as usize;
        let mut failure = conditions::get(&set["status"], "ReplicaFailure").clone();
        if staying.len() < wanted {
            if let Some(outcome) = self.create_pods(set, wanted - staying.len(), pods_in(&self.store, set)) {
                failure = outcome;
            }
        } else {
            failure = Value::Null;
            self.refused.remove(&text(&set["metadata"], "uid"));
            self.delete_pods(set, &staying, staying.len() - wanted)?;
        }
        let terminating = owned.iter().filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null()).count();
        self.write_status(set, &staying, terminating as u64, &failure)
    }

    /// Creates pods; returns the new failure condition (null when it went well), or nothing while it waits.
    fn create_pods(&mut self, set: &Value, missing: usize, in_namespace: usize) -> Option<Value> {
        let uid = text(&set["metadata"], "uid");
        let now = Instant::now();
        if self.refused.get(&uid).is_some_and(|(next, _)| now < *next) {
            return None;
        }
        for _ in 0..missing {
            let pod = new_pod(set, &mut self.random);
            let name = text(&pod["metadata"], "name");
            let outcome = if self.faults.on(Fault::Quota) {
                Err(format!(
                    "pods {name:?} is forbidden: exceeded quota: compute, requested: pods=1, \
                     used: pods={in_namespace}, limited: pods={in_namespace}"
                ))
            } else {
                self.store
                    .create(Kind::Pod, pod, Writer::main(Source::ReplicaSetController.manager()), None)
                    .map_err(|refusal| refusal.message)
            };
            match outcome {
                Ok(_) => {
                    let message = format!("Created pod: {name}");
                    self.recorder.normal(Source::ReplicaSetController, set, "SuccessfulCreate", message);
                }
                Err(message) => {
                    let pause = self.refused.get(&uid).map_or(RETRY_FIRST, |(_, last)| *last * 2);
                    let pause = pause.min(RETRY_LONGEST);
                    self.refused.insert(uid, (now + pause, pause));
                    let said = Said {
                        warning: true,
                        reason: "FailedCreate",
                        message: format!("Error creating: {message}"),
                        container: None,
                    };
                    self.recorder.say(Source::ReplicaSetController, set, said);
                    return Some(json!({"reason": "FailedCreate", "message": message}));
                }
            }
        }
        self.refused.remove(&uid);
        Some(Value::Null)
    }

    /// Takes away pods that are not ready first, then the youngest.
    fn delete_pods(&self, set: &Value, staying: &[&Value], surplus: usize) -> Result<(), Refusal> {
        let mut going = staying.to_vec();
        going.sort_by_key(|pod| {
            (is_ready(pod), std::cmp::Reverse(text(&pod["metadata"], "creationTimestamp")))
        });
        for pod in going.into_iter().take(surplus) {
            let metadata = &pod["metadata"];
            let name = text(metadata, "name");
            self.store.delete(Kind::Pod, &text(metadata, "namespace"), &name, None)?;
            let message = format!("Deleted pod: {name}");
            self.recorder.normal(Source::ReplicaSetController, set, "SuccessfulDelete", message);
        }
        Ok(())
    }

    fn write_status(
        &self,
        set: &Value,
        staying: &[&Value],
        terminating: u64,
        failure: &Value,
    ) -> Result<(), Refusal> {
        let ready: Vec<&&Value> = staying.iter().filter(|pod| is_ready(pod)).collect();
        let least = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let available = ready.iter().filter(|pod| ready_for(pod) >= least).count();
        let metadata = &set["metadata"];
        let writer = Writer::status(Source::ReplicaSetController.manager());
        self.store.update(
            Kind::ReplicaSet,
            &text(metadata, "namespace"),
            &text(metadata, "name"),
            writer,
            |object| {
                let observed = metadata["generation"].clone();
                let status = &mut object["status"];
                // The count of pods is the one that stays when it is zero.
                status["replicas"] = json!(staying.len());
                set_count(status, "fullyLabeledReplicas", staying.len() as u64);
                set_count(status, "readyReplicas", ready.len() as u64);
                set_count(status, "availableReplicas", available as u64);
                status["terminatingReplicas"] = json!(terminating);
                status["observedGeneration"] = observed;
                if failure.is_null() {
                    conditions::remove(status, "ReplicaFailure");
                } else {
                    let (reason, message) = (text(failure, "reason"), text(failure, "message"));
                    let now = seconds(Utc::now());
                    conditions::set(status, "ReplicaFailure", "True", &reason, &message, &now);
                }
                if status["conditions"].as_array().is_some_and(Vec::is_empty)
                    && let Some(fields) = status.as_object_mut()
                {
                    fields.remove("conditions");
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    /// Removes what an owner that is gone left behind.
    fn collect_garbage(&self) {
        let owners = [
            Kind::Deployment,
            Kind::ReplicaSet,
            Kind::StatefulSet,
            Kind::DaemonSet,
            Kind::Job,
            Kind::CronJob,
        ];
        let listed: Vec<_> = owners.iter().map(|kind| (*kind, self.store.list(*kind, None).1)).collect();
        let alive: HashSet<&str> = listed
            .iter()
            .flat_map(|(_, objects)| objects.iter().filter_map(|object| object["metadata"]["uid"].as_str()))
            .collect();
        let pods = (Kind::Pod, self.store.list(Kind::Pod, None).1);
        let revisions = (Kind::ControllerRevision, self.store.list(Kind::ControllerRevision, None).1);
        for (kind, objects) in listed.iter().chain([&pods, &revisions]) {
            for object in objects {
                let metadata = &object["metadata"];
                let orphaned = controller_of(object).is_some_and(|owner| !alive.contains(owner));
                if orphaned && metadata["deletionTimestamp"].is_null() {
                    // It may be gone already; then there is nothing left to collect.
                    let _ =
                        self.store.delete(*kind, &text(metadata, "namespace"), &text(metadata, "name"), None);
                }
            }
        }
    }
}

/// Whether a pod counts for its owner: not going away and not finished.
pub(super) fn is_staying(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

pub(super) fn is_ready(pod: &Value) -> bool {
    conditions::get(&pod["status"], "Ready")["status"] == "True"
}

/// A pod of a workload's template, without a name.
pub(super) fn pod_of(owner: &Value, template: &Value) -> Value {
    let mut spec = template["spec"].clone();
    spec["serviceAccountName"] = Value::from("default");
    spec["enableServiceLinks"] = json!(true);
    let mut pod = json!({
        "metadata": {
            "namespace": owner["metadata"]["namespace"], "labels": template["metadata"]["labels"],
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    });
    if let Some(annotations) = template["metadata"].get("annotations") {
        pod["metadata"]["annotations"] = annotations.clone();
    }
    pod
}

fn new_pod(set: &Value, random: &mut Random) -> Value {
    let mut pod = pod_of(set, &set["spec"]["template"]);
    let prefix = format!("{}-", text(&set["metadata"], "name"));
    pod["metadata"]["name"] = Value::from(format!("{prefix}{}", random.name(5)));
    pod["metadata"]["generateName"] = Value::from(prefix);
    pod
}

fn pods_in(store: &Store, set: &Value) -> usize {
    store.list(Kind::Pod, set["metadata"]["namespace"].as_str()).1.len()
}

fn ready_for(pod: &Value) -> i64 {
    let since = conditions::get(&pod["status"], "Ready")["lastTransitionTime"].as_str();
    let since = since.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    since.map_or(0, |since| (Utc::now() - since.to_utc()).num_seconds())
}
