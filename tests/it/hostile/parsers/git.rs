//! Files of other people's repositories, and addresses of them.

use knotmeter::config::{Git, Marker, public_url};
use knotmeter::observers::git::{Address, FILE_BYTES_MAX, REFERENCES_PER_FILE_MAX, extract};
use knotmeter::observers::hooks::GitName;

use serde_json::json;

use super::{Parser, told};

const YAML: [&str; 6] = [
    "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, annotations: {knotmeter.dev/app: web}}
spec:
  template:
    spec:
      containers:
      - name: main
        image: ghcr.io/team/web:1.4.0 # {\"$imagepolicy\": \"flux-system:web\"}
      - {name: side, image: \"r.io/side@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data:
  a: \"1\"
  b: |
    x: y
",
    "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../base, web.yaml]
images:
- name: web
  newName: ghcr.io/team/web
  newTag: 1.4.0 # release-web
- {name: api, digest: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}
configMapGenerator:
- name: settings
  literals: [a=1]
",
    "# values of a chart
image:
  registry: ghcr.io
  repository: team/web
  tag: \"1.4.0\"
sidecars: &all
  - image: {repository: r.io/side, tag: v1}
more: *all
merged:
  <<: {image: r.io/merged:1}
",
    "spec:
  containers:
  - name: {{ .Chart.Name }}
    image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\"
    {{- if .Values.side }}
  - image: r.io/side:1.0
    {{- end }}
",
    "a: &a [x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d]
f: &f [*e, *e, *e, *e, *e, *e, *e, *e]
g: [*f, *f, *f, *f, *f, *f, *f, *f]
image: r.io/laughs:1
",
    r#"{"kind": "List", "items": [{"kind": "CronJob", "metadata": {"name": "report"}, "spec": {"jobTemplate": {"spec":
    {"template": {"spec": {"containers": [{"name": "run", "image": "r.io/report:1"}]}}}}}}]}"#,
];

const JSONNET: [&str; 2] = [
    "local web = 'ghcr.io/team/web:1.4.0'; // deploy:web
{ spec: { containers: [{ name: 'main', image: web }, { image: \"r.io/side\" + ':' + $.tag }] },
  text: |||
    image: r.io/in-text:1
  |||, /* image: r.io/in-comment:1 */ image: 'r.io/a:1', tag:: 'v1' }
",
    "{ image: { repository: 'ghcr.io/team/web', tag: '1.4.0' } } # deploy:web",
];

pub fn all() -> Vec<Parser> {
    let file = |name: &'static str, file: &'static str, examples: &[&str]| {
        let markers = [
            Marker::new(r"(?:#|//) deploy:(?P<name>[\w-]+)").unwrap(),
            Marker::new("# release-(?<name>[a-z]+)").unwrap(),
        ];
        Parser::new(name, FILE_BYTES_MAX, examples, move |bytes| {
            let found = extract(file, bytes, &markers);
            assert!(found.references.len() <= REFERENCES_PER_FILE_MAX);
            assert!(found.config_maps.len() <= REFERENCES_PER_FILE_MAX);
            let lines = bytes.iter().filter(|byte| **byte == b'\n' || **byte == b'\r').count() + 1;
            assert!(found.references.iter().all(|reference| reference.line as usize <= lines));
        })
    };
    let urls = [
        "https://user:token@git.example:8443/shop/fleet.git",
        "git@git.example:shop/fleet.git",
        "ssh://git@h/x",
        "/srv/x.git",
    ];
    vec![
        file("yaml", "prod/web.yaml", &YAML),
        file("json", "prod/web.json", &YAML),
        file("jsonnet", "prod/web.jsonnet", &JSONNET),
        file("kustomization", "prod/Kustomization", &YAML),
        // A configuration has at most this in one line that a person can read.
        Parser::of_text("git_address", 2 << 10, urls, |text| {
            let git: Git = serde_json::from_value(json!({ "url": text })).unwrap();
            told(Address::parse(&git));
            let shown = public_url(text);
            assert!(!shown.contains("user:token@"), "{shown}");
            let _ = GitName::new(text).fits("https://git.example/shop/fleet.git");
        }),
    ]
}
