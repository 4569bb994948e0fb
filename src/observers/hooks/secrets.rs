//! The secret of one webhook, read again now and then: it is mounted, and it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old a secret in memory may be.
const READ_EVERY: Duration = Duration::from_secs(5);
/// The one in use, and the one before or after it.
const SECRETS_MAX: usize = 2;
/// Far longer than any secret.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 8;

/// See the file's front line.
pub struct Secrets {
    file: PathBuf,
    read: Mutex<Option<(Instant, Option<Known>)>>,
}

type Known = Arc<[String]>;

impl Secrets {
    #[must_use]
    pub fn of(file: &Path) -> Self {
        Self { file: file.into(), read: Mutex::default() }
    }

    /// The secrets that are good now; `None` while there is none.
    pub fn read(&self) -> Option<Known> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = &*read
            && at.elapsed() < READ_EVERY
        {
            return known.clone();
        }
        let known = match secrets(&self.file) {
            Ok(known) => Some(known),
            Err(why) => {
                tracing::error!(file = %self.file.display(), "the secret of a webhook cannot be used: {why}");
                None
            }
        };
        *read = Some((Instant::now(), known.clone()));
        known
    }
}

/// A secret never shows itself.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("file", &self.file).finish_non_exhaustive()
    }
}

fn secrets(file: &Path) -> Result<Known, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes are no secret"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines().any(|line| line.len() < SECRET_BYTES_MIN) {
        return Err(format!("a line is shorter than {SECRET_BYTES_MIN} characters, which can be guessed"));
    }
    let secrets: Vec<String> = lines().take(SECRETS_MAX).map(str::to_owned).collect();
    if secrets.is_empty() { Err("it is empty".into()) } else { Ok(secrets.into()) }
}
