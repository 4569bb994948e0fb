//! The demo world, seen from outside by plain HTTP and by the real git program: that it speaks the protocols, and
//! that what its truth log says is what its servers show.

mod faults;
pub mod flux;
mod flux_faults;
mod helm;

use std::process::{Command, Stdio};
use std::time::Duration;

use http::{Method, StatusCode};
use knotmeter::demo::{Entry, Fault, Happened, Options, World};
use knotmeter::image::Digest;
use serde_json::{Value, json};

/// Far more than any of these tests needs, so that it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

fn quick() -> Options {
    Options {
        autopush: false,
        updater_every: Duration::from_millis(50),
        applier_every: Duration::from_millis(50),
        pull_delay: Duration::from_millis(20),
        ready_delay: Duration::from_millis(20),
        progress_deadline_seconds: 1,
        ..Options::default()
    }
}

async fn world(options: Options) -> World {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    World::start(options).await.unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens long before this")
}

/// Asks the API again and again until the answer fits.
async fn until(world: &World, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    patiently(async {
        loop {
            let answer = world.get(path).await.unwrap();
            if fits(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn waits_with(list: &Value, reason: &str) -> bool {
    items(list).any(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason)
}

fn live(entry: &Entry, of: &Digest, where_: &str) -> bool {
    matches!(&entry.what, Happened::Live { namespace, digest, .. } if digest == of && namespace == where_)
}

/// One line of a watch after the other.
struct Watch {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Watch {
    async fn open(world: &World, path: &str) -> Self {
        let url = format!("{}{path}", world.addresses().kubernetes);
        let response = client().get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, rest: Vec::new() }
    }

    /// The next event, or nothing when the server ends the watch.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = patiently(self.response.chunk()).await.unwrap()?;
            self.rest.extend_from_slice(&chunk);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_pages_its_tags_and_names_what_was_pushed() {
    let world = world(quick()).await;
    let front = format!("http://{}/v2/lab/pages", world.addresses().registry);
    let mut pushed = Vec::new();
    for tag in ["b", "a", "c", "d", "e"] {
        pushed.push((tag, world.push("lab/pages", tag).await.unwrap().digest));
    }

    let mut tags = Vec::new();
    let mut links = 0;
    let mut next = Some("/v2/lab/pages/tags/list?n=2".to_owned());
    while let Some(path) = next {
        let url = format!("http://{}{path}", world.addresses().registry);
        let response = client().get(url).send().await.unwrap();
        next = response.headers().get("link").map(|link| {
            links += 1;
            let link = link.to_str().unwrap();
            link.split_once('<').unwrap().1.split_once('>').unwrap().0.to_owned()
        });
        let page: Value = response.json().await.unwrap();
        tags.extend(page["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
    }
    assert_eq!(tags, ["a", "b", "c", "d", "e"]);
    assert_eq!(links, 2);

    for (tag, digest) in &pushed {
        let url = format!("{front}/manifests/{tag}");
        let response = client().get(&url).header("accept", ACCEPT).send().await.unwrap();
        assert_eq!(response.headers()["docker-content-digest"], digest.to_string());
        let etag = response.headers()["etag"].clone();
        assert_eq!(Digest::of(&response.bytes().await.unwrap()), *digest);
        let again =
            client().head(&url).header("accept", ACCEPT).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let told =
            |entry: &Entry| matches!(&entry.what, Happened::Pushed { digest: told, .. } if told == digest);
        assert_eq!(world.truth().iter().filter(|entry| told(entry)).count(), 1);
    }

    let unknown = client().get(format!("http://{}/v2/no/such/tags/list", world.addresses().registry));
    let unknown = unknown.send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(unknown.json::<Value>().await.unwrap()["errors"][0]["code"], "NAME_UNKNOWN");
    world.delete_tag("lab/pages", "c").await.unwrap();
    let gone = client().head(format!("{front}/manifests/c")).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_uploaded_in_chunks_at_once_and_by_mounting() {
    let world = world(quick()).await;
    let host = format!("http://{}", world.addresses().registry);
    let digest = Digest::of(b"hello world");
    let begun = client().post(format!("{host}/v2/lab/a/blobs/uploads/")).send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let at = format!("{host}{}", begun.headers()["location"].to_str().unwrap());
    let first = client().patch(&at).header("content-range", "0-5").body("hello ").send().await.unwrap();
    assert_eq!(first.headers()["range"], "0-5");
    let gap = client().patch(&at).header("content-range", "9-13").body("world").send().await.unwrap();
    assert_eq!(gap.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let last = client().put(format!("{at}?digest={digest}")).body("world").send().await.unwrap();
    assert_eq!(last.status(), StatusCode::CREATED);

    let wrong = client().post(format!("{host}/v2/lab/a/blobs/uploads/?digest={digest}")).body("other");
    assert_eq!(wrong.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let mount = format!("{host}/v2/lab/b/blobs/uploads/?mount={digest}&from=lab/a");
    assert_eq!(client().post(mount).send().await.unwrap().status(), StatusCode::CREATED);
    let blob = client().get(format!("{host}/v2/lab/b/blobs/{digest}")).send().await.unwrap();
    assert_eq!(blob.text().await.unwrap(), "hello world");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_git_program_clones_and_pushes() {
    let world = world(quick()).await;
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "test")
            .env("GIT_AUTHOR_EMAIL", "test@test.invalid")
            .env("GIT_COMMITTER_NAME", "test")
            .env("GIT_COMMITTER_EMAIL", "test@test.invalid")
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["clone", "--quiet", &world.addresses().git, "."]);
    let manifest = std::fs::read_to_string(folder.path().join("prod/web.yaml")).unwrap();
    let image = format!("image: {}/team/web:v1.0.0 # release-web", world.addresses().registry);
    assert!(manifest.contains(&image), "{manifest}");

    std::fs::write(folder.path().join("NOTES"), "hello\n").unwrap();
    git(&["add", "NOTES"]);
    git(&["commit", "--quiet", "--message", "say hello"]);
    git(&["push", "--quiet", "origin", "HEAD:main"]);
    let head = git(&["rev-parse", "HEAD"]);
    let told = |entry: &Entry| entry.what == Happened::Committed { commit: head.clone() };
    patiently(world.happened(told)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_and_watches_tell_what_comes_after() {
    let world = world(quick()).await;
    let mut names = Vec::new();
    let mut token = String::new();
    let mut pages = 0;
    let version = loop {
        let page = world.get(&format!("/api/v1/pods?limit=5&continue={token}")).await.unwrap();
        pages += 1;
        names.extend(items(&page).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break page["metadata"]["resourceVersion"].as_str().unwrap().to_owned(),
        }
    };
    assert_eq!((names.len(), pages), (14, 3));

    let mut after = Watch::open(&world, &format!("/api/v1/pods?watch=1&resourceVersion={version}")).await;
    let path = "/apis/apps/v1/deployments?watch=1&sendInitialEvents=true\
                &resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut streamed = Watch::open(&world, path).await;
    for _ in 0..6 {
        assert_eq!(streamed.next().await.unwrap()["type"], "ADDED");
    }
    let bookmark = streamed.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

    world.scale("prod", "api", 3).await.unwrap();
    let changed = streamed.next().await.unwrap();
    assert_eq!(changed["type"], "MODIFIED");
    assert_eq!(changed["object"]["spec"]["replicas"], 3);
    assert_eq!(changed["object"]["metadata"]["generation"], 2);
    let added = after.next().await.unwrap();
    assert_eq!(added["type"], "ADDED");
    assert!(!names.contains(&added["object"]["metadata"]["name"].as_str().unwrap().to_owned()));

    let mut old = Watch::open(&world, "/api/v1/pods?watch=1&resourceVersion=999999999").await;
    world.inject(Fault::WatchDrop);
    assert_eq!(old.next().await, None, "a watch of the future is silent until it is cut");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_watch_says_so_and_a_new_list_helps() {
    let world = world(quick()).await;
    let list = world.get("/api/v1/pods").await.unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    world.inject(Fault::WatchExpired);
    let mut cut = Watch::open(&world, &format!("/api/v1/pods?watch=1&resourceVersion={version}")).await;
    while cut.next().await.is_some() {}
    let mut resumed = Watch::open(&world, &format!("/api/v1/pods?watch=1&resourceVersion={version}")).await;
    let error = resumed.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(resumed.next().await, None);

    world.clear(Fault::WatchExpired);
    let list = world.get("/api/v1/pods").await.unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut fresh = Watch::open(&world, &format!("/api/v1/pods?watch=1&resourceVersion={version}")).await;
    world.scale("prod", "api", 3).await.unwrap();
    assert_eq!(fresh.next().await.unwrap()["type"], "ADDED");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_image_goes_live_everywhere_and_the_truth_tells_it_in_order() {
    let world = world(quick()).await;
    let push = world.push("team/web", "v1.0.1").await.unwrap();
    let mut ends = Vec::new();
    for environment in ["staging", "prod"] {
        ends.push(patiently(world.happened(|entry| live(entry, &push.digest, environment))).await);
    }
    let pods =
        world.get("/api/v1/namespaces/prod/pods?labelSelector=app.kubernetes.io/name=web").await.unwrap();
    let id = format!("{}/team/web@{}", world.addresses().registry, push.digest);
    let staying = items(&pods).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let ids: Vec<&str> =
        staying.map(|pod| pod["status"]["containerStatuses"][0]["imageID"].as_str().unwrap()).collect();
    assert_eq!(ids, [&id, &id, &id]);

    let truth = world.truth();
    let begun = truth.iter().rposition(|entry| matches!(entry.what, Happened::Pushed { .. })).unwrap();
    let order: Vec<u8> = truth[begun..]
        .iter()
        .filter_map(|entry| match &entry.what {
            Happened::Pushed { .. } => Some(0),
            Happened::Committed { .. } => Some(1),
            Happened::Applied { namespace, .. } => (namespace == "prod").then_some(2),
            Happened::PodReady { namespace, .. } => (namespace == "prod").then_some(3),
            Happened::Live { namespace, .. } => (namespace == "prod").then_some(4),
            Happened::Scanned { .. } | Happened::Selected { .. } | Happened::Fetched { .. } => None,
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 3, 3, 4]);
    assert!(truth.is_sorted_by_key(|entry| entry.at));

    let deployment = world.get("/apis/apps/v1/namespaces/prod/deployments/web").await.unwrap();
    let managers = deployment["metadata"]["managedFields"].as_array().unwrap();
    let applier = managers.iter().find(|entry| entry["manager"] == "demo-applier").unwrap();
    assert_eq!(applier["operation"], "Apply");
    let applied = applier["time"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(applied > push.at - chrono::TimeDelta::seconds(2) && applied <= ends[1].at);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_manifest_without_change_is_no_event() {
    let world = world(quick()).await;
    let before = world.get("/apis/apps/v1/namespaces/prod/deployments/web").await.unwrap();
    let push = world.push("team/api", "v1.0.1").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    let after = world.get("/apis/apps/v1/namespaces/prod/deployments/web").await.unwrap();
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_reuses_the_old_replica_set() {
    let world = world(quick()).await;
    world.inject(Fault::UpdaterDown);
    let first = world.get("/apis/apps/v1/namespaces/prod/replicasets").await.unwrap();
    let sets = items(&first).count();
    let push = world.push("team/web", "v1.0.1").await.unwrap();
    world.commit_tag("prod", "web", "v1.0.1").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    world.commit_tag("prod", "web", "v1.0.0").await.unwrap();
    let rolled_back = |list: &Value| {
        items(list).any(|set| {
            let annotations = &set["metadata"]["annotations"];
            annotations["deployment.kubernetes.io/revision"] == "3"
                && annotations["deployment.kubernetes.io/revision-history"] == "1"
                && set["status"]["availableReplicas"] == 3
        })
    };
    let last = until(&world, "/apis/apps/v1/namespaces/prod/replicasets", rolled_back).await;
    assert_eq!(items(&last).count(), sets + 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_conflict_where_the_api_says_so() {
    let world = world(quick()).await;
    let path = "/apis/apps/v1/namespaces/prod/deployments/web";
    let url = format!("{}{path}", world.addresses().kubernetes);
    let mut stale = world.get(path).await.unwrap();
    world.set_image("prod", "web", "127.0.0.1:1/team/web:v9").await.unwrap();
    stale["spec"]["replicas"] = json!(9);
    let put = client().put(&url).json(&stale).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CONFLICT);

    let container = json!({"name": "web", "image": "127.0.0.1:1/team/web:v10"});
    let text = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [container]}}}});
    let apply = |query: &str| {
        client()
            .request(Method::PATCH, format!("{url}?fieldManager=somebody{query}"))
            .header("content-type", "application/apply-patch+yaml")
            .body(text.to_string())
            .send()
    };
    let refused = apply("").await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert!(refused["message"].as_str().unwrap().contains("kubectl-set"), "{refused}");
    assert_eq!(apply("&force=true").await.unwrap().status(), StatusCode::OK);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_and_daemon_sets_roll_too() {
    let world = world(quick()).await;
    let workload = |kind: &str, tag: &str, rest: Value| {
        let image = format!("{}/team/web:{tag}", world.addresses().registry);
        let containers = json!([{"name": "db", "image": image}]);
        let template = json!({"metadata": {"labels": {"app": "db"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": containers}});
        let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "db"},
            "spec": {"selector": {"matchLabels": {"app": "db"}}, "template": template}});
        for (key, value) in rest.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        object
    };
    let partitioned = json!({"replicas": 3,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let set = workload("StatefulSet", "v1.0.0", partitioned);
    world.create("/apis/apps/v1/namespaces/staging/statefulsets", &set).await.unwrap();
    let daemon = workload("DaemonSet", "v1.0.0", json!({}));
    world.create("/apis/apps/v1/namespaces/prod/daemonsets", &daemon).await.unwrap();
    let set_path = "/apis/apps/v1/namespaces/staging/statefulsets/db";
    until(&world, set_path, |set| set["status"]["readyReplicas"] == 3).await;
    let daemon_path = "/apis/apps/v1/namespaces/prod/daemonsets/db";
    until(&world, daemon_path, |set| set["status"]["numberReady"] == 1).await;

    let push = world.push("other/db", "v2").await.unwrap();
    let image = format!("{}/other/db:v2", world.addresses().registry);
    let containers = json!([{"name": "db", "image": image}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    world.patch(set_path, "test", &patch).await.unwrap();
    world.patch(daemon_path, "test", &patch).await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    let held = |set: &Value| set["status"]["updatedReplicas"] == 1 && set["status"]["readyReplicas"] == 3;
    let held = until(&world, set_path, held).await;
    assert_ne!(held["status"]["currentRevision"], held["status"]["updateRevision"]);
    assert_eq!(held["status"]["currentReplicas"], 2);

    let patch = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    world.patch(set_path, "test", &patch).await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "staging"))).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_the_columns_that_kubectl_prints() {
    let world = world(quick()).await;
    let url = format!("{}/apis/apps/v1/namespaces/prod/deployments", world.addresses().kubernetes);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table: Value = client().get(url).header("accept", accept).send().await.unwrap().json().await.unwrap();
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["priority"] == 0)
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Name", "Ready", "Up-to-date", "Available", "Age"]);
    assert_eq!(table["rows"][1]["cells"][1], "3/3");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_nothing_listens_and_nothing_is_left() {
    for ends in ["stopped", "dropped"] {
        let world = world(quick()).await;
        let addresses = world.addresses().clone();
        let mut watch = Watch::open(&world, "/api/v1/pods?watch=1").await;
        watch.next().await.unwrap();
        let folder = addresses.kubeconfig.parent().unwrap().to_owned();
        assert!(folder.exists());
        match ends {
            "stopped" => world.stop().await,
            _ => drop(world),
        }
        assert!(!folder.exists(), "{ends}");
        let git = addresses.git.trim_start_matches("http://").trim_end_matches("/fleet.git").to_owned();
        let kubernetes = addresses.kubernetes.trim_start_matches("http://").to_owned();
        for host in [addresses.registry, git, kubernetes] {
            // A dropped world's tasks end as soon as the runtime gets to them.
            patiently(async {
                while tokio::net::TcpStream::connect(&host).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
}
