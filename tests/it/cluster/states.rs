//! The state machine of one stream: bursts, looks, odd objects.

use knotmeter::observation::{Basis, Fact, Interval, Measure, Scope, Subject, Time, UpdateClass};
use knotmeter::observers::cluster::{
    LINE_BYTES_MAX, Line, Lines, Resource, Said, Stream, go_duration_seconds, running_digest,
};

use super::place;

/// A pod in a few words: its name is its UID.
fn pod(name: &str, version: u64, label: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","uid":"{name}","resourceVersion":"{version}","creationTimestamp":"1970-01-01T00:00:01Z","labels":{{"pod-template-hash":"{label}"}}}},"spec":{{"containers":[{{"name":"web","image":"web:1"}}]}},"status":{{}}}}"#
    )
}

fn line(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn bookmark(version: u64, ends: bool) -> String {
    let end = if ends { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
    line(
        "BOOKMARK",
        &format!(r#"{{"metadata":{{"resourceVersion":"{version}"{end}}},"spec":{{"containers":null}}}}"#),
    )
}

/// A stream of pods whose first look was complete at 10 s, with one pod in it.
fn watching() -> Stream {
    let mut stream = Stream::new(Resource::Pods, place());
    stream.begin_look(Time(10_000));
    hear(&mut stream, 10_000, &line("ADDED", &pod("a", 1, "x")));
    hear(&mut stream, 10_000, &bookmark(5, true));
    assert_eq!(stream.resume_from(), Some("5"));
    stream
}

fn hear(stream: &mut Stream, at: i64, line: &str) -> Vec<Said> {
    stream.event(Time(at), line.as_bytes()).unwrap().said
}

/// The intervals and bases of the facts about subjects.
fn changes(said: &[Said]) -> Vec<(i64, i64, Basis)> {
    let change = |said: &Said| match said {
        Said::Fact { fact: Fact::LookCompleted { .. }, .. } | Said::Measure(_) => None,
        Said::Fact { happened, basis, .. } => Some((happened.not_before.0, happened.not_after.0, *basis)),
    };
    said.iter().filter_map(change).collect()
}

fn looks(said: &[Said]) -> Vec<(i64, i64)> {
    let look = |said: &Said| match said {
        Said::Fact { fact: Fact::LookCompleted { started, finished, .. }, .. } => {
            Some((started.0, finished.0))
        }
        _ => None,
    };
    said.iter().filter_map(look).collect()
}

#[test]
fn what_was_there_at_the_first_look_happened_at_an_unknown_time() {
    let mut stream = Stream::new(Resource::Pods, place());
    stream.begin_look(Time(9_000));
    let said = hear(&mut stream, 10_000, &line("ADDED", &pod("a", 1, "x")));
    assert_eq!(changes(&said), [(Time::MIN.0, 10_000, Basis::Backfill)]);
    let said = hear(&mut stream, 10_020, &bookmark(5, true));
    assert_eq!(looks(&said), [(9_000, 10_020)]);
    let Said::Fact { fact: Fact::LookCompleted { scope, interval_seconds, .. }, .. } = &said[0] else {
        panic!("{said:?}")
    };
    assert_eq!(*interval_seconds, 60.0);
    assert_eq!(*scope, Scope::Resource { cluster: "11111111-lab".into(), resource: "pods".into() });
}

#[test]
fn a_change_happened_after_the_message_before_it() {
    let mut stream = watching();
    let said = hear(&mut stream, 12_000, &line("MODIFIED", &pod("a", 6, "y")));
    assert_eq!(changes(&said), [(10_000, 12_000, Basis::Watch)]);
    let said = hear(&mut stream, 13_000, &line("MODIFIED", &pod("a", 7, "z")));
    assert_eq!(changes(&said), [(12_000, 13_000, Basis::Watch)]);
}

#[test]
fn a_hung_stream_that_is_released_gives_all_of_it_the_whole_silence() {
    let mut stream = watching();
    for (at, version) in [(70_000, 6), (70_010, 7), (70_040, 8), (70_090, 9)] {
        let said = hear(&mut stream, at, &line("MODIFIED", &pod("a", version, &version.to_string())));
        assert_eq!(changes(&said), [(10_000, at, Basis::Watch)], "at {at}");
    }
    let said = hear(&mut stream, 70_200, &line("MODIFIED", &pod("a", 10, "later")));
    assert_eq!(changes(&said), [(69_200, 70_200, Basis::Watch)], "it may have been under way for a second");
}

#[test]
fn a_busy_stream_does_not_widen_its_intervals_without_end() {
    let mut stream = watching();
    let mut widest = 0;
    for step in 1..1000 {
        let at = 10_000 + step * 40;
        let said = hear(&mut stream, at, &line("MODIFIED", &pod("a", step as u64 + 5, &at.to_string())));
        let [(not_before, not_after, _)] = changes(&said)[..] else { panic!("{said:?}") };
        widest = widest.max(not_after - not_before);
    }
    assert!(widest <= 1_050, "{widest} ms");
}

#[test]
fn a_message_soon_after_another_may_be_older_than_that_one_came() {
    let mut stream = watching();
    hear(&mut stream, 12_000, &line("MODIFIED", &pod("a", 6, "y")));
    let said = hear(&mut stream, 12_060, &line("MODIFIED", &pod("a", 7, "z")));
    assert_eq!(changes(&said), [(11_060, 12_060, Basis::Watch)]);
}

#[test]
fn what_a_reader_that_is_behind_reads_may_have_waited() {
    let mut stream = watching();
    hear(&mut stream, 12_000, &line("MODIFIED", &pod("a", 6, "y")));
    stream.behind(1_500);
    let said = hear(&mut stream, 12_060, &line("MODIFIED", &pod("a", 7, "z")));
    assert_eq!(changes(&said), [(9_560, 12_060, Basis::Watch)]);
    stream.behind(0);
    let said = hear(&mut stream, 14_000, &line("MODIFIED", &pod("a", 8, "y")));
    assert_eq!(changes(&said), [(12_060, 14_000, Basis::Watch)]);
}

#[test]
fn a_cut_inside_a_burst_leaves_the_rest_of_it_as_old_as_its_start() {
    let mut stream = watching();
    hear(&mut stream, 70_000, &line("MODIFIED", &pod("a", 6, "y")));
    stream.cut(Time(70_010));
    let said = hear(&mut stream, 73_000, &line("MODIFIED", &pod("a", 7, "z")));
    assert_eq!(changes(&said), [(10_000, 73_000, Basis::Watch)]);
}

#[test]
fn a_relist_tells_what_changed_in_the_gap_and_what_is_gone() {
    let mut stream = watching();
    hear(&mut stream, 12_000, &line("ADDED", &pod("b", 6, "x")));
    hear(&mut stream, 12_500, &line("ADDED", &pod("c", 7, "x")));
    stream.cut(Time(30_000));
    stream.begin_look(Time(40_000));
    assert_eq!(stream.resume_from(), None);
    let list = |items: &[String], token: &str| {
        format!(
            r#"{{"metadata":{{"resourceVersion":"90","continue":"{token}"}},"items":[{}]}}"#,
            items.join(",")
        )
    };
    let page =
        stream.page(Time(40_100), list(&[pod("a", 1, "x"), pod("b", 60, "y")], "more").as_bytes()).unwrap();
    assert_eq!(page.next.as_deref(), Some("more"));
    // `a` is as it was, so it is not told again.
    assert_eq!(changes(&page.said), [(12_500, 40_100, Basis::Relist)]);
    let page = stream.page(Time(40_200), list(&[], "").as_bytes()).unwrap();
    assert_eq!(page.next, None);
    let said = stream.listed(Time(40_200), &page.version);
    assert_eq!(changes(&said), [(12_500, 40_200, Basis::Relist)]);
    let gone = Fact::Absent { subject: Subject::Pod { uid: "c".into() } };
    assert!(said.iter().any(|said| matches!(said, Said::Fact { fact, .. } if *fact == gone)), "{said:?}");
    assert_eq!(looks(&said), [(40_000, 40_200)]);
    assert_eq!(stream.resume_from(), Some("90"));
}

#[test]
fn a_look_that_broke_off_removes_nothing() {
    let mut stream = watching();
    stream.begin_look(Time(20_000));
    stream.begin_look(Time(21_000));
    hear(&mut stream, 21_000, &line("ADDED", &pod("a", 1, "x")));
    let said = hear(&mut stream, 21_010, &bookmark(9, true));
    assert_eq!(changes(&said), []);
}

#[test]
fn a_look_with_an_object_that_cannot_be_read_removes_nothing() {
    let mut stream = watching();
    stream.begin_look(Time(20_000));
    let said = hear(&mut stream, 20_000, &line("ADDED", r#"{"metadata":[]}"#));
    assert_eq!(said, [Said::Measure(Measure::Dropped { source: "cluster/lab".into(), reason: "malformed" })]);
    let said = hear(&mut stream, 20_010, &bookmark(9, true));
    assert_eq!((changes(&said), looks(&said).len()), (vec![], 1));
}

#[test]
fn one_broken_object_stops_no_other() {
    let mut stream = watching();
    let broken = pod("broken", 6, "x").replace(r#"[{"name":"web","image":"web:1"}]"#, r#""none""#);
    let said = hear(&mut stream, 12_000, &line("ADDED", &broken));
    let dropped = Said::Measure(Measure::Dropped { source: "cluster/lab".into(), reason: "malformed" });
    assert!(said.contains(&dropped) && changes(&said).is_empty(), "{said:?}");
    assert_eq!(stream.resume_from(), Some("6"));
    assert_eq!(changes(&hear(&mut stream, 13_000, &line("ADDED", &pod("b", 7, "x")))).len(), 1);
    assert!(stream.event(Time(14_000), b"{\"type\":").is_err());
}

#[test]
fn an_empty_object_of_every_kind_is_told_with_zeros() {
    for resource in Resource::all() {
        let mut stream = Stream::new(resource, place());
        stream.begin_look(Time(1));
        let bare = r#"{"metadata":{"uid":"u","resourceVersion":"1"}}"#;
        let nulls = r#"{"metadata":{"uid":"v","name":null,"labels":null,"annotations":null,"ownerReferences":null,"managedFields":null,"creationTimestamp":null,"resourceVersion":"2"},"spec":null,"status":null,"data":null}"#;
        let deep = r#"{"metadata":{"uid":"w","resourceVersion":"3","managedFields":[{"fieldsV1":null}]},"spec":{"replicas":null,"template":{"metadata":null,"spec":{"containers":null,"volumes":null}},"updateStrategy":null},"status":{"conditions":null,"containerStatuses":null,"replicas":null}}"#;
        for object in [bare, nulls, deep] {
            let said = hear(&mut stream, 2, &line("ADDED", object));
            assert!(!said.iter().any(|said| matches!(said, Said::Measure(_))), "{resource}: {said:?}");
        }
    }
}

#[test]
fn a_version_that_was_read_and_a_level_that_did_not_change_are_not_told_again() {
    let mut stream = watching();
    assert_eq!(changes(&hear(&mut stream, 12_000, &line("MODIFIED", &pod("a", 1, "x")))), []);
    let finalized = pod("a", 6, "x").replace(r#""labels""#, r#""finalizers":["keep"],"labels""#);
    let said = hear(&mut stream, 13_000, &line("MODIFIED", &finalized));
    assert_eq!(changes(&said), []);
    let update = Measure::ObjectUpdate { cluster: "lab".into(), kind: "pod", class: UpdateClass::Metadata };
    assert!(said.contains(&Said::Measure(update)), "{said:?}");
}

#[test]
fn an_object_is_not_older_than_its_creation() {
    let mut stream = watching();
    let made = pod("b", 6, "x").replace("00:00:01Z", "00:00:11Z");
    assert_eq!(changes(&hear(&mut stream, 12_000, &line("ADDED", &made))), [(11_000, 12_000, Basis::Watch)]);
    // A clock that runs ahead cannot be right, and narrows nothing.
    let ahead = pod("c", 7, "x").replace("00:00:01Z", "00:00:19Z");
    assert_eq!(changes(&hear(&mut stream, 13_000, &line("ADDED", &ahead))), [(12_000, 13_000, Basis::Watch)]);
}

#[test]
fn a_living_watch_says_so_every_ten_seconds_at_most() {
    let mut stream = watching();
    assert_eq!(looks(&hear(&mut stream, 15_000, &bookmark(6, false))), []);
    assert_eq!(looks(&hear(&mut stream, 20_000, &bookmark(7, false))), [(15_000, 20_000)]);
    assert_eq!(looks(&hear(&mut stream, 29_999, &bookmark(8, false))), []);
    stream.cut(Time(30_000));
    assert_eq!(looks(&hear(&mut stream, 31_000, &bookmark(9, false))).len(), 1, "after a cut at once");
    assert_eq!(stream.resume_from(), Some("9"));
    assert_eq!(looks(&stream.quiet(Time(50_000), Time(60_000))), [(50_000, 60_000)]);
    assert_eq!(
        changes(&hear(&mut stream, 61_000, &line("DELETED", &pod("a", 10, "x")))),
        [(50_000, 61_000, Basis::Watch)]
    );
}

#[test]
fn an_event_of_before_this_process_is_not_counted_again() {
    let event = |version: u64, count: u64| {
        format!(
            r#"{{"metadata":{{"uid":"e","resourceVersion":"{version}"}},"involvedObject":{{"namespace":"shop","name":"web-1"}},"reason":"Pulled","message":"Container image \"web:1\" already present on machine","count":{count},"source":{{"component":"kubelet"}}}}"#
        )
    };
    let lookups = |said: Vec<Said>| said.iter().filter(|s| matches!(s, Said::Measure(_))).count();
    let mut stream = Stream::new(Resource::Events, place());
    stream.begin_look(Time(1));
    assert_eq!(lookups(hear(&mut stream, 2, &line("ADDED", &event(1, 7)))), 0);
    hear(&mut stream, 3, &bookmark(2, true));
    assert_eq!(lookups(hear(&mut stream, 4, &line("MODIFIED", &event(3, 9)))), 2);
    assert_eq!(lookups(hear(&mut stream, 5, &line("MODIFIED", &event(4, 9)))), 0);
    assert_eq!(lookups(hear(&mut stream, 6, &line("MODIFIED", &event(5, u64::MAX)))), 100);
}

#[test]
fn an_image_id_of_every_runtime_gives_its_digest() {
    let hex = "ab".repeat(32);
    for image_id in [
        format!("registry.example/shop/web@sha256:{hex}"),
        format!("docker-pullable://shop/web@sha256:{hex}"),
        format!("docker://sha256:{hex}"),
        format!("sha256:{hex}"),
        hex.clone(),
    ] {
        assert_eq!(running_digest(&image_id).unwrap().to_string(), format!("sha256:{hex}"), "{image_id}");
    }
    assert_eq!(running_digest(""), None);
    assert_eq!(running_digest("registry.example/shop/web:1.0"), None);
}

#[test]
fn durations_are_read_as_go_prints_them() {
    for (text, seconds) in
        [("54ms", 0.054), ("1.197s", 1.197), ("1m2.5s", 62.5), ("1h0m0.25s", 3600.25), ("850µs", 0.00085)]
    {
        assert!((go_duration_seconds(text).unwrap() - seconds).abs() < 1e-9, "{text}");
    }
    for text in ["", "5", "s", "1.2.3s", "1y", "-1s"] {
        assert_eq!(go_duration_seconds(text), None, "{text:?}");
    }
}

#[test]
fn lines_survive_any_cut_and_one_that_is_too_long_is_left_out() {
    let text = "first\nsecond\r\n\nthird\n";
    for size in 1..text.len() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            lines.push(bytes::Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next_line() {
                found.push(line);
            }
        }
        let expected = ["first", "second\r", "third"].map(|line| Line::Whole(line.into()));
        assert_eq!(found, expected, "pieces of {size}");
    }
    let mut lines = Lines::default();
    let mut found = Vec::new();
    let long = vec![b'x'; LINE_BYTES_MAX / 2 + 1];
    for piece in [b"a\n", &long[..], &long[..], &long[..], b"\nb\n"] {
        lines.push(bytes::Bytes::copy_from_slice(piece));
        while let Some(line) = lines.next_line() {
            found.push(line);
        }
    }
    assert_eq!(found, [Line::Whole("a".into()), Line::TooLong, Line::Whole("b".into())]);
}

#[test]
fn an_interval_of_a_look_is_bounded_by_the_look_before() {
    let mut stream = watching();
    stream.begin_look(Time(50_000));
    let said = hear(&mut stream, 50_100, &line("ADDED", &pod("new", 7, "x")));
    let Said::Fact { happened, basis, .. } = &said[0] else { panic!("{said:?}") };
    assert_eq!((*happened, *basis), (Interval::new(Time(10_000), Time(50_100)), Basis::Relist));
}

/// A Deployment with so many replicas, and who holds that number: field manager, subresource and second.
fn scaled(version: u64, replicas: i64, by: (&str, &str, &str)) -> String {
    let (manager, subresource, second) = by;
    format!(
        r#"{{"type":"MODIFIED","object":{{"metadata":{{"name":"web","namespace":"shop","uid":"w","resourceVersion":"{version}","managedFields":[{{"manager":"applier","time":"1970-01-01T00:00:05Z","fieldsV1":{{"f:spec":{{"f:template":{{}}}}}}}},{{"manager":"{manager}"{subresource}{second},"fieldsV1":{{"f:spec":{{"f:replicas":{{}}}}}}}}]}},"spec":{{"replicas":{replicas},"template":{{"spec":{{"containers":[{{"name":"web","image":"web:1"}}]}}}}}}}}}}"#
    )
}

#[test]
fn a_number_of_replicas_says_when_it_was_written_and_whether_an_autoscaler_did() {
    let mut stream = Stream::new(Resource::Deployments, place());
    let scale = r#","subresource":"scale""#;
    let [fifth, ninth] = [5, 9].map(|at| format!(r#","time":"1970-01-01T00:00:0{at}Z""#));
    let mut told = |version, replicas, by| {
        let said = stream.event(Time(20_000), scaled(version, replicas, by).as_bytes()).unwrap().said;
        said.iter().find_map(|said| match said {
            Said::Fact { fact: Fact::WorkloadIs(it), .. } => Some((it.replicas_written, it.autoscaled)),
            _ => None,
        })
    };
    let second = |at| Some(Interval::second(Time(at)));
    assert_eq!(told(1, 1, ("applier", "", &fifth)), Some((second(5_000), false)));
    assert_eq!(told(2, 1, ("applier", "", &ninth)), None, "a time alone is no news");
    assert_eq!(told(3, 2, ("applier", "", &ninth)), Some((second(9_000), false)));
    assert_eq!(told(4, 3, ("kubectl.1.33", scale, "")), Some((None, false)));
    assert_eq!(told(5, 4, ("kube-controller-manager", scale, "")), Some((None, true)));
    assert_eq!(
        told(6, 4, ("applier", "", &ninth)),
        Some((None, false)),
        "nothing was written that it had not"
    );
}
