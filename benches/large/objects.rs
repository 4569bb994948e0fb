//! The objects of a large cluster as bytes: what the API server of a real one sent, with the names filled in.

use std::fmt::Write as _;

/// Pods of one Deployment; all are of its newest ReplicaSet.
const PODS_PER_DEPLOYMENT: usize = 25;
/// ReplicaSets of one Deployment, of which all but the newest are scaled down in a real cluster.
const REPLICA_SETS_PER_DEPLOYMENT: usize = 5;
/// What the server says each list and bookmark is the state of.
pub const VERSION: &str = "900000";

/// How many objects there are of each kind.
#[derive(Clone, Copy)]
pub struct Size {
    pub pods: usize,
    pub replica_sets: usize,
    pub deployments: usize,
    /// Kustomizations of Flux, each with a GitRepository of its own.
    pub kustomizations: usize,
}

impl Size {
    /// A cluster with so many pods, in the shape of the largest that Kubernetes is tested with.
    pub fn of(pods: usize) -> Self {
        let deployments = (pods / PODS_PER_DEPLOYMENT).max(1);
        Self { pods, replica_sets: deployments * REPLICA_SETS_PER_DEPLOYMENT, deployments, kustomizations: 0 }
    }

    /// A cluster of which Flux alone has something.
    pub fn of_flux(kustomizations: usize) -> Self {
        Self { pods: 0, replica_sets: 0, deployments: 0, kustomizations }
    }

    pub fn objects(self) -> usize {
        self.pods + self.replica_sets + self.deployments + 2 * self.kustomizations
    }
}

/// One kind of object, cut at the places where its copies differ.
pub struct Template {
    pub kind: &'static str,
    pub api_version: &'static str,
    pieces: Vec<&'static str>,
}

impl Template {
    pub fn pod() -> Self {
        Self::new("Pod", "v1", include_str!("pod.json"))
    }

    pub fn replica_set() -> Self {
        Self::new("ReplicaSet", "apps/v1", include_str!("replicaset.json"))
    }

    pub fn deployment() -> Self {
        Self::new("Deployment", "apps/v1", include_str!("deployment.json"))
    }

    pub fn kustomization() -> Self {
        Self::new("Kustomization", "kustomize.toolkit.fluxcd.io/v1", include_str!("kustomization.json"))
    }

    pub fn git_repository() -> Self {
        Self::new("GitRepository", "source.toolkit.fluxcd.io/v1", include_str!("gitrepository.json"))
    }

    fn new(kind: &'static str, api_version: &'static str, text: &'static str) -> Self {
        Self { kind, api_version, pieces: text.trim_end().split('~').collect() }
    }

    /// Adds copy number `n` without its first brace: an event names the kind there, an item of a list does not.
    pub fn write(&self, n: usize, restarts: &str, to: &mut String) {
        let (deployment, revision) = match self.kind {
            "Pod" => (n / PODS_PER_DEPLOYMENT, REPLICA_SETS_PER_DEPLOYMENT - 1),
            "ReplicaSet" => (n / REPLICA_SETS_PER_DEPLOYMENT, n % REPLICA_SETS_PER_DEPLOYMENT),
            _ => (n, REPLICA_SETS_PER_DEPLOYMENT - 1),
        };
        let replica_set = deployment * REPLICA_SETS_PER_DEPLOYMENT + revision;
        let (first, pieces) = self.pieces.split_first().expect("a template has text");
        to.push_str(first.strip_prefix('{').expect("a template is an object"));
        for piece in pieces {
            let written = match *piece {
                "APP" => write!(to, "service-{deployment:05}"),
                "NAMESPACE" => write!(to, "team-{:03}", deployment / 20),
                "HASH" => write!(to, "{:08x}", scatter(replica_set) as u32),
                "SUFFIX" => write!(to, "{:05x}", scatter(n) & 0xf_ffff),
                "UID" => uid(self.kind, n, to),
                "OWNER" if self.kind == "Pod" => uid("ReplicaSet", replica_set, to),
                "OWNER" => uid("Deployment", deployment, to),
                "VERSION" => write!(to, "{}", version(n)),
                "TAG" => write!(to, "{}", revision + 1),
                "DIGEST" => (0..4).try_for_each(|word| write!(to, "{:016x}", scatter(replica_set + word))),
                "IP" => write!(to, "10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255),
                "SECOND" => write!(to, "{:02}", n % 60),
                "RESTARTS" => write!(to, "{restarts}"),
                text => to.write_str(text),
            };
            written.expect("a string grows");
        }
    }
}

/// The version of object number `n`.
pub fn version(n: usize) -> usize {
    100_000 + n
}

fn uid(kind: &str, n: usize, to: &mut String) -> std::fmt::Result {
    let mixed = scatter(n * 31 + kind.len());
    write!(to, "{:08x}-{:04x}-4000-8000-{n:012x}", mixed as u32, (mixed >> 32) as u16)
}

/// A number that looks random and depends on `n` alone (the finaliser of splitmix64).
fn scatter(n: usize) -> u64 {
    let mut mixed = (n as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
