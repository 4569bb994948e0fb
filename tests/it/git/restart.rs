//! A new process after an old one: what was pushed meanwhile is told with its history, and nothing twice.

use knotmeter::observation::{LastTree, Observation};
use knotmeter::tracker::Tracker;

use super::follower::{Follower, config, deployment, levels, paths, said};
use super::origin::{HttpServer, Origin};
use super::{WEB_1, WEB_2, WEB_3, shop};

/// What a tracker knows that heard these reports.
fn last_trees(heard: &[Observation]) -> Vec<LastTree> {
    let mut tracker = Tracker::default();
    for observation in heard {
        tracker.observe(observation);
    }
    tracker.last_trees().collect()
}

fn release(origin: &Origin, version: u32) {
    origin.write("prod/web.yaml", deployment("web", &format!("r.io/web:{version}")));
    origin.commit_and_push(&format!("Release web {version}"));
}

const RELEASES: &str =
    "  commit \"Release web 3\" added [r.io/web:3]\n  commit \"Release web 2\" added [r.io/web:2]\n";

#[tokio::test]
async fn commits_pushed_while_nobody_looked_are_told_with_their_history() {
    for copies_are_lost in [false, true] {
        let origin = shop();
        let server = HttpServer::start(&origin).await;
        let mut follower = Follower::new(config(&server.url()));
        let last = last_trees(&follower.poll().await);
        assert_eq!(last.len(), 1);
        release(&origin, 2);
        release(&origin, 3);
        if copies_are_lost {
            follower.lose_copies();
        }
        let mut follower = follower.restart(config(&server.url()), last.clone());
        let observations = follower.poll().await;
        assert_eq!(said(&observations), format!("main: names (poll)\n{WEB_3}{RELEASES}main looked at\n"));
        assert_eq!(observations[0].happened.not_before, last[0].started);
        assert_eq!(follower.look().await, "main looked at\n");
    }
}

#[tokio::test]
async fn nothing_is_told_again_where_nothing_changed() {
    let origin = shop();
    let settings = || config(&origin.file_url());
    let mut follower = Follower::new(settings());
    let last = last_trees(&follower.poll().await);
    let mut follower = follower.restart(settings(), last.clone());
    assert_eq!(follower.look().await, "main looked at\n");
    // Nor where the change is beside the path.
    let beside = || knotmeter::config::Git { paths: paths(&["prod"]), ..settings() };
    let mut follower = follower.restart(beside(), last);
    let last = last_trees(&follower.poll().await);
    origin.write("README.md", "other").commit_and_push("Explain");
    let mut follower = follower.restart(beside(), last);
    assert_eq!(follower.look().await, "main looked at\n");
}

#[tokio::test]
async fn what_was_fetched_and_never_heard_is_told() {
    let origin = shop();
    let settings = || config(&origin.file_url());
    let mut follower = Follower::new(settings());
    let heard = last_trees(&follower.poll().await);
    release(&origin, 2);
    // This process reads it, and is killed before anybody wrote it down.
    assert!(follower.look().await.contains(WEB_2));
    release(&origin, 3);
    let mut follower = follower.restart(settings(), heard);
    assert_eq!(follower.look().await, format!("main: names (poll)\n{WEB_3}{RELEASES}main looked at\n"));
}

#[tokio::test]
async fn a_history_that_nobody_has_any_more_is_no_force_push() {
    let origin = shop();
    let settings = || config(&origin.file_url());
    let mut follower = Follower::new(settings());
    let last = last_trees(&follower.poll().await);
    for number in 0..60 {
        origin.commit(&format!("Wait {number}"));
    }
    release(&origin, 2);
    follower.lose_copies();
    let mut follower = follower.restart(settings(), last);
    assert_eq!(follower.look().await, format!("main: names (poll)\n{WEB_2}main looked at\n"));
}

#[tokio::test]
async fn a_branch_that_went_while_nobody_looked_is_absent_after_two_looks() {
    let origin = shop();
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/staging"]);
    let settings = || knotmeter::config::Git {
        branches: vec!["main".into(), "staging".into()],
        ..config(&origin.file_url())
    };
    let mut follower = Follower::new(settings());
    let last = last_trees(&follower.poll().await);
    assert_eq!(last.len(), 2);
    origin.git(&["push", "--quiet", "origin", ":refs/heads/staging"]);
    let mut follower = follower.restart(settings(), last);
    assert_eq!(follower.look().await, "main looked at\nstaging looked at\n");
    assert_eq!(follower.look().await, "main looked at\nstaging is absent (poll)\nstaging looked at\n");
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_is_made_anew() {
    let origin = shop();
    let settings = || config(&origin.file_url());
    let mut follower = Follower::new(settings());
    let last = last_trees(&follower.poll().await);
    let packs = follower.copy().join("objects").join("pack");
    for file in std::fs::read_dir(packs).unwrap() {
        let path = file.unwrap().path();
        let length = std::fs::metadata(&path).unwrap().len();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        std::fs::set_permissions(&path, permissions).unwrap();
        std::fs::write(&path, vec![0; usize::try_from(length).unwrap()]).unwrap();
    }
    release(&origin, 2);
    let mut follower = follower.restart(settings(), last);
    let mut told = Vec::new();
    for _ in 0..5 {
        told = follower.poll().await;
        if !levels(&told).is_empty() {
            break;
        }
    }
    assert!(said(&told).contains(&format!("{WEB_2}  commit \"Release web 2\"")), "{}", said(&told));
    assert!(!said(&told).contains(WEB_1));
}
