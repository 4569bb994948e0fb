//! To whom namespaces and workloads belong, by labels.

use std::sync::Arc;

use knotmeter::config::Ownership;
use knotmeter::observation::{Basis, Fact, Owner, Subject, Time};
use knotmeter::observers::cluster::{Resource, Said, Stream};

use super::place;

fn watching(resource: Resource, ownership: Ownership) -> Stream {
    let mut stream = Stream::new(resource, place()).with_ownership(Arc::new(ownership));
    stream.begin_look(Time(10_000));
    stream.listed(Time(10_000), "5");
    stream
}

fn facts(stream: &mut Stream, at: i64, kind: &str, object: &str) -> Vec<(Basis, Fact)> {
    let line = format!(r#"{{"type":"{kind}","object":{object}}}"#);
    let said = stream.event(Time(at), line.as_bytes()).expect("an event").said.into_iter();
    said.filter_map(|said| match said {
        Said::Fact { fact: Fact::LookCompleted { .. }, .. } | Said::Measure(_) => None,
        Said::Fact { basis, fact, .. } => Some((basis, fact)),
    })
    .collect()
}

fn namespace(version: u32, labels: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"prod","uid":"ns-1","resourceVersion":"{version}","labels":{labels}}}}}"#
    )
}

fn owner(team: &str, tier: &str) -> Owner {
    let word = |word: &str| Some(word).filter(|word| !word.is_empty()).map(Into::into);
    Owner { team: word(team), tier: word(tier) }
}

#[test]
fn a_namespace_says_to_whom_it_belongs_by_the_first_label_that_it_has() {
    let mut stream = watching(Resource::Namespaces, Ownership::default());
    for (version, labels, expected) in [
        (6, r#"{"team":"shop","tier":"gold"}"#, owner("shop", "gold")),
        (7, r#"{"owner":"ada","team":"retail"}"#, owner("retail", "")),
        (8, r#"{"owner":"ada","team":" ","knotmeter.dev/tier":"1"}"#, owner("ada", "1")),
        // Of another shape, and a value above what the API takes.
        (9, r#"["team"]"#, owner("", "")),
        (10, r#"{"team":7,"tier":"x\ny"}"#, owner("", "xy")),
        (11, &format!(r#"{{"team":"{}"}}"#, "a".repeat(900)), owner(&"a".repeat(63), "")),
        (12, "null", owner("", "")),
    ] {
        let said = facts(&mut stream, 31_000, "MODIFIED", &namespace(version, labels));
        let [(_, Fact::NamespaceIs(said))] = &said[..] else { panic!("{labels}: {said:?}") };
        assert_eq!((&*said.name, &said.owner), ("prod", &expected), "{labels}");
    }
    // Labels that nobody configured are no news.
    assert_eq!(facts(&mut stream, 32_000, "MODIFIED", &namespace(13, r#"{"color":"blue"}"#)), []);
    let gone = facts(&mut stream, 33_000, "DELETED", &namespace(14, "{}"));
    assert_eq!(gone, [(Basis::Watch, Fact::Absent { subject: Subject::Namespace { uid: "ns-1".into() } })]);
}

#[test]
fn a_workload_says_it_by_the_configured_labels() {
    let ownership = Ownership { team: vec!["example.com/squad".into()], tier: Vec::new() };
    let mut stream = watching(Resource::Deployments, ownership);
    let object = r#"{"metadata":{"name":"web","namespace":"prod","uid":"d-1","resourceVersion":"6",
        "labels":{"team":"shop","tier":"gold","example.com/squad":"till"}},"spec":{},"status":{}}"#;
    let said = facts(&mut stream, 31_000, "ADDED", &object.replace('\n', ""));
    let [(_, Fact::WorkloadIs(said))] = &said[..] else { panic!("{said:?}") };
    assert_eq!(said.owner, owner("till", ""));
}

#[test]
fn the_annotations_of_a_team_are_read_and_a_value_that_is_none_counts_for_nothing() {
    let read = |annotations: &str| {
        let mut stream = watching(Resource::Deployments, Ownership::default());
        let object = format!(
            r#"{{"metadata":{{"name":"web","namespace":"prod","uid":"d-1","resourceVersion":"6",
            "labels":{{"app.kubernetes.io/name":"labelled"}},"annotations":{annotations}}},"spec":{{}},"status":{{}}}}"#
        );
        let said = facts(&mut stream, 31_000, "ADDED", &object.replace('\n', ""));
        let [(_, Fact::WorkloadIs(said))] = &said[..] else { panic!("{said:?}") };
        (**said).clone()
    };
    let all = read(
        r#"{"knotmeter.dev/app":"shop","knotmeter.dev/environment":"live","knotmeter.dev/ignore":"true","knotmeter.dev/budget-live":"1h30m"}"#,
    );
    assert_eq!((all.app.as_deref(), all.environment.as_deref()), (Some("shop"), Some("live")));
    assert_eq!((all.ignore, all.budget_live_seconds), (true, Some(5400.0)));
    let none = read(r#"{"knotmeter.dev/ignore":"yes","knotmeter.dev/budget-live":"soon"}"#);
    assert_eq!((none.app.as_deref(), none.environment.as_deref()), (Some("labelled"), None));
    assert_eq!((none.ignore, none.budget_live_seconds), (false, None));
}
