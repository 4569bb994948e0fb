//! Programs that end with their test, also when it fails: asked first, so that they end their own children.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{ASK_EVERY, PATIENCE};
use crate::secrets::clean;

/// A program that was asked to end has this long before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A program that runs beside the test. What it writes goes to `NAME.out` and `NAME.err` in a folder.
pub struct Program {
    name: String,
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Program {
    /// Starts it; `package` is told where it is missing.
    pub fn start(mut command: Command, package: &str, folder: &Path) -> Self {
        let program = command.get_program().to_owned();
        let name = Path::new(&program).file_name().expect("a program").to_string_lossy().into_owned();
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        command.stdin(Stdio::null());
        command.stdout(File::create(file("out")).expect("a file for its output"));
        command.stderr(File::create(file("err")).expect("a file for its errors"));
        let child = command.spawn().unwrap_or_else(|error| missing(&name, package, &error));
        Self { output: file("out"), errors: file("err"), name, child }
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails the test if it has ended.
    pub fn still_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child of ours") {
            panic!("{} has ended ({status}): {}", self.name, self.errors());
        }
    }

    /// Sends a signal such as `INT`.
    pub fn signal(&self, signal: &str) {
        assert!(send(self.child.id(), signal), "{} could not be sent {signal}", self.name);
    }

    /// Its exit; fails the test if it does not end.
    pub fn ended(&mut self) -> ExitStatus {
        self.ends_within(ENDS_WITHIN).unwrap_or_else(|| panic!("{} did not end", self.name))
    }

    /// Its exit, or nothing: then it has been killed.
    fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let id = self.child.id();
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| tell.send(self.child.wait()));
            let ended = told.recv_timeout(time);
            if ended.is_err() {
                send(id, "KILL");
            }
            ended.ok()?.ok()
        })
    }
}

impl Drop for Program {
    /// What it said is looked at for secrets then.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            send(self.child.id(), "TERM");
            self.ends_within(ENDS_WITHIN);
        }
        if !std::thread::panicking() {
            clean(&self.name, &(self.output() + &self.errors()));
        }
    }
}

/// What a program that ends by itself said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Fails the test unless it ended with 0.
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }
}

/// Runs a program to its end, without blocking the test's other tasks.
pub async fn run(command: Command, package: &str) -> Said {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap_or_else(|error| missing(&name, package, &error));
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("{name} did not end"))
        .expect("its output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    clean(&name, &(said.out.clone() + &said.err));
    said
}

/// A program of the system with its arguments, without the variables of whoever runs the tests.
pub fn program<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: &[S], home: &Path) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("TMPDIR", home).env("LC_ALL", "C.UTF-8");
    command
}

/// The program under test.
pub fn knotmeter<S: AsRef<std::ffi::OsStr>>(arguments: &[S], home: &Path) -> Command {
    program(env!("CARGO_BIN_EXE_knotmeter"), arguments, home)
}

/// Starts a program that cannot choose its port itself: `command` gets a free one, and another if somebody else
/// took it in between. `answers` is asked until the program is there.
pub async fn listening(
    package: &str,
    folder: &Path,
    command: impl Fn(u16) -> Command,
    answers: impl AsyncFn(u16) -> bool,
) -> (Program, u16) {
    for _ in 0..5 {
        let port = free_port();
        let mut program = Program::start(command(port), package, folder);
        let deadline = Instant::now() + PATIENCE;
        while program.child.try_wait().expect("a child of ours").is_none() && Instant::now() < deadline {
            if answers(port).await {
                return (program, port);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        eprintln!("it did not start on port {port}: {}", program.errors());
    }
    panic!("the program of {package} did not start");
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    free.local_addr().expect("an address").port()
}

fn send(id: u32, signal: &str) -> bool {
    let sent = Command::new("kill").args(["-s", signal, &id.to_string()]).stdin(Stdio::null()).status();
    sent.is_ok_and(|status| status.success())
}

fn missing(name: &str, package: &str, error: &std::io::Error) -> ! {
    panic!("{name} cannot be run ({error}): install the Debian package {package}")
}
