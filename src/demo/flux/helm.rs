//! The helm controller: makes a release of every HelmRelease, from the chart that its HelmChart keeps and its values.
//! What fails is not rolled back and not tried again until values or chart are others, as where nobody writes how a
//! failed upgrade is remedied.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Refused, Type};
use super::queue::{Controller, Next};
use super::storage;
use super::subject::Subject;
use super::watch::{Change, Place, place};
use super::{HELM_CHART, HELM_RELEASE, build, chart, clock, conditions, health};
use crate::demo::fault::{Fault, Faults};
use crate::demo::gitops::applier::object_path;
use crate::image::Digest;

/// Releases kept, as in Flux.
const HISTORY_MAX: usize = 2;
/// What is said of a chart that nobody has looked at yet.
const UNREAD: &str = "latest generation of object has not been reconciled";

pub(super) struct Releases {
    pub(super) api: Api,
    pub(super) faults: Faults,
}

/// One action: an install or an upgrade.
struct Action {
    /// `install` or `upgrade`
    name: &'static str,
    /// `Install` or `Upgrade`
    title: &'static str,
    version: u64,
}

impl Controller for Releases {
    const WATCHES: &'static [Type] = &[HELM_RELEASE, HELM_CHART];

    fn api(&self) -> &Api {
        &self.api
    }

    fn is_stopped(&self) -> bool {
        self.faults.on(Fault::ApplierDown)
    }

    fn concerns(&self, own: &Value, change: &Change) -> bool {
        let (namespace, name) = place(own);
        let home = own["spec"]["chart"]["spec"]["sourceRef"]["namespace"].as_str().unwrap_or(&namespace);
        change.touches("/status/artifact/revision")
            && place(change.object()) == (home.to_owned(), format!("{namespace}-{name}"))
    }

    async fn reconcile(&self, place: Place) -> Next {
        self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused))
    }
}

impl Releases {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let manager = self.api.name.to_owned();
        let Some(mut subject) = Subject::read(&self.api, &HELM_RELEASE, place, manager).await? else {
            return Ok(Next::Woken);
        };
        let interval = Next::After(subject.duration("interval").unwrap_or(Duration::from_secs(60)));
        let artifact = self.chart_of(&mut subject).await?;
        let config = Digest::of(subject.object["spec"]["values"].to_string().as_bytes()).to_string();
        let artifact = match artifact {
            Ok(artifact) => artifact,
            Err(why) => return wait_for(&mut subject, &why, interval).await,
        };
        let revision = artifact["revision"].as_str().unwrap_or_default().to_owned();
        let last = &subject.object["status"]["history"][0];
        let is_made = last["configDigest"] == config.as_str() && last["chartVersion"] == revision.as_str();
        if is_made && (last["status"] == "deployed" || conditions::is(&subject.object, "Stalled", "True")) {
            conditions::delete(&mut subject.object, "Reconciling");
            observed(&mut subject.object);
            subject.finish().await?;
            return Ok(interval);
        }
        let number = last["version"].as_u64().unwrap_or(0) + 1;
        let (name, title) = if number == 1 { ("install", "Install") } else { ("upgrade", "Upgrade") };
        let action = Action { name, title, version: number };
        self.act(&mut subject, &artifact, &config, &action).await?;
        Ok(interval)
    }

    /// The artifact of its chart, or why there is none. The object that keeps it is the release's own.
    async fn chart_of(&self, subject: &mut Subject<'_>) -> Result<Result<Value, String>, Refused> {
        let (namespace, name) = (subject.text("/metadata/namespace"), subject.text("/metadata/name"));
        let spec = subject.object["spec"]["chart"]["spec"].clone();
        let source = &spec["sourceRef"];
        let home = source["namespace"].as_str().unwrap_or(&namespace).to_owned();
        let chart = format!("{namespace}-{name}");
        let path = HELM_CHART.path(&home, &chart);
        let wanted = json!({
            "apiVersion": HELM_CHART.version, "kind": HELM_CHART.kind,
            "metadata": {"name": chart, "namespace": home, "labels": {
                "helm.toolkit.fluxcd.io/name": name, "helm.toolkit.fluxcd.io/namespace": namespace}},
            "spec": {"chart": spec["chart"], "version": spec["version"], "interval": spec["interval"],
                "reconcileStrategy": "ChartVersion",
                "sourceRef": {"kind": source["kind"], "name": source["name"]}},
        });
        let known = self.api.get(&path).await?;
        if known.as_ref().is_none_or(|known| known["spec"] != wanted["spec"]) {
            self.api.apply(&path, &wanted, true, false).await?;
        }
        subject.object["status"]["helmChart"] = Value::from(format!("{home}/{chart}"));
        let Some(known) = known else {
            let told = format!(
                "Created HelmChart/{home}/{chart} with SourceRef 'HelmRepository/{home}/{}'",
                source["name"].as_str().unwrap_or_default()
            );
            self.api.normal(&subject.object, "HelmChartCreated", &told, Value::Null).await;
            return Ok(Err(UNREAD.to_owned()));
        };
        if conditions::is(&known, "Ready", "False") {
            return Ok(Err(conditions::message(&known, "Ready")));
        }
        let artifact = &known["status"]["artifact"];
        let current = known["status"]["observedGeneration"] == known["metadata"]["generation"];
        let ready = current && artifact["url"].is_string();
        Ok(if ready { Ok(artifact.clone()) } else { Err(UNREAD.to_owned()) })
    }

    async fn act(
        &self,
        subject: &mut Subject<'_>,
        artifact: &Value,
        config: &str,
        action: &Action,
    ) -> Result<(), Refused> {
        let started = Instant::now();
        let timeout = subject.duration("timeout").unwrap_or(Duration::from_secs(300));
        let Action { name: doing, title, version } = action;
        conditions::reconciling(&mut subject.object, "Fulfilling prerequisites");
        subject.patch().await?;
        let message = format!("Running '{doing}' action with timeout of {}", clock::print(timeout));
        conditions::reconciling(&mut subject.object, &message);
        conditions::mark(&mut subject.object, "Ready", "Unknown", "Progressing", &message);
        let generation = subject.object["metadata"]["generation"].clone();
        let status = &mut subject.object["status"];
        status["lastAttemptedConfigDigest"] = Value::from(config);
        status["lastAttemptedGeneration"] = generation;
        status["lastAttemptedReleaseAction"] = Value::from(*doing);
        status["lastAttemptedRevision"] = artifact["revision"].clone();
        subject.patch().await?;

        let (namespace, name) = (subject.text("/metadata/namespace"), subject.text("/metadata/name"));
        let made = self.make(subject, artifact, timeout).await?;
        let took = clock::print(started.elapsed());
        subject.object["status"]["lastAttemptedReleaseActionDuration"] = Value::from(took);
        let (about, outcome) = match made {
            Ok((about, objects)) => {
                let entries: Vec<Value> = objects.iter().map(build::entry).collect();
                subject.object["status"]["inventory"] = json!({"entries": entries});
                (about, Ok(()))
            }
            Err((about, why)) => (about, Err(why)),
        };
        let chart = format!("{}@{}", about.name, about.version);
        let status = if outcome.is_ok() { "deployed" } else { "failed" };
        note(&mut subject.object, &about, config, action, status);
        let annotations = json!({"helm.toolkit.fluxcd.io/app-version": about.app_version,
            "helm.toolkit.fluxcd.io/revision": about.version, "helm.toolkit.fluxcd.io/token": config});
        match outcome {
            Ok(()) => {
                let reason = format!("{title}Succeeded");
                let told = format!(
                    "Helm {doing} succeeded for release {namespace}/{name}.v{version} with chart {chart}"
                );
                conditions::mark(&mut subject.object, "Ready", "True", &reason, &told);
                conditions::mark(&mut subject.object, "Released", "True", &reason, &told);
                subject.patch().await?;
                conditions::delete(&mut subject.object, "Reconciling");
                observed(&mut subject.object);
                subject.finish().await?;
                self.api.normal(&subject.object, &reason, &told, annotations).await;
            }
            Err(why) => {
                let reason = format!("{title}Failed");
                let told =
                    format!("Helm {doing} failed for release {namespace}/{name} with chart {chart}: {why}");
                conditions::mark(&mut subject.object, "Ready", "False", &reason, &told);
                conditions::mark(&mut subject.object, "Released", "False", &reason, &told);
                subject.patch().await?;
                self.api.warning(&subject.object, &reason, &told, annotations).await;
                let gave_up = format!("Failed to {doing} after 1 attempt(s)");
                conditions::delete(&mut subject.object, "Reconciling");
                conditions::mark(&mut subject.object, "Stalled", "True", "RetriesExceeded", &gave_up);
                observed(&mut subject.object);
                subject.finish().await?;
            }
        }
        Ok(())
    }

    /// Renders, applies, and waits; the inner error is Helm's message.
    async fn make(
        &self,
        subject: &Subject<'_>,
        artifact: &Value,
        timeout: Duration,
    ) -> Result<Result<(chart::About, Vec<Value>), (chart::About, String)>, Refused> {
        let (namespace, name) = (subject.text("/metadata/namespace"), subject.text("/metadata/name"));
        let nameless = || chart::About {
            name: subject.text("/spec/chart/spec/chart"),
            version: artifact["revision"].as_str().unwrap_or_default().to_owned(),
            app_version: String::new(),
        };
        let files = match self.fetch(artifact).await {
            Ok(files) => files,
            Err(why) => return Ok(Err((nameless(), why))),
        };
        let about = chart::about(&files).unwrap_or_else(nameless);
        let mut objects = match chart::render(&files, &subject.object["spec"]["values"], &name, &namespace) {
            Ok(objects) => objects,
            Err(why) => return Ok(Err((about, why))),
        };
        for object in &mut objects {
            mark(object, &namespace, &name);
            if let Err(refused) = self.api.apply(&object_path(&namespace, object), object, true, false).await
            {
                let metadata = &object["metadata"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let why = format!(
                    "server-side apply failed for object {}/{} {}, Kind={}: {}",
                    text(&metadata["namespace"]),
                    text(&metadata["name"]),
                    text(&object["apiVersion"]),
                    text(&object["kind"]),
                    refused.message
                );
                return Ok(Err((about, why)));
            }
        }
        Ok(match health::wait(&self.api, &objects, timeout).await? {
            Ok(()) => Ok((about, objects)),
            Err(why) => Err((about, why)),
        })
    }

    async fn fetch(&self, artifact: &Value) -> Result<storage::Files, String> {
        let url = artifact["url"].as_str().unwrap_or_default();
        let failed = |error: reqwest::Error| format!("failed to download artifact from {url}: {error}");
        let sent = self.api.client.get(url).send().await.map_err(failed)?;
        let archive = sent.error_for_status().map_err(failed)?.bytes().await.map_err(failed)?;
        storage::unpack(&archive).map_err(|error| format!("cannot load the chart: {error}"))
    }
}

/// Without a chart nothing can be made; its artifact wakes the release.
async fn wait_for(subject: &mut Subject<'_>, why: &str, next: Next) -> Result<Next, Refused> {
    let message = format!("HelmChart '{}' is not ready: {why}", subject.text("/status/helmChart"));
    conditions::mark(&mut subject.object, "Ready", "False", "SourceNotReady", &message);
    subject.finish().await?;
    Ok(next)
}

/// Puts on an object what Helm and its controller write on what they make.
fn mark(object: &mut Value, namespace: &str, name: &str) {
    let metadata = &mut object["metadata"];
    metadata["labels"]["app.kubernetes.io/managed-by"] = Value::from("Helm");
    metadata["labels"]["helm.toolkit.fluxcd.io/name"] = Value::from(name);
    metadata["labels"]["helm.toolkit.fluxcd.io/namespace"] = Value::from(namespace);
    metadata["annotations"]["meta.helm.sh/release-name"] = Value::from(name);
    metadata["annotations"]["meta.helm.sh/release-namespace"] = Value::from(namespace);
}

/// Notes a release in front of those before it, which it supersedes.
fn note(object: &mut Value, about: &chart::About, config: &str, action: &Action, outcome: &str) {
    let (namespace, name) = (object["metadata"]["namespace"].clone(), object["metadata"]["name"].clone());
    let mut entries = object["status"]["history"].as_array().cloned().unwrap_or_default();
    let now = clock::now();
    let first = entries.first().map_or_else(|| Value::from(now.clone()), |one| one["firstDeployed"].clone());
    if outcome == "deployed" {
        for entry in entries.iter_mut().filter(|entry| entry["status"] == "deployed") {
            entry["status"] = Value::from("superseded");
        }
    }
    let text = format!("{}{config}{}", about.version, action.version);
    entries.insert(
        0,
        json!({"name": name, "namespace": namespace, "version": action.version, "status": outcome,
            "action": action.name, "apiVersion": "v2", "appVersion": about.app_version,
            "chartName": about.name, "chartVersion": about.version, "configDigest": config,
            "digest": Digest::of(text.as_bytes()).to_string(), "firstDeployed": first, "lastDeployed": now}),
    );
    entries.truncate(HISTORY_MAX);
    object["status"]["history"] = Value::from(entries);
    object["status"]["storageNamespace"] = namespace;
}

fn observed(object: &mut Value) {
    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
}
