//! What has no journey: a tag that no policy selects, an image that nobody wants, a commit that changes nothing, a name
//! that nobody follows.

use super::matching::Question;
use super::why::{Answer, PolicyAnswer};
use super::words;
use crate::exporters::Snapshot;
use crate::observation::{Policy, Time};
use crate::policy::Cause;
use crate::tracker::{CommitFound, Findings, Idle, ImageFound, PolicyFound, RepositoryFound};

/// Names listed in one sentence.
const NAMED_MAX: usize = 5;

/// Adds what journeys and destinations do not tell.
pub fn add(answers: &mut Vec<Answer>, snapshot: &Snapshot, question: &Question, findings: &Findings) {
    let told = !answers.is_empty();
    let now = snapshot.at;
    for found in &findings.images {
        // What it waits for where it goes is told; here is where it does not go by its very name.
        let excluded = |policy: &PolicyFound| {
            !matches!(policy.cause, Some(Cause::Selected | Cause::Lower | Cause::NotListed))
        };
        if !told {
            answers.push(image(question, found, now));
        } else if question.names_a_tag() && found.policies.iter().any(excluded) {
            let policies = found.policies.iter().filter(|policy| excluded(policy)).cloned().collect();
            answers.push(image(question, &ImageFound { policies, ..found.clone() }, now));
        }
    }
    if told {
        return;
    }
    answers.extend(findings.commits.iter().map(|found| commit(question, found, now)));
    answers
        .extend(findings.repositories.iter().take(NAMED_MAX).map(|found| repository(question, found, now)));
    if answers.is_empty() {
        answers.push(never_seen(question, Some(findings)));
    }
}

/// Nobody knows of it.
pub fn never_seen(question: &Question, findings: Option<&Findings>) -> Answer {
    let text = words::one_line(&question.text);
    let mut sentence = match (question.commit(), findings) {
        (Some(_), Some(_)) => format!(
            "nothing that begins with {text} was seen: a commit is, when it changes something under a followed path of a followed branch"
        ),
        _ => format!("{text} was never seen: no followed registry, commit or workload names it lately"),
    };
    match findings {
        Some(findings) if findings.followed > 0 || !findings.branches.is_empty() => {
            let examples: Vec<&str> =
                findings.examples.iter().take(NAMED_MAX).map(|known| known.as_str()).collect();
            let repositories = match findings.followed {
                0 => "no repository".to_owned(),
                1..=NAMED_MAX => examples.join(", "),
                all => format!("{} and {} more", examples.join(", "), all - examples.len()),
            };
            let branches = findings.branches.iter().take(NAMED_MAX);
            let branches: Vec<String> = branches.map(|(url, branch)| format!("{branch} of {url}")).collect();
            let branches = if branches.is_empty() { "no branch".to_owned() } else { branches.join(", ") };
            sentence.push_str(&format!("; followed are {repositories}; {branches}"));
        }
        _ => sentence.push_str("; /api/v1/sources says what is followed"),
    }
    Answer { question: question.text.clone(), sentence, state: "never_seen", ..Answer::default() }
}

fn repository(question: &Question, found: &RepositoryFound, now: Time) -> Answer {
    let name = &found.repository;
    let tags = match found.tags {
        1 => "1 tag".to_owned(),
        tags => format!("{tags} tags"),
    };
    let (state, sentence) = match (question.tag(), found.looked) {
        (_, None) => ("never_seen", format!("{name} is followed, and nobody has looked at all of it yet")),
        (Some(tag), Some(looked)) => (
            "never_seen",
            format!(
                "{name} has no tag {}: it had {tags} when it was last looked at, at {}",
                words::one_line(tag),
                words::clock(looked, now)
            ),
        ),
        (None, Some(looked)) => (
            "followed",
            format!(
                "no destination uses {name}: it is followed, and had {tags} at {}; name one to be told of it",
                words::clock(looked, now)
            ),
        ),
    };
    Answer { question: question.text.clone(), sentence, state, ..Answer::default() }
}

fn image(question: &Question, found: &ImageFound, now: Time) -> Answer {
    let name = words::image(&found.image);
    let policies: Vec<PolicyAnswer> =
        found.policies.iter().map(|policy| self::policy(policy, found, now)).collect();
    let listed = |policies: &mut dyn Iterator<Item = &PolicyAnswer>| {
        let each = policies.map(|policy| {
            let of = in_words(&policy.environments);
            format!("{}{of} ({}): {}", policy.policy, policy.chooses_by, policy.sentence)
        });
        each.collect::<Vec<_>>().join("; ")
    };
    let is_selected = |policy: &&PolicyAnswer| policy.cause == Some(Cause::Selected.as_str());
    let when = match found.since.interval.not_before.is_known() {
        true => format!("since {}", words::about(found.since.interval, now)),
        false => "since before anybody looked".to_owned(),
    };
    let (state, sentence) = if found.gone {
        ("unwanted", format!("{name} is not in the registry any more"))
    } else if policies.iter().any(|policy| is_selected(&policy)) {
        let chosen = listed(&mut policies.iter().filter(is_selected));
        let others = listed(&mut policies.iter().filter(|policy| !is_selected(policy)));
        let others = if others.is_empty() { others } else { format!("; not so {others}") };
        let is = match found.policies.iter().any(|policy| is_yet_to_choose(policy, found)) {
            true => "should be selected, and is not yet",
            false => "is selected, and nothing is on its way with it",
        };
        ("selected", format!("{name} {is}: {chosen}{others}"))
    } else if !policies.is_empty() {
        ("not_selected", format!("no policy selects {name}: {}", listed(&mut policies.iter())))
    } else if let Some(path) = &found.named_in {
        let path = if path.is_empty() { "git" } else { path };
        ("unwanted", format!("{name} is named in {path}, and no workload is known that this sets"))
    } else {
        let workloads = if found.used { "no template names this tag" } else { "no workload uses it" };
        let why = "no policy or expect rule chooses from its repository, no followed path names it";
        ("unwanted", format!("{name} is in the registry {when}, and nobody wants it: {why}, {workloads}"))
    };
    let known = |at: Time| Some(at).filter(|at| at.is_known());
    Answer {
        question: question.text.clone(),
        sentence,
        state,
        image: Some(found.image.to_string()),
        stage: Some("pushed"),
        not_before: known(found.since.interval.not_before),
        not_after: known(found.since.interval.not_after),
        basis: Some(found.since.basis.as_str()),
        since: known(found.since.interval.not_before).map(|_| words::middle(found.since.interval)),
        command: command(found),
        policies,
        ..Answer::default()
    }
}

/// ` for staging and prod`
fn in_words(environments: &[String]) -> String {
    if environments.is_empty() { String::new() } else { format!(" for {}", environments.join(" and ")) }
}

/// What looks closer at the policy that comes nearest.
fn command(found: &ImageFound) -> Option<String> {
    let selects = |policy: &&PolicyFound| policy.cause == Some(Cause::Selected);
    let policy = found.policies.iter().find(selects).or(found.policies.first())?;
    Some(format!("kubectl describe {}", policy.object.as_ref()?))
}

fn policy(found: &PolicyFound, of: &ImageFound, now: Time) -> PolicyAnswer {
    let compared = match found.rule.filter.as_ref().and_then(|filter| filter.extract.as_ref()) {
        Some(extract) => format!("what {} takes of it", words::one_line(extract)),
        None => "it".to_owned(),
    };
    let mut sentence = match (found.cause, &found.selected) {
        (None, _) => "it cannot be read here, so nobody knows what it selects".to_owned(),
        (Some(Cause::Selected), _) => selected(found, of, now),
        (Some(Cause::Pattern), _) => {
            let pattern = found.rule.filter.as_ref().map_or("", |filter| &*filter.pattern);
            format!("pattern {} excludes it", words::one_line(pattern))
        }
        (Some(Cause::NotAVersion), _) => format!("{compared} is no version of three numbers"),
        (Some(Cause::PreRelease), _) => "pre-releases are not in its range".to_owned(),
        (Some(Cause::OutOfRange), _) => format!("{compared} is not in its range"),
        (Some(Cause::NotANumber), _) => format!("{compared} is no number"),
        (Some(Cause::OtherTag), _) => "it follows another tag".to_owned(),
        (Some(Cause::Lower), Some(selected)) => match found.rule.policy {
            Policy::Semver { .. } => format!("it selects {selected}, which is newer"),
            _ => format!("it selects {selected}, which comes before it"),
        },
        (Some(Cause::Lower | Cause::NotListed), _) => "the tag is not there any more".to_owned(),
    };
    let never = |scan: &&crate::tracker::ScanFound| scan.last.is_none();
    if let (Some(scan), false) = (found.scan.as_ref().filter(never), found.cause == Some(Cause::Selected)) {
        sentence.push_str(&format!("; {} was not scanned yet", scan.object));
    }
    PolicyAnswer {
        policy: found.object.as_ref().map_or_else(|| "expect rule".to_owned(), ToString::to_string),
        chooses_by: words::rule(&found.rule),
        environments: found.environments.iter().map(ToString::to_string).collect(),
        cause: found.cause.map(Cause::as_str),
        selected: found.selected.as_ref().map(ToString::to_string),
        sentence,
    }
}

/// It selects it by its own rule, and the engine has not said so.
fn is_yet_to_choose(found: &PolicyFound, of: &ImageFound) -> bool {
    let chosen = found.chosen.as_ref().is_some_and(|chosen| chosen.tag == of.image.tag);
    found.cause == Some(Cause::Selected) && found.object.is_some() && !chosen
}

/// It selects it, and no destination takes it.
fn selected(found: &PolicyFound, of: &ImageFound, now: Time) -> String {
    if is_yet_to_choose(found, of) {
        let says = found.chosen.as_ref().map_or_else(|| "nothing".to_owned(), words::image);
        let scan = match &found.scan {
            None => String::new(),
            Some(scan) if scan.suspended => format!("; {} is suspended", scan.object),
            Some(scan) => match (scan.last, scan.due) {
                (None, _) => format!("; {} was not scanned yet", scan.object),
                (Some(_), Some(due)) if due >= now => {
                    format!("; {} is to scan by {}", scan.object, words::clock(due, now))
                }
                (Some(last), _) => {
                    format!("; {} was last scanned at {}", scan.object, words::clock(last, now))
                }
            },
        };
        return format!("it has selected {says} so far{scan}");
    }
    if found.object.is_some() && found.environments.is_empty() {
        return "it selects it, and its marker stands on no followed field in git: nobody knows where it goes"
            .to_owned();
    }
    "it selects it, and no destination that uses its repository is known there".to_owned()
}

fn commit(question: &Question, found: &CommitFound, now: Time) -> Answer {
    let CommitFound { commit, at, changes } = found;
    let subject = words::one_line(&commit.subject);
    let called = if subject.is_empty() { String::new() } else { format!(" ({subject})") };
    let landed = match at.interval.is_bounded() {
        true => format!("landed at {}", words::about(at.interval, now)),
        false => "landed before anybody looked".to_owned(),
    };
    let name = format!(
        "commit {}{called} {landed} on {} of {}",
        words::short(&commit.id),
        commit.branch,
        commit.repository
    );
    let (state, sentence) = if changes.is_empty() {
        (
            "no_change",
            format!(
                "{name}, and changes no image, pod template, ConfigMap or number of replicas under a followed path"
            ),
        )
    } else {
        let each = changes.iter().take(NAMED_MAX).map(|change| {
            let names = match (&change.image, &change.tag, change.replicas) {
                (Some(image), ..) => format!("now names {}", words::image(image)),
                (None, Some(tag), _) => format!("now says {tag}"),
                (None, None, Some(replicas)) => format!("now says {replicas} replicas"),
                (None, None, None) => "changed".to_owned(),
            };
            let idle = match &change.idle {
                Some(Idle::HadThem(workload)) => format!(", and {workload} had so many already"),
                Some(Idle::Autoscaled(workload)) => format!(", and an autoscaler decides for {workload}"),
                Some(Idle::Entry) => ", and an entry of a kustomization decides".to_owned(),
                None => String::new(),
            };
            let environment =
                change.environment.as_ref().map_or_else(|| "no environment".to_owned(), ToString::to_string);
            let overtaken = if change.overtaken { ", overtaken before anybody looked" } else { "" };
            format!("{} in {} ({environment}) {names}{idle}{overtaken}", change.place, or_all(&change.path))
        });
        let each: Vec<String> = each.collect();
        ("unwanted", format!("{name}, and no journey came of it: {}", each.join("; ")))
    };
    let known = |at: Time| Some(at).filter(|at| at.is_known());
    Answer {
        question: question.text.clone(),
        sentence,
        state,
        commit: Some(commit.id.to_string()),
        stage: Some("committed"),
        not_before: known(at.interval.not_before),
        not_after: known(at.interval.not_after),
        basis: Some(at.basis.as_str()),
        since: known(at.interval.not_before).map(|_| words::middle(at.interval)),
        ..Answer::default()
    }
}

fn or_all(path: &str) -> &str {
    if path.is_empty() { "the whole tree" } else { path }
}
