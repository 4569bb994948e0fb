//! What an earlier process knew of repositories, until somebody wants to look at them again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::image::Repository;
use crate::observation::LastLook;

/// The last looks of all hosts, each taken once.
#[derive(Debug, Clone, Default)]
pub struct LastLooks(Arc<Mutex<HashMap<Repository, LastLook>>>);

impl LastLooks {
    #[must_use]
    pub fn new(looks: impl IntoIterator<Item = LastLook>) -> Self {
        Self(Arc::new(Mutex::new(looks.into_iter().map(|look| (look.repository.clone(), look)).collect())))
    }

    /// The last look at a repository, the first time that it is asked for.
    #[must_use]
    pub fn take(&self, repository: &Repository) -> Option<LastLook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(repository)
    }

    /// More of them, in place of older ones.
    pub fn put(&self, looks: impl IntoIterator<Item = LastLook>) {
        let looks = looks.into_iter().map(|look| (look.repository.clone(), look));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(looks);
    }

    /// Forgets those that nobody asked for.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::new();
    }
}
