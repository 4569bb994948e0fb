//! The UID of an object, as small as it is remembered.

use std::fmt;
use std::sync::Arc;

/// A UID: sixteen bytes where it is written as the API server writes UUIDs, else its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Uid {
    Uuid([u8; 16]),
    Text(Box<str>),
}

/// Where the hyphens of a written UUID stand, and its length.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID_LENGTH: usize = 36;

impl Uid {
    pub(super) fn new(text: &str) -> Self {
        uuid(text.as_bytes()).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }

    pub(super) fn to_arc(&self) -> Arc<str> {
        match self {
            Self::Uuid(_) => self.to_string().into(),
            Self::Text(text) => (&**text).into(),
        }
    }
}

/// Lower case and hyphens only: any other way of writing it would not come back as it was.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != UUID_LENGTH || HYPHENS.iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut bytes = [0; 16];
    let mut at = 0;
    for byte in &mut bytes {
        at += usize::from(HYPHENS.contains(&at));
        *byte = digit(text[at])? << 4 | digit(text[at + 1])?;
        at += 2;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => bytes.iter().enumerate().try_for_each(|(at, byte)| {
                let hyphen = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                write!(f, "{hyphen}{byte:02x}")
            }),
            Self::Text(text) => f.write_str(text),
        }
    }
}
