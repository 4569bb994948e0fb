//! The source controller: keeps the tree of every GitRepository as an artifact that others fetch.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::api::{Api, Refused, Type};
use super::queue::{Controller, Next};
use super::storage::{self, Storage};
use super::subject::Subject;
use super::watch::{Change, Place};
use super::{GIT_REPOSITORY, clock, conditions, remote};
use crate::demo::git::{BRANCH, Git};
use crate::demo::truth::{Happened, Truth};
use crate::image::Digest;

pub(super) struct Sources {
    pub(super) api: Api,
    /// A clone, used by one look at a time.
    pub(super) git: Mutex<Git>,
    pub(super) storage: Arc<Storage>,
    pub(super) truth: Truth,
}

impl Controller for Sources {
    const WATCHES: &'static [Type] = &[GIT_REPOSITORY];

    fn api(&self) -> &Api {
        &self.api
    }

    fn concerns(&self, _: &Value, _: &Change) -> bool {
        false
    }

    async fn reconcile(&self, place: Place) -> Next {
        self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused))
    }
}

impl Sources {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let manager = self.api.name.to_owned();
        let Some(mut subject) = Subject::read(&self.api, &GIT_REPOSITORY, place, manager).await? else {
            return Ok(Next::Woken);
        };
        let had_failed = conditions::is(&subject.object, "FetchFailed", "True");
        subject.begin().await?;
        let next = Next::After(subject.duration("interval").unwrap_or(Duration::from_secs(60)));
        let known = subject.text("/status/artifact/revision");
        if known.is_empty() {
            conditions::progressing(&mut subject.object, true, "building artifact");
            subject.patch().await?;
        }
        let url = subject.text("/spec/url");
        let branch = match subject.text("/spec/ref/branch") {
            branch if branch.is_empty() => "master".to_owned(),
            branch => branch,
        };
        let doing = if known.is_empty() { "unable to clone" } else { "unable to list remote for" };
        let commit = match remote::tip(&self.api.client, self.api.name, &url, &branch).await {
            Ok(commit) => commit,
            Err(error) => return self.failed(&mut subject, format!("{doing} '{url}': {error}")).await,
        };
        let revision = format!("{branch}@sha1:{commit}");
        let stored = format!("stored artifact for revision '{revision}'");
        conditions::delete(&mut subject.object, "FetchFailed");
        if known == revision {
            conditions::mark(&mut subject.object, "ArtifactInStorage", "True", "Succeeded", &stored);
            conditions::succeeded(&mut subject.object, &stored);
            subject.finish().await?;
            let told = format!("no changes since last reconciliation: observed revision '{revision}'");
            let (reason, told) = if had_failed {
                ("Succeeded", format!("stored artifact for commit '{revision}'"))
            } else {
                ("GitOperationSucceeded", told)
            };
            self.api.normal(&subject.object, reason, &told, annotations(&subject.object)).await;
            return Ok(next);
        }
        let news = format!("new upstream revision '{revision}'");
        if !known.is_empty() {
            conditions::mark(&mut subject.object, "ArtifactOutdated", "True", "NewRevision", &news);
        }
        conditions::progressing(&mut subject.object, true, &format!("building artifact: {news}"));
        subject.patch().await?;
        let (archive, title) = match self.archive(&commit).await {
            Ok(archive) => archive,
            Err(error) => {
                return self.failed(&mut subject, format!("unable to clone '{url}': {error}")).await;
            }
        };
        let digest = Digest::of(&archive).to_string();
        let is_new = subject.text("/status/artifact/digest") != digest;
        let path = format!("gitrepository/{}/{}/{commit}.tar.gz", place.0, place.1);
        let at = Utc::now();
        subject.object["status"]["artifact"] = json!({
            "digest": digest, "lastUpdateTime": clock::now(), "path": path, "revision": revision,
            "size": archive.len(), "url": self.storage.keep(&path, archive),
        });
        conditions::delete(&mut subject.object, "ArtifactOutdated");
        conditions::mark(&mut subject.object, "ArtifactInStorage", "True", "Succeeded", &stored);
        conditions::succeeded(&mut subject.object, &stored);
        self.truth.record(at, Happened::Fetched { commit });
        subject.finish().await?;
        if is_new || had_failed {
            let reason = if is_new { "NewArtifact" } else { "Succeeded" };
            let told = format!("stored artifact for commit '{title}'");
            self.api.normal(&subject.object, reason, &told, annotations(&subject.object)).await;
        }
        Ok(next)
    }

    async fn failed(&self, subject: &mut Subject<'_>, why: String) -> Result<Next, Refused> {
        let reason = "GitOperationFailed";
        let message = format!("failed to checkout and determine revision: {why}");
        conditions::mark(&mut subject.object, "FetchFailed", "True", reason, &message);
        conditions::failed(&mut subject.object, reason, &message);
        subject.finish().await?;
        self.api.warning(&subject.object, reason, &message, Value::Null).await;
        Ok(Next::Retry)
    }

    /// The tree of a commit as an archive, and the first line of the commit's message.
    async fn archive(&self, commit: &str) -> Result<(Vec<u8>, String), String> {
        let git = self.git.lock().await;
        let failed = |error: crate::demo::Error| error.to_string();
        git.run(&["fetch", "--quiet", "origin", BRANCH]).await.map_err(failed)?;
        git.run(&["reset", "--quiet", "--hard", commit]).await.map_err(failed)?;
        let title = git.run(&["log", "-1", "--format=%s"]).await.map_err(failed)?;
        let archive = storage::pack(git.folder()).map_err(|error| error.to_string())?;
        Ok((archive, title))
    }
}

fn annotations(object: &Value) -> Value {
    let artifact = &object["status"]["artifact"];
    json!({"source.toolkit.fluxcd.io/revision": artifact["revision"],
        "source.toolkit.fluxcd.io/digest": artifact["digest"]})
}
