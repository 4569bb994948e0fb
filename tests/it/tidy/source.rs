//! Files of the project as text, and Rust text without comments and strings.

use std::path::{Path, PathBuf};

/// A file: its path from the root of the project, its text, and its code.
pub struct Source {
    pub file: String,
    pub text: String,
    /// The text with comments, strings and characters blanked out; every line keeps its number.
    pub code: String,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.into(), text: text.into(), code: code(text) }
    }
}

/// Every Rust file below a folder, in order of name.
pub fn rust(folder: &str) -> Vec<Source> {
    files(folder, &["rs"])
}

/// Everything that people write: code, documents, scripts, manifests.
pub fn texts() -> Vec<Source> {
    let folders = [
        "src",
        "tests/it",
        "tests/journeys",
        "tests/e2e",
        "benches",
        "docs",
        "deploy",
        "alerts",
        "dashboards",
    ];
    let below = folders.iter().flat_map(|folder| files(folder, &["rs", "md", "yaml", "sh", "txt", "json"]));
    let single = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/run", ".ci/run", "Cargo.toml"];
    below.chain(single.iter().filter_map(|file| text(file))).collect()
}

/// What names metrics to people or to Prometheus.
pub fn documents() -> Vec<Source> {
    let below =
        ["docs", "alerts", "dashboards"].iter().flat_map(|folder| files(folder, &["md", "yaml", "json"]));
    below.chain(text("README.md")).collect()
}

/// One file of the project, if it is there.
pub fn text(file: &str) -> Option<Source> {
    std::fs::read_to_string(root().join(file)).ok().map(|text| Source::new(file, &text))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            // Bad examples are bad on purpose.
            if path.ends_with("tests/it/tidy/bad") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|e| ending == *e)) {
                found.push(read(&path));
            }
        }
    }
    found.sort_by(|a: &Source, b: &Source| a.file.cmp(&b.file));
    found
}

fn read(path: &Path) -> Source {
    let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    Source::new(&name, &text)
}

/// Blanks out what is not code. Enough of a lexer for that: comments nest, raw strings count their hashes, and a
/// quote after which no closing quote follows is a lifetime.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest),
            'r' | 'b' | 'c' if !after_word => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(first);
            after_word = first.is_alphanumeric() || first == '_';
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            after_word = false;
            rest = &rest[skipped..];
        }
    }
    out
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a string that starts at a double quote.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r"..."`, `b"..."`, `br#"..."#` and the like; 0 where the letter starts a word.
fn prefixed_string(text: &str) -> usize {
    let letters = text.find(|c| !matches!(c, 'r' | 'b' | 'c')).unwrap_or(text.len());
    let hashes = text[letters..].chars().take_while(|c| *c == '#').count();
    let open = letters + hashes;
    if letters > 2 || !text[open..].starts_with('"') {
        return 0;
    }
    if !text[..letters].contains('r') {
        return open + quoted(&text[open..]);
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len())
}

/// Length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| at + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}
