//! `knotmeter run`: the sidecar.

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::Exit;
use super::args::RunArgs;
use super::configure::configuration;
use crate::app;
use crate::telemetry::Telemetry;

/// Runs until it is told to end.
pub async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let ended = ended()?;
    let config = configuration(&args.config)?;
    let endpoint = config.traces.endpoint.clone();
    let telemetry = Telemetry::init(&args.log, args.log_format, endpoint.as_deref(), Handle::current())?;
    let cache =
        args.cache.unwrap_or_else(|| std::env::temp_dir().join(format!("knotmeter-{}", std::process::id())));
    let running = app::start(config, cache.clone()).await?;
    tracing::info!(address = %running.address, "page, API and metrics are served");
    ended.await;
    tracing::info!("ending");
    running.stop().await;
    tokio::task::spawn_blocking(move || telemetry.finish()).await?;
    // Copies of git repositories; a leftover in the temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(&cache);
    Ok(Exit::Done)
}

/// Listens from now on, and resolves when somebody asks the program to end: Ctrl-C or SIGTERM. Until this is
/// called either kills the program where it stands, so it comes before anything that must be cleaned up.
pub fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot = "cannot listen for the signals that end the program";
    let mut interrupted = signal(SignalKind::interrupt()).context(cannot)?;
    let mut terminated = signal(SignalKind::terminate()).context(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}
