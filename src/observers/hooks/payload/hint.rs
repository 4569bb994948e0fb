//! Our own kind: what a job of a pipeline or a hook of a git server can send with `curl`.

use serde::Deserialize;

use super::githost::is_commit;
use super::registry::tagged;
use super::{Payload, json, stamp, trigger};
use crate::image::ImageRef;
use crate::observers::hooks::trigger::{GitName, Moved};

/// `{"image": "host/repository:tag"}` or `{"git": "https://..", "branch": "main", "commit": ".."}`, either with `"time"`
/// in RFC 3339 and an `"id"`.
pub fn hint(body: &[u8]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Hint {
        #[serde(default)]
        image: Option<String>,
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
            payload.triggers.push(tagged(image.repository, tag, digest.as_deref(), stamped)?);
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
