//! The updater: asks the registry for tags and writes the newest of each app to its lines in git.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{StatusCode, header};
use serde_json::Value;

use super::{APPS, App, ENVIRONMENTS, expect, number, version};
use crate::demo::Error;
use crate::demo::engine::Engine;
use crate::demo::fault::{Fault, Faults};
use crate::demo::git::Git;

/// What it calls itself to the registry.
const AGENT: &str = "demo-updater";
/// A repository with more pages of tags than this is not the demo's.
const PAGES_MAX: usize = 1000;

pub(in crate::demo) struct Updater {
    client: reqwest::Client,
    registry: String,
    git: Git,
    faults: Faults,
    /// The work tree may differ from the server's: a push failed.
    astray: bool,
}

impl Updater {
    /// An updater whose `git` is a clone.
    pub(in crate::demo) fn new(client: reqwest::Client, registry: String, git: Git, faults: Faults) -> Self {
        Self { client, registry, git, faults, astray: false }
    }

    pub(in crate::demo) async fn run(mut self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            if self.faults.on(Fault::UpdaterDown) {
                continue;
            }
            if let Err(error) = self.pass().await {
                tracing::debug!(%error, "the updater will try again");
            }
        }
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let mut newest = Vec::new();
        for app in APPS {
            match self.newest(&app.repository()).await {
                Ok(Some(number)) => newest.push((app, version(number))),
                Ok(None) => {}
                // One repository that cannot be read does not hold up the others.
                Err(error) => tracing::debug!(%error, "the updater could not look"),
            }
        }
        if self.astray {
            self.git.refresh().await?;
            self.astray = false;
        }
        if self.edits(&newest)?.is_empty() {
            return Ok(());
        }
        self.git.refresh().await?;
        let edits = self.edits(&newest)?;
        if edits.is_empty() {
            return Ok(());
        }
        let mut changed: Vec<&str> = Vec::new();
        for edit in &edits {
            write(&edit.path, &edit.text)?;
            changed.extend(edit.changes.iter().map(String::as_str));
        }
        changed.sort_unstable();
        changed.dedup();
        self.astray = true;
        self.git.commit_and_push(&format!("release {}", changed.join(", "))).await?;
        self.astray = false;
        Ok(())
    }

    /// The highest version among all tags of a repository.
    async fn newest(&self, repository: &str) -> Result<Option<u64>, Error> {
        let what = || format!("listing the tags of {repository}");
        let front = format!("http://{}", self.registry);
        let mut next = format!("/v2/{repository}/tags/list");
        let mut newest = None;
        for _ in 0..PAGES_MAX {
            let response =
                expect(what, self.ask(format!("{front}{next}")).send().await, &[StatusCode::OK]).await?;
            let link = response.headers().get(header::LINK).and_then(|value| value.to_str().ok());
            let link = link.and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
            let page: Value = response
                .json()
                .await
                .map_err(|error| Error::Http { what: what(), why: error.to_string() })?;
            let tags = page["tags"].as_array().into_iter().flatten();
            newest = newest.max(tags.filter_map(|tag| number(tag.as_str()?)).max());
            match link {
                Some(link) => next = link,
                None => return Ok(newest),
            }
        }
        Err(Error::Http { what: what(), why: "too many pages".to_owned() })
    }

    fn ask(&self, url: String) -> reqwest::RequestBuilder {
        self.client.get(url).header(header::USER_AGENT, AGENT)
    }

    /// The files that would change, with their new text.
    fn edits(&self, newest: &[(App, String)]) -> Result<Vec<Edit>, Error> {
        let invents = self.faults.on(Fault::MissingTag);
        let mut edits = Vec::new();
        for environment in ENVIRONMENTS {
            for path in manifests(&self.git.folder().join(environment))? {
                let before = read(&path)?;
                let mut changes = Vec::new();
                let mut after: String = before
                    .lines()
                    .map(|line| edited(line, newest, invents, &mut changes))
                    .collect::<Vec<_>>()
                    .join("\n");
                after.push('\n');
                if !changes.is_empty() {
                    edits.push(Edit { path, text: after, changes });
                }
            }
        }
        Ok(edits)
    }
}

struct Edit {
    path: PathBuf,
    text: String,
    changes: Vec<String>,
}

/// The manifests in a folder, by name; none where there is no folder.
pub(in crate::demo) fn manifests(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |source| Error::File { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

pub(in crate::demo) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// A line as it should be: those with an app's keyword carry its newest tag.
fn edited(line: &str, newest: &[(App, String)], invents: bool, changes: &mut Vec<String>) -> String {
    let Some((app, tag)) =
        newest.iter().find(|(app, _)| line.trim_end().ends_with(&app.keyword(Engine::Plain)))
    else {
        return line.to_owned();
    };
    let (front, comment) = line.split_at(line.find(" #").unwrap_or(line.len()));
    let Some((image, current)) = front.rsplit_once(':') else { return line.to_owned() };
    let invented = format!("{tag}-missing");
    let wanted = match (invents, current == tag) {
        (true, true) => return line.to_owned(),
        (true, false) => &invented,
        (false, _) => tag,
    };
    if current == wanted {
        return line.to_owned();
    }
    changes.push(format!("{} {wanted}", app.name));
    format!("{image}:{wanted}{comment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_line_takes_the_new_tag() {
        let newest = [(APPS[0], "v1.0.3".to_owned())];
        let mut changes = Vec::new();
        let line = "  image: 127.0.0.1:5000/team/web:v1.0.2 # release-web";
        let after = edited(line, &newest, false, &mut changes);
        assert_eq!(after, "  image: 127.0.0.1:5000/team/web:v1.0.3 # release-web");
        assert_eq!(edited(&after, &newest, true, &mut changes), after);
        let other = "  image: 127.0.0.1:5000/team/api:v1.0.2 # release-api";
        assert_eq!(edited(other, &newest, false, &mut changes), other);
        assert_eq!(changes, ["web v1.0.3"]);
    }

    #[test]
    fn an_invented_tag_is_replaced_when_the_updater_is_well_again() {
        let newest = [(APPS[0], "v1.0.3".to_owned())];
        let mut changes = Vec::new();
        let invented = edited("image: r/web:v1.0.2 # release-web", &newest, true, &mut changes);
        assert_eq!(invented, "image: r/web:v1.0.3-missing # release-web");
        assert_eq!(edited(&invented, &newest, true, &mut changes), invented);
        assert_eq!(edited(&invented, &newest, false, &mut changes), "image: r/web:v1.0.3 # release-web");
    }
}
