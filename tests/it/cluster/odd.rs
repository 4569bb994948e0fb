//! Objects that are not written as one expects: other orders, escapes, nulls, sizes, letters that are none.

use knotmeter::observation::{
    Basis, EngineKind, Fact, Measure, Pod, Role, Subject, TemplateHash, Time, ValuesFrom,
};
use knotmeter::observers::cluster::{DecodeError, LINE_BYTES_MAX, Resource, Said, Stream};

use super::place;

fn looking(resource: Resource) -> Stream {
    let mut stream = Stream::new(resource, place());
    stream.begin_look(Time(1));
    stream
}

fn pods(said: &[Said]) -> Vec<&Pod> {
    said.iter()
        .filter_map(|said| match said {
            Said::Fact { fact: Fact::PodIs(pod), .. } => Some(&**pod),
            _ => None,
        })
        .collect()
}

fn pod(uid: &str, more: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{uid}","namespace":"shop","uid":"{uid}","resourceVersion":"1","annotations":{{"a":"{more}"}}}},"spec":{{"containers":[{{"name":"web","image":"web:1"}}]}}}}"#
    )
}

fn page(items: &[String]) -> String {
    format!(r#"{{"items":[{}],"metadata":{{"resourceVersion":"9"}}}}"#, items.join(" ,\n"))
}

fn dropped(reason: &'static str) -> Said {
    Said::Measure(Measure::Dropped { source: "cluster/lab".into(), reason })
}

#[test]
fn the_order_of_keys_and_the_way_of_writing_do_not_matter() {
    let usual = r#"{"type":"ADDED","object":{"metadata":{"uid":"u","name":"wéb","namespace":"shop","resourceVersion":"1"},"spec":{"containers":[{"name":"a","image":"a:1"}]},"status":{"phase":"Running","containerStatuses":[{"name":"a","ready":true,"restartCount":2}]}}}"#;
    let other = r#" { "more" : [ {"type":1} ] , "object" : { "status" : {"containerStatuses":[{"restartCount":2,"ready":true,"name":"\u0061"}],"phase":"Runnin\u0067"} ,"spec":{"containers":[{"image":"a:1","name":"a","env":[{"name":"containers"}]}]},
        "metadata":{"resourceVersion":"1","namespace":"shop","name":"w\u00e9b","uid":"u"}} , "type" : "ADDED" } "#;
    let told = |text: &str| looking(Resource::Pods).event(Time(2), text.as_bytes()).unwrap().said;
    assert_eq!(told(usual), told(other));
    assert_eq!(pods(&told(usual))[0].containers[0].restarts, 2);
}

#[test]
fn a_null_anywhere_in_a_pod_is_nothing() {
    let text = r#"{"type":"ADDED","object":{"metadata":{"uid":"u","resourceVersion":"1","creationTimestamp":"1970-01-01T00:00:05Z","deletionTimestamp":null},"spec":{"containers":[{"name":null,"image":null},{}]},"status":{"phase":null,"conditions":[{"type":"Ready","status":"True","lastTransitionTime":null},{"type":null,"status":null,"reason":null}],"containerStatuses":[{"name":null,"imageID":null,"ready":null,"restartCount":null,"state":null},{"name":"x","state":{"running":{"startedAt":null},"waiting":null}}]}}}"#;
    let said = looking(Resource::Pods).event(Time(9_000), text.as_bytes()).unwrap().said;
    let [pod] = pods(&said)[..] else { panic!("{said:?}") };
    assert_eq!((pod.ready, pod.deleting, pod.containers.len()), (Some(Time(5_000)), false, 2));
    assert!(pod.containers.iter().all(|c| c.name.is_empty() && c.running.is_none() && c.waiting.is_none()));
}

#[test]
fn letters_that_are_none_cost_only_themselves() {
    let mut line = format!(r#"{{"type":"ADDED","object":{}}}"#, pod("u", "MARK")).into_bytes();
    let at = line.windows(4).position(|text| text == b"MARK").unwrap();
    line[at] = 0xff;
    let said = looking(Resource::Pods).event(Time(2), &line).unwrap().said;
    assert_eq!(pods(&said).len(), 1, "{said:?}");
}

#[test]
fn an_object_that_is_too_large_is_left_out_of_a_list_and_proves_nothing_absent() {
    let mut stream = looking(Resource::Pods);
    stream.page(Time(2), page(&["a", "big", "b"].map(|uid| pod(uid, ""))).as_bytes()).unwrap();
    stream.listed(Time(2), "9");
    stream.begin_look(Time(3));
    let big = pod("big", &"x".repeat(LINE_BYTES_MAX)).replace(r#""1""#, r#""2""#);
    let items = [pod("a", ""), big, pod("c", "")];
    let said = stream.page(Time(4), page(&items).as_bytes()).unwrap().said;
    assert_eq!(pods(&said).iter().map(|pod| &*pod.uid).collect::<Vec<_>>(), ["c"]);
    assert!(said.contains(&dropped("too_large")), "{said:?}");
    let said = stream.listed(Time(4), "10");
    assert!(matches!(said[..], [Said::Fact { fact: Fact::LookCompleted { .. }, .. }]), "{said:?}");
}

#[test]
fn a_page_that_breaks_off_says_what_stood_before_the_break() {
    let mut stream = looking(Resource::Pods);
    let whole = page(&["a", "b", "c"].map(|uid| pod(uid, "")));
    let cut = whole.rfind(r#""uid":"c""#).unwrap();
    let Err(DecodeError::Page { said, .. }) = stream.page(Time(2), &whole.as_bytes()[..cut]) else {
        panic!("it is broken")
    };
    assert_eq!(pods(&said).len(), 2);
    stream.begin_look(Time(3));
    let page = stream.page(Time(4), whole.as_bytes()).unwrap();
    assert_eq!(pods(&page.said).iter().map(|pod| &*pod.uid).collect::<Vec<_>>(), ["c"]);
    assert_eq!((page.next, &*page.version), (None, "9"));
    for odd in ["", "[]", "{}}", r#"{"items":{}}"#, r#"{"items":[{}]"#, r#"{"a":1,}"#] {
        assert!(stream.page(Time(5), odd.as_bytes()).is_err(), "{odd}");
    }
    assert!(stream.page(Time(5), br#"{"items":null,"metadata":null}"#).unwrap().said.is_empty());
    let said = stream.page(Time(5), br#"{"items":[null,7,"text",[],{},{"metadata":null}]}"#).unwrap().said;
    assert_eq!(said, vec![dropped("malformed"); 6]);
}

#[test]
fn what_is_gone_is_named_as_it_was_written() {
    let uids = ["0a1b2c3d-0000-4fff-8000-000000000001", "0A1B2C3D-0000-4fff-8000-000000000001", "other", "é"];
    let mut stream = looking(Resource::Pods);
    stream.page(Time(2), page(&uids.map(|uid| pod(uid, ""))).as_bytes()).unwrap();
    stream.listed(Time(2), "9");
    stream.begin_look(Time(3));
    stream.page(Time(4), page(&[]).as_bytes()).unwrap();
    let mut gone: Vec<_> = stream
        .listed(Time(4), "10")
        .into_iter()
        .filter_map(|said| match said {
            Said::Fact { fact: Fact::Absent { subject: Subject::Pod { uid } }, basis, .. } => {
                assert_eq!(basis, Basis::Relist);
                Some(uid.to_string())
            }
            _ => None,
        })
        .collect();
    gone.sort();
    let mut expected = uids.map(str::to_owned);
    expected.sort();
    assert_eq!(gone, expected);
}

/// The hash is journalled: another version of this program must find the same. This one was computed apart from
/// the program, from the description of the canonical form.
#[test]
fn a_template_has_the_same_hash_for_ever() {
    let first = r#"{"$patch":"replace","metadata":{"creationTimestamp":null,"labels":{"app":"wéb","pod-template-hash":"x"}},"spec":{"containers":[{"name":"web","image":"web:1","args":["--rate=1.5","\"q\""],"resources":{},"ports":[{"containerPort":8080}],"tty":false,"weight":0.5,"low":-3,"list":[null,{},[]]}],"restartPolicy":"Always","hostNetwork":true,"$patch":"kept"}}"#;
    let second = r#"{"spec":{"$patch":"kept","restartPolicy":"Always","containers":[{"args":["--rate=1.5","\"q\""],"image":"web:1","list":[null,{},[]],"low":-3,"name":"web","ports":[{"containerPort":8080,"hostPort":null}],"tty":false,"weight":0.5}],"hostNetwork":true},"metadata":{"labels":{"app":"w\u00e9b","controller-revision-hash":"y"},"annotations":{}}}"#;
    for template in [first, second] {
        let line = format!(
            r#"{{"type":"ADDED","object":{{"metadata":{{"uid":"u","resourceVersion":"1"}},"spec":{{"template":{template}}}}}}}"#
        );
        let said = looking(Resource::Deployments).event(Time(2), line.as_bytes()).unwrap().said;
        let [Said::Fact { fact: Fact::WorkloadIs(workload), .. }] = &said[..] else { panic!("{said:?}") };
        assert_eq!(workload.template, TemplateHash(0x0916_c5da_d786_56b6));
    }
}

#[test]
fn times_are_read_however_they_are_written() {
    for text in [
        "2024-02-29T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2026-11-20T23:56:13.25Z",
        "2026-11-20T23:56:13+02:00",
        "2016-12-31T23:59:60Z",
        "2023-02-29T00:00:00Z",
        "2026-11-20T23:56:1xZ",
        "soon",
    ] {
        let line = format!(
            r#"{{"type":"ADDED","object":{{"metadata":{{"uid":"u","resourceVersion":"1","creationTimestamp":"{text}"}}}}}}"#
        );
        let said = looking(Resource::Pods).event(Time(2), line.as_bytes()).unwrap().said;
        assert_eq!(pods(&said)[0].created, Time::from_rfc3339(text), "{text}");
    }
}

#[test]
fn where_a_release_takes_values_from_is_read_with_what_the_api_server_would_have_written() {
    let object = r#"{"type":"ADDED","object":{"metadata":{"uid":"u","name":"cart","namespace":"shop","resourceVersion":"5"},
        "spec":{"valuesFrom":[{"kind":"ConfigMap","name":"cart-values"},{"kind":"Secret","name":"login","valuesKey":"password",
        "targetPath":"db.password","optional":true},{"name":"odd"},7]}}}"#;
    let said =
        looking(Resource::Engine(EngineKind::HelmRelease)).event(Time(1), object.as_bytes()).unwrap().said;
    let [Said::Fact { fact: Fact::EngineIs(release), .. }] = &said[..] else { panic!("{said:?}") };
    let Role::Applier(role) = &release.role else { panic!("{release:?}") };
    let from = |kind: &str, name: &str, key: &str, target: Option<&str>| ValuesFrom {
        kind: kind.into(),
        name: name.into(),
        key: key.into(),
        target: target.map(Into::into),
    };
    let login = from("Secret", "login", "password", Some("db.password"));
    assert_eq!(role.values_from, [from("ConfigMap", "cart-values", "values.yaml", None), login]);
}

#[test]
fn an_object_of_an_engine_that_is_too_large_to_be_one_is_left_out_and_proves_nothing_absent() {
    let kind = Resource::Engine(EngineKind::Kustomization);
    let object = |uid: &str, many: usize| {
        let zeros = "0,".repeat(many) + "0";
        format!(
            r#"{{"type":"ADDED","object":{{"metadata":{{"uid":"{uid}","name":"{uid}","namespace":"shop",
            "resourceVersion":"5"}},"spec":{{"path":"./a"}},"status":{{"zeros":[{zeros}]}}}}}}"#
        )
    };
    let mut stream = looking(kind);
    let large = stream.event(Time(1), object("large", 1 << 20).as_bytes()).unwrap();
    assert_eq!(large.said, [dropped("malformed")]);
    let small = stream.event(Time(1), object("small", 1000).as_bytes()).unwrap();
    assert!(matches!(&small.said[..], [Said::Fact { fact: Fact::EngineIs(_), .. }]), "{:?}", small.said);
}
