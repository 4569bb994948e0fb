//! Docker's credential helpers: a program that is given a host and prints a user and a secret.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{Login, Secret};
use crate::observers::program;

/// A helper that asks a cloud needs seconds; one that waits for a person would wait for ever.
const TIME_MAX: Duration = Duration::from_secs(20);
/// The longest token that we know of has 12 KiB.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// A program that exists.
#[derive(Debug)]
pub struct Helper {
    name: String,
    program: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helper {
    /// The program that a docker config means by a name such as `ecr-login`.
    ///
    /// # Errors
    /// There is no such program here, and what to do instead.
    pub fn named(name: &str, file: &Path) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let shown = file.display();
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!("{shown}: {name:?} is no name of a credential helper"));
        }
        let name = format!("docker-credential-{name}");
        match program::find(&name) {
            Some(program) => Ok(Self::at(program)),
            None => Err(format!(
                "{shown} names the credential helper {name}, and there is no such program here; mount a pull secret, \
                 or let the pod log in with its cloud identity (docs/credentials.md)"
            )),
        }
    }

    /// The program in a file.
    #[must_use]
    pub fn at(program: PathBuf) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, program }
    }

    /// Asks the program. `None` where it knows no login for the host.
    ///
    /// # Errors
    /// It fails, takes too long or prints something else. What it printed is never shown: it may be the secret.
    pub async fn ask(&self, host: &str) -> Result<Option<Login>, String> {
        let name = &self.name;
        match tokio::time::timeout(TIME_MAX, self.run(host)).await {
            Ok(outcome) => {
                outcome.map_err(|why| format!("{name} {why}; run `{name} get` by hand to see why"))
            }
            Err(_) => Err(format!("{name} did not end within {} s", TIME_MAX.as_secs())),
        }
    }

    async fn run(&self, host: &str) -> Result<Option<Login>, String> {
        let cannot = |error: std::io::Error| format!("cannot be run: {error}");
        let mut child = Command::new(&self.program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        // Docker Hub is known to helpers by the address of its first index.
        let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
        let mut stdin = child.stdin.take().expect("it was piped");
        // A program that does not read its input is no failure yet.
        let _ = stdin.write_all(server.as_bytes()).await;
        drop(stdin);
        let mut output = Vec::new();
        let stdout = child.stdout.take().expect("it was piped");
        stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).await.map_err(cannot)?;
        if output.len() as u64 > OUTPUT_BYTES_MAX {
            return Err(format!("printed more than {OUTPUT_BYTES_MAX} bytes"));
        }
        let status = child.wait().await.map_err(cannot)?;
        if !status.success() {
            // The one failure that has a fixed text in Docker's own library.
            let unknown = String::from_utf8_lossy(&output).contains("credentials not found");
            return if unknown { Ok(None) } else { Err(format!("failed ({status})")) };
        }
        let answer: Answer =
            serde_json::from_slice(&output).map_err(|_| "printed something else than a login".to_owned())?;
        let secret = Secret::new(answer.secret);
        Ok(Some(match answer.username.as_str() {
            "<token>" => Login::Identity(secret),
            _ => Login::Password { user: answer.username, password: secret },
        }))
    }
}
