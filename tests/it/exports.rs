//! What leaves the program as numbers: the exposition, its two formats, and what it remembers.
//! `exports/` holds what goes on over a restart (`checkpoint`), what needs other programs (`tools`), written files (`files`), or a collector (`traces`).

mod checkpoint;
pub mod files;
mod tools;
mod traces;

use std::io::Read as _;

use knotmeter::exporters::Snapshot;
use knotmeter::exporters::metrics::{
    Format, HISTOGRAMS_PER_FAMILY_MAX, JournalNumbers, Metrics, SERIES_PER_FAMILY_MAX, table,
};
use knotmeter::observation::{Basis, CacheResult, Measure, Owner, Time, UpdateClass};
use knotmeter::tracker::{
    Detected, Event, Journey, Outcome, Pushed, Reason, Sample, ScannerStatus, Stage, Updaters,
};
use proptest::prelude::*;

use crate::fleet::{self, Told, arrived, journey, running};

fn snapshot(at: Time, journeys: Vec<Journey>) -> Snapshot {
    let journeys = journeys.into_iter().map(std::sync::Arc::new).collect();
    let destinations = vec![running("web", "v1", "prod", "11:00:00")];
    Snapshot { at, journeys, destinations, sources: vec![], updaters: Updaters::default() }
}

/// The value of a series by the text of its name and labels.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(&format!("{series} ")))?;
    line[series.len() + 1..].split(' ').next()?.parse().ok()
}

/// Every measure there is, so that every family of measures has a series.
fn all_measures() -> Vec<Measure> {
    let registry = || "registry.example.com".into();
    vec![
        Measure::RegistryRequest { registry: registry(), operation: "tags", code: 200 },
        Measure::RegistryRequest { registry: registry(), operation: "tags", code: 429 },
        Measure::RegistryRequest { registry: registry(), operation: "tags", code: 0 },
        Measure::RegistryScan {
            repository: "registry.example.com/team/web".parse().unwrap(),
            seconds: 0.021,
            lag_seconds: 0.5,
            tags: 40,
            unchanged: false,
        },
        Measure::RegistryPace {
            registry: registry(),
            requests_left: Some(17.5),
            pulls_left: Some(9.0),
            sweep_seconds: Some(17.0),
        },
        Measure::Looks { source: "registry/registry.example.com".into(), due: 3, late: 1, throttled: 2 },
        Measure::GitOperation {
            repository: "https://git.example.com/d".into(),
            operation: "poll",
            seconds: 0.05,
        },
        Measure::GitCommits { repository: "https://git.example.com/d".into(), count: 2 },
        Measure::CacheLookup {
            cluster: "lab".into(),
            cache: "tag_list",
            result: CacheResult::Hit,
            caller: "scan",
        },
        Measure::CacheLookup {
            cluster: "lab".into(),
            cache: "tag_list",
            result: CacheResult::Miss,
            caller: "scan",
        },
        Measure::UpdaterScan {
            cluster: "lab".into(),
            namespace: "flux-system".into(),
            name: "web".into(),
            seconds: 0.21,
        },
        Measure::HookRequest { hook: "push".into(), result: "taken" },
        Measure::LookAsked { kind: "registry", result: "noted" },
        Measure::ObjectUpdate { cluster: "lab".into(), kind: "Deployment", class: UpdateClass::Spec },
        Measure::ImagePull {
            cluster: "lab".into(),
            namespace: "prod".into(),
            pod: "web-6d4cf56db6-x2x7k".into(),
            seconds: 1.5,
            bytes: Some(30_000_000),
        },
        Measure::ClockOffset { source: "cluster/lab".into(), seconds: -0.2 },
        Measure::Dropped { source: "cluster/lab".into(), reason: "too_large" },
    ]
}

#[test]
fn a_settled_journey_feeds_its_numbers_once() {
    let metrics = Metrics::new();
    metrics.event(&Event::Settled(Box::new(arrived("web", "v1", "prod"))));
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::OpenMetrics);
    let place = r#"cluster="lab",environment="prod",namespace="prod",app="web""#;
    let labels = format!(r#"{{{place},trigger="push",synthetic="false"}}"#);
    assert_eq!(value(&text, &format!("knotmeter_image_to_live_seconds_count{labels}")), Some(1.0), "{text}");
    assert_eq!(value(&text, &format!("knotmeter_image_to_live_seconds_sum{labels}")), Some(6.0));
    let ended = |outcome: &str| {
        let labels =
            format!(r#"{{{place},outcome="{outcome}",trigger="push",subject="image",synthetic="false"}}"#);
        value(&text, &format!("knotmeter_journeys_total{labels}"))
    };
    assert_eq!(ended("live"), Some(1.0));
    for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Live) {
        assert_eq!(ended(outcome.as_str()), Some(0.0), "known apps start at 0 for {outcome:?}");
    }
    let stages = text.lines().filter(|line| line.starts_with("knotmeter_stage_duration_seconds_count"));
    // pushed has no stage before it that is known: five of six.
    assert_eq!(stages.count(), 5);
    assert!(!text.contains("trace_id"), "no exemplar where no trace is sent");
}

/// What the shop's updater did, so that every family of it has a series.
fn updater_events() -> [Event; 2] {
    let updater = fleet::updater();
    let pushed = Pushed { updater: updater.clone(), commit: "4f2a9c1b7d3e".into(), references: 2, images: 1 };
    [Event::Raced(Box::new(updater)), Event::Pushed(Box::new(pushed))]
}

#[test]
fn each_app_of_a_namespace_is_told_once_with_the_first_team_that_any_of_it_has() {
    let metrics = Metrics::new();
    let of = |name: &str, environment: &str, namespace: &str, team: Option<&str>, tier: Option<&str>| {
        let mut status = running("web", "v1", environment, "11:00:00");
        status.destination.workload.name = name.into();
        status.destination.workload.namespace = namespace.into();
        status.owner = Owner { team: team.map(Into::into), tier: tier.map(Into::into) };
        status
    };
    let mut snapshot = snapshot(fleet::now(), vec![]);
    snapshot.destinations = vec![
        of("web", "staging", "shop", None, Some("gold")),
        of("web-green", "prod", "shop", Some("till"), Some("iron")),
        of("web-blue", "prod", "shop", Some("rest"), None),
        of("web", "prod", "other", None, None),
    ];
    let said = |snapshot: &Snapshot| -> Vec<String> {
        let text = metrics.encode(snapshot, Format::Classic);
        text.lines().filter(|line| line.starts_with("knotmeter_app_info{")).map(str::to_owned).collect()
    };
    let expected = [
        r#"knotmeter_app_info{cluster="lab",environment="prod",namespace="other",app="web",team="",tier="",engine="plain"} 1"#,
        r#"knotmeter_app_info{cluster="lab",environment="staging",namespace="shop",app="web",team="till",tier="gold",engine="plain"} 1"#,
    ];
    assert_eq!(said(&snapshot), expected);
    // However many there are, none is folded away: an alert would lose its team.
    snapshot.destinations = (0..SERIES_PER_FAMILY_MAX + 3)
        .map(|number| of("web", "prod", &format!("ns-{number}"), Some("till"), None))
        .collect();
    assert_eq!(said(&snapshot).len(), SERIES_PER_FAMILY_MAX + 3);
}

#[test]
fn an_updater_without_objects_of_its_own_has_no_series() {
    let metrics = Metrics::new();
    all_measures().iter().for_each(|measure| metrics.measure(measure));
    metrics.event(&Event::Settled(Box::new(arrived("web", "v1", "prod"))));
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::OpenMetrics);
    assert!(!text.contains("knotmeter_updater_") && !text.contains("knotmeter_update_"), "{text}");
    // What is not known of one that has them has none either.
    let mut snapshot = snapshot(fleet::now(), vec![]);
    let unknown = ScannerStatus {
        interval_seconds: None,
        age_seconds: None,
        tags: None,
        lag: None,
        pending_seconds: None,
        object: ("flux-system".into(), "another".into()),
        ..fleet::updaters().scanners.remove(0)
    };
    snapshot.updaters.scanners = vec![unknown];
    let text = metrics.encode(&snapshot, Format::OpenMetrics);
    assert!(!text.contains("knotmeter_updater_"), "{text}");
}

#[test]
fn what_the_updater_did_is_counted_from_zero_and_a_clock_that_went_backwards_is_told() {
    let metrics = Metrics::new();
    let text = |metrics: &Metrics| metrics.encode(&fleet::shop(), Format::Classic);
    let labels = r#"{engine="flux",cluster="lab",repository="https://git.example.com/team/deploy"}"#;
    let races = format!("knotmeter_updater_push_races_total{labels}");
    assert_eq!(value(&text(&metrics), &races), Some(0.0));
    metrics.event(&Event::Raced(Box::new(fleet::updater())));
    for (references, images) in [(2, 1), (0, 0)] {
        let pushed = Pushed { updater: fleet::updater(), commit: "4f2a9c1b7d3e".into(), references, images };
        metrics.event(&Event::Pushed(Box::new(pushed)));
    }
    let lag = |negative| Sample { seconds: 0.0, uncertainty_seconds: 1.0, negative };
    for negative in [false, true] {
        metrics.event(&Event::Detected(Box::new(Detected {
            engine: "flux",
            cluster: "lab".into(),
            repository: "registry.example.com/team/web".parse().unwrap(),
            tag: "v1".parse().unwrap(),
            lag: lag(negative),
        })));
    }
    let after = Metrics::new();
    after.restore(&metrics.checkpoint()).unwrap();
    for metrics in [metrics, after] {
        let text = text(&metrics);
        assert_eq!(value(&text, &races), Some(1.0), "{text}");
        assert_eq!(value(&text, &format!("knotmeter_updater_commits_total{labels}")), Some(2.0));
        assert_eq!(value(&text, &format!("knotmeter_updater_images_total{labels}")), Some(1.0));
        // Of the other one nobody knows what it changed.
        assert_eq!(value(&text, &format!("knotmeter_update_batch_size_count{labels}")), Some(1.0));
        assert_eq!(value(&text, &format!("knotmeter_update_batch_size_sum{labels}")), Some(2.0));
        assert_eq!(value(&text, r#"knotmeter_negative_duration_total{stage="detected"}"#), Some(1.0));
    }
}

#[test]
fn provisional_events_feed_no_number() {
    let metrics = Metrics::new();
    let before = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let journey = arrived("web", "v1", "prod");
    metrics.event(&Event::Moved { id: journey.id, stage: Some(Stage::Live) });
    metrics.event(&Event::Cleared { id: journey.id });
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let after = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    assert_eq!(sorted(&before), sorted(&after));
}

#[test]
fn what_was_there_at_the_first_look_is_in_no_histogram() {
    let metrics = Metrics::new();
    let old = journey("web", "v0", "prod", "11:00:00")
        .reached(Stage::Applied, "11:00:00", "11:00:00", Basis::Backfill)
        .ends(Outcome::Unknown, "11:00:00");
    metrics.event(&Event::Settled(Box::new(old)));
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    assert!(
        !text.lines().any(|line| line.contains("basis=\"backfill\"") && !line.starts_with('#')),
        "{text}"
    );
}

#[test]
fn a_number_with_a_wide_error_bar_is_counted_instead() {
    let metrics = Metrics::new();
    let mut vague = arrived("web", "v1", "prod").pushed("11:40:00", "12:00:01");
    vague.intent = None;
    metrics.event(&Event::Settled(Box::new(vague)));
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    assert!(!text.contains("knotmeter_image_to_live_seconds_count{"), "{text}");
    let dropped = r#"knotmeter_dropped_total{source="tracker",reason="image_to_live_uncertain"}"#;
    assert_eq!(value(&text, dropped), Some(1.0));
    let uncertain = r#"knotmeter_stage_uncertain_total{stage="committed",basis="poll"}"#;
    assert_eq!(value(&text, uncertain), Some(1.0));
}

#[test]
fn a_stuck_series_keeps_its_reason_and_ends_with_a_zero() {
    let metrics = Metrics::new();
    let waiting = || journey("web", "v2", "prod", "12:00:00").pushed("12:00:00", "12:00:01");
    let series = |stage: &str, reason: &str| {
        format!(
            r#"knotmeter_journey_stuck{{cluster="lab",environment="prod",namespace="prod",app="web",subject="image",stage="{stage}",reason="{reason}",synthetic="false"}}"#
        )
    };
    let scrape = |clock: &str, journey: Journey| {
        metrics.encode(&snapshot(fleet::at(clock), vec![journey]), Format::Classic)
    };
    let first = scrape("12:10:00", waiting().stuck(Stage::Ready, Reason::NotReady, "12:09:00"));
    assert_eq!(value(&first, &series("ready", "not_ready")), Some(1.0), "{first}");

    // Another reason, and the id of an earlier cause: still the same alert.
    let mut renamed = waiting().stuck(Stage::Ready, Reason::CrashLoop, "12:09:00");
    renamed.aliases = vec![renamed.id];
    renamed.id = knotmeter::tracker::JourneyId(7);
    let second = scrape("12:11:00", renamed);
    assert_eq!(value(&second, &series("ready", "not_ready")), Some(1.0));
    assert_eq!(value(&second, &series("ready", "crash_loop")), None);

    let cleared = scrape("12:12:00", waiting());
    assert_eq!(value(&cleared, &series("ready", "not_ready")), Some(0.0));
    let still = scrape("12:26:59", waiting());
    assert_eq!(value(&still, &series("ready", "not_ready")), Some(0.0));
    let gone = scrape("12:27:00", waiting());
    assert_eq!(value(&gone, &series("ready", "not_ready")), None);
}

#[test]
fn the_revision_of_what_is_live_outlives_its_journey() {
    let metrics = Metrics::new();
    let series = r#"knotmeter_live_info{cluster="lab",environment="prod",namespace="prod",app="web",tag="v1",revision="4f2a9c1b7d3e"}"#;
    let seen = metrics.encode(&snapshot(fleet::now(), vec![arrived("web", "v1", "prod")]), Format::Classic);
    assert_eq!(value(&seen, series), Some(1.0), "{seen}");
    let forgotten = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    assert_eq!(value(&forgotten, series), Some(1.0), "{forgotten}");
}

#[test]
fn beyond_the_cap_apps_fold_and_the_fold_is_counted() {
    let metrics = Metrics::new();
    for number in 0..=HISTOGRAMS_PER_FAMILY_MAX {
        metrics.event(&Event::Settled(Box::new(arrived(&format!("app-{number}"), "v1", "prod"))));
    }
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let folded = r#"knotmeter_image_to_live_seconds_count{cluster="lab",environment="prod",namespace="overflow",app="overflow",trigger="push",synthetic="false"}"#;
    assert_eq!(value(&text, folded), Some(1.0));
    let count = value(&text, r#"knotmeter_dropped_total{source="metrics",reason="series_cap"}"#);
    assert_eq!(count, Some(2.0), "image_to_live and change_to_live each folded one");
    let stuck = (0..3).map(|n| {
        journey(&format!("more-{n}"), "v1", "prod", "12:00:00").stuck(
            Stage::Ready,
            Reason::NoPods,
            "12:00:00",
        )
    });
    let text = metrics.encode(&snapshot(fleet::now(), stuck.collect()), Format::Classic);
    assert_eq!(text.matches("knotmeter_journey_stuck{").count(), 3);
}

#[test]
fn journey_totals_go_on_after_a_restart() {
    let before = Metrics::new();
    before.event(&Event::Settled(Box::new(arrived("web", "v1", "prod"))));
    let after = Metrics::new();
    after.restore(&before.checkpoint()).unwrap();
    after.event(&Event::Settled(Box::new(arrived("web", "v2", "prod"))));
    let text = after.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let total = r#"knotmeter_journeys_total{cluster="lab",environment="prod",namespace="prod",app="web",outcome="live",trigger="push",subject="image",synthetic="false"}"#;
    assert_eq!(value(&text, total), Some(2.0), "{text}");
}

#[test]
fn totals_keep_the_values_of_labels_whatever_they_hold() {
    let metrics = Metrics::new();
    let odd = "a \"b\", c=\"d\" \\ \\n \n #";
    let mut journey = arrived("web", "v1", "prod");
    journey.destination.app = odd.into();
    metrics.event(&Event::Settled(Box::new(journey)));
    let after = Metrics::new();
    after.restore(&metrics.checkpoint()).unwrap();
    let text = |metrics: &Metrics| metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let total = |text: String| {
        text.lines().find(|line| line.starts_with("knotmeter_journeys_total{")).map(str::to_owned)
    };
    let before = total(text(&metrics)).expect("it is counted");
    assert!(before.contains(r#"app="a \"b\", c=\"d\" \\ \\n \n #""#), "{before}");
    assert_eq!(total(text(&after)), Some(before));
}

#[test]
fn a_pull_is_counted_for_the_app_whose_pod_it_was() {
    let metrics = Metrics::new();
    // The first scrape tells which workloads there are.
    let _ = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    all_measures().iter().for_each(|measure| metrics.measure(measure));
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let pulls = r#"knotmeter_image_pull_duration_seconds_count{cluster="lab",namespace="prod",app="web"}"#;
    assert_eq!(value(&text, pulls), Some(1.0), "{text}");
}

#[test]
fn openmetrics_is_sent_only_to_who_prefers_it() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    assert_eq!(
        Format::accepted("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.1"),
        Format::Classic
    );
    assert_eq!(Format::accepted("application/openmetrics-text;q=0"), Format::Classic);
    assert_eq!(Format::accepted("*/*"), Format::Classic);
    assert_eq!(Format::accepted(""), Format::Classic);
}

#[test]
fn how_the_looks_keep_up_and_what_the_hosts_leave_is_said_as_it_was_measured() {
    let metrics = Metrics::new();
    all_measures().iter().for_each(|measure| metrics.measure(measure));
    let later = [
        Measure::Looks { source: "registry/registry.example.com".into(), due: 2, late: 0, throttled: 3 },
        Measure::RegistryPace {
            registry: "registry.example.com".into(),
            requests_left: Some(3.5),
            pulls_left: None,
            sweep_seconds: None,
        },
    ];
    let said = |metrics: &Metrics| {
        let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
        let source = r#"source="registry/registry.example.com""#;
        let registry = r#"registry="registry.example.com""#;
        [
            format!("looks_due{{{source}}}"),
            format!("looks_late{{{source}}}"),
            format!("looks_throttled_total{{{source}}}"),
            format!("registry_throttled_total{{{registry},operation=\"tags\"}}"),
            format!("registry_rate_limit_remaining{{{registry},budget=\"requests\"}}"),
            format!("registry_rate_limit_remaining{{{registry},budget=\"pulls\"}}"),
            format!("registry_scan_lag_seconds{{{registry},repository=\"team/web\"}}"),
            format!("registry_sweep_projected_seconds{{{registry}}}"),
        ]
        .map(|name| value(&text, &format!("knotmeter_{name}")))
    };
    assert_eq!(said(&metrics), [3.0, 1.0, 2.0, 1.0, 17.5, 9.0, 0.5, 17.0].map(Some));
    later.iter().for_each(|measure| metrics.measure(measure));
    // Gauges are of now, counters of all the time, and what was not said anew stays.
    assert_eq!(said(&metrics), [2.0, 0.0, 5.0, 1.0, 3.5, 9.0, 0.5, 17.0].map(Some));
}

#[test]
fn every_family_of_the_table_is_filled_by_something() {
    let metrics = Metrics::new().with_exemplars();
    all_measures().iter().for_each(|measure| metrics.measure(measure));
    let mut held = arrived("web", "v1", "prod");
    held.held_seconds = 4.0;
    held.conflicts = 1;
    let vague = arrived("web", "v2", "prod").pushed("11:40:00", "12:00:01");
    let mut skewed = arrived("web", "v3", "prod");
    skewed = skewed.reached(Stage::Applied, "11:59:00", "11:59:01", Basis::ManagedFields);
    for journey in [held, vague, skewed] {
        metrics.event(&Event::Settled(Box::new(journey)));
    }
    metrics.event(&Event::Restarted { destination: Box::new(fleet::destination("web", "prod")) });
    updater_events().iter().for_each(|event| metrics.event(event));
    metrics.observation(&traces::observation());
    let last_commit_seconds = Some(0.004);
    metrics.journal(&JournalNumbers { configured: true, last_commit_seconds, ..JournalNumbers::default() });
    metrics.config_read(Some(fleet::now()));
    let text = metrics.encode(&fleet::shop(), Format::OpenMetrics);
    for family in table::ALL {
        let name = format!("\n{}", family.full_name());
        assert!(text.contains(&name), "{} has no series", family.full_name());
    }
}

proptest! {
    /// Whatever is in a label, the classic text has the same samples with the same labels and values.
    #[test]
    fn both_formats_have_every_sample(names in prop::collection::vec("(?s).{0,24}", 1..6)) {
        let metrics = Metrics::new().with_exemplars();
        for name in &names {
            let mut journey = arrived("web", "v1", "prod");
            journey.destination.app = name.as_str().into();
            journey.destination.environment = format!("{name} # {{trace_id=\"x\"}} 1").into();
            metrics.event(&Event::Settled(Box::new(journey)));
        }
        let snapshot = snapshot(fleet::now(), vec![]);
        let open = metrics.encode(&snapshot, Format::OpenMetrics);
        let classic = metrics.encode(&snapshot, Format::Classic);
        prop_assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
        let samples = |text: &str| -> Vec<(String, String)> {
            text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
        };
        prop_assert_eq!(samples(&open), samples(&classic));
        let mut unpacked = String::new();
        let packed = metrics.encode_gzip(&snapshot, Format::OpenMetrics);
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
        prop_assert_eq!(&unpacked, &open);
        for line in classic.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = sample(line);
            prop_assert_eq!(line, format!("{name} {value}"), "nothing after the value");
        }
    }
}

/// Name with labels, and value, of a sample line of either format: an independent reading, by state.
fn sample(line: &str) -> (String, String) {
    let mut end = line.find(['{', ' ']).expect("a sample has a value");
    if line.as_bytes()[end] == b'{' {
        let mut inside = false;
        let mut characters = line[end..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' if inside => drop(characters.next()),
                '"' => inside = !inside,
                '}' if !inside => {
                    end += at + 1;
                    break;
                }
                _ => {}
            }
        }
    }
    let value = line[end + 1..].split(' ').next().expect("a value");
    (line[..end].to_owned(), value.to_owned())
}
