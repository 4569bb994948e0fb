//! The image automation controller: writes what the policies of its namespace have chosen to the marked values
//! in git.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::api::{Api, Refused, Type};
use super::queue::{Controller, Next};
use super::setters::{self, Chosen};
use super::subject::Subject;
use super::watch::{Change, Place};
use super::{AUTOMATION, GIT_REPOSITORY, IMAGE_POLICY, clock, conditions, remote};
use crate::demo::Error;
use crate::demo::fault::{Fault, Faults};
use crate::demo::git::Git;

/// What a commit says where the automation has no template.
const MESSAGE: &str = "Update from image update automation";
const READY: &str = "repository up-to-date";

pub(super) struct Automations {
    pub(super) api: Api,
    /// A clone, used by one look at a time.
    pub(super) git: Mutex<Git>,
    pub(super) faults: Faults,
}

/// What a run came to.
enum Run {
    /// Neither policies nor git have changed.
    Skipped,
    UpToDate {
        revision: String,
    },
    Pushed {
        revision: String,
        commit: String,
        told: String,
    },
}

impl Controller for Automations {
    const WATCHES: &'static [Type] = &[AUTOMATION, IMAGE_POLICY, GIT_REPOSITORY];

    fn api(&self) -> &Api {
        &self.api
    }

    fn is_stopped(&self) -> bool {
        self.faults.on(Fault::UpdaterDown)
    }

    fn concerns(&self, own: &Value, change: &Change) -> bool {
        let namespace = &own["metadata"]["namespace"];
        let other = change.object();
        if change.type_ == IMAGE_POLICY {
            return other["metadata"]["namespace"] == *namespace && change.touches("/status/latestRef");
        }
        other["metadata"]["name"] == own["spec"]["sourceRef"]["name"]
            && change.before.is_some()
            && change.touches("/metadata/generation")
    }

    async fn reconcile(&self, place: Place) -> Next {
        self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused))
    }
}

impl Automations {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let started = clock::now();
        let manager = self.api.name.to_owned();
        let Some(mut subject) = Subject::read(&self.api, &AUTOMATION, place, manager).await? else {
            return Ok(Next::Woken);
        };
        let was_ready = conditions::is_ready(&subject.object);
        subject.object["status"]["lastAutomationRunTime"] = Value::from(started);
        subject.begin().await?;
        let (observed, chosen) = self.policies(&place.0).await?;
        let told = match self.run(&subject, &observed, &chosen).await? {
            Err(message) => {
                let reason = "GitOperationFailed";
                conditions::failed(&mut subject.object, reason, &message);
                subject.finish().await?;
                self.api.warning(&subject.object, reason, &message, Value::Null).await;
                return Ok(Next::Retry);
            }
            Ok(Run::Skipped) if was_ready => "no change since last reconciliation".to_owned(),
            Ok(Run::Skipped) => READY.to_owned(),
            Ok(Run::UpToDate { revision }) => {
                observe(&mut subject.object, &revision, observed);
                READY.to_owned()
            }
            Ok(Run::Pushed { revision, commit, told }) => {
                observe(&mut subject.object, &revision, observed);
                subject.object["status"]["lastPushCommit"] = Value::from(commit);
                subject.object["status"]["lastPushTime"] = Value::from(clock::now());
                told
            }
        };
        conditions::succeeded(&mut subject.object, READY);
        subject.finish().await?;
        self.api.normal(&subject.object, "Succeeded", &told, Value::Null).await;
        Ok(Next::After(subject.duration("interval").unwrap_or(Duration::from_secs(60))))
    }

    /// The policies of a namespace that have chosen something: as the status shows them, and for the markers.
    async fn policies(&self, namespace: &str) -> Result<(Value, BTreeMap<String, Chosen>), Refused> {
        let mut observed = Map::new();
        let mut chosen = BTreeMap::new();
        for mut policy in self.api.list(&IMAGE_POLICY, namespace).await? {
            let latest = policy["status"]["latestRef"].take();
            let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let text = |field: &str| latest[field].as_str().map(str::to_owned);
            let (Some(image), Some(mut tag)) = (text("name"), text("tag")) else { continue };
            observed.insert(name.clone(), latest);
            if self.faults.on(Fault::MissingTag) {
                tag += "-missing";
            }
            chosen.insert(format!("{namespace}:{name}"), Chosen { name: image, tag });
        }
        Ok((Value::Object(observed), chosen))
    }

    /// One run; the inner error is the message of the condition.
    async fn run(
        &self,
        subject: &Subject<'_>,
        observed: &Value,
        chosen: &BTreeMap<String, Chosen>,
    ) -> Result<Result<Run, String>, Refused> {
        let (namespace, name) = (subject.text("/metadata/namespace"), subject.text("/spec/sourceRef/name"));
        let Some(source) = self.api.get(&GIT_REPOSITORY.path(&namespace, &name)).await? else {
            return Ok(Err(format!(
                "failed configuring source manager: failed to get git repository '{namespace}/{name}': GitRepository.source.toolkit.fluxcd.io {name:?} not found"
            )));
        };
        let url = source["spec"]["url"].as_str().unwrap_or_default().to_owned();
        let branch = subject.text("/spec/git/checkout/ref/branch");
        let push = subject.text("/spec/git/push/branch");
        let push = if push.is_empty() { branch.clone() } else { push };
        let checkout_failed = |why: String| Ok(Err(format!("failed to checkout source: {why}")));
        let known = subject.text("/status/observedSourceRevision");
        let news = subject.object["status"]["observedPolicies"] != *observed || known.is_empty();
        let doing = if news { "unable to clone" } else { "unable to list remote for" };
        let tip = match remote::tip(&self.api.client, self.api.name, &url, &branch).await {
            Ok(tip) => tip,
            Err(why) => return checkout_failed(format!("{doing} '{url}': {why}")),
        };
        let revision = format!("{branch}@sha1:{tip}");
        // A fault that invents tags is in no policy.
        if !news && known == revision && push == branch && !self.faults.on(Fault::MissingTag) {
            return Ok(Ok(Run::Skipped));
        }
        let git = self.git.lock().await;
        // It goes on from what it has proposed, if it has.
        let refreshed = match git.refresh_to(&push).await {
            Err(_) if push != branch => git.refresh().await,
            refreshed => refreshed,
        };
        if let Err(error) = refreshed {
            return checkout_failed(format!("unable to clone '{url}': {error}"));
        }
        let folder = git.folder().join(subject.text("/spec/update/path").trim_start_matches("./"));
        match edit(&folder, chosen) {
            Ok(false) => return Ok(Ok(Run::UpToDate { revision })),
            Ok(true) => {}
            Err(error) => return Ok(Err(format!("failed to apply policies: {error}"))),
        }
        Ok(match git.commit_and_push_to(&push, MESSAGE).await {
            Ok(commit) => {
                let told = format!("pushed commit '{}' to branch '{push}'\n{MESSAGE}", &commit[..7]);
                // What it pushed elsewhere is not what it checks out.
                let revision = if push == branch { format!("{branch}@sha1:{commit}") } else { revision };
                Ok(Run::Pushed { revision, commit, told })
            }
            Err(error) => Err(format!("failed to update source: {}", refusal(&error, &push))),
        })
    }
}

fn observe(object: &mut Value, revision: &str, policies: Value) {
    object["status"]["observedSourceRevision"] = Value::from(revision);
    object["status"]["observedPolicies"] = policies;
}

/// Edits every manifest below a folder; tells whether one changed.
fn edit(folder: &Path, chosen: &BTreeMap<String, Chosen>) -> std::io::Result<bool> {
    let mut changed = false;
    for path in manifests(folder)? {
        let before = std::fs::read_to_string(&path)?;
        let after = setters::set(&before, chosen);
        if before != after {
            std::fs::write(&path, after)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn manifests(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with(".git") {
            found.extend(manifests(&path)?);
        } else if path.extension().is_some_and(|one| one == "yaml" || one == "yml") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Why a push was refused, in the words of Flux's git library.
fn refusal(error: &Error, branch: &str) -> String {
    let said = error.to_string();
    // The program says `! [remote rejected] HEAD -> main (failed to update ref)`.
    let refused = said.split_once("[remote rejected]").and_then(|(_, rest)| rest.split_once('('));
    let why = if let Some((_, reason)) = refused {
        let reason = reason.split(')').next().unwrap_or_default();
        format!("command error on refs/heads/{branch}: {reason}")
    } else if said.contains("[rejected]") {
        format!("non-fast-forward update: refs/heads/{branch}")
    } else if said.contains("403") {
        "authorization failed: write access is not granted\n".to_owned()
    } else {
        said
    };
    format!("failed to push to remote: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_push_is_told_as_the_library_tells_it() {
        let told = |said: &str| {
            let error = Error::Git { call: "push".to_owned(), said: said.to_owned() };
            refusal(&error, "main")
        };
        let raced =
            " ! [remote rejected] HEAD -> main (failed to update ref)\nerror: failed to push some refs";
        let expected = "failed to push to remote: command error on refs/heads/main: failed to update ref";
        assert_eq!(told(raced), expected);
        let behind = " ! [rejected]        HEAD -> main (fetch first)";
        assert_eq!(told(behind), "failed to push to remote: non-fast-forward update: refs/heads/main");
        let forbidden = "fatal: unable to access 'http://r/': The requested URL returned error: 403";
        assert!(told(forbidden).starts_with("failed to push to remote: authorization failed: "));
    }
}
