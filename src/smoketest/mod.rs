//! The smoketest: a real image, pushed down the real path, followed to live through a running Knotmeter.
//!
//! `canary` makes the image, `push` pushes it, `follow` asks the API, `verdict` judges, `report` prints. It writes
//! to one place only, the tag that it makes up in the repository it was given; everything else (the update policy,
//! git, the cluster) must move by itself, for that is what is tested. The next check is a file beside `verdict.rs`.

mod canary;
mod follow;
mod push;
pub mod report;
mod verdict;

pub use canary::Canary;
pub use push::Credentials;
pub use verdict::{Conclusion, HeldSeen, JourneySeen, StageSeen, StuckSeen, Verdict, judge};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::image::{ImageRef, Repository, Tag};

/// What to send where, and whom to ask.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of a running Knotmeter, such as `http://127.0.0.1:9871`.
    pub server: String,
    /// Where to push. The update policy must look there.
    pub repository: Repository,
    /// The tag to push. It must not exist: the smoketest never replaces an image.
    pub tag: Option<Tag>,
    /// Without a tag: this and the Unix time, so that every run is the newest version. `v0.0.` suits a policy of
    /// semantic versions.
    pub tag_prefix: String,
    /// Speak http to the registry, not https.
    pub plain_http: bool,
    pub credentials: Credentials,
    /// Where it must become live. Empty: wherever a journey opens, at least one.
    pub environments: Vec<String>,
    /// How long all of it may take, the push included.
    pub timeout: Duration,
}

/// Pushes a canary and follows it. It always comes to a verdict, at the latest when the time is up.
pub async fn run(options: Options) -> Verdict {
    let deadline = Instant::now() + options.timeout;
    let tag = match tag(&options) {
        Ok(tag) => tag,
        Err(error) => {
            return Verdict::cannot_ask(None, format!("cannot make up a tag: {error}; change the prefix"));
        }
    };
    let image = ImageRef { repository: options.repository.clone(), tag: Some(tag.clone()), digest: None };
    let asker = match follow::Asker::new(&options.server, &image) {
        Ok(asker) => asker,
        Err(why) => return Verdict::cannot_ask(Some(image), why),
    };
    // Asked before anything is pushed: a canary that nobody can follow would only be litter.
    if let Err(why) = asker.ask().await {
        return Verdict::cannot_ask(Some(image), why);
    }
    let canary = Canary::new(SystemTime::now());
    let pushing = push::push(&canary, &options, &tag);
    let pushed = match tokio::time::timeout_at(deadline, pushing).await {
        Ok(Ok(pushed)) => pushed,
        Ok(Err(error)) => return Verdict::cannot_ask(Some(image), error.to_string()),
        Err(_) => {
            return Verdict::cannot_ask(
                Some(image),
                format!("the push to {} took too long", options.repository),
            );
        }
    };
    tracing::info!(image = %image, digest = %canary.digest(), "pushed the canary");
    let (journeys, conclusion) =
        follow::follow(&asker, &canary.digest(), &options.environments, deadline).await;
    Verdict { image: Some(image), digest: Some(canary.digest()), pushed: Some(pushed), conclusion, journeys }
}

fn tag(options: &Options) -> Result<Tag, crate::image::ParseError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    options.tag.clone().map_or_else(|| format!("{}{seconds}", options.tag_prefix).parse(), Ok)
}
