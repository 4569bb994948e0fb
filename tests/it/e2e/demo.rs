//! `knotmeter demo` as a process of its own, and what can be asked of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::process::{Program, Said, knotmeter, run};
use super::{get, until};

/// A running demo. Its temporary folder is inside ours, so that what it leaves is seen.
pub struct Demo {
    pub program: Program,
    pub page: String,
    pub registry: String,
    pub git: String,
    pub kubeconfig: PathBuf,
    folder: TempDir,
}

impl Demo {
    /// Starts one on free ports and waits until it serves.
    pub async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("info.json");
        let fixed = ["demo", "--listen", "127.0.0.1:0", "--info"];
        let mut command = knotmeter(&fixed, &temporary(folder.path()));
        command.arg(&file).args(arguments);
        let mut program = Program::start(command, "knotmeter", folder.path());
        let info: Value = until("the demo writes its addresses", async || {
            program.still_runs();
            serde_json::from_slice(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        let text = |key: &str| info[key].as_str().unwrap_or_else(|| panic!("no {key}: {info}")).to_owned();
        assert_eq!(text("metrics"), format!("{}/metrics", text("page")));
        Self {
            program,
            page: text("page"),
            registry: text("registry"),
            git: text("git"),
            kubeconfig: text("kubeconfig").into(),
            folder,
        }
    }

    /// One demo in which nobody pushes, for every test that runs at the moment; it ends with the last of them.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Demo>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(demo) = shared.upgrade() {
            return demo;
        }
        let demo = Arc::new(Self::start(&["--push-every", "0s"]).await);
        *shared = Arc::downgrade(&demo);
        demo
    }

    /// Where the test may write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the demo has in its temporary folder.
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(temporary(self.folder.path())).expect("our folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Runs a command that asks this demo.
    pub async fn ask(&self, arguments: &[&str]) -> Said {
        let mut command = knotmeter(arguments, self.folder.path());
        command.args(["--server", &self.page]);
        run(command, "knotmeter").await
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        get(&format!("{}{path}", self.page)).await
    }

    /// The first journey of an image with this tag that fits.
    pub async fn journey(&self, repository: &str, tag: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/journeys?image={}/{repository}:{tag}", self.registry);
        until(&format!("a journey of {repository}:{tag} that fits"), async || {
            let answer = self.get(&path).await?;
            answer["journeys"].as_array()?.iter().find(|journey| fits(journey)).cloned()
        })
        .await
    }
}

/// The program's temporary folder.
fn temporary(folder: &Path) -> PathBuf {
    let path = folder.join("tmp");
    std::fs::create_dir_all(&path).expect("a folder");
    path
}
