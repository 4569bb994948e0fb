//! Numbers of pods in files: which are found, and that a commit brings them.

use knotmeter::observation::GitScale;
use knotmeter::observers::git::extract;

use super::follower::{Follower, config, levels, paths};
use super::origin::Origin;

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: prod}
spec:
  replicas: 3
  template: {spec: {containers: [{name: web, image: r.io/team/web:1}]}}
";

/// Kind, name, namespace and number, as far as they are told.
fn found(file: &str, text: &str) -> Vec<String> {
    let told = |scale: GitScale| {
        let [kind, namespace] =
            [scale.kind, scale.namespace].map(|it| it.map_or("-".into(), |it| it.to_string()));
        format!("{kind} {namespace}/{} x{}", scale.name, scale.replicas)
    };
    extract(file, text.as_bytes(), &[]).scales.into_iter().map(told).collect()
}

#[test]
fn manifests_and_patches_tell_how_many() {
    assert_eq!(found("web.yaml", MANIFEST), ["Deployment prod/web x3"]);
    let patch = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 5}\n";
    assert_eq!(found("patch.yaml", patch), ["StatefulSet -/db x5"]);
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, \
                spec: {replicas: 0}}\n";
    assert_eq!(
        found("all.yaml", &format!("{MANIFEST}---\n{list}")),
        ["Deployment prod/web x3", "Deployment -/a x0"]
    );
    let json = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 2}}"#;
    assert_eq!(found("a.json", json), ["Deployment -/a x2"]);
}

#[test]
fn an_entry_of_a_kustomization_means_whatever_has_its_name() {
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nreplicas:\n- {name: web, count: 4}\n";
    assert_eq!(found("kustomization.yaml", text), ["- -/web x4"]);
}

#[test]
fn odd_ones_are_left_out() {
    for number in ["three", "-1", "2.5", "${REPLICAS}", "99999999999", "[3]", "", "null"] {
        let text = MANIFEST.replace("replicas: 3", &format!("replicas: {number}"));
        assert_eq!(found("web.yaml", &text), [] as [&str; 0], "{number}");
    }
    for text in [
        "kind: Deployment\nmetadata: {name: a}\nspec: {replicas: 3}\n",
        "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 3}\n",
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec: {replicas: 3}\n",
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {minReplicas: 3}\n",
        "replicas: [a, {count: 3}, {name: {a: b}, count: 1}, null]\n",
        "replicas: 3\n",
    ] {
        assert_eq!(found("a.yaml", text), [] as [&str; 0], "{text}");
    }
}

#[tokio::test]
async fn a_commit_brings_the_number_that_it_changes() {
    let origin = Origin::new();
    origin.write("prod/web.yaml", MANIFEST);
    origin.commit_and_push("Three");
    let mut follower =
        Follower::new(knotmeter::config::Git { paths: paths(&["prod/"]), ..config(&origin.file_url()) });
    follower.poll().await;
    origin.write("prod/web.yaml", format!("# Ours.\n{MANIFEST}"));
    let remark = origin.commit_and_push("Say whose it is");
    origin.write("prod/web.yaml", MANIFEST.replace('3', "5"));
    let changed = origin.commit_and_push("Five");
    let said = follower.poll().await;
    let level = levels(&said)[0];
    assert_eq!(level.scales.iter().map(|scale| scale.replicas).collect::<Vec<_>>(), [5]);
    let brought: Vec<_> = level.commits.iter().map(|it| (it.id.to_string(), it.scales.len())).collect();
    assert_eq!(brought, [(changed, 1), (remark, 0)]);
}
