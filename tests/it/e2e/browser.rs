//! The page in a real browser, with something stuck on it.

use std::time::Instant;

use knotmeter::demo::Fault;

use super::process::{program, run};
use super::world::{Watched, quick};
use super::{PATIENCE, Timed};

/// Nothing that a browser does on its own account.
const QUIET: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_what_is_stuck_first() {
    let _timed = Timed::part("browser");
    let watched =
        Watched::start(quick(), |config| config["budgets"] = serde_json::json!({"live": "1s"})).await;
    watched.world.inject(Fault::NeverReady);
    watched.world.push("team/api", "v1.0.1").await.unwrap();
    let is_stuck = |environment: &'static str| {
        move |journey: &knotmeter::tracker::Journey| {
            journey.stuck.is_some() && *journey.destination.environment == *environment
        }
    };
    for environment in ["staging", "prod"] {
        watched.journey("it is stuck in both environments", is_stuck(environment)).await;
    }

    let folder = watched.folder.path();
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let picture = folder.join("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    let page = watched.page();
    let arguments = |what| [&QUIET[..], &[profile.as_str(), what, page.as_str()]].concat();

    let started = Instant::now();
    let dom = run(program("chromium", &arguments("--dump-dom"), folder), "chromium").await.done();
    let headings: Vec<&str> = dom
        .split("<h2>")
        .skip(1)
        .filter_map(|rest| rest.split(['<', '\u{a0}']).next())
        .map(str::trim)
        .collect();
    assert_eq!(headings.first(), Some(&"Stuck"), "{headings:?}\n{dom}");
    for text in ["web", "api", "worker", "staging", "prod", "api:v1.0.1"] {
        assert!(dom.contains(text), "no {text} on the page: {dom}");
    }
    assert!(!dom.contains("<script"), "the page needs no script");

    run(program("chromium", &arguments(&screenshot), folder), "chromium").await.done();
    assert!(started.elapsed() < PATIENCE);
    let bytes = std::fs::read(&picture).expect("a picture");
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((number(16), number(20)), (1200, 900));
    // An empty page of this size has about five thousand bytes.
    assert!(bytes.len() > 15_000, "{} bytes", bytes.len());
    watched.stop().await;
}
