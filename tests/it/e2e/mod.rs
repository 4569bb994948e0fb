//! Knotmeter as its users meet it: the built program, the demo's world, and the real programs around both (git,
//! skopeo, docker-registry, kubectl, Prometheus, Alertmanager, Chromium). A program that is missing fails its
//! test with the name of its package.
//!
//! Nothing here looks inside the tracker, and nothing sleeps for luck: every wait asks a real interface until a
//! deadline. What several tests need is in `process` (programs that end with their test), `demo` (a demo to
//! ask), `world` (the demo's world inside the test), `images` and `receivers`; `keep` makes a recording. A new part is
//! a file of tests.

mod alerting;
mod bad_registry;
mod browser;
mod checked;
mod clients;
mod clouds;
mod commands;
mod demo;
mod disk;
mod faults;
mod hints;
mod hooks;
mod images;
mod keep;
mod line;
mod output;
mod past;
pub mod process;
mod prometheus;
pub mod real_parts;
mod receivers;
mod reload;
mod restart;
mod secrets;
mod settings;
mod shown;
mod terminal;
mod truth;
pub mod world;

use std::time::{Duration, Instant};

use crate::secrets::clean;

/// Far more than any wait here needs, also beside the whole suite on two busy cores: it only ends what hangs.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Asks until there is an answer; `what` is told when there is none in time.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "in {} seconds it did not come to this: {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The JSON at an address, if it answers.
pub async fn get(url: &str) -> Option<serde_json::Value> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let text = client.get(url).send().await.ok()?.text().await.ok()?;
    clean(url, &text);
    serde_json::from_str(&text).ok()
}

/// Tells how long a part took when it ends; `cargo test -- --nocapture` shows it.
pub struct Timed(&'static str, Instant);

impl Timed {
    pub fn part(name: &'static str) -> Self {
        Self(name, Instant::now())
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        eprintln!("e2e {:<40} {:>6.1} s", self.0, self.1.elapsed().as_secs_f64());
    }
}
