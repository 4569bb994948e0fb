//! The loop with many objects: each is told once, and a slow receiver slows the reading.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use knotmeter::config;
use knotmeter::observation::{Fact, Measure, Observation, SourceId, SourceKind};
use knotmeter::observers::cluster::{LINE_BYTES_MAX, Pace, Resource, run_at};
use knotmeter::observers::{Report, Reporter};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fake::{Fake, StreamingLists};
use super::watching::{Observer, hurried};

const PODS: usize = 5000;

fn pod(n: usize, note: &str) -> Value {
    json!({
        "metadata": {"name": format!("web-{n:05}"), "namespace": "shop", "uid": format!("{n:08x}-0000-4000-8000-000000000000"),
            "resourceVersion": n.to_string(), "annotations": {"note": note}},
        "spec": {"containers": [{"name": "web", "image": format!("web:{n}")}]},
        "status": {"phase": "Running"},
    })
}

fn told(heard: &[Observation]) -> Vec<&str> {
    heard
        .iter()
        .filter_map(|observation| match &observation.fact {
            Fact::PodIs(pod) => Some(&*pod.name),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_large_cluster_is_told_once_and_a_second_look_tells_nothing() {
    for lists in [StreamingLists::Served, StreamingLists::Refused] {
        let fake = Fake::new(lists);
        for n in 0..PODS {
            fake.lock().put("pods", &format!("web-{n:05}"), pod(n, ""));
        }
        // In the middle of the first list in pages.
        fake.lock().expired_tokens.insert("from+/=&2500".into());
        let mut observer = Observer::start(fake.client(), hurried());
        observer.looked_at(Resource::Pods).await;
        let names = told(&observer.heard);
        assert_eq!((names.len(), names.iter().collect::<BTreeSet<_>>().len()), (PODS, PODS));
        assert_eq!(fake.lock().expired_tokens.is_empty(), lists == StreamingLists::Refused);
        {
            let mut cluster = fake.lock();
            cluster.close_watches();
            cluster.put(
                "pods",
                "web-00007",
                json!({"metadata": {"uid": "other", "name": "web-00007", "resourceVersion": "x"}}),
            );
            cluster.compact();
        }
        let before = observer.heard.len();
        observer.looked_at(Resource::Pods).await;
        let since = &observer.heard[before..];
        assert_eq!(told(since), ["web-00007"]);
        let gone = since.iter().filter(|o| matches!(o.fact, Fact::Absent { .. })).count();
        assert_eq!(gone, 1, "the one whose place it took");
    }
}

#[tokio::test]
async fn an_object_that_is_too_large_is_left_out_of_a_streaming_list() {
    let fake = Fake::new(StreamingLists::Served);
    for n in 0..20 {
        let note = if n == 10 { "x".repeat(LINE_BYTES_MAX) } else { String::new() };
        fake.lock().put("pods", &format!("web-{n:05}"), pod(n, &note));
    }
    let mut observer = Observer::start(fake.client(), hurried());
    observer.looked_at(Resource::Pods).await;
    assert_eq!(told(&observer.heard).len(), 19);
    let dropped = Measure::Dropped { source: "cluster/lab".into(), reason: "too_large" };
    assert_eq!(observer.measures.iter().filter(|measure| **measure == dropped).count(), 1);
}

#[tokio::test]
async fn while_nobody_takes_reports_nothing_more_is_read() {
    const QUEUE: usize = 64;
    let fake = Fake::new(StreamingLists::Served);
    for n in 0..PODS {
        fake.lock().put("pods", &format!("web-{n:05}"), pod(n, ""));
    }
    let (to, mut reports) = mpsc::channel(QUEUE);
    let reporter = Reporter::new(SourceId::new(SourceKind::Cluster, "lab"), 1, to);
    let config = config::Cluster { name: "lab".into(), kubeconfig: None, context: None, ownership: None };
    // A tracker that is held up is no silence of the server.
    let pace = Pace { list_silence_max: Duration::from_millis(200), ..hurried() };
    let observer = tokio::spawn(run_at(pace, config, fake.client(), reporter));
    let full = async {
        while reports.len() < QUEUE {
            tokio::task::yield_now().await;
        }
        // Every task has had many turns to read more, had it wanted to; and the silence has grown long.
        let until = tokio::time::Instant::now() + 2 * pace.list_silence_max;
        while tokio::time::Instant::now() < until {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), full).await.expect("the queue fills");
    let pieces = fake.lock().pieces_taken.load(Ordering::Relaxed);
    assert!(pieces <= QUEUE + 2 * Resource::ALL.len(), "{pieces} pieces were read ahead");
    let mut pods = 0;
    let all = async {
        while let Some(report) = reports.recv().await {
            let Report::Observation(observation) = report else { continue };
            match &observation.fact {
                Fact::PodIs(_) => pods += 1,
                Fact::LookCompleted { .. } if pods == PODS => break,
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(20), all).await.expect("the rest comes");
    observer.abort();
    let pages = fake.lock().requests.iter().filter(|request| request.contains("limit=")).count();
    assert_eq!(pages, 0, "no streaming list was given up");
}
