//! `knotmeter run`: the sidecar.

use tokio::runtime::Handle;

use super::Exit;
use super::args::RunArgs;
use super::configure::configuration;
use crate::app;
use crate::telemetry::Telemetry;

/// Runs until it is told to end.
pub async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args.config)?;
    let endpoint = config.traces.endpoint.clone();
    let telemetry = Telemetry::init(&args.log, args.log_format, endpoint.as_deref(), Handle::current())?;
    let cache =
        args.cache.unwrap_or_else(|| std::env::temp_dir().join(format!("knotmeter-{}", std::process::id())));
    let running = app::start(config, cache.clone()).await?;
    tracing::info!(address = %running.address, "page, API and metrics are served");
    ended().await;
    tracing::info!("ending");
    running.stop().await;
    tokio::task::spawn_blocking(move || telemetry.finish()).await?;
    // Copies of git repositories; a leftover in the temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(&cache);
    Ok(Exit::Done)
}

/// Resolves when somebody asks the program to end: Ctrl-C or SIGTERM.
pub async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => drop(terminated.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupted => {}
        () = terminated => {}
    }
}
