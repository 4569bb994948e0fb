//! The demo's Kubernetes: an API server over plain HTTP and as much of the controllers, scheduler and kubelet
//! as a rollout needs. It knows images and the registry's HTTP API, nothing of git. `store` keeps the objects;
//! `api`, `list`, `watch`, `write` and `form` speak the protocol; `deployments` (with `rollout`), `replicasets`,
//! `statefulsets`, `daemonsets`, `node` and `pod` are the machinery behind it. Jobs and CronJobs are kept and
//! shown, and nothing runs them. A new kind gets a line in `kinds` and, if it moves, a controller with a `pass`
//! in [`Cluster::run_controllers`].

mod api;
mod columns;
mod conditions;
mod daemonsets;
mod defaults;
mod deployments;
mod discovery;
mod events;
mod fields;
mod form;
mod kinds;
mod list;
mod node;
mod patch;
mod pod;
pub(super) mod pull;
mod refusal;
mod replicasets;
mod revisions;
mod rollout;
mod selector;
mod statefulsets;
mod store;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};

use super::engine::Engine;
use super::fault::{Fault, Faults};
use super::random::Random;
use super::truth::Truth;
use daemonsets::DaemonSets;
use deployments::Deployments;
use events::Recorder;
use fields::Writer;
use kinds::Kind;
use node::Node;
pub(super) use node::Pace;
use replicasets::ReplicaSets;
use statefulsets::StatefulSets;
use store::Store;

/// The name of the cluster and of its context in the kubeconfig.
pub(super) const CLUSTER: &str = "lab";
/// The only node.
const NODE: &str = "lab1";
/// The controllers look this often although nothing changed, for deadlines and retries.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Cluster {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
    node: Arc<Node>,
    faults: Faults,
    truth: Truth,
}

impl Cluster {
    /// A cluster with its namespaces and its node, in which nothing runs yet.
    pub(super) fn new(
        namespaces: &[&str],
        client: reqwest::Client,
        pace: Pace,
        random: Random,
        faults: Faults,
        truth: Truth,
    ) -> Self {
        let store = Arc::new(Store::new(truth.clone()));
        let recorder = Arc::new(Recorder::new(store.clone()));
        furnish(&store, namespaces);
        let node =
            Node::new(store.clone(), recorder.clone(), faults.clone(), truth.clone(), client, pace, random);
        Self { store, recorder, node: Arc::new(node), faults, truth }
    }

    pub(super) fn router(&self, engine: Engine) -> Router {
        api::router(self.store.clone(), self.faults.clone(), engine)
    }

    /// Pulling and starting take their time from now on.
    pub(super) fn slow_down(&self) {
        self.node.slow_down();
    }

    pub(super) fn run_node(&self) -> impl Future<Output = ()> + Send + 'static {
        self.node.clone().run()
    }

    /// Every controller, one pass after the other, whenever something changed.
    pub(super) fn run_controllers(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut versions = self.store.versions();
        let mut deployments = Deployments::new(self.store.clone(), self.recorder.clone(), self.truth.clone());
        let mut replica_sets =
            ReplicaSets::new(self.store.clone(), self.recorder.clone(), self.faults.clone());
        let mut stateful_sets =
            StatefulSets::new(self.store.clone(), self.recorder.clone(), self.truth.clone());
        let mut daemon_sets = DaemonSets::new(self.store.clone(), self.recorder.clone(), self.truth.clone());
        let faults = self.faults.clone();
        async move {
            loop {
                versions.borrow_and_update();
                if !faults.on(Fault::ControllersDown) {
                    deployments.pass();
                    replica_sets.pass();
                    stateful_sets.pass();
                    daemon_sets.pass();
                }
                tokio::select! {
                    _ = versions.changed() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
    }
}

/// Who owns what is deployed, and how much hangs on it in each namespace.
const TEAM: &str = "shop";
const TIERS: [(&str, &str); 2] = [("staging", "bronze"), ("prod", "gold")];

fn furnish(store: &Store, namespaces: &[&str]) {
    let create = |kind: Kind, object: Value, manager: &str| {
        if let Err(refusal) = store.create(kind, object, Writer::main(manager), None) {
            tracing::warn!(message = refusal.message, "the demo cluster lacks a part");
        }
    };
    for name in ["kube-system", "kube-node-lease", "default"].iter().chain(namespaces) {
        let mut labels = json!({"kubernetes.io/metadata.name": name});
        if let Some((_, tier)) = TIERS.iter().find(|(of, _)| of == name) {
            labels["team"] = json!(TEAM);
            labels["tier"] = json!(tier);
        }
        let object = json!({"metadata": {"name": name, "labels": labels}});
        create(Kind::Namespace, object, "kube-apiserver");
    }
    let node = json!({
        "metadata": {"name": NODE, "labels": {
            "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "spec": {"podCIDR": "10.244.0.0/16"},
        "status": {
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "250"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status"}],
            "nodeInfo": {"kubeletVersion": discovery::VERSION, "containerRuntimeVersion": "containerd://2.3.4",
                "operatingSystem": "linux", "architecture": "amd64"},
        },
    });
    create(Kind::Node, node, "kubelet");
    let lease = json!({"metadata": {"name": NODE, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40}});
    create(Kind::Lease, lease, "kubelet");
}
