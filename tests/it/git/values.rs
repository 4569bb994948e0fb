//! Values of releases: tags that stand alone, and what a ConfigMap holds as text.

use knotmeter::config::Marker;
use knotmeter::observation::GitValue;
use knotmeter::observers::git::extract;

use super::follower::{Follower, config, levels, paths};
use super::origin::Origin;

const RELEASE: &str = r#"apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: cart, namespace: prod}
spec:
  interval: 10m
  chart: {spec: {chart: cart, version: 7.x}}
  values:
    image:
      tag: 1.2.3 # {"$imagepolicy": "flux-system:cart:tag"}
    web: {imageTag: "1.2.4", replicas: 2}
    sidecar: {image: {repository: r.io/team/side, tag: "2"}, tag: null}
    version: 5.0.1 # {"$imagepolicy": "flux-system:jobs:tag"}
    whole: r.io/team/jobs:9 # {"$imagepolicy": "flux-system:jobs"}
    stages: [{tag: "{{ later }}"}, {tag: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}]
"#;

const CONFIG_MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: cart-values
data:
  MODE: fast
  tag: one
  values.yaml: |
    # for all
    image:
      repository: r.io/team/cart
      tag: 1.2.3
    jobs:
      tag: 1.0.0 # release-jobs
  script.sh: |
    echo {{ tag: 1
";

/// `LINE OBJECT[/KEY] [PATH] = WHAT [MARKER]`
fn shown(value: &GitValue) -> String {
    let place = &value.place;
    let says = &value.says;
    let repository = says.repository.as_ref().map(ToString::to_string).unwrap_or_default();
    let tag = says.tag.as_ref().map(ToString::to_string).unwrap_or_default();
    let digest = says.digest.as_ref().map(|digest| digest.short()).unwrap_or_default();
    let data = place.data.as_deref().map(|key| format!("/{key}")).unwrap_or_default();
    let generated = if place.generated { "*" } else { "" };
    let marker = value.marker.as_deref().unwrap_or("-");
    format!(
        "{} {}/{}{generated}{data} [{}] = {repository}:{tag}@{digest} {marker}",
        value.line, place.kind, place.name, place.key
    )
}

fn placed(file: &str, text: &str) -> Vec<String> {
    let markers = [Marker::new("# release-(?<name>[a-z]+)").expect("a pattern")];
    extract(file, text.as_bytes(), &markers).values.placed.iter().map(shown).collect()
}

#[test]
fn a_release_says_tags_alone_where_its_chart_knows_the_repository() {
    assert_eq!(
        placed("cart.yaml", RELEASE),
        [
            "9 HelmRelease/cart [image.tag] = :1.2.3@ flux-system:cart",
            "10 HelmRelease/cart [web.imageTag] = :1.2.4@ -",
            "12 HelmRelease/cart [version] = :5.0.1@ flux-system:jobs",
            "14 HelmRelease/cart [stages[1].tag] = :@sha256:aaaaaaaaaaaa -",
        ]
    );
}

#[test]
fn a_config_map_says_whole_images_too_on_the_lines_of_its_file() {
    assert_eq!(
        placed("values.yaml", CONFIG_MAP),
        [
            "12 ConfigMap/cart-values/values.yaml [] = r.io/team/cart:1.2.3@ -",
            "14 ConfigMap/cart-values/values.yaml [jobs.tag] = :1.0.0@ jobs",
        ]
    );
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n- {}", CONFIG_MAP.trim_end().replace('\n', "\n  "));
    assert_eq!(placed("values.yaml", &list).len(), 2);
}

#[test]
fn a_tag_is_no_part_of_what_makes_a_revision_and_other_values_are() {
    let template = |text: &str| extract("cart.yaml", text.as_bytes(), &[]).values.placed[0].template;
    assert!(template(RELEASE).is_some());
    assert_eq!(template(RELEASE), template(&RELEASE.replace("1.2.3", "1.3.0").replace("1.2.4", "2")));
    assert_ne!(template(RELEASE), template(&RELEASE.replace("replicas: 2", "replicas: 3")));
}

#[test]
fn what_is_no_object_has_no_place_and_odd_texts_say_nothing() {
    let plain = extract("values.yaml", b"image: {repository: r.io/team/cart, tag: 1}\njobs: {tag: 2}\n", &[]);
    assert_eq!((plain.values.placed.len(), plain.values.plain.len()), (0, 2));
    for text in [
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: [tag, 1]}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: \"tag: 1\"}\n",
        "apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\nspec: {values: {tag: 1}}\n",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: a}\nspec: {values: [[[]]]}\n",
        "kind: HelmRelease\nmetadata: {name: a}\nspec: {values: {tag: 1}}\n",
    ] {
        assert_eq!(placed("a.yaml", text), [""; 0], "{text}");
    }
    let long = "k".repeat(600);
    let deep = format!("{RELEASE}    {long}: {{tag: 1}}\n");
    assert_eq!(placed("a.yaml", &deep).len(), placed("a.yaml", RELEASE).len(), "a path of 600 characters");
}

#[tokio::test]
async fn a_file_becomes_the_config_map_that_a_generator_makes_of_it() {
    let origin = Origin::new();
    let kustomization = "configMapGenerator:\n- {name: cart-values, namespace: prod, files: [values.yaml=cart/prod.yaml]}\n\
                         - {name: other, files: [notes.txt]}\n";
    origin.write("prod/kustomization.yaml", kustomization);
    origin.write("prod/cart/prod.yaml", "image:\n  tag: 1.0.0\n");
    origin.commit_and_push("Add values");
    let mut follower =
        Follower::new(knotmeter::config::Git { paths: paths(&["prod/"]), ..config(&origin.file_url()) });
    let first = follower.poll().await;
    let before: Vec<String> = levels(&first)[0].values.iter().map(shown).collect();
    assert_eq!(before, ["2 ConfigMap/cart-values*/values.yaml [image.tag] = :1.0.0@ -"]);

    origin.write("prod/cart/prod.yaml", "# now\nimage:\n  tag: 1.1.0\n");
    let changed = origin.commit_and_push("Take another tag");
    origin.write("prod/notes.txt", "nothing");
    origin.commit_and_push("Write a note");
    let second = follower.poll().await;
    let level = levels(&second)[0];
    let now = ["3 ConfigMap/cart-values*/values.yaml [image.tag] = :1.1.0@ -"];
    assert_eq!(level.values.iter().map(shown).collect::<Vec<_>>(), now);
    let brought: Vec<_> = level.commits.iter().filter(|commit| !commit.values.is_empty()).collect();
    let [commit] = &brought[..] else { panic!("{:?}", level.commits) };
    assert_eq!(*commit.id, *changed);
    assert_eq!(commit.values.iter().map(shown).collect::<Vec<_>>(), now);

    origin.git(&["mv", "prod/cart", "prod/shop"]);
    origin.write("prod/kustomization.yaml", kustomization.replace("cart/prod", "shop/prod"));
    origin.commit_and_push("Move the folder");
    let third = follower.poll().await;
    let level = levels(&third)[0];
    assert_eq!(level.values.iter().map(shown).collect::<Vec<_>>(), now);
}
