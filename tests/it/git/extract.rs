//! Which texts name an image. Each case is a file as a shop writes it and the references in it.

use knotmeter::config::Marker;
use knotmeter::observers::git::{Dropped, FILE_BYTES_MAX, REFERENCES_PER_FILE_MAX, extract};
use proptest::prelude::*;

use super::follower::{deployment, shown};

/// Compares the references of a file, one a line, with what is expected.
#[track_caller]
fn check(file: &str, text: &str, expected: &[&str]) {
    let markers =
        [Marker::new(r"(?:#|//) deploy:(?P<name>[\w-]+)").unwrap(), Marker::new("bump-me").unwrap()];
    let extracted = extract(file, text.as_bytes(), &markers);
    let found: Vec<_> = extracted.references.iter().map(shown).collect();
    let wanted: Vec<_> = expected.iter().map(|line| format!("{file}:{line}")).collect();
    assert_eq!(found, wanted, "in\n{text}");
    assert_eq!(extracted.dropped, None);
}

#[test]
fn a_container_of_a_workload_is_named_with_its_object() {
    check(
        "prod/web.yaml",
        &deployment("web", "ghcr.io/team/web:1.4"),
        &["14 Deployment/web[main] -n shop = ghcr.io/team/web:1.4"],
    );
    // In a container a bare name is a reference, too; elsewhere it is a word.
    check(
        "a.yaml",
        &deployment("web", "nginx"),
        &["14 Deployment/web[main] -n shop = docker.io/library/nginx:latest"],
    );
}

#[test]
fn every_document_and_every_item_of_a_list_is_read() {
    let two = format!("{}---\n{}", deployment("a", "r.io/a:1"), deployment("b", "r.io/b:2"));
    check(
        "all.yml",
        &two,
        &["14 Deployment/a[main] -n shop = r.io/a:1", "29 Deployment/b[main] -n shop = r.io/b:2"],
    );
    check(
        "list.yaml",
        "apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: report}
  spec:
    jobTemplate:
      spec:
        template:
          spec:
            containers:
            - image: r.io/report@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
              name: run
- apiVersion: v1
  kind: Pod
  metadata: {name: debug}
  spec: {containers: [{name: sh, image: 'r.io/sh:1'}]}
",
        &[
            "13 CronJob/report[run] = r.io/report@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
    );
}

#[test]
fn init_containers_and_schemas_are_no_destinations() {
    let init = deployment("web", "r.io/web:1")
        + "      initContainers:\n        - {name: wait, image: 'r.io/wait:1'}\n";
    check("a.yaml", &init, &["14 Deployment/web[main] -n shop = r.io/web:1"]);
    check(
        "crd.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec:\n  image: r.io/example:1\n",
        &[],
    );
}

#[test]
fn a_custom_resource_names_its_image_and_a_flux_repository_does_not() {
    let of = |kind: &str, image: &str| {
        format!("apiVersion: example.com/v1\nkind: {kind}\nmetadata:\n  name: it\nspec:\n  image: {image}\n")
    };
    check("p.yaml", &of("Prometheus", "quay.io/prom/prom:v3"), &["6 Prometheus/it = quay.io/prom/prom:v3"]);
    check("r.yaml", &of("ImageRepository", "ghcr.io/team/web"), &[]);
}

#[test]
fn kustomize_entries_carry_the_name_that_they_replace() {
    check(
        "prod/kustomization.yaml",
        "resources: [../base]
images:
- name: web
  newName: ghcr.io/team/web
  newTag: \"1.10\" # {\"$imagepolicy\": \"apps:web:tag\"}
- name: ghcr.io/team/api
  newTag: v2
  digest: sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
- name: only/renamed
  newName: r.io/renamed
",
        &[
            "5 Kustomize/docker.io/library/web = ghcr.io/team/web:1.10 #apps:web",
            "7 Kustomize/ghcr.io/team/api = ghcr.io/team/api:v2@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        ],
    );
}

#[test]
fn helm_values_pair_repository_and_tag() {
    check(
        "values.yaml",
        "image:
  registry: ghcr.io
  repository: team/web
  pullPolicy: Always
  tag: 1.20
worker:
  image: {repository: r.io/worker, tag: 'v3', digest: ''}
  sidecarImage: r.io/side:9
cache:
  image: redis
  tag: \"7\"
flat:
  image: redis:7.2
empty:
  image: {repository: r.io/empty, tag: \"\"}
digested:
  repository: r.io/d
  tag: sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc
",
        &[
            "5 = ghcr.io/team/web:1.20",
            "7 = r.io/worker:v3",
            "8 = r.io/side:9",
            "11 = docker.io/library/redis:7",
            "13 = docker.io/library/redis:7.2",
            "18 = r.io/d@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        ],
    );
}

#[test]
fn a_helm_release_names_the_images_in_its_values() {
    check(
        "hr.yaml",
        "apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web, namespace: apps}
spec:
  values:
    image:
      repository: ghcr.io/team/web # {\"$imagepolicy\": \"apps:web:name\"}
      tag: 1.4.0 # {\"$imagepolicy\": \"apps:web:tag\"}
",
        &["8 HelmRelease/web -n apps = ghcr.io/team/web:1.4.0 #apps:web"],
    );
}

#[test]
fn json_is_read_by_its_structure() {
    check(
        "task.json",
        "{\n\t\"worker\": {\n\t\t\"image\": \"r.io/worker:5\"\n\t},\n\t\"image\": {\"repository\": \"r.io/a\", \"tag\": \"1\"}\n}",
        &["3 = r.io/worker:5", "5 = r.io/a:1"],
    );
}

#[test]
fn jsonnet_is_read_line_by_line() {
    check(
        "main.jsonnet",
        "// image: 'r.io/comment:1'
local web = 'ghcr.io/team/web:1.4';  // deploy:web
{
  image: \"redis:7\",
  url: 'http://example.com:80/a:b',
  name: 'redis:7',
  command: 'r.io/x:' + tag,
  api:: { repository: 'r.io/api', tag: 'v1' }, // deploy:api
  other: {
    repository: 'r.io/other',
    tag: 'v2',  # bump-me
  },
}
",
        &[
            "2 = ghcr.io/team/web:1.4 #web",
            "4 = docker.io/library/redis:7",
            "8 = r.io/api:v1 #api",
            "11 = r.io/other:v2 #bump-me",
        ],
    );
}

#[test]
fn a_template_is_read_line_by_line() {
    check(
        "templates/deployment.yaml",
        "{{- if .Values.web }}
kind: Deployment
spec:
  image: \"{{ .Values.image }}:{{ .Values.tag }}\"
  # image: r.io/comment:1
  image: r.io/fixed:1 # deploy:fixed
  - image: 'r.io/quoted:2'
  args: [\"--from=r.io/argument:3\"]
{{- end }}
",
        &["6 = r.io/fixed:1 #fixed", "7 = r.io/quoted:2"],
    );
}

#[test]
fn placeholders_name_nothing_yet() {
    for image in ["r.io/a:${TAG}", "r.io/a:$(TAG)", "'{{ image }}:1'", "r.io/a:", "'r.io/Upper:1'", "''"] {
        check("a.yaml", &deployment("web", image), &[]);
    }
}

#[test]
fn argo_cd_overrides_are_read() {
    check(
        ".argocd-source-web.yaml",
        "kustomize:
  images:
  - old/web=ghcr.io/team/web:1.5
  - ghcr.io/team/api:v3
helm:
  parameters:
  - {name: image.name, value: r.io/job}
  - {name: image.tag, value: v7, forcestring: true}
  - name: sidecar
    value: r.io/side:2
  - {name: replicas, value: '3'}
",
        &[
            "3 Kustomize/docker.io/old/web = ghcr.io/team/web:1.5",
            "4 Kustomize/ghcr.io/team/api = ghcr.io/team/api:v3",
            "8 = r.io/job:v7",
            "10 = r.io/side:2",
        ],
    );
}

#[test]
fn a_marker_makes_any_text_on_its_line_a_reference() {
    check(
        "env.yaml",
        "env:\n- name: RUNNER\n  value: r.io/runner:4 # deploy:runner\n- name: OTHER\n  value: r.io/other:4\n",
        &["3 = r.io/runner:4 #runner"],
    );
}

#[test]
fn a_patch_of_an_image_is_a_reference() {
    check(
        "patch.yaml",
        "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: r.io/web:8\n- op: add\n  path: /metadata/name\n  value: r.io/no:1\n",
        &["3 = r.io/web:8"],
    );
}

#[test]
fn an_anchor_is_read_where_it_stands() {
    check(
        "a.yaml",
        "v: &v '3'\nbase: &b\n  image: r.io/a:1\nuse:\n  <<: *b\n  repository: r.io/b\n  tag: *v\n",
        &["3 = r.io/a:1", "7 = r.io/b:3"],
    );
}

#[test]
fn what_is_no_text_or_too_much_is_left_out_and_said() {
    let dropped = |bytes: &[u8]| extract("a.yaml", bytes, &[]).dropped;
    assert_eq!(dropped(b"image: \xff\xfe:1"), Some(Dropped::NotText));
    assert_eq!(dropped(b"image: r.io/a:1\0"), Some(Dropped::NotText));
    assert_eq!(dropped(&vec![b'#'; FILE_BYTES_MAX + 1]), Some(Dropped::TooLarge));
    let many: String =
        (0..=REFERENCES_PER_FILE_MAX).map(|n| format!("k{n}: {{image: 'r.io/a:{n}'}}\n")).collect();
    let extracted = extract("a.yaml", many.as_bytes(), &[]);
    assert_eq!(extracted.references.len(), REFERENCES_PER_FILE_MAX);
    assert_eq!(extracted.dropped, Some(Dropped::TooManyReferences));
}

#[test]
fn an_alias_bomb_and_deep_nesting_end_quickly() {
    let mut bomb = String::from("a0: &a0 {image: 'r.io/a:1'}\n");
    for n in 1..40 {
        bomb += &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1);
    }
    check("bomb.yaml", &bomb, &["1 = r.io/a:1"]);
    let deep = "[".repeat(100_000);
    assert!(extract("deep.yaml", deep.as_bytes(), &[]).references.is_empty());
    let deep = "{a: ".repeat(10_000) + "{image: 'r.io/a:1'}";
    assert!(extract("deep.yaml", deep.as_bytes(), &[]).references.is_empty());
}

/// Pieces that mean something to a parser, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("image: r.io/a:1"),
        Just("images:\n- name: a\n  newTag: 1"),
        Just("repository: r.io/a\ntag: &t 1"),
        Just("parameters: [{name: x.tag, value: 1}]"),
        Just("---"),
        Just("- "),
        Just("  "),
        Just("*t"),
        Just("\n"),
        Just("{{"),
        Just("'"),
        Just("\""),
        Just("# {\"$imagepolicy\": \"a:b\"}"),
        Just("ß🦀"),
        Just("|\n"),
        Just("\r"),
        Just(": "),
        Just("["),
        Just("}"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_line_exists(text in prop_oneof![pieces(), ".{0,300}"]) {
        let markers = [Marker::new("#.*").unwrap()];
        for file in ["a.yaml", "a.json", "a.jsonnet", "kustomization.yaml", ".argocd-source-a.yaml"] {
            let lines = text.split(['\n', '\r']).count() as u32;
            for reference in extract(file, text.as_bytes(), &markers).references {
                prop_assert!((1..=lines).contains(&reference.line), "{reference:?}");
            }
        }
    }

    #[test]
    fn an_image_in_a_workload_is_always_found(image in "[a-z]{1,8}\\.io/[a-z]{1,8}/[a-z]{1,8}:[a-z0-9]{1,12}") {
        let extracted = extract("a.yaml", deployment("web", &image).as_bytes(), &[]);
        prop_assert_eq!(extracted.references.len(), 1);
        prop_assert_eq!(extracted.references[0].image.to_string(), image);
    }
}
