//! Why an image does not pass the hands of a chain: who chose to wait, who fails, and how long each may take.

use super::{Chain, EngineState, What};
use crate::image::{ImageRef, Tag};
use crate::observation::{Condition, Role, Time};
use crate::tracker::journey::{Hold, Reason, Who};
use crate::tracker::judge::Phase;
use crate::tracker::stage::{Stage, Stages};
use crate::tracker::workload::HoldSpan;

/// A hand may miss one of its turns: twice its interval, and at least so long.
const TURNS: f64 = 2.0;
const BUDGET_MIN_SECONDS: f64 = 10.0;
/// What depends on another waits for its next turn so long: the default of `--requeue-dependency`.
const DEPENDENCY_SECONDS: f64 = 30.0;

/// What the hands of one phase say.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Somebody suspended a hand that the image has yet to pass, since then.
    pub held: Option<(Hold, Time, Who)>,
    /// When hands of this phase were suspended.
    pub spans: Vec<HoldSpan>,
    /// Why it waits, if a hand says so.
    pub reason: Option<(Reason, Who)>,
    /// How long the phase may take.
    pub budget_seconds: Option<f64>,
    /// Since when hands fail, or did not take their turn, and how long each may.
    pub missed: Vec<(Time, f64)>,
}

impl Chain<'_> {
    /// Judges the hands of a phase for an image on its way.
    #[must_use]
    pub fn verdict(&self, phase: Phase, image: &ImageRef, stages: &Stages, now: Time) -> Verdict {
        let passed = |stage| stages.evidence(stage).is_some();
        let mut hands: Vec<&EngineState> = Vec::new();
        let budget_seconds = match phase {
            Phase::Commit => {
                if !passed(Stage::Detected) {
                    hands.extend(self.scan);
                }
                hands.extend(self.policy);
                hands.extend(self.updater);
                let scan = self.scan.and_then(|scan| scan.now.interval_seconds);
                let updater = self.updater.and_then(|updater| updater.now.interval_seconds);
                scan.zip(updater).map(|(scan, updater)| TURNS * (scan + updater))
            }
            Phase::Apply => {
                if !passed(Stage::Fetched) {
                    hands.extend(self.source);
                }
                hands.extend(self.applier);
                let depends = self.applier.is_some_and(|applier| match &applier.now.role {
                    Role::Applier(role) => !role.depends_on.is_empty(),
                    _ => false,
                });
                let depends = if depends { DEPENDENCY_SECONDS } else { 0.0 };
                self.source
                    .and_then(|source| source.now.interval_seconds)
                    .map(|every| TURNS * (every + depends))
            }
            Phase::Roll => None,
        };
        let suspended = hands.iter().find(|hand| hand.now.suspended);
        let held = suspended.map(|hand| {
            let since = hand.suspended.last().map_or(now, |span| span.since);
            (Hold::Suspended, since, who(hand, "it is suspended"))
        });
        Verdict {
            held,
            spans: hands.iter().flat_map(|hand| &hand.suspended).copied().collect(),
            reason: hands.iter().find_map(|hand| reason(hand, image, stages, now)),
            missed: hands.iter().filter_map(|hand| missed(hand)).collect(),
            budget_seconds: budget_seconds.map(|seconds| seconds.max(BUDGET_MIN_SECONDS)),
        }
    }
}

/// Since when a hand fails or did nothing, and two of its own turns: what fails tries again by them.
fn missed(hand: &EngineState) -> Option<(Time, f64)> {
    let mut every = hand.now.interval_seconds?;
    let last = match &hand.now.role {
        Role::Scan(role) => role.last.as_ref().map(|last| last.at),
        Role::Updater(role) => role.last_run,
        Role::Applier(role) => {
            every = role.retry_seconds.unwrap_or(every);
            None
        }
        _ => None,
    };
    // To wait for another is no failure: that one is.
    let fails = hand.failing.as_ref().filter(|(says, _)| {
        of_words(&hand.now.role, says).is_some_and(|reason| reason != Reason::DependencyNotReady)
    });
    let since = fails.map(|(_, since)| *since).into_iter().chain(last).min()?;
    Some((since, (TURNS * every).max(BUDGET_MIN_SECONDS)))
}

/// What one hand says of why nothing passes it.
fn reason(hand: &EngineState, image: &ImageRef, stages: &Stages, now: Time) -> Option<(Reason, Who)> {
    let failing = hand.failing.as_ref().map(|(says, _)| says);
    let stalled = hand.now.stalled.as_ref();
    if let Some(says) = failing.or(stalled)
        && let Some(reason) = of_words(&hand.now.role, says)
    {
        return Some((reason, who(hand, &says.message)));
    }
    let every = hand.now.interval_seconds?;
    let late = |last: Time| now.seconds_since(last) >= (TURNS * every).max(BUDGET_MIN_SECONDS);
    match &hand.now.role {
        Role::Scan(role) => {
            let last = role.last.as_ref()?;
            if late(last.at) {
                let says = format!("its last scan ended at {}", last.at);
                return Some((Reason::ScanLate, who(hand, &says)));
            }
            let pushed = stages.evidence(Stage::Pushed)?.interval.not_after;
            let scanned_since = last.at > pushed + 1000;
            let misses = image.tag.as_ref().is_some_and(|tag| !scanned(hand, tag));
            (scanned_since && misses && stages.evidence(Stage::Detected).is_none()).then(|| {
                let says = format!("its last scan found {} tags without this one", last.tags);
                (Reason::ListTruncated, who(hand, &says))
            })
        }
        Role::Updater(role) => role.last_run.filter(|last| late(*last)).map(|last| {
            let says = format!("its last run began at {last}");
            (Reason::AutomationFailing, who(hand, &says))
        }),
        _ => None,
    }
}

/// Whether the tag may be in what a scan found: it shows ten tags at most.
fn scanned(scan: &EngineState, tag: &Tag) -> bool {
    let last = scan.deeds.iter().rev().find_map(|deed| match &deed.what {
        What::Scanned(scan) => Some(scan),
        _ => None,
    });
    last.is_none_or(|last| {
        let whole = usize::try_from(last.tags).is_ok_and(|tags| tags <= last.latest.len());
        let among = last.latest.last().is_some_and(|least| tag.as_str() > least.as_str());
        last.latest.contains(tag) || !(whole || among)
    })
}

/// It works on it, or has just undone what failed: that says nothing of how it went.
pub(super) fn is_trying(says: &Condition) -> bool {
    matches!(
        &*says.reason,
        "Progressing" | "ProgressingWithRetry" | "RollbackSucceeded" | "UninstallSucceeded"
    )
}

/// Every dependent says so for a moment with each revision, whatever came of the last one.
pub(super) fn is_waiting(says: &Condition) -> bool {
    &*says.reason == "DependencyNotReady"
}

/// The words of the controllers of Flux 2, as their conditions have them.
fn of_words(role: &Role, says: &Condition) -> Option<Reason> {
    let message = &*says.message;
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let denied =
        has(&["authentication required", "authorization failed", "Unauthorized", "UNAUTHORIZED", "403"])
            || &*says.reason == "AuthenticationFailed";
    Some(match role {
        _ if is_trying(says) => return None,
        Role::Scan(_) | Role::Policy(_) => Reason::ScanFailing,
        Role::Updater(_) if denied => Reason::GitAuth,
        Role::Updater(_)
            if has(&[
                "non-fast-forward",
                "fetch first",
                "cannot lock ref",
                "reference already exists",
                "failed to update ref",
            ]) =>
        {
            Reason::AutomationRace
        }
        Role::Updater(_) => Reason::AutomationFailing,
        Role::Source(_) if denied => Reason::GitAuth,
        Role::Source(_) => Reason::SourceFailing,
        Role::Applier(_) => match &*says.reason {
            "BuildFailed" => Reason::BuildFailed,
            "DependencyNotReady" => Reason::DependencyNotReady,
            "ArtifactFailed" | "SourceNotReady" => Reason::SourceFailing,
            "HealthCheckFailed" | "HealthCheckCanceled" => return None,
            // What was applied did not become healthy: the pods tell why.
            _ if has(&["timeout waiting for"]) => return None,
            _ if has(&["denied the request", "denied request", "admission webhook"]) => {
                Reason::AdmissionDenied
            }
            _ if has(&["conflict"]) => Reason::ApplyConflict,
            _ if has(&["exceeded quota"]) => Reason::Quota,
            "ReconciliationFailed" | "InstallFailed" | "UpgradeFailed" => Reason::InvalidManifest,
            _ => return None,
        },
        Role::Other => return None,
    })
}

pub(super) fn who(hand: &EngineState, says: &str) -> Who {
    Who { object: one_line(&hand.now.key.to_string()).as_str().into(), says: one_line(says).as_str().into() }
}

/// It becomes a part of a sentence, and whoever wrote it must not be able to write the next one.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_an_engine_says_is_one_line_without_control_characters() {
        assert_eq!(
            one_line("  Job failed:\n\tteam/web:1 is live\u{1b}[0m\u{2028}in prod\r\n"),
            "Job failed: team/web:1 is live [0m in prod"
        );
    }
}
