//! Bad input from a cluster with an engine, over the API of the demo's own server: versions that come and go, fields
//! of another shape, permissions that are taken away. `front` is what stands before that server and makes it so.
//!
//! What the tracker makes of contradictions is in `tests/journeys`, from 230 on.

mod fields;
mod front;
mod permission;
mod versions;

use knotmeter::demo::{Intervals, Options, World};
use knotmeter::observation::{EngineKind, EngineObject, Fact, LookFailure, Observation};
use knotmeter::observers::cluster::Resource;

use serde_json::Value;

use crate::cluster::watching::is;
use crate::demo::flux::flux;

fn engine(observation: &Observation) -> Option<&EngineObject> {
    match &observation.fact {
        Fact::EngineIs(object) => Some(object),
        _ => None,
    }
}

/// A world with Flux in which nobody pushes.
async fn world(intervals: Intervals) -> World {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    World::start(Options { intervals, ..flux() }).await.unwrap()
}

/// Changes an object as its controller or a person does.
async fn patch(world: &World, path: &str, patch: Value) {
    let url = format!("{}{path}", world.addresses().kubernetes);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        client.patch(url).header("content-type", "application/merge-patch+json").body(patch.to_string());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
}

/// Something was said of an object of this kind and name.
fn told(kind: EngineKind, name: &str) -> impl Fn(&Observation) -> bool {
    move |observation| {
        engine(observation).is_some_and(|object| object.key.kind == kind && *object.key.name == *name)
    }
}

/// A look at a kind failed for this reason, with these words.
fn failed(kind: EngineKind, why: LookFailure, words: &str) -> impl Fn(&Observation) -> bool {
    move |observation| {
        matches!(&observation.fact, Fact::LookFailed { scope, failure, message }
            if is(scope, Resource::Engine(kind)) && *failure == why && message.contains(words))
    }
}

/// A look at a kind was complete.
fn looked(kind: EngineKind) -> impl Fn(&Observation) -> bool {
    move |observation| matches!(&observation.fact, Fact::LookCompleted { scope, .. } if is(scope, Resource::Engine(kind)))
}
