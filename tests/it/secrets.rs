//! No secret in anything that anybody can read. `tests/secrets` holds every secret of the tests, one a line, each followed
//! by what base64 makes of it at the three places that it may have in a longer text.
//!
//! Whatever a started program says and whatever it answers goes through [`clean`], and `tests/run` looks for the same
//! lines in all that the suite printed. A new secret of a test is four lines there.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The lines of the file. Nobody writes them into a message by chance.
static MARKS: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("../secrets").lines().collect());

/// Fails the test where a secret is in a text.
#[track_caller]
pub fn clean(what: &str, text: &str) {
    if let Some(line) = showing(text) {
        panic!("{what} shows a secret: {line:?}");
    }
}

/// The first line that shows one.
fn showing(text: &str) -> Option<&str> {
    text.lines().find(|line| MARKS.iter().any(|mark| line.contains(*mark)))
}

/// A secret, and what is sure of its base64 behind 0, 1 or 2 other bytes.
fn four_lines(secret: &str) -> [String; 4] {
    let encoded = |before: usize| {
        let text = STANDARD_NO_PAD.encode("x".repeat(before) + secret);
        let (from, to) = ([0, 2, 3][before], (before + secret.len()) * 8 / 6);
        text[from..to].to_owned()
    };
    [secret.to_owned(), encoded(0), encoded(1), encoded(2)]
}

#[test]
fn the_file_has_every_form_of_each_secret() {
    for lines in MARKS.chunks(4) {
        assert_eq!(lines, four_lines(lines[0]), "what tests/secrets should say of {}", lines[0]);
        assert!(lines.iter().all(|line| line.len() >= 7), "{lines:?} may be there by chance");
    }
}

/// None of them is printed here: `tests/run` would find it.
#[test]
fn a_planted_secret_is_found_in_each_form() {
    for (at, mark) in MARKS.iter().enumerate() {
        let shown = format!("level=INFO said=\"before{mark}after\"\nlevel=INFO");
        assert!(showing(&shown).is_some(), "line {at} is not found");
    }
    for user in ["robot", "ab", "a"] {
        let shown =
            format!("authorization: Basic {}", STANDARD_NO_PAD.encode(format!("{user}:{}", MARKS[0])));
        assert!(showing(&shown).is_some(), "{user}");
    }
    assert_eq!(showing("level=INFO said=\"nothing\""), None);
}

#[test]
fn every_secret_of_the_tests_is_known() {
    let secret = regex::Regex::new(r#"const \w*(?:SECRET|TOKEN|PASSWORD): &str = "([^"]*)""#).unwrap();
    let (mut files, mut found) = (vec![std::path::PathBuf::from("tests/it")], 0);
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for value in secret.captures_iter(&text).map(|captures| captures[1].to_owned()) {
            found += 1;
            assert!(
                MARKS.iter().any(|mark| value.contains(mark)),
                "{}: {value:?} is not in tests/secrets",
                path.display()
            );
        }
    }
    assert!(found >= 4, "only {found} were seen");
}
