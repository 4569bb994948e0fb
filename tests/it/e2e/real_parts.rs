//! `knotmeter run` with its configuration in a file, between a real registry (Debian's docker-registry), real git
//! repositories over file and http, and the demo's Kubernetes API: images pushed by skopeo, changed by git and
//! kubectl.

use std::path::Path;

use chrono::{DateTime, Utc};
use knotmeter::demo::World;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::images::{layout, push};
use super::process::{Program, knotmeter, listening, program, run};
use super::world::{config_of, quick, sources_up};
use super::{Timed, get, until};

/// Debian's docker-registry with its files below `at`, and its host as images name it. `also` is merged into its
/// configuration.
pub async fn docker_registry(at: &Path, also: &Value) -> (Program, String) {
    let file = at.join("registry.yml");
    let serve = |port| {
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": at.join("registry")}},
            "http": {"addr": format!("127.0.0.1:{port}")},
        });
        let sections = config.as_object_mut().unwrap();
        sections
            .extend(also.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        std::fs::write(&file, config.to_string()).unwrap();
        program("docker-registry", &["serve", file.to_str().unwrap()], at)
    };
    let answers = async |port: u16| get(&format!("http://127.0.0.1:{port}/v2/")).await.is_some();
    let (process, port) = listening("docker-registry", at, serve, answers).await;
    (process, format!("127.0.0.1:{port}"))
}

/// The parts, and where each can be reached.
pub struct Parts {
    pub world: World,
    pub registry: String,
    /// A bare repository; its clone beside it is the person's work tree.
    pub git: String,
    folder: TempDir,
    _registry: Program,
}

impl Parts {
    pub async fn start() -> Self {
        Self::start_with(|_| json!({})).await
    }

    /// The same with more in the configuration of the registry, made when the folder for files is known.
    pub async fn start_with(also: impl FnOnce(&Path) -> Value) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let world = World::start(quick()).await.unwrap();
        let at = folder.path();
        let (process, registry) = docker_registry(at, &also(at)).await;
        let git = format!("file://{}", at.join("shop.git").display());
        let parts = Self { world, registry, git, folder, _registry: process };
        parts.git(&["init", "--quiet", "--bare", "--initial-branch=main", "shop.git"]).await;
        parts.git(&["clone", "--quiet", "shop.git", "shop"]).await;
        parts
    }

    pub fn at(&self) -> &Path {
        self.folder.path()
    }

    pub async fn git(&self, arguments: &[&str]) -> String {
        let mut command = program("git", arguments, self.at());
        command.current_dir(self.at()).args([] as [&str; 0]);
        for (key, value) in [("NAME", "Ada"), ("EMAIL", "ada@shop.invalid")] {
            command.env(format!("GIT_AUTHOR_{key}"), value).env(format!("GIT_COMMITTER_{key}"), value);
        }
        run(command, "git").await.done()
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let kubeconfig = self.world.addresses().kubeconfig.to_str().unwrap();
        let arguments = [&["--kubeconfig", kubeconfig], arguments].concat();
        run(program("kubectl", &arguments, self.at()), "kubernetes-client").await.done()
    }

    pub fn image(&self, tag: &str) -> String {
        format!("{}/shop/web:{tag}", self.registry)
    }

    pub async fn push(&self, tag: &str) -> String {
        let layout = layout(self.at(), tag);
        push(&layout, &self.image(tag), self.at()).await;
        layout.digest.to_string()
    }

    /// Puts a manifest into a file of a work tree and pushes the commit.
    pub async fn commit(&self, tree: &str, file: &str, text: &str) -> String {
        let path = self.at().join(tree).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        self.git(&["-C", tree, "add", "."]).await;
        self.git(&["-C", tree, "commit", "--quiet", "--message", "another image"]).await;
        self.git(&["-C", tree, "push", "--quiet", "origin", "HEAD:main"]).await;
        self.git(&["-C", tree, "rev-parse", "HEAD"]).await.trim().to_owned()
    }

    pub fn manifest(&self, tag: &str) -> String {
        let image = self.image(tag);
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: {image}
"
        )
    }

    /// Version 1.0.0 runs.
    pub async fn begin(&self) {
        self.push("1.0.0").await;
        let manifest = self.manifest("1.0.0");
        self.commit("shop", "shop/web.yaml", &manifest).await;
        let namespace = self.at().join("namespace.yaml");
        let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        std::fs::write(&namespace, shop.to_string()).unwrap();
        for file in [namespace, self.at().join("shop/shop/web.yaml")] {
            self.kubectl(&["apply", "--validate=false", "-f", file.to_str().unwrap()]).await;
        }
        self.kubectl(&["rollout", "status", "deployment/web", "-n", "shop", "--timeout=60s"]).await;
    }

    pub fn config(&self) -> Value {
        let mut config = config_of(self.world.addresses());
        let list = |config: &mut Value, key: &str, one: Value| config[key].as_array_mut().unwrap().push(one);
        list(&mut config, "environments", json!({"name": "shop", "namespaces": ["shop"]}));
        let registry = json!({"host": self.registry, "plain_http": true, "interval": "500ms"});
        list(&mut config, "registries", registry);
        let paths = json!([{"path": "shop/", "environment": "shop"}]);
        list(&mut config, "git", json!({"url": self.git, "interval": "500ms", "paths": paths}));
        config
    }
}

/// When a person did something: it began and was over.
pub struct Done(DateTime<Utc>, DateTime<Utc>);

pub async fn done<T>(what: impl Future<Output = T>) -> (T, Done) {
    let began = Utc::now();
    let result = what.await;
    (result, Done(began, Utc::now()))
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_followed_between_real_parts() {
    let _timed = Timed::part("real parts");
    let parts = Parts::start().await;
    parts.begin().await;
    let (mut knotmeter, page) = start(&parts, "knotmeter", &parts.config()).await;
    until("every source is up", async || sources_up(&page, 5).await.then_some(())).await;

    let (digest, pushed) = done(parts.push("1.1.0")).await;
    let (commit, committed) = done(parts.commit("shop", "shop/web.yaml", &parts.manifest("1.1.0"))).await;
    let image = format!("web={}", parts.image("1.1.0"));
    let set = ["set", "image", "deployment/web", &image, "-n", "shop"];
    let (_, applied) = done(parts.kubectl(&set)).await;
    let journey = settled(&page, &parts.image("1.1.0"), "shop").await;
    assert_eq!(
        (&journey["outcome"], &journey["digest"]),
        (&"live".into(), &digest.clone().into()),
        "{journey}"
    );
    assert_eq!(
        (&journey["trigger"], &journey["commit"]["id"]),
        (&"commit".into(), &commit.into()),
        "{journey}"
    );
    for (stage, at) in [("pushed", &pushed), ("committed", &committed), ("applied", &applied)] {
        holds(&journey, stage, at);
    }
    let live = at(&journey, "live", "not_after");
    assert!(live >= applied.0, "{journey}");
    let seconds = journey["image_to_live_seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{journey}");

    // The same image by the other way: a commit over http, brought to the cluster by the demo's applier.
    let fleet = parts.world.addresses().git.clone();
    parts.git(&["clone", "--quiet", &fleet, "fleet"]).await;
    let manifest = std::fs::read_to_string(parts.at().join("fleet/staging/web.yaml")).unwrap();
    let line = manifest.lines().find(|line| line.contains("image: ")).unwrap();
    // Without its comment the demo's updater lets it be.
    let changed = format!("{}image: {}", line.split("image: ").next().unwrap(), parts.image("1.1.0"));
    let text = manifest.replace(line, &changed);
    let (commit, committed) = done(parts.commit("fleet", "staging/web.yaml", &text)).await;
    let journey = settled(&page, &parts.image("1.1.0"), "staging").await;
    assert_eq!((&journey["outcome"], &journey["digest"]), (&"live".into(), &digest.into()), "{journey}");
    assert_eq!(journey["commit"]["id"], commit, "{journey}");
    holds(&journey, "committed", &committed);

    // What it keeps for itself is gone with it.
    let left = || std::fs::read_dir(parts.at().join("knotmeter.tmp")).unwrap().count();
    assert_ne!(left(), 0, "copies of git repositories");
    knotmeter.signal("TERM");
    assert_eq!(knotmeter.ended().code(), Some(0), "{}", knotmeter.errors());
    assert_eq!(left(), 0);
    assert!(!knotmeter.errors().contains("ERROR"), "{}", knotmeter.errors());
    parts.world.stop().await;
}

/// Starts `knotmeter run` with this configuration, and tells where its page is.
pub async fn start(parts: &Parts, name: &str, config: &Value) -> (Program, String) {
    let file = parts.at().join(format!("{name}.yaml"));
    std::fs::write(&file, config.to_string()).unwrap();
    let temporary = parts.at().join(format!("{name}.tmp"));
    std::fs::create_dir(&temporary).unwrap();
    let command = |port| {
        let listen = format!("127.0.0.1:{port}");
        let mut command = knotmeter(&["run", "--listen", &listen, "--config"], &temporary);
        command.arg(&file).env("HOME", parts.at());
        command
    };
    let answers = async |port: u16| get(&format!("http://127.0.0.1:{port}/readyz")).await.is_some();
    let (program, port) = listening("knotmeter", parts.at(), command, answers).await;
    (program, format!("http://127.0.0.1:{port}"))
}

pub async fn settled(page: &str, image: &str, environment: &str) -> Value {
    let url = format!("{page}/api/v1/journeys?image={image}&environment={environment}");
    until(&format!("{image} settles in {environment}"), async || {
        let answer = get(&url).await?;
        answer["journeys"].as_array()?.iter().find(|journey| journey["settled"] == true).cloned()
    })
    .await
}

pub fn at(journey: &Value, stage: &str, bound: &str) -> DateTime<Utc> {
    let stages = journey["stages"].as_array().unwrap();
    let found = stages.iter().find(|one| one["stage"] == stage).unwrap();
    let text = found[bound].as_str().unwrap_or_else(|| panic!("{stage} is not known: {journey}"));
    text.parse().unwrap()
}

/// The interval of a stage has a moment in common with what was done.
pub fn holds(journey: &Value, stage: &str, done: &Done) {
    let (from, to) = (at(journey, stage, "not_before"), at(journey, stage, "not_after"));
    // Times are told in milliseconds, and ours are finer.
    let slack = chrono::TimeDelta::milliseconds(1);
    let meets = from <= done.1 + slack && to + slack >= done.0;
    assert!(meets, "{stage}: {from} to {to}, done from {} to {}: {journey}", done.0, done.1);
}
