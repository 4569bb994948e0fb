//! The demo's git: a bare repository served over smart HTTP by git's own `http-backend` (`server`), and the
//! `git` program as the demo's people use it, here. Every call ignores the user's and the system's
//! configuration, so that signing, hooks or proxies of the host change nothing.

mod server;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::Error;
pub(super) use server::router;

/// The branch that is deployed.
pub(super) const BRANCH: &str = "main";
/// The repository's folder and the path in its address.
pub(super) const REPOSITORY: &str = "fleet.git";

/// A git call on loopback takes milliseconds; one that takes longer hangs.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How much of git's own error is passed on.
const ERROR_CHARS_MAX: usize = 400;

/// The `git` program in one folder, as one person.
#[derive(Debug, Clone)]
pub(super) struct Git {
    folder: PathBuf,
    author: &'static str,
    /// The program that it is, as servers see it.
    agent: &'static str,
}

impl Git {
    pub(super) fn new(folder: impl Into<PathBuf>, author: &'static str) -> Self {
        Self { folder: folder.into(), author, agent: author }
    }

    /// As [`Git::new`], for a program that commits under another name than its own.
    pub(super) fn of_program(folder: impl Into<PathBuf>, agent: &'static str, author: &'static str) -> Self {
        Self { folder: folder.into(), author, agent }
    }

    /// Runs `git` and returns what it printed.
    pub(super) async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, Error> {
        let mut command = program(&self.folder);
        let email = format!("{}@demo.invalid", self.author);
        command
            .args(arguments)
            .env("GIT_HTTP_USER_AGENT", format!("git/2 ({})", self.agent))
            .env("GIT_AUTHOR_NAME", self.author)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", self.author)
            .env("GIT_COMMITTER_EMAIL", &email)
            .stdin(Stdio::null());
        let output = finished(command.output()).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let call: Vec<_> = arguments.iter().map(|one| one.as_ref().to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Git { call: call.join(" "), said: said.trim().chars().take(ERROR_CHARS_MAX).collect() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Clones `url` into the folder, which must exist and be empty.
    pub(super) async fn clone_from(&self, url: &str) -> Result<(), Error> {
        self.run(&["clone", "--quiet", "--branch", BRANCH, url, "."]).await.map(drop)
    }

    /// Makes the work tree exactly what the server has.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        self.refresh_to(BRANCH).await
    }

    /// As [`Git::refresh`], with another branch.
    pub(super) async fn refresh_to(&self, branch: &str) -> Result<(), Error> {
        self.run(&["fetch", "--quiet", "origin", branch]).await?;
        self.run(&["reset", "--quiet", "--hard", "FETCH_HEAD"]).await.map(drop)
    }

    /// The commit at the tip of the server's branch.
    pub(super) async fn remote_tip(&self) -> Result<String, Error> {
        let line = self.run(&["ls-remote", "origin", &format!("refs/heads/{BRANCH}")]).await?;
        Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// Commits everything that changed in the work tree and pushes it; returns the commit.
    pub(super) async fn commit_and_push(&self, message: &str) -> Result<String, Error> {
        self.commit_and_push_to(BRANCH, message).await
    }

    /// As [`Git::commit_and_push`], to another branch.
    pub(super) async fn commit_and_push_to(&self, branch: &str, message: &str) -> Result<String, Error> {
        self.run(&["add", "--all"]).await?;
        self.run(&["commit", "--quiet", "--message", message]).await?;
        self.run(&["push", "--quiet", "origin", &format!("HEAD:refs/heads/{branch}")]).await?;
        self.run(&["rev-parse", "HEAD"]).await
    }
}

/// Makes the bare repository in `root`.
pub(super) async fn create(root: &Path) -> Result<(), Error> {
    let git = Git::new(root, "demo");
    git.run(&["init", "--quiet", "--bare", "--initial-branch", BRANCH, REPOSITORY]).await?;
    let bare = Git::new(root.join(REPOSITORY), "demo");
    bare.run(&["config", "http.receivepack", "true"]).await?;
    // A shallow or filtered clone is what an observer may want.
    bare.run(&["config", "uploadpack.allowFilter", "true"]).await?;
    // Housekeeping in the background would outlive the world.
    bare.run(&["config", "receive.autogc", "false"]).await.map(drop)
}

/// `git` with nothing of the host's configuration and of a surrounding git call in its environment.
fn program(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy().to_ascii_lowercase();
        if name_text.starts_with("git_") || name_text.ends_with("_proxy") {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("HOME", folder)
        .env("LC_ALL", "C")
        .kill_on_drop(true);
    command
}

async fn finished(run: impl Future<Output = std::io::Result<Output>>) -> Result<Output, Error> {
    match tokio::time::timeout(CALL_TIME_MAX, run).await {
        Ok(output) => output.map_err(Error::no_git),
        Err(_) => Err(Error::Git { call: "git".to_owned(), said: "no answer in 30 seconds".to_owned() }),
    }
}
