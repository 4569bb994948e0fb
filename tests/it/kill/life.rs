//! One journal and the processes that live on it, one after the other.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use super::SOON;
use super::load::Load;
use crate::e2e::process::{free_port, knotmeter};
use crate::e2e::{get, until};

/// A life ends after at most this: some are over before the journal is open, some see a rollout whole.
const LIFE_MILLIS_MAX: u64 = 1_400;

/// What was said before the last kill: nothing of it may ever be taken back.
#[derive(Debug, Default)]
struct Said {
    total: f64,
    /// Settled journeys as they were told first, in the order of their ids.
    settled: std::collections::BTreeMap<String, Value>,
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
}

impl Lives {
    /// The first life: it goes on until every source was seen.
    pub async fn start(load: &Load, at: u64, seed: u64) -> Self {
        let folder = load.folder.path().join(format!("life-{at}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let mut config = load.config();
        config["listen"] = format!("127.0.0.1:{port}").into();
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let random = (seed << 8) | at;
        let mut lives = Self { at, folder, port, random, said: Said::default(), child: None };
        lives.live();
        let page = lives.page();
        until("every source is up", async || crate::e2e::world::sources_up(&page, 4).await.then_some(()))
            .await;
        lives
    }

    pub fn name(&self) -> String {
        format!("journal {}", self.at)
    }

    /// Is killed so many times, and checks between what it says.
    pub async fn be_killed(&mut self, times: u64) {
        for _ in 0..times {
            let life = Duration::from_millis(self.below(LIFE_MILLIS_MAX));
            let asks_at = life.mul_f64(0.8);
            tokio::time::sleep(asks_at).await;
            self.listen().await;
            tokio::time::sleep(life.saturating_sub(asks_at)).await;
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

    fn live(&mut self) {
        let file = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let (config, cache, journal) = (file("config.yaml"), file("cache"), file("journal"));
        let arguments = ["run", "--config", &config, "--cache", &cache, "--journal", &journal];
        let errors = std::fs::File::options().create(true).append(true).open(file("errors")).unwrap();
        let mut command = Command::from(knotmeter(&arguments, &self.folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(true);
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL, by its own pid.
    async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself: {}", self.errors());
            child.kill().await.unwrap();
        }
    }

    /// Hears what it says, if it says anything yet, and holds it against what was said before.
    async fn listen(&mut self) {
        let client = reqwest::Client::builder().no_proxy().timeout(SOON * 20).build().unwrap();
        let ask = async |path: &str| {
            let answer = client.get(format!("{}{path}", self.page())).send().await.ok()?;
            answer.status().is_success().then_some(answer)?.text().await.ok()
        };
        let ready = ask("/readyz").await.is_some();
        if !ready {
            return;
        }
        let Some(metrics) = ask("/metrics").await else { return };
        let total = metrics
            .lines()
            .filter(|line| line.starts_with("knotmeter_journeys_total{") && line.contains(r#"app="load-"#))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
        let Some(journeys) = ask("/api/v1/journeys?limit=1000").await else { return };
        let journeys: Value = serde_json::from_str(&journeys).unwrap();
        let name = self.name();
        assert!(total >= self.said.total, "{name}: journeys_total fell from {} to {total}", self.said.total);
        self.said.total = total;
        let settled =
            journeys["journeys"].as_array().unwrap().iter().filter(|journey| journey["settled"] == true);
        let now: std::collections::BTreeMap<String, Value> =
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
