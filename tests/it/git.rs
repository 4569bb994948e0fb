//! The git observer against real git: what it reports of pushes, merges, force-pushes and broken servers.
//!
//! `origin` runs the `git` program and smart HTTP, `follower` drives a poller look by look, `extract` holds
//! what texts name an image. A case here is a change in a repository and the lines that a look says about it.

mod bomb;
mod config_map;
mod extract;
mod files;
mod follower;
mod line;
mod login;
mod origin;
mod restart;
mod revision;
mod running;
mod scale;
mod ssh;
mod throttled;
mod values;

use knotmeter::observation::{Basis, Fact, LookFailure, Measure, Observation};
use knotmeter::observers::git::{Error, check, public_url};

use follower::{Follower, config, deployment, levels, paths};
use origin::{HttpServer, Origin};

/// An origin whose main branch runs `web:1` in prod.
fn shop() -> Origin {
    let origin = Origin::new();
    origin.write("prod/web.yaml", deployment("web", "r.io/web:1")).write("README.md", "image: r.io/no:1");
    origin.commit_and_push("Add web");
    origin
}

const WEB_1: &str = "  prod/web.yaml:14 Deployment/web[main] -n shop = r.io/web:1\n";
const WEB_2: &str = "  prod/web.yaml:14 Deployment/web[main] -n shop = r.io/web:2\n";
const WEB_3: &str = "  prod/web.yaml:14 Deployment/web[main] -n shop = r.io/web:3\n";

#[tokio::test]
async fn a_push_is_a_level_and_the_commits_that_led_to_it() {
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    for url in [origin.file_url(), server.url()] {
        let origin_of_this_round = origin.git(&["rev-parse", "HEAD"]);
        let mut follower = Follower::new(config(&url));
        let first = follower.look().await;
        assert!(
            first.starts_with(&format!("main: names (backfill)\n{WEB_1}main looked at\n")),
            "{url}: {first}"
        );
        assert_eq!(follower.look().await, "main looked at\n", "{url}: nothing changed");

        origin.write("prod/web.yaml", deployment("web", "r.io/web:2"));
        let commit = origin.commit_and_push("Release web 2\n\nThis reverts commit 0123abcd.");
        let observations = follower.poll().await;
        let expected = format!(
            "main: names (poll)\n{WEB_2}  commit \"Release web 2\" added [r.io/web:2]\nmain looked at\n"
        );
        assert_eq!(follower::said(&observations), expected, "{url}");
        let level = levels(&observations)[0];
        assert_eq!(*level.commit, commit);
        assert_eq!(*level.url, url);
        assert_eq!(*level.commits[0].author, *"Ada");
        assert_eq!(level.commits[0].reverts.as_deref(), Some("0123abcd"));
        assert!(level.commits[0].committed_at.to_string().starts_with("2023-11-14T22:"));

        origin.git(&["reset", "--quiet", "--hard", &origin_of_this_round]);
        origin.push();
    }
}

#[tokio::test]
async fn a_change_happened_between_the_last_look_without_it_and_this_one() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    let unchanged = follower.poll().await;
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    let changed = follower.poll().await;
    let look = |observations: &[Observation]| match observations.last().unwrap().fact {
        Fact::LookCompleted { started, finished, interval_seconds, .. } => {
            (started, finished, interval_seconds)
        }
        ref other => panic!("{other:?}"),
    };
    let happened = changed[0].happened;
    assert_eq!(happened.not_before, look(&unchanged).0);
    assert_eq!(happened.not_after, look(&changed).1);
    assert_eq!(look(&changed).2, 30.0);
}

#[tokio::test]
async fn tags_and_other_branches_say_nothing() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.git(&["checkout", "--quiet", "-b", "main2"]);
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Try web 2");
    origin.git(&["tag", "v2"]);
    origin.git(&["push", "--quiet", "origin", "v2"]);
    assert_eq!(follower.look().await, "main looked at\n");
}

#[tokio::test]
async fn two_branches_are_two_levels_of_one_look() {
    let origin = shop();
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/staging"]);
    let mut settings = config(&origin.file_url());
    settings.branches.push("staging".into());
    let mut follower = Follower::new(settings);
    follower.poll().await;
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit("Release web 2");
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/staging"]);
    let expected = format!(
        "main looked at\nstaging: names (poll)\n{WEB_2}  commit \"Release web 2\" added [r.io/web:2]\nstaging looked at\n"
    );
    assert_eq!(follower.look().await, expected);
}

#[tokio::test]
async fn twenty_commits_in_one_push_are_told_newest_first_with_what_each_added() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    for n in 2..=21 {
        origin
            .write("prod/web.yaml", deployment("web", &format!("r.io/web:{n}")))
            .commit(&format!("Release web {n}"));
    }
    origin.push();
    let observations = follower.poll().await;
    let commits = &levels(&observations)[0].commits;
    let subjects: Vec<_> = commits.iter().map(|commit| commit.subject.to_string()).collect();
    assert_eq!(subjects, (2..=21).rev().map(|n| format!("Release web {n}")).collect::<Vec<_>>());
    for (commit, n) in commits.iter().zip((2..=21).rev()) {
        let added: Vec<_> = commit.added.iter().map(|it| it.image.to_string()).collect();
        assert_eq!(added, [format!("r.io/web:{n}")]);
    }
    assert!(follower.measures.iter().any(|it| matches!(it, Measure::GitCommits { count: 20, .. })));
}

#[tokio::test]
async fn a_merge_brings_in_what_its_side_branch_brought() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.git(&["checkout", "--quiet", "-b", "side"]);
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit("Release web 2");
    origin.git(&["checkout", "--quiet", "main"]);
    origin.write("prod/api.yaml", deployment("api", "r.io/api:1")).commit("Add api");
    origin.git(&["merge", "--quiet", "--no-ff", "-m", "Merge side", "side"]);
    origin.push();
    let observations = follower.poll().await;
    let mut said: Vec<_> = levels(&observations)[0]
        .commits
        .iter()
        .map(|it| {
            (it.subject.to_string(), it.added.iter().map(|it| it.image.to_string()).collect::<Vec<_>>())
        })
        .collect();
    said.sort();
    let expected = [("Add api", "r.io/api:1"), ("Merge side", "r.io/web:2"), ("Release web 2", "r.io/web:2")];
    assert_eq!(said, expected.map(|(subject, image)| (subject.to_owned(), vec![image.to_owned()])));
}

#[tokio::test]
async fn what_changes_beside_a_path_says_nothing_about_it() {
    let origin = shop();
    origin.write("dev/web.yaml", deployment("web", "r.io/web:9")).commit_and_push("Add dev");
    let mut settings = config(&origin.file_url());
    settings.paths = paths(&["prod/", "dev", "nowhere/"]);
    let mut follower = Follower::new(settings);
    let dev_9 = WEB_1.replace("prod/", "dev/").replace("web:1", "web:9");
    let first = follower.look().await;
    for level in
        [format!("main:prod/ names (backfill)\n{WEB_1}"), format!("main:dev names (backfill)\n{dev_9}")]
    {
        assert!(first.contains(&level), "{first}");
    }
    assert!(first.ends_with("main:nowhere/ names (backfill)\nmain looked at\n"), "{first}");
    origin.write("notes.md", "changed").commit_and_push("Write notes");
    assert_eq!(follower.look().await, "main looked at\n");
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    let expected = format!(
        "main:prod/ names (poll)\n{WEB_2}  commit \"Release web 2\" added [r.io/web:2]\nmain looked at\n"
    );
    assert_eq!(follower.look().await, expected);
    // A change without another image is still a new level: its commit may be a revision.
    origin.write("prod/map.yaml", "kind: ConfigMap").commit_and_push("Add a map");
    let expected =
        format!("main:prod/ names (poll)\n{WEB_2}  commit \"Add a map\" added []\nmain looked at\n");
    assert_eq!(follower.look().await, expected);
}

#[tokio::test]
async fn moves_and_renames_add_nothing() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.git(&["mv", "prod/web.yaml", "prod/shop.yaml"]);
    origin.commit_and_push("Rename the file");
    let renamed = WEB_1.replace("web.yaml", "shop.yaml");
    let expected =
        format!("main: names (poll)\n{renamed}  commit \"Rename the file\" added []\nmain looked at\n");
    assert_eq!(follower.look().await, expected);
    // Line shifts are no change either; the new object in the same file is one.
    let text = deployment("api", "r.io/api:1") + "---\n" + &deployment("web", "r.io/web:1");
    origin.write("prod/shop.yaml", text).commit_and_push("Put api before web");
    assert!(follower.look().await.contains("commit \"Put api before web\" added [r.io/api:1]"));
}

#[tokio::test]
async fn images_swapped_between_two_environments_are_both_added() {
    let origin = Origin::new();
    let values = |tag: u8| format!("image:\n  repository: r.io/web\n  tag: v{tag}\n");
    origin.write("dev/values.yaml", values(1)).write("prod/values.yaml", values(2)).commit_and_push("Start");
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.write("dev/values.yaml", values(2)).write("prod/values.yaml", values(1)).commit_and_push("Swap");
    assert!(follower.look().await.contains("commit \"Swap\" added [r.io/web:v2, r.io/web:v1]"));
}

#[tokio::test]
async fn a_force_push_is_a_new_level_that_says_so() {
    let origin = shop();
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    origin.write("prod/web.yaml", deployment("web", "r.io/web:3")).commit_and_push("Release web 3");
    let expected = format!(
        "main: names (poll) forced\n{WEB_3}  commit \"Release web 3\" added [r.io/web:3]\nmain looked at\n"
    );
    assert_eq!(follower.look().await, expected);
    // Back to a commit that was there before: no commit is new.
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    origin.push();
    assert_eq!(follower.look().await, format!("main: names (poll) forced\n{WEB_1}main looked at\n"));
}

#[tokio::test]
async fn history_older_than_the_first_fetch_is_read_as_it_comes() {
    let origin = shop();
    for n in 0..80 {
        origin.commit(&format!("Empty {n}"));
    }
    origin.push();
    let mut follower = Follower::new(config(&origin.file_url()));
    let first = follower.look().await;
    assert_eq!(first, format!("main: names (backfill)\n{WEB_1}main looked at\n"));
    // The copy is shallow: it ends somewhere.
    assert!(follower.copy().join("shallow").exists());
    origin.git(&["reset", "--quiet", "--hard", "HEAD~75"]);
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    // Much of what was fetched with it lies behind the first fetch, and was there before.
    let expected = format!(
        "main: names (poll) forced\n{WEB_2}  commit \"Release web 2\" added [r.io/web:2]\nmain looked at\n"
    );
    assert_eq!(follower.look().await, expected);
}

#[tokio::test]
async fn a_merge_of_an_old_branch_is_not_the_history_before_it() {
    let origin = shop();
    origin.git(&["checkout", "--quiet", "-b", "old"]);
    origin.git(&["checkout", "--quiet", "main"]);
    for n in 0..80 {
        origin.commit(&format!("Empty {n}"));
    }
    origin.push();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    origin.git(&["checkout", "--quiet", "old"]);
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit("Release web 2");
    origin.git(&["checkout", "--quiet", "main"]);
    origin.git(&["merge", "--quiet", "--no-ff", "-m", "Merge old", "old"]);
    origin.push();
    let observations = follower.poll().await;
    let level = levels(&observations)[0];
    let mut subjects: Vec<_> = level.commits.iter().map(|commit| &*commit.subject).collect();
    subjects.sort_unstable();
    assert_eq!((subjects, level.forced), (vec!["Merge old", "Release web 2"], false));
}

#[tokio::test]
async fn a_worn_copy_is_replaced_and_nothing_is_missed() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url())).renewing_after(3);
    follower.poll().await;
    let first_copy = follower.copy();
    for n in 2..=9 {
        origin.write("prod/web.yaml", deployment("web", &format!("r.io/web:{n}")));
        origin.commit_and_push(&format!("Release web {n}"));
        let said = follower.look().await;
        let end = format!("commit \"Release web {n}\" added [r.io/web:{n}]\nmain looked at\n");
        assert!(said.ends_with(&end), "{said}");
    }
    assert_ne!(follower.copy(), first_copy);
    assert!(!first_copy.exists());
}

/// A library that reads packs has room for 32 where it finds none at first.
#[tokio::test]
async fn a_copy_takes_more_fetches_than_it_had_room_for_at_first() {
    let origin = shop();
    let mut follower = Follower::new(config(&origin.file_url()));
    follower.poll().await;
    let copy = follower.copy();
    for n in 2..=40 {
        origin.write("prod/web.yaml", deployment("web", &format!("r.io/web:{n}")));
        origin.commit_and_push(&format!("Release web {n}"));
        let said = follower.look().await;
        assert!(said.ends_with(&format!("added [r.io/web:{n}]\nmain looked at\n")), "{n}: {said}");
    }
    assert_eq!(follower.copy(), copy);
}

/// Runs this test binary once more without any program in `PATH`.
#[tokio::test]
async fn without_the_git_program_a_file_address_says_what_is_missing() {
    if let Ok(url) = std::env::var("ORIGIN_FOR_CHILD") {
        for (url, needs) in [(&*url, "git"), ("git@git.example:team/fleet.git", "ssh")] {
            let error = check(&config(url)).await.unwrap_err();
            assert!(matches!(error, Error::ProgramMissing { program, .. } if program == needs), "{error}");
        }
        return;
    }
    let origin = shop();
    let name = "git::without_the_git_program_a_file_address_says_what_is_missing";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("PATH", "")
        .env("ORIGIN_FOR_CHILD", origin.file_url())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[tokio::test]
async fn a_deleted_branch_is_absent_after_two_looks_and_a_new_one_is_a_new_level() {
    let origin = shop();
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/prod"]);
    let mut settings = config(&origin.file_url());
    settings.branches = vec!["prod".into()];
    let mut follower = Follower::new(settings);
    assert!(follower.look().await.contains("prod: names (backfill)"));
    origin.git(&["push", "--quiet", "origin", ":refs/heads/prod"]);
    assert_eq!(follower.look().await, "prod looked at\n", "one look without it may be a mistake");
    assert_eq!(follower.look().await, "prod is absent (poll)\nprod looked at\n");
    assert_eq!(follower.look().await, "prod looked at\n");
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/prod"]);
    assert_eq!(follower.look().await, format!("prod: names (poll)\n{WEB_1}prod looked at\n"));
}

#[tokio::test]
async fn a_branch_that_never_was_is_told_as_missing() {
    let origin = shop();
    let mut settings = config(&origin.file_url());
    settings.branches.push("stagin".into());
    let mut follower = Follower::new(settings);
    let first = follower.look().await;
    assert!(first.ends_with("main looked at\nstagin failed: missing\n"), "{first}");
    assert_eq!(
        follower.look().await,
        "main looked at\nstagin is absent (backfill)\nstagin failed: missing\n"
    );
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/stagin"]);
    assert!(follower.look().await.contains("stagin: names (poll)"));
}

#[tokio::test]
async fn a_server_that_fails_is_told_by_its_class_and_read_again_when_it_is_back() {
    let origin = shop();
    let mut server = HttpServer::start(&origin).await;
    let mut follower = Follower::new(config(&server.url()));
    follower.poll().await;
    let failures = [
        (401, LookFailure::Unauthorized),
        (403, LookFailure::Forbidden),
        (404, LookFailure::Missing),
        (429, LookFailure::Throttled),
        (503, LookFailure::Server),
        (301, LookFailure::Malformed),
        (200, LookFailure::Malformed),
    ];
    for (status, failure) in failures {
        server.answer_with(status);
        let observations = follower.poll().await;
        let [Observation { fact: Fact::LookFailed { failure: found, message, .. }, .. }] = &observations[..]
        else {
            panic!("{status}: {observations:?}");
        };
        assert_eq!((*found, message.contains(&server.url())), (failure, true), "{status}: {message}");
    }
    server.answer_with(0);
    server.stop().await;
    assert_eq!(follower.look().await, "main failed: network\n");
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    server.restart().await;
    let observations = follower.poll().await;
    assert_eq!(levels(&observations)[0].commits.len(), 1);
    assert_eq!(observations[0].basis, Basis::Poll);
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_missing() {
    let mut follower = Follower::new(config("file:///nowhere/at/all.git"));
    assert_eq!(follower.look().await, "main failed: missing\n");
}

#[tokio::test]
async fn a_check_names_the_branches_and_their_tips() {
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = config(&server.url());
    settings.branches.push("gone".into());
    let report = check(&settings).await.unwrap();
    let tip = origin.git(&["rev-parse", "HEAD"]).into();
    assert_eq!(report.branches, [("main".into(), Some(tip)), ("gone".into(), None)]);
    settings.branches = vec!["release/*".into()];
    assert!(matches!(check(&settings).await, Err(Error::BranchName { .. })));
    server.answer_with(401);
    settings.branches = vec!["main".into()];
    assert!(matches!(check(&settings).await, Err(Error::Unauthorized { .. })));
}

#[tokio::test]
async fn credentials_are_never_shown_and_never_sent_in_the_clear() {
    assert_eq!(*public_url("https://ada:s3cret@host:8443/a@b.git"), *"https://host:8443/a@b.git");
    assert_eq!(*public_url("https://token@host"), *"https://host");
    assert_eq!(*public_url("file:///srv/a@b.git"), *"file:///srv/a@b.git");
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    let url = server.url().replace("http://", "http://ada:s3cret@");
    let mut follower = Follower::new(config(&url));
    let observations = follower.poll().await;
    let text = format!("{observations:?}");
    assert!(text.contains("over https only") && !text.contains("s3cret"), "{text}");
    assert!(server.take_requests().is_empty());
    // Nobody listens there: the message of the transport is shown, the password in the address is not.
    let mut follower = Follower::new(config("https://ada:s3cret@127.0.0.1:1/a.git"));
    let text = format!("{:?}", follower.poll().await);
    assert!(text.contains("failure: Network") && !text.contains("s3cret"), "{text}");
}
