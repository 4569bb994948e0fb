//! Words that many objects share: the replicas of a workload have one namespace, one owner and one image, and a
//! list brings them one after the other.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Words that are kept, each in the place that its hash gives: a new one takes the place of an older, so nothing
/// ever has to be looked for or thrown away.
const WORDS_KEPT: usize = 1024;
/// A longer text is no word. It bounds what is kept to a quarter of a mebibyte.
const WORD_BYTES_MAX: usize = 256;

/// Texts that were met lately, each in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Empty until the first word comes: most streams are of kinds that share none.
    places: Vec<Option<Arc<str>>>,
    hasher: RandomState,
}

impl Words {
    /// This text, in the memory of an equal one where that is still known.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if text.len() > WORD_BYTES_MAX {
            return text.into();
        }
        if self.places.is_empty() {
            self.places.resize(WORDS_KEPT, None);
        }
        let place = &mut self.places[self.hasher.hash_one(text) as usize % WORDS_KEPT];
        match place {
            Some(word) if **word == *text => word.clone(),
            _ => place.insert(text.into()).clone(),
        }
    }
}
