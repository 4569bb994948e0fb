//! Fields that nobody knows, and fields of another shape.

use std::sync::{Arc, Mutex};

use knotmeter::demo::{Intervals, World};
use knotmeter::observation::{EngineKind, Fact, Measure, Role, SourceRole};
use knotmeter::observers::cluster::{Pace, Said};
use knotmeter::telemetry::{self, LogFormat};
use serde_json::{Value, json};

use super::front::{Front, Rules};
use super::{engine, looked, patch, told, world};
use crate::cluster::watching::Observer;

const CHARTS: &str = "/apis/source.toolkit.fluxcd.io/v1/namespaces/prod/helmcharts";
const RELEASES: &str = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/prod/helmreleases";
const REPOSITORIES: &str = "/apis/source.toolkit.fluxcd.io/v1/namespaces/prod/helmrepositories";

/// What was logged, by everybody.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines_with(&self, words: &[&str]) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

/// Makes an object, and then its status.
async fn put(world: &World, path: &str, name: &str, kind: &str, spec: Value, status: Value) {
    let version =
        if kind == "HelmRelease" { "helm.toolkit.fluxcd.io/v2" } else { "source.toolkit.fluxcd.io/v1" };
    let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "prod", "finalizers": ["finalizers.fluxcd.io"]},
        "spec": spec, "madeUp": {"at": ["the", "top"]}});
    world.create(path, &object).await.unwrap();
    if !status.is_null() {
        patch(world, &format!("{path}/{name}/status"), json!({"status": status})).await;
    }
}

fn artifact(revision: &str) -> Value {
    json!({"revision": revision, "lastUpdateTime": "2026-11-21T12:00:00Z", "unheardOf": {"deep": [1, {"x": null}]}})
}

fn dropped(observer: &Observer, why: &'static str) -> usize {
    let measure = Measure::Dropped { source: "cluster/lab".into(), reason: why };
    observer.measures.iter().filter(|known| **known == measure).count()
}

#[test]
fn objects_of_real_controllers_have_every_field_as_it_should_be() {
    for scenario in ["04-broken", "06-helm-and-oci"] {
        let mut objects = 0;
        for (_, resource, said) in crate::cluster::said(&format!("flux-2.9.0/{scenario}")) {
            objects += usize::from(matches!(&said, Said::Fact { fact: Fact::EngineIs(_), .. }));
            let odd = matches!(&said, Said::Measure(Measure::Dropped { .. }));
            assert!(!odd, "{scenario}: {resource}: {said:?}");
        }
        assert!(objects > 20, "{scenario}: {objects}");
    }
}

#[tokio::test]
async fn a_field_of_another_shape_is_named_and_counted_and_hurts_no_other_object() {
    // Its own controllers leave alone what is suspended and has their finalizer, and no HelmRepository is theirs.
    let world = world(Intervals::default()).await;
    let front = Front::of(&world, Rules::default()).await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = telemetry::subscriber("warn", LogFormat::Text, None, move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber);

    // In the list: a bad one between two good ones, of which one has more than anybody knows.
    let spec = json!({"chart": "web", "interval": "1m", "suspend": true, "unheardOf": {"interval": 7}});
    let conditions = json!([{"type": "Ready", "status": "True", "reason": "ChartPullSucceeded", "message": "pulled",
        "lastTransitionTime": "2026-11-21T12:00:00Z", "unheardOf": true}]);
    let status = json!({"observedGeneration": 1, "artifact": artifact("1.0.0"), "conditions": conditions, "unheardOf": []});
    put(&world, CHARTS, "a-good", "HelmChart", spec.clone(), status.clone()).await;
    let odd = json!({"conditions": "Ready", "artifact": artifact("1.0.1")});
    put(&world, CHARTS, "b-odd", "HelmChart", spec.clone(), odd).await;
    put(&world, CHARTS, "c-good", "HelmChart", spec.clone(), status.clone()).await;
    let mut observer = Observer::start(front.client().await, Pace::default());
    observer.wait("the charts", looked(EngineKind::HelmChart)).await;
    // The demo has charts of its own.
    let is_ours = |name: &str| name.ends_with("-good") || name.ends_with("-odd");
    let charts: Vec<_> = observer
        .heard
        .iter()
        .filter_map(engine)
        .filter(|it| it.key.kind == EngineKind::HelmChart && is_ours(&it.key.name))
        .collect();
    assert_eq!(charts.iter().map(|it| &*it.key.name).collect::<Vec<_>>(), ["a-good", "b-odd", "c-good"]);
    let revision = |at: usize| match &charts[at].role {
        Role::Source(SourceRole { artifact: Some(artifact), .. }) => artifact.revision.to_string(),
        other => panic!("{other:?}"),
    };
    // What can be read of it is read; what cannot is not guessed.
    assert_eq!([revision(0), revision(1), revision(2)], ["1.0.0", "1.0.1", "1.0.0"]);
    assert!(charts[0].ready.as_ref().is_some_and(|ready| ready.is_true) && charts[1].ready.is_none());
    assert_eq!(charts[0].interval_seconds, Some(60.0));
    assert_eq!(dropped(&observer, "odd_field"), 1);
    assert_eq!(log.lines_with(&["cluster=lab", "helmcharts", "b-odd", "status.conditions is not a list"]), 1);

    // Under the watch: one bad field after the other, and a good one after each.
    observer.wait("the releases", looked(EngineKind::HelmRelease)).await;
    observer.wait("the repositories", looked(EngineKind::HelmRepository)).await;
    let release = (RELEASES, "HelmRelease", EngineKind::HelmRelease);
    let repository = (REPOSITORIES, "HelmRepository", EngineKind::HelmRepository);
    let set = |status: Value| (json!({"suspend": true}), status);
    for (at, ((path, name, kind), (spec, status), says)) in [
        (
            release,
            (json!({"suspend": true, "interval": "abc"}), Value::Null),
            "spec.interval is not a duration",
        ),
        (release, (json!({"suspend": true, "interval": 60}), Value::Null), "spec.interval is not a duration"),
        (repository, (json!({"suspend": "yes"}), Value::Null), "spec.suspend is not true or false"),
        (release, set(json!({"lastAppliedRevision": 7})), "status.lastAppliedRevision is not a text"),
        (release, set(json!({"observedGeneration": "1"})), "status.observedGeneration is not a whole number"),
        (release, set(json!({"inventory": {"entries": "none"}})), "status.inventory.entries is not a list"),
        (release, set(json!({"conditions": [{"type": 1}]})), "status.conditions is not a list of conditions"),
    ]
    .into_iter()
    .enumerate()
    {
        let (bad, good) = (format!("bad-{at}"), format!("good-{at}"));
        put(&world, path, &bad, name, spec, status).await;
        put(&world, path, &good, name, json!({"suspend": true, "interval": "5m"}), Value::Null).await;
        observer.wait(&good, told(kind, &good)).await;
        assert_eq!(log.lines_with(&["cluster=lab", kind.plural(), &bad, says]), 1, "{bad}");
        assert_eq!(dropped(&observer, "odd_field"), at + 2, "{bad}");
        let object =
            observer.heard.iter().filter_map(engine).rfind(|it| *it.key.name == *bad).expect("it is told");
        assert!(object.suspended != (path == REPOSITORIES), "{object:?}");
        assert!(object.interval_seconds.is_none(), "{object:?}");
    }
    assert_eq!(dropped(&observer, "malformed"), 0);
    drop(observer);
    world.stop().await;
}
