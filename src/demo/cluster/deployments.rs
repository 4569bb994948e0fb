//! The deployment controller: one ReplicaSet per template, rolled by surge and availability, with the
//! conditions and reasons of the real one. Each pass moves every Deployment one step; the store's changes
//! and the next pass do the rest.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::conditions::{self, count};
use super::events::{Recorder, Source};
use super::fields::Writer;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::rollout::{is_complete, max_surge, max_unavailable, replicas, status};
use super::store::{Store, text};
use crate::demo::truth::{Happened, Truth};
use crate::image::Digest;

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

const MAIN: Writer<'_> = Writer {
    manager: "kube-controller-manager",
    part: super::fields::Part::Main,
    operation: super::fields::Operation::Update,
    dry_run: false,
};

pub(super) struct Deployments {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    truth: Truth,
    /// Per Deployment the last ReplicaSet revision that was complete, so that each is told once.
    told_live: HashMap<String, String>,
}

/// A Deployment and its ReplicaSets in one pass.
pub(super) struct Rollout {
    pub(super) deployment: Arc<Value>,
    pub(super) new: Option<Arc<Value>>,
    pub(super) old: Vec<Arc<Value>>,
}

impl Deployments {
    pub(super) fn new(store: Arc<Store>, recorder: Arc<Recorder>, truth: Truth) -> Self {
        Self { store, recorder, truth, told_live: HashMap::new() }
    }

    /// One step for every Deployment. A refused write (somebody was faster) is tried again in the next pass.
    pub(super) fn pass(&mut self) {
        let (_, deployments) = self.store.list(Kind::Deployment, None);
        let alive = |uid: &String| deployments.iter().any(|one| one["metadata"]["uid"] == uid.as_str());
        self.told_live.retain(|uid, _| alive(uid));
        for deployment in deployments {
            if let Err(refusal) = self.step(deployment) {
                tracing::debug!(message = refusal.message, "a deployment's step is put off");
            }
        }
    }

    fn step(&mut self, deployment: Arc<Value>) -> Result<(), Refusal> {
        let sets = self.store.owned(Kind::ReplicaSet, &deployment);
        let (mut new, old): (Vec<_>, Vec<_>) = sets
            .into_iter()
            .partition(|set| same_template(&deployment["spec"]["template"], &set["spec"]["template"]));
        let mut rollout = Rollout { deployment, new: new.pop(), old };
        rollout.old.append(&mut new);
        let paused = rollout.deployment["spec"]["paused"] == true;
        let mut progress = None;
        if !paused {
            progress = self.find_new_set(&mut rollout)?;
        }
        if paused {
            self.scale_paused(&rollout)?;
        } else if rollout.deployment["spec"]["strategy"]["type"] == "Recreate" {
            self.recreate(&rollout)?;
        } else if !self.scale_new_up(&rollout)? {
            self.scale_old_down(&rollout)?;
        }
        self.forget_old_sets(&rollout)?;
        self.write_status(&rollout, paused, progress)?;
        Ok(())
    }

    /// Makes the ReplicaSet for the template, or gives an old one that has it the newest revision. Returns the
    /// condition to set for it.
    fn find_new_set(&self, rollout: &mut Rollout) -> Result<Option<(&'static str, String)>, Refusal> {
        let deployment = rollout.deployment.clone();
        let newest_old = rollout.old.iter().map(|set| revision(set)).max().unwrap_or(0);
        let wanted = replicas(&deployment);
        let annotated = |annotations: &mut Value| {
            annotations[DESIRED_REPLICAS] = Value::from(wanted.to_string());
            annotations[MAX_REPLICAS] = Value::from((wanted + max_surge(&deployment)).to_string());
        };
        if let Some(set) = rollout.new.clone() {
            let updated = self.change_set(&set, |set| {
                let before = revision(set);
                let annotations = &mut set["metadata"]["annotations"];
                annotated(annotations);
                if before <= newest_old {
                    let history = annotations[REVISION_HISTORY].as_str().unwrap_or_default();
                    let history =
                        if history.is_empty() { before.to_string() } else { format!("{history},{before}") };
                    annotations[REVISION_HISTORY] = Value::from(history);
                    annotations[REVISION] = Value::from((newest_old + 1).to_string());
                }
            })?;
            rollout.new = Some(updated);
            let unknown = conditions::get(&deployment["status"], "Progressing").is_null();
            let name = text(&set["metadata"], "name");
            return Ok(unknown.then(|| ("FoundNewReplicaSet", format!("Found new replica set {name:?}"))));
        }
        let mut set = new_set(&deployment);
        annotated(&mut set["metadata"]["annotations"]);
        set["metadata"]["annotations"][REVISION] = Value::from((newest_old + 1).to_string());
        let total: u64 = rollout.old.iter().map(|set| replicas(set)).sum();
        let room = (wanted + max_surge(&deployment)).saturating_sub(total);
        let recreate = deployment["spec"]["strategy"]["type"] == "Recreate";
        let first = if recreate && total > 0 { 0 } else { room.min(wanted) };
        set["spec"]["replicas"] = json!(first);
        let created = self.store.create(Kind::ReplicaSet, set, MAIN, None)?;
        let name = text(&created["metadata"], "name");
        if first > 0 {
            self.say(&deployment, format!("Scaled up replica set {name} from 0 to {first}"));
        }
        rollout.new = Some(created);
        Ok(Some(("NewReplicaSetCreated", format!("Created new replica set {name:?}"))))
    }

    fn scale_new_up(&self, rollout: &Rollout) -> Result<bool, Refusal> {
        let Some(new) = &rollout.new else { return Ok(false) };
        let wanted = replicas(&rollout.deployment);
        let has = replicas(new);
        if has > wanted {
            return self.scale(rollout, new, wanted);
        }
        let total = has + rollout.old.iter().map(|set| replicas(set)).sum::<u64>();
        let room = (wanted + max_surge(&rollout.deployment)).saturating_sub(total);
        self.scale(rollout, new, (has + room).min(wanted))
    }

    /// Takes away old pods as far as availability allows, those that are not available first.
    fn scale_old_down(&self, rollout: &Rollout) -> Result<(), Refusal> {
        let Some(new) = &rollout.new else { return Ok(()) };
        let least = replicas(&rollout.deployment).saturating_sub(max_unavailable(&rollout.deployment));
        let total = replicas(new) + rollout.old.iter().map(|set| replicas(set)).sum::<u64>();
        let new_unavailable = replicas(new).saturating_sub(count(&new["status"]["availableReplicas"]));
        let budget = total.saturating_sub(least + new_unavailable);
        for set in &rollout.old {
            let unavailable = replicas(set).saturating_sub(count(&set["status"]["availableReplicas"]));
            let going = unavailable.min(budget);
            if going > 0 {
                self.scale(rollout, set, replicas(set) - going)?;
                // What is available is counted anew in the next pass.
                return Ok(());
            }
        }
        let available: u64 =
            rollout.old.iter().chain([new]).map(|set| count(&set["status"]["availableReplicas"])).sum();
        let mut spare = available.saturating_sub(least);
        for set in &rollout.old {
            let going = replicas(set).min(spare);
            if going > 0 {
                spare -= going;
                self.scale(rollout, set, replicas(set) - going)?;
            }
        }
        Ok(())
    }

    fn recreate(&self, rollout: &Rollout) -> Result<(), Refusal> {
        for set in &rollout.old {
            self.scale(rollout, set, 0)?;
        }
        let running = |set: &Arc<Value>| {
            count(&set["status"]["replicas"]) + count(&set["status"]["terminatingReplicas"]) + replicas(set)
        };
        if let (Some(new), 0) = (&rollout.new, rollout.old.iter().map(running).sum::<u64>()) {
            self.scale(rollout, new, replicas(&rollout.deployment))?;
        }
        Ok(())
    }

    /// Paused means no new version; the number of pods is followed all the same, where only one version runs.
    fn scale_paused(&self, rollout: &Rollout) -> Result<(), Refusal> {
        let mut running = rollout.old.iter().chain(&rollout.new).filter(|set| replicas(set) > 0);
        if let (Some(only), None) = (running.next(), running.next()) {
            self.scale(rollout, only, replicas(&rollout.deployment))?;
        }
        Ok(())
    }

    fn scale(&self, rollout: &Rollout, set: &Value, to: u64) -> Result<bool, Refusal> {
        let from = replicas(set);
        if from == to {
            return Ok(false);
        }
        self.change_set(set, |set| set["spec"]["replicas"] = json!(to))?;
        let direction = if to > from { "up" } else { "down" };
        let name = text(&set["metadata"], "name");
        self.say(&rollout.deployment, format!("Scaled {direction} replica set {name} from {from} to {to}"));
        Ok(true)
    }

    fn change_set(&self, set: &Value, change: impl FnOnce(&mut Value)) -> Result<Arc<Value>, Refusal> {
        let metadata = &set["metadata"];
        self.store.update(
            Kind::ReplicaSet,
            &text(metadata, "namespace"),
            &text(metadata, "name"),
            MAIN,
            |set| {
                change(set);
                Ok(())
            },
        )
    }

    fn forget_old_sets(&self, rollout: &Rollout) -> Result<(), Refusal> {
        let limit = rollout.deployment["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10) as usize;
        let idle = |set: &&Arc<Value>| replicas(set) == 0 && count(&set["status"]["replicas"]) == 0;
        let mut idle: Vec<&Arc<Value>> = rollout.old.iter().filter(idle).collect();
        idle.sort_by_key(|set| revision(set));
        for set in idle.iter().take(idle.len().saturating_sub(limit)) {
            let metadata = &set["metadata"];
            self.store.delete(
                Kind::ReplicaSet,
                &text(metadata, "namespace"),
                &text(metadata, "name"),
                None,
            )?;
        }
        Ok(())
    }

    fn write_status(
        &mut self,
        rollout: &Rollout,
        paused: bool,
        progress: Option<(&'static str, String)>,
    ) -> Result<(), Refusal> {
        let deployment = &rollout.deployment;
        let (namespace, name) =
            (text(&deployment["metadata"], "namespace"), text(&deployment["metadata"], "name"));
        let now = Utc::now();
        let written = self.store.update(
            Kind::Deployment,
            &namespace,
            &name,
            Writer::status("kube-controller-manager"),
            |object| {
                if let Some(new) = &rollout.new {
                    let revision = new["metadata"]["annotations"][REVISION].clone();
                    if !paused && revision.is_string() {
                        object["metadata"]["annotations"][REVISION] = revision;
                    }
                }
                let observed = &deployment["metadata"]["generation"];
                object["status"] = status(object, rollout, observed, paused, progress, now);
                Ok(())
            },
        )?;
        if let (Some(new), true) = (&rollout.new, is_complete(&written)) {
            self.tell_live(&written, new, now);
        }
        Ok(())
    }

    /// Writes down, once per rollout, that everything runs what the template says.
    fn tell_live(&mut self, deployment: &Value, new: &Value, at: DateTime<Utc>) {
        let uid = text(&deployment["metadata"], "uid");
        let this = format!("{}/{}", text(&new["metadata"], "uid"), revision(new));
        if self.told_live.get(&uid) == Some(&this) || replicas(deployment) == 0 {
            return;
        }
        let (_, pods) = self.store.list(Kind::Pod, deployment["metadata"]["namespace"].as_str());
        let owned = |pod: &&Arc<Value>| super::store::controller_of(pod) == new["metadata"]["uid"].as_str();
        let staying = |pod: &&Arc<Value>| pod["metadata"]["deletionTimestamp"].is_null();
        let pod = pods.iter().filter(owned).find(staying);
        let statuses = pod.and_then(|pod| pod["status"]["containerStatuses"].as_array());
        for status in statuses.into_iter().flatten() {
            let digest =
                status["imageID"].as_str().and_then(|id| id.split_once('@')?.1.parse::<Digest>().ok());
            if let Some(digest) = digest {
                let live = Happened::Live {
                    namespace: text(&deployment["metadata"], "namespace"),
                    name: text(&deployment["metadata"], "name"),
                    image: text(status, "image"),
                    digest,
                };
                self.truth.record(at, live);
            }
        }
        self.told_live.insert(uid, this);
    }

    fn say(&self, deployment: &Value, message: String) {
        self.recorder.normal(Source::DeploymentController, deployment, "ScalingReplicaSet", message);
    }
}

fn new_set(deployment: &Value) -> Value {
    let metadata = &deployment["metadata"];
    let mut template = deployment["spec"]["template"].clone();
    let hash = template_hash(&template);
    template["metadata"]["labels"][POD_TEMPLATE_HASH] = Value::from(hash.clone());
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][POD_TEMPLATE_HASH] = Value::from(hash.clone());
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|key, _| key != LAST_APPLIED && !key.starts_with("deployment.kubernetes.io/"));
    let mut spec = json!({"selector": selector, "template": template});
    if let Some(seconds) = deployment["spec"].get("minReadySeconds") {
        spec["minReadySeconds"] = seconds.clone();
    }
    json!({
        "metadata": {
            "name": format!("{}-{hash}", text(metadata, "name")), "namespace": metadata["namespace"],
            "labels": template["metadata"]["labels"], "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": spec,
    })
}

/// The reference by which an object says who controls it.
pub(super) fn owner_reference(owner: &Value) -> Value {
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}

/// A short name for a template: equal templates, equal names.
pub(super) fn template_hash(template: &Value) -> String {
    // FNV-1a: any stable 32-bit hash does; the letters are those in which Kubernetes writes it.
    let hash = template
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

fn same_template(of_deployment: &Value, of_set: &Value) -> bool {
    let mut of_set = of_set.clone();
    if let Some(labels) = of_set["metadata"]["labels"].as_object_mut() {
        labels.remove(POD_TEMPLATE_HASH);
    }
    *of_deployment == of_set
}

fn revision(set: &Value) -> u64 {
    set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}
