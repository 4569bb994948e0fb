//! Why an image does not pass the hands of a chain: who chose to wait, who fails, and how long each may take.

use super::depends::says_waiting;
use super::{Chain, EngineState};
use crate::image::ImageRef;
use crate::observation::{ApplierRole, Condition, EngineKind, EngineObject, Role, Time};
use crate::tracker::journey::{Hold, Journey, Reason, Who};
use crate::tracker::judge::Phase;
use crate::tracker::stage::{Stage, Stages};
use crate::tracker::workload::HoldSpan;

/// A hand may miss one of its turns: twice its interval, and at least so long.
const TURNS: f64 = 2.0;
const BUDGET_MIN_SECONDS: f64 = 10.0;
/// What depends on another waits for its next turn so long: the default of `--requeue-dependency`.
const DEPENDENCY_SECONDS: f64 = 30.0;
/// `spec.timeout` of a HelmRelease where it is not written.
const RELEASE_TIMEOUT_SECONDS: f64 = 300.0;
/// The same of a source.
const SOURCE_TIMEOUT_SECONDS: f64 = 60.0;
/// A Kustomization ends what it does so long before its next turn, and may take at least as long.
const APPLIER_MARGIN_SECONDS: f64 = 30.0;

/// What Helm says of a chart that it cannot render with the values that it got.
const CHART_WORDS: [&str; 5] = [
    "execution error at",
    "parse error at",
    "YAML parse error",
    "error converting YAML",
    "don't meet the specifications",
];

/// What the hands of one phase say.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Somebody suspended a hand that the image has yet to pass, since then.
    pub held: Option<(Hold, Time, Who)>,
    /// When hands of this phase were suspended.
    pub spans: Vec<HoldSpan>,
    /// Why it waits, if a hand says so.
    pub reason: Option<(Reason, Who)>,
    /// Who says something of it, where the pods tell why.
    pub who: Option<Who>,
    /// How long the phase may take.
    pub budget_seconds: Option<f64>,
    /// Since when hands fail, or did not take their turn, and how long each may.
    pub missed: Vec<(Time, f64)>,
    /// Since when hands are at it, and how long each may be.
    pub at_work: Vec<(Time, f64)>,
}

/// What is on its way, as far as its hands are judged by it.
#[derive(Debug, Clone, Copy)]
pub struct Traveller<'a> {
    pub journey: &'a Journey,
    /// An entry of `images:` names it, which may be the applier's own: what that says otherwise is then no hold.
    pub by_images: bool,
    /// A ConfigMap that a release takes values from names it: the release reads that again only in its own turn.
    pub by_values: bool,
    /// A release took it back, and may try it again.
    pub taken_back: bool,
}

impl<'a> Chain<'a> {
    /// Judges the hands of a phase for an image on its way.
    #[must_use]
    pub fn verdict(&self, phase: Phase, traveller: Traveller<'_>, now: Time) -> Verdict {
        let Traveller { journey, by_images, by_values, taken_back } = traveller;
        let hands = self.judged(phase, journey);
        let budget_seconds = match phase {
            Phase::Commit => {
                let (scan, updater) = (self.scan.and_then(turn_seconds), self.updater.and_then(turn_seconds));
                scan.zip(updater).map(|(scan, updater)| TURNS * (scan + updater))
            }
            // Who makes the artifact, and when, no interval tells.
            Phase::Apply if self.is_without_git() => None,
            Phase::Apply => self.source.and_then(|source| source.now.interval_seconds).map(|every| {
                let appliers = [self.above, self.applier].into_iter().flatten();
                let depend = appliers.filter(|state| state.applier().is_some_and(depends)).count();
                let turn =
                    self.applier.filter(|_| by_values).and_then(|release| release.now.interval_seconds);
                TURNS * (every + depend as f64 * DEPENDENCY_SECONDS + turn.unwrap_or_default())
                    + self.acting_seconds()
            }),
            Phase::Roll => None,
        };
        let suspended = hands.iter().find(|hand| hand.now.suspended).map(|hand| {
            let since = hand.suspended.last().map_or(now, |span| span.since);
            (Hold::Suspended, since, who(hand, "it is suspended"))
        });
        let overridden = self.overrides(&journey.image).find(|(_, span)| span.until.is_none());
        let overridden = overridden.filter(|_| phase == Phase::Apply).zip(self.applier);
        let mut spans: Vec<HoldSpan> = hands.iter().flat_map(|hand| &hand.suspended).copied().collect();
        let mut held = suspended;
        // Whoever waits for one that is well has his turn yet; another may fail meanwhile.
        let (waiting, other): (Vec<_>, Vec<_>) = hands.iter().partition(|hand| self.waits_in_turn(hand));
        let mut reason = other.into_iter().chain(waiting).find_map(|hand| self.reason(hand, journey, now));
        if let Some(((says, span), applier)) = overridden {
            let who = who(applier, &says);
            if by_images {
                reason = reason.or(Some((Reason::NotApplied, who)));
            } else {
                held = held.or(Some((Hold::Replaced, span.since, who)));
            }
        }
        if phase == Phase::Apply && !by_images {
            spans.extend(self.overrides(&journey.image).map(|(_, span)| span));
        }
        // The pods that failed are gone with it; what the release says of them stays.
        let taken_back = self.applier.filter(|_| taken_back && phase == Phase::Roll);
        let fails = taken_back.and_then(|release| Some((release, release.failing.as_ref()?)));
        Verdict {
            held,
            spans,
            reason,
            who: fails.map(|(release, (says, _))| who(release, &says.message)),
            missed: hands.iter().flat_map(|hand| self.missed(hand, journey)).collect(),
            at_work: hands.iter().flat_map(|hand| at_work(hand)).collect(),
            budget_seconds: budget_seconds.map(|seconds| seconds.max(BUDGET_MIN_SECONDS)),
        }
    }

    /// The hands that it has yet to pass.
    fn judged(&self, phase: Phase, journey: &Journey) -> Vec<&'a EngineState> {
        let stages = &journey.stages;
        let passed = |stage| stages.evidence(stage).is_some();
        let mut hands: Vec<&EngineState> = Vec::new();
        match phase {
            Phase::Commit => {
                hands.extend(self.scan.filter(|_| !passed(Stage::Detected)));
                hands.extend(self.policy);
                hands.extend(self.updater);
            }
            Phase::Apply => {
                hands.extend(self.source.filter(|_| !passed(Stage::Fetched)));
                let landed = stages.evidence(Stage::Committed).map(|at| at.interval);
                let commit = journey.commit.as_ref().zip(landed);
                let passed_above = commit.and_then(|(commit, landed)| self.attempted(commit, landed));
                hands.extend(self.above.filter(|_| passed_above.is_none()));
                // An old chart is as good for it as a new one, until the release says that it has none.
                let no_chart = |release: &&EngineState| {
                    let failing = release.failing.as_ref();
                    failing
                        .is_some_and(|(says, _)| of_words(&release.now, says) == Some(Reason::SourceFailing))
                };
                if self.applier.filter(no_chart).is_some() {
                    hands.extend(self.chart.into_iter().flatten());
                }
                hands.extend(self.applier);
            }
            Phase::Roll => {}
        }
        hands
    }

    /// How long a release may take for what it does now before its template is written: hooks of its chart come first.
    fn acting_seconds(&self) -> f64 {
        let acts = self.applier.filter(|applier| began(&applier.now).is_some());
        acts.and_then(EngineState::applier)
            .map_or(0.0, |role| role.timeout_seconds.unwrap_or(RELEASE_TIMEOUT_SECONDS))
    }

    /// Since when a hand fails or did nothing, and two of its own turns: what fails tries again by them.
    fn missed(&self, hand: &EngineState, journey: &Journey) -> Option<(Time, f64)> {
        if !says_waiting(hand) {
            let says = hand.failing.as_ref().and_then(|(says, _)| of_words(&hand.now, says));
            // What it tried before is no word on this.
            let of_another = says.is_some_and(|reason| self.is_of_another(hand, reason, journey));
            return missed(hand).filter(|_| !of_another);
        }
        // To wait for another is no failure: that one's is.
        self.failing_dependency(hand).and_then(missed)
    }

    fn waits_in_turn(&self, hand: &EngineState) -> bool {
        says_waiting(hand) && self.failing_dependency(hand).is_none()
    }

    fn failing_dependency(&self, hand: &EngineState) -> Option<&'a EngineState> {
        let (needed, _) = self.engines?.dependency(hand)?;
        needed.filter(|needed| needed.failing.is_some() && !says_waiting(needed))
    }

    /// What one hand says of why nothing passes it.
    fn reason(&self, hand: &EngineState, journey: &Journey, now: Time) -> Option<(Reason, Who)> {
        let failing = hand.failing.as_ref().map(|(says, _)| says);
        // Who is ready cannot be stalled: one of the two was not taken back, and nobody knows which.
        let stalled = hand.now.stalled.as_ref().filter(|_| !says_ready(&hand.now));
        if let Some(says) = failing.or(stalled)
            && let Some(reason) = of_words(&hand.now, says)
            && !self.is_of_another(hand, reason, journey)
        {
            let needed = || self.engines?.dependency(hand).map(|(_, who)| who);
            let needed = if reason == Reason::DependencyNotReady { needed() } else { None };
            let own = || Who { commits: self.failing_since(hand, reason), ..who(hand, &says.message) };
            return Some((reason, needed.unwrap_or_else(own)));
        }
        late(hand, &journey.image, &journey.stages, now)
    }
}

/// How often a hand takes its turn: its interval runs from the end of one to the beginning of the next.
fn turn_seconds(hand: &EngineState) -> Option<f64> {
    Some(hand.now.interval_seconds? + hand.turns.usually_seconds())
}

/// Since when a hand is at it, and how long it may be by its own word.
fn at_work(hand: &EngineState) -> Option<(Time, f64)> {
    let written = hand.applier().and_then(|role| role.timeout_seconds);
    let every = hand.now.interval_seconds.unwrap_or_default();
    let may = written.unwrap_or(match hand.now.key.kind {
        EngineKind::Kustomization => (every - APPLIER_MARGIN_SECONDS).max(APPLIER_MARGIN_SECONDS),
        EngineKind::HelmRelease => RELEASE_TIMEOUT_SECONDS,
        EngineKind::ImageRepository => every,
        _ => SOURCE_TIMEOUT_SECONDS,
    });
    hand.turns.under_way.map(|since| (since, may))
}

fn depends(role: &ApplierRole) -> bool {
    !role.depends_on.is_empty()
}

/// See [`Chain::missed`].
fn missed(hand: &EngineState) -> Option<(Time, f64)> {
    let mut every = hand.now.interval_seconds?;
    if let Role::Applier(role) = &hand.now.role {
        every = role.retry_seconds.unwrap_or(every);
    }
    let may = |every: f64| (TURNS * every).max(BUDGET_MIN_SECONDS);
    let fails = hand.failing.as_ref().filter(|(says, _)| of_words(&hand.now, says).is_some());
    let fails = fails.map(|(_, since)| (*since, may(every)));
    let idle = hand.turns.last.zip(turn_seconds(hand)).map(|(last, every)| (last, may(every)));
    let end = |(since, seconds): &(Time, f64)| *since + (seconds * 1000.0) as i64;
    fails.into_iter().chain(idle).min_by_key(end)
}

/// What a hand that does not fail left undone.
fn late(hand: &EngineState, image: &ImageRef, stages: &Stages, now: Time) -> Option<(Reason, Who)> {
    let every = turn_seconds(hand)?;
    let heard = hand.turns.last?;
    let late = now.seconds_since(heard) >= (TURNS * every).max(BUDGET_MIN_SECONDS);
    match &hand.now.role {
        Role::Scan(role) => {
            let last = role.last.as_ref()?;
            if late {
                let says = format!("its last scan ended at {}", last.at);
                return Some((Reason::ScanLate, who(hand, &says)));
            }
            let pushed = stages.evidence(Stage::Pushed)?.interval.not_after;
            // By its clock and by ours.
            let scanned_since = last.at > pushed + 1000 && heard > pushed;
            let misses = image.tag.as_ref().is_some_and(|tag| last.holds(tag) == Some(false));
            (scanned_since && misses && stages.evidence(Stage::Detected).is_none()).then(|| {
                let says = format!("its last scan found {} tags without this one", last.tags);
                (Reason::ListTruncated, who(hand, &says))
            })
        }
        Role::Updater(role) => role.last_run.filter(|_| late).map(|last| {
            let says = format!("its last run began at {last}");
            (Reason::AutomationFailing, who(hand, &says))
        }),
        _ => None,
    }
}

/// It works on it, or has just undone what failed: that says nothing of how it went.
pub(super) fn is_trying(says: &Condition) -> bool {
    matches!(
        &*says.reason,
        "Progressing" | "ProgressingWithRetry" | "RollbackSucceeded" | "UninstallSucceeded"
    )
}

/// It is at a turn of its own, and does not only wait to try again what failed.
pub(super) fn is_at_work(says: &Condition) -> bool {
    &*says.reason == "Progressing"
}

/// Every dependent says so for a moment with each revision, whatever came of the last one.
pub(super) fn is_waiting(says: &Condition) -> bool {
    &*says.reason == "DependencyNotReady"
}

/// Whether a release writes its objects now, and then whether it puts back the ones before.
pub(super) fn began(release: &EngineObject) -> Option<bool> {
    let says = release.reconciling.as_ref().or(release.ready.as_ref())?;
    let action = says.message.strip_prefix("Running '")?.split('\'').next()?;
    (release.key.kind == EngineKind::HelmRelease && matches!(action, "install" | "upgrade" | "rollback"))
        .then_some(action == "rollback")
}

/// The generation that a release is as written in, if it is.
pub(super) fn released(release: &EngineObject) -> Option<i64> {
    let is_seen = release.observed_generation == release.generation;
    let is_ready = says_ready(release) && release.stalled.is_none();
    let is_it = release.key.kind == EngineKind::HelmRelease && is_ready && is_seen && !release.suspended;
    is_it.then_some(release.generation)
}

/// What a release says that tries no more.
pub(super) fn gave_up(release: &EngineObject) -> Option<&Condition> {
    let says = release.stalled.as_ref().filter(|_| !says_ready(release))?;
    (release.key.kind == EngineKind::HelmRelease && &*says.reason == "RetriesExceeded").then_some(says)
}

/// Its condition `Ready` is true, of whatever generation.
pub(super) fn says_ready(object: &EngineObject) -> bool {
    object.ready.as_ref().is_some_and(|ready| ready.is_true)
}

/// It says that somebody else pushed between its clone and its push.
pub(super) fn is_race(object: &EngineObject, says: &Condition) -> bool {
    !says.is_true && of_words(object, says) == Some(Reason::AutomationRace)
}

/// The words of the controllers of Flux 2, as their conditions have them.
pub(super) fn of_words(object: &EngineObject, says: &Condition) -> Option<Reason> {
    let role = &object.role;
    let of_chart = object.key.kind == EngineKind::HelmRelease;
    let message = &*says.message;
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // Not where it is a part of a port, an address or a digest.
    let forbidden = || {
        message
            .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
            .any(|word| word.trim_end_matches(':') == "403")
    };
    let denied = has(&["authentication required", "authorization failed", "Unauthorized", "UNAUTHORIZED"])
        || &*says.reason == "AuthenticationFailed"
        || forbidden();
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
        Role::Source(_) if denied && object.key.kind == EngineKind::GitRepository => Reason::GitAuth,
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
            "ValuesError" => Reason::BuildFailed,
            _ if of_chart && has(&CHART_WORDS) => Reason::BuildFailed,
            _ if of_chart
                && has(&["apply failed for object", "failed to create resource", "cannot patch"]) =>
            {
                Reason::InvalidManifest
            }
            // Hooks that fail, another operation in progress: its own words tell.
            _ if of_chart => Reason::NotApplied,
            "ReconciliationFailed" => Reason::InvalidManifest,
            _ => return None,
        },
        Role::Other => return None,
    })
}

pub(super) fn who(hand: &EngineState, says: &str) -> Who {
    Who {
        object: one_line(&hand.now.key.to_string()).as_str().into(),
        says: one_line(says).as_str().into(),
        commits: Vec::new(),
    }
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
