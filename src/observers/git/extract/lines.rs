//! Reads a file line by line where no parser can: jsonnet, and YAML with templates in it.

use std::sync::LazyLock;

use regex::Regex;

use super::LINE_BYTES_MAX;
use super::markers::Source;
use super::words::{Parts, explicit, explicit_with_path, is_image_key, joined};
use crate::observation::GitReference;

/// What comments look like. In YAML `//` is a part of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Yaml,
    Jsonnet,
}

/// A quoted text, with the key in front of it where there is one.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:["']?([A-Za-z_][\w.-]*)["']?\s*\+?:{1,3}\s*)?(?:"([^"\\]*)"|'([^'\\]*)')"#)
        .expect("the pattern is a constant")
});
/// A YAML key with a plain value.
static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^\s*(?:-\s+)*["']?([A-Za-z_][\w.-]*)["']?:\s+([^\s"'{\[&*|>][^\s]*)\s*$"#)
        .expect("the pattern is a constant")
});

/// A key, its value and its line.
struct Entry<'a> {
    key: &'a str,
    value: &'a str,
    line: u32,
}

/// All references that lines show by themselves, and pairs of `repository` and `tag` in one block of lines.
pub fn scan(source: &Source<'_>, dialect: Dialect) -> Vec<GitReference> {
    let mut found = Vec::new();
    let mut block: Vec<Entry<'_>> = Vec::new();
    let mut block_indent = 0;
    for (text, number) in source.lines().iter().zip(1u32..) {
        let code = if text.len() > LINE_BYTES_MAX { "" } else { code_of(text, dialect) };
        let indent = code.len() - code.trim_start().len();
        let entries = entries_of(code, number, dialect);
        if entries.is_empty() || indent != block_indent {
            found.extend(pair(source, &block));
            block.clear();
            block_indent = indent;
        }
        for entry in &entries {
            let image =
                if is_image_key(entry.key) { explicit(entry.value) } else { explicit_with_path(entry.value) };
            // In YAML only a key, not any quoted text, says that a text is an image: templates hold scripts.
            let counts = dialect == Dialect::Jsonnet
                || is_image_key(entry.key)
                || (image.is_some() && source.marker(&[number]).is_some());
            if let Some(image) = image.filter(|_| counts) {
                found.push(source.reference(image, &[number]));
            }
        }
        block.extend(entries);
    }
    found.extend(pair(source, &block));
    found
}

fn entries_of(code: &str, line: u32, dialect: Dialect) -> Vec<Entry<'_>> {
    if dialect == Dialect::Yaml
        && let Some(plain) = PLAIN.captures(code)
    {
        let part = |group| plain.get(group).map_or("", |found| found.as_str());
        return vec![Entry { key: part(1), value: part(2), line }];
    }
    let entry = |found: regex::Captures<'_>| {
        let at = |group| found.get(group).map(|part| part.range());
        (at(1), at(2).or_else(|| at(3)))
    };
    QUOTED
        .captures_iter(code)
        .map(entry)
        .filter_map(|(key, value)| {
            Some(Entry { key: key.map_or("", |key| &code[key]), value: &code[value?], line })
        })
        .collect()
}

/// A block of lines with one indentation is taken for one map.
fn pair(source: &Source<'_>, block: &[Entry<'_>]) -> Option<GitReference> {
    let entry = |key: &str| block.iter().find(|entry| entry.key == key);
    let text = |key: &str| entry(key).map_or("", |entry| entry.value);
    let repository = entry("repository")?;
    let parts = Parts {
        registry: text("registry"),
        repository: repository.value,
        tag: text("tag"),
        digest: text("digest"),
    };
    let image = joined(&parts)?;
    let lines: Vec<u32> = [entry("tag"), entry("digest"), Some(repository)]
        .into_iter()
        .flatten()
        .map(|entry| entry.line)
        .collect();
    Some(source.reference(image, &lines))
}

/// The line without its comment.
fn code_of(line: &str, dialect: Dialect) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && (dialect == Dialect::Jsonnet || before.is_whitespace()) => {
                return &line[..at];
            }
            None if dialect == Dialect::Jsonnet && line[at..].starts_with("//") => return &line[..at],
            None => {}
        }
        before = c;
    }
    line
}
