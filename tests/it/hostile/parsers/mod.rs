//! The parsers of outside text, in the order in which text reaches us. It knows the library only, so that `fuzz/`
//! can use it as it is.

pub mod answers;
pub mod cluster;
pub mod git;
pub mod hooks;
pub mod journal;
pub mod questions;
pub mod registry;
pub mod scrape;
pub mod settings;
pub mod words;

/// A complaint is a sentence, not a copy of what was sent.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// Reads a text, and panics where the parser broke its word.
pub type Read = dyn Fn(&[u8]);

/// One way in for text.
pub struct Parser {
    pub name: &'static str,
    /// Most bytes that its caller lets through, or a part of it where that would take minutes without optimisation.
    pub largest: usize,
    pub examples: Vec<Vec<u8>>,
    /// It reads one input in so many: behind some parsers stands a whole server or a program.
    pub cost: u64,
    pub read: Box<Read>,
}

impl Parser {
    pub fn new<E: AsRef<[u8]>>(
        name: &'static str,
        largest: usize,
        examples: impl IntoIterator<Item = E>,
        read: impl Fn(&[u8]) + 'static,
    ) -> Self {
        let examples = examples.into_iter().map(|example| example.as_ref().to_vec()).collect();
        Self { name, largest, examples, cost: 1, read: Box::new(read) }
    }

    /// The same with fewer inputs.
    pub fn costing(self, cost: u64) -> Self {
        Self { cost, ..self }
    }

    /// For a parser that is given letters, not bytes.
    pub fn of_text<E: AsRef<[u8]>>(
        name: &'static str,
        largest: usize,
        examples: impl IntoIterator<Item = E>,
        read: impl Fn(&str) + 'static,
    ) -> Self {
        Self::new(name, largest, examples, move |bytes| read(&String::from_utf8_lossy(bytes)))
    }
}

/// An error has to be told, too.
pub fn told<T, E: std::fmt::Display>(read: Result<T, E>) {
    if let Err(error) = read {
        let complaint = error.to_string();
        assert!(complaint.len() <= COMPLAINT_BYTES_MAX, "a complaint of {} bytes", complaint.len());
    }
}
