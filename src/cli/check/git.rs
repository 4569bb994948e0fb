//! Git repositories.

use futures::future::join_all;

use super::report::{Source, State};
use super::snippets;
use crate::config::{self, Config};
use crate::observers::git::{self, Error};

const COSTS: &str = "committed is unknown, a commit opens no journey";

/// Asks each for its branches.
pub async fn check(config: &Config) -> Vec<Source> {
    if config.git.is_empty() {
        let none = Source::absent("git", "none named")
            .costs("committed is skipped, every change counts as out_of_band")
            .paste("knotmeter.yaml", snippets::git());
        return vec![none];
    }
    join_all(config.git.iter().map(check_one)).await
}

async fn check_one(named: &config::Git) -> Source {
    let url = config::public_url(&named.url);
    let name = format!("git/{url}");
    let error = match git::check(named).await {
        Ok(report) => {
            let mut source = Source::ok(name, format!("{:.3} s", report.seconds));
            for (branch, tip) in &report.branches {
                match tip {
                    Some(tip) => source.part(&**branch, State::Ok, &**tip),
                    None => {
                        source.part(&**branch, State::Blind, "no such branch");
                        source = source.costs(format!("{COSTS} (on branch {branch})"));
                    }
                }
            }
            return source;
        }
        Err(error) => error,
    };
    let told = error.to_string();
    let told = told.strip_prefix(&format!("git repository {url}: ")).unwrap_or(&told);
    let source = Source::blind(name, told).costs(COSTS);
    let mend = |key, value| snippets::git_key(&url, key, value);
    match error {
        Error::Unauthorized { .. } if url.starts_with("https://") => {
            source.paste("knotmeter.yaml", mend("token_file", "/etc/knotmeter-git/token"))
        }
        Error::Unauthorized { .. } if !url.starts_with("http://") => {
            source.paste("knotmeter.yaml", mend("ssh_key_file", "/etc/knotmeter-git/ssh-privatekey"))
        }
        Error::HostUnknown { .. } => {
            source.paste("knotmeter.yaml", mend("known_hosts_file", "/etc/knotmeter-git/known_hosts"))
        }
        Error::Certificate { .. } => {
            source.paste("knotmeter.yaml", mend("tls", "{ca_file: /etc/knotmeter/ca.pem}"))
        }
        _ => source,
    }
}
