//! What a person commits to git by hand.

use std::path::{Component, Path};

use super::engine::Engine;
use super::gitops::ENVIRONMENTS;
use super::{Error, World, flux, write_file};

impl World {
    /// Puts a text into a file of the repository, commits and pushes it; returns the commit.
    ///
    /// # Errors
    /// Where the path leaves the repository, nothing changed, or git refuses.
    pub async fn commit(&self, path: &str, text: &str, message: &str) -> Result<String, Error> {
        let text = text.to_owned();
        self.commit_edit(path, |_| text, message).await
    }

    /// As [`World::commit`], with the text made from the one that is there.
    ///
    /// # Errors
    /// As [`World::commit`].
    pub async fn commit_edit(
        &self,
        path: &str,
        edit: impl FnOnce(&str) -> String,
        message: &str,
    ) -> Result<String, Error> {
        if !Path::new(path).components().all(|one| matches!(one, Component::Normal(name) if name != ".git")) {
            return Err(Error::Git {
                call: "add".to_owned(),
                said: format!("{path:?} is not a path inside the repository"),
            });
        }
        let hand = self.hand.lock().await;
        hand.refresh().await?;
        let file = hand.folder().join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| Error::File { path: folder.to_owned(), source })?;
        }
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        write_file(&file, &edit(&before))?;
        hand.commit_and_push(message).await
    }

    /// Commits another tag for an app in one environment, as a person rolling back would.
    ///
    /// # Errors
    /// As [`World::commit`].
    pub async fn commit_tag(&self, environment: &str, app: &str, tag: &str) -> Result<String, Error> {
        debug_assert!(ENVIRONMENTS.contains(&environment), "{environment} is no environment of the demo");
        let keyword = match self.engine {
            Engine::Plain => format!("# release-{app}"),
            Engine::Flux => flux::marker(app),
        };
        let edit = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for line in lines.iter_mut().filter(|line| line.ends_with(&keyword)) {
                let image_end = line.find(" #").unwrap_or(line.len());
                if let Some(colon) = line[..image_end].rfind(':') {
                    line.replace_range(colon + 1..image_end, tag);
                }
            }
            lines.join("\n") + "\n"
        };
        self.commit_edit(
            &format!("{environment}/{app}.yaml"),
            edit,
            &format!("run {app} {tag} in {environment}"),
        )
        .await
    }

    /// Commits the one environment variable of an app's container in one environment: a plain change, without
    /// an image.
    ///
    /// # Errors
    /// As [`World::commit`].
    pub async fn commit_variable(
        &self,
        environment: &str,
        app: &str,
        name: &str,
        value: &str,
    ) -> Result<String, Error> {
        let edit = |text: &str| {
            let mut lines: Vec<String> = Vec::new();
            let mut replaced = false;
            for line in text.lines() {
                match line.trim() {
                    "env:" => replaced = true,
                    "envFrom:" => {
                        replaced = false;
                        lines.push("          env:".to_owned());
                        lines.push(format!("            - name: {name}"));
                        lines.push(format!("              value: {value:?}"));
                        lines.push(line.to_owned());
                    }
                    _ if replaced => {}
                    _ => lines.push(line.to_owned()),
                }
            }
            lines.join("\n") + "\n"
        };
        let path = format!("{environment}/{app}.yaml");
        self.commit_edit(&path, edit, &format!("set {name} of {app} in {environment}")).await
    }

    /// Commits another greeting in the ConfigMap of an app; nothing restarts its pods.
    ///
    /// # Errors
    /// As [`World::commit`].
    pub async fn commit_setting(
        &self,
        environment: &str,
        app: &str,
        greeting: &str,
    ) -> Result<String, Error> {
        let edit = |text: &str| {
            let line = |line: &str| match line.trim_start().starts_with("GREETING:") {
                true => format!("  GREETING: {greeting}"),
                false => line.to_owned(),
            };
            text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
        };
        let path = format!("{environment}/{app}-settings.yaml");
        self.commit_edit(&path, edit, &format!("greet with {greeting:?} in {environment}")).await
    }

    /// Commits another number of replicas.
    ///
    /// # Errors
    /// As [`World::commit`].
    pub async fn commit_replicas(
        &self,
        environment: &str,
        app: &str,
        replicas: u32,
    ) -> Result<String, Error> {
        let edit = |text: &str| {
            let line = |line: &str| match line.starts_with("  replicas:") {
                true => format!("  replicas: {replicas}"),
                false => line.to_owned(),
            };
            text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
        };
        let path = format!("{environment}/{app}.yaml");
        self.commit_edit(&path, edit, &format!("run {replicas} of {app} in {environment}")).await
    }
}
