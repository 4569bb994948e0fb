//! What a check found, for people and for CI.

use std::fmt;

use serde::Serialize;

use crate::cli::Exit;

/// Everything that was checked.
#[derive(Debug, Serialize)]
pub struct Report {
    verdict: State,
    sources: Vec<Source>,
}

/// One source.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Such as `registry/ghcr.io`.
    source: String,
    state: State,
    /// What it is, or why it cannot be read.
    about: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
    /// What is not known for want of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    costs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paste: Vec<Paste>,
}

/// A repository, a branch, a kind of object.
#[derive(Debug, Serialize)]
pub struct Part {
    pub name: String,
    pub state: State,
    pub about: String,
}

/// What mends it.
#[derive(Debug, Serialize)]
struct Paste {
    /// A file, or a command that reads it.
    into: &'static str,
    text: String,
}

/// How well something can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// Some of it cannot.
    Partly,
    /// It answers, and may not be read.
    Forbidden,
    /// It cannot be read.
    Blind,
    /// Nobody named it, or it does not exist. That is a choice.
    Absent,
}

impl Source {
    pub fn ok(source: impl Into<String>, about: impl Into<String>) -> Self {
        Self::new(source.into(), State::Ok, about.into())
    }

    pub fn blind(source: impl Into<String>, about: impl Into<String>) -> Self {
        Self::new(source.into(), State::Blind, about.into())
    }

    pub fn absent(source: impl Into<String>, about: impl Into<String>) -> Self {
        Self::new(source.into(), State::Absent, about.into())
    }

    fn new(source: String, state: State, about: String) -> Self {
        Self { source, state, about, parts: Vec::new(), costs: Vec::new(), paste: Vec::new() }
    }

    /// Adds a part; one that cannot be read makes the source partly blind.
    pub fn part(&mut self, name: impl Into<String>, state: State, about: impl Into<String>) {
        if matches!(state, State::Forbidden | State::Blind | State::Partly) && self.state == State::Ok {
            self.state = State::Partly;
        }
        self.parts.push(Part { name: name.into(), state, about: about.into() });
    }

    /// What is not known for want of it; said once.
    #[must_use]
    pub fn costs(mut self, what: impl Into<String>) -> Self {
        let what = what.into();
        if !self.costs.contains(&what) {
            self.costs.push(what);
        }
        self
    }

    /// What mends it; said once.
    #[must_use]
    pub fn paste(mut self, into: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        if !self.paste.iter().any(|paste| paste.text == text) {
            self.paste.push(Paste { into, text });
        }
        self
    }
}

impl Report {
    pub fn new(sources: Vec<Source>) -> Self {
        let is = |state| sources.iter().any(|source| source.state == state);
        let verdict = match () {
            () if !is(State::Ok) && !is(State::Partly) => State::Blind,
            () if is(State::Partly) || is(State::Blind) || is(State::Forbidden) => State::Partly,
            () => State::Ok,
        };
        Self { verdict, sources }
    }

    pub fn exit(&self) -> Exit {
        match self.verdict {
            State::Ok | State::Absent => Exit::Done,
            State::Partly | State::Forbidden => Exit::Failed,
            State::Blind => Exit::CannotAsk,
        }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok, ",
            Self::Partly => "partly blind, ",
            Self::Forbidden => "forbidden: ",
            Self::Blind => "cannot be read: ",
            Self::Absent => "",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            writeln!(f, "{}: {}{}", source.source, source.state.word(), clean(&source.about))?;
            for part in &source.parts {
                let word = if part.state == State::Forbidden { "forbidden: " } else { "" };
                writeln!(f, "  {}: {word}{}", clean(&part.name), clean(&part.about))?;
            }
            for cost in &source.costs {
                writeln!(f, "  costs: {cost}")?;
            }
            for paste in &source.paste {
                writeln!(f, "  paste into {}:\n", paste.into)?;
                for line in paste.text.lines() {
                    writeln!(f, "    {line}")?;
                }
                writeln!(f)?;
            }
        }
        match self.verdict {
            State::Ok | State::Absent => writeln!(f, "everything that is named can be read"),
            State::Partly | State::Forbidden => writeln!(f, "something cannot be read: see above"),
            State::Blind => writeln!(f, "nothing can be read"),
        }
    }
}

/// Texts of others do not reach the terminal with control characters.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
