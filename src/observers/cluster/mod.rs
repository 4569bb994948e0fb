//! The cluster observer: what workloads, revisions, pods and jobs say, from watches of the Kubernetes API.
//!
//! `stream.rs` is the pure core: bytes and times in, facts out, the same for a live server and a recording.
//! `watch.rs` moves the bytes, `refusal.rs` decides what an error means, `object.rs` and its kinds decode.
//! Nothing is written to a cluster, no Secret and no content of a ConfigMap is read, and nothing here knows what a journey is. A new kind is a
//! row in `resource.rs` and a decoder beside `pods.rs`; a kind of an engine such as Flux gets a file of its own.

mod api;
mod check;
mod config_maps;
mod connect;
mod cursor;
mod envelope;
mod events;
mod flux;
mod jobs;
mod lines;
mod memory;
mod object;
mod owner;
mod pace;
mod pods;
mod pulse;
mod refusal;
mod refusals;
mod replay;
mod resource;
mod revisions;
mod served;
mod shape;
mod stream;
mod template;
mod template_hash;
mod uid;
mod watch;
mod words;
mod workloads;

pub use check::{Access, CheckReport, check, check_with, rbac};
pub use connect::{Error, connect};
pub use events::go_duration_seconds;
pub use lines::{LINE_BYTES_MAX, Line, Lines};
pub use pace::Pace;
pub use pods::running_digest;
pub use refusal::{Refusal, Step, Verdict};
pub use replay::Replay;
pub use resource::{LOOK_INTERVAL_SECONDS, Resource};
pub use stream::{DecodeError, Heard, Page, Place, Said, Stream};

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

use self::api::Api;
use self::pace::Backoff;
use self::watch::Watcher;
use crate::config::Cluster;
use crate::observation::{Basis, ClusterUid, Fact, Interval, Scope};
use crate::observers::{Reporter, now};

/// Watches a cluster until the task is aborted. One task per resource: none can slow or stop another.
pub async fn run(config: Cluster, client: kube::Client, reporter: Reporter) -> Infallible {
    run_at(Pace::default(), config, client, reporter).await
}

/// The same at another pace.
pub async fn run_at(pace: Pace, config: Cluster, client: kube::Client, reporter: Reporter) -> Infallible {
    let name: Arc<str> = config.name.as_str().into();
    let api = Api::new(client, name.clone(), Some(reporter.clone()));
    let uid = wait_for_identity(&api, &reporter, pace).await;
    let reporter = reporter.with_cluster(uid.clone());
    let named = Fact::ClusterNamed { name: name.clone() };
    reporter.fact(Interval::until(now()), Basis::Poll, named).await;
    let place = Place { uid, name };
    let streaming_lists = Arc::new(AtomicBool::new(true));
    let ownership = Arc::new(config.ownership.unwrap_or_default());
    let watcher = |resource| {
        let (api, reporter) = (api.clone(), reporter.clone());
        let stream = Stream::new(resource, place.clone()).with_ownership(ownership.clone());
        Watcher::new(api, resource, stream, reporter, streaming_lists.clone(), pace)
    };
    let mut tasks = JoinSet::new();
    let mut resources: HashMap<Id, Resource> = HashMap::new();
    let mut backoff = Backoff::new(pace);
    for resource in Resource::all() {
        resources.insert(tasks.spawn(watcher(resource).run()).id(), resource);
    }
    loop {
        // A watcher never ends; one that panicked is begun again, and the others do not notice.
        let Some(Err(panicked)) = tasks.join_next().await else { continue };
        let Some(resource) = resources.remove(&panicked.id()) else { continue };
        tracing::error!(cluster = %place.name, %resource, "a watcher broke and is begun again: {panicked}");
        sleep(backoff.next()).await;
        resources.insert(tasks.spawn(watcher(resource).run()).id(), resource);
    }
}

/// Asks who the cluster is until it says so. Until then its name stands for it in the failures that are reported.
async fn wait_for_identity(api: &Api, reporter: &Reporter, pace: Pace) -> ClusterUid {
    let mut backoff = Backoff::new(pace);
    loop {
        let failure = match connect::identity(api).await {
            Ok(uid) => return uid,
            Err(failure) => failure,
        };
        tracing::warn!("{failure}");
        let scope = Scope::Resource { cluster: api.cluster.clone(), resource: "namespaces".into() };
        let message = failure.to_string().as_str().into();
        let fact = Fact::LookFailed { scope, failure: failure.class(), message };
        reporter.fact(Interval::at(now()), Basis::Poll, fact).await;
        sleep(backoff.next()).await;
    }
}
