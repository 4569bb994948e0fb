//! What the other parsers keep of texts that are right: those of clusters, clouds, programs, people and our own disk.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knotmeter::config::{self, Git, Glob, Marker};
use knotmeter::exporters::metrics::Format;
use knotmeter::http::Question;
use knotmeter::image::{Digest, ImageRef};
use knotmeter::journal::{Line, Position, row};
use knotmeter::observation::{EngineRevision, Fact, Role, Schedule, Time};
use knotmeter::observers::cluster::{
    Place, Refusal, Replay, Resource, Said, Stream, connect, running_digest,
};
use knotmeter::observers::git::{Address, public_url};
use knotmeter::observers::registry::challenge::may_know_password;
use knotmeter::observers::registry::created::Claims;
use knotmeter::observers::registry::credentials::Login;
use knotmeter::observers::registry::manifest;
use knotmeter::tracker::next_run;
use proptest::prelude::*;
use serde_json::json;

use super::parsers::answers;
use crate::journal::facts::observation;

/// 2026-11-21T10:00:05Z.
const NOW: Time = Time(1_795_255_205_000);
const START: Position = Position(3);

fn place() -> Place {
    Place { uid: "11111111-lab".into(), name: "lab".into() }
}

fn name() -> &'static str {
    "[a-z]([a-z0-9-]{0,20}[a-z0-9])?"
}

fn deployment(name: &str, image: &str, replicas: i64) -> serde_json::Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("u-{name}"), "generation": 1,
            "resourceVersion": "105", "creationTimestamp": "2026-11-20T23:50:40Z"},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "main", "image": image}]}}},
    })
}

/// Name, image and replicas of what was said.
fn told<'a>(said: impl IntoIterator<Item = &'a Said>) -> Vec<(String, String, i64)> {
    let workloads = said.into_iter().filter_map(|said| match said {
        Said::Fact { fact: Fact::WorkloadIs(workload), .. } => Some(workload),
        _ => None,
    });
    let read = workloads.map(|it| (it.key.name.to_string(), it.containers[0].image.to_string(), it.replicas));
    read.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_workload_is_said_as_it_stands_in_a_watch(
        name in name(), image in "[a-z]{1,8}\\.io/[a-z]{1,8}:[a-z0-9]{1,12}", replicas in 0i64..1000, noise in "\\PC{0,40}",
    ) {
        let mut object = deployment(&name, &image, replicas);
        object["metadata"]["annotations"] = json!({ "note": noise });
        let line = json!({"type": "ADDED", "object": object}).to_string();
        let said = Replay::new(place()).event(NOW, "deployments", line.as_bytes()).unwrap();
        prop_assert_eq!(told(&said), vec![(name, image, replicas)]);
    }

    #[test]
    fn a_page_says_what_its_objects_say(names in prop::collection::btree_set(name(), 0..8)) {
        let items: Vec<_> = names.iter().map(|name| deployment(name, "r.io/web:1", 2)).collect();
        let page = json!({"kind": "DeploymentList", "apiVersion": "apps/v1",
            "metadata": {"resourceVersion": "694", "continue": "next"}, "items": items}).to_string();
        let mut stream = Stream::new(Resource::Deployments, place());
        stream.begin_look(NOW);
        let page = stream.page(NOW, page.as_bytes()).unwrap();
        prop_assert_eq!(&*page.version, "694");
        let mut read: Vec<String> = told(&page.said).into_iter().map(|(name, ..)| name).collect();
        read.sort_unstable();
        prop_assert_eq!(read, names.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_refusal_keeps_its_code_and_its_wait(code in 400u16..600, wait in 0u64..1_000_000, why in "[ -~]{0,60}") {
        let body = json!({"kind": "Status", "code": 418, "message": why, "details": {"retryAfterSeconds": wait}}).to_string();
        let refusal = Refusal::of_answer(code, body.as_bytes());
        prop_assert_eq!((refusal.code, refusal.retry_after_seconds, refusal.in_stream), (code, Some(wait), false));
        let event = Refusal::of_event(&body);
        prop_assert_eq!((event.code, event.in_stream), (418, true));
        prop_assert_eq!(event.message, why);
    }

    #[test]
    fn a_revision_is_read_in_each_of_its_forms(pointer in "[a-z0-9][a-z0-9./@-]{0,30}", bytes in any::<u64>()) {
        let commit = &Digest::of(&bytes.to_le_bytes()).to_string()[7..47];
        for text in [format!("{pointer}@sha1:{commit}"), format!("{pointer}/{commit}")] {
            let read = EngineRevision::parse(&text);
            prop_assert_eq!((read.pointer, read.hash), (Some(&*pointer), Some(commit)));
        }
        let named = format!("sha1:{commit}");
        for text in [&named, commit] {
            let read = EngineRevision::parse(text);
            prop_assert_eq!((read.pointer, read.hash), (None, Some(commit)));
        }
    }

    #[test]
    fn an_applier_says_what_it_applied_and_why_it_does_not(
        name in name(), path in "\\./[a-z/]{1,20}", revision in "[a-z]{1,10}@sha1:[0-9a-f]{40}", says in "[ -~]{0,600}",
    ) {
        let object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": "u-1", "resourceVersion": "7", "generation": 2},
            "spec": {"path": path, "interval": "1m30s", "sourceRef": {"kind": "GitRepository", "name": "fleet"}},
            "status": {"lastAppliedRevision": revision, "observedGeneration": 2, "conditions": [
                {"type": "Ready", "status": "False", "reason": "BuildFailed", "message": says}]},
        });
        let line = json!({"type": "MODIFIED", "object": object}).to_string();
        let said = Replay::new(place()).event(NOW, "kustomizations", line.as_bytes()).unwrap();
        let found = said.into_iter().find_map(|said| match said {
            Said::Fact { fact: Fact::EngineIs(object), .. } => Some(object),
            _ => None,
        });
        let Some(found) = found else { return Err(TestCaseError::fail("nothing said")) };
        let Role::Applier(applier) = &found.role else { return Err(TestCaseError::fail("no applier")) };
        prop_assert_eq!((applier.applied.as_deref(), applier.path.as_deref()), (Some(&*revision), Some(&*path)));
        prop_assert_eq!(found.interval_seconds, Some(90.0));
        prop_assert_eq!(&*found.ready.as_ref().unwrap().message, &says[..says.len().min(500)]);
    }

    #[test]
    fn a_kubeconfig_gives_the_namespace_of_its_context(names in prop::collection::btree_set(name(), 2), token in "[a-z0-9]{1,20}") {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        let contexts: Vec<_> = names.iter().map(|name| {
            json!({"name": name, "context": {"cluster": "c", "user": "u", "namespace": format!("in-{name}")}})
        }).collect();
        let text = json!({"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "contexts": contexts, "users": [{"name": "u", "user": {"token": token}}]});
        std::fs::write(&file, text.to_string()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for name in &names {
            let cluster = config::Cluster { name: "lab".into(), kubeconfig: Some(file.clone()), context: Some(name.clone()), ownership: None };
            let client = runtime.block_on(connect(&cluster)).unwrap();
            prop_assert_eq!(client.default_namespace(), format!("in-{name}"));
        }
    }

    #[test]
    fn a_running_digest_is_found_behind_any_name(name in "[a-z]{1,10}(://[a-z/]{1,20})?", bytes in any::<u64>()) {
        let digest = Digest::of(&bytes.to_le_bytes());
        prop_assert_eq!(running_digest(&format!("{name}@{digest}")), Some(digest));
    }

    #[test]
    fn a_config_claims_what_its_labels_say(revision in "[a-z0-9]{1,60}", source in "https://[a-z/]{1,60}", minute in 0u32..60) {
        let created = format!("2026-11-21T09:{minute:02}:00Z");
        let body = json!({"created": created, "config": {"Labels": {"org.opencontainers.image.revision": revision,
            "org.opencontainers.image.source": source}}}).to_string();
        let config = manifest::parse_config(body.as_bytes());
        let claims = Claims { labels: vec![config.labels], config_created: config.created };
        prop_assert_eq!((claims.revision(), claims.source()), (Some(revision.into()), Some(source.into())));
        prop_assert_eq!(claims.created(NOW), Time::from_rfc3339(&created));
    }

    #[test]
    fn a_stranger_never_gets_the_password(host in "[a-z]{4,10}", other in "[a-z]{4,10}", sub in "[a-z]{1,8}") {
        let (ours, near) = (format!("registry.{host}.example"), format!("{sub}.{host}.example"));
        prop_assert!(may_know_password(&ours, &near) && may_know_password(&ours, &ours.to_uppercase()));
        let far = [format!("{other}x.example"), format!("{host}.example.{other}"), format!("{sub}{host}.example")];
        for far in far.iter().filter(|far| !far.ends_with(&format!("{host}.example")) || far.contains(&format!("{sub}{host}"))) {
            prop_assert!(!may_know_password(&ours, far), "{} {}", ours, far);
        }
    }

    #[test]
    fn a_git_address_shows_no_password(user in "[a-z]{1,8}", password in "[A-Za-z0-9]{8,20}", path in "[a-z]{1,8}/[a-z]{1,8}") {
        let url = format!("https://{user}:{password}@git.example:8443/{path}.git");
        let address = Address::parse(&Git { url: url.clone(), ..Git::default() }).unwrap();
        prop_assert_eq!(&**address.url(), &format!("https://git.example:8443/{path}.git"));
        prop_assert_eq!(&*public_url(&url), &**address.url());
    }

    #[test]
    fn a_glob_means_what_its_stars_say(parts in prop::collection::vec("[a-z]{1,4}|\\*", 1..4), path in prop::collection::vec("[a-z]{1,4}", 1..4)) {
        let fits = parts.len() == path.len() && parts.iter().zip(&path).all(|(part, name)| part == "*" || part == name);
        let path = path.join("/");
        prop_assert_eq!(Glob::new(&parts.join("/")).unwrap().matches(&path), fits);
        prop_assert!(Glob::new("**").unwrap().matches(&path));
        let (begins, longer) = (format!("{path}*"), format!("{path}x"));
        prop_assert!(Glob::new(&begins).unwrap().matches(&longer));
    }

    #[test]
    fn a_marker_finds_its_name_in_any_line(name in "[a-z]{1,20}", before in "[ -\"$-~]{0,40}") {
        let marker = Marker::new("# release-(?<name>[a-z]+)").unwrap();
        let line = format!("{before}# release-{name}");
        prop_assert_eq!(marker.find(&line), Some(&*name));
        prop_assert_eq!(marker.find(&before), None);
    }

    #[test]
    fn a_configuration_is_read_as_it_was_written(host in "[a-z]{1,10}\\.example", seconds in 1u32..10_000, name in "[a-z]{1,10}") {
        let text = format!("registries: [{{host: {host}, interval: {seconds}s}}]\nenvironments:\n- name: {name}\n");
        let read = config::parse(&text, std::path::Path::new("test.yaml")).unwrap();
        prop_assert_eq!(&read.registries[0].host, &host);
        prop_assert_eq!(read.registries[0].interval.0, f64::from(seconds));
        prop_assert_eq!(&*read.environments[0].name, &*name);
        let cut = &text[..text.find("]").unwrap()];
        prop_assert!(config::parse(cut, std::path::Path::new("test.yaml")).is_err());
    }

    #[test]
    fn a_daily_run_comes_within_a_day_at_its_minute(minute in 0i64..60, hour in 0i64..24, after in 0i64..200_000_000_000) {
        let now = NOW + after;
        let schedule = |zone: Option<&str>| Schedule { cron: format!("{minute} {hour} * * *").into(),
            time_zone: zone.map(Into::into), suspended: false };
        let next = next_run(&schedule(None), now).unwrap();
        prop_assert!(next > now && next.0 - now.0 <= 24 * 3_600_000);
        prop_assert_eq!((next.0 / 60_000 % 60, next.0 / 3_600_000 % 24), (minute, hour));
        // Whose clock changes twice a year is not guessed at.
        prop_assert_eq!(next_run(&schedule(Some("Europe/Berlin")), now), None);
    }

    #[test]
    fn a_row_gives_back_its_lines_and_no_changed_byte_passes(
        count in 1u64..40, at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let lines: Vec<Line> = (0..count).map(|number| Line::of(&observation(number))).collect();
        let end = Position(START.0 + count);
        let mut bytes = row::row(START, end, &lines).bytes;
        let (head, read) = row::lines(START, &bytes).unwrap();
        prop_assert_eq!((head.end, u64::from(head.lines)), (end, count));
        prop_assert_eq!(read, lines.into_iter().map(|line| line.json).collect::<Vec<_>>());
        prop_assert!(row::lines(Position(START.0 + 1), &bytes).is_err(), "a row of another place");
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(row::lines(START, &bytes).is_err());
    }

    #[test]
    fn an_image_answers_to_its_name_and_to_no_other(path in "[a-z]{2,8}/[a-z]{2,8}", tag in "[a-z0-9]{1,8}", other in "[A-Z]{1,8}") {
        let image: ImageRef = format!("r.example/{path}:{tag}").parse().unwrap();
        for text in [format!("r.example/{path}:{tag}"), format!(" {path}:{tag}"), path.clone()] {
            prop_assert!(Question::new(&text, None).names_image(&image, None), "{}", text);
        }
        let other = format!("{path}:{other}");
        prop_assert!(!Question::new(&other, None).names_image(&image, None));
    }

    #[test]
    fn the_better_liked_format_is_given(open in 0u32..=10, plain in 0u32..=10) {
        let header = |name: &str, tenths: u32| format!("{name};q={}", f64::from(tenths) / 10.0);
        let accept = format!("{}, {}", header("text/plain", plain), header("application/openmetrics-text", open));
        let expected = if open > 0 && open >= plain { Format::OpenMetrics } else { Format::Classic };
        prop_assert_eq!(Format::accepted(&accept), expected);
    }
}

fn ecr(user: &str, password: &str) -> String {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    json!({"authorizationData": [{"authorizationToken": pair, "expiresAt": 1.9e9}]}).to_string()
}

proptest! {
    // Each is a question over a socket, or a program.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_login_is_what_the_cloud_or_the_program_said(secret in "[A-Za-z0-9._-]{12,40}", user in "[a-z]{1,10}") {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let azure = answers::of_azure(&json!({"access_token": "a", "refresh_token": secret}).to_string());
        let Some(Login::Identity(identity)) = &azure else { return Err(TestCaseError::fail("no login")) };
        prop_assert_eq!(identity.reveal(), &*secret);
        let credential = |status: serde_json::Value| {
            let version = "client.authentication.k8s.io/v1";
            answers::of_plugin(&json!({"apiVersion": version, "kind": "ExecCredential", "status": status}).to_string())
        };
        prop_assert_eq!([credential(json!({ "token": secret })), answers::of_plugin(&secret)], [true, false]);
        for (login, asks) in [
            (answers::of_google(&json!({"access_token": secret, "expires_in": 300}).to_string()), "oauth2accesstoken"),
            (answers::of_amazon(&ecr(&user, &secret)), &*user),
            (answers::of_helper(&json!({"Username": user, "Secret": secret}).to_string()), &*user),
        ] {
            let Some(Login::Password { user, password }) = &login else {
                return Err(TestCaseError::fail("no login"));
            };
            prop_assert_eq!((&**user, password.reveal()), (asks, &*secret));
            prop_assert!(!format!("{login:?}").contains(&secret), "what is told of it holds no secret");
        }
    }
}
