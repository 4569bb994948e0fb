//! What a cloud tells a pod about itself: variables, and files that they name.

use std::collections::BTreeMap;
use std::path::Path;

use crate::observers::secret::Secret;

/// The variables that are read, and no others. docs/credentials.md says which belong together.
const NAMES: [&str; 23] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_ECR",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GCE_METADATA_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_ACR_SCOPE",
    "KNOTMETER_CLOUD_LOGINS",
];

/// Variables by name. Never printed: some are secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Those of this process. With `KNOTMETER_CLOUD_LOGINS=off` no cloud is asked.
    #[must_use]
    pub fn of_process() -> Self {
        let set = NAMES.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
        Self::new(set)
    }

    /// Made-up ones.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, impl Into<String>)>) -> Self {
        let set = variables.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        Self(set.filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// A variable that is set to something.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether somebody switched all of this off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.get("KNOTMETER_CLOUD_LOGINS") == Some("off")
    }

    /// The secret in the file that a variable names. Read each time: the cluster rotates it.
    ///
    /// # Errors
    /// Names variable and file.
    pub fn secret_file(&self, name: &str) -> Result<Option<Secret>, String> {
        let Some(file) = self.get(name) else { return Ok(None) };
        Secret::read(Path::new(file)).map(Some).map_err(|why| format!("{name}: {why}"))
    }
}
