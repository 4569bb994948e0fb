//! What was told of a journey, so that every change is told once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::journey::{Hold, Journey, Stuck};
use super::stage::Stage;

/// See the file's front line.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub opened: bool,
    stage: Option<Stage>,
    held: Option<Hold>,
    stuck: Option<Stuck>,
    blind: Option<Arc<str>>,
}

impl Told {
    /// Tells what is new of a journey.
    pub fn tell(&mut self, journey: &Journey, events: &mut Vec<Event>) {
        let id = journey.id;
        let now = Self {
            opened: true,
            stage: journey.stages.reached(),
            held: journey.held.map(|held| held.hold),
            stuck: journey.stuck,
            blind: journey.blind.clone(),
        };
        let before = std::mem::replace(self, now.clone());
        if !before.opened || before.stage != now.stage {
            events.push(Event::Moved { id, stage: now.stage });
        }
        if let Some(held) = journey.held.filter(|_| before.held != now.held) {
            events.push(Event::Held { id, held });
        }
        if let Some(stuck) = now.stuck.filter(|_| before.stuck.is_none()) {
            events.push(Event::Stuck { id, stuck });
        }
        if let Some(source) = now.blind.clone().filter(|_| before.blind != now.blind) {
            events.push(Event::Blind { id, source });
        }
        let waited = before.held.is_some() || before.stuck.is_some() || before.blind.is_some();
        let waits = now.held.is_some() || now.stuck.is_some() || now.blind.is_some();
        if waited && !waits {
            events.push(Event::Cleared { id });
        }
    }
}
