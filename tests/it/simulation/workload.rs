//! A workload in a story, and its controller: pods come one by one, some are slow, fail to pull, or crash.

use super::people::Act;
use super::story::Telling;

/// Which controller keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    CronJob,
}

/// One container of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub repository: &'static str,
    pub tag: String,
}

/// A workload as it should be, and the pods that it has.
#[derive(Debug, Clone)]
pub struct Load {
    pub cluster: &'static str,
    pub environment: &'static str,
    pub kind: Kind,
    pub name: &'static str,
    pub parts: Vec<Part>,
    /// Restarts by hand.
    pub salt: u32,
    /// The rest of the template, as the applier wrote it.
    pub text: u32,
    pub replicas: usize,
    pub partition: usize,
    pub paused: bool,
    pub there: bool,
    pub pods: Vec<Pod>,
    made: u32,
    /// Of the rollout under way: older ones stop where they are.
    pub roll: u32,
}

#[derive(Debug, Clone)]
pub struct Pod {
    name: String,
    template: String,
    parts: Vec<Part>,
    started: bool,
    ready: bool,
}

impl Load {
    pub fn new(cluster: &'static str, environment: &'static str, kind: Kind, name: &'static str) -> Self {
        Self {
            cluster,
            environment,
            kind,
            name,
            parts: Vec::new(),
            salt: 0,
            text: 0,
            replicas: 1,
            partition: 0,
            paused: false,
            there: false,
            pods: Vec::new(),
            made: 0,
            roll: 0,
        }
    }

    /// As a line names it.
    pub fn key(&self) -> String {
        let kind = match self.kind {
            Kind::Deployment => "",
            Kind::StatefulSet => "statefulset:",
            Kind::DaemonSet => "daemonset:",
            Kind::CronJob => "cronjob:",
        };
        format!("{kind}{}/{}", self.environment, self.name)
    }

    /// Where its manifest stands.
    pub fn file(&self) -> String {
        format!("{}/{}.yaml", self.environment, self.name)
    }

    pub fn template(&self) -> String {
        let mut text: Vec<String> = self
            .parts
            .iter()
            .map(|part| format!("{}=r.io/{}:{}", part.name, part.repository, part.tag))
            .collect();
        if self.salt > 0 || self.text > 0 {
            text.push(format!("salt=s{}-{}", self.salt, self.text));
        }
        text.join(" ")
    }
}

impl Telling {
    /// A workload with its first pods, there before anybody looks.
    pub fn set_up(&mut self, at: usize) {
        let load = &mut self.loads[at];
        load.there = true;
        let (cluster, key, template) = (load.cluster, load.key(), load.template());
        if load.kind == Kind::CronJob {
            self.tell(format!("{cluster} template {key} \"* * * * *\" {template}"));
            return;
        }
        let (replicas, deployment) = (load.replicas, load.kind == Kind::Deployment);
        for i in 0..replicas {
            let name = if deployment { format!("{}-1-{i}", load.name) } else { format!("{}-{i}", load.name) };
            let (template, parts) = (template.clone(), load.parts.clone());
            load.pods.push(Pod { name, template, parts, started: true, ready: true });
        }
        let parts = load.parts.clone();
        let runs: Vec<String> =
            parts.iter().filter_map(|part| Some(format!("{}={}", part.name, self.means(part)?))).collect();
        self.tell(format!("{cluster} template {key} x{replicas} {template}"));
        self.tell(format!("{cluster} rolls {key} {}", runs.join(" ")));
    }

    fn means(&self, part: &Part) -> Option<&String> {
        self.tags.get(&(part.repository, part.tag.clone()))
    }

    /// Somebody writes the template.
    pub fn write_template(&mut self, at: usize, by: &str) {
        self.write(at, !self.loads[at].there, by);
    }

    /// Somebody writes the template and how many pods there are to be.
    pub fn write_manifest(&mut self, at: usize, by: &str) {
        self.write(at, true, by);
    }

    fn write(&mut self, at: usize, whole: bool, by: &str) {
        let load = &mut self.loads[at];
        let new = if whole { format!(" x{}", load.replicas) } else { String::new() };
        load.there = true;
        load.roll += 1;
        let (cluster, roll) = (load.cluster, load.roll);
        let line = format!("{cluster} template {}{new} {} by={by}", load.key(), load.template());
        self.tell(line);
        self.later(100, 2500, Act::Roll { load: at, roll });
    }

    /// The controller takes one step, and comes back until nothing is left to do.
    pub fn roll(&mut self, at: usize, roll: u32) {
        let load = &self.loads[at];
        if load.roll != roll || !load.there || load.paused || load.kind == Kind::CronJob {
            return;
        }
        let more = if load.kind == Kind::Deployment { self.roll_surging(at) } else { self.roll_in_place(at) };
        if more {
            self.later(200, 2500, Act::Roll { load: at, roll });
        }
    }

    /// One more than wanted at a time; an old pod goes when a new one is ready.
    fn roll_surging(&mut self, at: usize) -> bool {
        let load = &self.loads[at];
        let template = load.template();
        let new: Vec<&Pod> = load.pods.iter().filter(|pod| pod.template == template).collect();
        let old = load.pods.iter().find(|pod| pod.template != template);
        let ready = load.pods.iter().filter(|pod| pod.ready).count();
        if new.len() < load.replicas && load.pods.len() <= load.replicas {
            let name = format!("{}-p{}", load.name, load.made);
            self.make_pod(at, name);
            return true;
        }
        let surplus = new.last().filter(|_| new.len() > load.replicas).copied();
        let spare = old.filter(|pod| !pod.ready || ready > load.replicas || load.replicas == 0);
        match surplus.or(spare).map(|pod| pod.name.clone()) {
            Some(name) => {
                self.drop_pod(at, &name);
                true
            }
            None => old.is_some() || new.len() < load.replicas,
        }
    }

    /// Names stay: the old pod goes before the new one comes.
    fn roll_in_place(&mut self, at: usize) -> bool {
        let load = &self.loads[at];
        let template = load.template();
        let name = |i: usize| format!("{}-{i}", load.name);
        let surplus = load.pods.iter().find(|pod| !(0..load.replicas).any(|i| name(i) == pod.name));
        if let Some(pod) = surplus.map(|pod| pod.name.clone()) {
            self.drop_pod(at, &pod);
            return true;
        }
        for i in (load.partition..load.replicas).rev() {
            let name = name(i);
            match load.pods.iter().find(|pod| pod.name == name) {
                None => {
                    self.make_pod(at, name);
                    return true;
                }
                Some(pod) if pod.template != template => {
                    self.drop_pod(at, &name);
                    return true;
                }
                Some(pod) if !pod.ready => return true,
                Some(_) => {}
            }
        }
        false
    }

    fn make_pod(&mut self, at: usize, name: String) {
        let load = &mut self.loads[at];
        load.made += 1;
        let (template, parts) = (load.template(), load.parts.clone());
        load.pods.push(Pod { name: name.clone(), template, parts, started: false, ready: false });
        let line = format!("{} pod {} {name} pending", load.cluster, load.key());
        self.tell(line);
        if self.random.percent(5) {
            self.tell_pod(at, &name, "unschedulable");
            self.later(5000, 20_000, Act::Start { load: at, pod: name });
        } else {
            self.later(200, 4000, Act::Start { load: at, pod: name });
        }
    }

    pub fn drop_pod(&mut self, at: usize, name: &str) {
        self.loads[at].pods.retain(|pod| pod.name != name);
        // A pod whose name comes again is gone before; another one may take its time.
        if self.loads[at].kind == Kind::Deployment && self.random.percent(70) {
            self.tell_pod(at, name, "deleting");
            self.later(300, 5000, Act::Gone { load: at, pod: name.to_owned() });
        } else {
            self.tell_pod(at, name, "gone");
        }
    }

    pub fn tell_pod(&mut self, at: usize, name: &str, what: &str) {
        let line = format!("{} pod {} {name} {what}", self.loads[at].cluster, self.loads[at].key());
        self.tell(line);
    }

    fn pod(&mut self, at: usize, name: &str) -> Option<&mut Pod> {
        self.loads[at].pods.iter_mut().find(|pod| pod.name == name)
    }

    /// The node pulls, and starts the containers.
    pub fn start(&mut self, at: usize, name: &str) {
        let Some(pod) = self.pod(at, name).cloned() else { return };
        let found: Option<Vec<String>> =
            pod.parts.iter().map(|part| Some(format!("{}={}", part.name, self.means(part)?))).collect();
        let slow = self.random.percent(8);
        let Some(runs) = found.filter(|_| !slow) else {
            self.tell_pod(at, name, "waits image_pull");
            return self.later(3000, 15_000, Act::Start { load: at, pod: name.to_owned() });
        };
        if let Some(pod) = self.pod(at, name) {
            pod.started = true;
        }
        self.tell_pod(at, name, &format!("starts {}", runs.join(" ")));
        let broken = pod.parts.iter().any(|part| self.broken.contains(&(part.repository, part.tag.clone())));
        if broken || self.random.percent(4) {
            self.later(500, 4000, Act::Crash { load: at, pod: name.to_owned() });
        } else {
            self.later(300, 8000, Act::Ready { load: at, pod: name.to_owned() });
        }
    }

    pub fn crash(&mut self, at: usize, name: &str) {
        let Some(pod) = self.pod(at, name) else { return };
        (pod.started, pod.ready) = (false, false);
        self.tell_pod(at, name, "waits crash_loop");
        self.later(4000, 20_000, Act::Start { load: at, pod: name.to_owned() });
    }

    pub fn ready(&mut self, at: usize, name: &str) {
        let Some(pod) = self.pod(at, name).filter(|pod| pod.started) else { return };
        pod.ready = true;
        self.tell_pod(at, name, "ready");
    }

    /// A probe fails for a while.
    pub fn flap(&mut self, at: usize) {
        let ready: Vec<String> =
            self.loads[at].pods.iter().filter(|pod| pod.ready).map(|pod| pod.name.clone()).collect();
        if ready.is_empty() {
            return;
        }
        let name = self.random.pick(&ready).clone();
        if let Some(pod) = self.pod(at, &name) {
            pod.ready = false;
        }
        self.tell_pod(at, &name, "unready");
        self.later(500, 8000, Act::Ready { load: at, pod: name });
    }

    /// A node goes: its pod is made anew elsewhere.
    pub fn move_pod(&mut self, at: usize) {
        let load = &self.loads[at];
        // What a partition keeps is made from the old template again, which no line can say.
        let stays = |pod: &&Pod| load.partition == 0 && pod.started;
        let names: Vec<String> = load.pods.iter().filter(stays).map(|pod| pod.name.clone()).collect();
        if names.is_empty() || !load.there {
            return;
        }
        let name = self.random.pick(&names).clone();
        self.drop_pod(at, &name);
        self.again(at);
    }

    /// Something changed: the controller looks again.
    pub fn again(&mut self, at: usize) {
        self.loads[at].roll += 1;
        let roll = self.loads[at].roll;
        self.later(100, 1500, Act::Roll { load: at, roll });
    }
}
