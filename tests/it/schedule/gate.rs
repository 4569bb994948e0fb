//! The way to one host: what is one refusal, and what is a limit.

use knotmeter::observation::Time;
use knotmeter::observers::schedule::{Gate, Told};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

const NOW: Time = Time(1_772_452_800_000);

#[test]
fn a_burst_of_refusals_is_one_and_teaches_no_limit() {
    let gate = Gate::new(32, false);
    let mut refusal = HeaderMap::new();
    refusal.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    for _ in 0..20 {
        gate.answered(&HeaderMap::new(), Told::Requests, NOW);
    }
    // All that were on their way when the bucket was empty: far more than make a pattern.
    for _ in 0..30 {
        gate.refused(&refusal, Told::Requests, NOW);
    }
    assert!(gate.paused_until().is_some());
    assert_eq!(gate.requests_left(), None, "the host refused once, whatever was on its way");
}

#[test]
fn a_limit_told_in_any_refusal_holds() {
    let gate = Gate::new(32, false);
    let mut refusal = HeaderMap::new();
    refusal.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    gate.refused(&refusal, Told::Requests, NOW);
    refusal.insert("ratelimit-limit", HeaderValue::from_static("50;w=10"));
    refusal.insert("ratelimit-remaining", HeaderValue::from_static("0;w=10"));
    gate.refused(&refusal, Told::Requests, NOW);
    let (now, per_second) = gate.requests_left().expect("it was told");
    assert!(now < 1.0 && (4.0..=5.0).contains(&per_second), "{now} now, {per_second} a second");
}
