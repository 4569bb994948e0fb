//! A bundle: what was observed that decides one journey, so that anybody can replay it.
//!
//! `slice.rs` says which observations those are, `redact.rs` how names of hosts and people are replaced; both are
//! pure. Here the journal is read for whoever asks over the API.

mod redact;
mod slice;

pub use redact::Redactor;
pub use slice::Slice;

use std::sync::Weak;

use tokio::sync::mpsc;

use crate::http::BundleRequest;
use crate::journal::{Tail, Writer};
use crate::observation::Observation;
use crate::tracker::Journey;

/// Bytes of one bundle.
const BYTES_MAX: usize = 32 << 20;

/// Answers requests until nobody can ask any more.
pub async fn serve(mut asked: mpsc::Receiver<BundleRequest>, writer: Weak<Writer>) {
    while let Some(BundleRequest { journey, redact, reply }) = asked.recv().await {
        let lines = match writer.upgrade() {
            Some(writer) => make(&writer, journey, redact).await,
            None => Err("the program is ending".into()),
        };
        // Whoever asked may have gone.
        let _ = reply.send(lines);
    }
}

async fn make(writer: &Writer, journey: Box<Journey>, redact: bool) -> Result<Vec<u8>, String> {
    let (first, second) = (writer.since(i64::MIN).await?, writer.since(i64::MIN).await?);
    // It reads the whole journal, a row at a time: not on a thread that serves others.
    let made = tokio::task::spawn_blocking(move || {
        let mut slice = Slice::new(&journey);
        each(first, |observation| slice.learn(&observation))?;
        slice.learned();
        each(second, |observation| slice.take(observation))?;
        lines(&slice.end(), redact)
    });
    made.await.unwrap_or_else(|_| Err("the bundle could not be made".into()))
}

fn each(tail: Tail, mut see: impl FnMut(Observation) -> Result<(), String>) -> Result<(), String> {
    for batch in tail {
        let batch = batch.map_err(|error| error.to_string())?;
        batch.observations.into_iter().try_for_each(|(_, observation)| see(observation))?;
    }
    Ok(())
}

/// JSON lines of observations.
///
/// # Errors
/// They are too many.
pub fn lines(observations: &[Observation], redact: bool) -> Result<Vec<u8>, String> {
    let mut redactor = Redactor::default();
    if redact {
        observations.iter().for_each(|observation| redactor.learn(observation));
    }
    let mut lines = Vec::new();
    for observation in observations {
        let mut json = serde_json::to_value(observation).map_err(|error| error.to_string())?;
        if redact {
            redactor.replace(&mut json);
        }
        serde_json::to_writer(&mut lines, &json).map_err(|error| error.to_string())?;
        lines.push(b'\n');
        if lines.len() > BYTES_MAX {
            return Err(format!("the bundle has more than {BYTES_MAX} bytes"));
        }
    }
    Ok(lines)
}
