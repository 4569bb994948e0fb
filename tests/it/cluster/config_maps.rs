//! ConfigMaps: when they were written, and how a template uses them.

use knotmeter::observation::{Basis, Fact, Interval, Subject, Time};
use knotmeter::observers::cluster::{Resource, Said, Stream};

use super::place;

/// As `PartialObjectMetadata`: data was written by an applier at second 20, a label by a person at second 30.
const METADATA: &str = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"settings","namespace":"shop","uid":"cm-1","resourceVersion":"7","creationTimestamp":"1970-01-01T00:00:01Z","managedFields":[{"manager":"applier","operation":"Apply","time":"1970-01-01T00:00:20Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:MODE":{}}}},{"manager":"kubectl","operation":"Update","time":"1970-01-01T00:00:30Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:a":{}}}}}]}}"#;

fn facts(stream: &mut Stream, at: i64, kind: &str, object: &str) -> Vec<(Basis, Fact)> {
    let line = format!(r#"{{"type":"{kind}","object":{object}}}"#);
    let said = stream.event(Time(at), line.as_bytes()).expect("an event").said.into_iter();
    said.filter_map(|said| match said {
        Said::Fact { fact: Fact::LookCompleted { .. }, .. } => None,
        Said::Fact { basis, fact, .. } => Some((basis, fact)),
        Said::Measure(measure) => panic!("ConfigMaps are not measured: {measure:?}"),
    })
    .collect()
}

fn watching() -> Stream {
    let mut stream = Stream::new(Resource::ConfigMaps, place());
    stream.begin_look(Time(10_000));
    stream.listed(Time(10_000), "5");
    stream
}

#[test]
fn a_config_map_says_when_its_data_was_written_and_nothing_of_it() {
    let mut stream = watching();
    let [(_, Fact::ConfigMapIs(said))] = &facts(&mut stream, 31_000, "ADDED", METADATA)[..] else {
        panic!("one fact")
    };
    assert_eq!((&*said.namespace, &*said.name, &*said.uid), ("shop", "settings", "cm-1"));
    assert_eq!(said.written, Some(Interval::second(Time(20_000))));
}

#[test]
fn another_label_is_no_news_and_other_data_is() {
    let mut stream = watching();
    facts(&mut stream, 31_000, "ADDED", METADATA);
    let labelled = METADATA.replace(r#""7""#, r#""8""#).replace("00:30Z", "00:40Z");
    assert_eq!(facts(&mut stream, 41_000, "MODIFIED", &labelled), []);
    let written = METADATA.replace(r#""7""#, r#""9""#).replace("00:20Z", "00:50Z");
    assert_eq!(facts(&mut stream, 51_000, "MODIFIED", &written).len(), 1);
    let gone = facts(&mut stream, 52_000, "DELETED", &written);
    assert_eq!(gone, [(Basis::Watch, Fact::Absent { subject: Subject::ConfigMap { uid: "cm-1".into() } })]);
}

#[test]
fn what_nobody_manages_was_written_at_an_unknown_time() {
    for metadata in
        ["", r#","managedFields":null"#, r#","managedFields":[{"time":"soon","fieldsV1":{"f:data":{}}}]"#]
    {
        let object = format!(
            r#"{{"metadata":{{"name":"a","namespace":"b","uid":"c","resourceVersion":"7"{metadata}}}}}"#
        );
        let [(_, Fact::ConfigMapIs(said))] = &facts(&mut watching(), 31_000, "ADDED", &object)[..] else {
            panic!("one fact")
        };
        assert_eq!(said.written, None, "{metadata}");
    }
}

#[test]
fn a_template_says_which_it_reads_only_at_the_start() {
    let spec = r#"{"replicas":1,"template":{"spec":{
        "initContainers":[{"name":"i","env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"init","key":"a"}}}]}],
        "containers":[{"name":"web","image":"web:1",
            "envFrom":[{"configMapRef":{"name":"env"}},{"secretRef":{"name":"secret"}}],
            "volumeMounts":[{"name":"whole","mountPath":"/a"},{"name":"one","mountPath":"/b","subPath":"b.ini"}]}],
        "volumes":[{"name":"whole","configMap":{"name":"mounted"}},{"name":"one","configMap":{"name":"file"}},
            {"name":"many","projected":{"sources":[{"configMap":{"name":"projected"}},{"configMap":null}]}},
            {"name":"both","configMap":{"name":"env"}},{"name":"none","emptyDir":{}}]}}}"#;
    let object = format!(
        r#"{{"metadata":{{"name":"web","namespace":"shop","uid":"w","resourceVersion":"7"}},"spec":{spec},"status":{{}}}}"#
    );
    let mut stream = Stream::new(Resource::Deployments, place());
    stream.begin_look(Time(10_000));
    let [(_, Fact::WorkloadIs(workload))] =
        &facts(&mut stream, 10_000, "ADDED", &object.replace('\n', ""))[..]
    else {
        panic!("one fact")
    };
    let used: Vec<(&str, bool)> =
        workload.config_maps.iter().map(|used| (&*used.name, used.at_start)).collect();
    assert_eq!(
        used,
        [("env", true), ("file", true), ("init", true), ("mounted", false), ("projected", false)]
    );
}
