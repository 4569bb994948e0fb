//! ConfigMaps in files: which are found, and what makes them another one.

use std::sync::Arc;

use knotmeter::observation::GitConfigMap;
use knotmeter::observers::git::extract;

use super::follower::{Follower, config, levels, paths};
use super::origin::Origin;

const OBJECT: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: prod}
data:
  MODE: fast
  image: r.io/team/web:1
";

fn found(file: &str, text: &str) -> Vec<GitConfigMap> {
    extract(file, text.as_bytes(), &[]).config_maps.into_iter().map(|written| written.config_map).collect()
}

fn data(text: &str) -> u64 {
    let [one] = found("settings.yaml", text).try_into().expect("one ConfigMap");
    one.data
}

#[test]
fn an_object_is_found_by_its_name() {
    let [one] = found("settings.yaml", OBJECT).try_into().expect("one ConfigMap");
    assert_eq!((&*one.name, one.namespace.as_deref(), one.generated), ("settings", Some("prod"), false));
}

#[test]
fn only_its_data_makes_it_another_one() {
    let labelled = OBJECT.replace("{name: settings,", "{labels: {a: b}, name: settings,");
    let turned = OBJECT.replace("  MODE: fast\n", "").replace(":1\n", ":1\n  # first\n  MODE: fast\n");
    assert_eq!(data(OBJECT), data(&labelled));
    assert_eq!(data(OBJECT), data(&turned));
    assert_ne!(data(OBJECT), data(&OBJECT.replace("fast", "slow")));
    assert_ne!(data(OBJECT), data(&OBJECT.replace("\ndata:", "\nbinaryData:")));
    assert_ne!(data(OBJECT), data(&OBJECT.replace("web:1", "web:2")), "a value called image is a value");
}

#[test]
fn lists_and_several_documents_are_read() {
    let list =
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n";
    let names =
        |text: &str| found("all.yaml", text).into_iter().map(|one| one.name).collect::<Vec<Arc<str>>>();
    assert_eq!(names(list), ["a".into()]);
    assert_eq!(names(&format!("{OBJECT}---\n{list}")), ["settings".into(), "a".into()]);
}

#[test]
fn a_generator_is_read_with_its_literals() {
    let text = "configMapGenerator:\n- {name: settings, literals: [MODE=fast]}\n- {name: plain, literals: [A=b], \
                options: {disableNameSuffixHash: true}}\n";
    let before = found("kustomization.yaml", text);
    let after = found("kustomization.yaml", &text.replace("fast", "slow"));
    assert_eq!(before.iter().map(|one| one.generated).collect::<Vec<_>>(), [true, false]);
    assert_ne!(before[0].data, after[0].data);
    assert_eq!(before[1].data, after[1].data);
    let everywhere = format!("{text}generatorOptions: {{disableNameSuffixHash: true}}\n");
    assert!(found("kustomization.yaml", &everywhere).iter().all(|one| !one.generated));
}

#[test]
fn odd_ones_are_left_out() {
    for text in [
        "kind: ConfigMap\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {a: b}}\n",
        "configMapGenerator: {name: a}\n",
        "configMapGenerator: [a, {literals: [b]}, null]\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: null\nitems: 7\n",
    ] {
        assert_eq!(found("a.yaml", text), [], "{text}");
    }
}

#[tokio::test]
async fn a_commit_that_changes_a_file_of_a_generator_changes_its_config_map() {
    let origin = Origin::new();
    let kustomization =
        "configMapGenerator:\n- {name: settings, files: [a=conf/app.ini], envs: [../outside.env]}\n";
    origin.write("prod/kustomization.yaml", kustomization).write("prod/settings.yaml", OBJECT);
    origin.write("prod/conf/app.ini", "mode=fast").write("outside.env", "A=b");
    origin.commit_and_push("Add settings");
    let mut follower =
        Follower::new(knotmeter::config::Git { paths: paths(&["prod/"]), ..config(&origin.file_url()) });
    let first = follower.poll().await;
    let before = levels(&first)[0].config_maps.clone();
    assert_eq!(
        before.iter().map(|one| (&*one.name, one.generated)).collect::<Vec<_>>(),
        [("settings", true), ("settings", false)]
    );

    origin.write("prod/conf/app.ini", "mode=slow");
    origin.commit_and_push("Change a file that a generator reads");
    let second = follower.poll().await;
    let after = &levels(&second)[0].config_maps;
    assert_ne!(before[0].data, after[0].data);
    assert_eq!(before[1], after[1]);

    origin.write("prod/settings.yaml", OBJECT.replace("fast", "slow"));
    let changed = origin.commit_and_push("Change an object");
    let third = follower.poll().await;
    let level = levels(&third)[0];
    assert_ne!(level.config_maps[1].data, before[1].data);
    let [commit] = &level.commits[..] else { panic!("{:?}", level.commits) };
    assert_eq!((&*commit.id, &commit.config_maps[..]), (changed.as_str(), &level.config_maps[1..]));
}
