//! Who is looked at next, on a virtual clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use knotmeter::observation::LookFailure;
use knotmeter::observers::schedule::{
    COOL_DOWN, HOT_FOR, Outcome, Pace, SweepCost, TOLD_AGAIN_MAX, WHOLE_AFTER, Wanted, Wish, jittered,
    wait_after_failure, wait_after_success, wait_while_hot,
};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{GOOD, Plan, QUIET, URGENT, Want, bad, look, plan, seconds};

const MANY: u32 = 10_000;
const MINUTE: Duration = seconds(60);

fn filled(count: u32, interval: Duration, start: Instant) -> Plan {
    let mut plan = plan(interval);
    for key in 0..count {
        assert!(plan.want(&key, &QUIET, start, || ()));
    }
    plan
}

#[test]
fn looks_are_spread_over_the_interval_and_none_is_left_out() {
    let start = Instant::now();
    let mut plan = filled(MANY, MINUTE, start);
    // All are due at once, and each look takes no time.
    let look_at_all_due =
        |plan: &mut Plan, now: Instant| std::iter::from_fn(|| look(plan, now, GOOD)).count();
    assert_eq!(look_at_all_due(&mut plan, start), MANY as usize);
    let mut looks = Vec::new();
    for second in 1..=240 {
        looks.push(look_at_all_due(&mut plan, start + seconds(second)));
    }
    // From the third interval on: about a sixtieth each second, and everything once a minute.
    let settled = &looks[120..];
    let even = MANY as usize / 60;
    let far = settled.iter().find(|looks| **looks > even * 2 || **looks < even / 2);
    assert_eq!(far, None, "{settled:?}");
    let total: usize = settled.iter().sum();
    assert!((MANY as usize * 19 / 10..=MANY as usize * 21 / 10).contains(&total), "{total}");
}

#[test]
fn many_looks_begin_together_and_a_few_do_not_wait_for_each_other() {
    for (count, least_together) in [(20, 1), (350, 12), (MANY, 20)] {
        let start = Instant::now();
        let mut plan = filled(count, MINUTE, start);
        let (mut looks, mut moments) = (0, 0);
        while let Some(now) = plan.next_due().filter(|due| *due < start + 4 * MINUTE) {
            moments += 1;
            while look(&mut plan, now, GOOD).is_some() {
                looks += 1;
            }
        }
        assert!(looks >= 4 * count && looks <= 5 * count + count / 2, "{looks} looks at {count}");
        assert!(looks >= least_together * moments, "{looks} looks at {count} in {moments} moments");
    }
}

#[test]
fn what_is_not_wanted_is_not_looked_at_and_comes_back_with_its_memory() {
    let start = Instant::now();
    let mut plan = filled(1, MINUTE, start);
    assert_eq!(plan.keep(|_| false, start), [0]);
    assert!(plan.next_due().is_none() && plan.contains(&0));
    assert!(plan.want(&0, &QUIET, start, || panic!("it is still known")), "it is wanted again");
    let (key, _) = plan.take_due(start, false).unwrap();
    assert_eq!(plan.keep(|_| false, start), [0]);
    assert!(plan.keep(|_| false, start).is_empty(), "said once");
    plan.finish(&key, (), GOOD, start);
    assert!(plan.next_due().is_none(), "its look ended after it was let go");
    plan.look_now(&0, start);
    assert!(plan.next_due().is_none(), "nobody asks for what is not wanted");
    plan.keep(|_| false, start + seconds(7200));
    assert!(!plan.contains(&0));
}

#[test]
fn waits_follow_urgency_and_the_kind_of_failure() {
    let quiet = |interval, failure, failures| wait_after_failure(interval, Pace::Quiet, failure, failures);
    assert_eq!(wait_after_success(MINUTE, Pace::Quiet), MINUTE);
    assert_eq!(wait_after_success(MINUTE, Pace::Urgent), seconds(15));
    assert_eq!(wait_after_success(seconds(2), Pace::Urgent), seconds(1));
    assert_eq!(wait_after_success(seconds(1) / 2, Pace::Urgent), seconds(1) / 2);
    for (failure, failures, expected) in [
        (LookFailure::Network, 1, 60),
        (LookFailure::Network, 7, 128),
        (LookFailure::Server, 50, 300),
        (LookFailure::Throttled, 50, 900),
        (LookFailure::Unauthorized, 3, 120),
        (LookFailure::Forbidden, 50, 1200),
        (LookFailure::Missing, 50, 600),
        (LookFailure::Malformed, 50, 1200),
    ] {
        assert_eq!(quiet(MINUTE, failure, failures), seconds(expected), "{failure:?} {failures}");
    }
    for look in 0..1000 {
        let wait = jittered(MINUTE, &"r.example/a", look);
        assert!(wait >= seconds(54) && wait <= seconds(66), "{wait:?}");
        assert_eq!(wait, jittered(MINUTE, &"r.example/a", look), "one seed, one jitter");
    }
}

#[test]
fn what_just_became_urgent_is_hot_for_a_while_unless_its_looks_are_heavy() {
    assert_eq!(wait_while_hot(MINUTE, 1), Duration::from_millis(1500));
    assert_eq!(wait_while_hot(MINUTE, 40), seconds(8));
    assert_eq!(wait_while_hot(MINUTE, u32::MAX), seconds(15), "never seldomer than what is urgent");
    let start = Instant::now();
    let looks_in = |mut plan: Plan, seconds_: std::ops::Range<u64>| {
        let mut looks = 0;
        while let Some(now) = plan.next_due().filter(|due| *due < start + seconds(seconds_.end)) {
            looks += u32::from(now >= start + seconds(seconds_.start));
            look(&mut plan, now, GOOD);
        }
        looks
    };
    let urgent = |mut plan: Plan| {
        plan.want(&0, &URGENT, start, || ());
        plan
    };
    let hot = HOT_FOR.as_secs();
    assert!((80..=100).contains(&looks_in(urgent(plan(MINUTE).with_hot()), 0..hot)));
    assert!((7..=10).contains(&looks_in(urgent(plan(MINUTE)), 0..hot)), "not where it would be a burden");
    assert!((7..=10).contains(&looks_in(urgent(plan(MINUTE).with_hot()), hot + 15..2 * hot + 15)));
}

#[test]
fn hurry_goes_first_and_starves_nobody() {
    let start = Instant::now();
    let mut plan = filled(100, MINUTE, start);
    for key in 100..200 {
        plan.want(&key, &URGENT, start, || ());
    }
    let order: Vec<u32> =
        std::iter::from_fn(|| plan.take_due(start, false).map(|(key, _)| key)).take(40).collect();
    let hurried = order.iter().filter(|key| **key >= 100).count();
    assert_eq!((hurried, order[0] >= 100), (30, true), "three of four: {order:?}");
    let (key, _) = plan.take_due(start, true).unwrap();
    assert!(key >= 100, "where only hurried looks have a place");
}

#[test]
fn each_subject_may_have_an_interval_of_its_own() {
    let start = Instant::now();
    let mut plan = plan(MINUTE);
    plan.want(&0, &Want { interval: Some(seconds(10)), ..QUIET }, start, || ());
    plan.want(&1, &QUIET, start, || ());
    let mut looks: HashMap<u32, u32> = HashMap::new();
    while let Some(now) = plan.next_due().filter(|due| *due < start + seconds(600)) {
        *looks.entry(look(&mut plan, now, GOOD).unwrap()).or_default() += 1;
    }
    assert!((55..=66).contains(&looks[&0]) && (9..=12).contains(&looks[&1]), "{looks:?}");
}

#[test]
fn a_look_that_is_asked_for_comes_now_and_then_once_per_cool_down() {
    let start = Instant::now();
    let mut plan = filled(1, seconds(3600), start);
    look(&mut plan, start, GOOD);
    let asked = start + seconds(1) / 1000;
    plan.look_now(&0, asked);
    plan.look_now(&0, asked);
    assert_eq!(look(&mut plan, asked, GOOD), Some(0), "a poll just before costs no delay");
    assert_eq!(look(&mut plan, asked, GOOD), None, "two wishes, one look");
    // A flood: a thousand wishes in ten seconds.
    let mut looks = 0;
    for at in 0..1000 {
        let now = asked + seconds(1) / 100 * at;
        plan.look_now(&0, now);
        looks += u32::from(look(&mut plan, now, GOOD).is_some());
    }
    assert_eq!(looks, 9);
    let last = asked + seconds(10);
    assert_eq!(look(&mut plan, last, GOOD), Some(0), "the last wish is served, too");
    assert!(plan.next_due().unwrap() > last + seconds(60), "and then it is quiet again");
}

#[test]
fn a_wish_during_a_look_is_another_look() {
    let start = Instant::now();
    let mut plan = filled(1, seconds(3600), start);
    let (key, _) = plan.take_due(start, false).unwrap();
    plan.look_now(&0, start);
    assert_eq!(plan.take_due(start + COOL_DOWN, false).map(|(key, _)| key), None, "never two at once");
    plan.finish(&key, (), GOOD, start + seconds(1));
    assert_eq!(look(&mut plan, start + seconds(1), GOOD), Some(0));
}

#[test]
fn a_wish_waits_after_a_failure_unless_the_subject_was_missing() {
    for (failure, wait) in [
        (LookFailure::Network, 2),
        (LookFailure::Throttled, 15),
        (LookFailure::Unauthorized, 30),
        (LookFailure::Missing, 0),
    ] {
        let start = Instant::now();
        let mut plan = filled(1, MINUTE, start);
        look(&mut plan, start, bad(failure));
        plan.look_now(&0, start);
        assert_eq!(plan.next_due(), Some(start + seconds(wait)), "{failure:?}");
    }
}

/// Looks at the only subject until then, each taking so long: what was wanted, and when it began after the start.
fn looks_until(
    plan: &mut Plan,
    start: Instant,
    end: Duration,
    takes: Duration,
    wish: Option<Wish>,
) -> Vec<(Wanted, Duration)> {
    let mut looks = Vec::new();
    while let Some(now) = plan.next_due().filter(|due| *due < start + end) {
        let (key, due) = plan.take_due(now, false).unwrap();
        looks.push((due.wanted, now - start));
        let wish = wish.filter(|_| due.wanted == Wanted::Tags);
        plan.finish(&key, (), Outcome { wish, ..GOOD }, now + takes);
    }
    looks
}

#[test]
fn what_is_told_too_early_is_asked_for_again_and_then_no_more() {
    let milliseconds = |times: &[u64]| -> Vec<(Wanted, Duration)> {
        let mut looks: Vec<_> = times.iter().map(|at| (Wanted::Tags, Duration::from_millis(*at))).collect();
        looks.push((Wanted::Whole, WHOLE_AFTER));
        looks
    };
    let start = Instant::now();
    for (takes, wish, expected) in [
        (0, Wish::Met, vec![0]),
        (1, Wish::Unmet, vec![0, 25, 75, 175, 375, 775]),
        (60, Wish::Unmet, vec![0, 60, 120, 220, 420, 820]),
        // Not even where each look takes longer than the cool-down.
        (300, Wish::Unmet, vec![0, 300, 600, 900, 1200, 1600]),
    ] {
        let mut plan = filled(1, seconds(3600), start);
        look(&mut plan, start, GOOD);
        plan.ask_now(&0, start);
        let takes = Duration::from_millis(takes);
        let looks = looks_until(&mut plan, start, seconds(30), takes, Some(wish));
        assert_eq!(looks, milliseconds(&expected), "{takes:?}");
    }
    // Who polls something that is there when it is told of asks once.
    let mut plan = filled(1, seconds(3600), start);
    look(&mut plan, start, GOOD);
    plan.look_now(&0, start);
    let looks = looks_until(&mut plan, start, seconds(30), Duration::ZERO, None);
    assert_eq!(looks, [(Wanted::Whole, Duration::ZERO)]);
}

#[test]
fn a_flood_of_told_tags_is_few_looks_in_each_cool_down() {
    for wish in [Wish::Met, Wish::Unmet] {
        let start = Instant::now();
        let mut plan = filled(1, seconds(3600), start);
        look(&mut plan, start, GOOD);
        let mut looks = Vec::new();
        for at in 0..10_000 {
            let now = start + Duration::from_millis(at);
            plan.ask_now(&0, now);
            looks.extend(looks_until(&mut plan, now, Duration::from_nanos(1), Duration::ZERO, Some(wish)));
        }
        let of_tags = looks.iter().filter(|(wanted, _)| *wanted == Wanted::Tags).count();
        let most = 10 * (1 + TOLD_AGAIN_MAX as usize);
        assert!((20..=most).contains(&of_tags), "{of_tags}");
        assert!((4..=5).contains(&(looks.len() - of_tags)), "{} whole ones", looks.len() - of_tags);
    }
}

#[test]
fn a_failure_delays_what_is_told_as_well() {
    let start = Instant::now();
    let mut plan = filled(1, MINUTE, start);
    look(&mut plan, start, GOOD);
    plan.ask_now(&0, start);
    let (key, due) = plan.take_due(start, false).unwrap();
    assert_eq!((due.wanted, due.hurried), (Wanted::Tags, true));
    plan.ask_now(&0, start);
    plan.finish(&key, (), Outcome { wish: Some(Wish::Unmet), ..bad(LookFailure::Throttled) }, start);
    assert_eq!(plan.next_due(), Some(start + seconds(15)));
    // What was told while nothing failed is not given up for an hour because one answer was an error.
    let mut plan = filled(1, seconds(3600), start);
    look(&mut plan, start, GOOD);
    plan.ask_now(&0, start);
    let (key, _) = plan.take_due(start, false).unwrap();
    plan.finish(&key, (), Outcome { wish: Some(Wish::Unmet), ..bad(LookFailure::Network) }, start);
    let (key, due) = plan.take_due(start + WHOLE_AFTER, false).unwrap();
    assert_eq!(due.wanted, Wanted::Whole);
    plan.finish(&key, (), bad(LookFailure::Network), start + WHOLE_AFTER);
    assert!(plan.next_due().unwrap() > start + seconds(3000), "and then as after any failure");
}

#[test]
fn a_crashed_look_begins_anew_after_a_pause() {
    let start = Instant::now();
    let mut plan = filled(1, seconds(1), start);
    let (key, _) = plan.take_due(start, false).unwrap();
    plan.restart(&key, (), start);
    plan.look_now(&0, start);
    plan.ask_now(&0, start);
    assert_eq!(plan.next_due(), Some(start + seconds(60)), "and no wish shortens it");
}

#[test]
fn what_waits_and_what_is_late_is_counted_and_a_sweep_has_its_cost() {
    let start = Instant::now();
    let mut plan = filled(10, MINUTE, start);
    let second = seconds(1);
    assert_eq!(plan.waiting(start, second, 100), (10, 0));
    assert_eq!(plan.waiting(start + 2 * second, second, 100), (10, 10));
    assert_eq!(plan.waiting(start + 2 * second, second, 3), (3, 3), "at most so many");
    for requests in 1..=10 {
        let (key, due) = plan.take_due(start + 2 * second, false).unwrap();
        assert_eq!(due.late, 2 * second);
        plan.finish(&key, (), Outcome { requests, ..GOOD }, start + 3 * second);
    }
    let cost = SweepCost { subjects: 10, requests: 55, busy: 10 * second };
    assert_eq!(plan.sweep_cost(), cost);
    look(&mut plan, start + 100 * MINUTE, bad(LookFailure::Server));
    assert_eq!(plan.sweep_cost(), cost, "a failed look says nothing about the cost");
    plan.keep(|_| false, start);
    plan.keep(|_| false, start + seconds(7200));
    assert_eq!(plan.sweep_cost(), SweepCost::default());
}

#[test]
fn the_projected_sweep_grows_with_the_tags_and_knows_the_registrys_limit() {
    let start = Instant::now();
    let mut plan = filled(350, MINUTE, start);
    assert_eq!(plan.sweep_projected(8, None), None, "nothing is known yet");
    let mut look_at_all = |pages: u32, looks: usize, each: Duration| {
        for _ in 0..looks {
            let now = plan.next_due().unwrap();
            let (key, _) = plan.take_due(now, false).unwrap();
            plan.finish(&key, (), Outcome { requests: pages, ..GOOD }, now + each);
        }
        let projected = |per_second| plan.sweep_projected(8, per_second).unwrap().as_secs_f64();
        [None, Some(20.0)].map(|per_second| (projected(per_second) * 100.0).round() / 100.0)
    };
    let each = seconds(1) / 10;
    assert_eq!(look_at_all(1, 35, each), [4.38, 17.5], "the rest is like the tenth that was looked at");
    assert_eq!(look_at_all(1, 315, each), [4.38, 17.5]);
    assert_eq!(look_at_all(4, 700, 4 * each), [17.5, 70.0], "four times the pages");
}

/// What may happen to a plan.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Begin { hurried_only: bool },
    End { failed: Option<LookFailure> },
    Ask(u32),
    Want { key: u32, urgent: bool },
    LetGo(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let failures =
        [None, Some(LookFailure::Network), Some(LookFailure::Missing), Some(LookFailure::Throttled)];
    prop_oneof![
        (0..90_000u64).prop_map(Step::Pass),
        any::<bool>().prop_map(|hurried_only| Step::Begin { hurried_only }),
        (0..4usize).prop_map(move |at| Step::End { failed: failures[at] }),
        (0..6u32).prop_map(Step::Ask),
        (0..6u32, any::<bool>()).prop_map(|(key, urgent)| Step::Want { key, urgent }),
        (0..6u32).prop_map(Step::LetGo),
    ]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 500, ..Default::default() })]

    /// Whatever happens in whatever order: one look at a subject at a time, only at what is wanted and due, asked
    /// looks a cool-down apart, and everything that is wanted has a next look.
    #[test]
    fn a_plan_keeps_its_promises(steps in proptest::collection::vec(step(), 1..200)) {
        let mut plan = plan(MINUTE).with_hot();
        let mut now = Instant::now();
        let (mut wanted, mut under_way): (HashMap<u32, bool>, Vec<u32>) = (HashMap::new(), Vec::new());
        let (mut asked, mut asked_looks): (HashMap<u32, ()>, HashMap<u32, Instant>) = Default::default();
        for step in steps {
            match step {
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Begin { hurried_only } => {
                    let due = plan.next_due().is_some_and(|due| due <= now);
                    let taken = plan.take_due(now, hurried_only);
                    prop_assert!(hurried_only || taken.is_some() == due);
                    if let Some((key, _)) = taken {
                        prop_assert!(wanted.contains_key(&key), "{key} is not wanted");
                        prop_assert!(!under_way.contains(&key), "{key} twice");
                        prop_assert!(!hurried_only || wanted[&key] || asked.contains_key(&key));
                        under_way.push(key);
                        if asked.remove(&key).is_some() {
                            asked_looks.insert(key, now);
                        }
                    }
                }
                Step::End { failed } => if let Some(key) = under_way.pop() {
                    plan.finish(&key, (), Outcome { failure: failed, ..GOOD }, now);
                },
                Step::Ask(key) => {
                    plan.look_now(&key, now);
                    if wanted.contains_key(&key) {
                        asked.insert(key, ());
                    }
                    if wanted.contains_key(&key) && !under_way.contains(&key) {
                        let soonest = plan.next_due().expect("it is wanted");
                        let cooled = asked_looks.get(&key).map_or(now, |at| *at + COOL_DOWN);
                        // Another may be due sooner; after a failure it may be later.
                        prop_assert!(soonest <= now.max(cooled) + seconds(15));
                    }
                }
                Step::Want { key, urgent } => {
                    let is_new = plan.want(&key, &Want { urgent, ..QUIET }, now, || ());
                    prop_assert_eq!(is_new, wanted.insert(key, urgent).is_none());
                }
                Step::LetGo(key) => {
                    let gone = plan.keep(|one| wanted.contains_key(one) && *one != key, now);
                    prop_assert_eq!(!gone.is_empty(), wanted.remove(&key).is_some());
                }
            }
            let lines = wanted.keys().filter(|key| !under_way.contains(key)).count();
            prop_assert_eq!(plan.next_due().is_some(), lines > 0);
            let latest = now + seconds(100_000);
            prop_assert_eq!(plan.waiting(latest, seconds(0), 100).0, lines, "everything wanted has its look");
        }
    }
}
