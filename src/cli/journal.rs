//! `knotmeter journal export|import`: observations out of a journal and into one, as JSON lines.

use std::io::{BufWriter, Write as _, stdin, stdout};
use std::path::Path;

use super::args::{JournalArgs, JournalCommand};
use super::{Exit, out};
use crate::journal::{Journal, Limits};

/// Runs the command.
pub fn run(args: &JournalArgs) -> anyhow::Result<Exit> {
    match &args.command {
        JournalCommand::Export { journal } => export(journal),
        JournalCommand::Import { journal } => import(journal),
    }
}

fn export(path: &Path) -> anyhow::Result<Exit> {
    let opened = Journal::open_existing(path)?;
    drop(opened.tail);
    let mut to = BufWriter::new(stdout().lock());
    let count = opened.journal.export(&mut to)?;
    to.flush()?;
    out::remark(format_args!("{count} observations"));
    Ok(Exit::Done)
}

fn import(path: &Path) -> anyhow::Result<Exit> {
    let opened = Journal::open(path, Limits::default())?;
    opened.notes.iter().for_each(out::remark);
    drop(opened.tail);
    let mut journal = opened.journal;
    let imported = journal.import(stdin().lock())?;
    let (lines, unknown) = (imported.lines, imported.unknown);
    out::remark(format_args!("{lines} observations, {unknown} of them of a kind that is not known here"));
    Ok(Exit::Done)
}
