//! `docs/reasons.md`: the tracker's words beside the faults of the demo that bring them. Neither may lack the other.

mod healthy;
mod lanes;
mod proof;

use std::collections::BTreeSet;

use knotmeter::cli::faults::{Says, says};
use knotmeter::demo::{Engine, Fault};
use knotmeter::tracker::{HOLDS, HoldRow, Outcome, REASONS, Row, Stage, Trigger};

use crate::exports::files::check_page;

/// The faults that are told in these words, with the engine where only one of them tells it so.
fn faults(wanted: Says) -> Vec<String> {
    let told = |fault: Fault| {
        let with = |engine: Engine| (says(fault, engine) == Some(wanted)).then_some(engine);
        match (with(Engine::Plain), with(Engine::Flux)) {
            (None, None) => None,
            (Some(_), Some(_)) => Some(format!("`{fault}`")),
            (plain, flux) => plain.or(flux).map(|engine| format!("`{fault}` ({engine})")),
        }
    };
    Fault::ALL.into_iter().filter_map(told).collect()
}

fn cell(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn command(template: Option<&str>) -> String {
    template.map_or_else(|| "-".to_owned(), |template| format!("`{template}`"))
}

fn stages(stages: &[Stage]) -> String {
    stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let mut page = String::from(
        "# Reasons, holds, outcomes, triggers\n\n\
         Written from the tracker's tables and the demo's faults; do not edit. To write it again:\n\
         `UPDATE_DOCS=1 cargo test --test it page_is_what`.\n\n\
         In a command, `{object}` is who keeps it as `why` names it (a pod, an object of the engine), or else the\n\
         workload. A fault is one of `knotmeter demo --fault NAME`; with `(plain)` or `(flux)` it is told so only where\n\
         that is the engine.\n\n\
         ## Why a journey is stuck\n\n\
         Label `reason` of `knotmeter_journey_stuck`, and `reason` in the API.\n\n\
         | reason | waits for | what it means, and where to look | read from | who can move it | next command | fault |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in &REASONS {
        page.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} | {} |\n",
            row.word,
            stages(row.stages),
            what(row),
            row.evidence,
            row.mover,
            command(row.command),
            cell(&faults(Says::Stuck(row.reason))),
        ));
    }
    page.push_str(
        "\n## Why a journey is held\n\n\
         Label `hold` of `knotmeter_journey_held`, and `reason` in the API. Held is not late: the time counts in no duration\n\
         and in no budget.\n\n\
         | hold | what it means, and how it goes on | read from | who can move it | next command | fault |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in &HOLDS {
        page.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} |\n",
            row.word,
            meaning(row),
            row.evidence,
            row.mover,
            command(row.command),
            cell(&faults(Says::Held(row.hold))),
        ));
    }
    page.push_str(
        "\n## What is told, and is neither\n\n\
         | what | words | fault |\n|---|---|---|\n",
    );
    for (what, says) in [
        ("`image_mismatch{kind=\"config_not_rolled\"}`, and `why`", Says::NotRolled),
        ("`why` of the tag; no journey begins", Says::NotSelected),
        ("`knotmeter_journey_blind`, `knotmeter_source_up`, and `why`", Says::Blind("registry")),
        ("`knotmeter_journey_blind`, `knotmeter_source_up`, and `why`", Says::Blind("git host")),
        ("nothing", Says::Arrives),
    ] {
        page.push_str(&format!("| {what} | {} | {} |\n", says.sentence(), cell(&faults(says))));
    }
    let words =
        |words: Vec<&str>| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    page.push_str("\n## How a journey ends\n\nLabel `outcome` of `knotmeter_journeys_total`: ");
    page.push_str(&words(Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect()));
    page.push_str(".\n\n## What caused a journey\n\nLabel `trigger`, in this precedence: ");
    page.push_str(&words(Trigger::ALL.iter().map(|trigger| trigger.as_str()).collect()));
    page.push_str(".\n");
    page
}

/// Its sentence, and what it is where an object of certain kinds says so.
fn what(row: &Row) -> String {
    let others = row.of_kinds.iter().map(|(kinds, sentence)| {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        format!("; of {}: {sentence}", kinds.join(", "))
    });
    row.sentence.to_owned() + &others.collect::<String>()
}

/// Its sentence, and what it is where an object of the engine holds it.
fn meaning(row: &HoldRow) -> String {
    let of_engine = row
        .of_engine
        .map(|text| format!("; of an object of Flux: {text}, or `flux resume KIND NAME -n NAMESPACE`"));
    row.sentence.to_owned() + &of_engine.unwrap_or_default()
}

#[test]
fn the_reasons_page_is_what_the_tables_say() {
    check_page("docs/reasons.md", &page());
}

#[test]
fn every_reason_has_a_fault_and_every_fault_is_on_the_page() {
    for row in &REASONS {
        assert!(!faults(Says::Stuck(row.reason)).is_empty(), "no fault of the demo brings {}", row.word);
    }
    let page = page();
    let named = |fault: &Fault| page.contains(&format!("`{fault}`"));
    let silent: BTreeSet<String> =
        Fault::ALL.iter().filter(|fault| !named(fault)).map(ToString::to_string).collect();
    assert!(silent.is_empty(), "nobody says what comes of {silent:?}");
}
