//! Every parser of outside text, fed with what nobody should send.
//!
//! `parsers` names each parser with texts that it should meet; `mutator` breaks them, the same way for the same seed;
//! `guard` runs them in a process of their own, so that a panic, a hang or a huge allocation is told with its
//! input. `promises` and `kept` say what must hold for texts that are right. A new parser is an entry in `parsers` and a property.
//!
//! `KNOTMETER_SEED=N` repeats one input of each parser, `KNOTMETER_MUTATIONS=N` makes N of each instead of some hundreds.
//! `fuzz/` feeds the same parsers with what libFuzzer thinks of.

mod guard;
mod kept;
mod mutator;
mod parsers;
mod promises;

use std::time::{Duration, Instant};

use guard::{hold, verdict};
use parsers::Parser;

#[test]
fn images_and_times() {
    hold("hostile::images_and_times", parsers::words::all);
}

#[test]
fn registries() {
    hold("hostile::registries", parsers::registry::all);
}

#[test]
fn git() {
    hold("hostile::git", parsers::git::all);
}

#[test]
fn clusters() {
    hold("hostile::clusters", parsers::cluster::all);
}

#[test]
fn answers() {
    hold("hostile::answers", parsers::answers::all);
}

#[test]
fn questions() {
    hold("hostile::questions", parsers::questions::all);
}

#[test]
fn settings() {
    hold("hostile::settings", parsers::settings::all);
}

#[test]
fn hooks() {
    hold("hostile::hooks", parsers::hooks::all);
}

#[test]
fn scrapes() {
    hold("hostile::scrapes", parsers::scrape::all);
}

#[test]
fn journals() {
    hold("hostile::journals", parsers::journal::all);
}

/// What the guard says of a parser that does this with every input.
fn found(test: &str, parsers: fn() -> Vec<Parser>) -> String {
    verdict(test, parsers, 1.0).expect_err("a bad parser was not found")
}

#[test]
fn a_panic_is_found() {
    let panics = || vec![Parser::new("panics", 100, ["a"], |text| assert_eq!(text, b"a", "not what I know"))];
    let told = found("hostile::a_panic_is_found", panics);
    assert!(told.contains("panics with KNOTMETER_SEED=") && told.contains("not what I know"), "{told}");
}

#[test]
fn an_endless_loop_is_found() {
    let loops = || {
        vec![Parser::new("loops", 100, ["a"], |text| {
            loop {
                if std::hint::black_box(text) == b"a" {
                    break;
                }
            }
        })]
    };
    let told = found("hostile::an_endless_loop_is_found", loops);
    assert!(told.contains("the last was loops") && told.contains("processor time"), "{told}");
}

#[test]
fn what_takes_too_long_and_ends_is_found() {
    let takes_long = || {
        vec![Parser::new("dawdles", 100, ["a"], |text| {
            let end = Instant::now() + Duration::from_millis(60);
            while text != b"a" && Instant::now() < end {
                std::hint::black_box(text);
            }
        })]
    };
    let test = "hostile::what_takes_too_long_and_ends_is_found";
    let told = verdict(test, takes_long, 0.01).expect_err("a slow parser was not found");
    assert!(told.contains("dawdles") && told.contains("s of processor time"), "{told}");
}

#[test]
fn a_huge_allocation_is_found() {
    let takes =
        || vec![Parser::new("takes", 100, ["a"], |text| drop(vec![1u8; text.len().abs_diff(1) << 22]))];
    let told = found("hostile::a_huge_allocation_is_found", takes);
    assert!(told.contains("the last was takes") && told.contains("memory allocation of"), "{told}");
}
