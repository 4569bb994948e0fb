//! Flux in the demo's cluster: its objects, and controllers that do to them what the real ones do, in the same
//! order, with the same fields, conditions, messages and events, only with intervals of seconds. They know each
//! other through the Kubernetes API, the registry, git and the artifact server, over HTTP.
//!
//! `objects` is what a person sets up; `reflector` (with `registry`) scans, `policy` (with `choice`) selects,
//! `automation` (with `setters`) commits, `source` (with `remote` and `storage`) fetches, `kustomize` (with
//! `build`, `apply`, `health` and `history`) applies, `helm` (with `charts` that fetches and `chart` that renders)
//! releases; `metrics` is what the reflector counts of itself. `queue`, `watch`, `subject`, `api`, `events`, `conditions`
//! and `clock` are what all controllers are made of. A new controller is a file with a [`queue::Controller`].

mod api;
mod apply;
mod automation;
mod build;
mod chart;
mod charts;
mod choice;
mod clock;
mod conditions;
mod events;
mod health;
mod helm;
mod history;
mod kustomize;
mod metrics;
mod objects;
mod policy;
mod queue;
mod reflector;
mod registry;
mod remote;
mod setters;
mod source;
mod storage;
mod subject;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use super::Error;
use super::fault::Faults;
use super::git::{BRANCH, Git};
use super::truth::Truth;
use api::{Api, Refused, Type};
pub(super) use clock::print;
pub(super) use metrics::Durations;
pub(super) use objects::{
    CHARTS, automation_path, filter, marker, pinned, policy_path, suspended_by, tag_marker,
};
use queue::Next;
use storage::Storage;
use watch::Place;

/// Where the objects of Flux are.
pub(super) const NAMESPACE: &str = "flux-system";
/// The folder in git, and the Kustomization, that all environments depend on.
pub(super) const INFRASTRUCTURE: &str = "infra";
/// The program that commits new tags calls itself so.
pub(super) const AUTOMATION_AGENT: &str = "image-automation-controller";
/// Under this name it commits.
pub(super) const AUTOMATION_AUTHOR: &str = "fluxcdbot";
/// Where the automation pushes while somebody wants to see its commits first.
pub(super) const PROPOSALS: &str = "proposals";
pub(super) const SOURCE_AGENT: &str = "source-controller";

const FINALIZER: &str = "finalizers.fluxcd.io";

const IMAGE: &str = "image.toolkit.fluxcd.io/v1";
const IMAGE_REPOSITORY: Type = Type { kind: "ImageRepository", version: IMAGE, plural: "imagerepositories" };
const IMAGE_POLICY: Type = Type { kind: "ImagePolicy", version: IMAGE, plural: "imagepolicies" };
const AUTOMATION: Type =
    Type { kind: "ImageUpdateAutomation", version: IMAGE, plural: "imageupdateautomations" };
const GIT_REPOSITORY: Type =
    Type { kind: "GitRepository", version: "source.toolkit.fluxcd.io/v1", plural: "gitrepositories" };
const HELM_REPOSITORY: Type =
    Type { kind: "HelmRepository", version: "source.toolkit.fluxcd.io/v1", plural: "helmrepositories" };
const HELM_CHART: Type =
    Type { kind: "HelmChart", version: "source.toolkit.fluxcd.io/v1", plural: "helmcharts" };
const HELM_RELEASE: Type =
    Type { kind: "HelmRelease", version: "helm.toolkit.fluxcd.io/v2", plural: "helmreleases" };
const KUSTOMIZATION: Type =
    Type { kind: "Kustomization", version: "kustomize.toolkit.fluxcd.io/v1", plural: "kustomizations" };

/// How often Flux looks, where nothing wakes it. A cluster has minutes where a demo has seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    pub scan: Duration,
    pub automation: Duration,
    pub source: Duration,
    pub kustomization: Duration,
    /// After a Kustomization has failed. What else fails, or waits for another object, is tried again after a
    /// quarter of it at first.
    pub retry: Duration,
    /// How long a Kustomization waits for what it applied to become healthy.
    pub health: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            scan: Duration::from_secs(2),
            automation: Duration::from_secs(2),
            source: Duration::from_secs(2),
            kustomization: Duration::from_secs(5),
            retry: Duration::from_secs(2),
            // Longer than the deadline of the Deployments, which would otherwise never be told.
            health: Duration::from_secs(12),
        }
    }
}

/// What the controllers work with.
pub(super) struct Flux {
    pub(super) client: reqwest::Client,
    /// `http://127.0.0.1:port`
    pub(super) kubernetes: String,
    /// `127.0.0.1:port`
    pub(super) registry: String,
    /// The repository's address.
    pub(super) repository: String,
    /// Two clones of it, one for who commits and one for who fetches.
    pub(super) automation: Git,
    pub(super) source: Git,
    pub(super) storage: Arc<Storage>,
    pub(super) durations: Durations,
    pub(super) faults: Faults,
    pub(super) truth: Truth,
    pub(super) intervals: Intervals,
}

/// Files as the archive that a chart is.
pub(super) fn packed(files: Vec<(String, String)>) -> std::io::Result<Vec<u8>> {
    storage::packed(files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect())
}

/// The artifacts to be served at `host` (`127.0.0.1:port`), what the reflector counts, and the server of both.
pub(super) fn storage(host: &str) -> (Arc<Storage>, Durations, Router) {
    let storage = Arc::new(Storage::new(host));
    let durations = Durations::default();
    let router = storage::router(storage.clone()).merge(metrics::router(durations.clone()));
    (storage, durations, router)
}

impl Flux {
    /// Creates the objects.
    pub(super) async fn set_up(&self) -> Result<(), Error> {
        let api = self.api("flux");
        objects::create(&api, &self.registry, &self.repository, BRANCH, &self.intervals)
            .await
            .map_err(|refused| Error::Http { what: "setting up Flux".to_owned(), why: refused.message })
    }

    /// Runs every controller for ever.
    pub(super) async fn run(self) {
        let tags = reflector::Tags::default();
        let pause = self.intervals.retry / 4;
        let reflector = self.api("image-reflector-controller");
        let repositories = reflector::Repositories {
            api: reflector.clone(),
            tags: tags.clone(),
            durations: self.durations.clone(),
            faults: self.faults.clone(),
            truth: self.truth.clone(),
        };
        let policies = policy::Policies {
            pause,
            api: reflector,
            tags,
            faults: self.faults.clone(),
            truth: self.truth.clone(),
        };
        let kustomizations = kustomize::Kustomizations {
            pause,
            api: self.api("kustomize-controller"),
            faults: self.faults.clone(),
        };
        let sources = source::Sources {
            api: self.api(SOURCE_AGENT),
            git: self.source.clone().into(),
            storage: self.storage.clone(),
            truth: self.truth.clone(),
        };
        let charts = charts::Charts { api: self.api(SOURCE_AGENT), storage: self.storage.clone() };
        let releases = helm::Releases { api: self.api("helm-controller"), faults: self.faults.clone() };
        let automations = automation::Automations {
            api: self.api(AUTOMATION_AGENT),
            git: self.automation.clone().into(),
            faults: self.faults.clone(),
        };
        tokio::join!(
            queue::run(Arc::new(repositories), pause),
            queue::run(Arc::new(policies), pause),
            queue::run(Arc::new(automations), pause),
            queue::run(Arc::new(sources), pause),
            queue::run(Arc::new(kustomizations), pause),
            queue::run(Arc::new(charts), pause),
            queue::run(Arc::new(releases), pause),
        );
    }

    fn api(&self, name: &'static str) -> Api {
        Api::new(self.client.clone(), &self.kubernetes, name)
    }
}

/// What becomes of a look to which the API said no: the next one begins anew.
fn put_off(place: &Place, refused: &Refused) -> Next {
    let (namespace, name) = place;
    tracing::debug!(namespace, name, refused.message, "a look is put off");
    Next::Retry
}
