//! Prometheus endpoints of controllers: what is read of real ones, and what of those that nobody should send.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use knotmeter::config::{Scrape, Seconds, Tls};
use knotmeter::observation::{Fact, LookFailure, Measure, Scope, SourceId, SourceKind};
use knotmeter::observers::scrape::{self, OBJECTS_MAX, ObjectName, Problem, Reader, Total, Totals};
use knotmeter::observers::{Report, Reporter};
use tokio::sync::mpsc;

use crate::front::TlsFront;

/// Long enough for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

fn recorded(scenario: &str, file: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/flux-2.9.0");
    let packed = std::fs::File::open(format!("{folder}/{scenario}/{file}")).expect("a recording");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("text");
    text
}

fn read(text: &str) -> BTreeMap<ObjectName, Total> {
    let mut reader = Reader::default();
    assert!(reader.push(text.as_bytes()));
    reader.end().0
}

fn object(name: &str) -> ObjectName {
    ObjectName { namespace: "flux-system".into(), name: name.into() }
}

/// `SUM/COUNT` of one object by a way of its own: a pattern over the whole text.
fn truth(text: &str, name: &str) -> Total {
    let number = |part: &str| -> f64 {
        let pattern = format!(
            r#"(?m)^gotk_reconcile_duration_seconds_{part}\{{kind="ImageRepository",name="{name}",namespace="flux-system"\}} (\S+)$"#
        );
        let pattern = regex::Regex::new(&pattern).unwrap();
        pattern.captures(text).expect("it is there")[1].parse().unwrap()
    };
    Total { seconds: number("sum"), count: number("count") }
}

#[test]
fn real_controllers_tell_how_long_each_scanner_took_between_two_scrapes() {
    for scenario in ["01-deliveries", "02-held", "04-broken"] {
        let [begin, end] =
            ["metrics-begin.prom.gz", "metrics-end.prom.gz"].map(|file| recorded(scenario, file));
        let mut totals = Totals::default();
        assert_eq!(totals.compare(read(&begin)), [], "how long the first totals took to come nobody knows");
        let between = totals.compare(read(&end));
        let names: Vec<&str> = between.iter().map(|found| found.object.name.as_str()).collect();
        assert!(["api", "web", "worker"].iter().all(|name| names.contains(name)), "{scenario}: {names:?}");
        for found in &between {
            let after = truth(&end, &found.object.name);
            let began = begin.contains(&format!(r#"kind="ImageRepository",name="{}""#, found.object.name));
            let before = if began { truth(&begin, &found.object.name) } else { Total::default() };
            assert_eq!(found.count, after.count - before.count, "{scenario} {}", found.object.name);
            assert!((found.seconds - (after.seconds - before.seconds)).abs() < 1e-9, "{scenario}");
            let mean = found.seconds / found.count;
            assert!((0.001..2.0).contains(&mean), "{scenario} {}: {mean} s", found.object.name);
        }
    }
}

#[test]
fn a_total_that_fell_is_of_a_new_process_and_one_that_stood_still_tells_nothing() {
    let total = |seconds, count| BTreeMap::from([(object("web"), Total { seconds, count })]);
    let mut totals = Totals::default();
    assert_eq!(totals.compare(total(10.0, 100.0)), []);
    let after = totals.compare(total(12.0, 104.0));
    assert_eq!((after[0].seconds, after[0].count), (2.0, 4.0));
    assert_eq!(totals.compare(total(12.0, 104.0)), []);
    let anew = totals.compare(total(0.5, 2.0));
    assert_eq!((anew[0].seconds, anew[0].count), (0.5, 2.0));
    // Gone, then there again: all of it is since then.
    assert_eq!(totals.compare(BTreeMap::new()), []);
    assert_eq!(totals.compare(total(3.0, 3.0))[0].count, 3.0);
}

#[test]
fn both_formats_are_read_and_what_is_of_another_shape_is_passed_over() {
    let line =
        |labels: &str, end: &str| format!("gotk_reconcile_duration_seconds_{end}\n").replace("{}", labels);
    let web = r#"{kind="ImageRepository",name="web",namespace="flux-system"}"#;
    for text in [
        line(web, "sum{} 2.5") + &line(web, "count{} 5"),
        // OpenMetrics with a time and an exemplar, in another order, with spaces and a label of its own.
        format!(
            "# TYPE gotk_reconcile_duration_seconds histogram\r\n{}{}# EOF",
            line(
                r#"{ namespace="flux-system", name="web", pod="a\"b\\c\nd", kind="ImageRepository" }"#,
                "sum{} 2.5 1.7e9"
            ),
            line(web, "count{} 5.0 # {trace_id=\"x\"} 1 2")
        ),
        "no newline at its end\n".to_owned() + &line(web, "sum{} 2.5") + line(web, "count{} 5").trim_end(),
    ] {
        let found = read(&text);
        assert_eq!(found, BTreeMap::from([(object("web"), Total { seconds: 2.5, count: 5.0 })]), "{text}");
    }
    for odd in [
        line(web, "sum{} 2.5"),
        line(web, "sum{} NaN") + &line(web, "count{} 5"),
        line(web, "sum{} -1") + &line(web, "count{} 5"),
        line(web, "sum{} +Inf") + &line(web, "count{} 5"),
        line(r#"{kind="Kustomization",name="web",namespace="flux-system"}"#, "sum{} 1"),
        line(r#"{kind="ImageRepository",name="",namespace="x"}"#, "sum{} 1"),
        line(r#"{kind="ImageRepository",name="web"#, "sum{} 1"),
        format!("{}{}", "x".repeat(9 << 10), line(web, "sum{} 1")),
    ] {
        let found = read(&(odd.clone() + &line(web, "count_of{} 1")));
        assert_eq!(found, BTreeMap::new(), "{}", &odd[..odd.len().min(200)]);
    }
}

#[test]
fn more_objects_than_anybody_has_are_counted_and_left_out() {
    let mut reader = Reader::default();
    for number in 0..OBJECTS_MAX + 7 {
        for part in ["sum", "count"] {
            let line = format!(
                "gotk_reconcile_duration_seconds_{part}{{kind=\"ImageRepository\",name=\"r{number}\",namespace=\"x\"}} 1\n"
            );
            assert!(reader.push(line.as_bytes()));
        }
    }
    let (found, left_out) = reader.end();
    assert_eq!((found.len(), left_out), (OBJECTS_MAX, 7));
}

/// What the server answers next, by path; and what it was asked.
#[derive(Clone, Default)]
struct Server {
    texts: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
}

async fn metrics(State(server): State<Server>, headers: HeaderMap) -> Response {
    server.asked.lock().unwrap().push(headers);
    let mut texts = server.texts.lock().unwrap();
    let text = if texts.len() > 1 { texts.remove(0) } else { texts[0].clone() };
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    ([("content-encoding", "gzip")], packed.finish().unwrap()).into_response()
}

/// A few kilobytes that unpack to more than is read.
async fn bomb() -> Response {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let line = [b'#'; 1 << 20];
    for _ in 0..=scrape::ANSWER_BYTES_MAX >> 20 {
        packed.write_all(&line).unwrap();
    }
    ([("content-encoding", "gzip")], packed.finish().unwrap()).into_response()
}

async fn start(server: &Server) -> SocketAddr {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/bomb", get(bomb))
        .route("/moved", get(|| async { Redirect::temporary("/metrics") }))
        .route("/hidden", get(|| async { StatusCode::FORBIDDEN }))
        .route("/empty", get(|| async { "" }))
        .with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn named(url: String) -> Scrape {
    Scrape {
        name: "reflector".into(),
        url,
        cluster: None,
        interval: Seconds(0.05),
        token_file: None,
        tls: Tls::default(),
    }
}

#[tokio::test]
async fn an_endpoint_is_a_source_whose_measures_are_told_and_whose_outages_too() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::default();
    *server.texts.lock().unwrap() =
        ["metrics-begin.prom.gz", "metrics-end.prom.gz"].map(|file| recorded("01-deliveries", file)).into();
    let address = start(&server).await;
    let (to, mut reports) = mpsc::channel(64);
    let reporter = Reporter::new(SourceId::new(SourceKind::Scrape, "reflector"), 1, to);
    let scraping =
        tokio::spawn(scrape::run(named(format!("http://{address}/metrics")), "lab".into(), reporter));
    let (mut looks, mut scans) = (0, BTreeMap::new());
    while scans.len() < 3 || looks < 2 {
        match tokio::time::timeout(PATIENCE, reports.recv()).await.expect("in time").expect("it goes on") {
            Report::Measure(Measure::UpdaterScan { cluster, namespace, name, seconds }) => {
                assert_eq!((&*cluster, &*namespace), ("lab", "flux-system"));
                scans.insert(name.to_string(), seconds);
            }
            Report::Observation(said) => {
                let Fact::LookCompleted { scope, .. } = said.fact else { panic!("{said:?}") };
                assert_eq!(scope, Scope::Endpoint("reflector".into()));
                looks += 1;
            }
            Report::Measure(other) => panic!("{other:?}"),
        }
    }
    let [begin, end] =
        ["metrics-begin.prom.gz", "metrics-end.prom.gz"].map(|file| recorded("01-deliveries", file));
    let (before, after) = (truth(&begin, "web"), truth(&end, "web"));
    let mean = (after.seconds - before.seconds) / (after.count - before.count);
    assert!((scans["web"] - mean).abs() < 1e-9, "{} is not {mean}", scans["web"]);
    scraping.abort();
    let asked = server.asked.lock().unwrap();
    assert!(asked[0]["accept-encoding"].to_str().unwrap().contains("gzip"));
    assert!(asked.iter().all(|headers| !headers.contains_key("authorization")));
}

#[tokio::test]
async fn a_token_is_read_at_every_scrape_and_sent_over_tls() {
    let server = Server::default();
    *server.texts.lock().unwrap() = vec!["up 1\n".into()];
    let front = TlsFront::start(start(&server).await, &["127.0.0.1"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let config = Scrape {
        token_file: Some(file.clone()),
        tls: Tls { ca_file: Some(front.authority.file()), ..Tls::default() },
        ..named(format!("https://{}/metrics", front.address))
    };
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        scrape::check(&config).await.unwrap();
    }
    let asked = server.asked.lock().unwrap();
    let sent: Vec<&str> = asked.iter().map(|headers| headers["authorization"].to_str().unwrap()).collect();
    assert_eq!(sent, ["Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn what_is_no_exposition_is_told_in_a_sentence_and_nothing_of_it_is_followed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::default();
    *server.texts.lock().unwrap() = vec!["up 1\n".into()];
    let address = start(&server).await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    assert_eq!(scrape::check(&named(format!("http://{address}/metrics"))).await.unwrap(), 0);
    let asked = server.asked.lock().unwrap().len();
    for (url, class, words) in [
        (format!("http://{address}/bomb"), LookFailure::Malformed, "bytes"),
        (format!("http://{address}/moved"), LookFailure::Malformed, "no redirect is followed"),
        (format!("http://{address}/hidden"), LookFailure::Forbidden, "token_file"),
        (format!("http://{address}/empty"), LookFailure::Malformed, "empty"),
        (format!("http://{address}/nothing"), LookFailure::Missing, "404"),
        (format!("http://{nobody}/metrics"), LookFailure::Network, "refused"),
    ] {
        let problem: Problem = scrape::check(&named(url.clone())).await.unwrap_err();
        assert_eq!(problem.class(), class, "{url}: {problem}");
        assert!(problem.to_string().contains(words), "{url}: {problem}");
    }
    let missing =
        Scrape { token_file: Some("/nowhere/token".into()), ..named(format!("http://{address}/metrics")) };
    let problem = scrape::check(&missing).await.unwrap_err();
    assert_eq!(problem.class(), LookFailure::Unauthorized);
    assert_eq!(server.asked.lock().unwrap().len(), asked, "nobody was asked without a token, or led there");
}
