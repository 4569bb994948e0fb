//! Append, checkpoint, open again; who is refused, and why.

use std::os::unix::fs::PermissionsExt;

use knotmeter::journal::{Checkpoint, Error, Journal, Limits, Position};

use super::facts::{observation, observations, open, read};

#[test]
fn what_was_appended_comes_back_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/journal");
    let mut journal = open(&path).journal;
    assert_eq!(journal.append(&observations(0..1)).expect("append"), Position(1));
    assert_eq!(journal.append(&observations(1..1000)).expect("append"), Position(1000));
    drop(journal);
    let opened = open(&path);
    assert_eq!(opened.checkpoint, None);
    let expected: Vec<_> = (0..1000).map(|number| (Position(number), observation(number))).collect();
    assert_eq!(read(opened.tail), expected);
    assert_eq!(opened.journal.position(), Position(1000));
}

#[test]
fn a_start_reads_the_checkpoint_and_what_came_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut journal = open(&path).journal;
    // Larger than a piece, so that it is put together again.
    let bytes: Vec<u8> = (0..700_000_u32).map(|number| (number * 7 % 251) as u8).collect();
    journal.append(&observations(0..300)).expect("append");
    let first = Checkpoint { position: Position(300), settled: Position(290), bytes: vec![1; 900_000] };
    journal.commit(&[], Some(&first)).expect("commit");
    let checkpoint = Checkpoint { position: Position(400), settled: Position(350), bytes };
    journal.commit(&observations(300..500), Some(&checkpoint)).expect("commit");
    drop(journal);
    let opened = open(&path);
    assert_eq!(opened.checkpoint, Some(checkpoint));
    assert_eq!(opened.told, Position(350));
    let expected: Vec<_> = (400..500).map(|number| (Position(number), observation(number))).collect();
    assert_eq!(read(opened.tail), expected);
}

#[test]
fn a_tail_is_read_while_more_is_appended() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut journal = open(&path).journal;
    journal.append(&observations(0..600)).expect("append");
    let mut tail = journal.everything().expect("a tail");
    let first = tail.next().expect("a batch").expect("a batch");
    journal.append(&observations(600..900)).expect("append");
    let rest = read(tail);
    assert_eq!(first.observations.len() + rest.len(), 600, "as it was when the reading began");
}

#[test]
fn reading_begins_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = open(&folder.path().join("journal")).journal;
    for start in (0..900).step_by(30) {
        journal.append(&observations(start..start + 30)).expect("append");
    }
    let at = observation(450).observed_at.0;
    let found = read(journal.since(at).expect("a tail"));
    assert_eq!(found.first().map(|(position, _)| *position), Some(Position(450)));
    assert_eq!(found.len(), 450);
    assert_eq!(read(journal.since(0).expect("a tail")).len(), 900);
    assert_eq!(read(journal.since(i64::MAX).expect("a tail")).len(), 0);
}

#[test]
fn the_file_is_for_its_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made/journal");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    drop(open(&path));
    assert_eq!((mode(&path), mode(&folder.path().join("made"))), (0o600, 0o700));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("chmod");
    drop(open(&path));
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_journal_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let first = open(&path);
    let refused = Journal::open(&path, Limits::default()).expect_err("it is in use");
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(first);
    drop(open(&path));
}

#[test]
fn a_newer_journal_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    drop(open(&path));
    let database = redb::Database::open(&path).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    let text = b"knotmeter-journal 2";
    let noted = [&text[..], &crc32fast::hash(text).to_le_bytes()].concat();
    let meta: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
    transaction.open_table(meta).expect("a table").insert("format", &noted[..]).expect("insert");
    transaction.commit().expect("commit");
    drop(database);
    let before = std::fs::read(&path).expect("the file");
    let refused = Journal::open(&path, Limits::default()).expect_err("it is newer");
    assert!(matches!(refused, Error::Newer { .. }), "{refused}");
    assert!(refused.to_string().contains("format 2, and this program reads up to 1"), "{refused}");
    assert_eq!(std::fs::read(&path).expect("the file").len(), before.len());
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing set aside");
}

#[test]
fn another_programs_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "buy milk, and bread too\n").expect("write");
    let refused = Journal::open(&text, Limits::default()).expect_err("it is no journal");
    assert!(matches!(refused, Error::NotAJournal { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&text).expect("the file"), "buy milk, and bread too\n");

    let other = folder.path().join("other.redb");
    let database = redb::Database::create(&other).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("theirs");
    transaction.open_table(table).expect("a table").insert(1, 2).expect("insert");
    transaction.commit().expect("commit");
    drop(database);
    let refused = Journal::open(&other, Limits::default()).expect_err("it is no journal");
    assert!(matches!(refused, Error::NotAJournal { .. }), "{refused}");
}

#[test]
fn a_folder_that_cannot_be_made_is_the_disks_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("write");
    let path = folder.path().join("file/journal");
    let refused = Journal::open(&path, Limits::default()).expect_err("no folder");
    assert!(matches!(refused, Error::Disk { .. }), "{refused}");
    assert!(refused.to_string().contains("look at its disk and permissions"), "{refused}");
}

#[test]
fn facts_of_a_newer_program_survive_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines: Vec<String> =
        (0..5).map(|number| serde_json::to_string(&observation(number)).expect("json")).collect();
    // A fact, a source and a field that nobody here knows, with odd spaces and an escape.
    lines[1] = r#"{"schema":9,"source":{"kind":"registry","name":"r"},"source_epoch":1,"seq":2,"cluster":null,"observed_at":"2026-11-21T10:00:00.000Z","happened":{"not_before":null,"not_after":"2026-11-21T10:00:00.000Z"},"basis":"poll","fact":{"fact":"moon_rises",  "phase":"\u00e9"}}"#.into();
    lines[3] =
        r#"{"schema":9,"source":{"kind":"telescope"},"observed_at":"2026-11-21T10:00:01.000Z","zeal":1}"#
            .into();
    let text = lines.join("\n") + "\n";
    let mut journal = open(&folder.path().join("a")).journal;
    let imported = journal.import(text.as_bytes()).expect("import");
    assert_eq!((imported.lines, imported.unknown), (5, 1));
    let mut out = Vec::new();
    assert_eq!(journal.export(&mut out).expect("export"), 5);
    assert_eq!(String::from_utf8(out).expect("text"), text);
    let batches: Vec<_> =
        journal.everything().expect("a tail").map(|batch| batch.expect("a batch")).collect();
    assert_eq!((batches[0].observations.len(), batches[0].unread), (4, 1));
    assert_eq!(batches[0].observations[1].1.fact, knotmeter::observation::Fact::Unknown);
}

#[test]
fn an_import_says_which_line_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = open(&folder.path().join("a")).journal;
    let text = format!("{}\n\n{{\"seq\":1}}\n", serde_json::to_string(&observation(0)).expect("json"));
    let refused = journal.import(text.as_bytes()).expect_err("line 3 has no time");
    assert!(refused.to_string().starts_with("line 3: no observation"), "{refused}");
}
