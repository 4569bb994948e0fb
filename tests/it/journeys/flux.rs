//! The objects of Flux in a cluster: what `flux` lines make of them.

use std::sync::Arc;

use knotmeter::image::Tag;
use knotmeter::observation::{
    Artifact, Condition, EngineKey, EngineKind, EngineObject, FilterTags, ImageOverride, Interval, Policy,
    PolicyRole, Role, Scan, ScanRole, SourceRole, Time, UpdaterRole, ValuesFrom,
};

use super::cluster::Cluster;
use super::text::{Read, image, millis, object_key, pair};

/// Where a short name is.
const NAMESPACE: &str = "flux-system";

/// `flux KIND [NAMESPACE/]NAME KEY=VALUE.. [suspend|resume|runs]`: what is not said stays as it was.
pub fn flux(cluster: &mut Cluster, now: i64, words: &[String]) -> Read<()> {
    let [kind, name, rest @ ..] = words else { return Err("write `flux KIND NAME ..`".into()) };
    let kind = EngineKind::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(kind));
    let kind = kind.ok_or(format!("{:?} is no kind of Flux", words[0]))?;
    let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE, name));
    let key = EngineKey { kind, namespace: namespace.into(), name: name.into() };
    if rest.iter().any(|word| word == "delete") {
        cluster.engines.remove(&key).ok_or(format!("there is no {key}"))?;
        return Ok(());
    }
    let clock = cluster.clock(now);
    let uid = cluster.uid("flux");
    let object = cluster.engines.entry(key.clone()).or_insert_with(|| EngineObject {
        uid,
        created: Some(clock),
        generation: 1,
        observed_generation: 1,
        suspended: false,
        interval_seconds: None,
        ready: None,
        reconciling: None,
        stalled: None,
        role: role(kind),
        key,
    });
    for word in rest {
        match (word.as_str(), pair(word)) {
            ("suspend", _) => object.suspended = true,
            ("resume", _) => object.suspended = false,
            ("runs", _) => match &mut object.role {
                Role::Updater(role) => role.last_run = Some(clock),
                _ => return Err(format!("a {} has no runs", kind.as_str())),
            },
            (_, Some(("interval", every))) => object.interval_seconds = Some(millis(every)? as f64 / 1000.0),
            (_, Some(("ready", says))) => object.ready = Some(condition(says, clock)),
            (_, Some(("stalled", says))) => {
                object.stalled = (!says.is_empty()).then(|| condition(says, clock));
            }
            (_, Some(("reconciling", says))) => {
                object.reconciling = (!says.is_empty()).then(|| condition(says, clock));
            }
            (_, Some(("generation", number))) => object.generation = whole(number)?,
            (_, Some(("observed", number))) => object.observed_generation = whole(number)?,
            (_, Some((key, value))) => set(object, key, value, clock)?,
            _ => return Err(format!("a {} has no {word:?}", kind.as_str())),
        }
    }
    Ok(())
}

fn whole(number: &str) -> Read<i64> {
    number.parse().map_err(|_| format!("{number:?} is no number"))
}

/// `KIND/NAME`, or the name of one of the kind that is meant mostly.
fn named(value: &str, mostly: EngineKind) -> Read<EngineKey> {
    let (kind, name) = value.split_once('/').unwrap_or((mostly.as_str(), value));
    let kind = EngineKind::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(kind));
    let kind = kind.ok_or(format!("{value:?} is of no kind of Flux"))?;
    Ok(EngineKey { kind, namespace: NAMESPACE.into(), name: name.into() })
}

fn place(value: &str) -> Read<(Arc<str>, Arc<str>)> {
    let (namespace, name) = value.split_once('/').ok_or(format!("{value:?}: write NAMESPACE/NAME"))?;
    Ok((namespace.into(), name.into()))
}

fn role(kind: EngineKind) -> Role {
    match kind {
        EngineKind::ImageRepository => Role::Scan(ScanRole::default()),
        EngineKind::ImagePolicy => Role::Policy(PolicyRole {
            repository: (NAMESPACE.into(), "".into()),
            filter: None,
            policy: None,
            reflects_digest: false,
            follows_digest: false,
            selected: None,
            selected_at: None,
        }),
        EngineKind::ImageUpdateAutomation => Role::Updater(UpdaterRole::default()),
        EngineKind::Kustomization | EngineKind::HelmRelease => Role::Applier(Box::default()),
        EngineKind::Receiver => Role::Other,
        EngineKind::GitRepository => {
            Role::Source(SourceRole { branch: Some("main".into()), ..SourceRole::default() })
        }
        _ => Role::Source(SourceRole::default()),
    }
}

/// `True`, or `False:REASON:what it says`.
fn condition(says: &str, clock: Time) -> Condition {
    let mut words = says.splitn(3, ':');
    Condition {
        is_true: words.next() == Some("True"),
        reason: words.next().unwrap_or("Succeeded").into(),
        message: words.next().unwrap_or_default().into(),
        since: Some(clock),
    }
}

fn set(object: &mut EngineObject, key: &str, value: &str, clock: Time) -> Read<()> {
    let wrong = format!("a {} has no {key:?}", object.key.kind.as_str());
    match &mut object.role {
        Role::Scan(role) => match key {
            "image" => role.image = Some(value.parse().map_err(|error| format!("{error}"))?),
            // `scan=REVISION:tag,tag` found just these, `scan=REVISION:900:tag,tag` that many with these last.
            "scan" => {
                let words: Vec<&str> = value.split(':').collect();
                let [revision, count @ .., tags] = words.as_slice() else { return Err(wrong) };
                let latest: Vec<Tag> = tags.split(',').filter_map(|tag| tag.parse().ok()).collect();
                let tags = count.first().and_then(|count| count.parse().ok()).unwrap_or(latest.len() as i64);
                role.last = Some(Scan { at: clock, revision: (*revision).into(), tags, latest });
            }
            _ => return Err(wrong),
        },
        Role::Policy(role) => match key {
            "repository" => role.repository.1 = value.into(),
            "semver" => role.policy = Some(Policy::Semver { range: value.into() }),
            "digest" => (role.reflects_digest, role.follows_digest) = (value != "Never", value == "Always"),
            "filter" => role.filter = Some(FilterTags { pattern: value.into(), extract: None }),
            "selected" => {
                role.selected = Some(image(value)?);
                role.selected_at = Some(Interval::second(clock));
            }
            _ => return Err(wrong),
        },
        Role::Updater(role) => match key {
            "source" => role.source = (NAMESPACE.into(), value.into()),
            "pushed" => role.pushed = Some((value.into(), clock)),
            "branch" => role.branch = Some(value.into()),
            "pushes-to" => role.push_branch = Some(value.into()),
            "path" => role.path = Some(value.into()),
            _ => return Err(wrong),
        },
        Role::Source(role) => match key {
            "artifact" => {
                let revision = format!("main@sha1:{value}").as_str().into();
                role.artifact = Some(Artifact { revision, stored: Some(clock), origin: None });
            }
            "origin" => {
                let artifact = role.artifact.as_mut().ok_or("an origin is of an artifact")?;
                artifact.origin = Some(format!("main@sha1:{value}").as_str().into());
            }
            "url" => role.url = Some(value.into()),
            // `-` where something else than a branch is followed.
            "follows" => role.branch = Some(value).filter(|branch| *branch != "-").map(Into::into),
            "of" => role.made_of = Some(named(value, EngineKind::HelmRepository)?),
            _ => return Err(wrong),
        },
        Role::Applier(role) => match key {
            "source" => role.source = Some(named(value, EngineKind::GitRepository)?),
            "releases" => role.releases = value.split(',').map(place).collect::<Read<_>>()?,
            "path" => role.path = Some(value.into()),
            "timeout" => role.timeout_seconds = Some(millis(value)? as f64 / 1000.0),
            "sets" => {
                let put = (!value.is_empty()).then(|| image(value)).transpose()?;
                let put = put.map(|image| ImageOverride {
                    name: image.repository.as_str().into(),
                    new_name: None,
                    new_tag: image.tag.map(|tag| tag.as_str().into()),
                    digest: None,
                });
                role.overrides = put.into_iter().collect();
            }
            "applies" => {
                let keys = value.split(',').map(object_key).collect::<Read<Vec<_>>>()?;
                role.inventory = keys.into_iter().map(|key| (key.kind, key.namespace, key.name)).collect();
            }
            "retry" => role.retry_seconds = Some(millis(value)? as f64 / 1000.0),
            // `KIND/NAME[:KEY]`; `KIND/NAME:KEY>PATH` sets one value by itself.
            "values-from" => {
                let all = value.split(',').map(|from| {
                    let (from, target) = from.split_once('>').map_or((from, None), |(at, to)| (at, Some(to)));
                    let (object, key) = from.split_once(':').unwrap_or((from, "values.yaml"));
                    let (kind, name) = object.split_once('/').ok_or(format!("{from:?}: write KIND/NAME"))?;
                    let kind = if kind == "configmap" { "ConfigMap" } else { "Secret" };
                    let target = target.map(Into::into);
                    Ok(ValuesFrom { kind: kind.into(), name: name.into(), key: key.into(), target })
                });
                role.values_from = all.collect::<Read<_>>()?;
            }
            "needs" => {
                role.depends_on = value.split(',').map(|name| (NAMESPACE.into(), name.into())).collect();
            }
            "attempted" => role.attempted = Some(format!("main@sha1:{value}").as_str().into()),
            "applied" => role.applied = Some(format!("main@sha1:{value}").as_str().into()),
            _ => return Err(wrong),
        },
        Role::Other => return Err(wrong),
    }
    Ok(())
}
