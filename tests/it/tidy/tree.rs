//! Files: their length, their names, their front pages, and whether anything includes them.

use std::collections::BTreeSet;

use super::source::Source;
use super::{Complaint, LINES_MAX};

/// Names that promise nothing, so everything ends up inside.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "types", "misc", "manager"];
/// What the folder is for, what it must not do, where to add the next one: that is more than one line.
const FRONT_PAGE_LINES_MIN: usize = 3;

pub fn length(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().count();
    let what = || format!("more than {LINES_MAX} lines: split the file by idea");
    complain(lines > LINES_MAX, source, lines, what)
}

pub fn name(source: &Source) -> Vec<Complaint> {
    let named = |name: &&str| {
        source.file.ends_with(&format!("/{name}.rs")) || source.file.contains(&format!("/{name}/"))
    };
    let bad = EMPTY_NAMES.iter().find(|name| named(name));
    complain(bad.is_some(), source, 1, || "name the file for the one idea inside it".into())
}

pub fn front_page(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
    let bad = source.file.ends_with("/mod.rs") && lines < FRONT_PAGE_LINES_MIN;
    complain(bad, source, 1, || {
        "open with a front page (`//!`): what the folder is for, what it must not do, where to add the next one".into()
    })
}

/// Files that no `mod` line reaches from the roots: they are not compiled, so they only look like code.
pub fn orphans(files: &[Source], roots: &[&str]) -> Vec<Complaint> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut waiting: Vec<&Source> = files.iter().filter(|file| roots.contains(&file.file.as_str())).collect();
    while let Some(file) = waiting.pop() {
        if !reached.insert(&file.file) {
            continue;
        }
        let folder = folder_of_children(&file.file, roots);
        for name in declared(&file.code) {
            let places = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            waiting.extend(files.iter().filter(|file| places.contains(&file.file)));
        }
    }
    let lost = files.iter().filter(|file| !reached.contains(file.file.as_str()));
    let what = "no `mod` line includes this file: add one, or delete it";
    lost.map(|file| Complaint { file: file.file.clone(), line: 1, what: what.into() }).collect()
}

/// Where the children of a module lie: beside `mod.rs` and the roots, else in the folder of the file's name.
fn folder_of_children(file: &str, roots: &[&str]) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
    if name == "mod.rs" || roots.contains(&file) {
        folder.to_owned()
    } else {
        format!("{folder}/{}", name.trim_end_matches(".rs"))
    }
}

/// Names in `mod name;` lines.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let (before, after) = line.trim().split_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then_some(after.trim().strip_suffix(';')).flatten()
    })
}

fn complain(bad: bool, source: &Source, line: usize, what: impl Fn() -> String) -> Vec<Complaint> {
    bad.then(|| Complaint { file: source.file.clone(), line, what: what() }).into_iter().collect()
}
