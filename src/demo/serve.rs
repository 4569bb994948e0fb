//! Serves a router on a listener so that ending the future ends every connection with it: a stopped world
//! must leave nothing behind, and `axum::serve` detaches its connections.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// More clients than any demo or test needs; beyond it new ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 512;
/// Pause after a failed accept, which mostly means that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs until it is dropped or aborted.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                // Without it a small watch event may wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                let router = router.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let router = router.clone();
                    async move { Ok::<_, Infallible>(answer(router, request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(async move {
                    // A client that goes away in mid-request is its own affair.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(router: Router, request: http::Request<Incoming>) -> http::Response<Body> {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
