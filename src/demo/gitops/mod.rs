//! The people and programs around the servers: a developer who pushes images, an updater that writes new tags
//! to git, an applier that takes manifests from git to the cluster. They know each other only through the
//! registry, git and the Kubernetes API, over HTTP; nothing is passed behind those. A new actor is a file here
//! with a `run` that never returns. Where Flux is the engine, its controllers (`flux`) replace the last two.
//! `meddler` is the person who makes mistakes.

pub(super) mod applier;
pub(super) mod developer;
pub(super) mod meddler;
pub(super) mod release;
pub(super) mod updater;

use http::StatusCode;

use super::Error;
use super::engine::Engine;
use super::flux::{self, Intervals};

/// An application of the demo: its name, and in each environment how many of it run.
#[derive(Debug, Clone, Copy)]
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) replicas: u32,
}

/// What runs in every demo world.
pub(super) const APPS: [App; 3] =
    [App { name: "web", replicas: 3 }, App { name: "api", replicas: 2 }, App { name: "worker", replicas: 2 }];

/// What a chart makes; a plain world has nobody who reads charts.
const RELEASED: App = App { name: "cart", replicas: 2 };

static ALL_APPS: [App; APPS.len() + 1] = {
    let [web, api, worker] = APPS;
    [web, api, worker, RELEASED]
};

/// What runs in a world with this engine.
pub(super) fn apps(engine: Engine) -> &'static [App] {
    match engine {
        Engine::Plain => &ALL_APPS[..APPS.len()],
        Engine::Flux => &ALL_APPS,
    }
}

/// What all environments depend on where Flux is the engine.
pub(super) const INFRASTRUCTURE: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: cluster-settings
  namespace: default
data:
  CLUSTER: lab
";

/// The environments, each a namespace and a folder in git.
pub(super) const ENVIRONMENTS: [&str; 2] = ["staging", "prod"];

/// What all manifests have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) engine: Engine,
    pub(super) intervals: Intervals,
    pub(super) progress_deadline_seconds: u32,
}

impl App {
    /// The path of its images in the registry.
    pub(super) fn repository(&self) -> String {
        format!("team/{}", self.name)
    }

    /// Whether a chart makes it.
    pub(super) fn is_released(&self) -> bool {
        self.name == RELEASED.name
    }

    /// The comment by which the updater finds its lines.
    pub(super) fn keyword(&self, engine: Engine) -> String {
        match engine {
            Engine::Plain => format!("# release-{}", self.name),
            Engine::Flux => flux::marker(self.name),
        }
    }

    /// What its containers read as environment variables when they start.
    pub(super) fn settings(&self, environment: &str) -> String {
        let name = self.name;
        format!(
            "apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}-settings
  namespace: {environment}
data:
  GREETING: hello from {environment}
"
        )
    }

    /// The manifest of one environment, as it stands in git.
    pub(super) fn manifest(&self, environment: &str, registry: &str, tag: &str, setup: Setup) -> String {
        if self.is_released() {
            return release::manifest(self, environment, tag, setup);
        }
        let App { name, replicas } = self;
        let Setup { engine, progress_deadline_seconds: deadline, .. } = setup;
        let (repository, keyword) = (self.repository(), self.keyword(engine));
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {environment}
  labels:
    app.kubernetes.io/name: {name}
spec:
  replicas: {replicas}
  progressDeadlineSeconds: {deadline}
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: {name}
          image: {registry}/{repository}:{tag} {keyword}
          ports:
            - containerPort: 8080
          envFrom:
            - configMapRef:
                name: {name}-settings
          readinessProbe:
            httpGet:
              path: /ready
              port: 8080
            periodSeconds: 1
"
        )
    }
}

/// The version of the demo's images with this number.
pub(super) fn version(number: u64) -> String {
    format!("v1.0.{number}")
}

/// The number in a version, if it is one.
pub(super) fn number(tag: &str) -> Option<u64> {
    tag.strip_prefix("v1.0.")?.parse().ok()
}

/// The response if its status is one of those wanted.
async fn expect(
    what: impl Fn() -> String,
    sent: Result<reqwest::Response, reqwest::Error>,
    wanted: &[StatusCode],
) -> Result<reqwest::Response, Error> {
    let response = sent.map_err(|error| Error::Http { what: what(), why: error.to_string() })?;
    if wanted.contains(&response.status()) {
        return Ok(response);
    }
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    let why = format!("{status}: {}", body.chars().take(300).collect::<String>());
    Err(Error::Http { what: what(), why })
}
