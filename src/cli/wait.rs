//! `knotmeter wait`: ends when an image is live, or cannot become so.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::args::WaitArgs;
use super::ask::Instance;
use super::{Exit, out};

/// Between two questions. The instance answers from memory.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// An instance that restarts is back within this time.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Waits and prints the `why` sentence.
pub async fn run(args: WaitArgs) -> anyhow::Result<Exit> {
    let instance = Instance::new(&args.server).await?;
    let mut query = vec![("q", args.image.as_str())];
    query.extend(args.namespaces.namespace.as_deref().map(|namespace| ("namespace", namespace)));
    let deadline = Instant::now() + args.timeout.duration();
    let mut silent_since: Option<Instant> = None;
    loop {
        match instance.get("/api/v1/why", &query).await.map(|mut answer| answer["answers"].take()) {
            Ok(answers) => {
                silent_since = None;
                let (answers, exit) = verdict(&answers, args.environment.as_deref());
                let last = Instant::now() >= deadline;
                if let Some(exit) = exit.or(last.then(|| at_timeout(&answers))) {
                    if answers.is_empty() {
                        out::line("no destination wants this image, as far as anybody has said")?;
                    }
                    for answer in &answers {
                        out::line(answer["sentence"].as_str().unwrap_or_default())?;
                    }
                    return Ok(exit);
                }
            }
            Err(error) => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SILENCE_MAX || Instant::now() >= deadline {
                    return Err(error);
                }
            }
        }
        sleep(ASK_EVERY).await;
    }
}

/// The answers of the environment, and how the wait ends if it does: live everywhere, or an ending anywhere.
fn verdict<'a>(answers: &'a Value, environment: Option<&str>) -> (Vec<&'a Value>, Option<Exit>) {
    let answers: Vec<&Value> = answers
        .as_array()
        .into_iter()
        .flatten()
        .filter(|answer| environment.is_none_or(|name| answer["environment"] == name))
        .filter(|answer| !answer["destination"].is_null())
        .collect();
    let state = |answer: &&&Value| answer["state"].as_str().unwrap_or_default().to_owned();
    if answers.iter().any(|answer| state(&answer) == "failed") {
        return (answers, Some(Exit::Failed));
    }
    let other = ["superseded", "rolled_back", "withdrawn", "removed", "unknown"];
    if answers.iter().any(|answer| other.contains(&state(&answer).as_str())) {
        return (answers, Some(Exit::Other));
    }
    let done = !answers.is_empty() && answers.iter().all(|answer| state(&answer) == "live");
    (answers, done.then_some(Exit::Done))
}

fn at_timeout(answers: &[&Value]) -> Exit {
    let held = answers.iter().any(|answer| answer["state"] == "held");
    if held { Exit::Held } else { Exit::TimedOut }
}
