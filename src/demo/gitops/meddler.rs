//! The meddler: a person with access to git and the cluster who, by a fault, does what should not be done, and
//! undoes it when the fault is cleared. Everything goes through git and the Kubernetes API.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{APPS, App, apps, expect};
use crate::demo::engine::Engine;
use crate::demo::fault::{Fault, Faults};
use crate::demo::git::{BRANCH, Git};
use crate::demo::{Error, flux};

/// How often the meddler looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Where most of the mischief happens.
const ENVIRONMENT: &str = "prod";
/// A push that lost against another is tried again this often.
const PUSH_TRIES_MAX: usize = 5;

/// What the meddler does, in order; everything else is a fault of a server or a program.
const DEEDS: [Fault; 16] = [
    Fault::InvalidManifest,
    Fault::ApplyConflict,
    Fault::ProbeFailing,
    Fault::ConfigNotRolled,
    Fault::Paused,
    Fault::BuildFailed,
    Fault::DependencyNotReady,
    Fault::ReadinessGate,
    Fault::SlowRollout,
    Fault::CreateError,
    Fault::SuspendedImageRepository,
    Fault::SuspendedAutomation,
    Fault::SuspendedSource,
    Fault::SuspendedKustomization,
    Fault::PolicyExcludes,
    Fault::ManualApproval,
];

#[derive(Debug)]
pub(in crate::demo) struct Meddler {
    pub(in crate::demo) client: reqwest::Client,
    /// `http://127.0.0.1:port`
    pub(in crate::demo) api: String,
    /// A clone.
    pub(in crate::demo) git: Git,
    pub(in crate::demo) faults: Faults,
    pub(in crate::demo) progress_deadline_seconds: u32,
}

impl Meddler {
    pub(in crate::demo) async fn run(self) {
        let done = Faults::default();
        loop {
            for fault in DEEDS {
                let wanted = self.faults.on(fault);
                if wanted == done.on(fault) {
                    continue;
                }
                match self.meddle(fault, wanted).await {
                    Ok(()) if wanted => done.set(fault),
                    Ok(()) => done.clear(fault),
                    Err(error) => tracing::debug!(%error, %fault, "the meddler will try again"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Does it, or undoes it.
    async fn meddle(&self, fault: Fault, does: bool) -> Result<(), Error> {
        match fault {
            Fault::InvalidManifest => {
                let [web, ..] = APPS;
                let good = format!("replicas: {}", web.replicas);
                self.replace(&[web], does, &[(&good, "replicas: -1")]).await
            }
            Fault::ProbeFailing => self.replace(&APPS, does, &[("path: /ready", "path: /readyz")]).await,
            Fault::ReadinessGate => {
                let gate = "      readinessGates:\n        - conditionType: demo.invalid/registered\n      containers:";
                self.replace(&APPS, does, &[(&self.deadline(), PATIENT), ("      containers:", gate)]).await
            }
            Fault::SlowRollout => {
                let slow = format!("{PATIENT}\n  minReadySeconds: 15");
                self.replace(&APPS, does, &[(&self.deadline(), &slow)]).await
            }
            Fault::CreateError => self.replace(&APPS, does, &[("-settings", "-setings")]).await,
            Fault::ManualApproval => {
                let branch = if does { flux::PROPOSALS } else { BRANCH };
                let patch = json!({"spec": {"git": {"push": {"branch": branch}}}});
                self.patch(&flux::automation_path(), "kubectl-edit", MERGE, &patch).await?;
                if does { Ok(()) } else { self.merge_proposals().await }
            }
            Fault::BuildFailed => self.break_build(ENVIRONMENT, does).await,
            Fault::DependencyNotReady => self.break_build(flux::INFRASTRUCTURE, does).await,
            Fault::ApplyConflict => self.own_images(does).await,
            Fault::ConfigNotRolled => self.change_settings(does).await,
            Fault::Paused => {
                for app in APPS {
                    let paused = if does { json!(true) } else { Value::Null };
                    let patch = json!({"spec": {"paused": paused}});
                    self.patch(&deployment(&app), "kubectl-rollout", STRATEGIC, &patch).await?;
                }
                Ok(())
            }
            Fault::PolicyExcludes => {
                for app in apps(Engine::Flux) {
                    self.pin(app, does).await?;
                }
                Ok(())
            }
            _ => {
                for path in flux::suspended_by(fault) {
                    let patch = json!({"spec": {"suspend": does}});
                    self.patch(&path, "flux", MERGE, &patch).await?;
                }
                Ok(())
            }
        }
    }

    /// Exchanges pieces of text, good and bad, in the manifests of some apps.
    async fn replace(&self, apps: &[App], does: bool, pieces: &[(&str, &str)]) -> Result<(), Error> {
        let files: Vec<String> = apps.iter().map(|app| format!("{ENVIRONMENT}/{}.yaml", app.name)).collect();
        let message = if does { "change how things run" } else { "run things as before" };
        let edit = |text: &str| {
            let mut text = text.to_owned();
            for (good, bad) in pieces {
                text = if does { text.replace(good, bad) } else { text.replace(bad, good) };
            }
            Some(text)
        };
        self.edit(&files, &format!("{message} in {ENVIRONMENT}"), edit).await
    }

    /// Merges what was proposed, if anything was, as soon as nothing is proposed any more: of what it proposed the
    /// automation thinks that it is done.
    async fn merge_proposals(&self) -> Result<(), Error> {
        let automation = self.get(&flux::automation_path()).await?;
        if automation["status"]["observedGeneration"] != automation["metadata"]["generation"] {
            let what = "merging the proposals".to_owned();
            return Err(Error::Http {
                what,
                why: "the automation has yet to read where it pushes".to_owned(),
            });
        }
        let proposed = self.git.run(&["ls-remote", "origin", flux::PROPOSALS]).await?;
        if proposed.is_empty() {
            return Ok(());
        }
        for tries in 1.. {
            self.git.refresh().await?;
            self.git.run(&["fetch", "--quiet", "origin", flux::PROPOSALS]).await?;
            self.git
                // What the branch says by now is newer.
                .run(&[
                    "merge",
                    "--quiet",
                    "--no-ff",
                    "--strategy-option=ours",
                    "--message",
                    "merge the proposals",
                    "FETCH_HEAD",
                ])
                .await?;
            let to = format!("HEAD:refs/heads/{BRANCH}");
            match self.git.run(&["push", "--quiet", "origin", &to]).await {
                Err(_) if tries < PUSH_TRIES_MAX => {}
                pushed => return pushed.map(drop),
            }
        }
        Ok(())
    }

    fn deadline(&self) -> String {
        format!("progressDeadlineSeconds: {}", self.progress_deadline_seconds)
    }

    /// A `kustomization.yaml` that names a file which is not there; without one everything in a folder counts.
    async fn break_build(&self, folder: &str, does: bool) -> Result<(), Error> {
        let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - missing.yaml\n";
        let broken = does.then(|| text.to_owned());
        let file = [format!("{folder}/kustomization.yaml")];
        self.edit(&file, &format!("tidy up {folder}"), |_| broken.clone()).await
    }

    /// Another greeting, or pods that read the one that is there.
    async fn change_settings(&self, does: bool) -> Result<(), Error> {
        let [web, ..] = APPS;
        if does {
            let file = [format!("{ENVIRONMENT}/{}-settings.yaml", web.name)];
            return self
                .edit(&file, "greet warmly", |text| Some(text.replace("hello from", "a warm hello from")))
                .await;
        }
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.patch(&deployment(&web), "kubectl-rollout", STRATEGIC, &patch).await
    }

    /// Applies the images that run as another manager, or gives them up again.
    async fn own_images(&self, does: bool) -> Result<(), Error> {
        for app in APPS {
            let path = deployment(&app);
            let mut applied = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": app.name, "namespace": ENVIRONMENT}});
            if does {
                let image =
                    self.get(&path).await?["spec"]["template"]["spec"]["containers"][0]["image"].take();
                let containers = json!([{"name": app.name, "image": image}]);
                applied["spec"]["template"]["spec"]["containers"] = containers;
            }
            self.patch(&path, "hotfix", APPLY, &applied).await?;
        }
        Ok(())
    }

    /// Makes a policy take the tag that it has and no other, or any again.
    async fn pin(&self, app: &App, does: bool) -> Result<(), Error> {
        let path = flux::policy_path(app.name);
        let pattern = if does {
            let tag = self.get(&path).await?["status"]["latestRef"]["tag"].take();
            let tag = tag.as_str().unwrap_or_default().replace('.', "\\.");
            flux::pinned(app.name, &tag)
        } else {
            flux::filter(app.name)
        };
        // All of it is replaced, whatever stands there.
        self.patch(&path, "kubectl-edit", MERGE, &json!({"spec": {"filterTags": null}})).await?;
        self.patch(&path, "kubectl-edit", MERGE, &json!({"spec": {"filterTags": pattern}})).await
    }

    /// Edits files of the repository, where an absent text is an absent file, and pushes the commit.
    async fn edit(
        &self,
        files: &[String],
        message: &str,
        edit: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Error> {
        for tries in 1.. {
            self.git.refresh().await?;
            for file in files {
                let path = self.git.folder().join(file);
                let failed = |source| Error::File { path: path.clone(), source };
                match edit(&std::fs::read_to_string(&path).unwrap_or_default()) {
                    Some(text) => std::fs::write(&path, text).map_err(failed)?,
                    None if path.exists() => std::fs::remove_file(&path).map_err(failed)?,
                    None => {}
                }
            }
            if self.git.run(&["status", "--porcelain"]).await?.is_empty() {
                return Ok(());
            }
            match self.git.commit_and_push(message).await {
                Err(_) if tries < PUSH_TRIES_MAX => {}
                pushed => return pushed.map(drop),
            }
        }
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Value, Error> {
        let what = || format!("getting {path}");
        let sent = self.client.get(format!("{}{path}", self.api)).send().await;
        let answer = expect(what, sent, &[StatusCode::OK]).await?;
        answer.json().await.map_err(|error| Error::Http { what: what(), why: error.to_string() })
    }

    async fn patch(&self, path: &str, manager: &str, form: &str, patch: &Value) -> Result<(), Error> {
        let url = format!("{}{path}?fieldManager={manager}&force=true", self.api);
        let request = self.client.request(Method::PATCH, url).header(header::CONTENT_TYPE, form);
        let sent = request.body(patch.to_string()).send().await;
        expect(|| format!("patching {path}"), sent, &[StatusCode::OK]).await.map(drop)
    }
}

/// Longer than any demo.
const PATIENT: &str = "progressDeadlineSeconds: 600";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn deployment(app: &App) -> String {
    format!("/apis/apps/v1/namespaces/{ENVIRONMENT}/deployments/{}", app.name)
}
