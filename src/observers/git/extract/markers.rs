//! The file as its lines, and the markers on them: which updater rule owns the text on a line.

use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::LINE_BYTES_MAX;
use crate::config::Marker;
use crate::image::ImageRef;
use crate::observation::GitReference;

/// Flux' image policy marker: a comment with JSON in it (image-automation-controller, setters).
static FLUX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r##"#\s*\{\s*"\$imagepolicy"\s*:\s*"([^":]+:[^":]+)(?::(tag|name|digest))?"\s*\}"##)
        .expect("the pattern is a constant")
});

/// One file while it is being read.
pub struct Source<'a> {
    file: &'a Arc<str>,
    lines: Vec<&'a str>,
    markers: &'a [Marker],
}

impl<'a> Source<'a> {
    pub fn new(file: &'a Arc<str>, text: &'a str, markers: &'a [Marker]) -> Self {
        Self { file, lines: text.lines().collect(), markers }
    }

    pub fn lines(&self) -> &[&'a str] {
        &self.lines
    }

    pub fn file(&self) -> &'a Arc<str> {
        self.file
    }

    /// Whether Flux writes a tag, and nothing else, to this one-based line.
    pub fn marks_tag(&self, line: u32) -> bool {
        let Some(text) = (line as usize).checked_sub(1).and_then(|at| self.lines.get(at)) else {
            return false;
        };
        let mark =
            Some(text).filter(|text| text.len() <= LINE_BYTES_MAX).and_then(|text| FLUX.captures(text));
        mark.and_then(|mark| mark.get(2)).is_some_and(|part| part.as_str() == "tag")
    }

    /// The rule named on the first of these one-based lines that names one.
    pub fn marker(&self, lines: &[u32]) -> Option<Arc<str>> {
        lines.iter().find_map(|line| {
            let text = *self.lines.get((*line as usize).checked_sub(1)?)?;
            if text.len() > LINE_BYTES_MAX {
                return None;
            }
            let flux = FLUX.captures(text).and_then(|found| Some(found.get(1)?.as_str()));
            let found = flux.or_else(|| self.markers.iter().find_map(|marker| marker.find(text)))?;
            Some(found.trim().into())
        })
    }

    /// A reference that stands on the first of `lines`; the others may carry its marker.
    pub fn reference(&self, image: ImageRef, lines: &[u32]) -> GitReference {
        GitReference {
            file: self.file.clone(),
            line: lines.first().copied().unwrap_or(1),
            kind: None,
            name: None,
            namespace: None,
            container: None,
            image,
            marker: self.marker(lines),
            template: None,
        }
    }
}
