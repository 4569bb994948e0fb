//! Which version of a kind a cluster serves. The core kinds have one for ever; those of an engine come with its
//! installation, move on with it, and may come long after us.

use serde::Deserialize;

use super::api::{Api, Failure};
use super::object::or_default;
use super::resource::{Resource, WHOLE};
use crate::observation::LookFailure;

/// Versions of one group that are asked for a kind. Real groups serve two or three.
const VERSIONS_ASKED_MAX: usize = 8;

/// `v1beta2` and its like.
const VERSION_LENGTH_MAX: usize = 30;

/// What a cluster has of a kind.
pub(super) enum Served {
    /// Where all its objects are listed.
    At(String),
    /// There is such a kind, and nobody here can read the versions that it is served in.
    Unread(String),
    /// There is no such kind now.
    Nowhere,
}

/// Asks what the cluster serves of a resource.
pub(super) async fn served(api: &Api, resource: Resource) -> Result<Served, Failure> {
    let Resource::Engine(_) = resource else { return Ok(Served::At(resource.path())) };
    let (group, read) = (resource.group(), resource.versions());
    let group_is = found::<Group>(api, &format!("/apis/{group}")).await?.unwrap_or_default();
    // It becomes a part of a path, and of a sentence.
    let is_version = |version: &&str| {
        version.len() <= VERSION_LENGTH_MAX && version.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let versions = group_is.versions.iter().map(|served| &*served.version);
    let mut versions: Vec<&str> = versions.filter(is_version).collect();
    // The best first, and what cannot be read last.
    let place = |version: &str| read.iter().position(|known| *known == version).unwrap_or(read.len());
    versions.sort_by_key(|version| place(version));
    let mut unread = Vec::new();
    for version in versions.into_iter().take(VERSIONS_ASKED_MAX) {
        let base = format!("/apis/{group}/{version}");
        let kinds = found::<Kinds>(api, &base).await?.unwrap_or_default();
        if !kinds.resources.iter().any(|kind| kind.name == resource.plural()) {
            continue;
        }
        if read.contains(&version) {
            return Ok(Served::At(format!("{base}/{}", resource.plural())));
        }
        unread.push(version);
    }
    Ok(match &unread[..] {
        [] => Served::Nowhere,
        _ => Served::Unread(format!(
            "{group} is served as {} only, and {} can be read: take a newer version of this program",
            unread.join(" and "),
            read.join(", "),
        )),
    })
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
