//! The journal proper: appends in one durable commit, a checkpoint beside, and reads that check what they find.

use std::path::{Path, PathBuf};

use redb::{
    Database, Durability, ReadableDatabase as _, TableDefinition, TableHandle as _, WriteTransaction,
};

use super::error::Fault;
use super::file::{self, Before, guarded};
use super::row::{self, Line, Row};
use super::salvage::Salvaged;
use super::tail::{Rows, Tail};
use super::{Checkpoint, Error, Limits, Position, aside, salvage, whole};
use crate::observation::Observation;

/// The version of what stands in the tables. A reader refuses a higher one.
pub const FORMAT: u32 = 1;
/// How the note of the format begins.
const FORMAT_WORD: &str = "knotmeter-journal ";

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// From the first position of a row's span.
pub const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
/// The pieces of the checkpoint; the first says how many there are.
const CHECKPOINT: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("checkpoint");

const FORMAT_KEY: &str = "format";
const STORED_KEY: &str = "stored";
/// A piece of a checkpoint. The engine gives values whole powers of two, less what it needs itself.
const PIECE_BYTES: usize = (256 << 10) - 1024;
/// A smaller file is never worth making smaller: half a second for half a gigabyte.
const SHRINK_FROM: u64 = 64 << 20;
/// How much larger than its content a file may be before it is made smaller. The engine itself needs up to twice.
const SHRINK_FACTOR: u64 = 4;

/// What the file holds, in numbers; written with every commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Of the first row.
    pub base: Position,
    /// Of the next observation.
    pub head: Position,
    /// What observations before this led to was told.
    pub told: Position,
    /// Observations that are there.
    pub lines: u64,
    /// Bytes of all rows.
    pub bytes: u64,
    /// How many observations the last compaction left: another one of the same would drop nothing.
    pub thinned: u64,
    /// Milliseconds since the epoch up to which time passed after the last observation, and that led to something.
    pub advanced: i64,
}

/// How far whoever writes has told what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub position: Position,
    /// Up to when time alone led to something: milliseconds since the epoch.
    pub at: i64,
}

/// An open journal. Dropping it closes the file.
#[derive(Debug)]
pub struct Journal {
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    /// Absent only between closing and opening again.
    database: Option<Database>,
    pub(super) stored: Stored,
    /// Of the checkpoint: compaction leaves alone what comes after it.
    pub(super) checkpoint: Option<Position>,
    /// When what is later than all that was ever compacted began, in milliseconds since the epoch.
    pub(super) whole_since: Option<i64>,
}

/// A journal, and what it remembers.
#[derive(Debug)]
pub struct Opened {
    pub journal: Journal,
    pub checkpoint: Option<Checkpoint>,
    /// What observations before this led to was told before: it may be later than the checkpoint's.
    pub told: Position,
    /// Time passed up to here after the last observation, and that led to something: milliseconds since the epoch.
    pub advanced: i64,
    /// The observations after the checkpoint.
    pub tail: Tail,
    /// What was wrong with the file, and what became of it.
    pub notes: Vec<String>,
}

impl Journal {
    /// Opens a journal, or begins one where there is none. A damaged one is set aside and a new one begun, with
    /// what could be read after its checkpoint.
    ///
    /// # Errors
    /// It is in use, of a newer program, no journal at all, or the disk refuses.
    pub fn open(path: &Path, limits: Limits) -> Result<Opened, Error> {
        let found = match Self::try_open(path, limits) {
            Err(Fault::Damaged(what)) => what,
            Ok(opened) => return Ok(opened),
            Err(fault) => return Err(fault.at(path)),
        };
        let saved = salvage::read(path);
        let aside = aside::set_aside(path).map_err(|error| Fault::Disk(error).at(path))?;
        let mut notes = vec![aside::note(path, &aside, &found, &saved.sentence())];
        let mut opened = Self::begin(path, limits, &saved).map_err(|fault| fault.at(path))?;
        notes.append(&mut opened.notes);
        Ok(Opened { notes, ..opened })
    }

    /// Opens a journal that must be there, to read it: a damaged one is refused and left where it is.
    ///
    /// # Errors
    /// As [`Journal::open`], and where there is none, or it is damaged.
    pub fn open_existing(path: &Path) -> Result<Opened, Error> {
        std::fs::metadata(path).map_err(|error| Fault::Disk(error).at(path))?;
        Self::try_open(path, Limits::default()).map_err(|fault| fault.at(path))
    }

    /// Opens without mending anything.
    pub(super) fn try_open(path: &Path, limits: Limits) -> Result<Opened, Fault> {
        let (database, before) = file::open(path)?;
        let mut journal = Self::over(path, limits, database);
        let known = guarded(|| journal.is_known())?;
        if before != Before::Something || !known {
            journal.write_format()?;
            file::sync_folder(path).map_err(Fault::Disk)?;
        }
        let checkpoint = guarded(|| journal.load())?;
        journal.checkpoint = checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        let used = journal.stored.bytes + checkpoint.as_ref().map_or(0, |found| found.bytes.len() as u64);
        if journal.bytes_on_disk() > SHRINK_FROM.max(used * SHRINK_FACTOR) {
            journal.shrink()?;
        }
        let from = journal.checkpoint.unwrap_or(journal.stored.base);
        journal.rows(from)?.verify()?;
        let tail = Tail::new(journal.rows(from)?, from);
        let empty = || format!("the journal {} was empty, and is begun anew", path.display());
        let notes: Vec<String> = (before == Before::Empty).then(empty).into_iter().collect();
        Ok(Opened {
            told: journal.stored.told,
            advanced: journal.stored.advanced,
            journal,
            checkpoint,
            tail,
            notes,
        })
    }

    pub(super) fn over(path: &Path, limits: Limits, database: Database) -> Self {
        let path = path.to_owned();
        Self {
            path,
            limits,
            database: Some(database),
            stored: Stored::default(),
            checkpoint: None,
            whole_since: None,
        }
    }

    /// Sets a journal aside that turned out to be damaged while it was open, and begins a new one.
    pub(super) fn recover(&mut self, what: &str) -> Result<String, Fault> {
        self.close();
        let (limits, path) = (self.limits, self.path.clone());
        let saved = salvage::read(&path);
        let aside = aside::set_aside(&path).map_err(Fault::Disk)?;
        let mut opened = Self::begin(&path, limits, &saved)?;
        std::mem::swap(self, &mut opened.journal);
        Ok(aside::note(&path, &aside, what, &saved.sentence()))
    }

    /// Begins a journal with what was saved of a broken one.
    pub(super) fn begin(path: &Path, limits: Limits, saved: &Salvaged) -> Result<Opened, Fault> {
        let mut journal = Self::try_open(path, limits)?.journal;
        journal.stored = Stored { base: saved.base, head: saved.base, told: saved.told, ..Stored::default() };
        let told = Told { position: saved.told, at: saved.advanced };
        journal.write(&saved.rows, told, saved.checkpoint.as_ref())?;
        drop(journal);
        Self::try_open(path, limits)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next observation will stand.
    #[must_use]
    pub fn position(&self) -> Position {
        self.stored.head
    }

    /// What it holds, in numbers.
    #[must_use]
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Appends observations: all of them durable when this returns, or none. Says where the next will stand.
    ///
    /// # Errors
    /// The disk refuses, or the file is damaged; then the journal must be opened again.
    pub fn append(&mut self, observations: &[Observation]) -> Result<Position, Error> {
        self.commit(observations, None)
    }

    /// Appends observations and replaces the checkpoint, both or neither.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn commit(
        &mut self,
        observations: &[Observation],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Position, Error> {
        let lines: Vec<Line> = observations.iter().map(Line::of).collect();
        self.append_lines(&lines, checkpoint)
    }

    /// As [`Journal::commit`], for lines as they stand in an export.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_lines(
        &mut self,
        lines: &[Line],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Position, Error> {
        let rows = row::rows(self.stored.head, lines);
        let position = checkpoint.map_or(self.stored.told, |checkpoint| checkpoint.settled);
        let told = Told { position, at: self.stored.advanced };
        self.write(&rows, told, checkpoint).map_err(|fault| fault.at(&self.path))?;
        Ok(self.stored.head)
    }

    /// Everything that is stored, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn everything(&self) -> Result<Tail, Error> {
        let rows = self.rows(self.stored.base).map_err(|fault| fault.at(&self.path))?;
        let whole_since = self.whole().map_err(|fault| fault.at(&self.path))?;
        Ok(Tail::new(rows, self.stored.base).whole_since(whole_since))
    }

    /// What was observed from about then on (milliseconds since the epoch), oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn since(&self, at: i64) -> Result<Tail, Error> {
        let find = || {
            let rows = self.rows(self.stored.base)?;
            let from = rows.find(at, self.stored.base, self.stored.head)?;
            Ok(Tail::new(self.rows(from)?, from).whole_since(self.whole()?))
        };
        find().map_err(|fault: Fault| fault.at(&self.path))
    }

    /// Writes rows that follow what is there, one durable commit.
    pub(super) fn write(
        &mut self,
        rows: &[Row],
        told: Told,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), Fault> {
        let mut stored = self.stored;
        stored.told = stored.told.max(told.position);
        stored.advanced = stored.advanced.max(told.at);
        for row in rows {
            debug_assert_eq!(row.start, stored.head, "rows follow each other");
            stored.head = row.end;
            stored.lines += u64::from(row.lines);
            stored.bytes += row.bytes.len() as u64;
        }
        self.transact(stored, |transaction| {
            let mut table = transaction.open_table(ROWS)?;
            for row in rows {
                table.insert(row.start.0, &row.bytes[..])?;
            }
            if let Some(checkpoint) = checkpoint {
                write_checkpoint(transaction, checkpoint)?;
            }
            Ok(())
        })?;
        if let Some(checkpoint) = checkpoint {
            self.checkpoint = Some(checkpoint.position);
        }
        Ok(())
    }

    /// One durable commit that leaves `stored` behind.
    pub(super) fn transact(
        &mut self,
        stored: Stored,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let database = self.database.as_ref().ok_or_else(|| Fault::damaged("it is closed"))?;
        guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction
                .set_durability(Durability::Immediate)
                .map_err(|error| Fault::damaged(error.to_string()))?;
            // The state of the allocator goes with every commit, so that opening after a kill need not walk
            // through the whole file: 0.4 s and more for half a gigabyte.
            transaction.set_quick_repair(true);
            work(&transaction)?;
            transaction.open_table(META)?.insert(STORED_KEY, &stored.encode()[..])?;
            transaction.commit()?;
            Ok(())
        })?;
        self.stored = stored;
        Ok(())
    }

    pub(super) fn rows(&self, from: Position) -> Result<Rows, Fault> {
        let database = self.database.as_ref().ok_or_else(|| Fault::damaged("it is closed"))?;
        guarded(|| Rows::new(&database.begin_read()?, from, self.stored.head, &self.path))
    }

    /// Closes the file and opens it again: after the disk refused, the engine asks for that. The last commit
    /// may have become durable or not.
    pub(super) fn reopen(&mut self) -> Result<(), Fault> {
        self.close();
        let opened = Self::try_open(&self.path, self.limits)?;
        let mut journal = opened.journal;
        self.database = journal.database.take();
        (self.stored, self.checkpoint) = (journal.stored, journal.checkpoint);
        self.whole_since = journal.whole_since;
        Ok(())
    }

    /// Gives room at the end of the file back. Takes long where much is free, and nothing else may be open.
    pub(super) fn shrink(&mut self) -> Result<(), Fault> {
        let database = self.database.as_mut().ok_or_else(|| Fault::damaged("it is closed"))?;
        guarded(|| Ok(database.compact().map(|_| ())?))
    }

    pub(super) fn close(&mut self) {
        if let Some(database) = self.database.take() {
            file::close(database);
        }
    }

    /// False for a file without tables: somebody was killed while making it.
    fn is_known(&self) -> Result<bool, Fault> {
        let database = self.database.as_ref().ok_or_else(|| Fault::damaged("it is closed"))?;
        let read = database.begin_read()?;
        let tables: Vec<String> = read.list_tables()?.map(|table| table.name().to_owned()).collect();
        if tables.iter().any(|name| name == META.name()) {
            return Ok(true);
        }
        if tables.is_empty() { Ok(false) } else { Err(Fault::NotAJournal("it holds other tables")) }
    }

    fn write_format(&mut self) -> Result<(), Fault> {
        self.transact(Stored::default(), |transaction| {
            let text = format!("{FORMAT_WORD}{FORMAT}");
            transaction.open_table(META)?.insert(FORMAT_KEY, &summed(text.as_bytes())[..])?;
            transaction.open_table(ROWS)?;
            transaction.open_table(CHECKPOINT)?;
            Ok(())
        })
    }

    /// Reads what is known of the content, and the checkpoint.
    pub(super) fn load(&mut self) -> Result<Option<Checkpoint>, Fault> {
        let database = self.database.as_ref().ok_or_else(|| Fault::damaged("it is closed"))?;
        let read = database.begin_read()?;
        let meta = read.open_table(META)?;
        let format = meta.get(FORMAT_KEY)?.ok_or_else(|| Fault::damaged("it does not say its format"))?;
        check_format(checked(format.value()).ok_or_else(|| Fault::damaged("its format is unreadable"))?)?;
        let stored = meta.get(STORED_KEY)?.ok_or_else(|| Fault::damaged("it does not say what it holds"))?;
        self.stored = Stored::decode(stored.value())
            .ok_or_else(|| Fault::damaged("what it says of its content is unreadable"))?;
        self.whole_since = whole::read(&meta)?;
        let pieces = read.open_table(CHECKPOINT)?;
        let Some(first) = pieces.get(0)? else { return Ok(None) };
        let head = CheckpointHead::decode(first.value())
            .ok_or_else(|| Fault::damaged("the front of its checkpoint is unreadable"))?;
        let mut bytes = Vec::new();
        for piece in 1..=head.pieces {
            let missing = || Fault::damaged("a piece of its checkpoint is missing");
            bytes.extend_from_slice(pieces.get(piece)?.ok_or_else(missing)?.value());
        }
        if bytes.len() as u64 != head.length || crc32fast::hash(&bytes) != head.checksum {
            return Err(Fault::damaged("its checkpoint does not match its checksum"));
        }
        Ok(Some(Checkpoint { position: head.position, settled: head.settled, bytes }))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

fn check_format(text: &[u8]) -> Result<(), Fault> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    match text.strip_prefix(FORMAT_WORD).and_then(|number| number.parse::<u32>().ok()) {
        Some(FORMAT) => Ok(()),
        Some(number) => Err(Fault::Newer(number.to_string())),
        None => Err(Fault::NotAJournal("it says another format")),
    }
}

fn write_checkpoint(transaction: &WriteTransaction, checkpoint: &Checkpoint) -> Result<(), Fault> {
    let mut table = transaction.open_table(CHECKPOINT)?;
    table.retain(|_, _| false)?;
    let pieces = checkpoint.bytes.chunks(PIECE_BYTES);
    let head = CheckpointHead {
        position: checkpoint.position,
        settled: checkpoint.settled,
        length: checkpoint.bytes.len() as u64,
        pieces: u32::try_from(pieces.len()).map_err(|_| Fault::damaged("its checkpoint is too large"))?,
        checksum: crc32fast::hash(&checkpoint.bytes),
    };
    table.insert(0, &head.encode()[..])?;
    for (number, piece) in (1..).zip(pieces) {
        table.insert(number, piece)?;
    }
    Ok(())
}

struct CheckpointHead {
    position: Position,
    settled: Position,
    length: u64,
    pieces: u32,
    checksum: u32,
}

impl CheckpointHead {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = numbers(&[self.position.0, self.settled.0, self.length, u64::from(self.pieces)]);
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        summed(&bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (front, checksum) = checked(bytes)?.split_last_chunk::<4>()?;
        let [position, settled, length, pieces] = read_numbers(front)?;
        Some(Self {
            position: Position(position),
            settled: Position(settled),
            length,
            pieces: u32::try_from(pieces).ok()?,
            checksum: u32::from_le_bytes(*checksum),
        })
    }
}

impl Stored {
    fn encode(self) -> Vec<u8> {
        let Self { base, head, told, lines, bytes, thinned, advanced } = self;
        summed(&numbers(&[base.0, head.0, told.0, lines, bytes, thinned, advanced.cast_unsigned()]))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let [base, head, told, lines, bytes, thinned, advanced] = read_numbers(checked(bytes)?)?;
        let [base, head, told] = [base, head, told].map(Position);
        Some(Self { base, head, told, lines, bytes, thinned, advanced: advanced.cast_signed() })
    }
}

pub(super) fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(super) fn read_numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let (chunks, rest) = bytes.as_chunks::<8>();
    if chunks.len() != N || !rest.is_empty() {
        return None;
    }
    for (number, chunk) in numbers.iter_mut().zip(chunks) {
        *number = u64::from_le_bytes(*chunk);
    }
    Some(numbers)
}

/// The bytes and their checksum.
pub(super) fn summed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32fast::hash(bytes).to_le_bytes()].concat()
}

pub(super) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (front, sum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(front) == u32::from_le_bytes(*sum)).then_some(front)
}
