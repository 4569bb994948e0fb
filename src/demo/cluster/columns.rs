//! The columns that Flux's kinds have in a table, by the paths that their definitions name.

use serde_json::{Value, json};

use super::conditions;
use super::kinds::Kind;

/// Columns between the name and the end: the name, with a star for `-o wide` only, and where the value is.
/// `Ready` and `Status` come from the condition, `Age` from the creation.
pub(super) fn of(kind: Kind) -> &'static [(&'static str, &'static str)] {
    const READY: (&str, &str) = ("Ready", "status");
    const STATUS: (&str, &str) = ("Status", "message");
    const AGE: (&str, &str) = ("Age", "");
    match kind {
        Kind::ImageRepository => &[
            ("Image", "/spec/image"),
            ("Tags", "/status/lastScanResult/tagCount"),
            READY,
            STATUS,
            ("Last scan*", "/status/lastScanResult/scanTime"),
            AGE,
        ],
        Kind::ImagePolicy => {
            &[("Image", "/status/latestRef/name"), ("Tag", "/status/latestRef/tag"), READY, STATUS, AGE]
        }
        Kind::ImageUpdateAutomation => &[READY, STATUS, ("Last run*", "/status/lastAutomationRunTime"), AGE],
        Kind::GitRepository | Kind::OciRepository | Kind::HelmRepository => {
            &[("URL", "/spec/url"), AGE, READY, STATUS]
        }
        Kind::HelmChart => &[("Chart", "/spec/chart"), ("Version", "/spec/version"), AGE, READY, STATUS],
        Kind::Bucket => &[("Endpoint", "/spec/endpoint"), AGE, READY, STATUS],
        Kind::ExternalArtifact => &[AGE, READY, STATUS],
        Kind::Kustomization | Kind::HelmRelease | Kind::Receiver => &[AGE, READY, STATUS],
        _ => &[],
    }
}

/// The value of such a column; the age is for the caller.
pub(super) fn cell(object: &Value, column: &(&str, &str)) -> Option<Value> {
    let (_, from) = *column;
    match from {
        "" => None,
        "status" | "message" => Some(conditions::get(&object["status"], "Ready")[from].clone()),
        path => Some(match object.pointer(path) {
            Some(Value::String(text)) => json!(text),
            None | Some(Value::Null) => Value::Null,
            Some(other) => json!(other.to_string()),
        }),
    }
}
