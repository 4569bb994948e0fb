//! What can go wrong with a journal, and what to do about it.

use std::path::{Path, PathBuf};

use redb::{CommitError, CompactionError, DatabaseError, StorageError, TableError, TransactionError};

/// Why a journal could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it open.
    #[error(
        "the journal {} is in use by another process; end that one, or name another file with --journal", path.display()
    )]
    InUse { path: PathBuf },
    /// A newer program wrote it.
    #[error(
        "the journal {} has format {found}, and this program reads up to {known}; use the newer program, or name another file with --journal", path.display()
    )]
    Newer { path: PathBuf, found: String, known: u32 },
    /// Something else's file.
    #[error("{} is no journal of Knotmeter ({what}); it is left as it is: name another file with --journal", path.display())]
    NotAJournal { path: PathBuf, what: &'static str },
    /// The disk refused: full, read-only, gone.
    #[error("the journal {}: {source}; look at its disk and permissions", path.display())]
    Disk { path: PathBuf, source: std::io::Error },
    /// What is stored is not what was written.
    #[error("the journal {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    /// A line that is no observation, in a file to import.
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
}

/// The same without the path: what `store.rs` finds while it works.
#[derive(Debug)]
pub enum Fault {
    InUse,
    /// The storage engine's format.
    Newer(String),
    NotAJournal(&'static str),
    Disk(std::io::Error),
    Damaged(String),
}

impl Fault {
    pub fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::InUse => Error::InUse { path },
            Self::Newer(found) => Error::Newer { path, found, known: super::store::FORMAT },
            Self::NotAJournal(what) => Error::NotAJournal { path, what },
            Self::Disk(source) => Error::Disk { path, source },
            Self::Damaged(what) => Error::Damaged { path, what },
        }
    }

    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<std::io::Error> for Fault {
    /// An end or a content that cannot be is the file's fault; everything else the disk's.
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | InvalidData | InvalidInput => Self::Damaged(error.to_string()),
            _ => Self::Disk(error),
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => error.into(),
            // After a refusal every later call says only this; the cause was told.
            StorageError::PreviousIo => Self::Disk(std::io::Error::other(error.to_string())),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            // Versions before 3 were never written by us, and a flipped bit of 3 gives neither of these two.
            DatabaseError::UpgradeRequired(version @ 4..=5) => Self::Newer(format!("{version} of redb")),
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<CompactionError> for Fault {
    fn from(error: CompactionError) -> Self {
        match error {
            CompactionError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}
