//! What can happen in a cluster: the verbs after a cluster's name.

use std::sync::Arc;

use knotmeter::observation::{
    ConfigMap, ConfigMapUse, ContainerSpec, Interval, Job, Namespace, ObjectKey, Owner, Refuser, Strategy,
    Time, Waiting, WorkloadKind,
};

use super::cluster::Cluster;
use super::flux::flux;
use super::record::Recorder;
use super::text::{Read, digest, image_text, object_key, pair};
use super::workload::{Running, schedule, waiting};

/// `rolls KEY [xN] C=DIGEST..`: its steps are a second apart.
#[derive(Debug, Clone)]
pub struct Roll {
    key: ObjectKey,
    /// Only so many pods.
    pods: Option<usize>,
    runs: Vec<(String, String)>,
}

/// Steps of a [`Roll`].
pub const ROLL_STEPS: u8 = 3;

/// Does what a line says and tells the observer. `rolls` is answered with its steps.
pub fn act(
    cluster: &mut Cluster,
    now: i64,
    verb: &str,
    words: &[String],
    to: &mut Recorder,
) -> Read<Option<Roll>> {
    let [key, rest @ ..] = words else { return Err(format!("`{verb}` of what?")) };
    let clock = cluster.clock(now);
    if verb == "flux" {
        flux(cluster, now, words)?;
        cluster.tell(now, to);
        return Ok(None);
    }
    if verb == "configmap" {
        let (namespace, name) = key.split_once('/').ok_or("write `configmap NAMESPACE/NAME`")?;
        let place = (namespace.into(), name.into());
        let uid = cluster.config_maps.get(&place).map(|known: &ConfigMap| known.uid.clone());
        let uid = uid.unwrap_or_else(|| cluster.uid("config"));
        let written = Some(Interval::second(clock));
        let config_map = ConfigMap { uid, namespace: namespace.into(), name: name.into(), written };
        cluster.config_maps.insert(place, config_map);
        cluster.tell(now, to);
        return Ok(None);
    }
    if verb == "namespace" {
        namespace(cluster, key, rest)?;
        cluster.tell(now, to);
        return Ok(None);
    }
    let key = object_key(key)?;
    match verb {
        "rolls" => return Roll::read(key, rest).map(Some),
        "template" => {
            template(cluster, now, &key, rest, to)?;
        }
        "pod" => pod(cluster, now, &key, rest)?,
        "job" => job(cluster, now, &key, rest)?,
        "complete" => {
            let running = cluster.workload(&key)?;
            let current = running.current;
            running.pods.retain(|made| made.revision == current && !made.pod.deleting);
            running.count(clock);
            if running.is.updated != running.is.replicas || running.is.ready != running.is.replicas {
                return Err(format!("{key} is not complete: not every pod is new and ready"));
            }
        }
        "delete" => {
            cluster.workloads.remove(&key).ok_or(format!("there is no {key}"))?;
        }
        _ => {
            let running = cluster.workload(&key)?;
            match verb {
                "scale" => scale(running, rest, clock)?,
                _ => simple(running, verb, rest.first().map(String::as_str), clock)?,
            }
            // The controller answers a moment later, in a write of its own.
            cluster.say_changes(now, to);
            cluster.workload(&key)?.reconcile(clock);
        }
    }
    cluster.tell(now, to);
    Ok(None)
}

impl Roll {
    fn read(key: ObjectKey, words: &[String]) -> Read<Self> {
        let mut roll = Self { key, pods: None, runs: Vec::new() };
        for word in words {
            match pair(word) {
                Some((container, word)) => roll.runs.push((container.into(), word.into())),
                None => roll.pods = Some(count(word)? as usize),
            }
        }
        Ok(roll)
    }

    /// New pods start; a second later they are ready; a second later the old ones are gone.
    pub fn step(&self, cluster: &mut Cluster, now: i64, step: u8, to: &mut Recorder) -> Read<()> {
        let clock = cluster.clock(now);
        match step {
            0 => {
                for name in self.names(cluster.workload(&self.key)?) {
                    let uid = cluster.uid("pod");
                    let running = cluster.workload(&self.key)?;
                    let current = running.current;
                    // Where names repeat the old pod makes room.
                    running.pods.retain(|made| *made.pod.name != *name || made.revision == current);
                    let made = running.pod(&name, false, clock, uid);
                    start(made, &self.runs, clock);
                }
            }
            1 => {
                let running = cluster.workload(&self.key)?;
                let names = self.names(running);
                for made in running.pods.iter_mut().filter(|made| names.contains(&made.pod.name.to_string()))
                {
                    ready(made, clock);
                }
            }
            _ => {
                let running = cluster.workload(&self.key)?;
                if running.kind() == WorkloadKind::Deployment && self.pods.is_none() {
                    let current = running.current;
                    running.pods.retain(|made| made.revision == current);
                    running.pods.truncate(running.is.replicas as usize);
                }
            }
        }
        cluster.tell(now, to);
        Ok(())
    }

    fn names(&self, running: &Running) -> Vec<String> {
        let name = &running.is.key.name;
        let replicas = running.is.replicas as usize;
        let first = match running.is.strategy {
            Strategy::Rolling { partition } => partition as usize,
            Strategy::OnDelete => 0,
        };
        let short = |i: usize| match (running.kind(), running.current) {
            // `web-2-0`: the first pod of the second template that this Deployment ever had.
            (WorkloadKind::Deployment, Some(current)) => format!("{name}-{}-{i}", current + 1),
            _ => format!("{name}-{i}"),
        };
        (first..replicas).take(self.pods.unwrap_or(replicas)).map(short).collect()
    }
}

/// `xN`.
fn count(word: &str) -> Read<i64> {
    let number = word.strip_prefix('x').unwrap_or(word).parse();
    number.map_err(|_| format!("{word:?} is not a number such as x3"))
}

fn template(
    cluster: &mut Cluster,
    now: i64,
    key: &ObjectKey,
    words: &[String],
    to: &mut Recorder,
) -> Read<()> {
    let clock = cluster.clock(now);
    if !cluster.workloads.contains_key(key) {
        let uid = cluster.uid("workload");
        cluster.workloads.insert(key.clone(), Running::new(key.clone(), uid, 1, clock));
    }
    let running = cluster.workload(key)?;
    let (mut containers, mut salt, mut by, mut always) = (Vec::new(), "", "applier", false);
    let mut config_maps = Vec::new();
    for word in words {
        match pair(word) {
            Some(("salt", value)) => salt = value,
            Some(("by", value)) => by = value,
            Some(("pull", value)) => always = value == "always",
            Some(("release", value)) => {
                let (namespace, name) = value.split_once('/').ok_or("write `release=NAMESPACE/NAME`")?;
                running.is.applier = Some(("flux".into(), namespace.into(), name.into()));
            }
            Some(("app", value)) => running.is.app = Some(value.into()),
            Some((word @ ("config" | "mounts"), value)) => {
                config_maps.push(ConfigMapUse { name: value.into(), at_start: word == "config" });
            }
            Some(("team", value)) => running.is.owner.team = Some(value.into()),
            Some(("tier", value)) => running.is.owner.tier = Some(value.into()),
            Some(("env", value)) => running.is.environment = Some(value.into()),
            Some(("budget-committed", value)) => {
                running.is.budget_committed_seconds = Some(super::text::millis(value)? as f64 / 1000.0);
            }
            Some(("budget-applied", value)) => {
                running.is.budget_applied_seconds = Some(super::text::millis(value)? as f64 / 1000.0);
            }
            Some(("budget", value)) => {
                running.is.budget_live_seconds = Some(super::text::millis(value)? as f64 / 1000.0);
            }
            Some((name, image)) => {
                let image = image_text(image)?;
                let pull_always = image.ends_with(":latest");
                containers.push(ContainerSpec { name: name.into(), image: image.into(), pull_always });
            }
            None if word.contains(' ') => running.is.schedule = Some(schedule(word)),
            None => {
                running.is.replicas = count(word)?;
                running.is.replicas_written = Some(Interval::second(clock));
            }
        }
    }
    containers.iter_mut().for_each(|spec| spec.pull_always |= always);
    running.is.config_maps = config_maps;
    running.write_template(containers, salt, by, clock);
    running.count(clock);
    // The spec is written; the controller sees it a moment later.
    cluster.say_changes(now, to);
    cluster.workload(key)?.reconcile(clock);
    Ok(())
}

/// `N [by=applier|kubectl|autoscaler]`: in its manifest, or through the subresource, of which no time is told.
fn scale(running: &mut Running, words: &[String], clock: Time) -> Read<()> {
    let [number, rest @ ..] = words else { return Err("scale to how many?".into()) };
    let by = rest.iter().filter_map(|word| pair(word)).find(|(key, _)| *key == "by").map(|(_, who)| who);
    running.is.replicas = count(number)?;
    running.is.replicas_written =
        Some(Interval::second(clock)).filter(|_| by.is_none_or(|by| by == "applier"));
    running.is.autoscaled = match by {
        None | Some("applier" | "kubectl") => false,
        Some("autoscaler") => true,
        Some(by) => return Err(format!("{by:?} does not scale")),
    };
    running.is.generation += 1;
    Ok(())
}

fn simple(running: &mut Running, verb: &str, value: Option<&str>, clock: Time) -> Read<()> {
    let off = value == Some("off");
    match verb {
        "deadline" => running.set_progress("ProgressDeadlineExceeded", clock),
        "quota" | "admission" | "refused" => {
            running.is.replica_failure = !off;
            running.is.refused_by = match verb {
                "quota" if !off => Some(Refuser::Quota),
                "admission" if !off => Some(Refuser::Admission),
                _ => None,
            };
            running.is.refusal = value.filter(|_| !off).map(Into::into);
        }
        "pause" => {
            running.is.paused = true;
            running.set_progress("DeploymentPaused", clock);
        }
        "resume" => {
            running.is.paused = false;
            running.set_progress("DeploymentResumed", clock);
        }
        "partition" => {
            running.is.strategy = Strategy::Rolling { partition: count(value.ok_or("which partition?")?)? };
        }
        "ondelete" => running.is.strategy = Strategy::OnDelete,
        "suspend" => {
            let schedule = running.is.schedule.as_mut().ok_or("only a CronJob is suspended")?;
            schedule.suspended = !off;
        }
        "annotate" => match value.and_then(pair) {
            Some(("ignore", value)) => running.is.ignore = value == "true",
            Some(("app", value)) => running.is.app = Some(value.into()),
            Some(("environment", value)) => running.is.environment = Some(value.into()),
            Some(("budget-live", value)) => {
                running.is.budget_live_seconds = Some(super::text::millis(value)? as f64 / 1000.0);
            }
            // Others are of no meaning.
            _ => {}
        },
        _ => return Err(format!("a cluster has no verb {verb:?}")),
    }
    // Status is the controller's; annotations of a Deployment count as its spec.
    if !matches!(verb, "deadline" | "quota" | "admission" | "refused") {
        running.is.generation += 1;
    }
    Ok(())
}

/// `NAME [team=T] [tier=T] | gone`: its labels.
fn namespace(cluster: &mut Cluster, name: &str, words: &[String]) -> Read<()> {
    if words.iter().any(|word| word == "gone") {
        return cluster.namespaces.remove(name).map(drop).ok_or(format!("there is no namespace {name}"));
    }
    let mut owner = Owner::default();
    for word in words {
        match pair(word) {
            Some(("team", value)) => owner.team = Some(value.into()),
            Some(("tier", value)) => owner.tier = Some(value.into()),
            _ => return Err(format!("a namespace has no {word:?}")),
        }
    }
    let known = cluster.namespaces.get(name).map(|known| known.uid.clone());
    let uid = known.unwrap_or_else(|| cluster.uid("namespace"));
    cluster.namespaces.insert(name.into(), Namespace { uid, name: name.into(), owner });
    Ok(())
}

/// `POD [of-old] starts C=DIGEST.. | ready | unready | waits WHY [C] | unschedulable | scheduled | deleting | gone | pending`.
fn pod(cluster: &mut Cluster, now: i64, key: &ObjectKey, words: &[String]) -> Read<()> {
    let [name, rest @ ..] = words else { return Err("which pod?".into()) };
    let (of_old, rest) = match rest {
        [old, rest @ ..] if old == "of-old" => (true, rest),
        rest => (false, rest),
    };
    let [verb, rest @ ..] = rest else { return Err(format!("what does pod {name} do?")) };
    let clock = cluster.clock(now);
    let uid = cluster.uid("pod");
    let running = cluster.workload(key)?;
    if verb == "gone" {
        running.pods.retain(|made| *made.pod.name != **name);
        return Ok(());
    }
    let made = running.pod(name, of_old, clock, uid);
    match verb.as_str() {
        "pending" => {}
        "starts" => {
            let runs: Vec<_> =
                rest.iter().filter_map(|word| pair(word)).map(|(c, d)| (c.into(), d.into())).collect();
            start(made, &runs, clock);
        }
        "ready" => ready(made, clock),
        "unready" => {
            made.pod.ready = None;
            made.pod.containers.iter_mut().for_each(|container| container.ready = false);
        }
        "waits" => {
            let why = match rest.first().map(String::as_str) {
                Some("image_pull") => Waiting::ImagePull,
                Some("pull_not_found") => Waiting::PullNotFound,
                Some("pull_denied") => Waiting::PullDenied,
                Some("pull_registry_down") => Waiting::PullRegistryDown,
                Some("crash_loop") => Waiting::CrashLoop,
                Some("create_error") => Waiting::CreateError,
                other => return Err(format!("a pod does not wait for {other:?}")),
            };
            made.pod.ready = None;
            let says = rest[1..].iter().find(|word| word.contains(' '));
            let only = rest[1..].iter().find(|word| !word.contains(' '));
            for container in &mut made.pod.containers {
                if only.is_none_or(|only| *container.name == **only) {
                    container.waiting = Some(why);
                    container.says = says.map(|says| says.as_str().into());
                    (container.started, container.ready) = (None, false);
                    container.restarts += i64::from(why == Waiting::CrashLoop);
                }
            }
        }
        "unschedulable" => made.pod.unschedulable = true,
        "unhealthy" => made.probe = rest.first().map(|says| says.as_str().into()),
        "scheduled" => made.pod.unschedulable = false,
        "deleting" => made.pod.deleting = true,
        other => return Err(format!("a pod has no verb {other:?}")),
    }
    Ok(())
}

/// `JOB starts C=DIGEST.. | failed | succeeded`.
fn job(cluster: &mut Cluster, now: i64, key: &ObjectKey, words: &[String]) -> Read<()> {
    let [name, verb, rest @ ..] = words else { return Err("which job does what?".into()) };
    let clock = cluster.clock(now);
    let (job_uid, pod_uid): (Arc<str>, Arc<str>) = (cluster.uid("job"), cluster.uid("pod"));
    let running = cluster.workload(key)?;
    let pod_name = format!("{name}-pod");
    if verb == "starts" {
        running.jobs.push(Job {
            uid: job_uid.clone(),
            namespace: key.namespace.clone(),
            name: name.as_str().into(),
            owner: Some(running.is.uid.clone()),
            created: Some(clock),
            started: Some(clock),
            containers: running.is.containers.clone(),
            succeeded: false,
            failed: false,
        });
        let runs: Vec<_> =
            rest.iter().filter_map(|word| pair(word)).map(|(c, d)| (c.into(), d.into())).collect();
        let made = running.pod(&pod_name, false, clock, pod_uid);
        made.pod.owner = Some(job_uid);
        start(made, &runs, clock);
        return Ok(());
    }
    let job = running.jobs.iter_mut().find(|job| *job.name == **name).ok_or(format!("no job {name:?}"))?;
    (job.failed, job.succeeded) = (verb == "failed", verb == "succeeded");
    running.pod(&pod_name, false, clock, pod_uid).pod.finished = true;
    Ok(())
}

fn start(made: &mut super::workload::Made, runs: &[(String, String)], clock: Time) {
    made.pod.unschedulable = false;
    for (name, word) in runs {
        if !made.pod.containers.iter().any(|container| *container.name == **name) {
            // Injected: no container of the template.
            made.pod.containers.push(waiting(name, "r.io/mesh/sidecar:1"));
        }
        for container in made.pod.containers.iter_mut().filter(|container| *container.name == **name) {
            container.running = Some(digest(word));
            container.waiting = None;
            container.started.get_or_insert(clock);
        }
    }
}

fn ready(made: &mut super::workload::Made, clock: Time) {
    if made.pod.containers.iter().all(|container| container.started.is_some()) {
        made.pod.ready.get_or_insert(clock);
        made.pod.containers.iter_mut().for_each(|container| container.ready = true);
    }
}
