//! Opening the file of a journal: made with its folder, for us only, and only if it is one of ours or new.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database};

use super::error::Fault;

/// Pages kept in memory. Rows are written once and seldom read, so more would only hold what nobody asks for.
const CACHE_BYTES: usize = 8 << 20;
/// How a file of the storage engine begins.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
/// So many wrong bytes there are damage, not counting zeros; more is somebody else's file.
const MAGIC_WRONG_MAX: usize = 2;

/// Runs work on the storage engine. A damaged file may make it panic: that is damage, and no end of ours.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Fault::Damaged(text.unwrap_or_else(|| "its content makes no sense".into())))
    })
}

/// What was there before a file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// A file without content: somebody made it, or something cut it.
    Empty,
    Something,
}

/// Opens or makes the file.
pub fn open(path: &Path) -> Result<(Database, Before), Fault> {
    let missing = !path.exists();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Fault::Disk)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Fault::Disk)?;
    let found = file.metadata().map_err(Fault::Disk)?;
    if !found.is_file() {
        return Err(Fault::NotAJournal("no regular file"));
    }
    let before = match found.len() {
        0 if missing => Before::Nothing,
        0 => Before::Empty,
        _ => {
            recognise(&file)?;
            Before::Something
        }
    };
    if found.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(Fault::Disk)?;
    }
    let database = guarded(|| Ok(Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?))?;
    Ok((database, before))
}

/// Is this a journal, if perhaps a damaged one? Another program's file is never touched.
fn recognise(file: &File) -> Result<(), Fault> {
    let mut front = Vec::with_capacity(MAGIC.len());
    file.take(MAGIC.len() as u64).read_to_end(&mut front).map_err(Fault::Disk)?;
    let pairs = || front.iter().zip(MAGIC).filter(|(found, right)| *found != right);
    let (wrong, written) = (pairs().count(), pairs().filter(|(found, _)| **found != 0).count());
    // Zeros are what a lost block reads as; other bytes somebody has written.
    if written > MAGIC_WRONG_MAX {
        return Err(Fault::NotAJournal("it begins otherwise"));
    }
    if wrong > 0 || front.len() < MAGIC.len() {
        return Err(Fault::damaged("its first bytes are wrong"));
    }
    Ok(())
}

/// Closes a database. A damaged one may panic even then.
pub fn close(database: Database) {
    // Whoever closes has no use for what went wrong with it: it is read again at the next open.
    let _ = guarded(|| {
        drop(database);
        Ok(())
    });
}

/// Makes the entries of a file's folder durable: its birth, or a rename.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot; the entry is durable when they say so.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}
