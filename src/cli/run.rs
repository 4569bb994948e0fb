//! `knotmeter run`: the sidecar.

use super::Exit;
use super::args::{LogFormat, RunArgs};
use super::configure::configuration;
use crate::{app, telemetry};

/// Runs until it is told to end.
pub async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args.config)?;
    let format = match args.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    let telemetry = telemetry::start(&args.log, format, config.traces.endpoint.as_deref())?;
    let cache = args
        .cache
        .unwrap_or_else(|| std::env::temp_dir().join(format!("knotmeter-{}", std::process::id())));
    let running = app::start(config, cache.clone()).await?;
    tracing::info!(address = %running.address, "page, API and metrics are served");
    ended().await;
    tracing::info!("ending");
    running.stop().await;
    telemetry.stop().await;
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
