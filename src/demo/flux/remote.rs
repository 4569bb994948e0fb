//! Asks a git server for the tip of a branch over HTTP, with the words of Flux's git library.

use http::{StatusCode, header};

/// The commit at the tip of a branch; the error is what the library says.
pub(super) async fn tip(
    client: &reqwest::Client,
    agent: &str,
    repository: &str,
    branch: &str,
) -> Result<String, String> {
    let url = format!("{repository}/info/refs?service=git-upload-pack");
    let sent = client.get(&url).header(header::USER_AGENT, format!("git/2 ({agent})")).send().await;
    let response = sent.map_err(|error| {
        let host = url.split('/').nth(2).unwrap_or_default();
        match error.is_connect() {
            true => format!("Get {url:?}: dial tcp {host}: connect: connection refused"),
            false => format!("Get {url:?}: {error}"),
        }
    })?;
    let status = response.status();
    let body = response.bytes().await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&body);
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(format!("authentication required: {text}")),
        StatusCode::FORBIDDEN => return Err(format!("authorization failed: {text}")),
        StatusCode::NOT_FOUND => return Err(format!("repository not found: {text}")),
        other => {
            let code = other.as_u16();
            return Err(format!(
                "unexpected client error: unexpected requesting {url:?} status code: {code}: {text}"
            ));
        }
    }
    let name = format!(" refs/heads/{branch}");
    // Each line has four digits of length, the commit and the name.
    let line = text.lines().find(|line| line.split('\0').next().is_some_and(|line| line.ends_with(&name)));
    let commit = line.and_then(|line| line.strip_suffix(&name)).map(|front| &front[front.len().min(4)..]);
    let commit = commit.filter(|commit| commit.len() == 40);
    commit.map(str::to_owned).ok_or_else(|| format!("couldn't find remote ref \"refs/heads/{branch}\""))
}
