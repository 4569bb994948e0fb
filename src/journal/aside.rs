//! Setting a broken journal aside: somebody may want to look at it, and a new one must begin.

use std::io;
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::file::sync_folder;

/// Broken files kept, newest first. Each may be as large as the journal.
const BROKEN_KEPT_MAX: usize = 3;

/// Renames a journal to `<name>.broken-<time>` and says how it is called now. Older broken ones go.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let stamp = Utc::now().format("%Y%m%dT%H%M%S%3f");
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".broken-{stamp}"));
    let aside = path.with_file_name(name);
    std::fs::rename(path, &aside)?;
    sync_folder(path)?;
    forget_oldest(path);
    Ok(aside)
}

/// What an operator is told.
pub fn note(path: &Path, aside: &Path, what: &str, saved: &str) -> String {
    let (path, aside) = (path.display(), aside.display());
    format!("the journal {path} was damaged ({what}); it is kept as {aside}, and a new one is begun: {saved}")
}

/// The broken files beside a journal, oldest first.
fn broken(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let prefix = format!("{name}.broken-");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut broken: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    broken.sort_unstable();
    broken
}

fn forget_oldest(path: &Path) {
    let broken = broken(path);
    let surplus = broken.len().saturating_sub(BROKEN_KEPT_MAX);
    for file in &broken[..surplus] {
        if let Err(error) = std::fs::remove_file(file) {
            tracing::warn!("cannot remove {}: {error}", file.display());
        }
    }
}
