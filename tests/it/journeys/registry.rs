//! A registry and its ideal observer: one list per repository and look, new tags resolved at once.

use std::collections::{BTreeMap, BTreeSet};

use knotmeter::image::{Digest, ImageRef, Repository, Tag};
use knotmeter::observation::{
    Basis, ExpectRule, Fact, ImageDescribed, Interval, LookFailure, Node, NodeRole, Scope, SourceKind,
    Subject, Time,
};
use knotmeter::policy::Selector;

use super::record::{Recorder, Speaker, since};
use super::text::{Read, START, digest, millis};

/// Looks without a tag that make it absent.
const LOOKS_UNTIL_ABSENT: u32 = 2;

/// All registries of a case.
#[derive(Debug, Default)]
pub struct Registries {
    repositories: BTreeMap<Repository, Contents>,
    down: bool,
    /// What templates and commits name, and what pods run: observers resolve these even if they are old.
    wanted: BTreeSet<ImageRef>,
    running: BTreeSet<Digest>,
    expect: Vec<ExpectRule>,
}

/// A repository: what is in it, and what the observer has seen of it.
#[derive(Debug, Default)]
struct Contents {
    tags: BTreeMap<Tag, Digest>,
    images: BTreeMap<Digest, ImageDescribed>,
    looked: Option<i64>,
    seen: BTreeMap<Tag, Seen>,
    described: BTreeSet<Digest>,
}

#[derive(Debug, Default)]
struct Seen {
    digest: Option<Digest>,
    missed: u32,
    last_with: i64,
}

impl Registries {
    pub fn new(expect: &[ExpectRule]) -> Self {
        let mut registries = Self { expect: expect.to_vec(), ..Self::default() };
        for rule in expect {
            registries.repositories.entry(rule.image.clone()).or_default();
        }
        registries
    }

    /// From now on somebody wants to know what this reference points to.
    pub fn want(&mut self, image: &ImageRef) {
        self.follow(image);
        self.wanted.insert(image.clone());
    }

    /// A repository that the case names is looked at from the start, empty or not.
    pub fn follow(&mut self, image: &ImageRef) {
        self.repositories.entry(image.repository.clone()).or_default();
    }

    pub fn runs(&mut self, digest: Digest) {
        self.running.insert(digest);
    }

    pub fn set_down(&mut self, down: bool) {
        self.down = down;
    }

    /// `push IMAGE = DIGEST [nodes m1,c1] [created TIME] [commit ID]`.
    pub fn push(&mut self, words: &[String]) -> Read<()> {
        let [image, equals, word, options @ ..] = words else {
            return Err("write `push IMAGE = DIGEST`".into());
        };
        if equals != "=" {
            return Err("write `push IMAGE = DIGEST`".into());
        }
        let image = super::text::image(image)?;
        let tag = image.tag.clone().ok_or("a push needs a tag")?;
        let digest = digest(word);
        let known = self.repositories.values().find_map(|there| there.images.get(&digest)).cloned();
        // A copy is the same image: it has the same nodes and claims.
        let mut described = known.unwrap_or_else(|| ImageDescribed {
            synthetic: false,
            repository: image.repository.clone(),
            digest: digest.clone(),
            nodes: nodes(&format!("c-{word}")),
            created: None,
            revision: None,
            source: None,
        });
        described.repository = image.repository.clone();
        for option in options.chunks(2) {
            match option {
                [name, value] if name == "nodes" => described.nodes = nodes(value),
                [name, value] if name == "created" => {
                    let at = millis(value).map(|t| START + t).or(Time::from_rfc3339(value).ok_or(()));
                    described.created = Some(at.map_err(|()| format!("{value:?} is not a time"))?);
                }
                [name, value] if name == "commit" => described.revision = Some(value.as_str().into()),
                other => return Err(format!("a push has no {other:?}")),
            }
        }
        let there = self.repositories.entry(image.repository).or_default();
        there.tags.insert(tag, digest.clone());
        there.images.insert(digest, described);
        Ok(())
    }

    /// Takes a tag away; its image stays.
    pub fn untag(&mut self, image: &str) -> Read<()> {
        let image = super::text::image(image)?;
        let there = self.repositories.get_mut(&image.repository);
        let removed = there.zip(image.tag.as_ref()).and_then(|(there, tag)| there.tags.remove(tag));
        removed.map(|_| ()).ok_or(format!("{image} was never pushed"))
    }

    /// Forgets what was seen: our process starts anew.
    pub fn restart(&mut self) {
        for there in self.repositories.values_mut() {
            there.looked = None;
            there.seen.clear();
            there.described.clear();
        }
    }

    /// One look at every repository.
    pub fn look(&mut self, now: i64, interval: i64, to: &mut Recorder) {
        let wanted = std::mem::take(&mut self.wanted);
        for (repository, there) in &mut self.repositories {
            let who = Speaker::new(SourceKind::Registry, repository.host());
            let scope = Scope::Repository(repository.clone());
            if self.down {
                to.failed(&who, now, scope, LookFailure::Network);
                continue;
            }
            let mut tags: BTreeSet<Tag> = wanted
                .iter()
                .filter(|image| image.repository == *repository)
                .filter_map(|image| image.tag.clone())
                .collect();
            for rule in self.expect.iter().filter(|rule| rule.image == *repository) {
                let selector =
                    Selector::new(rule.filter.as_ref(), &rule.policy).expect("a case has good rules");
                tags.extend(selector.select(there.tags.keys()).cloned());
            }
            there.look(repository, &who, now, &tags, to);
            let pinned = wanted.iter().filter(|image| image.repository == *repository);
            let digests: Vec<Digest> = pinned.filter_map(|image| image.digest.clone()).collect();
            for digest in digests.iter().chain(&self.running) {
                there.describe(digest, &who, now, (Interval::until(START + now), Basis::Backfill), to);
            }
            to.looked(&who, now, scope, interval);
            there.looked = Some(now);
        }
        self.wanted = wanted;
    }
}

impl Contents {
    fn look(
        &mut self,
        repository: &Repository,
        who: &Speaker,
        now: i64,
        wanted: &BTreeSet<Tag>,
        to: &mut Recorder,
    ) {
        let old = (Interval::until(START + now), Basis::Backfill);
        let fresh = self.looked.map_or(old, |last| (since(last, now), Basis::Poll));
        if self.looked.is_none() {
            let tags = self.tags.keys().cloned().collect();
            to.say(who, now, old.0, old.1, Fact::TagsListed { repository: repository.clone(), tags });
        }
        for (tag, digest) in self.tags.clone() {
            let new = !self.seen.contains_key(&tag);
            let seen = self.seen.entry(tag.clone()).or_default();
            seen.missed = 0;
            seen.last_with = now;
            let evidence = match &seen.digest {
                Some(known) if *known == digest => continue,
                Some(_) => fresh,
                None if new && self.looked.is_some() => fresh,
                None if wanted.contains(&tag) => old,
                None => continue,
            };
            seen.digest = Some(digest.clone());
            let fact = Fact::TagPointsTo { repository: repository.clone(), tag, digest: digest.clone() };
            to.say(who, now, evidence.0, evidence.1, fact);
            self.describe(&digest, who, now, evidence, to);
        }
        let mut absent = Vec::new();
        for (tag, seen) in self.seen.iter_mut().filter(|(tag, _)| !self.tags.contains_key(*tag)) {
            seen.missed += 1;
            if seen.missed == LOOKS_UNTIL_ABSENT {
                absent.push((tag.clone(), seen.last_with));
            }
        }
        for (tag, last_with) in absent {
            self.seen.remove(&tag);
            let subject = Subject::Tag { repository: repository.clone(), tag };
            to.say(who, now, since(last_with, now), Basis::Poll, Fact::Absent { subject });
        }
    }

    fn describe(
        &mut self,
        digest: &Digest,
        who: &Speaker,
        now: i64,
        how: (Interval, Basis),
        to: &mut Recorder,
    ) {
        if let Some(image) = self.images.get(digest)
            && self.described.insert(digest.clone())
        {
            to.say(who, now, how.0, how.1, Fact::ImageDescribed(Box::new(image.clone())));
        }
    }
}

/// Words that start with `m` are platform manifests, the others configs.
fn nodes(words: &str) -> Vec<Node> {
    let node = |word: &str| {
        let manifest = word.starts_with('m');
        Node {
            digest: digest(word),
            role: if manifest { NodeRole::Manifest } else { NodeRole::Config },
            platform: manifest.then(|| "linux/amd64".into()),
        }
    };
    words.split(',').map(node).collect()
}
