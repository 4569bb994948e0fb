//! Files that are read, and files that are not.

use knotmeter::config::Marker;

use super::follower::{Follower, config, deployment};
use super::origin::Origin;
use super::{WEB_1, shop};

#[tokio::test]
async fn files_that_are_no_text_or_too_large_are_counted_once() {
    let origin = shop();
    origin
        .write("prod/logo.yaml", b"\x00\x01image: r.io/a:1")
        .write("prod/latin.yaml", b"image: r.io/b:1 # caf\xe9");
    origin.write("prod/huge.json", "x".repeat(2 << 20)).write("prod/huge.png", vec![0; 2 << 20]);
    origin.commit_and_push("Add what cannot be read");
    let mut follower = Follower::new(config(&origin.file_url()));
    assert_eq!(follower.look().await, format!("main: names (backfill)\n{WEB_1}main looked at\n"));
    let expected = [("git_file_not_text", 2), ("git_file_too_large", 1)];
    assert_eq!(follower.dropped(), expected.into());
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    follower.poll().await;
    assert_eq!(follower.dropped(), expected.into(), "what was read is remembered");
}

#[tokio::test]
async fn links_are_not_followed() {
    let origin = shop();
    origin.write("prod/real", "x");
    std::os::unix::fs::symlink("web.yaml", origin.path("prod/link.yaml")).unwrap();
    origin.commit_and_push("Add a link");
    let mut follower = Follower::new(config(&origin.file_url()));
    assert_eq!(follower.look().await, format!("main: names (backfill)\n{WEB_1}main looked at\n"));
}

#[tokio::test]
async fn a_marker_from_the_configuration_names_the_rule() {
    let origin = Origin::new();
    origin.write("a.yaml", "image: r.io/web:1 # deploy:web\n").commit_and_push("Add web");
    let mut settings = config(&origin.file_url());
    settings.markers = vec![Marker::new("# deploy:(?P<name>.+)").unwrap()];
    let first = Follower::new(settings).look().await;
    assert_eq!(first, "main: names (backfill)\n  a.yaml:1 = r.io/web:1 #web\nmain looked at\n");
}
