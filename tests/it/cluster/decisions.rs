//! What recorded exchanges with a real API server make the observer do.

use std::collections::BTreeMap;

use knotmeter::observation::{Fact, LookFailure, Time};
use knotmeter::observers::cluster::{Refusal, Resource, Said, Step, Stream, Verdict};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{at, place, unzipped};

#[derive(Deserialize)]
struct Exchange {
    id: u32,
    label: String,
    sent_at: Time,
    #[serde(default)]
    status: u16,
    body: Option<Box<RawValue>>,
    #[serde(default)]
    events: Vec<Watched>,
}

#[derive(Deserialize)]
struct Watched {
    received_at: Time,
    event: Box<RawValue>,
}

fn exchanges() -> BTreeMap<u32, Exchange> {
    let text = unzipped("15-watch-behaviours", "exchanges.jsonl.gz");
    text.lines().map(|line| serde_json::from_str::<Exchange>(line).unwrap()).map(|e| (e.id, e)).collect()
}

impl Exchange {
    /// The refusal in the answer, wherever it stands.
    fn refusal(&self) -> Refusal {
        if let Some(body) = &self.body {
            return Refusal::of_answer(self.status, body.get().as_bytes());
        }
        let event = self.events[0].event.get();
        if self.status != 200 {
            return Refusal::of_answer(self.status, event.as_bytes());
        }
        let heard = Stream::new(Resource::Pods, place()).event(self.events[0].received_at, event.as_bytes());
        heard.unwrap().refusal.unwrap_or_else(|| panic!("{}: no refusal", self.label))
    }
}

#[test]
fn each_recorded_refusal_has_its_consequence() {
    use LookFailure::{Forbidden, Malformed, Missing, Server};
    let exchanges = exchanges();
    for (id, step, expected) in [
        (7, Step::PagedList, Verdict::Again(Malformed)), // a broken continue token, 400
        (12, Step::StreamingList, Verdict::FallBack),    // 422
        (14, Step::Watch, Verdict::Relist),              // ERROR event 410 in a 200
        (15, Step::Watch, Verdict::Relist),              // a version that is no number, 500
        (17, Step::PagedList, Verdict::Again(Server)),   // a version of the future, 504
        (19, Step::PagedList, Verdict::Rest(Missing)),   // 404
        (20, Step::PagedList, Verdict::Rest(Forbidden)), // 403 on a list
        (21, Step::Watch, Verdict::Rest(Forbidden)),     // 403 on a watch
        (26, Step::Watch, Verdict::Relist),              // after a restart of the API server
        (28, Step::Watch, Verdict::Relist),              // after compaction
        (29, Step::PagedList, Verdict::Relist),          // 410 on a page, with a token for the rest
    ] {
        let refusal = exchanges[&id].refusal();
        assert_eq!(refusal.verdict(step), expected, "{}: {refusal:?}", exchanges[&id].label);
    }
    assert_eq!(exchanges[&17].refusal().retry_after_seconds, Some(1));
    let old_store =
        r#"{"kind":"Status","code":500,"reason":"InternalError","message":"a storage feature is disabled"}"#;
    assert_eq!(Refusal::of_event(old_store).verdict(Step::StreamingList), Verdict::FallBack);
    let busy = Refusal::of_answer(503, b"upstream is starting");
    assert_eq!(busy.verdict(Step::StreamingList), Verdict::Again(Server));
    assert_eq!(Refusal::of_answer(401, b"").verdict(Step::Watch), Verdict::Rest(LookFailure::Unauthorized));
    assert_eq!(
        Refusal::of_answer(429, b"").verdict(Step::StreamingList),
        Verdict::Again(LookFailure::Throttled)
    );
}

#[test]
fn the_recorded_pages_are_one_look() {
    let exchanges = exchanges();
    let mut stream = Stream::new(Resource::Pods, place());
    stream.begin_look(exchanges[&3].sent_at);
    let mut pods = 0;
    let mut tokens = Vec::new();
    let mut version = String::new();
    for id in [3, 4, 5] {
        let body = exchanges[&id].body.as_ref().unwrap();
        let page = stream.page(exchanges[&id].sent_at, body.get().as_bytes()).unwrap();
        pods += page.said.iter().filter(|said| is_pod(said)).count();
        tokens.push(page.next.is_some());
        version = page.version;
    }
    assert_eq!((pods, tokens), (5, vec![true, true, false]));
    let said = stream.listed(exchanges[&5].sent_at, &version);
    assert!(matches!(said[..], [Said::Fact { fact: Fact::LookCompleted { .. }, .. }]), "{said:?}");
    assert_eq!(stream.resume_from(), Some("13857"));
}

#[test]
fn a_recorded_streaming_list_ends_at_its_bookmark_and_goes_on_as_a_watch() {
    let exchange = &exchanges()[&8];
    let mut stream = Stream::new(Resource::Pods, place());
    stream.begin_look(exchange.sent_at);
    let mut listed_after = None;
    for (index, watched) in exchange.events.iter().enumerate() {
        let heard = stream.event(watched.received_at, watched.event.get().as_bytes()).unwrap();
        if heard.listed {
            assert_eq!(listed_after.replace(index), None, "it ends once");
        }
        assert_eq!(stream.resume_from().is_some(), listed_after.is_some(), "line {index}");
    }
    assert_eq!(listed_after, Some(5), "five pods, then the bookmark");
}

#[test]
fn a_watch_with_a_selector_tells_what_no_longer_matches_as_gone() {
    let exchange = &exchanges()[&10];
    let mut stream = Stream::new(Resource::Pods, place());
    stream.begin_look(exchange.sent_at);
    stream.listed(exchange.sent_at, "13857");
    let mut told = Vec::new();
    for watched in &exchange.events {
        for said in stream.event(watched.received_at, watched.event.get().as_bytes()).unwrap().said {
            match said {
                Said::Fact { fact: Fact::PodIs(_), .. } => told.push("is"),
                Said::Fact { fact: Fact::Absent { .. }, .. } => told.push("absent"),
                _ => {}
            }
        }
    }
    assert_eq!((told.first(), told.last()), (Some(&"is"), Some(&"absent")), "{told:?}");
}

#[test]
fn bookmarks_of_a_busy_watch_move_the_version_to_resume_from() {
    let exchange = &exchanges()[&2];
    let mut stream = Stream::new(Resource::Pods, place());
    stream.begin_look(at("2026-11-21T00:02:00Z"));
    stream.listed(at("2026-11-21T00:02:00Z"), "13857");
    for watched in &exchange.events {
        stream.event(watched.received_at, watched.event.get().as_bytes()).unwrap();
        let version = stream.resume_from().unwrap();
        assert!(watched.event.get().contains(&format!(r#""resourceVersion":"{version}""#)));
    }
    assert!(exchange.events.iter().any(|watched| watched.event.get().contains("BOOKMARK")));
}

fn is_pod(said: &Said) -> bool {
    matches!(said, Said::Fact { fact: Fact::PodIs(_), .. })
}
