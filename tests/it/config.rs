//! The configuration file: what is accepted, and that every refusal names the file, the line and what to write.

use std::path::Path;

use knotmeter::config::{self, Config, Policy};

fn accepted(text: &str) -> Config {
    config::parse(text, Path::new("knotmeter.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

/// The complaint about a text, without the file's name, which every complaint must begin with.
#[track_caller]
fn refused(text: &str) -> String {
    let error = match config::parse(text, Path::new("knotmeter.yaml")) {
        Ok(_) => panic!("should be refused: {text:.200}"),
        Err(error) => error.to_string(),
    };
    let rest = error.strip_prefix("knotmeter.yaml: ").unwrap_or_else(|| panic!("no file in {error:?}"));
    assert!(!rest.contains('\n'), "more than one line: {rest:?}");
    assert!(rest.len() < 1000, "flooded by the input: {} bytes", rest.len());
    rest.to_owned()
}

#[track_caller]
fn check(text: &str, complaint: &str) {
    assert_eq!(refused(text), complaint);
}

const EXAMPLE: &str = r#"
listen: 0.0.0.0:9871
environments:
  - {name: staging, clusters: [lab], namespaces: [staging]}
  - {name: prod, clusters: [lab], namespaces: [prod]}        # list order is promotion order
registries:
  - {host: 127.0.0.1:5000, plain_http: true, interval: 10s, repositories: ["team/*"]}
git:
  - {url: "http://127.0.0.1:8080/fleet.git", branches: [main], interval: 10s, paths: [{path: prod/, environment: prod}], markers: ['# release-(?<name>[a-z]+)']}
clusters:
  - {name: lab, kubeconfig: ./kubeconfig, context: lab}
expect:
  - {image: 127.0.0.1:5000/team/web, filter_tags: {pattern: '^v'}, policy: {semver: {range: '>=1.0.0'}}, environment: prod}
budgets: {committed: 5m, applied: 5m, live: 10m}
"#;

#[test]
fn the_example_of_the_documentation_is_accepted() {
    let config = accepted(EXAMPLE);
    assert_eq!(config.environments.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["staging", "prod"]);
    assert!(config.registries[0].plain_http);
    assert!(config.registries[0].repositories[0].matches("team/web"));
    assert!(!config.registries[0].repositories[0].matches("team/web/cache"));
    assert_eq!(config.git[0].markers[0].find("newTag: 1 # release-web"), Some("web"));
    assert_eq!(config.git[0].paths[0].environment.as_deref(), Some("prod"));
    assert!(matches!(&config.expect[0].policy, Policy::Semver { range } if range == ">=1.0.0"));
    assert_eq!(
        (config.budgets.committed.map(|written| written.0), config.budgets.live.0),
        (Some(300.0), 600.0)
    );
}

#[test]
fn a_webhook_wants_a_proof() {
    let oidc = |more: &str| {
        format!("hooks: [{{name: gar, kind: gar, oidc: {{audience: a, service_account: b@c{more}}}}}]")
    };
    let config = accepted(&oidc(""));
    let known = config.hooks[0].oidc.as_ref().unwrap();
    assert_eq!(known.keys_url, "https://www.googleapis.com/oauth2/v3/certs");
    for url in ["https://keys.example/certs", "http://127.0.0.1:8080/certs", "'http://[::1]/certs'"] {
        accepted(&oidc(&format!(", keys_url: {url}")));
    }
    for (text, complaint) in [
        (
            "hooks: [{name: x, kind: gar}]".to_owned(),
            "hooks[0].secret_file: a secret is needed: name a file that holds it",
        ),
        (
            oidc("").replace("kind: gar", "kind: quay"),
            "hooks[0].oidc: only Pub/Sub (kind: gar) sends such tokens; remove it",
        ),
        (
            oidc("").replace("audience: a", "audience: ''"),
            "hooks[0].oidc.audience: must not be empty; write the one of the push subscription",
        ),
        (
            oidc("").replace("b@c", "push"),
            "hooks[0].oidc.service_account: \"push\" is no e-mail address of a service account",
        ),
        (
            oidc(", keys_url: http://keys.example/certs"),
            "hooks[0].oidc.keys_url: \"http://keys.example/certs\" is no https address",
        ),
        (
            oidc(", keys_url: http://localhost/certs"),
            "hooks[0].oidc.keys_url: \"http://localhost/certs\" is no https address",
        ),
        (oidc(", keys_url: certs"), "hooks[0].oidc.keys_url: \"certs\" is no https address"),
    ] {
        let told = refused(&text);
        assert!(told.ends_with(complaint), "{told}");
    }
}

#[test]
fn each_policy_has_its_form() {
    let policy = |text: &str| {
        let text = format!("expect:\n  - {{image: r.io/web, environment: prod, policy: {text}}}\n");
        accepted(&text).expect.remove(0).policy
    };
    assert!(matches!(policy("{semver: {range: 1.x}}"), Policy::Semver { range } if range == "1.x"));
    assert!(matches!(policy("{numerical: {order: desc}}"), Policy::Numerical { order: config::Order::Desc }));
    assert!(matches!(policy("{alphabetical: {}}"), Policy::Alphabetical { order: config::Order::Asc }));
    assert!(matches!(policy("{digest: {tag: stable}}"), Policy::Digest { tag } if tag == "stable"));
}

#[test]
fn an_empty_file_means_all_defaults() {
    for text in ["", "\n\n", "# nothing yet\n", "---\n"] {
        let config = accepted(text);
        assert_eq!(config.listen.0, "0.0.0.0:9871");
        assert!(config.clusters.is_empty());
    }
}

#[test]
fn unknown_keys_are_refused_with_the_allowed_ones() {
    check(
        "listen: 0.0.0.0:1\ngit:\n  - {url: http://x, intervall: 10s}\n",
        "line 3 column 21: unknown field `intervall`, expected one of url, user, token_file, ssh_key_file, known_hosts_file, tls, branches, interval, paths, markers",
    );
    check(
        "listn: x\n",
        "line 1 column 1: unknown field `listn`, expected one of listen, environments, registries, docker_config, git, \
         clusters, ownership, expect, hooks, scrape, budgets, live_when, settle, traces, journal",
    );
    check(
        "expect:\n  - {image: r.io/a, policy: {newest: {}}, environment: prod}\n",
        "line 2 column 30: unknown variant `newest`, expected one of semver, numerical, alphabetical, digest",
    );
}

#[test]
fn missing_keys_are_refused_by_name() {
    assert!(refused("registries:\n  - interval: 10s\n").contains("line 2"));
    assert!(refused("registries:\n  - interval: 10s\n").contains("`host`"));
}

#[test]
fn bad_values_are_refused_with_an_example() {
    check(
        "budgets:\n  live: 10\n",
        "line 2 column 9: \"10\" is not a length of time; write a number and a unit of ms, s, m, h, d, such as 30s \
         or 1h30m",
    );
    check(
        "registries:\n  - host: r.io\n    repositories: [\"Team/*\"]\n",
        "line 3 column 20: \"Team/*\" can match no repository; write its path without host and tag, such as team/web \
         or team/*",
    );
    let regex = refused("git:\n  - {url: http://x, markers: ['(']}\n");
    assert!(regex.starts_with("line 2 column 31: \"(\" is not a regular expression"), "{regex}");
}

#[test]
fn contradictions_are_refused_at_their_line() {
    check(
        "listen: nowhere\n",
        "line 1 column 9: listen: \"nowhere\" is not an address and port such as 0.0.0.0:9871",
    );
    check(
        "environments:\n  - name: prod\ngit:\n  - url: http://x/f.git\n    paths:\n      - {path: a/, environment: prd}\n",
        "line 6 column 33: git[0].paths[0].environment: no environment \"prd\"; there are prod",
    );
    check(
        "clusters:\n  - name: lab\nenvironments:\n  - {name: prod, clusters: [lab, moon]}\n",
        "line 4 column 34: environments[0].clusters[1]: no cluster \"moon\"; there are lab",
    );
    check(
        "clusters:\n  - name: lab\n  - name: lab\n",
        "line 3 column 11: clusters[1].name: \"lab\" is there twice",
    );
    check(
        "git:\n  - url: ftp://host/fleet.git\n",
        "line 2 column 10: git[0].url: \"ftp://host/fleet.git\" must start with https://, http://, ssh:// or file://, or be git@host:path",
    );
    check(
        "git:\n  - url: http://host/fleet.git\n    token_file: token\n",
        "line 3 column 17: git[0].token_file: a token is sent over https only, and \"http://host/fleet.git\" is not",
    );
    check(
        "git:\n  - url: https://host/fleet.git\n    ssh_key_file: key\n",
        "line 3 column 19: git[0].ssh_key_file: is for ssh, and \"https://host/fleet.git\" is not",
    );
    check(
        "registries:\n  - host: r.io\n    tls: {certificate_file: a.pem}\n",
        "line 3 column 29: registries[0].tls.certificate_file: needs `key_file` beside it",
    );
    check(
        "registries:\n  - host: https://r.io\n",
        "line 2 column 11: registries[0].host: \"https://r.io\" is not a host; write it as images name it, without scheme",
    );
    check(
        "registries:\n  - host: r.io\n    interval: 1ms\n",
        "line 3 column 15: registries[0].interval: must be at least 100ms",
    );
    check(
        "expect:\n  - {image: r.io/web, environment: prod, policy: {semver: {range: newest}}}\n",
        "line 2 column 67: expect[0].policy.semver.range: \"newest\" is not a version range; write for example \
         '>=1.0.0 <2.0.0', '1.x' or '1.2 - 2.0'",
    );
    check("live_when: {share: 1.5}\n", "line 1 column 20: live_when.share: 1.5 is not above 0 and up to 1");
}

#[test]
fn texts_that_are_not_a_configuration_are_refused() {
    check("git: [", "line 1 column 6: unclosed bracket '['");
    check("- a\n- b\n", "line 1 column 1: expected keys and values (`key: value`)");
    check("listen: a\nlisten: b\n", "line 2 column 1: duplicate mapping key: listen");
    check("listen: 0.0.0.0:1\n---\nlisten: 0.0.0.0:2\n", "line 3 column 1: multiple YAML documents detected");
    assert!(refused("\u{0}\u{1}").starts_with("line 1 column 1: "));
    assert!(refused(&format!("git: {}", "[".repeat(100_000))).starts_with("line 1 "));
}

#[test]
fn repeated_aliases_cannot_grow_a_small_file() {
    let list = |name: &str, times: usize| vec![format!("*{name}"); times].join(",");
    // Lists of lists of lists, in a place where lists are read.
    let mut nested = String::from("environments:\n  - name: prod\n    namespaces: &a0 [x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        nested += &format!(
            "  - {{name: n{level}, namespaces: &a{level} [{}]}}\n",
            list(&format!("a{}", level - 1), 8)
        );
    }
    assert!(refused(&nested).starts_with("line "));
    // One long text, many times.
    let long = "y".repeat(500_000);
    let wide = format!("environments:\n  - {{name: &long {long}, namespaces: [{}]}}\n", list("long", 60));
    assert!(refused(&wide).starts_with("line "));
    // Many more aliases than a person writes.
    let many = format!("environments:\n  - {{name: &n prod, namespaces: [{}]}}\n", list("n", 10_000));
    assert!(refused(&many).starts_with("line "));
}

#[test]
fn an_alias_for_a_repeated_list_is_fine() {
    let config =
        accepted("environments:\n  - {name: a, namespaces: &ns [x, y]}\n  - {name: b, namespaces: *ns}\n");
    assert_eq!(config.environments[1].namespaces, ["x", "y"]);
}

#[test]
fn a_missing_file_is_named() {
    let error =
        config::load(Path::new("/nonexistent/knotmeter.yaml")).expect_err("it is missing").to_string();
    assert!(error.starts_with("/nonexistent/knotmeter.yaml: No such file"), "{error}");
}

#[test]
fn a_huge_file_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("knotmeter.yaml");
    std::fs::File::create(&file).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let error = config::load(&file).expect_err("it is too large").to_string();
    assert!(error.contains("1099511627776 bytes, more than the"), "{error}");
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("knotmeter.yaml");
    let text = "clusters:\n  - {name: a, kubeconfig: ./kubeconfig}\n  - {name: b, kubeconfig: /etc/kubeconfig}\n\
                registries:\n  - {host: r.io, docker_config: auth/config.json}\n";
    std::fs::write(&file, text).expect("written");
    let config = config::load(&file).expect("accepted");
    assert_eq!(config.clusters[0].kubeconfig, Some(folder.path().join("./kubeconfig")));
    assert_eq!(config.clusters[1].kubeconfig.as_deref(), Some(Path::new("/etc/kubeconfig")));
    assert_eq!(config.registries[0].docker_config, Some(folder.path().join("auth/config.json")));
}

#[test]
fn an_endpoint_that_cannot_be_scraped_and_a_label_that_is_none_are_refused() {
    let scrape = |keys: &str| format!("scrape:\n  - {{name: r, {keys}}}\n");
    for (text, complaint) in [
        (scrape("url: 'ftp://host/metrics'"), "scrape[0].url: \"ftp://host/metrics\" is no address"),
        (scrape("url: 'https://me:secret@host/metrics'"), "scrape[0].url: write no login into the address"),
        (
            scrape("url: 'http://host/metrics', token_file: t"),
            "scrape[0].token_file: a token is sent over https only",
        ),
        (scrape("url: 'http://host/metrics', interval: 10ms"), "scrape[0].interval: must be 1s or more"),
        (
            scrape("url: 'https://host/', tls: {key_file: k}"),
            "scrape[0].tls.key_file: needs `certificate_file`",
        ),
        (
            "clusters: [{name: a}, {name: b}]\n".to_owned() + &scrape("url: 'http://host/metrics'"),
            "scrape[0].cluster: write whose controllers these are: a, b",
        ),
        (
            "clusters: [{name: a}]\n".to_owned() + &scrape("url: 'http://host/metrics', cluster: c"),
            "scrape[0].cluster: no cluster \"c\"; there are a",
        ),
        ("ownership: {team: [a b]}\n".to_owned(), "ownership.team[0]: \"a b\" is no label"),
        (
            "clusters: [{name: a, ownership: {tier: [x/]}}]\n".to_owned(),
            "clusters[0].ownership.tier[0]: \"x/\" is no label",
        ),
    ] {
        let told = refused(&text);
        assert!(told.contains(complaint) && !told.contains("secret"), "{told}");
    }
}

#[test]
fn a_cluster_without_labels_of_its_own_has_those_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("knotmeter.yaml");
    let text =
        "ownership: {team: [squad]}\nclusters: [{name: a}, {name: b, ownership: {team: [b.io/crew]}}]\n";
    std::fs::write(&file, text).unwrap();
    let config = config::load(&file).unwrap();
    let of = |at: usize| config.clusters[at].ownership.clone().expect("it is filled");
    assert_eq!(of(0).team, ["squad"]);
    assert_eq!(of(1).team, ["b.io/crew"]);
    // Of what is not written the default stays.
    assert_eq!(
        (of(0).tier, of(1).tier),
        (vec!["knotmeter.dev/tier".into(), "tier".into()], vec!["knotmeter.dev/tier".into(), "tier".into()])
    );
}
