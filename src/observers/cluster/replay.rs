//! Recorded watch streams, read as if they came now: what a test of the tracker needs of this folder.

use std::collections::BTreeMap;

use super::resource::Resource;
use super::stream::{DecodeError, Place, Said, Stream};
use crate::observation::Time;

/// One stream per resource of a recording, fed in the order of receipt.
#[derive(Debug)]
pub struct Replay {
    place: Place,
    streams: BTreeMap<Resource, Stream>,
}

impl Replay {
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, streams: BTreeMap::new() }
    }

    /// What one recorded line says: `resource` is the plural name, `event` the line as the server sent it.
    /// A resource that is not watched says nothing.
    pub fn event(
        &mut self,
        received_at: Time,
        resource: &str,
        event: &[u8],
    ) -> Result<Vec<Said>, DecodeError> {
        let Some(resource) = Resource::from_plural(resource) else { return Ok(Vec::new()) };
        let stream = self.streams.entry(resource).or_insert_with(|| {
            // A watch without a version begins with every object, like a streaming list.
            let mut stream = Stream::new(resource, self.place.clone());
            stream.begin_look(received_at);
            stream
        });
        Ok(stream.event(received_at, event)?.said)
    }
}
