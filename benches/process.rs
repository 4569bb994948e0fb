//! Child processes of a bench: what one thing costs when nothing else is in the process.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// This program again, doing one thing; it is killed when dropped.
pub struct Again {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Again {
    /// Starts `child WORDS...`, see `main`.
    pub fn start(words: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg("child")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let lines = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, lines }
    }

    /// The next thing that it says.
    pub fn line(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it says something");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process so far, all threads that are still there.
pub fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has /proc").flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// CPU time of this thread so far.
pub fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has /proc");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds come first"))
}

/// A line of `/proc/self/status` in KiB: `VmHWM` is the peak, `VmRSS` what is there now.
pub fn memory_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).expect("a size in KiB")
}
