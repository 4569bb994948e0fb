//! Which programs bring images from the registry to the cluster.

use std::fmt;
use std::str::FromStr;

/// The programs between registry, git and cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// Two small programs of the demo's own, without an object in the cluster.
    #[default]
    Plain,
    /// Flux: its objects, and controllers that act on them as the real ones do.
    Flux,
}

/// A name that is no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not an engine of the demo; take one of: plain, flux")]
pub struct UnknownEngine {
    name: String,
}

impl Engine {
    /// Both, in the order in which they are listed to a person.
    pub const ALL: [Engine; 2] = [Engine::Plain, Engine::Flux];

    /// The name as the command line takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Engine::Plain => "plain",
            Engine::Flux => "flux",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        let found = Engine::ALL.into_iter().find(|engine| engine.name() == text);
        found.ok_or_else(|| UnknownEngine { name: text.chars().take(40).collect() })
    }
}
