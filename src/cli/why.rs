//! `knotmeter why`: one answer to "where is it, and why is it not live?"

use super::args::{Output, WhyArgs};
use super::ask::Instance;
use super::{Exit, out};

/// Asks and prints a sentence per destination.
pub async fn run(args: WhyArgs) -> anyhow::Result<Exit> {
    let instance = Instance::new(&args.server).await?;
    let mut query = vec![("q", args.question.as_str())];
    query.extend(args.namespaces.namespace.as_deref().map(|namespace| ("namespace", namespace)));
    let answers = instance.get("/api/v1/why", &query).await?["answers"].take();
    match args.output {
        Output::Json => out::json(&answers)?,
        Output::Yaml => out::yaml(&answers)?,
        Output::Table | Output::Wide => {
            for answer in answers.as_array().into_iter().flatten() {
                out::line(answer["sentence"].as_str().unwrap_or_default())?;
                if let Some(command) = answer["command"].as_str() {
                    out::line(format!("  look closer: {command}"))?;
                }
            }
        }
    }
    let known =
        answers.as_array().is_some_and(|all| all.iter().any(|answer| answer["state"] != "never_seen"));
    Ok(if known { Exit::Done } else { Exit::Failed })
}
