//! The smoketest against a real registry (Debian's `docker-registry`) and a stand-in for Knotmeter's API that
//! answers from a script: here it is the verdict that is tested, not how journeys come about.

mod registry;

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::routing::get;
use knotmeter::image::{Digest, Tag};
use knotmeter::smoketest::{self, Canary, Conclusion, Credentials, Options, Verdict, report};
use serde_json::{Value, json};

use registry::Registry;

/// Long enough for a slow machine: no test waits for it unless it fails, but for those about time itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one answer after the other; the last one stays. `{image}` questions are checked.
async fn knotmeter(answers: Vec<Value>) -> String {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move |Query(question): Query<Vec<(String, String)>>| {
        let at = asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        let [(name, image)] = question.as_slice() else { panic!("one question: {question:?}") };
        assert!(name == "image" && image.contains("/team/canary:"), "{name}={image}");
        std::future::ready(axum::Json(answers[at].clone()))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().route("/api/v1/journeys", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn journeys(journeys: &[Value]) -> Value {
    json!({"at": "2026-01-01T00:00:00.000Z", "total": journeys.len(), "journeys": journeys})
}

fn journey(environment: &str, outcome: Option<&str>) -> Value {
    let stages = [("pushed", "known"), ("committed", "known"), ("started", "unknown"), ("ready", "skipped")];
    let stages: Vec<Value> = stages
        .iter()
        .map(|(stage, state)| {
            let at = (*state == "known").then_some("2026-01-01T00:00:10.000Z");
            json!({"stage": stage, "state": state, "not_before": at, "not_after": at, "basis": at.map(|_| "poll")})
        })
        .collect();
    json!({
        "id": "00000000000000aa", "subject": "image", "image": "x", "digest": null, "environment": environment,
        "destination": format!("lab/{environment}/deployment/web/web"), "outcome": outcome, "settled": false,
        "stages": stages, "held": null, "stuck": null, "blind": null,
    })
}

fn options(registry: &Registry, server: &str) -> Options {
    Options {
        server: server.into(),
        repository: format!("{}/team/canary", registry.host).parse().expect("a repository"),
        tag: None,
        tag_prefix: "v0.0.".into(),
        plain_http: true,
        credentials: Credentials::Anonymous,
        environments: vec!["staging".into(), "prod".into()],
        timeout: PATIENCE,
    }
}

async fn run(options: Options) -> Verdict {
    // Fails where another test was first: one provider for the whole process is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    smoketest::run(options).await
}

#[tokio::test]
async fn a_canary_that_goes_live_everywhere_passes() {
    let registry = Registry::start(None).await;
    let server = knotmeter(vec![
        journeys(&[]),
        journeys(&[journey("staging", None)]),
        journeys(&[journey("staging", Some("live"))]),
        journeys(&[journey("staging", Some("live")), journey("prod", Some("live"))]),
    ])
    .await;
    let verdict = run(options(&registry, &server)).await;
    assert_eq!(verdict.conclusion, Conclusion::Live);
    assert_eq!(verdict.exit_code(), 0);
    let image = verdict.image.clone().expect("an image");
    assert!(image.tag.clone().expect("a tag").as_str().starts_with("v0.0.1"), "{image}");

    let manifest = registry.manifest(image.tag.as_ref().expect("a tag").as_str()).await;
    assert_eq!(Some(Digest::of(&manifest)), verdict.digest, "the registry has exactly what we say");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["annotations"]["knotmeter.dev/synthetic"], "true");
    assert!(manifest["annotations"]["org.opencontainers.image.created"].is_string());
    assert!(manifest["annotations"]["org.opencontainers.image.revision"].is_string());
}

#[tokio::test]
async fn another_ending_fails() {
    let registry = Registry::start(None).await;
    let server =
        knotmeter(vec![journeys(&[journey("staging", Some("live")), journey("prod", Some("rolled_back"))])])
            .await;
    let verdict = run(options(&registry, &server)).await;
    assert_eq!(verdict.exit_code(), 1);
    assert!(
        report::table(&verdict).contains("is not live: rolled_back in prod at lab/prod/deployment/web/web")
    );
}

#[tokio::test]
async fn what_is_waited_for_is_told_when_the_time_is_up() {
    let registry = Registry::start(None).await;
    let mut stuck = journey("staging", None);
    stuck["stuck"] = json!({"stage": "ready", "reason": "image_pull", "since": "2026-01-01T00:00:00.000Z",
        "sentence": "the image cannot be pulled"});
    let server = knotmeter(vec![journeys(&[stuck])]).await;
    let verdict = run(Options { timeout: Duration::from_millis(1500), ..options(&registry, &server) }).await;
    assert_eq!(verdict.exit_code(), 2);
    let Conclusion::TimedOut { waiting } = &verdict.conclusion else { panic!("{:?}", verdict.conclusion) };
    assert_eq!(
        waiting,
        &[
            "staging: lab/staging/deployment/web/web is stuck before ready: the image cannot be pulled (image_pull)",
            "prod: no journey opened; does its update policy select this tag?",
        ]
    );
}

#[tokio::test]
async fn nothing_is_pushed_where_nobody_can_be_asked() {
    let registry = Registry::start(None).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let verdict = run(options(&registry, &format!("http://{closed}"))).await;
    assert_eq!(verdict.exit_code(), 3);
    let Conclusion::CannotAsk { why } = &verdict.conclusion else { panic!("{:?}", verdict.conclusion) };
    assert!(why.starts_with(&format!("cannot ask http://{closed}: Connection refused")), "{why}");
    assert_eq!(registry.tags().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_tag_that_exists_is_not_replaced() {
    let registry = Registry::start(None).await;
    let server =
        knotmeter(vec![journeys(&[journey("staging", Some("live")), journey("prod", Some("live"))])]).await;
    let fixed =
        || Options { tag: Some("1.0.0".parse::<Tag>().expect("a tag")), ..options(&registry, &server) };
    assert_eq!(run(fixed()).await.exit_code(), 0);
    let before = registry.manifest("1.0.0").await;
    let second = run(fixed()).await;
    assert_eq!(second.exit_code(), 3);
    assert!(report::table(&second).contains("exists: a smoketest replaces nothing"));
    assert_eq!(registry.manifest("1.0.0").await, before);
}

#[tokio::test]
async fn credentials_open_a_registry_and_stay_out_of_messages() {
    let registry = Registry::start(Some(("sailor", "anchor-4711"))).await;
    let server =
        knotmeter(vec![journeys(&[journey("staging", Some("live")), journey("prod", Some("live"))])]).await;
    let login = |password: &str| Options {
        credentials: Credentials::Basic { user: "sailor".into(), password: password.into() },
        ..options(&registry, &server)
    };
    let refused = run(login("wrong-4712")).await;
    let text = format!("{refused:?} {} {:?}", report::table(&refused), login("wrong-4712"));
    assert_eq!(refused.exit_code(), 3, "{text}");
    assert!(text.contains("cannot push to") && !text.contains("4712"), "{text}");
    assert_eq!(run(login("anchor-4711")).await.exit_code(), 0);
}

#[test]
fn the_report_counts_from_our_own_push() {
    let at = |second: i64| knotmeter::observation::Time(1_767_225_600_000 + second * 1000);
    let seen = serde_json::from_value(journey("prod", Some("live"))).expect("a journey");
    let verdict = Verdict {
        image: Some("r.io/team/canary:v0.0.1".parse().expect("an image")),
        digest: None,
        pushed: Some(knotmeter::observation::Interval::new(at(0), at(1))),
        conclusion: Conclusion::Live,
        journeys: vec![seen],
    };
    let lines = [
        "r.io/team/canary:v0.0.1 is live",
        "",
        "prod  lab/prod/deployment/web/web  journey 00000000000000aa",
        "  STAGE      SINCE PUSH        ±  BASIS",
        "  pushed           0.0s     0.5s  smoketest",
        "  committed        9.5s     0.5s  poll",
        "  started       unknown",
        "  ready         skipped",
        "",
    ];
    assert_eq!(report::table(&verdict), lines.join("\n"));
}

#[test]
fn a_canary_runs_and_ends_at_once_when_asked() {
    let canary = Canary::new(SystemTime::now());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("layer.tar"), &canary.layer).expect("written");
    let unpacked =
        Command::new("tar").args(["-xf", "layer.tar"]).current_dir(&folder).status().expect("tar runs");
    assert!(unpacked.success(), "the layer is an archive");
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        return;
    }
    let program = Command::new(folder.path().join("canary")).spawn().expect("the program starts");
    let mut program = Ended(program);
    let waits = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.0.id())).expect("it runs");
        // The only call in which it sleeps is the one that waits for the signal.
        status.lines().any(|line| line.starts_with("State:\tS"))
    };
    let started = SystemTime::now();
    while !waits() {
        assert!(started.elapsed().expect("a clock") < PATIENCE, "it never waited for a signal");
        std::thread::yield_now();
    }
    let asked = Command::new("kill").arg(program.0.id().to_string()).status().expect("kill runs");
    assert!(asked.success());
    assert_eq!(program.0.wait().expect("it ends").code(), Some(0));
}

/// A process that ends with its test, whatever the test comes to.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_two_canaries_are_equal() {
    let now = SystemTime::now();
    assert_ne!(Canary::new(now).digest(), Canary::new(now + Duration::from_nanos(1)).digest());
}
