//! Following the canary: asks a running Knotmeter until it is clear how the journeys end, or the time is up.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::verdict::{Conclusion, JourneySeen, judge, waiting};
use crate::image::{Digest, ImageRef};

/// Often enough for a person who watches; each question is one small answer from memory.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// One question. Knotmeter answers from memory, so longer means that nobody is there.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// A canary has a journey per destination; a larger answer is not from Knotmeter.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Asks one Knotmeter about one image.
pub struct Asker {
    client: reqwest::Client,
    question: reqwest::Url,
    server: String,
}

#[derive(Deserialize)]
struct Answer {
    journeys: Vec<JourneySeen>,
}

impl Asker {
    /// Gets ready. The error is a sentence.
    pub fn new(server: &str, image: &ImageRef) -> Result<Self, String> {
        let wrong = |why: String| format!("cannot ask {server}: {why}");
        let base = format!("{}/api/v1/journeys", server.trim_end_matches('/'));
        let question = reqwest::Url::parse_with_params(&base, [("image", image.to_string())])
            .map_err(|error| wrong(format!("{error}; write it like http://127.0.0.1:9871")))?;
        let client = reqwest::Client::builder()
            .timeout(ASK_TIMEOUT)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { client, question, server: server.to_owned() })
    }

    /// The journeys of the image as they are now. The error is a sentence.
    pub async fn ask(&self) -> Result<Vec<JourneySeen>, String> {
        let wrong = |why: String| format!("cannot ask {}: {why}", self.server);
        let sent = self.client.get(self.question.clone()).send().await;
        let mut answer = sent.map_err(|error| wrong(reason(&error)))?;
        if !answer.status().is_success() {
            return Err(wrong(format!("it answered {}; is it a Knotmeter?", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| wrong(reason(&error)))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(wrong(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| wrong(format!("{error}; is it a Knotmeter?")))?;
        Ok(answer.journeys)
    }
}

/// Asks until the journeys of this digest come to a conclusion. An answer that fails is asked again.
pub async fn follow(
    asker: &Asker,
    digest: &Digest,
    environments: &[String],
    deadline: Instant,
) -> (Vec<JourneySeen>, Conclusion) {
    let mut journeys = Vec::new();
    let mut failure;
    loop {
        match tokio::time::timeout_at(deadline, asker.ask()).await {
            Ok(Ok(seen)) => {
                failure = None;
                // The same tag with another digest is somebody else's image.
                journeys = seen;
                journeys.retain(|journey| journey.digest.as_ref().is_none_or(|seen| seen == digest));
                if let Some(conclusion) = judge(environments, &journeys) {
                    return (journeys, conclusion);
                }
            }
            Ok(Err(why)) => failure = Some(why),
            Err(_) => failure = Some(format!("cannot ask {}: no answer in time", asker.server)),
        }
        if Instant::now() + ASK_EVERY >= deadline {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let conclusion = match failure {
        Some(why) => Conclusion::CannotAsk { why },
        None => Conclusion::TimedOut { waiting: waiting(environments, &journeys) },
    };
    (journeys, conclusion)
}

/// The innermost cause says it ("connection refused"); the outer ones repeat the address.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
