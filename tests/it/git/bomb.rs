//! Repositories that are small to fetch and endless to read.

use knotmeter::observation::Measure;

use super::follower::{Follower, config};
use super::shop;

#[tokio::test]
async fn a_tree_of_equal_trees_ends_at_the_count_of_what_is_visited() {
    let origin = shop();
    let mut inside = origin.tree(&["100644 blob", &origin.git(&["hash-object", "-w", "README.md"])], 10);
    for _ in 0..8 {
        inside = origin.tree(&["040000 tree", &inside], 10);
    }
    let root = origin.tree(&["040000 tree", &inside], 1);
    let commit = origin.git(&["commit-tree", &root, "-m", "A thousand million files", "-p", "HEAD"]);
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.git(&["push", "--quiet", "origin", &format!("{commit}:refs/heads/main")]);
    let said = follower.look().await;
    assert!(said.ends_with("main looked at\n"), "{said}");
    let told = follower.dropped();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), ["git_tree_too_large"], "{told:?}");
    let source = |it: &Measure| match it {
        Measure::Dropped { source, .. } => Some(source.to_string()),
        _ => None,
    };
    let sources: Vec<String> = follower.measures.iter().filter_map(source).collect();
    assert_eq!(sources[0], format!("git/{}", origin.file_url()));
}
