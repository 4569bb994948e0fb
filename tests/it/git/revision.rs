//! The pod template of a manifest as a number: what makes it another one, and what does not.

use knotmeter::observers::git::extract;

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - name: web
          image: r.io/team/web:1
          env: [{name: MODE, value: fast}]
        - name: proxy
          image: r.io/mesh/proxy:7
";

fn template(text: &str) -> u64 {
    let found = extract("web.yaml", text.as_bytes(), &[]).references;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].template, found[1].template, "both containers stand in one template");
    found[0].template.expect("a workload has a template")
}

#[test]
fn an_environment_variable_makes_another_template() {
    assert_ne!(template(MANIFEST), template(&MANIFEST.replace("fast", "slow")));
}

#[test]
fn an_image_replicas_and_a_comment_make_no_other_template() {
    let same = MANIFEST.replace("web:1", "web:2 # newer").replace("replicas: 2", "replicas: 9");
    assert_eq!(template(MANIFEST), template(&same));
}

#[test]
fn the_order_of_keys_makes_no_other_template() {
    let same = MANIFEST.replace("{name: MODE, value: fast}", "{value: fast, name: MODE}");
    assert_eq!(template(MANIFEST), template(&same));
}

#[test]
fn what_moves_between_values_makes_another_template() {
    let left = MANIFEST.replace("{name: MODE, value: fast}", "{name: MOD, value: Efast}");
    assert_ne!(template(MANIFEST), template(&left));
}

const RELEASE: &str = "apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: cart, namespace: prod}
spec:
  interval: 30s
  values:
    image:
      repository: r.io/team/cart
      tag: 1.0.0
    proxy: {image: r.io/mesh/proxy, imageTag: v7}
    labels: {tag: shop}
";

#[test]
fn a_release_is_all_of_its_spec_but_for_what_names_images() {
    let of = |text: &str| {
        let found = extract("release.yaml", text.as_bytes(), &[]).references;
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].kind.as_deref(), Some("HelmRelease"));
        found[0].template.expect("a release has a spec")
    };
    let same =
        RELEASE.replace("1.0.0", "1.1.0 # {\"$imagepolicy\": \"flux-system:cart:tag\"}").replace("v7", "v8");
    assert_eq!(of(RELEASE), of(&same));
    for (before, after) in
        [("tag: shop", "tag: shops"), ("30s", "10s"), ("tag: 1.0.0", "tag: 1.0.0\n      pullPolicy: Always")]
    {
        assert_ne!(of(RELEASE), of(&RELEASE.replace(before, after)), "{after}");
    }
}

#[test]
fn values_and_kustomizations_have_no_template() {
    let values = extract("values.yaml", b"image: {repository: r.io/team/web, tag: v1}", &[]);
    assert_eq!(values.references[0].template, None);
}
