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
    write!(to, "{said}")?;
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
    Ok(line(serde_json::to_string_pretty(value)?)?)
}

/// Prints YAML.
pub fn yaml<T: Serialize>(value: &T) -> anyhow::Result<()> {
    Ok(text(serde_saphyr::to_string(value)?)?)
}

/// Says something beside the result. Where nobody hears it the command goes on.
pub fn remark(said: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{said}");
}
