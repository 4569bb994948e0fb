//! The life of one pod on the node: pulled, started, ready; or pulled again and again, restarted again and
//! again, never ready; and its end. Texts and shapes are the kubelet's.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::conditions;
use super::events::{Said, Source};
use super::fields::Writer;
use super::kinds::Kind;
use super::node::Node;
use super::pull::{Behaviour, Pulled, no_room, pull, unreachable};
use super::store::{seconds, text};
use crate::demo::fault::Fault;
use crate::demo::truth::Happened;
use crate::image::ImageRef;

/// What a slow pull takes longer.
pub(super) const SLOW_PULL: Duration = Duration::from_secs(20);
/// Pull and crash back-off begin here. The kubelet's defaults are 10 seconds; since 1.33 it may be set to one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest back-off that goes with a first one of one second.
const BACKOFF_LONGEST: Duration = Duration::from_secs(60);
/// How long a crashing container runs.
const CRASHES_AFTER: Duration = Duration::from_millis(150);
/// How long a container takes to stop, and how long a finite one runs.
const STOPS_AFTER: Duration = Duration::from_millis(150);
const FINISHES_AFTER: Duration = Duration::from_secs(1);
/// How long a container that is slow to start takes to become ready.
const SLOW_START: Duration = Duration::from_secs(15);
/// Period of the readiness probe that fails.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// The kubelet syncs a pod that waits about so often.
const CONFIG_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest piece of a pull error in a status.
const ERROR_CHARS_MAX: usize = 1000;

/// Everything from the pod's arrival on the node until it is ended from outside.
pub(super) async fn live(node: Arc<Node>, pod: Arc<Value>) {
    let pod = Pod::new(node, pod);
    pod.begin();
    let mut images = Vec::new();
    for container in pod.containers() {
        images.push(pod.pulled(&container).await);
    }
    for (container, image) in pod.containers().iter().zip(&images) {
        pod.configured(container).await;
        pod.start(container, image, 0);
    }
    if pod.spec()["restartPolicy"] != "Always" {
        pod.finish(&images).await;
    } else if let Some(at) = images.iter().position(|image| image.behaviour == Behaviour::Crashes) {
        pod.crash_again_and_again(at, &images[at]).await;
    } else if pod.fails_probes(&images) {
        pod.fail_probes(&images).await;
    } else {
        if images.iter().any(|image| image.behaviour == Behaviour::SlowToStart) {
            tokio::time::sleep(SLOW_START).await;
        }
        if pod.containers().iter().any(|container| !container["readinessProbe"].is_null()) {
            pod.node.wait_for_ready().await;
        }
        pod.become_ready(&images);
    }
}

/// Stops the containers and takes the pod off the API.
pub(super) async fn end(node: Arc<Node>, pod: Arc<Value>) {
    let pod = Pod::new(node, pod);
    for container in pod.containers() {
        let name = text(&container, "name");
        pod.say(false, "Killing", format!("Stopping container {name}"), &name);
    }
    tokio::time::sleep(STOPS_AFTER).await;
    pod.write(|status, now| {
        status["phase"] = Value::from("Succeeded");
        for one in status["containerStatuses"].as_array_mut().into_iter().flatten() {
            terminate(one, 0, now);
        }
        for type_ in ["Ready", "ContainersReady"] {
            condition(status, type_, false, Some("PodCompleted"), "", now);
        }
        condition(status, "PodReadyToStartContainers", false, None, "", now);
    });
    let metadata = &pod.object["metadata"];
    // Somebody may have removed it by force meanwhile.
    let _ = pod.node.store.delete(Kind::Pod, &text(metadata, "namespace"), &text(metadata, "name"), Some(0));
}

struct Pod {
    node: Arc<Node>,
    object: Arc<Value>,
}

impl Pod {
    fn new(node: Arc<Node>, object: Arc<Value>) -> Self {
        Self { node, object }
    }

    fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    fn containers(&self) -> Vec<Value> {
        self.spec()["containers"].as_array().cloned().unwrap_or_default()
    }

    /// Changes the status. A pod that is gone needs none; its task is about to be aborted.
    /// Returns the time that the change carries.
    fn write(&self, change: impl FnOnce(&mut Value, &str)) -> DateTime<Utc> {
        let metadata = &self.object["metadata"];
        let at = Utc::now();
        let now = seconds(at);
        let writer = Writer::status(Source::Kubelet.manager());
        let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
        let _ = self.node.store.update(Kind::Pod, &namespace, &name, writer, |pod| {
            let generation = pod["metadata"]["generation"].clone();
            let status = &mut pod["status"];
            status["observedGeneration"] = generation.clone();
            change(status, &now);
            for one in status["conditions"].as_array_mut().into_iter().flatten() {
                one["observedGeneration"] = generation.clone();
            }
            Ok(())
        });
        at
    }

    fn say(&self, warning: bool, reason: &str, message: String, container: &str) {
        let said = Said { warning, reason, message, container: Some(container) };
        self.node.recorder.say(Source::Kubelet, &self.object, said);
    }

    /// The node has seen the pod: everything waits.
    fn begin(&self) {
        let containers = self.containers();
        self.write(|status, now| {
            for type_ in ["PodReadyToStartContainers", "Initialized"] {
                condition(status, type_, type_ == "Initialized", None, "", now);
            }
            let names: Vec<String> = containers.iter().map(|one| text(one, "name")).collect();
            let message = format!("containers with unready status: [{}]", names.join(" "));
            for type_ in ["Ready", "ContainersReady"] {
                condition(status, type_, false, Some("ContainersNotReady"), &message, now);
            }
            status["hostIP"] = Value::from("127.0.0.1");
            status["hostIPs"] = json!([{"ip": "127.0.0.1"}]);
            status["startTime"] = Value::from(now);
            let waiting = |one: &Value| {
                json!({"name": one["name"], "state": {"waiting": {"reason": "ContainerCreating"}},
                    "lastState": {}, "ready": false, "restartCount": 0, "image": one["image"], "imageID": "",
                    "started": false})
            };
            status["containerStatuses"] = containers.iter().map(waiting).collect();
        });
        self.write(|status, now| condition(status, "PodReadyToStartContainers", true, None, "", now));
    }

    /// The container's image on the node, however long it takes.
    async fn pulled(&self, container: &Value) -> Pulled {
        let (name, image) = (text(container, "name"), text(container, "image"));
        let mut backoff = BACKOFF_FIRST;
        loop {
            if container["imagePullPolicy"] != "Always"
                && let Some(here) = self.on_node(&image)
            {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                self.say(false, "Pulled", message, &name);
                return here;
            }
            self.say(false, "Pulling", format!("Pulling image {image:?}"), &name);
            let asked = Instant::now();
            let outcome = {
                let _one_at_a_time = self.node.pulling.lock().await;
                let begun = Instant::now();
                if self.on_node(&image).is_none() {
                    self.node.wait_for_pull().await;
                }
                let pulled = if self.node.faults.on(Fault::PullRegistryDown) {
                    Err(unreachable(&image))
                } else if self.node.faults.on(Fault::DiskFull) {
                    Err(no_room(&image))
                } else {
                    pull(&self.node.client, &image).await
                };
                pulled.map(|pulled| (pulled, begun.elapsed()))
            };
            match outcome {
                Ok((pulled, took)) => {
                    let (took, waited) = (took.as_millis(), asked.elapsed().as_millis());
                    let message = format!(
                        "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {} bytes.",
                        go_duration(took),
                        go_duration(waited),
                        pulled.size
                    );
                    self.say(false, "Pulled", message, &name);
                    let mut images = self.node.images.lock().unwrap_or_else(PoisonError::into_inner);
                    images.insert(image, pulled.clone());
                    return pulled;
                }
                Err(error) => {
                    let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
                    self.say(true, "Failed", format!("Failed to pull image {image:?}: {error}"), &name);
                    self.say(true, "Failed", "Error: ErrImagePull".to_owned(), &name);
                    self.wait_in(&name, "ErrImagePull", &error);
                    tokio::time::sleep(BACKOFF_FIRST / 4).await;
                    self.say(false, "BackOff", format!("Back-off pulling image {image:?}"), &name);
                    self.say(true, "Failed", "Error: ImagePullBackOff".to_owned(), &name);
                    let message = format!("Back-off pulling image {image:?}: ErrImagePull: {error}");
                    self.wait_in(&name, "ImagePullBackOff", &message);
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_LONGEST);
                }
            }
        }
    }

    /// Waits until all ConfigMaps are there that the container's variables come from.
    async fn configured(&self, container: &Value) {
        let (name, namespace) = (text(container, "name"), text(&self.object["metadata"], "namespace"));
        loop {
            let sources = container["envFrom"].as_array().map_or(&[][..], Vec::as_slice);
            let named = sources.iter().filter_map(|source| source["configMapRef"]["name"].as_str());
            let mut missing =
                named.filter(|map| self.node.store.get(Kind::ConfigMap, &namespace, map).is_none());
            let Some(missing) = missing.next() else { return };
            let why = format!("configmap {missing:?} not found");
            self.say(true, "Failed", format!("Error: {why}"), &name);
            self.wait_in(&name, "CreateContainerConfigError", &why);
            tokio::time::sleep(CONFIG_LOOK_EVERY).await;
        }
    }

    fn on_node(&self, image: &str) -> Option<Pulled> {
        self.node.images.lock().unwrap_or_else(PoisonError::into_inner).get(image).cloned()
    }

    fn wait_in(&self, container: &str, reason: &str, message: &str) {
        self.write(|status, _| {
            let one = status_of(status, container);
            one["state"] = json!({"waiting": {"reason": reason, "message": message}});
        });
    }

    fn start(&self, container: &Value, image: &Pulled, restarts: u64) {
        let name = text(container, "name");
        self.say(false, "Created", "Container created".to_owned(), &name);
        self.say(false, "Started", "Container started".to_owned(), &name);
        let repository =
            text(container, "image").parse::<ImageRef>().map(|image| image.repository.to_string());
        let id = self.node.container_id();
        self.write(|status, now| {
            let ip = pod_ip(&text(&self.object["metadata"], "uid"));
            let one = status_of(status, &name);
            one["state"] = json!({"running": {"startedAt": now}});
            one["imageID"] = Value::from(format!("{}@{}", repository.unwrap_or_default(), image.digest));
            one["containerID"] = Value::from(id);
            one["restartCount"] = json!(restarts);
            one["started"] = json!(true);
            status["podIP"] = Value::from(ip.clone());
            status["podIPs"] = json!([{"ip": ip}]);
            let all = status["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
            if all.iter().all(|one| one["started"] == true) {
                status["phase"] = Value::from("Running");
            }
        });
    }

    fn become_ready(&self, images: &[Pulled]) {
        let at = self.write(|status, now| {
            for one in status["containerStatuses"].as_array_mut().into_iter().flatten() {
                one["ready"] = json!(true);
            }
            condition(status, "ContainersReady", true, None, "", now);
            match self.closed_gate() {
                Some(gate) => {
                    let why =
                        format!("corresponding condition of pod readiness gate {gate:?} does not exist.");
                    condition(status, "Ready", false, Some("ReadinessGatesNotReady"), &why, now);
                }
                None => condition(status, "Ready", true, None, "", now),
            }
        });
        if self.closed_gate().is_some() {
            return;
        }
        for (container, image) in self.containers().iter().zip(images) {
            let ready = Happened::PodReady {
                namespace: text(&self.object["metadata"], "namespace"),
                pod: text(&self.object["metadata"], "name"),
                image: text(container, "image"),
                digest: image.digest.clone(),
            };
            self.node.truth.record(at, ready);
        }
    }

    /// A readiness gate: nobody in the demo opens one.
    fn closed_gate(&self) -> Option<String> {
        self.spec()["readinessGates"][0]["conditionType"].as_str().map(str::to_owned)
    }

    async fn crash_again_and_again(&self, at: usize, image: &Pulled) {
        let container = &self.containers()[at];
        let name = text(container, "name");
        let metadata = &self.object["metadata"];
        let (namespace, pod, uid) =
            (text(metadata, "namespace"), text(metadata, "name"), text(metadata, "uid"));
        let place = format!("{pod}_{namespace}({uid})");
        let mut backoff = BACKOFF_FIRST;
        for restarts in 1.. {
            tokio::time::sleep(CRASHES_AFTER).await;
            self.write(|status, now| terminate(status_of(status, &name), 1, now));
            // The first restart comes at once, as the kubelet does it.
            if restarts > 1 {
                let message = format!("Back-off restarting failed container {name} in pod {place}");
                self.say(true, "BackOff", message, &name);
                self.write(|status, _| {
                    let one = status_of(status, &name);
                    one["lastState"] = one["state"].take();
                    let seconds = backoff.as_secs();
                    let message =
                        format!("back-off {seconds}s restarting failed container={name} pod={place}");
                    one["state"] = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
                });
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_LONGEST);
            } else {
                self.write(|status, _| {
                    let one = status_of(status, &name);
                    one["lastState"] = one["state"].clone();
                });
            }
            let text = format!(
                "Container image {:?} already present on machine and can be accessed by the pod",
                text(container, "image")
            );
            self.say(false, "Pulled", text, &name);
            self.start(container, image, restarts);
        }
    }

    fn fails_probes(&self, images: &[Pulled]) -> bool {
        self.containers().iter().zip(images).any(|(container, image)| answer(container, image) != 200)
    }

    async fn fail_probes(&self, images: &[Pulled]) {
        loop {
            for (container, image) in self.containers().iter().zip(images) {
                let answer = answer(container, image);
                if answer != 200 {
                    let message =
                        format!("Readiness probe failed: HTTP probe failed with statuscode: {answer}");
                    self.say(true, "Unhealthy", message, &text(container, "name"));
                }
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// A pod that is not restarted runs for a while and ends as its image behaves.
    async fn finish(&self, images: &[Pulled]) {
        tokio::time::sleep(FINISHES_AFTER).await;
        let failed = images.iter().any(|image| image.behaviour == Behaviour::Crashes);
        self.write(|status, now| {
            status["phase"] = Value::from(if failed { "Failed" } else { "Succeeded" });
            for one in status["containerStatuses"].as_array_mut().into_iter().flatten() {
                terminate(one, u64::from(failed), now);
            }
            for type_ in ["Ready", "ContainersReady"] {
                condition(
                    status,
                    type_,
                    false,
                    Some(if failed { "PodFailed" } else { "PodCompleted" }),
                    "",
                    now,
                );
            }
        });
    }
}

/// What the container answers to its readiness probe.
fn answer(container: &Value, image: &Pulled) -> u16 {
    let path = container["readinessProbe"]["httpGet"]["path"].as_str();
    match path {
        _ if image.behaviour == Behaviour::NeverReady => 503,
        None | Some("/ready") => 200,
        Some(_) => 404,
    }
}

fn terminate(one: &mut Value, exit_code: u64, now: &str) {
    let started = one["state"]["running"]["startedAt"].clone();
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    one["state"] = json!({"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": started,
        "finishedAt": now, "containerID": one["containerID"]}});
    one["ready"] = json!(false);
    one["started"] = json!(false);
}

fn status_of<'v>(status: &'v mut Value, container: &str) -> &'v mut Value {
    let all = status["containerStatuses"].as_array_mut();
    let one = all.and_then(|all| all.iter_mut().find(|one| one["name"] == container));
    one.expect("the node made a status for every container when it saw the pod")
}

/// Sets a pod's condition; the time moves only with the status.
fn condition(status: &mut Value, type_: &str, holds: bool, reason: Option<&str>, message: &str, now: &str) {
    let value = if holds { "True" } else { "False" };
    let current = conditions::get(status, type_);
    let since =
        if current["status"] == value { current["lastTransitionTime"].clone() } else { Value::from(now) };
    let mut made =
        json!({"type": type_, "status": value, "lastProbeTime": null, "lastTransitionTime": since});
    if let Some(reason) = reason {
        made["reason"] = Value::from(reason);
    }
    if !message.is_empty() {
        made["message"] = Value::from(message);
    }
    let Some(all) = status["conditions"].as_array_mut() else {
        status["conditions"] = json!([made]);
        return;
    };
    match all.iter_mut().find(|one| one["type"] == type_) {
        Some(one) => *one = made,
        None => all.push(made),
    }
}

/// An address per pod; nothing answers there.
fn pod_ip(uid: &str) -> String {
    let sum = uid.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
    format!("10.244.{}.{}", sum >> 8, sum & 0xff)
}

/// Milliseconds as Go prints a duration.
fn go_duration(milliseconds: u128) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{}s", milliseconds as f64 / 1000.0),
        _ => format!("{}m{}s", milliseconds / 60_000, (milliseconds % 60_000) as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        assert_eq!(go_duration(54), "54ms");
        assert_eq!(go_duration(1_234), "1.234s");
        assert_eq!(go_duration(62_500), "1m2.5s");
    }
}
