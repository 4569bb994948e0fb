//! The driver's side of a scenario: what it pushed, broke and saw.

use knotmeter::image::{Digest, ImageRef};
use knotmeter::observation::{Interval, ObjectKey, Time};
use knotmeter::tracker::Journey;
use serde_json::Value;

use super::super::drive::{text, time};
use super::super::replay::digest;

/// `truth.json`.
pub struct Truth {
    pub began: Time,
    pub deliveries: Vec<Delivery>,
    pub faults: Vec<Fault>,
}

/// One push, and where it went.
pub struct Delivery {
    pub image: ImageRef,
    pub digest: Digest,
    pub pushed: Interval,
    pub committed: Vec<Committed>,
    pub live: Vec<Live>,
}

/// A commit that names it, as the git server took it.
pub struct Committed {
    /// The first folder of its file: the namespace that it is for.
    pub folder: String,
    pub branch: String,
    pub pushed: Interval,
}

/// All ready pods of a container ran it.
pub struct Live {
    pub namespace: String,
    /// `Deployment/web`.
    pub workload: String,
    pub container: String,
    pub at: Time,
}

/// Something that the driver broke, or held.
pub struct Fault {
    pub name: String,
    pub began: Time,
    pub repaired: Time,
    /// All that was to be live was.
    pub ended: Time,
}

impl Truth {
    pub fn read(scenario: &str) -> Self {
        let truth: Value = serde_json::from_str(&text(scenario, "truth.json")).expect("JSON");
        Self {
            began: time(&truth["began"]),
            deliveries: list(&truth["deliveries"]).map(delivery).collect(),
            faults: list(&truth["faults"]).map(fault).collect(),
        }
    }
}

impl Live {
    pub fn is_at(&self, journey: &Journey) -> bool {
        let ObjectKey { kind, namespace, name } = &journey.destination.workload;
        let (of, named) = self.workload.split_once('/').expect("kind and name");
        (kind.as_str(), &**namespace, &**name) == (&*of.to_lowercase(), &*self.namespace, named)
            && *journey.destination.container == *self.container
    }
}

/// Texts of a file become their values.
pub fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn span(value: &Value) -> Interval {
    Interval::new(time(&value[0]), time(&value[1]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn delivery(value: &Value) -> Delivery {
    let committed = list(&value["committed"]).map(|commit| Committed {
        folder: words(&commit["path"]).split('/').next().unwrap_or_default().to_owned(),
        branch: words(&commit["branch"]),
        pushed: span(&commit["pushed"]),
    });
    let live = list(&value["live"]).map(|live| Live {
        namespace: words(&live["namespace"]),
        workload: words(&live["workload"]),
        container: words(&live["container"]),
        at: time(&live["at"]),
    });
    Delivery {
        image: words(&value["image"]).parse().expect("an image"),
        digest: digest(&value["digest"]),
        pushed: span(&value["pushed"]),
        committed: committed.collect(),
        live: live.collect(),
    }
}

fn fault(value: &Value) -> Fault {
    Fault {
        name: words(&value["fault"]),
        began: time(&value["began"]),
        repaired: time(&value["repaired"]),
        ended: time(&value["ended"]),
    }
}
