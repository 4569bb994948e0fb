//! The object of one look: as it was read, as it is becoming, and the writes of its status between.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Refused, Type, difference};
use super::conditions;
use super::queue::REQUESTED;
use super::watch::Place;
use super::{FINALIZER, clock};

pub(super) struct Subject<'a> {
    pub(super) api: &'a Api,
    path: String,
    /// Who writes the status.
    manager: String,
    stored: Value,
    pub(super) object: Value,
}

impl<'a> Subject<'a> {
    /// Reads the object, with the finalizer that it must have; none where it is gone or suspended.
    pub(super) async fn read(
        api: &'a Api,
        type_: &Type,
        (namespace, name): &Place,
        manager: String,
    ) -> Result<Option<Self>, Refused> {
        let path = type_.path(namespace, name);
        let Some(mut stored) = api.get(&path).await? else { return Ok(None) };
        if stored["metadata"]["finalizers"].is_null() {
            let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
            stored = api.merge(&path, &manager, &patch).await?;
        }
        let suspended = stored["spec"]["suspend"] == true;
        let object = stored.clone();
        let mut subject = Self { api, path, manager, stored, object };
        if suspended {
            subject.handle_request();
            subject.patch().await?;
            return Ok(None);
        }
        Ok(Some(subject))
    }

    /// Writes the status where it is no longer what is stored.
    pub(super) async fn patch(&mut self) -> Result<(), Refused> {
        if let Some(patch) = difference(&self.stored["status"], &self.object["status"]) {
            let path = format!("{}/status", self.path);
            self.stored = self.api.merge(&path, &self.manager, &json!({"status": patch})).await?;
            self.object["metadata"] = self.stored["metadata"].clone();
        }
        Ok(())
    }

    /// The last write of a look.
    pub(super) async fn finish(&mut self) -> Result<(), Refused> {
        self.handle_request();
        self.patch().await
    }

    fn handle_request(&mut self) {
        if let Some(requested) = self.object.pointer(REQUESTED).cloned() {
            self.object["status"]["lastHandledReconcileAt"] = requested;
        }
    }

    /// Whether a person asked for a look since the last one.
    pub(super) fn is_requested(&self) -> bool {
        let requested = self.object.pointer(REQUESTED);
        requested.is_some_and(|requested| self.object["status"]["lastHandledReconcileAt"] != *requested)
    }

    /// Shows that a look has begun where a new spec or a person asked for it.
    pub(super) async fn begin(&mut self) -> Result<(), Refused> {
        conditions::progressing(&mut self.object, false, "reconciliation in progress");
        let observed = self.object["status"]["observedGeneration"].clone();
        let generation = self.object["metadata"]["generation"].clone();
        if observed != generation {
            let message = format!("processing object: new generation {observed} -> {generation}");
            conditions::progressing(&mut self.object, false, &message);
            self.patch().await?;
        } else if self.is_requested() {
            self.patch().await?;
        }
        Ok(())
    }

    /// A duration of the spec.
    pub(super) fn duration(&self, field: &str) -> Option<Duration> {
        clock::parse(self.object["spec"][field].as_str()?)
    }

    pub(super) fn text(&self, pointer: &str) -> String {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}
