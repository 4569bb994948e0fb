//! Which deliveries were here before: a sender repeats what it thinks was lost, and so does an eavesdropper.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::image::Digest;

/// Deliveries remembered of one webhook, oldest out first. A repeated one costs a look at most.
const REMEMBERED_MAX: usize = 4096;

/// See the file's front line.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    known: HashSet<Digest>,
    in_order: VecDeque<Digest>,
}

impl Repeats {
    /// Whether one with this id or this very body was taken before; from now on it was. A header that carries the
    /// id is seldom signed, so the body counts by itself, too.
    pub fn is_repeated(&self, id: Option<&str>, body: &[u8]) -> bool {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = id.map(|id| Digest::of(&[b"id ", id.as_bytes()].concat()));
        let news: Vec<Digest> = id.into_iter().chain([Digest::of(body)]).collect();
        let repeated = news.iter().any(|digest| memory.known.contains(digest));
        for digest in news {
            if memory.known.insert(digest.clone()) {
                memory.in_order.push_back(digest);
            }
        }
        while memory.in_order.len() > REMEMBERED_MAX
            && let Some(oldest) = memory.in_order.pop_front()
        {
            memory.known.remove(&oldest);
        }
        repeated
    }
}
