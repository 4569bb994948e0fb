//! Durations, times and names as people read them. Used by the page and by the answers to `why`.

use crate::image::ImageRef;
use crate::observation::{ExpectRule, Interval, Order, Policy, Time};
use crate::tracker::{
    CommitRef, Destination, Evidence, Hold, Journey, Reason, Sample, Stage, Stuck, Subject, Who,
};

/// Characters of a commit id that people read.
const COMMIT_LENGTH: usize = 8;

/// Of an author's name: what is longer is no name.
const AUTHOR_CHARS_MAX: usize = 60;
/// Where a commit may be what is wrong.
const AUTHORED: [Reason; 2] = [Reason::PullNotFound, Reason::CreateError];

/// `0.4 s`, `6.2 s`, `42 s`, `4m12s`, `3h20m`, `2d4h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{minutes}m{:02}s", whole % 60),
        3_600..86_400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// The error bar: `±0.5 s`; milliseconds where it is that fine.
#[must_use]
pub fn plus_minus(seconds: f64) -> String {
    if seconds.is_infinite() {
        "±?".to_owned()
    } else if seconds < 0.05 {
        format!("±{:.0} ms", seconds * 1000.0)
    } else {
        format!("±{}", duration(seconds))
    }
}

/// `6.2 s ±0.5 s`
#[must_use]
pub fn sample(sample: Sample) -> String {
    format!("{} {}", duration(sample.seconds), plus_minus(sample.uncertainty_seconds))
}

/// The time of day in UTC, with the date where it is another day than `now`'s.
#[must_use]
pub fn clock(at: Time, now: Time) -> String {
    let Some(time) = at.to_chrono() else { return "an unknown time".to_owned() };
    let same_day = now.to_chrono().is_some_and(|now| now.date_naive() == time.date_naive());
    time.format(if same_day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// The middle of an interval, or its end where nobody knows when it began.
#[must_use]
pub fn middle(interval: Interval) -> Time {
    if interval.is_bounded() { Time(interval.midpoint_millis() as i64) } else { interval.not_after }
}

/// `12:00:15 (±5.0 s)`
#[must_use]
pub fn about(interval: Interval, now: Time) -> String {
    let at = clock(middle(interval), now);
    match interval.half_width_seconds() {
        exact if exact < 0.5 => at,
        width => format!("{at} ({})", plus_minus(width)),
    }
}

/// Without the registry, and with a short digest: what people call an image.
#[must_use]
pub fn image(image: &ImageRef) -> String {
    let path = image.repository.path();
    match (&image.tag, &image.digest) {
        (Some(tag), _) => format!("{path}:{tag}"),
        (None, Some(digest)) => format!("{path}@{}", digest.short()),
        (None, None) => path.to_owned(),
    }
}

/// What travels: the image, or the commit that changes something else.
#[must_use]
pub fn subject(journey: &Journey) -> String {
    match (journey.subject, &journey.commit) {
        (Subject::Revision, Some(commit)) => {
            let of = format!("revision {} of {}", short(&commit.id), image(&journey.image));
            match journey.replicas {
                Some(replicas) => format!("{of} to {replicas} replicas"),
                None => of,
            }
        }
        (Subject::Revision, None) => format!("a revision of {}", image(&journey.image)),
        (Subject::Image, _) => image(&journey.image),
    }
}

/// The first characters of a commit id.
#[must_use]
pub fn short(commit: &str) -> String {
    commit.chars().take(COMMIT_LENGTH).collect()
}

/// A commit's author without the address: the page may be open to more people than the repository.
#[must_use]
pub fn author(author: &str) -> &str {
    author.split_once('<').map_or(author, |(name, _)| name.trim_end())
}

/// `prod (deployment/web -n prod)`
#[must_use]
pub fn place(destination: &Destination) -> String {
    format!("{} ({})", destination.environment, destination.workload)
}

/// The last stage reached, and its evidence.
#[must_use]
pub fn reached(journey: &Journey) -> Option<(Stage, Evidence)> {
    let stage = journey.stages.reached()?;
    Some((stage, journey.stages.evidence(stage)?))
}

/// Since when it waits for its next stage.
#[must_use]
pub fn waits_since(journey: &Journey) -> Time {
    middle(reached(journey).map_or(journey.opened, |(_, evidence)| evidence.interval))
}

/// What the journey waits for.
#[must_use]
pub fn waits_for(journey: &Journey) -> &'static str {
    journey.stages.waiting_for().unwrap_or(Stage::Live).as_str()
}

/// What comes next and by when, and until when nothing of it is late; for a journey under way.
#[must_use]
pub fn next(journey: &Journey, now: Time) -> Option<String> {
    let turn = journey.next.turn.as_ref().map(|turn| {
        let (object, does) = (&turn.object, turn.does.as_str());
        match (turn.by, &turn.after) {
            (None, Some(after)) => format!("{object} is to {does} as soon as {after} is ready"),
            (None, None) => format!("{object} is to {does} at once"),
            (Some(by), _) if by >= now => format!("{object} is to {does} by {}", clock(by, now)),
            (Some(by), _) => format!("{object} was to {does} by {}", clock(by, now)),
        }
    });
    let trouble = journey.next.trouble.as_ref().map(|(reason, who)| {
        let words = [ended(&who.says), &began(who)].concat();
        let words = if words.is_empty() { words } else { format!(" ({words})") };
        format!("{}: {}{words}", who.object, reason.fact())
    });
    let late = journey.next.late_after.map(|at| format!("late after {}", clock(at, now)));
    let parts: Vec<String> = [turn, trouble, late].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What a policy chooses by: `semver 1.x, pattern ^v`.
#[must_use]
pub fn rule(rule: &ExpectRule) -> String {
    let order = |order: Order| match order {
        Order::Asc => "",
        Order::Desc => " desc",
    };
    let chooses = match &rule.policy {
        Policy::Semver { range } => format!("semver {range}"),
        Policy::Numerical { order: by } => format!("numerical{}", order(*by)),
        Policy::Alphabetical { order: by } => format!("alphabetical{}", order(*by)),
        Policy::Digest { tag } => format!("digest of {tag}"),
    };
    let pattern = rule.filter.as_ref().map(|filter| format!(", pattern {}", filter.pattern));
    one_line(&(chooses + &pattern.unwrap_or_default()))
}

/// It becomes a part of a sentence, and whoever wrote it must not be able to write the next one.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// What to do where pods run with what a ConfigMap held before.
pub const CONFIG_NOT_ROLLED: &str = "its pods started before the ConfigMap was written, and read it only at their start: kubectl rollout restart";

/// A hold in few words.
#[must_use]
pub fn label(hold: Hold) -> String {
    hold.as_str().replace('_', " ")
}

/// Who chose to wait, and how it goes on.
#[must_use]
pub fn hold(hold: Hold) -> &'static str {
    hold.sentence()
}

/// Who holds a journey or keeps it stuck, or gave it up, and in its own words why.
#[must_use]
pub fn who(journey: &Journey) -> String {
    journey.who.as_ref().map_or_else(String::new, |who| format!(" ({})", says(who)))
}

/// Why it is stuck, in the words of whoever says so, and since when where it is not the first; what a sentence says
/// behind how long it has waited.
#[must_use]
pub fn stuck(journey: &Journey, stuck: Stuck, now: Time) -> String {
    let with = match stuck.since < journey.opened.not_after {
        true => format!("; late since {}, with what came before it", clock(stuck.since, now)),
        false => String::new(),
    };
    if let Some(at) = stuck.kept {
        return format!("; what kept it was last told at {}: {}{with}", clock(at, now), stuck.reason.fact());
    }
    let commit = journey.commit.as_ref().filter(|_| AUTHORED.contains(&stuck.reason));
    let commit = commit.map_or_else(String::new, |commit| format!(", it came with {}", commit_by(commit)));
    format!(": {}{commit}{}{with}", journey.stuck_sentence(stuck.reason), who(journey))
}

/// `commit abc12345 by Eve`
fn commit_by(commit: &CommitRef) -> String {
    let by: String = one_line(author(&commit.author)).chars().take(AUTHOR_CHARS_MAX).collect();
    let by = if by.is_empty() { by } else { format!(" by {by}") };
    format!("commit {}{by}", short(&commit.id))
}

/// Why no commit is known for a journey, where one may be out of sight.
#[must_use]
pub fn unseen(journey: &Journey) -> String {
    let unseen = journey.commit_unseen.as_ref();
    unseen.map_or_else(String::new, |unseen| format!("; no commit is known for it ({})", says(unseen)))
}

/// An object and what is to be said of it.
#[must_use]
pub fn says(who: &Who) -> String {
    let (says, since) = (ended(&who.says), began(who));
    if says.is_empty() { format!("{}{since}", who.object) } else { format!("{}: {says}{since}", who.object) }
}

/// With which commits it began.
fn began(who: &Who) -> String {
    let commits: Vec<String> = who.commits.iter().map(commit_about).collect();
    match commits.as_slice() {
        [] => String::new(),
        [one] => format!("; it began with {one}"),
        [..] => format!("; it began with one of {}", commits.join(", ")),
    }
}

/// `commit abc12345 by Eve (tidy up)`
fn commit_about(commit: &CommitRef) -> String {
    let about: String = one_line(&commit.subject).chars().take(AUTHOR_CHARS_MAX).collect();
    let about = if about.is_empty() { about } else { format!(" ({about})") };
    format!("{}{about}", commit_by(commit))
}

/// Words as a part of a sentence.
fn ended(says: &str) -> &str {
    says.trim().trim_end_matches('.')
}

/// The command that looks closer at what an open journey waits for.
#[must_use]
pub fn command(journey: &Journey) -> Option<String> {
    journey.next_command()
}
