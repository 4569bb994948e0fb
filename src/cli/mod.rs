//! The command line: what a person types, and the exit codes that scripts read.
//!
//! One file per command; `args.rs` says what may be typed. Commands that ask a running instance go through
//! `ask.rs`, and all print through `out.rs`. Nothing here decides about journeys. A new command is a variant of
//! [`args::Command`] and a file.

mod args;
mod ask;
mod bundle;
mod check;
mod configure;
mod demo;
pub mod faults;
mod journal;
mod out;
mod replay;
mod run;
mod scan;
mod smoke;
mod status;
mod table;
mod wait;
mod why;
pub mod world;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Command, Knotmeter};

/// One task does the thinking and the others mostly wait: on a node of 64 cores a thread for each would cost memory
/// and help nobody.
const WORKERS_MAX: usize = 4;

/// How a command ended, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Live, or done.
    Done = 0,
    /// The journey failed, or something that was checked is wrong.
    Failed = 1,
    TimedOut = 2,
    /// No running instance or source could be asked.
    CannotAsk = 3,
    /// Somebody chose to wait.
    Held = 4,
    /// Any other ending: superseded, rolled back, withdrawn, removed, unknown.
    Other = 5,
    /// The command line is wrong (`EX_USAGE` of sysexits).
    Usage = 64,
    /// Whoever read the output has gone, as in `knotmeter status | head -1`: what a shell sees of `kubectl` and
    /// `git` then, which die of SIGPIPE (128 + 13).
    Closed = 141,
}

/// Something on the command line that its own parser cannot know to be wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Reads the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let typed = match Knotmeter::try_parse() {
        Ok(typed) => typed,
        Err(error) => {
            // Help and version go to standard output and are no mistake.
            let printed = out::typed(&error);
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return ExitCode::from(printed.map_or_else(|error| told(&error.into()), |()| exit) as u8);
        }
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        out::remark("error: another TLS provider is installed already");
        return ExitCode::from(Exit::Failed as u8);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(cores.min(WORKERS_MAX)).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::remark(format_args!("error: cannot start: {error}"));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let exit = runtime.block_on(run(typed)).unwrap_or_else(|error| told(&error));
    // Blocking work under way (a git fetch) must not hold the exit up.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}

/// Tells what went wrong, and how the command ends for it.
fn told(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<out::Error>().is_some_and(out::Error::is_closed) {
        return Exit::Closed;
    }
    out::remark(format_args!("error: {error:#}"));
    match () {
        () if error.is::<ask::CannotAsk>() => Exit::CannotAsk,
        () if error.is::<Usage>() || error.is::<crate::image::ParseError>() => Exit::Usage,
        () => Exit::Failed,
    }
}

async fn run(typed: Knotmeter) -> anyhow::Result<Exit> {
    match typed.command {
        Command::Run(args) => run::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Why(args) => why::run(args).await,
        Command::Wait(args) => wait::run(args).await,
        Command::Scan(args) => scan::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Config(args) => configure::run(&args),
        Command::Smoketest(args) => smoke::run(args).await,
        Command::Replay(args) => replay::run(&args),
        Command::Bundle(args) => bundle::run(args).await,
        Command::Journal(args) => journal::run(&args),
    }
}
