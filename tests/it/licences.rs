//! Dependencies: their licences and the crates that must not come in, by the lists of `deny.toml`.
//!
//! `cargo deny` is more thorough (it reads licence texts). This is what every `cargo test` can do.

use std::process::Command;

use serde_json::Value;

struct Rules {
    banned: Vec<String>,
    allowed: Vec<String>,
    /// A crate and the licence that only it may have.
    exceptions: Vec<(String, String)>,
}

/// Reads the lists. The file is ours, so a line-based reading is enough, and the counts below hold it.
fn rules() -> Rules {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).expect("deny.toml");
    let quoted =
        |line: &str| -> Vec<String> { line.split('"').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut rules = Rules { banned: Vec::new(), allowed: Vec::new(), exceptions: Vec::new() };
    let mut listing = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("{ crate = ") {
            rules.banned.extend(quoted(line).into_iter().next());
        } else if line.starts_with("exceptions = ") {
            let words = quoted(line);
            rules.exceptions.push((words[0].clone(), words[1].clone()));
        } else if listing && line.starts_with('"') {
            rules.allowed.extend(quoted(line));
        }
        listing = line == "allow = [" || (listing && line != "]");
    }
    assert!(rules.banned.len() == 4 && rules.allowed.len() == 8, "deny.toml is read differently");
    rules
}

/// Everything that the program and its tests are built from, on Linux.
fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn every_dependency_is_allowed() {
    let rules = rules();
    let packages = packages();
    assert!(packages.len() > 100, "only {} packages: the graph was not read", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        let (name, version) = (package["name"].as_str().unwrap_or(""), &package["version"]);
        if rules.banned.iter().any(|banned| banned == name) {
            wrong.push(format!("{name} {version} is banned by deny.toml: see `cargo tree -i {name}`"));
        }
        let licence = package["license"].as_str().unwrap_or("");
        let excepted = |one: &str| rules.exceptions.iter().any(|(of, licence)| of == name && licence == one);
        if !fits(licence, &|one| rules.allowed.iter().any(|allowed| allowed == one) || excepted(one)) {
            wrong.push(format!("{name} {version} has licence {licence:?}, which deny.toml does not allow"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_understood() {
    let fits =
        |text: &str| fits(text, &|one| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&one));
    assert!(fits("MIT") && fits("GPL-3.0 OR MIT") && fits("GPL-3.0/MIT") && fits("MIT AND ISC"));
    assert!(fits("(GPL-3.0 OR MIT) AND ISC") && fits("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    assert!(!fits("") && !fits("GPL-3.0") && !fits("MIT AND GPL-3.0") && !fits("Apache-2.0"));
    assert!(!fits("(MIT OR ISC) AND GPL-3.0") && !fits("GPL-3.0 OR (MIT AND LGPL-2.1)"));
}

/// Whether an SPDX expression can be satisfied. `A/B` is how old crates write `A OR B`.
fn fits(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (fits, rest) = either(&words, allowed);
    fits && rest.is_empty()
}

fn either<'a>(words: &'a [&'a str], allowed: &dyn Fn(&str) -> bool) -> (bool, &'a [&'a str]) {
    let (mut fits, mut rest) = both(words, allowed);
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (other, after) = both(after, allowed);
        fits |= other;
        rest = after;
    }
    (fits, rest)
}

fn both<'a>(words: &'a [&'a str], allowed: &dyn Fn(&str) -> bool) -> (bool, &'a [&'a str]) {
    let (mut fits, mut rest) = one(words, allowed);
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (other, after) = one(after, allowed);
        fits &= other;
        rest = after;
    }
    (fits, rest)
}

fn one<'a>(words: &'a [&'a str], allowed: &dyn Fn(&str) -> bool) -> (bool, &'a [&'a str]) {
    match words {
        ["(", rest @ ..] => {
            let (fits, rest) = either(rest, allowed);
            (fits, rest.strip_prefix(&[")"]).unwrap_or(&["unclosed"]))
        }
        [name, "WITH", exception, rest @ ..] => (allowed(&format!("{name} WITH {exception}")), rest),
        [name, rest @ ..] => (allowed(name), rest),
        [] => (false, words),
    }
}
