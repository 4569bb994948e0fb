//! `knotmeter demo`: the world on loopback, then the very same `run` on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::args::{DemoArgs, Output};
use super::run::ended;
use super::table::seconds;
use super::{Exit, Usage, out, world};
use crate::app::{self, Running};
use crate::config::{Config, Listen, Traces};
use crate::demo::{Addresses, Engine, Fault, Options, World};
use crate::exporters::Snapshot;
use crate::telemetry::{LogFormat, Telemetry};
use crate::tracker::{Journey, JourneyView, Outcome, SourceStatus, Stage};

/// The first looks take a fraction of a second; a machine that compiles takes longer.
const FIRST_LOOKS_MAX: Duration = Duration::from_secs(10);

/// Runs the demo until it is done or somebody ends it.
pub async fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    if args.list_faults {
        for fault in Fault::ALL {
            let only = if fault.applies_to(Engine::Plain) { "" } else { "(flux) " };
            out::line(format_args!("{:<26} {only}{}", fault.name(), fault.describe()))?;
            for says in super::faults::lines(fault) {
                out::line(format_args!("{:<26}   {says}", ""))?;
            }
        }
        return Ok(Exit::Done);
    }
    if let Some(fault) = args.fault.iter().find(|fault| !fault.applies_to(args.engine)) {
        let engine = args.engine;
        return Err(Usage(format!("the fault {fault} does not exist with the engine {engine}")).into());
    }
    // Before there is anything that an interrupt could leave behind.
    let stop = ended()?;
    tokio::pin!(stop);
    let telemetry = Telemetry::init(
        &args.log,
        LogFormat::Text,
        args.traces_endpoint.as_deref(),
        tokio::runtime::Handle::current(),
    )?;
    let options = Options {
        engine: args.engine,
        autopush: false,
        push_every: args.push_every.duration(),
        faults: args.fault.clone(),
        seed: args.seed,
        ..Options::default()
    };
    let world = tokio::select! {
        world = World::start(options) => Some(world?),
        () = &mut stop => None,
    };
    let outcome = match world {
        None => Ok(Exit::Done),
        Some(mut world) => {
            let cache = world.addresses().kubeconfig.with_file_name("knotmeter-cache");
            let outcome = show(&args, &mut world, &cache, stop).await;
            world.stop().await;
            outcome
        }
    };
    tokio::task::spawn_blocking(move || telemetry.finish()).await?;
    outcome
}

async fn show(
    args: &DemoArgs,
    world: &mut World,
    cache: &Path,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<Exit> {
    let addresses = world.addresses().clone();
    let addresses = &addresses;
    let config = world::config(args.engine, addresses)?;
    let config = Config {
        listen: Listen(args.listen.clone()),
        traces: Traces { endpoint: args.traces_endpoint.clone() },
        ..config
    };
    let running = app::start(config, cache.to_path_buf()).await?;
    introduce(args.engine, addresses, &running);
    tokio::select! {
        () = first_looks(running.snapshots.clone()) => {}
        () = stop.as_mut() => {
            running.stop().await;
            return Ok(if args.once { Exit::Other } else { Exit::Done });
        }
    }
    if let Some(file) = &args.info {
        let page = format!("http://{}", running.address);
        let info = json!({
            "page": page,
            "metrics": format!("{page}/metrics"),
            "registry": addresses.registry,
            "git": addresses.git,
            "kubeconfig": addresses.kubeconfig,
        });
        write_whole(file, &serde_json::to_string_pretty(&info)?)?;
    }
    if args.push_every.0 > 0.0 {
        world.begin_pushing();
    }
    let exit = follow(args, &running, stop).await;
    running.stop().await;
    exit
}

/// Until registry, git and cluster have each been looked at whole: who waits for the addresses wants to be seen
/// from then on, and what is there at the first look is not new. A world with a fault may never be seen whole.
async fn first_looks(mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let fresh = |source: &&SourceStatus| source.up && source.fresh == source.scopes;
    let seen = snapshots.wait_for(|snapshot| snapshot.sources.iter().filter(fresh).count() >= 3);
    let _ = tokio::time::timeout(FIRST_LOOKS_MAX, seen).await;
}

/// Another program may wait for the file: it must never see half of it.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("part");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, file)?;
    Ok(())
}

fn introduce(engine: Engine, addresses: &Addresses, running: &Running) {
    out::remark(format_args!("page        http://{}", running.address));
    out::remark(format_args!("metrics     http://{}/metrics", running.address));
    out::remark(format_args!(
        "registry    {}   (skopeo list-tags --tls-verify=false docker://{0}/team/web)",
        addresses.registry
    ));
    out::remark(format_args!("git         {}", addresses.git));
    out::remark(format_args!(
        "cluster     kubectl --kubeconfig {} get deployments,pods -A -w",
        addresses.kubeconfig.display()
    ));
    if engine == Engine::Flux {
        let kinds = "gitrepositories,imagerepositories,imagepolicies,imageupdateautomations,kustomizations";
        out::remark(format_args!("            kubectl --kubeconfig .. get -n flux-system {kinds}"));
    }
    out::remark("            Ctrl-C ends it and leaves nothing behind");
}

/// Shows journeys as they move, until enough have settled or somebody ends it.
async fn follow(
    args: &DemoArgs,
    running: &Running,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<Exit> {
    let mut snapshots = running.snapshots.clone();
    let mut screen = Screen::new(args.output);
    let mut settled = BTreeSet::new();
    let mut all_live = true;
    let timeout = args.timeout.map(|timeout| Instant::now() + timeout.duration());
    let never = Duration::from_secs(u64::from(u32::MAX));
    loop {
        tokio::select! {
            changed = snapshots.changed() => changed?,
            () = &mut stop => return Ok(if args.once { Exit::Other } else { Exit::Done }),
            () = sleep_until(timeout.unwrap_or_else(|| Instant::now() + never)) => {
                return Ok(if args.once { Exit::TimedOut } else { Exit::Done });
            }
        }
        let snapshot: Arc<Snapshot> = snapshots.borrow_and_update().clone();
        let mut fresh: Vec<&Journey> =
            snapshot.journeys().filter(|journey| journey.settled && !settled.contains(&journey.id)).collect();
        fresh.sort_by_key(|journey| journey.ended.map(|ended| ended.not_after));
        for journey in fresh {
            if args.once && settled.len() == args.journeys {
                break;
            }
            settled.insert(journey.id);
            all_live &= journey.outcome == Some(Outcome::Live);
            screen.settled(journey)?;
        }
        screen.show(&snapshot);
        if args.once && settled.len() >= args.journeys {
            screen.clear();
            return Ok(if all_live { Exit::Done } else { Exit::Failed });
        }
    }
}

/// Settled journeys go to standard output, those under way to a live part of the terminal.
struct Screen {
    output: Output,
    progress: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    head: bool,
}

impl Screen {
    fn new(output: Output) -> Self {
        Self { output, progress: MultiProgress::new(), bars: BTreeMap::new(), head: true }
    }

    fn settled(&mut self, journey: &Journey) -> anyhow::Result<()> {
        let view = JourneyView::from(journey);
        let line = match self.output {
            Output::Json => serde_json::to_string(&view)?,
            Output::Yaml => format!("---\n{}", serde_saphyr::to_string(&view)?.trim_end()),
            Output::Table | Output::Wide => {
                if std::mem::take(&mut self.head) {
                    self.print("SETTLED          ENVIRONMENT  APP      IMAGE              TRIGGER      IMAGE TO LIVE     CHANGE TO LIVE")?;
                }
                row(&view)
            }
        };
        Ok(self.print(&line)?)
    }

    fn print(&self, line: &str) -> Result<(), out::Error> {
        // The bars give way while a line is printed; without a terminal there are none.
        self.progress.suspend(|| out::line(line))
    }

    fn show(&mut self, snapshot: &Snapshot) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let open: BTreeMap<String, &Journey> = snapshot
            .journeys()
            .filter(|journey| !journey.settled)
            .map(|journey| (journey.id.to_string(), journey))
            .collect();
        self.bars.retain(|id, bar| {
            let keep = open.contains_key(id);
            if !keep {
                bar.finish_and_clear();
            }
            keep
        });
        for (id, journey) in open {
            let progress = &self.progress;
            let bar = self.bars.entry(id).or_insert_with(|| {
                let style = ProgressStyle::with_template("  {prefix:32} {bar:18.cyan/dim} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                progress.add(ProgressBar::new(Stage::Live as u64).with_style(style))
            });
            let place = &journey.destination;
            let tag = journey.image.tag.as_ref().map_or_else(String::new, ToString::to_string);
            bar.set_prefix(format!("{:<10} {} {tag}", place.environment, place.app));
            bar.set_position(journey.stages.reached().map_or(0, |stage| stage as u64));
            bar.set_message(message(journey));
        }
    }

    fn clear(&mut self) {
        self.bars.values().for_each(ProgressBar::finish_and_clear);
    }
}

fn message(journey: &Journey) -> String {
    if let Some(outcome) = journey.outcome {
        return format!("{}, settling", outcome.as_str());
    }
    if let Some(stuck) = journey.stuck {
        return format!("stuck: {}", journey.stuck_sentence(stuck.reason));
    }
    if let Some(held) = journey.held {
        return format!("held: {}", held.hold.as_str());
    }
    let waits = journey.stages.waiting_for().map_or("", Stage::as_str);
    format!("{}, waits for {waits}", journey.stages.reached().map_or("opened", Stage::as_str))
}

fn row(view: &JourneyView) -> String {
    let span = |value: Option<f64>, error: Option<f64>| match (value, error) {
        (Some(value), Some(error)) => format!("{} ±{error:.1}s", seconds(value)),
        _ => "-".into(),
    };
    let image = view.image.rsplit_once('/').map_or(view.image.as_str(), |(_, name)| name);
    format!(
        "{:<16} {:<12} {:<8} {:<18} {:<12} {:<17} {}",
        view.outcome.unwrap_or("open"),
        view.environment,
        view.app,
        image,
        view.trigger,
        span(view.image_to_live_seconds, view.image_to_live_uncertainty_seconds),
        span(view.change_to_live_seconds, view.change_to_live_uncertainty_seconds),
    )
}
