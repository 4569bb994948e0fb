//! The one way in which commands print: results to standard output, remarks to standard error.
//!
//! `println!` panics when it cannot write, and a pipe that `head` has closed is no reason to panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Standard output did not take what a command had to say.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct Error(#[from] io::Error);

impl Error {
    /// Whoever read the output has seen enough and gone: nothing is wrong, and there is nobody to tell.
    pub fn is_closed(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

/// Prints a line of the result.
pub fn line(said: impl Display) -> Result<(), Error> {
    text(format_args!("{said}\n"))
}

/// Prints a part of the result that ends its lines itself.
pub fn text(said: impl Display) -> Result<(), Error> {
    let mut to = io::stdout().lock();
    to.write_all(shown(said).as_bytes())?;
    // What is flushed at the exit fails without a word.
    Ok(to.flush()?)
}

/// Prints what the parser of the command line has to say: help and version as a result, the rest as a remark.
pub fn typed(said: &clap::Error) -> Result<(), Error> {
    // It colours its text for terminals.
    let printed = said.print().and_then(|()| io::stdout().flush());
    if said.use_stderr() { Ok(()) } else { Ok(printed?) }
}

/// Prints pretty JSON.
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    Ok(line(escaped(&serde_json::to_string_pretty(value)?))?)
}

/// Prints JSON as one line.
pub fn json_line(value: impl Display) -> Result<(), Error> {
    line(escaped(&value.to_string()))
}

/// Prints YAML.
pub fn yaml<T: Serialize>(value: &T) -> anyhow::Result<()> {
    Ok(text(serde_saphyr::to_string(value)?)?)
}

/// Says something beside the result. Where nobody hears it the command goes on.
pub fn remark(said: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(said));
}

/// Much of what is printed was written by others, and a terminal obeys control characters: they are left out. So are
/// the marks that turn the direction of writing, with which a line looks like another one.
fn shown(said: impl Display) -> String {
    let mut text = said.to_string();
    text.retain(|c| c == '\n' || !commands(c));
    text
}

/// JSON escapes only some of them by itself. They can stand nowhere but in its texts.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c != '\n' && commands(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// Whether a terminal does something for this character, instead of showing it.
fn commands(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that would turn red, ring, set the title of the window, and read backwards.
    const HOSTILE: &str = "a\u{1b}[31m\u{7}\u{1b}]0;owned\u{7}\u{9b}2J\u{7f}\r\u{202e}b\n";

    #[test]
    fn no_text_of_others_commands_the_terminal() {
        assert_eq!(shown(HOSTILE), "a[31m]0;owned2Jb\n");
        assert_eq!(shown("täglich: ✓ 日本\n"), "täglich: ✓ 日本\n");
    }

    #[test]
    fn json_holds_the_same_text_without_a_command_to_the_terminal() {
        let value = serde_json::json!({ "subject": HOSTILE });
        let json = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!json.chars().any(|c| c != '\n' && commands(c)), "{json:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }
}
