//! What is deployed: the manifests are YAML, they allow reading and nothing else, and what they say to the program
//! the program understands.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes");

fn documents(text: &str, file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every object of every manifest, with its file.
fn objects() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(FOLDER).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        found.extend(documents(&text, &file).into_iter().map(|object| (file.clone(), object)));
    }
    found
}

fn of_kind(kind: &str) -> Vec<Value> {
    objects().into_iter().map(|(_, object)| object).filter(|object| object["kind"] == kind).collect()
}

fn words(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Pod templates, and what each belongs to.
fn pods() -> Vec<(String, Value)> {
    let deployments =
        of_kind("Deployment").into_iter().map(|object| object["spec"]["template"]["spec"].clone());
    let cron_jobs = of_kind("CronJob")
        .into_iter()
        .map(|object| object["spec"]["jobTemplate"]["spec"]["template"]["spec"].clone());
    let pods: Vec<(String, Value)> = deployments
        .chain(cron_jobs)
        .map(|pod| (pod["containers"][0]["name"].as_str().expect("a name").to_owned(), pod))
        .collect();
    assert_eq!(pods.len(), 2, "the program and its smoketest");
    pods
}

#[test]
fn every_object_says_what_it_is_and_is_deployed() {
    let kustomization = of_kind("Kustomization").remove(0);
    let mut listed = words(&kustomization["resources"]);
    for (file, object) in objects().iter().filter(|(_, object)| object["kind"] != "Kustomization") {
        assert!(
            object["apiVersion"].is_string() && object["metadata"]["name"].is_string(),
            "{file}: {object}"
        );
        let cluster_wide =
            ["Namespace", "ClusterRole", "ClusterRoleBinding"].iter().any(|kind| object["kind"] == *kind);
        assert!(cluster_wide || object["metadata"]["namespace"] == "knotmeter", "{file}: {}", object["kind"]);
        assert!(
            words(&kustomization["resources"]).contains(file.as_str()),
            "{file} is not in kustomization.yaml"
        );
        listed.remove(file.as_str());
    }
    assert!(listed.is_empty(), "kustomization.yaml lists files that are not there: {listed:?}");
}

#[test]
fn the_role_reads_named_kinds_and_no_secrets() {
    let mut roles = of_kind("ClusterRole");
    roles.extend(of_kind("Role"));
    assert_eq!(roles.len(), 1);
    for rule in roles[0]["rules"].as_array().expect("rules") {
        let verbs = words(&rule["verbs"]);
        assert!(verbs.is_subset(&BTreeSet::from(["get", "list", "watch"])), "{rule}");
        let resources = words(&rule["resources"]);
        assert!(!resources.contains("secrets"), "{rule}");
        for field in ["resources", "apiGroups", "verbs"] {
            assert!(words(&rule[field]).iter().all(|word| !word.contains('*')), "{rule}");
        }
        // The identity of the cluster stays readable where somebody takes the labels of namespaces away.
        if resources == BTreeSet::from(["namespaces"]) {
            assert_eq!((words(&rule["resourceNames"]), verbs), (["kube-system"].into(), ["get"].into()));
        }
    }
}

#[test]
fn the_role_grants_what_the_program_asks_for() {
    let grants = |text: &str| -> BTreeSet<String> {
        let role = documents(text, "role")
            .into_iter()
            .find(|object| object["kind"] == "ClusterRole")
            .expect("a role");
        let rules = role["rules"].as_array().expect("rules").clone();
        let each = |rule: &Value, field: &str| -> Vec<String> {
            words(&rule[field]).into_iter().map(Into::into).collect()
        };
        let mut all = BTreeSet::new();
        for rule in &rules {
            for group in each(rule, "apiGroups") {
                for resource in each(rule, "resources") {
                    all.extend(
                        each(rule, "verbs").iter().map(|verb| format!("{verb} {resource} of {group:?}")),
                    );
                }
            }
        }
        all
    };
    let deployed = std::fs::read_to_string(format!("{FOLDER}/rbac.yaml")).expect("readable");
    assert_eq!(grants(&deployed), grants(&knotmeter::observers::cluster::rbac()));
}

#[test]
fn the_configuration_is_one_that_the_program_accepts() {
    let map = of_kind("ConfigMap").remove(0);
    let text = map["data"]["knotmeter.yaml"].as_str().expect("a file");
    let config =
        knotmeter::config::parse(text, Path::new("knotmeter.yaml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.environments.len(), 2);
    // What is only a comment must work for whoever removes the marks.
    let keys = ["git", "ownership", "scrape"].into_iter();
    let marked = keys.fold(text.replace("\n#   ", "\n  "), |text, key| {
        text.replace(&format!("# {key}:"), &format!("{key}:"))
    });
    let config = knotmeter::config::parse(&marked, Path::new("knotmeter.yaml"))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.git[0].paths.len(), config.scrape.len()), (2, 1));
}

#[test]
fn pods_are_restricted() {
    for (name, pod) in pods() {
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(words(&security["capabilities"]["drop"]), ["ALL"].into(), "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        assert!(container["resources"]["requests"]["cpu"].is_string(), "{name}");
    }
}

#[test]
fn probes_and_ports_meet() {
    let container = pods().remove(0).1["containers"][0].clone();
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let service = of_kind("Service").remove(0);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"]);
    let listen = knotmeter::config::Config::default().listen.0;
    assert!(listen.ends_with(&format!(":{}", container["ports"][0]["containerPort"])), "{listen}");
}

#[test]
fn the_dockerfile_makes_a_user_without_rights() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/Dockerfile")).expect("readable");
    let stages: Vec<&str> = text.split("\nFROM ").skip(1).collect();
    assert_eq!(stages.len(), 3, "build, with-git, plain");
    for stage in &stages[1..] {
        assert!(stage.contains("\nUSER 65532:65532\n"), "{stage}");
        assert!(
            stage.contains("ca-certificates") || stage.contains("distroless/cc"),
            "no certificates: {stage}"
        );
    }
}
