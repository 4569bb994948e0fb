//! The loop, against an API server that has faults.

use std::time::Duration;

use knotmeter::config;
use knotmeter::observation::{
    Basis, Fact, LookFailure, Measure, Observation, Scope, SourceId, SourceKind, Subject,
};
use knotmeter::observers::cluster::{Access, Error, Pace, Resource, check_with, connect, rbac, run_at};
use knotmeter::observers::{Report, Reporter};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fake::{Fake, StreamingLists};

/// Long enough for a slow machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn config() -> config::Cluster {
    config::Cluster { name: "lab".into(), kubeconfig: None, context: None, ownership: None }
}

/// An observer at work, and what it said.
pub struct Observer {
    task: JoinHandle<()>,
    reports: mpsc::Receiver<Report>,
    pub heard: Vec<Observation>,
    pub measures: Vec<Measure>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Observer {
    pub fn start(client: kube::Client, pace: Pace) -> Self {
        let (to, reports) = mpsc::channel(256);
        let reporter = Reporter::new(SourceId::new(SourceKind::Cluster, "lab"), 1, to);
        let task = tokio::spawn(async move {
            run_at(pace, config(), client, reporter).await;
        });
        Self { task, reports, heard: Vec::new(), measures: Vec::new() }
    }

    /// Waits for an observation like this, and returns it.
    pub async fn wait(&mut self, what: &str, like: impl Fn(&Observation) -> bool) -> Observation {
        let found = async {
            loop {
                let Some(report) = self.reports.recv().await else { panic!("the observer ended") };
                match report {
                    Report::Measure(measure) => self.measures.push(measure),
                    Report::Observation(observation) => {
                        self.heard.push((*observation).clone());
                        if like(&observation) {
                            return *observation;
                        }
                    }
                }
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("waited for {what}, heard {:#?}", self.heard),
        }
    }

    pub async fn looked_at(&mut self, resource: Resource) -> Observation {
        self.wait(resource.plural(), |observation| {
            matches!(&observation.fact, Fact::LookCompleted { scope, .. } if is(scope, resource))
        })
        .await
    }

    pub async fn deployed(&mut self, image: &str) -> Observation {
        self.wait(image, |observation| image_of(observation) == Some(image)).await
    }
}

pub fn is(scope: &Scope, resource: Resource) -> bool {
    matches!(scope, Scope::Resource { resource: of, .. } if **of == *resource.plural())
}

pub fn image_of(observation: &Observation) -> Option<&str> {
    match &observation.fact {
        Fact::WorkloadIs(workload) => workload.containers.first().map(|container| &*container.image),
        _ => None,
    }
}

pub fn hurried() -> Pace {
    Pace { backoff_min: Duration::from_millis(1), ..Pace::default() }
}

#[tokio::test]
async fn a_streaming_list_is_followed_by_its_watch() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().deploy("web", "web:1");
    let mut observer = Observer::start(fake.client(), hurried());
    let named = observer.wait("the name", |o| matches!(o.fact, Fact::ClusterNamed { .. })).await;
    assert_eq!(named.cluster.as_deref(), Some("cluster-uid"));
    let first = observer.deployed("web:1").await;
    assert_eq!(first.basis, Basis::Backfill);
    observer.looked_at(Resource::Deployments).await;
    fake.lock().deploy("web", "web:2");
    let second = observer.deployed("web:2").await;
    assert_eq!(second.basis, Basis::Watch);
    assert!(second.happened.is_bounded());
    fake.lock().delete("web");
    let key = |o: &Observation| matches!(&o.fact, Fact::Absent { subject: Subject::Workload { key, .. } } if &*key.name == "web");
    observer.wait("the end of web", key).await;
    let requests = fake.lock().requests.clone();
    let of_deployments = requests.iter().filter(|path| path.starts_with("/apis/apps/v1/deployments")).count();
    assert_eq!(of_deployments, 1, "{requests:#?}");
}

#[tokio::test]
async fn a_server_without_streaming_lists_is_listed_in_pages_and_watched_from_there() {
    for lacks in [StreamingLists::Refused, StreamingLists::RefusedInStream, StreamingLists::Ignored] {
        let fake = Fake::new(lacks);
        for name in ["a", "b", "c", "d", "e"] {
            fake.lock().deploy(name, &format!("{name}:1"));
        }
        fake.lock().page_items = 2;
        let pace = Pace { list_silence_max: Duration::from_millis(200), ..hurried() };
        let mut observer = Observer::start(fake.client(), pace);
        observer.looked_at(Resource::Deployments).await;
        let told: Vec<_> = observer.heard.iter().filter_map(image_of).collect();
        assert_eq!(told, ["a:1", "b:1", "c:1", "d:1", "e:1"]);
        fake.lock().deploy("c", "c:2");
        assert_eq!(observer.deployed("c:2").await.basis, Basis::Watch);
    }
}

#[tokio::test]
async fn a_list_whose_token_expires_begins_anew() {
    let fake = Fake::new(StreamingLists::Refused);
    for name in ["a", "b", "c"] {
        fake.lock().deploy(name, &format!("{name}:1"));
    }
    fake.lock().page_items = 2;
    fake.lock().expired_tokens.insert("from+/=&2".into());
    let mut observer = Observer::start(fake.client(), hurried());
    observer.looked_at(Resource::Deployments).await;
    let told: Vec<_> = observer.heard.iter().filter_map(image_of).collect();
    assert_eq!(told, ["a:1", "b:1", "c:1"], "nothing twice, nothing missing");
    assert!(!observer.heard.iter().any(|o| matches!(o.fact, Fact::Absent { .. })));
}

#[tokio::test]
async fn a_watch_cut_at_any_byte_loses_and_repeats_nothing() {
    // A linear congruential generator: the seed is all that the cuts depend on.
    let mut seed: u64 = 7;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().deploy("web", "web:0");
    fake.lock().cuts = (0..40).map(|_| random(2000) as usize).collect();
    let mut observer =
        Observer::start(fake.client(), Pace { backoff_max: Duration::from_millis(5), ..hurried() });
    observer.looked_at(Resource::Deployments).await;
    for change in 1..=30 {
        fake.lock().deploy("web", &format!("web:{change}"));
        if change % 3 == 0 {
            observer.deployed(&format!("web:{change}")).await;
        }
    }
    let told: Vec<_> = observer.heard.iter().filter_map(image_of).collect();
    let expected: Vec<_> = (0..=30).map(|change| format!("web:{change}")).collect();
    assert_eq!(told, expected);
    assert!(fake.lock().cuts.len() < 35, "it was cut often");
}

#[tokio::test]
async fn after_410_a_relist_tells_what_changed_and_what_is_gone() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().deploy("stays", "stays:1");
    fake.lock().deploy("changes", "changes:1");
    fake.lock().deploy("goes", "goes:1");
    let mut observer = Observer::start(fake.client(), hurried());
    observer.looked_at(Resource::Deployments).await;
    {
        let mut cluster = fake.lock();
        cluster.close_watches();
        cluster.delete("goes");
        cluster.deploy("changes", "changes:2");
        cluster.deploy("comes", "comes:1");
        cluster.compact();
    }
    let before = observer.heard.len();
    observer.looked_at(Resource::Deployments).await;
    let since = &observer.heard[before..];
    let mut told: Vec<_> = since.iter().filter_map(|o| image_of(o).map(|image| (image, o.basis))).collect();
    told.sort_unstable();
    assert_eq!(told, [("changes:2", Basis::Relist), ("comes:1", Basis::Relist)]);
    let gone: Vec<_> = since.iter().filter(|o| matches!(o.fact, Fact::Absent { .. })).collect();
    assert_eq!(gone.len(), 1);
    assert!(gone[0].basis == Basis::Relist && gone[0].happened.is_bounded(), "{gone:?}");
}

#[tokio::test]
async fn a_line_that_is_no_event_is_passed_by_with_a_new_look() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().deploy("web", "web:1");
    let mut observer = Observer::start(fake.client(), hurried());
    observer.looked_at(Resource::Deployments).await;
    fake.lock().garble();
    let malformed =
        |o: &Observation| matches!(&o.fact, Fact::LookFailed { failure: LookFailure::Malformed, .. });
    observer.wait("the failure", malformed).await;
    fake.lock().deploy("web", "web:2");
    observer.deployed("web:2").await;
}

#[tokio::test]
async fn a_forbidden_kind_says_how_to_grant_it_and_stops_no_other() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().forbidden.insert("replicasets");
    fake.lock().missing.insert("cronjobs");
    fake.lock().deploy("web", "web:1");
    let pace = Pace { rest: Duration::from_millis(50), ..hurried() };
    let mut observer = Observer::start(fake.client(), pace);
    observer.looked_at(Resource::Pods).await;
    let failed = |observation: &Observation, resource| match &observation.fact {
        Fact::LookFailed { scope, failure, message } if is(scope, resource) => {
            Some((*failure, message.clone()))
        }
        _ => None,
    };
    let mut found = Vec::new();
    for resource in [Resource::ReplicaSets, Resource::CronJobs] {
        let known = observer.heard.iter().find_map(|o| failed(o, resource));
        found.push(match known {
            Some(known) => known,
            None => {
                let later = observer.wait(resource.plural(), |o| failed(o, resource).is_some()).await;
                failed(&later, resource).unwrap()
            }
        });
    }
    assert_eq!((found[0].0, found[1].0), (LookFailure::Forbidden, LookFailure::Missing));
    let grant = r#"{apiGroups: ["apps"], resources: [replicasets], verbs: [get, list, watch]}"#;
    assert!(found[0].1.contains(grant), "{}", found[0].1);
    // Once granted, it is looked at without a restart.
    fake.lock().forbidden.clear();
    observer.looked_at(Resource::ReplicaSets).await;
}

#[tokio::test]
async fn a_silent_watch_is_looked_at_and_opened_again() {
    let fake = Fake::new(StreamingLists::Refused);
    fake.lock().deploy("web", "web:1");
    let pace = Pace {
        quiet_after: Duration::from_millis(30),
        watch_silence_max: Duration::from_millis(60),
        ..hurried()
    };
    let mut observer = Observer::start(fake.client(), pace);
    // The list, then the quiet watch after it, then the one after that.
    for _ in 0..3 {
        observer.looked_at(Resource::Deployments).await;
    }
    assert_eq!(observer.heard.iter().filter_map(image_of).count(), 1);
    let requests = fake.lock().requests.clone();
    let of = |what: &str| {
        let path = "/apis/apps/v1/deployments";
        requests.iter().filter(|one| one.starts_with(path) && one.contains(what)).count()
    };
    assert!(of("resourceVersion=") >= 2, "it was opened again: {requests:#?}");
    fake.lock().deploy("web", "web:2");
    observer.deployed("web:2").await;
}

#[tokio::test]
async fn a_cluster_that_hides_its_namespace_is_known_by_its_service() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().forbidden.insert("namespaces");
    fake.lock().deploy("web", "web:1");
    let mut observer = Observer::start(fake.client(), hurried());
    let named = observer.wait("the name", |o| matches!(o.fact, Fact::ClusterNamed { .. })).await;
    assert_eq!(named.cluster.as_deref(), Some("service-service-uid"));
    // Whose its namespaces are is not known then; what is missing is said, and all else goes on.
    let refused = |observation: &Observation| match &observation.fact {
        Fact::LookFailed { scope, failure: LookFailure::Forbidden, message } => {
            is(scope, Resource::Namespaces) && message.contains("resources: [namespaces]")
        }
        _ => false,
    };
    if !observer.heard.iter().any(refused) {
        observer.wait("a word about namespaces", refused).await;
    }
    if !observer.heard.iter().any(|said| image_of(said) == Some("web:1")) {
        observer.deployed("web:1").await;
    }
}

#[tokio::test]
async fn a_check_names_what_is_forbidden_and_the_role_that_grants_it() {
    let fake = Fake::new(StreamingLists::Served);
    fake.lock().forbidden.insert("pods");
    fake.lock().missing.insert("cronjobs");
    let report = check_with(&config(), fake.client()).await.unwrap();
    assert_eq!((&*report.uid, &*report.server_version), ("cluster-uid", "v1.36.2"));
    let access =
        |wanted| report.resources.iter().find(|(resource, _)| *resource == wanted).unwrap().1.clone();
    assert!(matches!(access(Resource::Pods), Access::Forbidden(why) if why.contains("pods is forbidden")));
    assert_eq!(access(Resource::CronJobs), Access::Missing);
    assert_eq!(access(Resource::Deployments), Access::Allowed);
    let role = rbac();
    assert_eq!(report.grant().as_deref(), Some(&*role));
    for resource in Resource::ALL {
        assert!(role.contains(resource.plural()), "{resource}");
    }
    assert!(!role.contains("secrets"));
}

#[tokio::test]
async fn a_kubeconfig_is_found_by_its_path_and_context() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let with = |context: &str| {
        let context = Some(context.to_owned());
        config::Cluster { name: "lab".into(), kubeconfig: Some(path.clone()), context, ownership: None }
    };
    let Err(missing) = connect(&with("one")).await else { panic!("there is no file") };
    assert!(matches!(missing, Error::Kubeconfig { .. }));
    assert!(missing.to_string().starts_with("cluster lab: the kubeconfig /"), "{missing}");
    let text = r#"{"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "users": [{"name": "u", "user": {}}]}"#;
    std::fs::write(&path, text).unwrap();
    assert_eq!(connect(&with("one")).await.unwrap().default_namespace(), "shop");
    assert!(matches!(connect(&with("two")).await, Err(Error::Kubeconfig { .. })));
}

#[tokio::test]
async fn a_kubeconfig_that_logs_in_with_a_program_is_used_where_there_is_one() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let program = folder.path().join("plugin");
    let lab = config::Cluster { kubeconfig: Some(path.clone()), ..config() };
    let kubeconfig = serde_json::json!({
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "current-context": "one",
        "users": [{"name": "u", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": program, "interactiveMode": "IfAvailable",
            "installHint": "Install it\nwith the cloud's tools",
        }}}],
    });
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let Err(missing) = connect(&lab).await else { panic!("there is no program") };
    let told = missing.to_string();
    assert!(told.contains("which is not here (Install it with the cloud's tools)"), "{told}");
    assert!(told.contains("tokenFile") && told.contains("create token"), "{told}");

    let write = |script: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    write("echo hunter2; echo hunter2 >&2; exit 1");
    let Err(failed) = connect(&lab).await else { panic!("the program fails") };
    assert!(failed.to_string().contains("run it by hand"), "{failed}");
    assert!(!format!("{failed} {failed:?}").contains("hunter2"), "{failed:?}");
    write(
        r#"echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}'"#,
    );
    assert_eq!(connect(&lab).await.unwrap().default_namespace(), "shop");
}
