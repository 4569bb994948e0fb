//! The first page.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::timeline;
use crate::exporters::Snapshot;
use crate::http::{why, words};
use crate::observation::Time;
use crate::tracker::{DestinationStatus, Journey, Outcome, SourceStatus};

/// Rows of each list: the page is for eyes, the API has the rest.
const LISTED_MAX: usize = 40;

/// Everything below the head.
pub fn body(snapshot: &Snapshot) -> Markup {
    let open = || snapshot.journeys().rev().filter(|journey| journey.is_open());
    let stuck: Vec<&Journey> = open().filter(|journey| journey.stuck.is_some()).collect();
    let waiting = |journey: &&Journey| journey.held.is_some() || journey.blind.is_some();
    let moving: Vec<&Journey> =
        open().filter(|journey| journey.stuck.is_none() && !waiting(journey)).collect();
    let waiting: Vec<&Journey> =
        open().filter(|journey| journey.stuck.is_none() && waiting(journey)).collect();
    let ended: Vec<&Journey> = snapshot.journeys().rev().filter(|journey| !journey.is_open()).collect();
    html! {
        header {
            h1 { (knot()) "Knotmeter" }
            p.tagline { "from push to live" }
            p.now { (words::clock(snapshot.at, snapshot.at)) " UTC" }
        }
        (figures(stuck.len(), waiting.len(), moving.len(), &ended))
        main {
            @if !stuck.is_empty() { (list(snapshot, "Stuck", &stuck, "stuck")) }
            @if !waiting.is_empty() { (list(snapshot, "Held or out of sight", &waiting, "")) }
            @if !moving.is_empty() { (list(snapshot, "Under way", &moving, "")) }
            (environments(snapshot))
            @if !ended.is_empty() { (list(snapshot, "Ended lately", &ended, "")) }
            @if snapshot.journeys.is_empty() {
                p.quiet { "No journey yet. Push an image, or change one on the deploy branch, and watch." }
            }
            (sources(&snapshot.sources, snapshot.at))
        }
    }
}

/// The numbers that tell whether there is anything to read below.
fn figures(stuck: usize, waiting: usize, moving: usize, ended: &[&Journey]) -> Markup {
    let live = |journey: &&Journey| journey.outcome == Some(Outcome::Live);
    let mut times: Vec<f64> = ended
        .iter()
        .copied()
        .filter(live)
        .filter_map(|journey| journey.image_to_live())
        .filter(|sample| sample.is_certain())
        .map(|sample| sample.seconds)
        .collect();
    times.sort_by(f64::total_cmp);
    let arrived = ended.iter().copied().filter(live).count();
    html! {
        dl.figures {
            div.alarm[stuck > 0] { dt { "stuck" } dd { (stuck) } }
            div { dt { "waiting" } dd { (waiting) } }
            div { dt { "under way" } dd { (moving) } }
            div { dt { "arrived lately" } dd { (arrived) } }
            div { dt { "push to live, median" } dd {
                @match times.get(times.len() / 2) {
                    Some(median) => (words::duration(*median)),
                    None => span.none { "–" },
                }
            } }
        }
    }
}

fn list(snapshot: &Snapshot, title: &str, journeys: &[&Journey], class: &str) -> Markup {
    html! {
        section.(class) {
            h2 { (title) " " span.count { (journeys.len()) } }
            @for journey in journeys.iter().take(LISTED_MAX) {
                (card(snapshot, journey))
            }
            @if journeys.len() > LISTED_MAX {
                p.quiet { "and " (journeys.len() - LISTED_MAX) " more: " a href="api/v1/journeys" { "all of them" } }
            }
        }
    }
}

fn card(snapshot: &Snapshot, journey: &Journey) -> Markup {
    let state = why::state(journey);
    let to = &journey.destination;
    let took = journey.image_to_live().or(journey.change_to_live());
    html! {
        article.(state) {
            h3 {
                a href={ "journeys/" (journey.id) } { (words::subject(journey)) }
                span.to { " → " b { (to.environment) } " " (to.workload.kind.as_str()) "/" (to.workload.name) }
                span.chip.(state) { (chip(state)) }
                @if journey.synthetic { span.chip { "smoketest" } }
                span.took {
                    @match took {
                        Some(sample) => { b { (words::duration(sample.seconds)) } " " small { (words::plus_minus(sample.uncertainty_seconds)) } }
                        None if journey.is_open() => { (words::duration(snapshot.at.seconds_since(words::middle(journey.opened)))) }
                        None => {}
                    }
                }
            }
            @if journey.is_open() { p.why { (explanation(snapshot, journey)) } }
            @if let Some(commit) = &journey.commit {
                p.by { code { (words::short(&commit.id)) } " " (commit.subject) ", " (words::author(&commit.author)) }
            }
            (timeline::bar(journey, snapshot.at))
            (timeline::legend(journey, snapshot.at))
        }
    }
}

/// The sentence without the words that the card's title has said already.
fn explanation(snapshot: &Snapshot, journey: &Journey) -> Markup {
    let waits = words::duration(snapshot.at.seconds_since(words::waits_since(journey)));
    let stage = words::waits_for(journey);
    html! {
        @if let Some(stuck) = journey.stuck {
            "has waited for " b { (stuck.stage.as_str()) } " for " (waits) (words::stuck(journey, stuck, snapshot.at))
        } @else if let Some(source) = &journey.blind {
            b { (source) } " is not fresh: nothing can be said until it is"
        } @else if let Some(held) = journey.held {
            (journey.hold_sentence(held.hold)) (words::who(journey)) ", since " (words::clock(held.since, snapshot.at))
            @if let Some(until) = held.until { " until " (words::clock(until, snapshot.at)) }
        } @else {
            "waits for " b { (stage) } " for " (waits)
            @if let Some(next) = words::next(journey, snapshot.at) { "; " (next) }
        }
    }
}

fn chip(state: &'static str) -> String {
    state.replace('_', " ")
}

/// Apps down, environments across: what is live where, since when.
fn environments(snapshot: &Snapshot) -> Markup {
    let mut columns: Vec<&str> = vec![];
    let mut apps: BTreeMap<&str, Vec<&DestinationStatus>> = BTreeMap::new();
    for status in &snapshot.destinations {
        let environment = &*status.destination.environment;
        if !columns.contains(&environment) {
            columns.push(environment);
        }
        apps.entry(&status.destination.app).or_default().push(status);
    }
    html! {
        @if !apps.is_empty() {
            section {
                h2 { "Live" }
                div.scroll { table.live {
                    thead { tr { th {} @for column in &columns { th { (column) } } } }
                    tbody {
                        @for (app, everywhere) in apps.iter().take(LISTED_MAX) {
                            tr {
                                th { (app) }
                                @for column in &columns {
                                    td {
                                        @for status in everywhere.iter().filter(|status| *status.destination.environment == **column) {
                                            (cell(status, snapshot))
                                        }
                                    }
                                }
                            }
                        }
                    }
                } }
                @if apps.len() > LISTED_MAX { p.quiet { "and " (apps.len() - LISTED_MAX) " more apps" } }
            }
        }
    }
}

fn cell(status: &DestinationStatus, snapshot: &Snapshot) -> Markup {
    let place = status.destination.to_string();
    html! {
        div.cell title=(place) {
            @match &status.live {
                Some((image, digest, since)) => {
                    b.tag { (image.tag.as_ref().map_or_else(
                        || digest.as_ref().map_or_else(|| "untagged".to_owned(), |digest| digest.short()),
                        ToString::to_string,
                    )) }
                    @if since.is_known() {
                        small { (words::duration(snapshot.at.seconds_since(*since))) }
                    }
                }
                None => span.none { "not seen live" },
            }
            @if status.behind_seconds > 0.0 {
                span.chip.behind { (words::duration(status.behind_seconds)) " behind" }
            }
            @if status.mixed_digests { span.chip.stuck { "mixed digests" } }
            @if status.config_not_rolled.is_some() {
                span.chip.behind title=(words::CONFIG_NOT_ROLLED) { "config not rolled" }
            }
            @if let Some(hold) = status.hold {
                span.chip.held title=(words::hold(hold)) { (words::label(hold)) }
            }
        }
    }
}

fn sources(sources: &[SourceStatus], now: Time) -> Markup {
    html! {
        section {
            h2 { "Sources" }
            @if sources.is_empty() { p.quiet { "None has been looked at yet." } }
            ul.sources {
                @for source in sources {
                    li {
                        i.lamp.up[source.up].down[!source.up] {}
                        b { (source.source) }
                        span.seen {
                            @match source.last_look {
                                Some(at) => { "seen whole " (words::duration(now.seconds_since(at))) " ago" }
                                None => "never seen whole",
                            }
                            @if source.interval_seconds > 0.0 { ", every " (words::duration(source.interval_seconds)) }
                            ", " (source.fresh) " of " (source.scopes) " fresh"
                        }
                        @for (scope, failure, message) in &source.failing {
                            p.failing { b { (scope) } " " span.chip { (failure) } " " (message) }
                        }
                    }
                }
            }
        }
    }
}

/// A figure-eight knot.
fn knot() -> Markup {
    html! {
        svg.knot viewBox="0 0 32 20" width="32" height="20" aria-hidden="true" {
            path d="M1 10 C6 10 7 3 12 3 C18 3 17 17 22 17 C29 17 29 6 23 4 C17 2 15 17 9 16 C4 15 4 5 9 5" {}
        }
    }
}
