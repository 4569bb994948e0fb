//! Decoding one watch event of a pod: with a hundred thousand pods this is what a cluster costs.

use std::fmt::Write as _;

use knotmeter::observation::Time;
use knotmeter::observers::cluster::{Place, Resource, Stream};
use serde::de::IgnoredAny;

use super::Bench;

const PODS: usize = 500;

/// Against checking that the same bytes are JSON, keeping nothing.
pub fn bench() -> Bench {
    let lines: Vec<Vec<u8>> = (0..PODS).map(|n| event(n).into_bytes()).collect();
    let same = lines.clone();
    Bench {
        unit: "ns/event",
        items: PODS,
        ours: Box::new(move || {
            let place = Place { uid: "uid".into(), name: "lab".into() };
            let mut stream = Stream::new(Resource::Pods, place);
            stream.begin_look(Time(0));
            lines.iter().map(|line| stream.event(Time(1), line).expect("an event").said.len()).sum()
        }),
        floor: Box::new(move || {
            same.iter().filter(|line| serde_json::from_slice::<IgnoredAny>(line).is_ok()).count()
        }),
    }
}

/// A pod of about 3 kB, as a kubelet and a few controllers leave it.
fn event(n: usize) -> String {
    let mut environment = String::new();
    for at in 0..20 {
        write!(environment, r#"{{"name":"SETTING_{at}","value":"some value of setting {at}"}},"#)
            .expect("grows");
    }
    let image = "registry.example/team/web:v1.4.0";
    let digest = format!("registry.example/team/web@sha256:{:064x}", n % 7);
    format!(
        r#"{{"type":"ADDED","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web-{n}","namespace":"team-{team}","uid":"uid-{n}","resourceVersion":"{version}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app.kubernetes.io/name":"web","pod-template-hash":"7d4b9c6f5"}},"annotations":{{"example.com/checksum":"{n:064x}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d4b9c6f5","uid":"rs-{team}","controller":true}}],"managedFields":[{{"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:05Z","fieldsType":"FieldsV1","fieldsV1":{{"f:status":{{"f:conditions":{{}},"f:containerStatuses":{{}},"f:phase":{{}}}}}},"subresource":"status"}}]}},"spec":{{"nodeName":"node-{node}","containers":[{{"name":"web","image":"{image}","env":[{environment}{{"name":"LAST","value":"1"}}],"resources":{{"requests":{{"cpu":"100m","memory":"128Mi"}}}}}}]}},"status":{{"phase":"Running","startTime":"2026-01-01T00:00:01Z","conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:05Z"}},{{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}}],"containerStatuses":[{{"name":"web","ready":true,"started":true,"restartCount":0,"image":"{image}","imageID":"{digest}","containerID":"containerd://{n:064x}","state":{{"running":{{"startedAt":"2026-01-01T00:00:04Z"}}}}}}]}}}}}}"#,
        team = n % 50,
        version = 1000 + n,
        node = n % 20,
    )
}
