//! The one table of every family: name, type, labels, stability, where it comes from, help.
//!
//! `docs/metrics.md` is written from it, and the dashboards and alerts are checked against it. Help is one line
//! without quotes, backslashes and the full stop at its end: it is written as it is. Every family has a label.

/// Every name starts with it.
pub const PREFIX: &str = "knotmeter";

/// One metric family.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Without the prefix; with its unit and, for a counter, `_total`.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub cap: Cap,
    pub stability: Stability,
    /// Which of our words feeds it.
    pub source: &'static str,
    pub help: &'static str,
}

/// What kind of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Info,
    Histogram(Buckets),
}

/// Four lists serve every histogram, so that quantiles of different families can be laid side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    Deploys,
    Operations,
    Bytes,
    Counts,
}

/// What happens when there are more label sets than a scrape should carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// `app` and `namespace` become `overflow`; a family without them takes no new label set.
    Folds,
    /// Losing one of these would hide what pages somebody.
    Never,
}

/// What a reader may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    Stable,
    /// Labels may still change.
    Experimental,
}

impl Buckets {
    /// Upper bounds, in seconds, bytes or pieces.
    #[must_use]
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Self::Deploys => &[
                1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 420.0, 600.0, 900.0, 1200.0,
                1800.0, 2700.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0,
            ],
            Self::Operations => {
                &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
            }
            Self::Counts => &[1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0],
            Self::Bytes => &[1e5, 1e6, 5e6, 1e7, 2.5e7, 5e7, 1e8, 2.5e8, 5e8, 1e9, 2.5e9, 5e9, 1e10],
        }
    }
}

impl Family {
    /// As a query names it.
    #[must_use]
    pub fn full_name(&self) -> String {
        let suffix = if self.kind == Kind::Info { "_info" } else { "" };
        format!("{PREFIX}_{}{suffix}", self.name)
    }

    /// The unit that the name ends with.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let (_, unit) = name.rsplit_once('_')?;
        matches!(unit, "seconds" | "bytes").then_some(unit)
    }
}

/// Declares each family once, as a constant and as an entry of [`ALL`].
macro_rules! families {
    ($($id:ident: $kind:expr, $name:literal, [$($label:literal),*], $cap:ident, $stability:ident, $source:literal,
       $help:literal;)*) => {
        $(pub static $id: Family = Family {
            name: $name, kind: $kind, labels: &[$($label),*], cap: Cap::$cap,
            stability: Stability::$stability, source: $source, help: $help,
        };)*
        /// Every family, in the order of the documentation.
        pub static ALL: &[&Family] = &[$(&$id),*];
    };
}

use Buckets::{Bytes, Counts, Deploys, Operations};
use Kind::{Counter, Gauge, Histogram, Info};

families! {
    IMAGE_TO_LIVE: Histogram(Deploys), "image_to_live_seconds",
        ["cluster", "environment", "namespace", "app", "trigger", "synthetic"], Folds, Stable, "settled journey",
        "Time from the push of an image until it is live, without held time";
    CHANGE_TO_LIVE: Histogram(Deploys), "change_to_live_seconds",
        ["cluster", "environment", "namespace", "app", "trigger", "subject", "synthetic"], Folds, Stable,
        "settled journey",
        "Time from the intent (commit or template change) until it is live, without held time";
    STAGE_DURATION: Histogram(Deploys), "stage_duration_seconds",
        ["stage", "cluster", "environment", "engine", "trigger", "subject"], Folds, Stable, "settled journey",
        "Time from the stage directly before until this stage";
    STAGE_UNCERTAINTY: Histogram(Operations), "stage_uncertainty_seconds",
        ["stage", "basis"], Folds, Experimental, "settled journey",
        "Half the width of the interval in which a stage was reached";
    STAGE_EVIDENCE: Counter, "stage_evidence_total", ["stage", "basis"], Folds, Experimental, "settled journey",
        "Known stages by how their time is known";
    STAGE_UNCERTAIN: Counter, "stage_uncertain_total", ["stage", "basis"], Folds, Experimental, "settled journey",
        "Stage durations left out because their error bar is too wide";
    JOURNEYS: Counter, "journeys_total",
        ["cluster", "environment", "namespace", "app", "outcome", "trigger", "subject", "synthetic"], Folds, Stable,
        "settled journey", "Journeys by how they ended";
    HELD_SECONDS: Counter, "held_seconds_total", ["cluster", "environment", "namespace", "app"], Folds, Experimental,
        "settled journey", "Time that journeys waited because somebody or something chose it";
    RESTARTS: Counter, "restarts_total", ["cluster", "environment", "namespace", "app"], Folds, Stable,
        "event restarted", "Template changes without another image";
    NEGATIVE_DURATION: Counter, "negative_duration_total", ["stage"], Folds, Experimental, "settled journey",
        "Durations clamped to zero because two clocks disagree";
    EVIDENCE_CONFLICT: Counter, "evidence_conflict_total", ["cluster"], Folds, Experimental, "settled journey",
        "Pieces of evidence for one stage that cannot both be right; the better rank was taken";
    JOURNEYS_OPEN: Gauge, "journeys_open",
        ["cluster", "environment", "namespace", "app", "stage", "synthetic"], Folds, Stable, "snapshot",
        "Journeys under way by the last stage that they reached";
    STAGE_ENTERED: Gauge, "journey_stage_entered_timestamp_seconds",
        ["cluster", "environment", "namespace", "app", "stage", "synthetic"], Folds, Stable, "snapshot",
        "When the oldest journey that is at this stage reached it";
    STUCK: Gauge, "journey_stuck",
        ["cluster", "environment", "namespace", "app", "subject", "stage", "reason", "synthetic"], Never, Stable,
        "snapshot", "1 while a journey is over its budget, waiting for this stage; 0 for 15 minutes afterwards";
    HELD: Gauge, "journey_held",
        ["cluster", "environment", "namespace", "app", "subject", "stage", "hold", "synthetic"], Never, Stable,
        "snapshot", "1 while somebody or something chose to wait; 0 for 15 minutes afterwards";
    BLIND: Gauge, "journey_blind",
        ["cluster", "environment", "namespace", "app", "subject", "stage", "source", "synthetic"], Folds, Stable,
        "snapshot", "1 while a source that a journey needs is not fresh; 0 for 15 minutes afterwards";
    LIVE: Info, "live", ["cluster", "environment", "namespace", "app", "tag", "revision"], Folds, Stable, "snapshot",
        "What is live; the revision is the deploy commit that brought it, where that is known";
    LIVE_TIMESTAMP: Gauge, "live_timestamp_seconds", ["cluster", "environment", "namespace", "app"], Folds, Stable,
        "snapshot", "Since when it is live";
    APP: Info, "app", ["cluster", "environment", "namespace", "app", "team", "tier", "engine"], Never,
        Stable, "snapshot", "Every app that is followed, once in each namespace, with the team and tier that labels name";
    BEHIND: Gauge, "workload_behind_seconds",
        ["cluster", "environment", "namespace", "app"], Folds, Stable, "snapshot",
        "Time since the oldest desire newer than what runs, without held time; 0 when it runs what it should";
    FAILED: Gauge, "workload_failed",
        ["cluster", "environment", "namespace", "app"], Folds, Stable, "snapshot",
        "1 while what it should run was given up and nothing newer is on its way";
    IMAGE_MISMATCH: Gauge, "image_mismatch", ["cluster", "environment", "namespace", "app", "kind"], Folds,
        Experimental, "snapshot", "1 while pods do not run what they should: mixed_digests, of one template; config_not_rolled, they read an older ConfigMap";
    SCAN_DURATION: Histogram(Operations), "registry_scan_duration_seconds", ["registry"], Folds, Stable,
        "measure registry_scan", "Time of one complete tag listing";
    SCAN_LAST_DURATION: Gauge, "registry_scan_last_duration_seconds", ["registry", "repository"], Folds, Stable,
        "measure registry_scan", "Time of the last complete tag listing";
    TAGS: Gauge, "registry_tags", ["registry", "repository"], Folds, Stable, "measure registry_scan",
        "Tags in the last complete listing";
    SCAN_LAST_SUCCESS: Gauge, "registry_scan_last_success_timestamp_seconds", ["registry", "repository"], Folds,
        Stable, "measure registry_scan", "When the last complete tag listing ended";
    REGISTRY_REQUESTS: Counter, "registry_requests_total", ["registry", "operation", "code"], Folds, Stable,
        "measure registry_request", "Requests by HTTP status; none where no answer came";
    REGISTRY_THROTTLED: Counter, "registry_throttled_total", ["registry", "operation"], Folds, Stable,
        "measure registry_request", "Requests answered with 429";
    HOOK_REQUESTS: Counter, "hook_requests_total", ["hook", "result"], Folds, Experimental, "measure hook_request",
        "Deliveries to webhooks: taken, repeated, unproven, malformed, unread, unknown, no_secret, no_keys";
    SCAN_LAG: Gauge, "registry_scan_lag_seconds", ["registry", "repository"], Folds, Stable, "measure registry_scan",
        "How much later than it was due the look with the last complete tag listing began";
    SWEEP_PROJECTED: Gauge, "registry_sweep_projected_seconds", ["registry"], Folds, Experimental,
        "measure registry_pace",
        "How long one look at every repository takes, as many pages as each has now and as fast as the registry lets us; above the interval looks come late";
    RATE_LIMIT_REMAINING: Gauge, "registry_rate_limit_remaining", ["registry", "budget"], Folds, Experimental,
        "measure registry_pace",
        "What is left for us of a limit that the registry told or that its refusals taught us: requests, or pulls, of which we take a tenth";
    LOOKS_DUE: Gauge, "looks_due", ["source"], Folds, Experimental, "measure looks",
        "Looks that are due and have not begun";
    LOOKS_LATE: Gauge, "looks_late", ["source"], Folds, Experimental, "measure looks",
        "Looks that have been due for more than a tenth of the interval";
    LOOKS_THROTTLED: Counter, "looks_throttled_total", ["source"], Folds, Experimental, "measure looks",
        "Looks that ended because the host wants to be left alone";
    LOOKS_ASKED: Counter, "looks_asked_total", ["kind", "result"], Folds, Experimental, "measure look_asked",
        "Looks that hooks and others asked for: noted, coalesced with one that waits, or about something unknown";
    GIT_OPERATION: Histogram(Operations), "git_operation_duration_seconds", ["repository", "operation", "actor"],
        Folds, Stable, "measure git_operation", "Time of one poll, fetch or read";
    GIT_COMMITS: Counter, "git_commits_total", ["repository"], Folds, Stable, "measure git_commits",
        "New commits on followed branches";
    OBJECT_UPDATES: Counter, "object_updates_total", ["cluster", "kind", "class"], Folds, Stable,
        "measure object_update", "Changes of watched objects by what changed: spec, metadata or status";
    CACHE_LOOKUPS: Counter, "cache_lookups_total", ["cluster", "cache", "result", "caller"], Folds, Stable,
        "measure cache_lookup", "Cache lookups by result";
    PULL_DURATION: Histogram(Operations), "image_pull_duration_seconds", ["cluster", "namespace", "app"], Folds,
        Stable, "measure image_pull", "Time that the kubelet took to pull an image";
    PULL_BYTES: Histogram(Bytes), "image_pull_bytes", ["cluster", "namespace", "app"], Folds, Stable,
        "measure image_pull", "Size of pulled images, where the kubelet tells it";
    UPDATER_SCAN_AGE: Gauge, "updater_scan_age_seconds", ["engine", "cluster", "registry", "repository"], Folds,
        Experimental, "snapshot", "Time since the last good scan of the shop's own updater; it stands still while its cluster is blind";
    UPDATER_SCAN_INTERVAL: Gauge, "updater_scan_interval_seconds",
        ["engine", "cluster", "registry", "repository"], Folds, Experimental, "snapshot",
        "How often the shop's own updater scans of itself";
    UPDATER_SCAN_DURATION: Gauge, "updater_scan_duration_seconds",
        ["engine", "cluster", "registry", "repository"], Folds, Experimental, "measure updater_scan",
        "How long a reconciliation of the shop's own scanner took, the mean of those between the last two scrapes; only where its controller is scraped";
    UPDATER_TAGS: Gauge, "updater_tags", ["engine", "cluster", "registry", "repository"], Folds, Experimental,
        "snapshot", "Tags in the last good scan of the shop's own updater";
    UPDATER_DETECTION_LAG: Gauge, "updater_detection_lag_seconds",
        ["engine", "cluster", "registry", "repository"], Folds, Experimental, "snapshot",
        "How much later than the push that we saw a scan of the shop's own updater first had the tag, for the last tag that it found";
    UPDATER_DETECTION_LAG_UNCERTAINTY: Gauge, "updater_detection_lag_uncertainty_seconds",
        ["engine", "cluster", "registry", "repository"], Folds, Experimental, "snapshot",
        "The error bar of that lag, to either side";
    UPDATER_DETECTION_PENDING: Gauge, "updater_detection_pending_seconds",
        ["engine", "cluster", "registry", "repository"], Folds, Experimental, "snapshot",
        "How long ago we saw the oldest tag that a policy selects and no scan of the shop's own updater has; 0 where none waits, absent while it is suspended";
    UPDATER_PUSH_RACES: Counter, "updater_push_races_total", ["engine", "cluster", "repository"], Folds,
        Experimental, "event raced", "Races to push that the shop's own updater lost, each once until it is well again";
    UPDATER_COMMITS: Counter, "updater_commits_total", ["engine", "cluster", "repository"], Folds, Experimental,
        "event pushed", "Commits of the shop's own updater on followed branches";
    UPDATER_IMAGES: Counter, "updater_images_total", ["engine", "cluster", "repository"], Folds, Experimental,
        "event pushed", "Images that a commit of the shop's own updater named for the first time";
    UPDATE_BATCH_SIZE: Histogram(Counts), "update_batch_size", ["engine", "cluster", "repository"], Folds,
        Experimental, "event pushed", "Image references that one commit of the shop's own updater changed";
    SOURCE_UP: Gauge, "source_up", ["source"], Folds, Stable, "snapshot",
        "1 while a source is fresh: it was seen whole a short while ago and nothing it covers went stale";
    SOURCE_LAST_LOOK: Gauge, "source_last_look_timestamp_seconds", ["source"], Folds, Stable, "snapshot",
        "When the last complete look ended";
    SOURCE_COVERAGE: Gauge, "source_coverage", ["source"], Folds, Stable, "snapshot",
        "Share of what a source should cover that is fresh, 0 to 1";
    CLOCK_OFFSET: Gauge, "clock_offset_seconds", ["source"], Folds, Experimental, "measure clock_offset",
        "A clock of a source minus ours";
    OBSERVATIONS: Counter, "observations_total", ["source"], Folds, Stable, "observation",
        "Observations taken in";
    DROPPED: Counter, "dropped_total", ["source", "reason"], Folds, Stable, "measure dropped",
        "What was left out, and why";
    JOURNAL_UP: Gauge, "journal_up", [], Folds, Stable, "journal",
        "1 while what is observed becomes durable; 0 while the disk refuses or is late";
    JOURNAL_QUEUED: Gauge, "journal_queued_observations", [], Folds, Stable, "journal",
        "Observations that are not on disk yet";
    JOURNAL_OBSERVATIONS: Gauge, "journal_stored_observations", [], Folds, Stable, "journal",
        "Observations on disk";
    JOURNAL_BYTES: Gauge, "journal_size_bytes", [], Folds, Stable, "journal", "Bytes of the journal";
    JOURNAL_BEHIND: Gauge, "journal_replay_observations", [], Folds, Stable, "journal",
        "Observations after the last checkpoint, which a start replays";
    JOURNAL_COMMIT_SECONDS: Gauge, "journal_commit_last_duration_seconds", [], Folds, Stable, "journal",
        "Time of the last commit";
    JOURNAL_COMMITS: Counter, "journal_commits_total", [], Folds, Stable, "journal", "Durable commits";
    JOURNAL_DROPPED: Counter, "journal_dropped_total", [], Folds, Stable, "journal",
        "Observations that the disk did not take and memory could not hold";
    JOURNAL_COMPACTED: Counter, "journal_compacted_total", [], Folds, Stable, "journal",
        "Observations dropped to make room, because later ones say more";
    JOURNAL_REBUILT: Counter, "journal_rebuilt_total", [], Folds, Stable, "journal",
        "Times that the journal was found damaged and begun anew";
    CONFIG_RELOAD_SUCCESSFUL: Gauge, "config_last_reload_successful", [], Folds, Stable, "configuration",
        "1 while the written configuration is in force; 0 while it cannot be used and the last good one stays";
    CONFIG_RELOAD_SUCCESS_AT: Gauge, "config_last_reload_success_timestamp_seconds", [], Folds, Stable,
        "configuration", "When the configuration in force was read";
    BUILD: Info, "build", ["version"], Never, Stable, "this program", "Which Knotmeter this is";
}
