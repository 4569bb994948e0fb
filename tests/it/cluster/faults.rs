//! What a cluster does to those who watch it for long: storms of 410, backups that are restored, rights that go.

use std::time::Duration;

use knotmeter::observation::{Basis, Fact, LookFailure, Observation, Subject};
use knotmeter::observers::cluster::{Pace, Resource};

use super::fake::{Fake, Future, StreamingLists};
use super::watching::{Observer, hurried, image_of, is};

fn gone(observer: &Observer) -> Vec<&str> {
    let gone = observer.heard.iter().filter_map(|observation| match &observation.fact {
        Fact::Absent { subject: Subject::Workload { key, .. } } => Some(&*key.name),
        _ => None,
    });
    gone.collect()
}

fn images(observer: &Observer) -> Vec<&str> {
    observer.heard.iter().filter_map(image_of).collect()
}

#[tokio::test]
async fn a_storm_of_410_loses_nothing_and_repeats_nothing() {
    for lists in [StreamingLists::Served, StreamingLists::Refused] {
        let fake = Fake::new(lists);
        for name in ["a", "b", "c"] {
            fake.lock().deploy(name, &format!("{name}:0"));
        }
        let pace = Pace { backoff_max: Duration::from_millis(5), ..hurried() };
        let mut observer = Observer::start(fake.client(), pace);
        observer.looked_at(Resource::Deployments).await;
        for change in 1..=5 {
            {
                let mut cluster = fake.lock();
                cluster.storm = 40;
                cluster.close_watches();
                cluster.deploy("b", &format!("b:{change}"));
            }
            observer.deployed(&format!("b:{change}")).await;
        }
        assert_eq!(images(&observer), ["a:0", "b:0", "c:0", "b:1", "b:2", "b:3", "b:4", "b:5"]);
        assert!(gone(&observer).is_empty(), "{:?}", gone(&observer));
        // After the storm it watches again, and does not list.
        fake.lock().storm = 0;
        fake.lock().deploy("c", "c:1");
        observer.deployed("c:1").await;
    }
}

#[tokio::test]
async fn a_server_restored_from_a_backup_is_looked_at_anew() {
    for (future, lists) in [
        (Future::Refused, StreamingLists::Served),
        (Future::Silent, StreamingLists::Served),
        (Future::Silent, StreamingLists::Refused),
    ] {
        let fake = Fake::new(lists);
        fake.lock().future = future;
        fake.lock().deploy("web", "web:1");
        let pace = Pace {
            quiet_after: Duration::from_millis(50),
            watch_silence_max: Duration::from_millis(150),
            backoff_max: Duration::from_millis(5),
            ..hurried()
        };
        let mut observer = Observer::start(fake.client(), pace);
        observer.looked_at(Resource::Deployments).await;
        for change in 2..=9 {
            fake.lock().deploy("web", &format!("web:{change}"));
        }
        fake.lock().deploy("late", "late:1");
        observer.deployed("late:1").await;
        // The backup is of before all that.
        fake.lock().restore(50, &[("web", "web:1"), ("old", "old:1")]);
        let back = observer.deployed("old:1").await;
        assert!(back.basis == Basis::Relist && back.happened.is_bounded(), "{back:?}");
        observer.wait("late is gone", |o| matches!(&o.fact, Fact::Absent { .. })).await;
        assert_eq!(gone(&observer), ["late"]);
        assert_eq!(images(&observer).iter().filter(|image| **image == "web:1").count(), 2);
        // And what is done from now on is seen, although its version is one that was there before.
        fake.lock().deploy("web", "web:again");
        observer.deployed("web:again").await;
    }
}

#[tokio::test]
async fn rights_that_go_in_the_middle_of_a_watch_blind_one_kind_and_remove_nothing() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().deploy("web", "web:1");
    let pace = Pace { rest: Duration::from_millis(50), backoff_max: Duration::from_millis(20), ..hurried() };
    let mut observer = Observer::start(fake.client(), pace);
    for resource in [Resource::Deployments, Resource::Pods] {
        observer.looked_at(resource).await;
    }
    {
        let mut cluster = fake.lock();
        cluster.forbidden.insert("deployments");
        cluster.close_watches();
        cluster.deploy("web", "web:2");
        cluster.deploy("other", "other:1");
    }
    let forbidden = |o: &Observation| match &o.fact {
        Fact::LookFailed { scope, failure: LookFailure::Forbidden, message } => {
            is(scope, Resource::Deployments)
                && message
                    .contains(r#"{apiGroups: ["apps"], resources: [deployments], verbs: [get, list, watch]}"#)
        }
        _ => false,
    };
    observer.wait("the refusal", forbidden).await;
    // The others go on.
    fake.lock().put(
        "pods",
        "x",
        serde_json::json!({"metadata": {"name": "x", "namespace": "shop", "uid": "x",
        "resourceVersion": "900"}, "spec": {"containers": []}, "status": {"phase": "Running"}}),
    );
    observer.wait("a pod", |o| matches!(&o.fact, Fact::PodIs(_))).await;
    assert_eq!((images(&observer), gone(&observer)), (vec!["web:1"], vec![]));
    // Whoever grants it again gets what happened meanwhile, once.
    fake.lock().forbidden.clear();
    observer.deployed("web:2").await;
    observer.deployed("other:1").await;
    assert_eq!((images(&observer), gone(&observer)), (vec!["web:1", "web:2", "other:1"], vec![]));
}
