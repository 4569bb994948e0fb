//! The page, the API and the probes, asked over loopback.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use knotmeter::exporters::Snapshot;
use knotmeter::exporters::metrics::Metrics;
use knotmeter::http::{
    Around, EventRecord, HttpState, OPENAPI, Pasts, ROUTES, Ready, sentence, serve, serve_with, why,
};
use knotmeter::tracker::{Event, Outcome, Stage, Updaters, Who};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;

use crate::e2e::process::{knotmeter, run};
use crate::fleet::{self, Told, arrived, journey, running};

struct Server {
    url: String,
    client: reqwest::Client,
    ready: Ready,
    events: broadcast::Sender<EventRecord>,
    _snapshots: watch::Sender<Arc<Snapshot>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

async fn start(snapshot: Arc<Snapshot>) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, snapshots) = watch::channel(snapshot);
    let (events, _) = broadcast::channel(2);
    let ready = Ready::default();
    let state = HttpState {
        ready: ready.clone(),
        ..HttpState::new(snapshots, Arc::new(Metrics::new()), events.clone())
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    Server { url, client, ready, events, _snapshots: sender, stop: Some(stop), task }
}

impl Server {
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get(path).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path} gave no JSON: {text}")))
    }
}

/// The sentences that answer a question about the shop.
fn told(question: &str) -> Vec<String> {
    told_of(&fleet::shop(), question)
}

fn told_of(snapshot: &Snapshot, question: &str) -> Vec<String> {
    let question = knotmeter::http::Question::new(question, None);
    why(snapshot, &question, None).into_iter().map(|answer| answer.sentence).collect()
}

#[test]
fn why_says_what_is_stuck_first_and_what_runs_meanwhile() {
    insta::assert_snapshot!(told("checkout").join("\n"), @r"
    team/checkout:v3.8.1 is stuck in prod (deployment/checkout -n prod): it has waited for ready for 4m12s: its container ends again and again: look at its log
    team/checkout:v3.8.1 is live in staging (deployment/checkout -n staging) since 12:00:06 (±0.5 s), 6.0 s after the push
    team/checkout:v3.8.0 is live in prod (deployment/checkout -n prod) since 09:12:44; it is 4m26s behind what it should run
    ");
}

#[test]
fn why_says_held_blind_under_way_superseded_and_never_seen() {
    insta::assert_snapshot!(
        [told("reports:2.1.0"), told("search:0.9.4"), told("web:v1.0.4"), told("web:v1.0.2"), told("nobody/knows:1")]
            .concat()
            .join("\n"),
        @r"
    team/reports:2.1.0 is held in prod (deployment/reports -n prod) since 12:02:30: the Deployment is paused: kubectl rollout resume lets it go on
    team/reports:2.1.0 is live in staging (deployment/reports -n staging) since 11:12:00
    nothing can be said of team/search:0.9.4 in prod (deployment/search -n prod): git/https://git.example.com/team/deploy was last seen whole at 12:02:11
    team/search:0.9.4 is live in staging (deployment/search -n staging) since 10:40:00
    team/web:v1.0.4 is on its way to staging (deployment/web -n staging): it reached applied 14 s ago and waits for started
    team/web:v1.0.2 never became live in prod (deployment/web -n prod): team/web:v1.0.3 superseded it at 11:58:02 (it had reached committed)
    nobody/knows:1 was never seen: no followed registry, commit or workload names it lately; /api/v1/sources says what is followed
    "
    );
}

#[test]
fn why_tells_what_was_live_from_what_is() {
    let mut later = arrived("web", "v2", "prod");
    later.opened = knotmeter::observation::Interval::at(fleet::at("12:03:00"));
    later = later.live("12:03:04", "12:03:05");
    let journeys = vec![arrived("web", "v1", "prod"), later];
    let snapshot = Snapshot {
        at: fleet::now(),
        journeys: journeys.into_iter().map(Arc::new).collect(),
        destinations: vec![running("web", "v2", "prod", "12:03:04")],
        sources: vec![],
        updaters: Updaters::default(),
    };
    insta::assert_snapshot!(told_of(&snapshot, "web:v1").join("\n"), @"team/web:v1 was live in prod (deployment/web -n prod) from 12:00:06 (±0.5 s), 6.0 s after the push; now team/web:v2 is");
}

#[test]
fn why_says_who_gave_up_and_what_hides_a_commit() {
    let object = || "helmrelease/cart -n prod".into();
    let failed = knotmeter::tracker::Journey {
        outcome: Some(Outcome::Failed),
        who: Some(Who {
            object: object(),
            says: "Helm upgrade failed: context deadline exceeded.".into(),
            commits: Vec::new(),
        }),
        stages: knotmeter::tracker::Stages::default(),
        ..arrived("cart", "v2", "prod")
    };
    let unseen = knotmeter::tracker::Journey {
        commit_unseen: Some(Who {
            object: object(),
            says: "values come from secret/cart, which is never read".into(),
            commits: Vec::new(),
        }),
        ..arrived("cart", "v1", "prod")
    };
    let given_up = knotmeter::tracker::Journey { who: None, ..failed.clone() };
    let overtaken =
        knotmeter::tracker::Journey { outcome: Some(Outcome::Superseded), ..arrived("cart", "v0", "prod") };
    let sentence = |journey: &knotmeter::tracker::Journey| {
        let around = Around { at: fleet::now(), sources: &[], journeys: &[] };
        sentence(&around, journey)
    };
    insta::assert_snapshot!([&failed, &given_up, &unseen, &overtaken].map(sentence).join("\n"), @r"
    team/cart:v2 failed in prod (deployment/cart -n prod) at 12:00:06: the rollout was given up (helmrelease/cart -n prod: Helm upgrade failed: context deadline exceeded); a retry starts anew
    team/cart:v2 failed in prod (deployment/cart -n prod) at 12:00:06: the rollout was given up; a retry starts anew
    team/cart:v1 is live in prod (deployment/cart -n prod) since 12:00:06 (±0.5 s), 6.0 s after the push; no commit is known for it (helmrelease/cart -n prod: values come from secret/cart, which is never read)
    team/cart:v0 was live in prod (deployment/cart -n prod) at 12:00:06, after another image had superseded it at 12:00:06
    ");
}

#[test]
fn why_finds_by_every_name_that_people_use() {
    let stuck = "team/checkout:v3.8.1 is stuck";
    let shop = fleet::shop();
    let digest = shop.journeys[4].digest.as_ref().unwrap().to_string();
    let id = shop.journeys[4].id.to_string();
    for question in [
        "registry.example.com/team/checkout:v3.8.1",
        "team/checkout:v3.8.1",
        "checkout",
        "deployment/checkout",
        "deploy/checkout",
        "4f2a9c1b",
        &digest,
        &digest[..19],
        &digest[7..20],
        &format!("anything@{digest}"),
        &id,
    ] {
        let sentences = told(question);
        assert!(sentences[0].starts_with(stuck), "{question}: {sentences:?}");
    }
    for question in
        ["checkout:v3.8", "heckout", "deployment/web2", "4f2", "sha256:abcdef", "statefulset/checkout"]
    {
        let sentences = told(question);
        assert!(sentences[0].contains("was never seen"), "{question}: {sentences:?}");
    }
}

#[tokio::test]
async fn journeys_are_filtered_and_newest_first() {
    let server = start(fleet::shop()).await;
    let images = async |query: &str| -> Vec<String> {
        let (status, body) = server.json(&format!("/api/v1/journeys{query}")).await;
        assert_eq!(status, 200, "{body}");
        let journeys = body["journeys"].as_array().unwrap().iter();
        journeys
            .map(|journey| journey["image"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        images("?open=true").await,
        ["web:v1.0.4", "search:0.9.4", "reports:2.1.0", "checkout:v3.8.1"]
    );
    assert_eq!(images("?app=web&environment=prod").await, ["web:v1.0.3", "web:v1.0.2"]);
    assert_eq!(images("?image=web:v1.0.2").await, ["web:v1.0.2"]);
    assert_eq!(images("?namespace=staging&open=false&limit=1").await, ["checkout:v3.8.1"]);
    let (status, body) = server.json("/api/v1/journeys?colour=red").await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("colour"), "{body}");
}

#[tokio::test]
async fn a_journey_is_found_by_its_old_ids_and_its_absence_is_json() {
    let mut journey = arrived("web", "v1", "prod");
    journey.aliases = vec![knotmeter::tracker::JourneyId(0xabc)];
    let id = journey.id.to_string();
    let mut snapshot = (*Snapshot::empty(fleet::now())).clone();
    snapshot.journeys.push(Arc::new(journey));
    let server = start(Arc::new(snapshot)).await;
    for path in
        ["/api/v1/journeys/0000000000000abc", "/api/v1/journeys/abc", &format!("/api/v1/journeys/{id}")]
    {
        let (status, body) = server.json(path).await;
        assert_eq!((status, body["id"].as_str()), (200, Some(id.as_str())), "{path}");
    }
    assert_eq!(server.json("/api/v1/journeys/dead").await.0, 404);
    assert_eq!(server.json("/api/v1/journeys/nonsense").await.0, 400);
    assert_eq!(server.json("/journeys/dead").await.0, 404);
    assert_eq!(server.get("/journeys/abc").await.0, 200);
}

#[tokio::test]
async fn ready_follows_the_flag_and_tells_the_sources() {
    let server = start(fleet::shop()).await;
    assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.json("/readyz").await.0, 503);
    server.ready.set(true);
    let (status, body) = server.json("/readyz").await;
    assert_eq!(status, 200, "a source that is down does not make us unready");
    assert_eq!(body["sources"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn metrics_come_in_the_format_asked_for_and_gzipped_on_request() {
    let server = start(fleet::shop()).await;
    let url = format!("{}/metrics", server.url);
    let classic = server.client.get(&url).send().await.unwrap();
    assert_eq!(classic.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let classic = classic.text().await.unwrap();
    assert!(classic.contains("# TYPE knotmeter_live_info gauge"), "{classic}");
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let zipped = server
        .client
        .get(&url)
        .header("accept", accept)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let bytes = zipped.bytes().await.unwrap();
    let mut open = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut open).unwrap();
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE knotmeter_live info"), "{open}");
}

#[tokio::test]
async fn the_past_is_told_to_one_person_at_a_time_and_nobody_else_waits() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (_snapshots, snapshots) = watch::channel(fleet::shop());
    let (metrics, events) = (Arc::new(Metrics::new()), broadcast::channel(2).0);
    let (pasts, mut asked) = Pasts::new();
    let state = HttpState { pasts, ..HttpState::new(snapshots, metrics, events) };
    let server = tokio::spawn(serve(listener, state, std::future::pending()));
    let ask = |at: &str| {
        let request = reqwest::Client::new().get(format!("{url}/api/v1/why?q=web&at={at}"));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (status, body) = ask("yesterday").await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("is no time"), "{body}");

    let first = tokio::spawn(ask("10m"));
    let request = asked.recv().await.unwrap();
    assert_eq!(request.question.text, "web");
    let (status, body) = ask("20m").await;
    assert!(status == 429 && body["error"].as_str().unwrap().contains("try again"), "{body}");
    // A scrape does not wait for it.
    assert_eq!(reqwest::get(format!("{url}/metrics")).await.unwrap().status(), 200);
    // Who goes is told to whoever works, and the place is free when the work is done.
    first.abort();
    let gone = async {
        while !request.is_given_up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is told");
    assert_eq!(ask("20m").await.0, 429);
    request.answer(Err("nobody waits".into()));

    let second = tokio::spawn(ask("20m"));
    let request = asked.recv().await.unwrap();
    request.answer(Err("it is before the oldest time that can be answered".into()));
    let (status, body) = second.await.unwrap();
    assert!(status == 400 && body["error"].as_str().unwrap().contains("before the oldest"), "{body}");
    server.abort();
}

#[tokio::test]
async fn an_instance_without_a_journal_says_so_and_is_not_taken_for_absent() {
    let mut server = start(fleet::shop()).await;
    let (page, folder) = (server.url.clone(), tempfile::tempdir().unwrap());
    let asked = knotmeter(&["why", "web", "--at", "10m", "--server", &page], folder.path());
    let asked = run(asked, "knotmeter").await;
    assert_eq!(asked.code, Some(3), "{asked:?}");
    assert!(asked.err.contains("keeps no journal") && asked.err.contains("`journal:`"), "{asked:?}");
    assert!(asked.err.contains(&page) && !asked.err.contains("running there"), "{asked:?}");
    server.stop.take().expect("it runs").send(()).unwrap();
    (&mut server.task).await.unwrap();
    let nobody = knotmeter(&["why", "web", "--server", &page], folder.path());
    let nobody = run(nobody, "knotmeter").await;
    assert!(nobody.code == Some(3) && nobody.err.contains("running there"), "{nobody:?}");
}

#[tokio::test]
async fn readers_that_do_not_read_are_let_go_and_stop_nobody() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Small buffers, so that answers wait in the program and not in the kernel.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(64).unwrap();
    let address = listener.local_addr().unwrap();
    let (_snapshots, snapshots) = watch::channel(Snapshot::empty(fleet::now()));
    let (metrics, events) = (Arc::new(Metrics::new()), broadcast::channel(2).0);
    let state = HttpState::new(snapshots, metrics, events);
    let patience = Duration::from_secs(1);
    let server = tokio::spawn(serve_with(patience, listener, state, std::future::pending()));

    let mut idle = Vec::new();
    for _ in 0..8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: knotmeter\r\n\r\n";
        stream.write_all(&request.repeat(20)).await.unwrap();
        idle.push(stream);
    }
    let scrape = async {
        let url = format!("http://{address}/metrics");
        while reqwest::get(&url).await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for stream in idle {
            // Ended by the server, although nothing was read: only then does writing fail.
            while stream.try_write(b"G").is_ok_and(|written| written > 0)
                || stream.try_write(b"G").is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), scrape).await.expect("others are served, idle ones let go");
    server.abort();
}

#[tokio::test]
async fn a_wrong_path_or_method_is_told_what_there_is() {
    let server = start(Snapshot::empty(fleet::now())).await;
    let (status, body) = server.json("/api/v2/anything").await;
    assert_eq!(status, 404);
    assert_eq!(body["paths"].as_array().unwrap().len(), ROUTES.len());
    let posted =
        server.client.post(format!("{}/api/v1/journeys", server.url)).body("x").send().await.unwrap();
    assert_eq!(posted.status(), 405);
    assert!(posted.json::<Value>().await.unwrap()["error"].is_string());
}

#[tokio::test]
async fn the_openapi_document_has_every_route_of_the_api_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described: Vec<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut routed: Vec<&str> =
        ROUTES.iter().map(|(path, _)| *path).filter(|path| path.starts_with("/api/")).collect();
    described.sort_unstable();
    routed.sort_unstable();
    assert_eq!(described, routed);

    // And its journey has the fields that a journey has.
    let server = start(fleet::shop()).await;
    assert_eq!(server.json("/api/v1/openapi.json").await.1, document);
    let (_, journeys) = server.json("/api/v1/journeys").await;
    let (_, answers) = server.json("/api/v1/why?q=web").await;
    let (_, sources) = server.json("/api/v1/sources").await;
    for (schema, sample) in [
        ("Journey", &journeys["journeys"][0]),
        ("Answer", &answers["answers"][0]),
        ("Source", &sources["sources"][0]),
    ] {
        let properties = &document["components"]["schemas"][schema]["properties"];
        let fields = |value: &Value| {
            let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(fields(properties), fields(sample), "{schema}");
    }
}

#[tokio::test]
async fn the_page_puts_what_is_stuck_first_and_escapes_everything() {
    let mut snapshot = (*fleet::shop()).clone();
    let hostile = "\"'><script>alert(1)</script>";
    let stuck = Arc::make_mut(&mut snapshot.journeys[4]);
    stuck.destination.environment = hostile.into();
    let commit = stuck.commit.as_mut().unwrap();
    (commit.subject, commit.author, commit.repository) = (hostile.into(), hostile.into(), hostile.into());
    stuck.who = Some(Who { object: hostile.into(), says: hostile.into(), commits: vec![commit.clone()] });
    let detail = format!("/journeys/{}", stuck.id);
    snapshot.destinations[0].destination.app = hostile.into();
    snapshot.sources[0].source = hostile.into();
    let server = start(Arc::new(snapshot)).await;
    let (status, page) = server.get("/").await;
    assert_eq!(status, 200);
    for page in [&page, &server.get(&detail).await.1] {
        assert!(!page.contains("<script") && !page.contains("\"'>"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("the page lacks {text:?}"));
    assert!(place("its container ends again and again") < place("Under way"));
    assert!(place(">Stuck ") < place(">Held or out of sight "));
    assert!(place("4m26s behind") < place(">Ended lately "));
    let answer = server.client.get(&server.url).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn a_page_without_anything_says_what_to_do() {
    let server = start(Snapshot::empty(fleet::now())).await;
    let (status, page) = server.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("No journey yet"), "{page}");
}

#[tokio::test]
async fn events_stream_and_a_slow_reader_is_told_what_it_missed() {
    let mut server = start(Snapshot::empty(fleet::now())).await;
    let mut stream = server.client.get(format!("{}/api/v1/events", server.url)).send().await.unwrap();
    let moved = journey("web", "v1", "prod", "12:00:00").ends(Outcome::Superseded, "12:01:00");
    let event = Event::Moved { id: moved.id, stage: Some(Stage::Applied) };
    // Three into room for two, before the reader has its turn: the first is lost.
    for event in [&event, &event, &Event::Settled(Box::new(moved.clone()))] {
        server.events.send(EventRecord::from(event)).unwrap();
    }
    let mut text = String::new();
    while !text.contains("event: settled") {
        let chunk =
            tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.starts_with("event: lagged\ndata: {\"missed\":1}\n\n"), "{text}");
    assert!(text.contains("event: moved\ndata: {\"journey\":"), "{text}");
    assert!(text.contains("\"outcome\":\"superseded\""), "{text}");

    // The stream has no end of its own, and must not keep the program from ending.
    drop(server.stop.take());
    tokio::time::timeout(Duration::from_secs(15), &mut server.task).await.unwrap().unwrap();
}
