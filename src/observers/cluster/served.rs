//! Which version of a kind a cluster serves. The core kinds have one for ever; those of an engine come with its
//! installation, move on with it, and may come long after us.

use serde::Deserialize;

use super::api::{Api, Failure};
use super::object::or_default;
use super::resource::{Resource, WHOLE};
use crate::observation::LookFailure;

/// Where all objects of a resource are listed; `None` where the cluster has no such kind now.
pub(super) async fn path(api: &Api, resource: Resource) -> Result<Option<String>, Failure> {
    let Resource::Engine(_) = resource else { return Ok(Some(resource.path())) };
    let group = resource.group();
    let Some(versions) = found::<Group>(api, &format!("/apis/{group}")).await? else { return Ok(None) };
    let served = |version: &&&str| versions.versions.iter().any(|served| served.version == ***version);
    for version in resource.versions().iter().filter(served) {
        let base = format!("/apis/{group}/{version}");
        let kinds = found::<Kinds>(api, &base).await?.unwrap_or_default();
        if kinds.resources.iter().any(|kind| kind.name == resource.plural()) {
            return Ok(Some(format!("{base}/{}", resource.plural())));
        }
    }
    Ok(None)
}

/// What is there, `None` on a 404.
async fn found<T: for<'de> Deserialize<'de>>(api: &Api, path: &str) -> Result<Option<T>, Failure> {
    match api.get(path, WHOLE).await {
        Ok(body) => {
            serde_json::from_slice(&body).map(Some).map_err(|why| api.malformed(&format!("{path}: {why}")))
        }
        Err(failure) if failure.class() == LookFailure::Missing => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[derive(Default, Deserialize)]
struct Group {
    #[serde(default, deserialize_with = "or_default")]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Default, Deserialize)]
struct Kinds {
    #[serde(default, deserialize_with = "or_default")]
    resources: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    name: String,
}
