//! A journey as a bar: one segment per stage, a whisker per stage for how well its time is known.

use maud::{Markup, html};

use crate::http::words;
use crate::observation::Time;
use crate::tracker::{Evidence, Journey, Stage};

/// Below this nothing can be told apart, and a width of zero would divide by itself.
const SPAN_MILLIS_MIN: f64 = 1.0;
/// A segment narrower than this would vanish although its stage took place.
const SEGMENT_PERCENT_MIN: f64 = 0.35;

/// Share of the journey by which a whisker may widen the bar's scale.
const WHISKER_ROOM: f64 = 0.2;

/// The time that a bar covers.
struct Scale {
    from: f64,
    millis: f64,
}

/// A known stage on the bar.
struct Mark {
    stage: Stage,
    evidence: Evidence,
    at: f64,
    /// Milliseconds since the mark before it.
    after: f64,
}

/// The bar with its whiskers. An open journey ends in a hatched part: what it has waited so far.
pub fn bar(journey: &Journey, now: Time) -> Markup {
    let marks = marks(journey);
    let end = journey.ended.map_or(now, words::middle);
    let scale = scale(journey, &marks, end);
    let waiting = journey.is_open().then(|| marks.last().map_or(scale.from, |mark| mark.at));
    html! {
        svg.bar role="img" aria-label=(description(&marks)) height="34" width="100%" {
            rect.track x="0" y="5" width="100%" height="12" rx="2" {}
            @for mark in marks.iter().skip(1) {
                (segment(mark, &scale))
            }
            @if let Some(since) = waiting {
                (wait(journey, &scale, since, end))
            }
            @for (number, mark) in marks.iter().enumerate() {
                (whisker(mark, &scale, number))
            }
        }
    }
}

/// The hatchings that bars refer to, once per page: an id must not occur twice.
pub fn patterns() -> Markup {
    html! {
        svg.patterns width="0" height="0" aria-hidden="true" {
            @for state in ["under_way", "stuck", "held", "blind"] {
                pattern id={ "hatch-" (state) } width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.hatched.(state) width="3" height="6" {}
                }
            }
        }
    }
}

/// The same in words: a dot per stage with its duration, readable where the bar is too narrow.
pub fn legend(journey: &Journey, now: Time) -> Markup {
    let marks = marks(journey);
    html! {
        ol.legend {
            @for (number, mark) in marks.iter().enumerate() {
                li title=(tooltip(mark)) {
                    i.dot.(mark.stage.as_str()) {}
                    b { (mark.stage.as_str()) }
                    @if number == 0 {
                        " " time { (words::clock(words::middle(mark.evidence.interval), now)) }
                    } @else {
                        " +" (words::duration(mark.after / 1000.0))
                    }
                    " " small { (words::plus_minus(mark.evidence.interval.half_width_seconds())) }
                }
            }
        }
    }
}

fn marks(journey: &Journey) -> Vec<Mark> {
    let mut marks: Vec<Mark> = vec![];
    for stage in Stage::ALL {
        // An image may have been built a year ago: that would leave no room for the journey.
        if stage == Stage::Built {
            continue;
        }
        let Some(evidence) = journey.stages.evidence(stage) else { continue };
        let at = words::middle(evidence.interval).0 as f64;
        let after = marks.last().map_or(0.0, |before| at - before.at).max(0.0);
        marks.push(Mark { stage, evidence, at, after });
    }
    marks
}

/// From the first middle to the last, with room for the whiskers at both ends where they are not too long.
fn scale(journey: &Journey, marks: &[Mark], end: Time) -> Scale {
    let first = marks.iter().map(|mark| mark.at).fold(words::middle(journey.opened).0 as f64, f64::min);
    let last = marks.iter().map(|mark| mark.at).fold(end.0 as f64, f64::max);
    let room = (last - first) * WHISKER_ROOM;
    let bounded = || marks.iter().map(|mark| mark.evidence.interval).filter(|interval| interval.is_bounded());
    let from = bounded().map(|interval| interval.not_before.0 as f64).fold(first, f64::min).max(first - room);
    let to = bounded().map(|interval| interval.not_after.0 as f64).fold(last, f64::max).min(last + room);
    Scale { from, millis: (to - from).max(SPAN_MILLIS_MIN) }
}

impl Scale {
    /// Where an instant is, in percent of the width.
    fn percent(&self, at: f64) -> f64 {
        ((at - self.from) / self.millis * 100.0).clamp(0.0, 100.0)
    }
}

fn segment(mark: &Mark, scale: &Scale) -> Markup {
    let end = scale.percent(mark.at);
    let start = scale.percent(mark.at - mark.after);
    let width = (end - start).max(SEGMENT_PERCENT_MIN);
    html! {
        rect.(mark.stage.as_str()) x=(percent(end - width)) y="5" width=(percent(width)) height="12" {
            title { (tooltip(mark)) }
        }
    }
}

fn wait(journey: &Journey, scale: &Scale, since: f64, end: Time) -> Markup {
    let start = scale.percent(since);
    let state = crate::http::why::state(journey);
    let waits = words::duration((end.0 as f64 - since) / 1000.0);
    html! {
        rect x=(percent(start)) y="5" width=(percent(100.0 - start)) height="12" fill={ "url(#hatch-" (state) ")" } {
            title { "has waited for " (words::waits_for(journey)) " for " (waits) }
        }
    }
}

/// From not before to not after, with a tick at the middle. Two lanes keep neighbours apart.
fn whisker(mark: &Mark, scale: &Scale, number: usize) -> Markup {
    let interval = mark.evidence.interval;
    let bounded = interval.is_bounded();
    let start = if bounded { scale.percent(interval.not_before.0 as f64) } else { 0.0 };
    let end = scale.percent(interval.not_after.0 as f64);
    let lane = 22 + 6 * (number % 2);
    let middle = percent(scale.percent(mark.at));
    html! {
        g.whisker.(mark.stage.as_str()).open[!bounded] {
            title { (tooltip(mark)) }
            line x1=(percent(start)) x2=(percent(end)) y1=(lane) y2=(lane) {}
            @if bounded { line x1=(percent(start)) x2=(percent(start)) y1=(lane - 3) y2=(lane + 3) {} }
            line x1=(percent(end)) x2=(percent(end)) y1=(lane - 3) y2=(lane + 3) {}
            circle cx=(middle) cy=(lane) r="1.8" {}
        }
    }
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

fn tooltip(mark: &Mark) -> String {
    let (stage, basis) = (mark.stage.as_str(), mark.evidence.basis.as_str());
    let interval = mark.evidence.interval;
    let after = words::duration(mark.after / 1000.0);
    let error = words::plus_minus(interval.half_width_seconds());
    format!(
        "{stage}: +{after} ({error}), between {} and {}, by {basis}",
        interval.not_before, interval.not_after
    )
}

fn description(marks: &[Mark]) -> String {
    let stages: Vec<String> = marks
        .iter()
        .map(|mark| format!("{} after {}", mark.stage.as_str(), words::duration(mark.after / 1000.0)))
        .collect();
    if stages.is_empty() { "no stage is known".to_owned() } else { stages.join(", ") }
}
