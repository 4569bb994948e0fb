//! How the reflector reads tags: as go-containerregistry does, with its errors.

use http::{StatusCode, header};
use serde_json::Value;

/// What the library calls itself.
const AGENT: &str = "go-containerregistry/v0.20.6";
/// A repository with more pages of tags than this is not the demo's.
const PAGES_MAX: usize = 1000;

/// Every tag of an image's repository.
pub(super) async fn tags(client: &reqwest::Client, image: &str) -> Result<Vec<String>, String> {
    let (host, path) = image.split_once('/').ok_or_else(|| format!("could not parse reference: {image}"))?;
    let front = format!("http://{host}");
    // The library first asks how to log in; a refusal there is told by the next request.
    let base = get(client, &format!("{front}/v2/")).await?;
    if base.status() != StatusCode::UNAUTHORIZED {
        checked(&format!("{front}/v2/"), base).await?;
    }
    let mut tags = Vec::new();
    let mut next = format!("/v2/{path}/tags/list?n=1000");
    for _ in 0..PAGES_MAX {
        let url = format!("{front}{next}");
        let response = checked(&url, get(client, &url).await?).await?;
        let link = response.headers().get(header::LINK).and_then(|value| value.to_str().ok());
        let link = link.and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()));
        let page: Value = response.json().await.map_err(|error| error.to_string())?;
        let found = page["tags"].as_array().into_iter().flatten();
        tags.extend(found.filter_map(|tag| tag.as_str().map(str::to_owned)));
        match link {
            Some(link) => next = link,
            None => return Ok(tags),
        }
    }
    Err(format!("{image} has too many pages of tags"))
}

async fn get(client: &reqwest::Client, url: &str) -> Result<reqwest::Response, String> {
    let sent = client.get(url).header(header::USER_AGENT, AGENT).send().await;
    sent.map_err(|error| {
        let host = url.split('/').nth(2).unwrap_or_default();
        match error.is_connect() {
            // It tries the safe way first, even where the other is allowed.
            true => {
                let refused = format!("dial tcp {host}: connect: connection refused");
                format!("Get {:?}: {refused}; Get {url:?}: {refused}", url.replacen("http:", "https:", 1))
            }
            false => format!("Get {url:?}: {error}"),
        }
    })
}

async fn checked(url: &str, response: reqwest::Response) -> Result<reqwest::Response, String> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
    let first = &parsed["errors"][0];
    match (first["code"].as_str(), first["message"].as_str()) {
        (Some(code), Some(message)) => Err(format!("GET {url}: {code}: {message}")),
        _ => Err(format!("GET {url}: unexpected status code {status}: {body}")),
    }
}
