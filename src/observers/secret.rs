//! Texts that nobody may see, and the files that they come from.

use std::fmt;
use std::path::Path;

/// A token with many claims stays below 16 KiB; a file that is larger than this is another one.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A file's one line. It is read whenever the secret is needed, so that a rotated one is taken up.
    ///
    /// # Errors
    /// A sentence that names the file and shows nothing of it.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let size = std::fs::metadata(file).map_err(|error| format!("{shown}: {error}"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("{shown} is larger than {FILE_BYTES_MAX} bytes"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
        let text = text.trim();
        match text {
            "" => Err(format!("{shown} is empty")),
            text if text.contains(char::is_control) => Err(format!("{shown} has more than one line")),
            text => Ok(Self::new(text)),
        }
    }

    /// The text itself, for the one header or form it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
