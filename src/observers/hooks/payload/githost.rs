//! Git hosts: field names as their senders write them.

use std::sync::Arc;

use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::{Payload, header, json, stamp, stamp_seconds, trigger};
use crate::observation::Interval;
use crate::observers::hooks::trigger::{GitName, Moved, Trigger};

/// What GitHub writes, and Gitea and Forgejo after it.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    before: String,
    after: String,
    repository: Named,
}

#[derive(Deserialize)]
struct Named {
    full_name: String,
    /// A number in a push of GitHub, a text elsewhere.
    #[serde(default)]
    pushed_at: Option<serde_json::Value>,
}

impl Push {
    fn trigger(&self, stamped: Option<Interval>) -> Option<Trigger> {
        branch(&self.repository.full_name, &self.reference, (&self.before, &self.after), stamped)
    }
}

/// GitHub's event `push`. `pushed_at` is the host's own time of the push, in Unix seconds.
pub fn github(headers: &HeaderMap, body: &[u8]) -> Result<Payload, String> {
    let mut payload =
        Payload { id: header(headers, "x-github-delivery").map(str::to_owned), ..Payload::default() };
    if header(headers, "x-github-event") != Some("push") {
        return Ok(payload);
    }
    let push: Push = json(body)?;
    let stamped = push.repository.pushed_at.as_ref().and_then(serde_json::Value::as_i64);
    let stamped = stamped.and_then(stamp_seconds);
    payload.triggers.extend(push.trigger(stamped));
    Ok(payload)
}

/// GitLab's push event. The times in it are those of its commits, not of the push.
pub fn gitlab(headers: &HeaderMap, body: &[u8]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Push {
        #[serde(default)]
        object_kind: String,
        #[serde(rename = "ref", default)]
        reference: String,
        #[serde(default)]
        before: String,
        #[serde(default)]
        after: String,
        #[serde(default)]
        project: Option<Project>,
    }
    #[derive(Deserialize)]
    struct Project {
        path_with_namespace: String,
    }
    let id = header(headers, "x-gitlab-event-uuid").or(header(headers, "idempotency-key"));
    let mut payload = Payload { id: id.map(str::to_owned), ..Payload::default() };
    let push: Push = json(body)?;
    if push.object_kind == "push" {
        let project = push.project.ok_or("project: missing")?;
        payload.triggers.extend(branch(
            &project.path_with_namespace,
            &push.reference,
            (&push.before, &push.after),
            None,
        ));
    }
    Ok(payload)
}

/// Gitea's and Forgejo's event `push`.
pub fn gitea(headers: &HeaderMap, body: &[u8]) -> Result<Payload, String> {
    let either = |forgejo, gitea| header(headers, forgejo).or(header(headers, gitea));
    let id = either("x-forgejo-delivery", "x-gitea-delivery");
    let mut payload = Payload { id: id.map(str::to_owned), ..Payload::default() };
    if either("x-forgejo-event", "x-gitea-event") != Some("push") {
        return Ok(payload);
    }
    let push: Push = json(body)?;
    payload.triggers.extend(push.trigger(None));
    Ok(payload)
}

/// Bitbucket Data Center's `repo:refs_changed`, whose `date` is that of the push, and Bitbucket Cloud's `repo:push`.
pub fn bitbucket(headers: &HeaderMap, body: &[u8]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Changed {
        #[serde(default)]
        date: Option<String>,
        changes: Vec<Change>,
        repository: Slug,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Change {
        #[serde(rename = "ref")]
        reference: Reference,
        from_hash: String,
        to_hash: String,
    }
    #[derive(Deserialize)]
    struct Reference {
        id: String,
    }
    #[derive(Deserialize)]
    struct Slug {
        slug: String,
        project: Project,
    }
    #[derive(Deserialize)]
    struct Project {
        key: String,
    }
    #[derive(Deserialize)]
    struct Push {
        push: Changes,
        repository: Named,
    }
    #[derive(Deserialize)]
    struct Changes {
        changes: Vec<New>,
    }
    #[derive(Deserialize)]
    struct New {
        new: Option<Tip>,
        #[serde(default)]
        old: Option<Former>,
    }
    #[derive(Deserialize)]
    struct Former {
        #[serde(default)]
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Tip {
        name: String,
        #[serde(rename = "type", default)]
        kind: String,
        target: Target,
    }
    #[derive(Deserialize)]
    struct Target {
        hash: String,
    }
    #[derive(Deserialize)]
    struct Named {
        full_name: String,
    }
    let id = header(headers, "x-request-id").or(header(headers, "x-request-uuid"));
    let mut payload = Payload { id: id.map(str::to_owned), ..Payload::default() };
    match header(headers, "x-event-key") {
        Some("repo:refs_changed") => {
            let changed: Changed = json(body)?;
            let stamped = changed.date.as_deref().and_then(|date| stamp(&with_colon(date)));
            let name = format!("{}/{}", changed.repository.project.key, changed.repository.slug);
            for change in &changed.changes {
                payload.triggers.extend(branch(
                    &name,
                    &change.reference.id,
                    (&change.from_hash, &change.to_hash),
                    stamped,
                ));
            }
        }
        Some("repo:push") => {
            let push: Push = json(body)?;
            for change in &push.push.changes {
                let Some(tip) = change.new.as_ref().filter(|tip| tip.kind != "tag") else { continue };
                let old = change.old.as_ref().and_then(|old| old.target.as_ref());
                let commits = (old.map_or("", |old| &old.hash), &*tip.target.hash);
                let reference = format!("refs/heads/{}", tip.name);
                payload.triggers.extend(branch(&push.repository.full_name, &reference, commits, None));
            }
        }
        _ => {}
    }
    Ok(payload)
}

/// Bitbucket Data Center writes `+1000` where RFC 3339 has `+10:00`.
fn with_colon(date: &str) -> String {
    match date.len().checked_sub(5).and_then(|at| date.split_at_checked(at)) {
        Some((rest, zone))
            if zone.starts_with(['+', '-']) && zone[1..].bytes().all(|b| b.is_ascii_digit()) =>
        {
            format!("{rest}{}:{}", &zone[..3], &zone[3..])
        }
        _ => date.to_owned(),
    }
}

/// A branch that moved; a tag is none.
fn branch(
    repository: &str,
    reference: &str,
    (before, commit): (&str, &str),
    stamped: Option<Interval>,
) -> Option<Trigger> {
    let branch: Arc<str> = reference.strip_prefix("refs/heads/")?.into();
    let known = |commit: &str| is_commit(commit).then(|| commit.into());
    let (before, commit) = (known(before), known(commit));
    Some(trigger(
        Moved::Branch { repository: GitName::new(repository), branch: Some(branch), before, commit },
        stamped,
    ))
}

/// Forty or sixty-four digits, not all of them zeros: those say that the branch was deleted.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && text.bytes().any(|b| b != b'0')
}
