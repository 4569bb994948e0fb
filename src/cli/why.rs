//! `knotmeter why`: one answer to "where is it, and why is it not live?"

use std::path::Path;

use serde_json::Value;

use super::args::{Output, WhyArgs};
use super::ask::Instance;
use super::{Exit, Usage, out};
use crate::app::past::{PastLimits, recall};
use crate::http::{Question, parse_at};
use crate::journal::Journal;
use crate::observers::now;

/// Asks and prints a sentence per destination.
pub async fn run(args: WhyArgs) -> anyhow::Result<Exit> {
    if let Some(journal) = &args.journal {
        return of_journal(journal, &args);
    }
    let instance = Instance::new(&args.server).await?;
    let mut query = vec![("q", args.question.as_str())];
    query.extend(args.at.as_deref().map(|at| ("at", at)));
    query.extend(args.namespaces.namespace.as_deref().map(|namespace| ("namespace", namespace)));
    let mut answer = instance.get("/api/v1/why", &query).await?;
    remark_lost(answer["lost"].as_u64().unwrap_or_default());
    print(&answer["answers"].take(), args.output)
}

/// The same from the file alone.
fn of_journal(file: &Path, args: &WhyArgs) -> anyhow::Result<Exit> {
    let at = args.at.as_deref().map(|at| parse_at(at, now())).transpose().map_err(Usage)?;
    let question = Question::new(&args.question, args.namespaces.namespace.as_deref());
    let opened = Journal::open_existing(file)?;
    drop(opened.tail);
    let past = recall(opened.journal.everything()?, at, PastLimits::none(), &|| true);
    let past = past.map_err(anyhow::Error::msg)?;
    remark_lost(past.lost);
    print(&serde_json::to_value(past.why(&question))?, args.output)
}

fn remark_lost(lost: u64) {
    if lost > 0 {
        out::remark(format_args!(
            "{lost} observations from before are missing in the journal: the disk had refused them"
        ));
    }
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
