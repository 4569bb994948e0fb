//! The kustomize controller: brings what git says below a path into the cluster, waits until it is healthy, and
//! removes what git no longer has.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Refused, Type};
use super::apply::{Applied, apply, prune};
use super::build::{self, Unbuildable};
use super::queue::{Controller, Next};
use super::storage::{self, Files};
use super::subject::Subject;
use super::watch::{Change, Place, place};
use super::{GIT_REPOSITORY, KUSTOMIZATION, clock, conditions, health, history};
use crate::demo::fault::{Fault, Faults};
use crate::image::Digest;

const COMMIT_STATUS: &str = "kustomize.toolkit.fluxcd.io/commit_status";
const REVISION: &str = "kustomize.toolkit.fluxcd.io/revision";

pub(super) struct Kustomizations {
    /// How long it waits for what it depends on; the real one takes 30 seconds.
    pub(super) pause: Duration,
    pub(super) api: Api,
    pub(super) faults: Faults,
}

/// Why a look failed: the reason of the Ready condition, its message, and what the event says.
struct Failure {
    reason: &'static str,
    message: String,
    told: String,
    /// What was built, for the history; none before there was anything.
    digest: Option<String>,
}

impl Controller for Kustomizations {
    const WATCHES: &'static [Type] = &[KUSTOMIZATION, GIT_REPOSITORY];

    fn api(&self) -> &Api {
        &self.api
    }

    fn is_stopped(&self) -> bool {
        self.faults.on(Fault::ApplierDown)
    }

    fn concerns(&self, own: &Value, change: &Change) -> bool {
        change.touches("/status/artifact/revision") && source_of(own) == place(change.object())
    }

    async fn reconcile(&self, place: Place) -> Next {
        self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused))
    }
}

impl Kustomizations {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let started = Instant::now();
        let manager = format!("gotk-{}", self.api.name);
        let Some(mut subject) = Subject::read(&self.api, &KUSTOMIZATION, place, manager).await? else {
            return Ok(Next::Woken);
        };
        let interval = subject.duration("interval").unwrap_or(Duration::from_secs(60));
        let retry = subject.duration("retryInterval").unwrap_or(interval);
        let timeout = subject
            .duration("timeout")
            .unwrap_or_else(|| interval.saturating_sub(Duration::from_secs(30)).max(Duration::from_secs(30)));
        let (namespace, name) = source_of(&subject.object);
        let source = self.api.get(&GIT_REPOSITORY.path(&namespace, &name)).await?;
        let Some(source) = source else {
            let message = format!("gitrepositories.source.toolkit.fluxcd.io {name:?} not found");
            return give_up(&mut subject, "ArtifactFailed", &message, retry).await;
        };
        let artifact = &source["status"]["artifact"];
        let Some(revision) = artifact["revision"].as_str() else {
            let pause = clock::print(self.pause);
            let message = format!("Source artifact not found, retrying in {pause}");
            return give_up(&mut subject, "ArtifactFailed", &message, self.pause).await;
        };
        if let Some(message) = self.waits_for(&subject.object, revision).await? {
            let annotations = json!({REVISION: revision});
            let next = give_up(&mut subject, "DependencyNotReady", &message, self.pause).await;
            let told = "Dependencies do not meet ready condition, retrying in";
            let told = format!("{told} {}", clock::print(self.pause));
            self.api.normal(&subject.object, "DependencyNotReady", &told, annotations).await;
            return next;
        }
        let annotations = json!({REVISION: revision});
        match self.reconcile_revision(&mut subject, artifact, revision, timeout, started).await? {
            Ok(()) => {
                conditions::delete(&mut subject.object, "Reconciling");
                subject.object["status"]["observedGeneration"] =
                    subject.object["metadata"]["generation"].clone();
                subject.finish().await?;
                let took = clock::print(started.elapsed());
                let told =
                    format!("Reconciliation finished in {took}, next run in {}", clock::print(interval));
                let annotations = json!({REVISION: revision, COMMIT_STATUS: "update"});
                self.api.normal(&subject.object, "ReconciliationSucceeded", &told, annotations).await;
                Ok(Next::After(interval))
            }
            Err(failure) => {
                if let Some(digest) = &failure.digest {
                    let status = &mut subject.object["status"];
                    history::upsert(status, digest, started.elapsed(), failure.reason, revision);
                }
                conditions::failed(&mut subject.object, failure.reason, &failure.message);
                subject.finish().await?;
                self.api.warning(&subject.object, failure.reason, &failure.told, annotations).await;
                Ok(Next::After(retry))
            }
        }
    }

    /// Which dependency is not ready, if one is not.
    async fn waits_for(&self, object: &Value, revision: &str) -> Result<Option<String>, Refused> {
        let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
        for dependency in object["spec"]["dependsOn"].as_array().into_iter().flatten() {
            let namespace = dependency["namespace"].as_str().unwrap_or(own);
            let name = dependency["name"].as_str().unwrap_or_default();
            let at = format!("{namespace}/{name}");
            let Some(other) = self.api.get(&KUSTOMIZATION.path(namespace, name)).await? else {
                return Ok(Some(format!(
                    "dependency '{at}' not found: kustomizations.kustomize.toolkit.fluxcd.io {name:?} not found"
                )));
            };
            let current = other["status"]["observedGeneration"] == other["metadata"]["generation"];
            if !current || !conditions::is(&other, "Ready", "True") {
                return Ok(Some(format!("dependency '{at}' is not ready")));
            }
            if source_of(&other) == source_of(object) && other["status"]["lastAppliedRevision"] != revision {
                return Ok(Some(format!("dependency '{at}' revision is not up to date")));
            }
        }
        Ok(None)
    }

    async fn reconcile_revision(
        &self,
        subject: &mut Subject<'_>,
        artifact: &Value,
        revision: &str,
        timeout: Duration,
        started: Instant,
    ) -> Result<Result<(), Failure>, Refused> {
        let limit = clock::print(timeout);
        let going_on = |what: &str| format!("{what} for revision {revision} with a timeout of {limit}");
        let ready = "Reconciliation in progress";
        conditions::mark(&mut subject.object, "Ready", "Unknown", "Progressing", ready);
        conditions::reconciling(&mut subject.object, &going_on("Fetching manifests"));
        subject.patch().await?;
        let files = match self.fetch(artifact).await {
            Ok(files) => files,
            Err(message) => return Ok(Err(Failure::early("ArtifactFailed", message))),
        };
        subject.object["status"]["lastAttemptedRevision"] = Value::from(revision);
        conditions::reconciling(&mut subject.object, &going_on("Building manifests"));
        subject.patch().await?;
        let digits = subject.text("/metadata/resourceVersion");
        let work = format!("/tmp/kustomization-{digits}");
        let mut objects = match build::objects(&files, &subject.text("/spec/path"), &work) {
            Ok(objects) => objects,
            Err(Unbuildable { reason, message }) => return Ok(Err(Failure::early(reason, message))),
        };
        let digest = Digest::of(json!(objects).to_string().as_bytes()).to_string();
        let (namespace, name) = (subject.text("/metadata/namespace"), subject.text("/metadata/name"));
        objects.iter_mut().for_each(|object| build::label(object, &namespace, &name));
        conditions::reconciling(&mut subject.object, &going_on("Detecting drift"));
        subject.patch().await?;
        let force = !self.faults.on(Fault::ApplyConflict);
        let changed = match apply(&self.api, &objects, force).await {
            Ok(applied) => applied,
            Err(message) => {
                let reason = "ReconciliationFailed";
                return Ok(Err(Failure { digest: Some(digest), ..Failure::early(reason, message) }));
            }
        };
        self.tell(subject, revision, &changed).await;
        let old = subject.object["status"]["inventory"]["entries"].take();
        let entries: Vec<Value> = objects.iter().map(build::entry).collect();
        let stale = old.as_array().into_iter().flatten().filter(|entry| !entries.contains(entry));
        let stale: Vec<Value> = stale.filter_map(build::of_entry).collect();
        subject.object["status"]["inventory"] = json!({"entries": entries});
        if subject.object["spec"]["prune"] == true && !stale.is_empty() {
            let gone = prune(&self.api, &stale).await;
            self.tell(subject, revision, &gone).await;
        }
        if let Err(failure) =
            self.check_health(subject, &objects, revision, timeout, !changed.is_empty()).await?
        {
            return Ok(Err(Failure { digest: Some(digest), ..failure }));
        }
        subject.object["status"]["lastAppliedRevision"] = Value::from(revision);
        let reason = "ReconciliationSucceeded";
        let message = format!("Applied revision: {revision}");
        conditions::mark(&mut subject.object, "Ready", "True", reason, &message);
        history::upsert(&mut subject.object["status"], &digest, started.elapsed(), reason, revision);
        Ok(Ok(()))
    }

    async fn check_health(
        &self,
        subject: &mut Subject<'_>,
        objects: &[Value],
        revision: &str,
        timeout: Duration,
        changed: bool,
    ) -> Result<Result<(), Failure>, Refused> {
        let named = subject.object["spec"]["healthChecks"].as_array().cloned().unwrap_or_default();
        let named: Vec<Value> = named.into_iter().map(of_reference).collect();
        let checked = if subject.object["spec"]["wait"] == true { objects } else { &named };
        if checked.is_empty() {
            conditions::delete(&mut subject.object, "Healthy");
            return Ok(Ok(()));
        }
        let started = Instant::now();
        let was_healthy = conditions::is(&subject.object, "Healthy", "True");
        let limit = clock::print(timeout);
        let message = format!("Running health checks for revision {revision} with a timeout of {limit}");
        conditions::reconciling(&mut subject.object, &message);
        conditions::mark(&mut subject.object, "Healthy", "Unknown", "Progressing", &message);
        subject.patch().await?;
        if let Err(why) = health::wait(&self.api, checked, timeout).await? {
            let reason = "HealthCheckFailed";
            conditions::mark(&mut subject.object, "Healthy", "False", reason, &why);
            let message = format!("health check failed after {}: {why}", clock::print(started.elapsed()));
            return Ok(Err(Failure::early(reason, message)));
        }
        let message = format!("Health check passed in {}", clock::print(started.elapsed()));
        let is_new = subject.object["status"]["lastAppliedRevision"] != revision;
        if !was_healthy || is_new && changed {
            let annotations = json!({REVISION: revision});
            self.api.normal(&subject.object, "Progressing", &message, annotations).await;
        }
        conditions::mark(&mut subject.object, "Healthy", "True", "Succeeded", &message);
        subject.patch().await?;
        Ok(Ok(()))
    }

    /// Fetches an artifact and makes sure that it is the one that was announced.
    async fn fetch(&self, artifact: &Value) -> Result<Files, String> {
        let url = artifact["url"].as_str().unwrap_or_default();
        let failed = |why: String| format!("failed to download archive from {url}: {why}");
        let sent = self.api.client.get(url).send().await.map_err(|error| failed(error.to_string()))?;
        let sent = sent.error_for_status().map_err(|error| failed(error.to_string()))?;
        let archive = sent.bytes().await.map_err(|error| failed(error.to_string()))?;
        let computed = Digest::of(&archive).to_string();
        if artifact["digest"] != computed.as_str() {
            return Err(format!("failed to verify archive: computed digest '{computed}' doesn't match"));
        }
        storage::unpack(&archive).map_err(|error| format!("failed to extract archive: {error}"))
    }

    /// One line for each object that changed; nothing where none did.
    async fn tell(&self, subject: &Subject<'_>, revision: &str, changed: &[Applied]) {
        let lines: Vec<String> = changed.iter().map(ToString::to_string).collect();
        if !lines.is_empty() {
            let annotations = json!({REVISION: revision});
            self.api.normal(&subject.object, "Progressing", &lines.join("\n"), annotations).await;
        }
    }
}

impl Failure {
    fn early(reason: &'static str, message: String) -> Self {
        Self { reason, told: message.clone(), message, digest: None }
    }
}

async fn give_up(
    subject: &mut Subject<'_>,
    reason: &str,
    message: &str,
    pause: Duration,
) -> Result<Next, Refused> {
    conditions::failed(&mut subject.object, reason, message);
    subject.finish().await?;
    Ok(Next::After(pause))
}

fn source_of(kustomization: &Value) -> Place {
    let reference = &kustomization["spec"]["sourceRef"];
    let own = kustomization["metadata"]["namespace"].as_str().unwrap_or_default();
    let namespace = reference["namespace"].as_str().unwrap_or(own);
    (namespace.to_owned(), reference["name"].as_str().unwrap_or_default().to_owned())
}

fn of_reference(reference: Value) -> Value {
    json!({"apiVersion": reference["apiVersion"], "kind": reference["kind"],
        "metadata": {"name": reference["name"], "namespace": reference["namespace"]}})
}
