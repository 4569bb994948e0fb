//! Our own kind: what a job of a pipeline or a hook of a git server can send with `curl`.

use std::sync::Arc;

use serde::Deserialize;

use super::githost::is_commit;
use super::registry::tagged;
use super::{Payload, json, stamp, trigger};
use crate::image::ImageRef;
use crate::observers::hooks::trigger::{GitName, Moved};

/// `{"image": "host/repository:tag"}`, with `"environment"` if it is to go live there, or `{"git": "https://..", "branch": "main", "commit": ".."}`, either with `"time"`
/// in RFC 3339 and an `"id"`.
/// `allowed` are the environments that this sender may name.
pub fn hint(body: &[u8], allowed: &[String]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Hint {
        #[serde(default)]
        image: Option<String>,
        #[serde(default)]
        environment: Option<String>,
        #[serde(default)]
        git: Option<String>,
        #[serde(default)]
        branch: Option<String>,
        #[serde(default)]
        before: Option<String>,
        #[serde(default)]
        commit: Option<String>,
        #[serde(default)]
        time: Option<String>,
        #[serde(default)]
        id: Option<String>,
    }
    let hint: Hint = json(body)?;
    let stamped = match hint.time.as_deref() {
        None => None,
        Some(text) => Some(stamp(text).ok_or("time: not RFC 3339, such as 2026-01-31T09:30:00.25Z")?),
    };
    let mut payload = Payload { id: hint.id, ..Payload::default() };
    match (hint.image, hint.git) {
        (Some(image), None) => {
            let image: ImageRef = image.parse().map_err(|error| format!("image: {error}"))?;
            let digest = image.digest.as_ref().map(ToString::to_string);
            let tag = image.tag.as_ref().map(|tag| tag.as_str());
            let mut trigger = tagged(image.repository, tag, digest.as_deref(), stamped)?;
            trigger.expected_in = expected(hint.environment, tag, allowed)?;
            payload.triggers.push(trigger);
        }
        (None, Some(_)) if hint.environment.is_some() => {
            return Err("environment: it goes with `image`; what git says is read there".into());
        }
        (None, Some(url)) => {
            let known = |commit: Option<String>| commit.filter(|commit| is_commit(commit)).map(Into::into);
            let (before, commit) = (known(hint.before), known(hint.commit));
            let branch = hint.branch.map(Into::into);
            let repository = GitName::new(&url);
            payload.triggers.push(trigger(Moved::Branch { repository, branch, before, commit }, stamped));
        }
        _ => return Err("write either `image` or `git`".into()),
    }
    Ok(payload)
}

/// Who may only hurry us is told so, instead of being heard in half.
fn expected(
    environment: Option<String>,
    tag: Option<&str>,
    allowed: &[String],
) -> Result<Option<Arc<str>>, String> {
    let Some(environment) = environment else { return Ok(None) };
    if tag.is_none() {
        return Err("environment: say which tag is to go live there: host/repository:tag".into());
    }
    if !allowed.contains(&environment) {
        return Err("environment: this webhook may expect nothing there: add it to its `expect_in`".into());
    }
    Ok(Some(environment.into()))
}
