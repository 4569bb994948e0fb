//! One journal and the processes that live on it, one after the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use super::SOON;
use super::load::Load;
use crate::e2e::process::{free_port, knotmeter};
use crate::e2e::{get, until};

/// Some are killed this soon after their start: before, while, or just after the journal is read.
const YOUNG_MILLIS_MAX: u64 = 400;
/// The others this long after they began to answer: in the middle of looks, commits and rollouts.
const OLD_MILLIS_MAX: u64 = 700;
/// Every so often one goes on until it has seen all that there is: else nobody would ever get to the end of a look.
const WHOLE_EVERY: u64 = 3;

/// What was said before the last kill: nothing of it may ever be taken back.
#[derive(Debug, Default)]
struct Said {
    total: f64,
    /// Settled journeys as they were told first, by their ids.
    settled: BTreeMap<String, Value>,
}

/// What is said at the end.
pub struct Told {
    pub journeys: Vec<Value>,
    pub total: f64,
}

/// See the file's front line.
pub struct Lives {
    at: u64,
    folder: PathBuf,
    port: u16,
    random: u64,
    said: Said,
    child: Option<Child>,
    /// When the last life that saw all that there was began, in milliseconds since the epoch.
    wholes: Arc<AtomicU64>,
    began: u64,
}

impl Lives {
    /// The first life: it goes on until every source was seen.
    pub async fn start(load: &mut Load, at: u64, seed: u64) -> Self {
        let folder = load.folder.path().join(format!("life-{at}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let mut config = load.config();
        config["listen"] = format!("127.0.0.1:{port}").into();
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let random = (seed << 8) | at;
        let wholes = Arc::new(AtomicU64::new(0));
        load.watchers.push(wholes.clone());
        let mut lives =
            Self { at, folder, port, random, said: Said::default(), child: None, wholes, began: 0 };
        lives.live();
        lives.see_all().await;
        lives
    }

    pub fn name(&self) -> String {
        format!("journal {}", self.at)
    }

    /// Is killed so many times, and is held against what it said before.
    pub async fn be_killed(&mut self, times: u64) {
        for time in 0..times {
            if time % WHOLE_EVERY == WHOLE_EVERY - 1 {
                self.see_all().await;
                self.listen().await;
            } else if self.below(3) == 0 {
                let young = self.below(YOUNG_MILLIS_MAX);
                tokio::time::sleep(Duration::from_millis(young)).await;
            } else {
                self.answers().await;
                let old = self.below(OLD_MILLIS_MAX);
                tokio::time::sleep(Duration::from_millis(old)).await;
                self.listen().await;
            }
            self.kill().await;
            self.live();
        }
    }

    /// Lives until everything has settled.
    pub async fn last_word(&mut self, settled: usize) -> Told {
        let page = self.page();
        let told = async || {
            let journeys = get(&format!("{page}/api/v1/journeys?limit=1000")).await?;
            let journeys = journeys["journeys"].as_array()?.clone();
            let mine = |journey: &&Value| journey["app"].as_str().is_some_and(|app| app.starts_with("load-"));
            Some(journeys.iter().filter(mine).cloned().collect::<Vec<Value>>())
        };
        let done = async || {
            let journeys = told().await?;
            let open = journeys.iter().any(|journey| journey["settled"] != true);
            (!open && journeys.len() >= settled).then_some(journeys)
        };
        // Where something was lost this would wait for ever: what is there then is told, and compared.
        let patient = tokio::time::timeout(Duration::from_secs(30), until("all has settled", done));
        let journeys = match patient.await {
            Ok(journeys) => journeys,
            Err(_) => told().await.unwrap_or_default(),
        };
        self.listen().await;
        Told { journeys, total: self.said.total }
    }

    pub async fn stop(mut self) {
        self.kill().await;
    }

    /// The end of what the last processes wrote.
    pub fn errors(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("errors")).unwrap_or_default();
        let from = text.len().saturating_sub(4000);
        text.get(from..).unwrap_or_default().to_owned()
    }

    fn page(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn see_all(&mut self) {
        let page = self.page();
        until("every source is up", async || crate::e2e::world::sources_up(&page, 4).await.then_some(()))
            .await;
        self.wholes.store(self.began, Ordering::Relaxed);
    }

    async fn answers(&mut self) {
        let ready = format!("{}/readyz", self.page());
        until("it answers", async || get(&ready).await).await;
    }

    fn live(&mut self) {
        let file = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let (config, cache, journal) = (file("config.yaml"), file("cache"), file("journal"));
        let arguments = ["run", "--config", &config, "--cache", &cache, "--journal", &journal];
        let errors = std::fs::File::options().create(true).append(true).open(file("errors")).unwrap();
        let mut command = Command::from(knotmeter(&arguments, &self.folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(true);
        self.began = millis();
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL, by its own pid.
    async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself: {}", self.errors());
            child.kill().await.unwrap();
        }
    }

    /// Hears what it says and holds it against what was said before.
    async fn listen(&mut self) {
        let client = reqwest::Client::builder().no_proxy().timeout(SOON * 40).build().unwrap();
        let page = self.page();
        let ask = async |path: &str| {
            let answer = client.get(format!("{page}{path}")).send().await.ok()?;
            answer.status().is_success().then_some(answer)?.text().await.ok()
        };
        let Some(metrics) = ask("/metrics").await else { return };
        let total = metrics
            .lines()
            .filter(|line| line.starts_with("knotmeter_journeys_total{") && line.contains(r#"app="load-"#))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
        let name = self.name();
        assert!(total >= self.said.total, "{name}: journeys_total fell from {} to {total}", self.said.total);
        self.said.total = total;
        let Some(journeys) = ask("/api/v1/journeys?limit=1000").await else { return };
        let journeys: Value = serde_json::from_str(&journeys).unwrap();
        let settled = journeys["journeys"].as_array().unwrap().iter().filter(|one| one["settled"] == true);
        let now: BTreeMap<String, Value> =
            settled.map(|journey| (journey["id"].as_str().unwrap().to_owned(), journey.clone())).collect();
        for (id, known) in &self.said.settled {
            let Some(same) = now.get(id) else { panic!("{name}: a settled journey is lost: {known}") };
            for key in ["outcome", "image_to_live_seconds", "change_to_live_seconds", "stages", "digest"] {
                assert_eq!(same[key], known[key], "{name}: a settled journey changed its {key}");
            }
        }
        self.said.settled.extend(now);
    }

    /// A number below a bound; the same seed gives the same ones.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Since the epoch.
pub fn millis() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap()
}
