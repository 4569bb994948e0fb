//! What operators write. Nobody attacks with it, but a mistake must end in a sentence.

use std::path::Path;

use knotmeter::config::{self, Glob, Marker, Seconds, Tls};
use knotmeter::image::Tag;
use knotmeter::observation::{FilterTags, Order, Policy};
use knotmeter::observers::cluster::connect;
use knotmeter::observers::tls;
use knotmeter::policy::{Range, Selector};

use super::{Parser, told};

const CONFIG: &str = r#"
listen: 0.0.0.0:9871
environments:
  - {name: staging, clusters: [lab], namespaces: [staging]}
  - {name: prod, clusters: [lab], namespaces: ["prod-*"]}   # list order is promotion order
registries:
  - {host: 127.0.0.1:5000, plain_http: true, interval: 10s, repositories: ["team/*"]}
git:
  - url: "http://127.0.0.1:8080/fleet.git"
    branches: [main]
    interval: 10s
    paths: [{path: prod/, environment: prod}]
    markers: ['# release-(?<name>[a-z]+)']
clusters:
  - {name: lab, kubeconfig: ./kubeconfig, context: lab}
expect:
  - {image: 127.0.0.1:5000/team/web, filter_tags: {pattern: '^v(?P<n>.*)$', extract: $n}, policy: {semver: {range: '>=1.0.0'}}, environment: prod}
budgets: {committed: 5m, applied: 5m, live: 10m}
settle: {min: 1s, max: 3s}
hooks:
  - {name: registry, kind: distribution, secret_file: secret}
journal: {path: journal}
"#;

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: lab
clusters:
- name: lab
  cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true, tls-server-name: x}
contexts:
- name: lab
  context: {cluster: lab, user: me, namespace: default}
users:
- name: me
  user: {token: abc}
";

const RANGES: [&str; 8] =
    [">=1.0.0", "1.x", "^1.2.3 || ~2.0", "1.2 - 2.0", ">= 1.0.0, < 2.0.0-0", "*", "!=1.2", "=>1.0.0-rc.1+b5"];

const TAGS: [&str; 8] =
    ["v1.0.0", "1.10.0", "v2.0.0-rc.1+b5", "main-42-abc", "42", "1e5", "latest", "99999999999999999999.0.0"];

/// A part of what is read of a file.
const LARGEST: usize = 256 << 10;

/// A certificate and its key.
fn pem() -> String {
    let made = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
    made.cert.pem() + &made.signing_key.serialize_pem()
}

pub fn all() -> Vec<Parser> {
    // reqwest and kube want one, also for what they never send.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (folder, tls_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tags = || TAGS.map(|tag| tag.parse::<Tag>());
    vec![
        Parser::of_text("settings", LARGEST, [CONFIG], |text| {
            told(config::parse(text, Path::new("knotmeter.yaml")))
        }),
        Parser::new("kubeconfig", LARGEST, [KUBECONFIG], move |text| {
            let kubeconfig = folder.path().join("kubeconfig");
            std::fs::write(&kubeconfig, text).unwrap();
            let cluster = config::Cluster {
                name: "lab".into(),
                kubeconfig: Some(kubeconfig),
                context: None,
                ownership: None,
            };
            runtime.block_on(async {
                told(connect(&cluster).await);
            });
        }),
        Parser::new("pem", LARGEST, [pem()], move |text| {
            let file = tls_folder.path().join("file.pem");
            std::fs::write(&file, text).unwrap();
            let ca = Tls { ca_file: Some(file.clone()), ..Tls::default() };
            let own = Tls { certificate_file: Some(file.clone()), key_file: Some(file), ..Tls::default() };
            told(tls::client(&ca));
            told(tls::client(&own));
        }),
        Parser::of_text("seconds", LARGEST, ["1h30m", "10s", "500ms", "1.5m", "2d"], |text| {
            if let Some(seconds) = Seconds::parse(text) {
                assert!(seconds.0.is_finite() && seconds.0 >= 0.0, "{text:?}");
                let _ = seconds.duration();
            }
        }),
        Parser::of_text("glob", LARGEST, ["team/*", "team/**", "*/web-?", "[a-z]"], |text| {
            let read = Glob::new(text);
            if let Ok(glob) = &read {
                let _ = glob.matches("team/web/cache");
                let _ = glob.matches(&"a/".repeat(200));
            }
            told(read);
        }),
        Parser::of_text(
            "marker",
            4 << 10,
            ["# release-(?<name>[a-z]+)", r"(?:#|//) deploy:([\w-]+)"],
            |text| {
                let read = Marker::new(text);
                if let Ok(marker) = &read {
                    let _ = marker.find("newTag: 1 # release-web");
                }
                told(read);
            },
        ),
        Parser::of_text("range", LARGEST, RANGES, move |text| {
            told(Range::parse(text));
            if let Ok(selector) = Selector::new(None, &Policy::Semver { range: text.into() }) {
                selector.select(tags().iter().flatten());
            }
        }),
        Parser::of_text("filter", 4 << 10, ["^v(?P<n>.*)$", r"^main-(\d+)-[0-9a-f]+", ".*"], move |text| {
            let filter = FilterTags {
                pattern: text.into(),
                extract: Some(text.chars().rev().collect::<String>().into()),
            };
            let read = Selector::new(Some(&filter), &Policy::Numerical { order: Order::Asc });
            if let Ok(selector) = &read {
                selector.select(tags().iter().flatten());
            }
            told(read);
        }),
        Parser::of_text("ordered_tags", LARGEST, [TAGS.join("\n")], |text| {
            let tags: Vec<Tag> = text.lines().filter_map(|tag| tag.parse().ok()).take(2000).collect();
            for policy in [
                Policy::Semver { range: ">=0.0.0-0".into() },
                Policy::Numerical { order: Order::Desc },
                Policy::Alphabetical { order: Order::Asc },
            ] {
                let selector = Selector::new(None, &policy).unwrap();
                let forwards = selector.select(&tags);
                assert_eq!(forwards, selector.select(tags.iter().rev()));
            }
        }),
    ]
}
