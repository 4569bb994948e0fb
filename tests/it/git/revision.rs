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

#[test]
fn values_and_kustomizations_have_no_template() {
    let values = extract("values.yaml", b"image: {repository: r.io/team/web, tag: v1}", &[]);
    assert_eq!(values.references[0].template, None);
}
