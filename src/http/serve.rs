//! The accept loop: bounded connections, bounded patience, a bounded farewell.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::patience::Patient;
use super::{HttpState, router};

/// Connections at the same time. Beyond it new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// A client that has not sent its request's head by then is not a client.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that has not left by then has a reader that does not read. The longest are a few megabytes.
const ANSWER_SENT_WITHIN: Duration = Duration::from_secs(60);
/// Answers under way at the end get this long; a stream of events would never end by itself.
const FAREWELL: Duration = Duration::from_secs(5);
/// After a failed accept: out of file descriptors ends by itself, but not at once.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves, then lets answers under way finish for a few seconds.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    serve_with(ANSWER_SENT_WITHIN, listener, state, shutdown).await;
}

/// The same with another patience for readers.
pub async fn serve_with(
    patience: Duration,
    listener: TcpListener,
    state: HttpState,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router(state));
    // In HTTP/2 a reader can hold an answer back without holding up the connection, and nobody needs it here.
    let mut connections = Builder::new(TokioExecutor::new()).http1_only();
    connections.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let connection = connections
            .serve_connection(TokioIo::new(Patient::new(socket, patience)), service.clone())
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away in the middle is its own affair.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
}
