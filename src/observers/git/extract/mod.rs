//! Reads the image references out of one file: text in, references out, nothing else.
//!
//! YAML and JSON are read as structure (`yaml` makes nodes, `walk` finds the references in them); jsonnet and
//! what does not parse, such as Helm templates, is read line by line (`lines`). A new way to write an image
//! is a new rule in `walk`; `values` reads what only a release makes an image
//! of, `scale` how many pods are asked for. Nothing here does I/O, and no input may make it panic or run long.

mod config_map;
mod lines;
mod markers;
mod scale;
mod template;
mod values;
mod walk;
mod words;
mod yaml;

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::Marker;
use crate::observation::{GitReference, GitScale};
pub use config_map::Written;
use lines::Dialect;
use markers::Source;
pub use values::Values;

/// A manifest or values file is a few hundred kilobytes at most; larger ones are data.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// References taken from one file. A rendered cluster in one file has a few thousand.
pub const REFERENCES_PER_FILE_MAX: usize = 5000;
/// Nesting of a document. Kubernetes manifests need about twenty; what is deeper is an attack on the stack.
const DEPTH_MAX: usize = 64;
/// Longer lines are minified or encoded data: neither scanned nor searched for markers.
const LINE_BYTES_MAX: usize = 4096;

/// What a file gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// In the order of their lines.
    pub references: Vec<GitReference>,
    pub config_maps: Vec<Written>,
    pub values: Values,
    pub scales: Vec<GitScale>,
    /// Set where something was left out.
    pub dropped: Option<Dropped>,
}

/// Why a file, or a part of it, was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Above [`FILE_BYTES_MAX`].
    TooLarge,
    /// Binary, or not UTF-8.
    NotText,
    /// Above [`REFERENCES_PER_FILE_MAX`]; the first ones are kept.
    TooManyReferences,
}

impl Dropped {
    /// The reason in the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "git_file_too_large",
            Self::NotText => "git_file_not_text",
            Self::TooManyReferences => "git_too_many_references",
        }
    }
}

/// Whether a file of this name can name an image. Others are not even read from the object database.
#[must_use]
pub fn is_candidate(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == "Kustomization" || Language::of(name).is_some()
}

/// All image references in a file, in the order of their lines.
///
/// ```
/// use knotmeter::observers::git::extract;
/// let found = extract("values.yaml", b"image:\n  repository: ghcr.io/team/web\n  tag: v1\n", &[]);
/// assert_eq!(found.references[0].image.to_string(), "ghcr.io/team/web:v1");
/// assert_eq!(found.references[0].line, 3);
/// ```
#[must_use]
pub fn extract(file: &str, bytes: &[u8], markers: &[Marker]) -> Extracted {
    let dropped = |why| Extracted { dropped: Some(why), ..Extracted::default() };
    if bytes.len() > FILE_BYTES_MAX {
        return dropped(Dropped::TooLarge);
    }
    // A NUL is valid UTF-8, and in no manifest.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => text,
        _ => return dropped(Dropped::NotText),
    };
    let name: Arc<str> = file.into();
    let source = Source::new(&name, text, markers);
    let mut config_maps = Vec::new();
    let mut values = Values::default();
    let mut scales = Vec::new();
    let mut references = match Language::of(file).unwrap_or(Language::Yaml) {
        Language::Jsonnet => lines::scan(&source, Dialect::Jsonnet),
        Language::Yaml => match yaml::parse(text) {
            Some(documents) => {
                config_maps = config_map::all(&name, &documents);
                scales = scale::all(&name, &documents);
                let references = walk::references(&source, &documents);
                values = values::all(&source, &documents, &references, markers);
                references
            }
            None => lines::scan(&source, Dialect::Yaml),
        },
    };
    references.sort_by_key(|reference| reference.line);
    let mut seen = HashSet::new();
    references.retain(|reference| seen.insert(reference.clone()));
    let most = references.len().max(config_maps.len()).max(scales.len());
    let dropped = (most > REFERENCES_PER_FILE_MAX).then_some(Dropped::TooManyReferences);
    references.truncate(REFERENCES_PER_FILE_MAX);
    config_maps.truncate(REFERENCES_PER_FILE_MAX);
    scales.truncate(REFERENCES_PER_FILE_MAX);
    Extracted { references, config_maps, values, scales, dropped }
}

/// How a file is written. JSON is read as the YAML that it is.
#[derive(Clone, Copy)]
enum Language {
    Yaml,
    Jsonnet,
}

impl Language {
    fn of(file: &str) -> Option<Self> {
        match file.rsplit_once('.')?.1 {
            "yaml" | "yml" | "json" => Some(Self::Yaml),
            "jsonnet" | "libsonnet" => Some(Self::Jsonnet),
            _ => None,
        }
    }
}
