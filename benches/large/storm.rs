//! Events at a steady rate: each is a pod of which one number changed, and that number says when it was written.

use std::io;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::objects::{Template, version};
use super::server::{chunk, event_start};

/// As many as there are pods that change in turn.
const PODS_MADE: usize = 2000;
/// Microseconds since 1970 have as many digits until the year 2286.
const STAMP: &str = "7777777777777777";
/// The client gets this long between the list and the storm.
const CALM: Duration = Duration::from_millis(500);

/// A storm that was prepared: filling in the time is all that is left to do.
pub struct Storm {
    per_second: u64,
    seconds: u64,
    /// A line and where its stamps stand.
    lines: Vec<(Vec<u8>, Vec<usize>)>,
}

impl Storm {
    pub fn new(per_second: u64, seconds: u64, pods: usize) -> Self {
        let template = Template::pod();
        let line = |n| {
            let mut line = event_start("MODIFIED", template.kind, template.api_version);
            template.write(n, STAMP, &mut line);
            line.push_str("}\n");
            // Every event is another version of its pod.
            let version = format!(r#""resourceVersion":"{}""#, version(n));
            let line = line.replacen(&version, &format!(r#""resourceVersion":"{STAMP}""#), 1);
            let stamps: Vec<usize> = line.match_indices(STAMP).map(|(at, _)| at).collect();
            assert_eq!(stamps.len(), 2, "the version and the restarts");
            (line.into_bytes(), stamps)
        };
        Self { per_second, seconds, lines: (0..pods.min(PODS_MADE)).map(line).collect() }
    }

    /// Blows itself out. A client that reads slowly makes it late, never larger.
    pub fn blow(&self, to: &mut TcpStream) -> io::Result<()> {
        // Nothing is ever sent here: its deadlines are the rhythm.
        let (_sender, rhythm) = mpsc::channel::<()>();
        let _ = rhythm.recv_timeout(CALM);
        let started = Instant::now();
        for n in 0..self.per_second * self.seconds {
            let due = Duration::from_micros(n * 1_000_000 / self.per_second);
            let early = due.saturating_sub(started.elapsed());
            if !early.is_zero() {
                let _ = rhythm.recv_timeout(early);
            }
            let (line, stamps) = &self.lines[n as usize % self.lines.len()];
            let mut line = line.clone();
            let digits = format!("{:016}", now_micros());
            for stamp in stamps {
                line[*stamp..*stamp + STAMP.len()].copy_from_slice(digits.as_bytes());
            }
            chunk(to, &line)?;
        }
        Ok(())
    }
}

/// Microseconds since 1970, on the clock that both processes share.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_micros() as i64
}
