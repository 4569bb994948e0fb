//! Totals and histograms go on over a restart.

use knotmeter::exporters::metrics::{Format, HISTOGRAMS_PER_FAMILY_MAX, Metrics};
use knotmeter::observation::Basis;
use knotmeter::tracker::{Event, Journey, Outcome, Reason, RestoreError, Stage};
use proptest::prelude::{any, prop, proptest};

use super::{snapshot, value};
use crate::fleet::{self, Told, arrived, journey};

fn settle(metrics: &Metrics, journeys: impl IntoIterator<Item = Journey>) {
    journeys.into_iter().for_each(|journey| metrics.event(&Event::Settled(Box::new(journey))));
}

fn filled() -> Metrics {
    let metrics = Metrics::new().with_exemplars();
    let held = Journey { held_seconds: 2.5, conflicts: 3, ..arrived("api", "v7", "staging") };
    let mut backwards = arrived("worker", "v2", "prod");
    backwards = backwards.reached(Stage::Ready, "12:00:01", "12:00:01.500", Basis::Condition);
    let failed = journey("web", "v3", "prod", "12:00:00")
        .stuck(Stage::Ready, Reason::NotReady, "12:00:10")
        .ends(Outcome::RolledBack, "12:01:00");
    let mut quoted = arrived("quoted", "v1", "prod");
    quoted.destination.app = "we\"b\\\n".into();
    settle(
        &metrics,
        [arrived("web", "v1", "prod"), arrived("web", "v2", "prod"), held, backwards, failed, quoted],
    );
    metrics.event(&Event::Restarted { destination: Box::new(fleet::destination("web", "prod")) });
    metrics
}

/// Sorted, because label sets come in no order, and without exemplars.
fn lines(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode(&snapshot(fleet::now(), vec![]), Format::OpenMetrics);
    let mut lines: Vec<String> =
        text.lines().map(|line| line.split(" # {").next().unwrap_or_default().to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn every_line_is_the_same_after_a_restart() {
    let before = filled();
    let after = Metrics::new();
    after.restore(&before.checkpoint()).expect("its own checkpoint");
    assert_eq!(lines(&before), lines(&after));
    let text = after.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let held =
        r#"knotmeter_held_seconds_total{cluster="lab",environment="staging",namespace="staging",app="api"}"#;
    assert_eq!(value(&text, held), Some(2.5), "{text}");
    let count = r#"knotmeter_image_to_live_seconds_count{cluster="lab",environment="prod",namespace="prod",app="web",trigger="push",synthetic="false"}"#;
    assert_eq!(value(&text, count), Some(2.0), "{text}");
}

#[test]
fn what_comes_after_a_restart_is_added() {
    let whole = filled();
    settle(&whole, [arrived("web", "v4", "prod")]);
    let after = Metrics::new();
    after.restore(&filled().checkpoint()).expect("its own checkpoint");
    settle(&after, [arrived("web", "v4", "prod")]);
    assert_eq!(lines(&whole), lines(&after));
}

#[test]
fn the_cap_holds_for_what_is_restored() {
    let full = Metrics::new();
    settle(&full, (0..HISTOGRAMS_PER_FAMILY_MAX).map(|n| arrived(&format!("app-{n}"), "v1", "prod")));
    let other = Metrics::new();
    settle(&other, [arrived("one-more", "v1", "prod")]);
    other.restore(&full.checkpoint()).expect("its own checkpoint");
    let text = other.encode(&snapshot(fleet::now(), vec![]), Format::Classic);
    let counts = text.lines().filter(|line| line.starts_with("knotmeter_image_to_live_seconds_count"));
    assert_eq!(counts.count(), HISTOGRAMS_PER_FAMILY_MAX + 1, "the cap, and the fold");
    let folded = r#"knotmeter_image_to_live_seconds_count{cluster="lab",environment="prod",namespace="overflow",app="overflow",trigger="push",synthetic="false"}"#;
    assert_eq!(value(&text, folded), Some(1.0));
}

#[test]
fn another_familys_numbers_are_left_out() {
    // The bytes name families, labels and buckets; another name of the same length is another program's.
    for name in ["held_seconds_total", "environment", "stage_duration_seconds"] {
        let mut bytes = filled().checkpoint();
        let at =
            bytes.windows(name.len()).position(|window| window == name.as_bytes()).expect("a stored name");
        bytes[at] = b'x';
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        let after = Metrics::new();
        after.restore(&bytes).expect("readable");
        let (before, after) = (lines(&filled()), lines(&after));
        assert!(after.len() < before.len(), "{name}");
        assert!(after.iter().all(|line| before.contains(line)), "{name}");
    }
}

#[test]
fn foreign_bytes_add_nothing() {
    let metrics = Metrics::new();
    let empty = lines(&metrics);
    assert!(matches!(metrics.restore(b"[]"), Err(RestoreError::Foreign { length: 2 })));
    assert!(matches!(
        metrics.restore(&knotmeter::tracker::Tracker::default().checkpoint()),
        Err(RestoreError::Foreign { .. })
    ));
    assert_eq!(lines(&metrics), empty);
}

proptest! {
    #[test]
    fn changed_bytes_do_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = filled().checkpoint();
        for (at, byte) in changes {
            let at = 12 + at.index(bytes.len() - 12);
            bytes[at] = byte;
        }
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        let metrics = Metrics::new();
        let _ = metrics.restore(&bytes);
        let _ = lines(&metrics);
    }
}
