//! The image reflector's second half: chooses a tag for every ImagePolicy.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};

use super::api::{Api, Refused, Type};
use super::choice::{self, NoChoice};
use super::queue::{Controller, Next};
use super::reflector::Tags;
use super::subject::Subject;
use super::watch::{Change, Place, place};
use super::{IMAGE_POLICY, IMAGE_REPOSITORY, clock, conditions};
use crate::demo::fault::{Fault, Faults};
use crate::demo::truth::{Happened, Truth};

pub(super) struct Policies {
    /// How long it waits for what it depends on; the real one takes 30 seconds.
    pub(super) pause: Duration,
    pub(super) api: Api,
    pub(super) tags: Tags,
    pub(super) faults: Faults,
    pub(super) truth: Truth,
}

impl Controller for Policies {
    const WATCHES: &'static [Type] = &[IMAGE_POLICY, IMAGE_REPOSITORY];

    fn api(&self) -> &Api {
        &self.api
    }

    fn is_stopped(&self) -> bool {
        self.faults.on(Fault::ScanLate)
    }

    fn concerns(&self, own: &Value, change: &Change) -> bool {
        let scanned = change.touches("/status/lastScanResult/revision");
        scanned && repository_of(own) == place(change.object())
    }

    async fn reconcile(&self, place: Place) -> Next {
        self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused))
    }
}

impl Policies {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let manager = self.api.name.to_owned();
        let Some(mut subject) = Subject::read(&self.api, &IMAGE_POLICY, place, manager).await? else {
            return Ok(Next::Woken);
        };
        let before = subject.object.clone();
        conditions::progressing(&mut subject.object, false, "reconciliation in progress");
        let observed = before["status"]["observedGeneration"].clone();
        if observed != before["metadata"]["generation"] {
            let generation = &before["metadata"]["generation"];
            let message = format!("processing object: new generation {observed} -> {generation}");
            conditions::progressing(&mut subject.object, false, &message);
            subject.patch().await?;
        }
        let (namespace, name) = repository_of(&subject.object);
        let repository = self.api.get(&IMAGE_REPOSITORY.path(&namespace, &name)).await?;
        let Some(repository) = repository else {
            let message = format!(
                "failed to get the referred ImageRepository: referenced ImageRepository does not exist: \
                 imagerepositories.image.toolkit.fluxcd.io {name:?} not found"
            );
            return self.failed(&mut subject, "DependencyNotReady", &message, Next::Retry).await;
        };
        let image = repository["spec"]["image"].as_str().unwrap_or_default().to_owned();
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(&image).cloned();
        let Some(tags) = tags.filter(|tags| !tags.is_empty()) else {
            let pause = clock::print(self.pause);
            let message = format!("retrying in {pause} error: no tags in database");
            let next = Next::After(self.pause);
            return self.failed(&mut subject, "DependencyNotReady", &message, next).await;
        };
        let at = Utc::now();
        let tag = match choice::choose(&subject.object["spec"], &tags) {
            Ok(tag) => tag,
            Err(NoChoice::Invalid(why)) => {
                conditions::stalled(&mut subject.object, "InvalidPolicy", &why);
                subject.finish().await?;
                self.api.warning(&subject.object, "InvalidPolicy", &why, Value::Null).await;
                return Ok(Next::Woken);
            }
            Err(NoChoice::Nothing(why)) => {
                return self.failed(&mut subject, "Failure", &why, Next::Retry).await;
            }
        };
        let chosen = json!({"name": image, "tag": tag});
        let status = &mut subject.object["status"];
        let news = status["latestRef"] != chosen;
        if news {
            if !status["latestRef"].is_null() {
                status["observedPreviousRef"] = status["latestRef"].take();
            }
            status["latestRef"] = chosen;
        }
        let message = ready_message(&subject.object["status"]);
        conditions::succeeded(&mut subject.object, &message);
        if news {
            let policy = place.1.clone();
            self.truth.record(at, Happened::Selected { policy, image: format!("{image}:{tag}") });
        }
        subject.finish().await?;
        self.api.normal(&subject.object, "Succeeded", &message, Value::Null).await;
        Ok(subject.duration("interval").filter(|one| *one > Duration::ZERO).map_or(Next::Woken, Next::After))
    }

    async fn failed(
        &self,
        subject: &mut Subject<'_>,
        reason: &str,
        message: &str,
        next: Next,
    ) -> Result<Next, Refused> {
        conditions::failed(&mut subject.object, reason, message);
        subject.finish().await?;
        self.api.warning(&subject.object, reason, message, Value::Null).await;
        Ok(next)
    }
}

fn repository_of(policy: &Value) -> Place {
    let reference = &policy["spec"]["imageRepositoryRef"];
    let own = policy["metadata"]["namespace"].as_str().unwrap_or_default();
    let namespace = reference["namespace"].as_str().unwrap_or(own);
    (namespace.to_owned(), reference["name"].as_str().unwrap_or_default().to_owned())
}

fn ready_message(status: &Value) -> String {
    let text = |reference: &Value, field: &str| reference[field].as_str().unwrap_or_default().to_owned();
    let (latest, previous) = (&status["latestRef"], &status["observedPreviousRef"]);
    let mut message =
        format!("Latest image tag for {} resolved to {}", text(latest, "name"), text(latest, "tag"));
    if !previous.is_null() && previous != latest {
        message += &format!(" (previously {}:{})", text(previous, "name"), text(previous, "tag"));
    }
    message
}
