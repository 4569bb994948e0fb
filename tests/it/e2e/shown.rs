//! What `knotmeter demo` shows, and that it leaves nothing behind.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};

use knotmeter::cli::faults::lines as fault_lines;
use knotmeter::demo::Fault;
use serde_json::Value;

use super::demo::Demo;
use super::process::{Said, knotmeter, run};
use super::{Timed, until};

const STAGES: [&str; 9] =
    ["built", "pushed", "detected", "committed", "fetched", "applied", "started", "ready", "live"];

async fn demo(arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let mut command = knotmeter(&["demo", "--listen", "127.0.0.1:0"], folder.path());
    command.args(arguments);
    let said = run(command, "knotmeter").await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "it left {left:?}");
    said
}

#[tokio::test]
async fn a_demo_run_once_prints_journeys_that_went_live() {
    let _timed = Timed::part("demo --once");
    let out = demo(&["--once", "--journeys", "3", "--timeout", "60s", "-o", "json"]).await.done();
    let journeys: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<&str> = journeys.iter().map(|journey| journey["id"].as_str().unwrap()).collect();
    assert_eq!((journeys.len(), ids.len()), (3, 3), "{out}");
    for journey in &journeys {
        let text = |key: &str| journey[key].as_str().unwrap_or_else(|| panic!("no {key} in {journey}"));
        let (app, environment) = (text("app"), text("environment"));
        assert!(["web", "api", "worker"].contains(&app) && ["staging", "prod"].contains(&environment));
        assert_eq!(text("destination"), format!("lab/{environment}/deployment/{app}/{app}"));
        assert!(text("image").contains(&format!("/team/{app}:v1.0.")), "{journey}");
        assert!(text("digest").starts_with("sha256:"), "{journey}");
        assert_eq!((text("trigger"), text("outcome")), ("push", "live"), "{journey}");
        stages_are_whole(journey, &[("detected", "unknown"), ("fetched", "skipped")]);
        for figure in ["image_to_live_seconds", "change_to_live_seconds"] {
            let seconds = journey[figure].as_f64().unwrap_or_else(|| panic!("no {figure} in {journey}"));
            assert!(seconds > 0.0 && seconds < 30.0, "{figure}: {journey}");
        }
    }
}

#[tokio::test]
async fn a_flux_demo_run_once_knows_every_stage_and_shows_its_basis() {
    let _timed = Timed::part("demo --engine flux --once");
    // Slowly, so that none is overtaken where the machine is busy.
    let once = ["--engine", "flux", "--once", "--journeys", "4", "--push-every", "8s", "--timeout", "120s"];
    let once = [&once[..], &["-o", "json"]].concat();
    let out = demo(&once).await.done();
    let journeys: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(journeys.len(), 4, "{out}");
    for journey in &journeys {
        assert_eq!((&journey["trigger"], &journey["outcome"]), (&"push".into(), &"live".into()), "{journey}");
        stages_are_whole(journey, &[]);
        let basis = |name: &str| {
            let stages = journey["stages"].as_array().unwrap();
            stages.iter().find(|stage| stage["stage"] == name).unwrap()["basis"].as_str().unwrap().to_owned()
        };
        // Flux's objects tell these themselves, to the second.
        for told in ["detected", "committed", "fetched"] {
            assert_eq!(basis(told), "status_field", "{told}: {journey}");
        }
        assert_eq!(basis("applied"), "managed_fields", "{journey}");
    }
}

/// Every stage is known, with bounds and a basis, but for those that cannot be.
fn stages_are_whole(journey: &Value, but: &[(&str, &str)]) {
    let stages = journey["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, STAGES);
    for stage in stages {
        let name = stage["stage"].as_str().unwrap();
        let known = stage["state"] == "known";
        // Times are RFC 3339 in UTC with milliseconds, so their text sorts as they do.
        let (from, to) = (stage["not_before"].as_str(), stage["not_after"].as_str());
        assert_eq!(known, stage["basis"].is_string(), "{journey}");
        assert_eq!(known, from.is_some() && from <= to, "{journey}");
        let expected = but.iter().find(|(but, _)| *but == name).map_or("known", |(_, state)| state);
        assert_eq!(stage["state"], expected, "{name} of {journey}");
    }
}

#[tokio::test]
async fn a_demo_whose_image_is_missing_says_so_by_its_exit_code() {
    let _timed = Timed::part("demo --fault");
    // The updater commits another tag, and the next one soon: a journey that did not go live is 1.
    let missing =
        demo(&["--once", "--journeys", "1", "--timeout", "60s", "--fault", "missing-tag", "-o", "json"]);
    let missing = missing.await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    let journey: Value = serde_json::from_str(&missing.out).unwrap();
    assert_eq!(journey["outcome"], "superseded", "{journey}");
    // Nobody applies: nothing ever settles.
    let stuck = demo(&["--once", "--timeout", "4s", "--fault", "applier-down", "-o", "json"]).await;
    assert_eq!((stuck.code, stuck.out.as_str()), (Some(2), ""), "{stuck:?}");
}

#[tokio::test]
async fn what_is_typed_wrongly_is_a_usage_error() {
    let faults = demo(&["--list-faults"]).await.done();
    let listed: Vec<&str> = faults.lines().collect();
    for fault in Fault::ALL {
        let at = listed.iter().position(|line| line.split(' ').next() == Some(fault.name()));
        let below = &listed[at.unwrap_or_else(|| panic!("no {fault}: {faults}")) + 1..];
        for says in fault_lines(fault) {
            let own = below.iter().take_while(|line| line.starts_with(' '));
            assert!(own.into_iter().any(|line| line.trim() == says), "{fault}: {says} in {faults}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        &["demo", "--fault", "coffee-out"][..],
        &["demo", "--engine", "steam"],
        &["demo", "--fault", "suspended-source"],
        &["demo", "--journeys", "many"],
        &["sail"],
        &["wait"],
    ] {
        let said = run(knotmeter(wrong, folder.path()), "knotmeter").await;
        assert_eq!(said.code, Some(64), "{wrong:?}: {said:?}");
    }
    for right in ["--help", "--version"] {
        assert!(!run(knotmeter(&[right], folder.path()), "knotmeter").await.done().is_empty());
    }
}

#[tokio::test]
async fn a_demo_that_is_interrupted_leaves_nothing() {
    let _timed = Timed::part("demo, interrupted");
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::start(&["--push-every", "500ms"]).await;
        until("a journey opens", async || {
            let journeys = demo.get("/api/v1/journeys").await?;
            (journeys["total"].as_u64()? > 0).then_some(())
        })
        .await;
        let kubeconfig = std::fs::read_to_string(&demo.kubeconfig).unwrap();
        let server = kubeconfig.split_once("http://").unwrap().1.lines().next().unwrap().to_owned();
        let git = demo.git.split('/').nth(2).unwrap().to_owned();
        let addresses = [demo.page.replace("http://", ""), demo.registry.clone(), git, server];
        let open = |address: &&String| TcpStream::connect(address.parse::<SocketAddr>().unwrap()).is_ok();
        assert_eq!(addresses.iter().filter(open).count(), 4, "{addresses:?}");
        assert!(!demo.temporary_files().is_empty());

        demo.program.signal(signal);
        assert_eq!(demo.program.ended().code(), Some(0), "{signal}: {}", demo.program.errors());
        assert_eq!(addresses.iter().find(open), None, "{signal}: a port is still open");
        assert_eq!(demo.temporary_files(), Vec::<std::path::PathBuf>::new(), "{signal}");
        let left = processes_below(demo.folder());
        assert!(left.is_empty(), "{signal}: still running: {left:?}");
    }
}

#[tokio::test]
async fn a_demo_that_is_interrupted_while_it_starts_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let command = knotmeter(&["demo", "--listen", "127.0.0.1:0"], &temporary);
    let mut demo = super::process::Program::start(command, "knotmeter", folder.path());
    let is_there = || std::fs::read_dir(&temporary).unwrap().next().is_some();
    until("its folder is there", async || is_there().then_some(())).await;
    demo.signal("INT");
    assert_eq!(demo.ended().code(), Some(0), "{}", demo.errors());
    assert!(!is_there(), "its folder is still there");
}

/// Processes whose environment names the folder: the demo's, and those it started.
fn processes_below(folder: &std::path::Path) -> Vec<String> {
    let variable = format!("TMPDIR={}", folder.display());
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    processes
        // Some end while we look, and those of others cannot be read.
        .filter_map(|process| Some((std::fs::read(process.join("environ")).ok()?, process)))
        .filter(|(environment, _)| String::from_utf8_lossy(environment).contains(&variable))
        .filter_map(|(_, process)| std::fs::read_to_string(process.join("cmdline")).ok())
        // A process that has ended and waits for its parent has no command line.
        .filter(|command| !command.is_empty())
        .collect()
}
