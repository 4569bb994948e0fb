//! Who imports whom: every `crate::` and `super::` path of a file, resolved to a top module.

use std::collections::BTreeSet;

use super::Complaint;
use super::source::Source;

/// Holds one file of `src/` against the table. `lib.rs` declares modules and may name them all.
pub fn check(table: &[(&str, &[&str])], source: &Source) -> Vec<Complaint> {
    let inside = source.file.trim_start_matches("src/").trim_end_matches(".rs");
    let own = inside.split('/').next().unwrap_or(inside);
    if own == "lib" {
        return Vec::new();
    }
    let complaint = |line, what| Complaint { file: source.file.clone(), line, what };
    let Some((_, allowed)) = table.iter().find(|(name, _)| *name == own) else {
        let what = format!("{own} has no row in IMPORTS of tests/it/tidy.rs: add it below what it may know");
        return vec![complaint(1, what)];
    };
    let depth = inside.trim_end_matches("/mod").split('/').count();
    let mut seen = BTreeSet::new();
    paths(&source.code, depth)
        .into_iter()
        .filter(|(_, top)| top != own && !allowed.contains(&top.as_str()))
        .filter(|found| seen.insert(found.clone()))
        .map(|(line, top)| {
            complaint(line, format!("{own} must not import {top}: see IMPORTS in tests/it/tidy.rs"))
        })
        .collect()
}

/// Every top module that the code names, with the line of the path. `main.rs` says `knotmeter::` for `crate::`.
fn paths(code: &str, depth: usize) -> Vec<(usize, String)> {
    let to_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for prefix in ["crate::", "knotmeter::", &to_root] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            found.extend(tops(&code[at + prefix.len()..]).into_iter().map(|top| (line, top)));
        }
    }
    found.sort();
    found
}

/// The first words after `crate::`: one, or one of each entry of a group.
fn tops(rest: &str) -> Vec<String> {
    let Some(group) = rest.trim_start().strip_prefix('{') else {
        return word(rest).into_iter().collect();
    };
    let mut depth = 0;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.extend(word(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// A module's name; the crate's own items (`crate::VERSION`, `crate::main!`) are not modules.
fn word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    (end > 0 && !text[end..].starts_with('!')).then(|| text[..end].to_owned())
}
