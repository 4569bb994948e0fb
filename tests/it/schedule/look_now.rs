//! Asking for a look from outside: known or not, once or a million times.

use std::sync::{Arc, Mutex};

use knotmeter::image::Repository;
use knotmeter::observation::Measure;
use knotmeter::observers::schedule::{Asked, Desk, LookNow, Wanted};

#[test]
fn wishes_about_one_thing_are_one_look_and_invented_names_leave_nothing() {
    let desk: Desk<u32> = Desk::default();
    let tag = |name: &str| name.parse().unwrap();
    assert_eq!(desk.ask(&1, None), Asked::Unknown);
    desk.know(1);
    assert_eq!(desk.ask(&1, Some(&tag("a"))), Asked::Noted);
    for _ in 0..1000 {
        assert_eq!(desk.ask(&1, Some(&tag("b"))), Asked::Coalesced);
        assert_eq!(desk.ask(&2, None), Asked::Unknown);
    }
    assert_eq!(desk.fresh(), [(1, Wanted::Tags)]);
    assert!(desk.fresh().is_empty(), "told once");
    assert_eq!(desk.ask(&1, Some(&tag("a"))), Asked::Coalesced, "its look has not begun");
    assert_eq!(desk.begin(&1, Wanted::Tags), Some([tag("a"), tag("b")].into()));
    assert_eq!(desk.begin(&1, Wanted::Tags), None);
    assert_eq!(desk.ask(&1, None), Asked::Noted, "the look that began may have read too early");
    desk.forget(&1);
    assert_eq!((desk.ask(&1, None), desk.begin(&1, Wanted::Whole)), (Asked::Unknown, None));
}

#[test]
fn a_look_for_tags_serves_nobody_who_wants_all_of_it() {
    let desk: Desk<u32> = Desk::default();
    let tag = "a".parse().unwrap();
    desk.know(1);
    assert_eq!((desk.ask(&1, Some(&tag)), desk.ask(&1, None)), (Asked::Noted, Asked::Noted));
    assert_eq!(desk.begin(&1, Wanted::Tags), Some([tag.clone()].into()));
    assert_eq!(desk.ask(&1, None), Asked::Coalesced);
    assert_eq!(desk.fresh(), [(1, Wanted::Whole)]);
    desk.ask(&1, Some(&tag));
    assert_eq!(desk.begin(&1, Wanted::Whole), Some([tag].into()), "and all of it is the tags, too");
    assert_eq!((desk.begin(&1, Wanted::Whole), desk.fresh()), (None, vec![]));
}

#[test]
fn a_look_that_began_before_the_wish_was_heard_serves_it() {
    let desk: Desk<u32> = Desk::default();
    desk.know(1);
    desk.ask(&1, None);
    assert!(desk.begin(&1, Wanted::Whole).is_some());
    assert!(desk.fresh().is_empty());
}

#[test]
fn tags_of_one_wish_are_bounded() {
    let desk: Desk<u32> = Desk::default();
    desk.know(1);
    for n in 0..10_000 {
        desk.ask(&1, Some(&format!("1.{n}").parse().unwrap()));
    }
    assert_eq!(desk.begin(&1, Wanted::Tags).unwrap().len(), 64);
}

#[test]
fn without_pollers_everything_is_unknown_and_counted() {
    let measures: Arc<Mutex<Vec<Measure>>> = Arc::default();
    let counted = measures.clone();
    let look_now = LookNow::new(move |measure| counted.lock().unwrap().push(measure));
    let repository: Repository = "r.example/shop/web".parse().unwrap();
    assert_eq!(look_now.repository(&repository, None), Asked::Unknown);
    assert_eq!(look_now.branch("https://git.example/a.git", None), Asked::Unknown);
    let expected = ["registry", "git"].map(|kind| Measure::LookAsked { kind, result: "unknown" });
    assert_eq!(*measures.lock().unwrap(), expected);
}
