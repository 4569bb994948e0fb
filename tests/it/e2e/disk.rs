//! A journal's disk that is full, read-only or hangs: the built program goes on from memory, says so, and recovers
//! without a restart.

use std::path::Path;

use serde_json::{Value, json};

use crate::journal::slow_disk::SlowDisk;

use super::process::{Program, free_port, knotmeter, program, run};
use super::restart::{Ground, configuration, ground};
use super::world::sources_up;
use super::{Timed, get, until};

/// A `knotmeter run` of its own process.
struct Sidecar {
    program: Program,
    page: String,
}

impl Sidecar {
    /// Starts it with a journal there. `first` stands before it in the script, `around` runs the script.
    async fn start(ground: &Ground, journal: &Path, around: &[&str], first: &str) -> Self {
        let folder = ground.folder.path();
        let file = folder.join("knotmeter.json");
        let mut text = configuration(&ground.world, journal);
        text["clusters"][0]["kubeconfig"] = json!(ground.world.addresses().kubeconfig);
        std::fs::write(&file, text.to_string()).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let exe = env!("CARGO_BIN_EXE_knotmeter");
        let script = format!("{first} exec {exe} run --config {} --listen {address}", file.display());
        let words: Vec<&str> = around.iter().copied().chain(["sh", "-c", &script]).collect();
        let program = Program::start(program(words[0], &words[1..], folder), "util-linux", folder);
        let page = format!("http://{address}");
        let ready = async || (get(&format!("{page}/readyz")).await?["ready"] == true).then_some(());
        until("it is ready", ready).await;
        until("every source is up", async || sources_up(&page, 3).await.then_some(())).await;
        Self { program, page }
    }

    async fn journal(&self) -> Option<Value> {
        let answer = get(&format!("{}/readyz", self.page)).await?;
        assert_eq!(answer["ready"], true, "no restart would mend a disk");
        Some(answer["journal"].clone())
    }

    /// Waits until `/readyz` gives this as the reason.
    async fn told(&self, reason: &str) -> Value {
        until(reason, async || {
            let journal = self.journal().await?;
            let said = journal["state"] == "degraded" && journal["reason"].as_str()?.contains(reason);
            said.then_some(journal)
        })
        .await
    }

    /// A push while the disk is as it is: it is followed to live, page and metrics answer.
    async fn goes_on(&self, ground: &Ground) {
        ground.world.push("team/web", "v1.0.1").await.unwrap();
        until("v1.0.1 is live", async || {
            let answer =
                get(&format!("{}/api/v1/journeys?image=team/web:v1.0.1&environment=prod", self.page)).await?;
            (answer["journeys"][0]["outcome"] == "live").then_some(())
        })
        .await;
        until("a metric says what is wrong", async || {
            let metrics = reqwest::get(format!("{}/metrics", self.page)).await.ok()?.text().await.ok()?;
            let queued = metrics
                .lines()
                .find_map(|line| line.strip_prefix("knotmeter_journal_queued_observations{} "))?;
            let waits = queued.parse::<f64>().is_ok_and(|queued| queued > 0.0);
            (waits && metrics.contains("knotmeter_journal_up{} 0")).then_some(())
        })
        .await;
    }

    /// Waits until everything is on disk.
    async fn recovers(&self) {
        let well = until("it is written again", async || {
            self.journal().await.filter(|journal| journal["state"] == "ok" && journal["queued"] == 0)
        })
        .await;
        assert_eq!(well["dropped"], 0, "{well}");
    }

    fn end(mut self) {
        self.program.signal("TERM");
        assert!(self.program.ended().success());
    }
}

/// Nothing is missing in a journal: the journey comes of what was kept in memory meanwhile.
async fn remembers(ground: &Ground, journal: &Path) {
    let arguments = ["replay", &journal.display().to_string(), "-o", "json"];
    let replayed = run(knotmeter(&arguments, ground.folder.path()), "knotmeter").await.done();
    let replayed: Value = serde_json::from_str(&replayed).unwrap();
    let live = |journey: &Value| {
        journey["image"].as_str().is_some_and(|image| image.ends_with("team/web:v1.0.1"))
            && journey["environment"] == "prod"
            && journey["outcome"] == "live"
    };
    assert!(replayed.as_array().unwrap().iter().any(live), "{replayed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_got_over() {
    let _timed = Timed::part("full disk");
    let ground = ground().await;
    let folder = ground.folder.path();
    // Without the signal a write beyond the limit is an error, as on a full disk.
    let running = Sidecar::start(&ground, &ground.journal, &[], "trap '' XFSZ;").await;

    // Another one on the same file is refused.
    let file = folder.join("knotmeter.json").display().to_string();
    let other = ["run", "--config", &file, "--listen", "127.0.0.1:0"];
    let refused = run(knotmeter(&other, folder), "knotmeter").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = format!("the journal {} is in use by another process", ground.journal.display());
    assert!(refused.err.contains(&said), "{refused:?}");

    let limit = async |bytes: &str| {
        let arguments = ["--pid".to_owned(), running.program.id().to_string(), format!("--fsize={bytes}")];
        run(program("prlimit", &arguments, folder), "util-linux").await.done();
    };
    limit("4096:unlimited").await;
    running.told("journal").await;
    running.goes_on(&ground).await;
    limit("unlimited:unlimited").await;
    running.recovers().await;
    running.end();
    remembers(&ground, &ground.journal).await;
    ground.world.stop().await;
}

/// A volume of our own, in namespaces of our own: read-only, then not.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_told_and_got_over() {
    let _timed = Timed::part("read-only disk");
    let ground = ground().await;
    let folder = ground.folder.path();
    let volume = folder.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let volume = volume.display().to_string();
    let inside = ["unshare", "--user", "--map-root-user", "--mount"];
    let may = |arguments: &[&str]| program(inside[0], &[&inside[1..], arguments].concat(), folder);
    if run(may(&["mount", "-t", "tmpfs", "none", &volume]), "util-linux").await.code != Some(0) {
        // tests/run says so too.
        eprintln!("[note] no file system may be mounted here: a read-only disk was not tested");
        return;
    }
    let journal = Path::new(&volume).join("journal");
    let first = format!("mount -t tmpfs none {volume} && mount -o remount,ro {volume} &&");
    let running = Sidecar::start(&ground, &journal, &inside, &first).await;
    running.told("Read-only file system").await;
    running.goes_on(&ground).await;
    let target = format!("--target={}", running.program.id());
    let enter = ["--user", "--mount", "--preserve-credentials", &target];
    let entered = async |arguments: &[&str]| {
        run(program("nsenter", &[&enter, arguments].concat(), folder), "util-linux").await.done()
    };
    entered(&["mount", "-o", "remount,rw", &volume]).await;
    running.recovers().await;
    // Its file system ends with the process.
    let copy = folder.join("copy");
    entered(&["cp", &journal.display().to_string(), &copy.display().to_string()]).await;
    running.end();
    remembers(&ground, &copy).await;
    ground.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_told_and_got_over() {
    let _timed = Timed::part("slow disk");
    let ground = ground().await;
    let disk = SlowDisk::new(ground.folder.path());
    let journal = disk.folder.join("journal");
    let exports = disk.environment().map(|(name, value)| format!("export {name}={};", value.display()));
    let running = Sidecar::start(&ground, &journal, &[], &exports.concat()).await;
    assert_eq!(running.journal().await.unwrap()["state"], "ok");
    disk.hold();
    let slow = running.told("the disk is slow").await;
    running.goes_on(&ground).await;
    let later = running.journal().await.unwrap();
    assert_eq!(later["durable"], slow["durable"], "no sync came through meanwhile");
    assert_eq!(later["dropped"], 0, "{later}");
    disk.let_go();
    running.recovers().await;
    running.end();
    remembers(&ground, &journal).await;
    ground.world.stop().await;
}
