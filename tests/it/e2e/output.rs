//! Commands whose reader goes away, and commands whose output has no room.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, pipe};
use std::process::{Output, Stdio};

use super::demo::Demo;
use super::process::knotmeter;

/// What a shell tells of a program that died of SIGPIPE.
const CLOSED: Option<i32> = Some(128 + 13);

/// Commands that need nobody to ask.
const ALONE: [&[&str]; 4] =
    [&["config", "schema"], &["config", "show"], &["demo", "--list-faults"], &["--help"]];

/// Runs a command with this standard output.
fn run(arguments: &[&str], output: impl Into<Stdio>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = knotmeter(arguments, folder.path());
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn a_reader_that_has_gone_ends_a_command_quietly() {
    for arguments in ALONE {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = run(arguments, writer);
        assert_eq!((ended.status.code(), ended.stderr.len()), (CLOSED, 0), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_full_disk_is_told_and_fails() {
    for arguments in ALONE {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = run(arguments, full);
        let said = String::from_utf8_lossy(&ended.stderr);
        let expected = "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((ended.status.code(), &*said), (Some(1), expected), "{arguments:?}");
    }
}

#[test]
fn a_command_ends_as_it_should_where_nobody_hears_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, exit) in [(["config", "nothing"], 64), (["why", "web"], 3)] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = knotmeter(&arguments, folder.path());
        command.env("KNOTMETER_SERVER", "http://127.0.0.1:9");
        let ended = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer).output().unwrap();
        assert_eq!(ended.status.code(), Some(exit), "{arguments:?}: {ended:?}");
    }
}

/// `knotmeter status -w | head -1`: it ends when the next line comes.
#[tokio::test]
async fn the_first_line_of_status_can_be_all_that_is_read() {
    let demo = Demo::start(&["--push-every", "1s"]).await;
    let mut command = knotmeter(&["status", "-w", "--server", &demo.page], demo.folder());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let head = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (line, child.wait().unwrap().code(), errors)
    });
    let (line, code, errors) = head.await.unwrap();
    assert!(line.starts_with("APP "), "{line}");
    assert_eq!((code, errors.as_str()), (CLOSED, ""));
}
