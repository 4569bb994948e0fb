//! What each kind of sender writes, with the fields and forms of its own documentation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knotmeter::config::HookKind;
use knotmeter::observation::{Interval, Time};
use knotmeter::observers::hooks::{GitName, Moved, Refused, Trigger};
use proptest::prelude::*;

use super::{RECEIVED, deliver};

const DIGEST: &str = "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf";
const COMMIT: &str = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn one(kind: HookKind, headers: &[(&str, &str)], body: &str) -> Trigger {
    let mut triggers = deliver(kind, headers, body).unwrap();
    assert_eq!(triggers.len(), 1, "{triggers:?}");
    assert_eq!(triggers[0].received, Time(RECEIVED));
    triggers.remove(0)
}

fn none(kind: HookKind, headers: &[(&str, &str)], body: &str) {
    assert_eq!(deliver(kind, headers, body), Ok(Vec::new()), "{body}");
}

fn tag(repository: &str, tag: &str, digest: Option<&str>) -> Moved {
    let tag = (!tag.is_empty()).then(|| tag.parse().unwrap());
    let digest = digest.map(|digest| digest.parse().unwrap());
    Moved::Tag { repository: repository.parse().unwrap(), tag, digest }
}

fn branch(repository: &str, branch: &str, commit: Option<&str>) -> Moved {
    Moved::Branch {
        repository: GitName::new(repository),
        branch: Some(branch.into()),
        before: None,
        commit: commit.map(Into::into),
    }
}

#[test]
fn distribution_tells_manifests_with_a_tag() {
    let event = |action: &str, kind: &str, tag: &str| {
        format!(
            r#"{{"id": "320678d8-ca14-430f-8bb6-4ca139cd83f7", "timestamp": "2026-11-21T10:00:04.402973972Z",
            "action": "{action}", "target": {{"mediaType": "{kind}", "size": 708, "digest": "{DIGEST}", "length": 708,
            "repository": "team/web", "url": "http://127.0.0.1:5000/v2/team/web/manifests/{DIGEST}" {tag}}},
            "request": {{"id": "6df24a34", "addr": "172.17.42.1:44674", "host": "127.0.0.1:5000", "method": "PUT",
            "useragent": "skopeo"}}, "actor": {{}}, "source": {{"addr": "registry:5000", "instanceID": "a53db899"}}}}"#
        )
    };
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let tagged = r#", "tag": "1.4.0""#;
    let events = [
        event("push", layer, ""),
        event("pull", manifest, tagged),
        event("push", manifest, ""),
        event("push", manifest, tagged),
    ];
    let body = format!(r#"{{"events": [{}]}}"#, events.join(","));
    let trigger = one(HookKind::Distribution, &[], &body);
    assert_eq!(trigger.moved, tag("127.0.0.1:5000/team/web", "1.4.0", Some(DIGEST)));
    assert_eq!(trigger.stamped, Some(Interval::at(Time(RECEIVED - 598))));
}

#[test]
fn harbor_in_both_of_its_forms() {
    let body = format!(
        r#"{{"type": "PUSH_ARTIFACT", "occur_at": {}, "operator": "harbor-jobservice", "event_data": {{"resources":
        [{{"digest": "{DIGEST}", "tag": "latest", "resource_url": "harbor.example/public/alpine:latest"}}],
        "repository": {{"date_created": 1602126012, "name": "alpine", "namespace": "public",
        "repo_full_name": "public/alpine", "repo_type": "public"}}}}}}"#,
        RECEIVED / 1000 - 1
    );
    let trigger = one(HookKind::Harbor, &[], &body);
    assert_eq!(trigger.moved, tag("harbor.example/public/alpine", "latest", Some(DIGEST)));
    assert_eq!(trigger.stamped, Some(Interval::second(Time(RECEIVED - 1000))));
    none(HookKind::Harbor, &[], &body.replace("PUSH_ARTIFACT", "PULL_ARTIFACT"));
    let cloud = format!(
        r#"{{"specversion": "1.0", "id": "66e18103", "source": "/projects/1/webhook/policies/15",
        "type": "harbor.artifact.pushed", "datacontenttype": "application/json", "time": "2026-11-21T10:00:03Z",
        "data": {{"resources": [{{"digest": "{DIGEST}", "tag": "1.4.0",
        "resource_url": "harbor.example/public/alpine:1.4.0"}}],
        "repository": {{"repo_full_name": "public/alpine"}}}}, "operator": "admin"}}"#
    );
    let trigger = one(HookKind::Harbor, &[], &cloud);
    assert_eq!(trigger.moved, tag("harbor.example/public/alpine", "1.4.0", Some(DIGEST)));
}

#[test]
fn docker_hub_and_quay_are_hurried_but_their_time_is_not_believed() {
    let hub = format!(
        r#"{{"callback_url": "https://registry.hub.docker.com/u/svendowideit/testhook/hook/2141b5/", "push_data":
        {{"pushed_at": {}, "pusher": "trustedbuilder", "tag": "latest"}}, "repository": {{"name": "testhook",
        "namespace": "svendowideit", "repo_name": "svendowideit/testhook", "repo_url": "https://hub.example"}}}}"#,
        RECEIVED / 1000
    );
    let trigger = one(HookKind::Dockerhub, &[], &hub);
    assert_eq!(
        (trigger.moved, trigger.stamped),
        (tag("docker.io/svendowideit/testhook", "latest", None), None)
    );
    let quay = r#"{"name": "repository", "repository": "mynamespace/repository", "namespace": "mynamespace",
        "docker_url": "quay.io/mynamespace/repository", "homepage": "https://quay.io/repository/mynamespace/repository",
        "updated_tags": ["1.0", "latest"]}"#;
    let triggers = deliver(HookKind::Quay, &[], quay).unwrap();
    let moved: Vec<Moved> = triggers.into_iter().map(|trigger| trigger.moved).collect();
    let repository = "quay.io/mynamespace/repository";
    assert_eq!(moved, [tag(repository, "1.0", None), tag(repository, "latest", None)]);
    let very_old = quay.replace(r#"["1.0", "latest"]"#, r#"{"latest": "47ec8ca7"}"#);
    assert_eq!(one(HookKind::Quay, &[], &very_old).moved, tag(repository, "", None));
}

#[test]
fn ghcr_writes_names_as_people_do() {
    let body = format!(
        r#"{{"action": "published", "package": {{"name": "Web", "namespace": "Shop-Team", "ecosystem": "CONTAINER",
        "package_type": "CONTAINER", "owner": {{"login": "Shop-Team"}}, "registry": {{"url": "https://ghcr.io/Shop-Team"}},
        "package_version": {{"id": 1, "version": "{DIGEST}", "name": "{DIGEST}", "container_metadata": {{"tag":
        {{"name": "1.4.0", "digest": "{DIGEST}"}}}}}}}}, "repository": {{"full_name": "Shop-Team/web"}}}}"#
    );
    let event = ("x-github-event", "package");
    assert_eq!(
        one(HookKind::Ghcr, &[event], &body).moved,
        tag("ghcr.io/shop-team/web", "1.4.0", Some(DIGEST))
    );
    let other = body.replace(r#""package": {"#, r#""registry_package": {"#);
    let event = ("x-github-event", "registry_package");
    assert_eq!(
        one(HookKind::Ghcr, &[event], &other).moved,
        tag("ghcr.io/shop-team/web", "1.4.0", Some(DIGEST))
    );
    none(HookKind::Ghcr, &[("x-github-event", "ping")], r#"{"zen": "Design for failure."}"#);
    none(HookKind::Ghcr, &[event], &other.replace("CONTAINER", "npm"));
}

#[test]
fn artifact_registry_is_wrapped_by_pub_sub() {
    let push = |data: &str| {
        format!(
            r#"{{"message": {{"data": "{}", "messageId": "2070443601311540", "publishTime": "2026-11-21T10:00:04.19Z"}},
            "subscription": "projects/myproject/subscriptions/mysubscription"}}"#,
            STANDARD.encode(data)
        )
    };
    let host = "us-east1-docker.pkg.dev/my-project/my-repo/hello-world";
    let written = format!(r#"{{"action": "INSERT", "digest": "{host}@{DIGEST}", "tag": "{host}:1.1"}}"#);
    let trigger = one(HookKind::Gar, &[], &push(&written));
    assert_eq!((trigger.moved, trigger.stamped), (tag(host, "1.1", Some(DIGEST)), None));
    none(HookKind::Gar, &[], &push(&written.replace("INSERT", "DELETE")));
    none(HookKind::Gar, &[], &push(&format!(r#"{{"action": "INSERT", "digest": "{host}@{DIGEST}"}}"#)));
}

#[test]
fn git_hosts_tell_branches_and_not_tags() {
    let github = |reference: &str, after: &str| {
        format!(
            r#"{{"ref": "{reference}", "before": "{ZERO}", "after": "{after}", "created": false, "deleted": false,
            "forced": false, "commits": [], "repository": {{"id": 1, "full_name": "shop/fleet", "pushed_at": {},
            "clone_url": "https://github.example/shop/fleet.git"}}, "pusher": {{"name": "a"}}}}"#,
            RECEIVED / 1000 - 1
        )
    };
    let event = ("x-github-event", "push");
    let trigger = one(HookKind::Github, &[event], &github("refs/heads/release/1.x", COMMIT));
    assert_eq!(trigger.moved, branch("shop/fleet", "release/1.x", Some(COMMIT)));
    assert_eq!(trigger.stamped, Some(Interval::second(Time(RECEIVED - 1000))));
    let deleted = one(HookKind::Github, &[event], &github("refs/heads/main", ZERO));
    assert_eq!(deleted.moved, branch("shop/fleet", "main", None));
    none(HookKind::Github, &[event], &github("refs/tags/v1", COMMIT));
    none(HookKind::Github, &[("x-github-event", "ping")], r#"{"zen": "Keep it logically awesome."}"#);

    let gitlab = format!(
        r#"{{"object_kind": "push", "event_name": "push", "before": "{ZERO}", "after": "{COMMIT}",
        "ref": "refs/heads/main", "checkout_sha": "{COMMIT}", "project": {{"id": 15, "name": "Fleet",
        "git_http_url": "https://gitlab.example/shop/team/fleet.git", "path_with_namespace": "shop/team/fleet",
        "default_branch": "main"}}, "commits": [], "total_commits_count": 4}}"#
    );
    let trigger = one(HookKind::Gitlab, &[("x-gitlab-event", "Push Hook")], &gitlab);
    assert_eq!(trigger.moved, branch("shop/team/fleet", "main", Some(COMMIT)));
    none(HookKind::Gitlab, &[], r#"{"object_kind": "pipeline", "object_attributes": {}}"#);

    let gitea = format!(
        r#"{{"ref": "refs/heads/main", "before": "{ZERO}", "after": "{COMMIT}", "compare_url": "https://gitea.example/c",
        "commits": [], "repository": {{"id": 140, "full_name": "gitea/webhooks"}}, "pusher": {{"login": "gitea"}}}}"#
    );
    for event in ["x-gitea-event", "x-forgejo-event"] {
        let trigger = one(HookKind::Gitea, &[(event, "push")], &gitea);
        assert_eq!(trigger.moved, branch("gitea/webhooks", "main", Some(COMMIT)));
    }
}

#[test]
fn bitbucket_of_both_kinds() {
    let center = format!(
        r#"{{"eventKey": "repo:refs_changed", "date": "2026-11-21T20:00:04+1000", "actor": {{"name": "admin"}},
        "repository": {{"slug": "fleet", "id": 84, "name": "fleet", "project": {{"key": "SHOP", "id": 84}}}},
        "changes": [{{"ref": {{"id": "refs/heads/main", "displayId": "main", "type": "BRANCH"}}, "refId":
        "refs/heads/main", "fromHash": "{ZERO}", "toHash": "{COMMIT}", "type": "UPDATE"}}]}}"#
    );
    let trigger = one(HookKind::Bitbucket, &[("x-event-key", "repo:refs_changed")], &center);
    assert_eq!(trigger.moved, branch("SHOP/fleet", "main", Some(COMMIT)));
    assert_eq!(trigger.stamped, Some(Interval::second(Time(RECEIVED - 1000))));
    let cloud = format!(
        r#"{{"push": {{"changes": [{{"new": {{"type": "branch", "name": "main", "target": {{"type": "commit",
        "hash": "{COMMIT}", "date": "2026-11-20T10:00:00+00:00"}}}}, "old": null}}, {{"new": null, "old": {{}}}}]}},
        "repository": {{"full_name": "shop/fleet"}}, "actor": {{}}}}"#
    );
    let trigger = one(HookKind::Bitbucket, &[("x-event-key", "repo:push")], &cloud);
    assert_eq!((trigger.moved, trigger.stamped), (branch("shop/fleet", "main", Some(COMMIT)), None));
    none(HookKind::Bitbucket, &[("x-event-key", "diagnostics:ping")], r#"{"test": true}"#);
}

#[test]
fn flux_tells_the_branch_that_a_source_came_to() {
    let event = format!(
        r#"{{"involvedObject": {{"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "name": "fleet",
        "namespace": "flux-system"}}, "severity": "info", "timestamp": "2026-11-21T10:00:04Z", "message":
        "stored artifact for commit 'x'", "reason": "NewArtifact", "reportingController": "source-controller",
        "metadata": {{"source.toolkit.fluxcd.io/digest": "sha256:ab", "source.toolkit.fluxcd.io/revision":
        "main@sha1:{COMMIT}"}}}}"#
    );
    for kind in [HookKind::Generic, HookKind::GenericHmac] {
        let trigger = one(kind, &[], &event);
        assert_eq!(trigger.moved, Moved::AnyBranch { branch: Some("main".into()) });
        assert_eq!(trigger.stamped, None);
        none(kind, &[], &event.replace("GitRepository", "HelmChart"));
    }
}

#[test]
fn cdevents_name_an_image_by_its_purl() {
    let event = |kind: &str| {
        format!(
            r#"{{"context": {{"version": "0.4.1", "id": "271069a8", "source": "/event/source/123", "type": "{kind}",
            "timestamp": "2026-11-21T10:00:04.123Z"}}, "subject": {{"id":
            "pkg:oci/web@{}?repository_url=r.example%2Fteam%2Fweb&tag=1.4.0", "type": "artifact", "content": {{}}}}}}"#,
            DIGEST.replace(':', "%3A")
        )
    };
    let trigger = one(HookKind::Cdevents, &[], &event("dev.cdevents.artifact.published.0.2.0"));
    assert_eq!(trigger.moved, tag("r.example/team/web", "1.4.0", Some(DIGEST)));
    assert_eq!(trigger.stamped, Some(Interval::at(Time(RECEIVED - 877))));
    none(HookKind::Cdevents, &[], &event("dev.cdevents.artifact.signed.0.2.0"));
}

#[test]
fn a_hint_names_an_image_or_a_branch() {
    let image = one(HookKind::Hint, &[], r#"{"image": "r.example/team/web:1.4.0"}"#);
    assert_eq!((image.moved, image.stamped), (tag("r.example/team/web", "1.4.0", None), None));
    let git = one(HookKind::Hint, &[], r#"{"git": "git@git.example:shop/fleet.git", "branch": "main"}"#);
    assert_eq!(git.moved, branch("shop/fleet", "main", None));
    let expects = one(HookKind::Hint, &[], r#"{"image": "r.example/team/web:1.4.0", "environment": "prod"}"#);
    assert_eq!(
        (expects.moved, expects.expected_in),
        (tag("r.example/team/web", "1.4.0", None), Some("prod".into()))
    );
    for (wrong, word) in [
        (r#"{"image": "r.example/team/web:1", "environment": "staging"}"#, "`expect_in`"),
        (&format!(r#"{{"image": "r.example/team/web@{DIGEST}", "environment": "prod"}}"#), "which tag"),
        (r#"{"git": "https://x/y", "environment": "prod"}"#, "it goes with `image`"),
        (r#"{"image": "r.example/team/web:1", "git": "https://x/y"}"#, "either"),
        (r#"{"image": "R.example/TEAM"}"#, "image:"),
        (r#"{"image": "r.example/team/web:1", "time": "yesterday"}"#, "RFC 3339"),
        (r#"{"imgae": "r.example/team/web:1"}"#, "imgae"),
        ("[1, 2", "line 1"),
        ("", "not what this kind"),
    ] {
        let refused = deliver(HookKind::Hint, &[], wrong);
        assert!(
            matches!(&refused, Err(Refused::Malformed(why)) if why.contains(word)),
            "{wrong}: {refused:?}"
        );
    }
}

#[test]
fn one_delivery_hurries_a_bounded_number_of_things() {
    let tags: Vec<String> = (0..1000).map(|tag| format!(r#""t{tag}""#)).collect();
    let quay = format!(r#"{{"docker_url": "quay.io/a/b", "updated_tags": [{}]}}"#, tags.join(","));
    assert_eq!(deliver(HookKind::Quay, &[], &quay).unwrap().len(), 64);
    let long = format!(r#"{{"git": "https://x/y", "branch": "{}"}}"#, "b".repeat(100_000));
    assert_eq!(deliver(HookKind::Hint, &[], &long), Ok(Vec::new()));
}

const KINDS: [(HookKind, &[(&str, &str)]); 14] = [
    (HookKind::Distribution, &[]),
    (HookKind::Harbor, &[]),
    (HookKind::Ghcr, &[("x-github-event", "package")]),
    (HookKind::Dockerhub, &[]),
    (HookKind::Quay, &[]),
    (HookKind::Gar, &[]),
    (HookKind::Github, &[("x-github-event", "push")]),
    (HookKind::Gitlab, &[]),
    (HookKind::Gitea, &[("x-gitea-event", "push")]),
    (HookKind::Bitbucket, &[("x-event-key", "repo:refs_changed")]),
    (HookKind::Generic, &[]),
    (HookKind::GenericHmac, &[]),
    (HookKind::Cdevents, &[]),
    (HookKind::Hint, &[]),
];

/// Texts that look like what senders write: keys that some kind reads, with any value.
fn payload() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "events",
        "target",
        "repository",
        "tag",
        "action",
        "push_data",
        "docker_url",
        "updated_tags",
        "message",
        "data",
        "package",
        "ref",
        "after",
        "project",
        "changes",
        "push",
        "involvedObject",
        "context",
        "subject",
        "id",
        "image",
        "git",
        "time",
        "timestamp",
        "full_name",
        "type",
        "event_data",
        "resources",
        "digest",
        "date",
        "kind",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(format!("\"{DIGEST}\"")),
        Just("\"refs/heads/main\"".to_owned()),
        Just("\"2026-11-21T10:00:04+1000\"".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec((key.clone(), inner.clone()), 0..6).prop_map(|pairs| {
                let pairs: Vec<String> =
                    pairs.into_iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                format!("{{{}}}", pairs.join(", "))
            }),
            prop::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(", "))),
        ]
    })
}

proptest! {
    // Each is delivered to every kind, whole and cut.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_payload_does_more_than_name_a_few_things(body in payload(), cut in 0usize..200) {
        for (kind, headers) in KINDS {
            if let Ok(triggers) = deliver(kind, headers, &body) {
                prop_assert!(triggers.len() <= 64);
            }
            let cut = body.char_indices().nth(cut).map_or(body.len(), |(at, _)| at);
            let _ = deliver(kind, headers, &body[..cut]);
        }
    }
}
