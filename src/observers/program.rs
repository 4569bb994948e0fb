//! Programs of the system that an observer starts where they exist: `git`, `ssh`, credential helpers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where a program is: the path itself if it has a folder in it, else the first in `PATH`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}
