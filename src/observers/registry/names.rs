//! Names of tags, packed: what makes a million of them affordable.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Stands behind each name. No tag contains it.
const END: char = '\n';

/// Names in order, each once, in one piece of memory: a tag costs its length and one byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Names {
    text: Arc<str>,
    count: usize,
}

impl Names {
    /// Sorts names and packs them. Each must be a tag.
    #[must_use]
    pub fn pack(mut names: Vec<Cow<'_, str>>) -> Self {
        names.sort_unstable();
        names.dedup();
        let mut text = String::with_capacity(names.iter().map(|name| name.len() + END.len_utf8()).sum());
        for name in &names {
            write!(text, "{name}{END}").expect("a string grows");
        }
        Self { text: text.into(), count: names.len() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The memory that they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.split_terminator(END)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
