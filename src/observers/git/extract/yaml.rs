//! YAML text as nodes that know their lines. JSON goes through here too.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser};

use super::DEPTH_MAX;

/// A value and the one-based line where it starts.
#[derive(Debug)]
pub struct Node {
    pub line: u32,
    pub value: Value,
}

#[derive(Debug)]
pub enum Value {
    /// Any scalar, as text: `1.10` stays what was written.
    Scalar(Arc<str>),
    Map(Vec<(Arc<str>, Node)>),
    Sequence(Vec<Node>),
}

impl Node {
    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| &**name == key).map(|(_, node)| node)
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&Arc<str>> {
        if let Value::Scalar(text) = &self.value { Some(text) } else { None }
    }

    /// The text under a key of a map.
    pub fn text_at(&self, key: &str) -> Option<&Arc<str>> {
        self.get(key)?.text()
    }
}

/// The documents of a file; `None` where it is not YAML or nests too deep.
pub fn parse(text: &str) -> Option<Vec<Node>> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.ok()?;
        let line = u32::try_from(span.start.line()).ok()?;
        builder.take(event, line)?;
    }
    Some(builder.documents)
}

/// A collection that is still open.
struct Open {
    line: u32,
    /// In a map: the key that waits for its value.
    key: Option<Arc<str>>,
    value: Value,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    /// Scalars with an anchor. Anchored collections are left out where they are repeated: their references
    /// are found where they stand, and nesting of repeats grows without bound.
    anchors: HashMap<usize, Arc<str>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: u32) -> Option<()> {
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let text: Arc<str> = text.into();
                if anchor != 0 {
                    self.anchors.insert(anchor, text.clone());
                }
                self.place(Node { line, value: Value::Scalar(text) });
            }
            Event::Alias(anchor) => {
                let text = self.anchors.get(&anchor).cloned().unwrap_or_default();
                self.place(Node { line, value: Value::Scalar(text) });
            }
            Event::MappingStart(..) => self.enter(line, Value::Map(Vec::new()))?,
            Event::SequenceStart(..) => self.enter(line, Value::Sequence(Vec::new()))?,
            Event::MappingEnd | Event::SequenceEnd => {
                let Open { line, value, .. } = self.open.pop()?;
                self.place(Node { line, value });
            }
            _ => {}
        }
        Some(())
    }

    fn enter(&mut self, line: u32, value: Value) -> Option<()> {
        self.open.push(Open { line, key: None, value });
        (self.open.len() <= DEPTH_MAX).then_some(())
    }

    fn place(&mut self, node: Node) {
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return;
        };
        match &mut parent.value {
            Value::Sequence(items) => items.push(node),
            Value::Map(entries) => match parent.key.take() {
                Some(key) => entries.push((key, node)),
                // A key that is itself a collection has no name that anybody looks for.
                None => parent.key = Some(node.text().cloned().unwrap_or_default()),
            },
            Value::Scalar(_) => unreachable!("only collections are opened"),
        }
    }
}
