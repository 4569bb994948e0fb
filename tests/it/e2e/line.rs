//! A line that misbehaves: connections are refused, reset, stalled, cut at any byte, or answered with 429 and 503.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Bytes after which an answer may be cut. Most are between a hundred bytes and some tens of thousands.
const CUT_BYTES_MAX: u64 = 40_000;
const STALL: Duration = Duration::from_millis(1500);
/// Longest life of a connection.
const LASTS: Duration = Duration::from_secs(2);

/// What a connection met.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    None,
    Dropped,
    Reset,
    Stalled,
    CutAt(u64),
    Throttled,
    Unavailable,
}

/// A line that misbehaves while it is told to; the same seed gives the same row of troubles.
pub struct Line {
    pub address: SocketAddr,
    pub bad: watch::Sender<bool>,
    troubles: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    pub async fn to(target: String, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (bad, is_bad) = watch::channel(false);
        let troubles = Arc::new(AtomicUsize::new(0));
        let count = troubles.clone();
        let mut state = seed;
        let task = tokio::spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let trouble = if *is_bad.borrow() { next(&mut state) } else { Trouble::None };
                count.fetch_add(usize::from(!matches!(trouble, Trouble::None)), Ordering::Relaxed);
                connections.spawn(carry(from, target.clone(), trouble, is_bad.clone()));
            }
        });
        Self { address, bad, troubles, task: task.abort_handle() }
    }

    /// How many connections met one.
    pub fn troubles(&self) -> usize {
        self.troubles.load(Ordering::Relaxed)
    }
}

/// The next of the row that a seed gives.
pub fn next(state: &mut u64) -> Trouble {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let random = *state >> 20;
    match random % 10 {
        0 => Trouble::Dropped,
        1 => Trouble::Reset,
        2 => Trouble::Stalled,
        3..=5 => Trouble::CutAt((random >> 8) % CUT_BYTES_MAX),
        6 => Trouble::Throttled,
        7 => Trouble::Unavailable,
        _ => Trouble::None,
    }
}

/// Leads a connection to where it should go, as far as it gets.
pub async fn carry(mut from: TcpStream, target: String, trouble: Trouble, mut bad: watch::Receiver<bool>) {
    match trouble {
        Trouble::Dropped => return,
        Trouble::Reset => {
            let _ = from.set_zero_linger();
            return;
        }
        Trouble::Stalled => tokio::time::sleep(STALL).await,
        Trouble::Throttled => return refuse(&mut from, "429 Too Many Requests").await,
        Trouble::Unavailable => return refuse(&mut from, "503 Service Unavailable").await,
        Trouble::None | Trouble::CutAt(_) => {}
    }
    let Ok(mut to) = TcpStream::connect(target).await else { return };
    let bytes = if let Trouble::CutAt(bytes) = trouble { bytes } else { u64::MAX };
    {
        let ((mut asks, mut hears), (mut answers, mut is_asked)) = (from.split(), to.split());
        let mut limited = (&mut answers).take(bytes);
        let ends = async {
            // A connection that lasts, as a watch does, does not last on a bad line.
            let _ = bad.wait_for(|bad| *bad).await;
            tokio::time::sleep(LASTS).await;
        };
        // Whichever ends first ends all.
        tokio::select! {
            _ = tokio::io::copy(&mut limited, &mut hears) => {}
            _ = tokio::io::copy(&mut asks, &mut is_asked) => {}
            () = ends => {}
        }
    }
    if *bad.borrow() {
        let _ = from.set_zero_linger();
    }
}

async fn refuse(from: &mut TcpStream, status: &str) {
    let mut asked = [0; 8192];
    let _ = from.read(&mut asked).await;
    let answer =
        format!("HTTP/1.1 {status}\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = from.write_all(answer.as_bytes()).await;
}
