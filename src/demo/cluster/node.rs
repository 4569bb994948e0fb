//! The cluster's one node: the scheduler that binds pods to it, and the kubelet's loop that starts, watches
//! over and ends them. What a single pod goes through is in `pod`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::conditions;
use super::events::{Recorder, Said, Source};
use super::fields::Writer;
use super::kinds::Kind;
use super::pull::Pulled;
use super::store::{Store, seconds, text};
use super::{NODE, pod};
use crate::demo::fault::{Fault, Faults};
use crate::demo::random::Random;
use crate::demo::truth::Truth;

/// How often the node looks although nothing changed: faults are switched without a trace in the store.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The real kubelet renews its lease every 10 seconds.
const LEASE_EVERY: Duration = Duration::from_secs(2);
/// What the real scheduler says; only the beginning depends on why.
const NO_HELP: &str = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not \
     helpful for scheduling.";

/// How long things take on the node.
#[derive(Debug, Clone, Copy)]
pub(in crate::demo) struct Pace {
    pub(in crate::demo) pull_delay: Duration,
    pub(in crate::demo) ready_delay: Duration,
}

pub(super) struct Node {
    pub(super) store: Arc<Store>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) faults: Faults,
    pub(super) truth: Truth,
    pub(super) client: reqwest::Client,
    pace: Pace,
    /// While the world is set up nothing takes time.
    hurries: AtomicBool,
    /// Images on the node, by the reference that pulled them.
    pub(super) images: Mutex<HashMap<String, Pulled>>,
    /// One pull at a time, as the kubelet does by default.
    pub(super) pulling: tokio::sync::Mutex<()>,
    random: Mutex<Random>,
}

/// A pod that the node knows.
struct Known {
    task: AbortHandle,
    ending: bool,
}

impl Node {
    pub(super) fn new(
        store: Arc<Store>,
        recorder: Arc<Recorder>,
        faults: Faults,
        truth: Truth,
        client: reqwest::Client,
        pace: Pace,
        random: Random,
    ) -> Self {
        Self {
            store,
            recorder,
            faults,
            truth,
            client,
            pace,
            hurries: AtomicBool::new(true),
            images: Mutex::default(),
            pulling: tokio::sync::Mutex::default(),
            random: Mutex::new(random),
        }
    }

    /// From now on everything takes its time.
    pub(super) fn slow_down(&self) {
        self.hurries.store(false, Ordering::SeqCst);
    }

    pub(super) async fn wait_for_pull(&self) {
        if self.faults.on(Fault::SlowPull) {
            tokio::time::sleep(pod::SLOW_PULL).await;
        }
        self.wait(self.pace.pull_delay).await;
    }

    pub(super) async fn wait_for_ready(&self) {
        self.wait(self.pace.ready_delay).await;
    }

    async fn wait(&self, around: Duration) {
        if !self.hurries.load(Ordering::SeqCst) {
            let pause = self.random.lock().unwrap_or_else(PoisonError::into_inner).around(around);
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn container_id(&self) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        format!("containerd://{}", (0..4).map(|_| format!("{:016x}", random.next())).collect::<String>())
    }

    /// Runs until it is dropped, and every pod with it.
    pub(super) async fn run(self: Arc<Self>) {
        let mut versions = self.store.versions();
        let mut known: HashMap<String, Known> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut next_lease = Instant::now();
        loop {
            versions.borrow_and_update();
            let (_, pods) = self.store.list(Kind::Pod, None);
            known.retain(|uid, one| {
                let there = pods.iter().any(|pod| pod["metadata"]["uid"] == uid.as_str());
                if !there {
                    one.task.abort();
                }
                there
            });
            for pod in pods {
                if pod["spec"]["nodeName"].is_null() {
                    self.schedule(&pod);
                    continue;
                }
                let uid = text(&pod["metadata"], "uid");
                let ends = !pod["metadata"]["deletionTimestamp"].is_null();
                match known.get(&uid) {
                    Some(one) if one.ending == ends => {}
                    Some(one) => {
                        one.task.abort();
                        let task = tasks.spawn(pod::end(self.clone(), pod));
                        known.insert(uid, Known { task, ending: true });
                    }
                    None => {
                        let task = if ends {
                            tasks.spawn(pod::end(self.clone(), pod))
                        } else {
                            tasks.spawn(pod::live(self.clone(), pod))
                        };
                        known.insert(uid, Known { task, ending: ends });
                    }
                }
            }
            if Instant::now() >= next_lease {
                next_lease = Instant::now() + LEASE_EVERY;
                self.renew_lease();
            }
            tokio::select! {
                _ = versions.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Binds a pod to the node, or says why not.
    fn schedule(&self, pod: &Value) {
        let metadata = &pod["metadata"];
        let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
        let now = seconds(Utc::now());
        if let Some(why) = self.why_not(pod) {
            let message = format!("0/1 nodes are available: {why}. {NO_HELP}");
            if conditions::get(&pod["status"], "PodScheduled")["message"] == message.as_str() {
                return;
            }
            let writer = Writer::status(Source::Scheduler.manager());
            let written = self.store.update(Kind::Pod, &namespace, &name, writer, |pod| {
                pod["status"]["conditions"] = json!([{
                    "type": "PodScheduled", "observedGeneration": 1, "status": "False", "lastProbeTime": null,
                    "lastTransitionTime": now, "reason": "Unschedulable", "message": message,
                }]);
                Ok(())
            });
            if written.is_ok() {
                let said = Said { warning: true, reason: "FailedScheduling", message, container: None };
                self.recorder.say(Source::Scheduler, pod, said);
            }
            return;
        }
        let bound = self.store.update(Kind::Pod, &namespace, &name, Writer::main("kube-scheduler"), |pod| {
            pod["spec"]["nodeName"] = Value::from(NODE);
            Ok(())
        });
        // A pod that was deleted meanwhile needs no node.
        if bound.is_err() {
            return;
        }
        let writer = Writer::status(Source::Scheduler.manager());
        let _ = self.store.update(Kind::Pod, &namespace, &name, writer, |pod| {
            pod["status"]["conditions"] = json!([{
                "type": "PodScheduled", "observedGeneration": 1, "status": "True", "lastProbeTime": null,
                "lastTransitionTime": now,
            }]);
            Ok(())
        });
        let message = format!("Successfully assigned {namespace}/{name} to {NODE}");
        self.recorder.normal(Source::Scheduler, pod, "Scheduled", message);
    }

    fn why_not(&self, pod: &Value) -> Option<&'static str> {
        if self.faults.on(Fault::Unschedulable) {
            return Some("1 Insufficient cpu");
        }
        let labels = self.store.get(Kind::Node, "", NODE).map(|node| node["metadata"]["labels"].clone());
        let labels = labels.unwrap_or_default();
        let mut wanted = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
        let fits = wanted.all(|(key, value)| labels[key] == *value);
        (!fits).then_some("1 node(s) didn't match Pod's node affinity/selector")
    }

    fn renew_lease(&self) {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        // The lease is there from the start; a client that deleted it gets none.
        let _ = self.store.update(Kind::Lease, "kube-node-lease", NODE, Writer::main("kubelet"), |lease| {
            lease["spec"]["renewTime"] = Value::from(now);
            Ok(())
        });
    }
}
