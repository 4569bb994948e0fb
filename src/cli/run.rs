//! `knotmeter run`: the sidecar.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::args::RunArgs;
use super::configure::configuration;
use crate::app;
use crate::telemetry::Telemetry;

/// Runs until it is told to end.
pub async fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let ended = ended()?;
    // Until somebody listens, it ends the program.
    let mut hung_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let config = configuration(&args.config)?;
    let endpoint = config.traces.endpoint.clone();
    let telemetry = Telemetry::init(&args.log, args.log_format, endpoint.as_deref(), Handle::current())?;
    // A named folder is the user's; one of our own goes with us, on every way out.
    let own = match &args.cache {
        Some(_) => None,
        None => Some(OwnFolder::create().context("cannot make a folder for copies of git repositories")?),
    };
    let cache = args.cache.or_else(|| own.as_ref().map(|own| own.0.clone())).unwrap_or_default();
    let again = args.config.clone();
    let read = move || configuration(&again).map_err(|error| format!("{error:#}"));
    let reading = app::Reading { file: args.config.config.clone(), read: Box::new(read) };
    let mut running = app::start_with(config, cache, Some(reading)).await?;
    tracing::info!(address = %running.address, "page, API and metrics are served");
    let reload = running.reload.clone();
    let asked = async move {
        while hung_up.recv().await.is_some() {
            // What came of it is logged; a wish beside another one is the same wish.
            let _ = reload.ask().await;
        }
    };
    let exit = tokio::select! {
        () = ended => Exit::Done,
        () = asked => Exit::Failed,
        why = running.broken() => {
            tracing::error!("{why}");
            Exit::Failed
        }
    };
    tracing::info!("ending");
    running.stop().await;
    tokio::task::spawn_blocking(move || telemetry.finish()).await?;
    Ok(exit)
}

/// A folder of this process in the system's temporary one, gone when this is dropped.
struct OwnFolder(PathBuf);

impl OwnFolder {
    /// Only for us, and never a folder that somebody else has put there.
    fn create() -> std::io::Result<Self> {
        let unique = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let path = std::env::temp_dir().join(format!("knotmeter-{}-{unique:x}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // A leftover in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Listens from now on, and resolves when somebody asks the program to end: Ctrl-C or SIGTERM. Until this is
/// called either kills the program where it stands, so it comes before anything that must be cleaned up.
pub fn ended() -> anyhow::Result<impl Future<Output = ()>> {
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
