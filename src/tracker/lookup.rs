//! What is known of something that may have no journey: a tag, a commit, a repository; and why no policy wants it.
//!
//! Asked for one thing at a time, by a person: it may look through everything once, and copies little.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Tracker;
use super::engine::Chain;
use super::expect::{PolicyPlace, RuleState, policies_of};
use super::git::{Change, Slot};
use super::idle::Idle;
use super::journey::CommitRef;
use super::registry::RepositoryState;
use super::source::ScopeKey;
use super::stage::Evidence;
use crate::image::{Digest, ImageRef, Repository, Tag};
use crate::observation::{EngineKey, EngineKind, ExpectRule, Role, Scope, Time};
use crate::policy::Cause;

/// Images, repositories, policies, commits or changes in one answer: more are too many to be read.
const FOUND_MAX: usize = 20;

/// What to look up. What is absent is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The whole name of a repository, or its end after a slash.
    pub repository: Option<String>,
    /// Of that repository; of any where that is absent.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
    /// The beginning of a commit's id.
    pub commit: Option<String>,
}

/// What is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    pub images: Vec<ImageFound>,
    /// Followed repositories of that name, without the tag that was asked for.
    pub repositories: Vec<RepositoryFound>,
    pub commits: Vec<CommitFound>,
    /// How many repositories are followed, and some of them.
    pub followed: usize,
    pub examples: Vec<Repository>,
    /// Branches that are followed: url and branch.
    pub branches: Vec<(Arc<str>, Arc<str>)>,
}

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFound {
    pub image: ImageRef,
    pub digest: Option<Digest>,
    /// Since when the tag points there.
    pub since: Evidence,
    /// It is not there any more.
    pub gone: bool,
    /// The policies and `expect` rules that choose from its repository.
    pub policies: Vec<PolicyFound>,
    /// A path in git that names it now.
    pub named_in: Option<Arc<str>>,
    /// Workloads use its repository.
    pub used: bool,
}

/// A repository that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFound {
    pub repository: Repository,
    /// When the last complete look at it ended.
    pub looked: Option<Time>,
    pub tags: usize,
}

/// What a policy says of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFound {
    /// As kubectl takes it: `imagepolicy/web -n flux-system`. An `expect` rule has no object.
    pub object: Option<Arc<str>>,
    /// The environments that it chooses for, as far as that is known.
    pub environments: BTreeSet<Arc<str>>,
    pub rule: ExpectRule,
    /// `None` where the policy cannot be read.
    pub cause: Option<Cause>,
    /// What it selects of the tags that are there.
    pub selected: Option<Tag>,
    /// The last choice that the engine's own object says.
    pub chosen: Option<ImageRef>,
    pub scan: Option<ScanFound>,
}

/// The object that lists the tags for a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanFound {
    pub object: Arc<str>,
    pub suspended: bool,
    pub last: Option<Time>,
    /// When the next one is due by its interval.
    pub due: Option<Time>,
}

/// A commit of a followed branch.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitFound {
    pub commit: CommitRef,
    pub at: Evidence,
    /// What it changed under the followed paths.
    pub changes: Vec<ConcernedBy>,
}

/// One place that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcernedBy {
    /// `container web of deployment/web`, in words.
    pub place: String,
    pub path: Arc<str>,
    pub environment: Option<Arc<str>>,
    /// The image that it names; none where it takes one away.
    pub image: Option<ImageRef>,
    /// The tag that it names, where nothing beside it says of what.
    pub tag: Option<Tag>,
    /// How many replicas it asks for.
    pub replicas: Option<i64>,
    /// Why it asks nothing of the workload that it is for, where that is known.
    pub idle: Option<Idle>,
    /// It was overtaken by another commit before anybody looked.
    pub overtaken: bool,
}

impl Tracker {
    /// Looks it up.
    #[must_use]
    pub fn look_up(&self, asked: &Lookup) -> Findings {
        let followed = self.followed();
        let mut found = Findings {
            followed: followed.len(),
            examples: followed.iter().take(FOUND_MAX).map(|repository| (*repository).clone()).collect(),
            branches: self.followed_branches(),
            ..Findings::default()
        };
        if asked.tag.is_some() || asked.digest.is_some() || asked.repository.is_some() {
            for repository in &followed {
                if asked.repository.as_deref().is_none_or(|name| is_called(repository, name)) {
                    self.look_up_in(repository, asked, &mut found);
                }
            }
        }
        if let Some(commit) = &asked.commit {
            found.commits = self.commits(commit);
        }
        // One word may be a tag, wherever it is.
        let nothing = found.images.is_empty() && found.repositories.is_empty() && found.commits.is_empty();
        if let (true, Some(word), None, None) = (nothing, &asked.repository, &asked.tag, &asked.digest) {
            let tag = Lookup { tag: Some(word.clone()), ..Lookup::default() };
            followed.iter().for_each(|repository| self.look_up_in(repository, &tag, &mut found));
        }
        found
    }

    fn followed(&self) -> BTreeSet<&Repository> {
        let registries = &self.registries;
        let rules = registries.rules.iter().map(|rule| &rule.rule.image);
        let policies = registries.policies.keys().map(|(repository, ..)| repository);
        registries.repositories.keys().chain(rules).chain(policies).chain(self.users.keys()).collect()
    }

    fn followed_branches(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let known = self.trees.trees.keys().map(|(url, branch, _)| (url.clone(), branch.clone()));
        let ruled = self.rules.paths.iter().map(|rule| (rule.url.clone(), rule.branch.clone()));
        let all: BTreeSet<(Arc<str>, Arc<str>)> = known.chain(ruled).collect();
        all.into_iter().take(FOUND_MAX).collect()
    }

    fn look_up_in(&self, repository: &Repository, asked: &Lookup, found: &mut Findings) {
        let state = self.registries.repositories.get(repository);
        let mut tags: Vec<&Tag> = Vec::new();
        if let Some(state) = state {
            if let Some(tag) = asked.tag.as_deref().and_then(|tag| tag.parse::<Tag>().ok()) {
                tags.extend(state.tags.get_key_value(&tag).map(|(tag, _)| tag));
            } else if let Some(digest) = &asked.digest {
                let points = |tag: &&Tag| {
                    let points = state.tags.get(*tag).into_iter().flatten();
                    points.into_iter().any(|point| point.digest.as_ref() == Some(digest))
                };
                tags.extend(state.tags.keys().filter(points).take(FOUND_MAX));
            }
        }
        if tags.is_empty() && asked.repository.is_some() && found.repositories.len() < FOUND_MAX {
            let scope = ScopeKey::new(&Scope::Repository(repository.clone()));
            let looked = self.sources.find(&scope).and_then(|status| status.last_finished);
            let tags =
                state.map_or(0, |state| state.tags.keys().filter(|tag| !state.gone.contains(*tag)).count());
            found.repositories.push(RepositoryFound { repository: repository.clone(), looked, tags });
        }
        let Some(state) = state else { return };
        for tag in tags {
            if found.images.len() >= FOUND_MAX {
                return;
            }
            found.images.extend(self.image(repository, tag, state));
        }
    }

    fn image(&self, repository: &Repository, tag: &Tag, state: &RepositoryState) -> Option<ImageFound> {
        let point = state.tags.get(tag)?.last()?;
        let image = ImageRef { repository: repository.clone(), tag: Some(tag.clone()), digest: None };
        let rules = self.registries.rules_of.get(repository).into_iter().flatten();
        let rules = rules.map(|at| policy(&self.registries.rules[*at], tag, state));
        let policies = policies_of(&self.registries.policies, repository)
            .map(|(place, rule)| self.engine_policy(place, policy(rule, tag, state)));
        let names = |named: &ImageRef| named.repository == *repository && named.tag.as_ref() == Some(tag);
        let naming = self.trees.trees.iter().find(|(_, tree)| tree.references.values().flatten().any(names));
        Some(ImageFound {
            digest: point.digest.clone(),
            since: point.since,
            gone: state.gone.contains(tag),
            policies: rules.chain(policies).take(FOUND_MAX).collect(),
            named_in: naming.map(|((_, _, path), _)| path.clone()),
            used: self.users.get(repository).is_some_and(|users| !users.is_empty()),
            image,
        })
    }

    /// What the objects of the engine say beside.
    fn engine_policy(&self, place: &PolicyPlace, found: PolicyFound) -> PolicyFound {
        let (_, uid, namespace, name) = place;
        let key =
            EngineKey { kind: EngineKind::ImagePolicy, namespace: namespace.clone(), name: name.clone() };
        let marker = format!("{namespace}:{name}");
        let marked = self
            .trees
            .trees
            .values()
            .filter(|tree| tree.markers.values().chain(tree.values.markers()).any(|it| **it == *marker));
        let engines = self.clusters.get(uid).map(|cluster| &cluster.engines);
        let object = engines.and_then(|engines| engines.get(&key));
        let scan = object.and_then(|object| engines?.scan_of(object));
        let chosen = object.and_then(|object| match &object.now.role {
            Role::Policy(role) => role.selected.clone(),
            _ => None,
        });
        PolicyFound {
            object: Some(Chain::object(&key)),
            environments: marked.filter_map(|tree| tree.environment.clone()).collect(),
            chosen,
            scan: scan.map(|scan| {
                let last = match &scan.now.role {
                    Role::Scan(role) => role.last.as_ref().map(|last| last.at),
                    _ => None,
                };
                let every = scan.now.interval_seconds.filter(|_| !scan.now.suspended);
                ScanFound {
                    object: Chain::object(&scan.now.key),
                    suspended: scan.now.suspended,
                    last,
                    due: last.zip(every).map(|(last, every)| last + (every * 1000.0) as i64),
                }
            }),
            ..found
        }
    }

    fn commits(&self, beginning: &str) -> Vec<CommitFound> {
        let mut found: Vec<CommitFound> = Vec::new();
        let begins = |commit: &CommitRef| commit.id.starts_with(beginning);
        let mut note = |commit: &CommitRef, at: Evidence, change: Option<ConcernedBy>| {
            let room = found.len() < FOUND_MAX;
            let known = found.iter_mut().find(|known| {
                known.commit.id == commit.id
                    && known.commit.repository == commit.repository
                    && known.commit.branch == commit.branch
            });
            match known {
                Some(known) if known.changes.len() < FOUND_MAX => known.changes.extend(change),
                Some(_) => {}
                None if room => {
                    let changes = change.into_iter().collect();
                    found.push(CommitFound { commit: commit.clone(), at, changes });
                }
                None => {}
            }
        };
        for taken in self.trees.taken.iter().filter(|taken| begins(&taken.commit)) {
            note(&taken.commit, taken.at, None);
        }
        for ((_, _, path), tree) in &self.trees.trees {
            for change in tree.changes.iter().filter(|change| begins(&change.commit)) {
                let concerned = ConcernedBy {
                    place: place(change),
                    path: path.clone(),
                    environment: tree.environment.clone(),
                    image: change.after.clone(),
                    tag: None,
                    replicas: change.replicas,
                    idle: self.idle(tree, change),
                    overtaken: !change.at_tip,
                };
                note(&change.commit, change.at, Some(concerned));
            }
            for value in tree.values.changes.iter().filter(|value| begins(&value.change.commit)) {
                let after = value.after.as_ref();
                let image = after.and_then(|says| {
                    let (tag, digest) = (says.tag.clone(), says.digest.clone());
                    Some(ImageRef { repository: says.repository.clone()?, tag, digest })
                });
                let of = place(&value.change);
                let concerned = ConcernedBy {
                    place: if value.place.is_tag() { format!("{} of {of}", value.place.key) } else { of },
                    path: path.clone(),
                    environment: tree.environment.clone(),
                    tag: after.and_then(|says| says.tag.clone()).filter(|_| image.is_none()),
                    image,
                    replicas: None,
                    idle: None,
                    overtaken: !value.change.at_tip,
                };
                note(&value.change.commit, value.change.at, Some(concerned));
            }
        }
        found.sort_by(|left, right| left.commit.id.cmp(&right.commit.id));
        for commit in &mut found {
            commit.changes.sort_by(|left, right| (&left.path, &left.place).cmp(&(&right.path, &right.place)));
        }
        found
    }
}

fn policy(state: &RuleState, tag: &Tag, tags: &RepositoryState) -> PolicyFound {
    let explained = state.explain(tag, tags);
    PolicyFound {
        object: None,
        environments: Some(state.rule.environment.clone())
            .filter(|name| !name.is_empty())
            .into_iter()
            .collect(),
        rule: state.rule.clone(),
        cause: explained.map(|(cause, _)| cause),
        selected: explained.and_then(|(_, selected)| selected.cloned()),
        chosen: None,
        scan: None,
    }
}

fn place(change: &Change) -> String {
    match &change.slot {
        Slot::Container { kind, name, container, .. } => {
            let of = format!("{}/{name}", kind.to_ascii_lowercase());
            container.as_ref().map_or(of.clone(), |container| format!("container {container} of {of}"))
        }
        Slot::Kustomize { name } => format!("the images: entry of {name}"),
        Slot::Text { repository, .. } => format!("a text that names {}", repository.path()),
        Slot::ConfigMap { name, .. } => format!("configmap/{name}"),
        Slot::Scale { kind: Some(kind), name, .. } => format!("{}/{name}", kind.to_ascii_lowercase()),
        Slot::Scale { kind: None, name, .. } => format!("the replicas: entry of {name}"),
    }
}

/// The whole name, or its end after a slash.
fn is_called(repository: &Repository, asked: &str) -> bool {
    let known = repository.as_str();
    !asked.is_empty()
        && known.strip_suffix(asked).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}
