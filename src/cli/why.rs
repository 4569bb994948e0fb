//! `knotmeter why`: one answer to "where is it, and why is it not live?"

use serde_json::Value;

use super::args::{Output, WhyArgs};
use super::ask::Instance;
use super::{Exit, out};

/// Asks and prints a sentence per destination.
pub async fn run(args: WhyArgs) -> anyhow::Result<Exit> {
    let instance = Instance::new(&args.server).await?;
    let mut query = vec![("q", args.question.as_str())];
    query.extend(args.namespaces.namespace.as_deref().map(|namespace| ("namespace", namespace)));
    let answers = instance.get("/api/v1/why", &query).await?["answers"].take();
    print(&answers, args.output)
}

/// Prints the answers; with `-o wide` all that they hold.
pub(super) fn print(answers: &Value, output: Output) -> anyhow::Result<Exit> {
    match output {
        Output::Json => out::json(answers)?,
        Output::Yaml => out::yaml(answers)?,
        Output::Table | Output::Wide => {
            for answer in answers.as_array().into_iter().flatten() {
                out::line(answer["sentence"].as_str().unwrap_or_default())?;
                if output == Output::Wide {
                    fields(answer)?;
                } else if let Some(command) = answer["command"].as_str() {
                    out::line(format!("  look closer: {command}"))?;
                }
            }
        }
    }
    let known =
        answers.as_array().is_some_and(|all| all.iter().any(|answer| answer["state"] != "never_seen"));
    Ok(if known { Exit::Done } else { Exit::Failed })
}

/// Everything besides the sentence, one field a line.
fn fields(answer: &Value) -> Result<(), out::Error> {
    for (name, value) in answer.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(_) if matches!(&**name, "question" | "sentence") => continue,
            Value::String(text) => text.clone(),
            Value::Array(all) => {
                for policy in all {
                    let word = |key: &str| policy[key].as_str().unwrap_or("-");
                    let (name, cause) = (word("policy"), word("cause"));
                    out::line(format!("  policy       {name}: {cause}, selects {}", word("selected")))?;
                }
                continue;
            }
            other => other.to_string(),
        };
        out::line(format!("  {:<12} {text}", name.replace('_', " ")))?;
    }
    Ok(())
}
