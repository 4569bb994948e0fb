//! What API servers send. The examples are lines of recorded watches of a real cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::GzDecoder;
use knotmeter::observation::Time;
use knotmeter::observers::cluster::{LINE_BYTES_MAX, Line, Lines, Place, Refusal, Resource, Stream};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Parser, told};

/// A part of `LINE_BYTES_MAX`, which is for objects.
const LARGEST: usize = 1 << 20;
/// Examples of one resource: each is another length, and so another shape.
const EXAMPLES_MAX: usize = 24;
const AT: Time = Time(1_795_255_205_000);

/// Every field of every kind of Flux that is read, as if one object had them all.
const ENGINE: &str = r#"{"type":"MODIFIED","object":{"metadata":{"name":"web","namespace":"flux-system","uid":"u-1",
    "generation":3,"resourceVersion":"105","creationTimestamp":"2026-11-20T23:50:40Z","managedFields":[{"manager":
    "image-reflector-controller","time":"2026-11-20T23:50:41Z","subresource":"status","fieldsV1":{"f:status":{"f:latestRef":{}}}}]},
    "spec":{"suspend":true,"interval":"1m0s","retryInterval":"10s","timeout":"25s","image":"r.io/team/web","imageRepositoryRef":
    {"name":"web","namespace":"images"},"filterTags":{"pattern":"^v(?P<n>.*)$","extract":"$n"},"policy":{"semver":{"range":">=1.0.0"},
    "numerical":{"order":"desc"},"alphabetical":{"order":"asc"}},"digestReflectionPolicy":"Always","sourceRef":{"kind":
    "GitRepository","name":"fleet"},"chartRef":{"kind":"OCIRepository","name":"chart","namespace":"charts"},"git":{"checkout":{"ref":
    {"branch":"main"}},"push":{"branch":"flux"}},"update":{"path":"./prod"},"url":"https://git.example/fleet.git","ref":{"branch":
    "main"},"path":"./prod","wait":true,"healthChecks":[{}],"dependsOn":[{"name":"infra","namespace":"x"}],"images":[{"name":"web"}],
    "valuesFrom":[{"kind":"ConfigMap","name":"web-values","valuesKey":"prod.yaml","targetPath":"image.tag"}]},
    "status":{"observedGeneration":3,"lastScanResult":{"scanTime":"2026-11-20T23:50:42Z","revision":"123","tagCount":12,"latestTags":
    ["1.1.0","1.0.0"]},"latestRef":{"name":"r.io/team/web","tag":"1.1.0","digest":
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},"latestImage":"r.io/team/web:1.1.0",
    "lastAutomationRunTime":"2026-11-20T23:50:43Z","lastPushCommit":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","lastPushTime":
    "2026-11-20T23:50:44Z","artifact":{"revision":"main@sha1:6113728f27ae82c7b1a177c8d03f9e96e0adf246","lastUpdateTime":
    "2026-11-20T23:50:45Z"},"helmChart":"flux-system/prod-web","history":[{"status":"deployed","chartVersion":"5.2.1"}],
    "lastAttemptedRevision":"main@sha1:6113728f27ae82c7b1a177c8d03f9e96e0adf246","lastAppliedRevision":"5.2.1","inventory":
    {"entries":[{"id":"prod_web_apps_Deployment","v":"v1"}]},"conditions":[{"type":"Ready","status":"False","reason":
    "BuildFailed","message":"x
y","lastTransitionTime":"2026-11-20T23:50:46Z"},{"type":"Reconciling","status":"True"},{"type":
    "Stalled","status":"True","reason":"x","message":"y"},{"type":"Healthy","status":"True","message":"z"}]}}}"#;
/// The kinds of an engine share one reader.
const ENGINE_COST: u64 = 4;

/// What nobody records, and everybody can write: our own annotations and those of others.
const ANNOTATED: &str = r#"{"type":"MODIFIED","object":{"metadata":{"name":"web","namespace":"shop","uid":"u-1",
    "generation":3,"resourceVersion":"105","creationTimestamp":"2026-11-20T23:50:40Z","labels":
    {"app.kubernetes.io/name":"web","kustomize.toolkit.fluxcd.io/name":"fleet"},"annotations":{"knotmeter.dev/app":"web",
    "knotmeter.dev/environment":"prod","knotmeter.dev/ignore":"true","knotmeter.dev/budget-live":"1h30m",
    "deployment.kubernetes.io/revision":"7","argocd.argoproj.io/tracking-id":"a:apps/Deployment:shop/web"},
    "managedFields":[{"manager":"kubectl","operation":"Update","time":"2026-11-20T23:50:41Z","fieldsV1":{"f:spec":{}}}]},
    "spec":{"replicas":2,"paused":true,"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},
    "updateStrategy":{"type":"OnDelete","rollingUpdate":{"partition":2}},"schedule":"*/5 * * * *","timeZone":"Etc/UTC",
    "suspend":false,"template":{"metadata":{"annotations":{"a":"b"}},"spec":{"containers":[{"name":"main","image":
    "r.io/web:1","envFrom":[{"configMapRef":{"name":"settings"}}]}],"volumes":[{"configMap":{"name":"files"}}]}}},
    "status":{"observedGeneration":3,"updatedReplicas":2,"conditions":[{"type":"Progressing","status":"True","reason":
    "NewReplicaSetAvailable","lastTransitionTime":"2026-11-20T23:50:43Z","message":"x"}]}}}"#;

#[derive(Deserialize)]
struct Recorded {
    resource: String,
    event: Box<RawValue>,
}

/// Lines of each resource, from all recordings.
pub fn recorded() -> BTreeMap<String, Vec<String>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The second is seen from `fuzz/`.
    let folders = [here.join("tests/recorded"), here.join("../tests/recorded")];
    let folder = folders.iter().find(|folder| folder.is_dir()).unwrap();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lengths = BTreeSet::new();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // Of these two the kinds of Flux, and ConfigMaps as a watch of their metadata has them.
    files.extend(["04-broken", "06-helm-and-oci"].map(|scenario| folder.join("flux-2.9.0").join(scenario)));
    for file in files.iter().map(|folder| folder.join("stream.jsonl.gz")).filter(|file| file.is_file()) {
        for line in unzipped(&file).lines() {
            let line: Recorded = serde_json::from_str(line).unwrap();
            let of = lines.entry(line.resource.clone()).or_default();
            if of.len() < EXAMPLES_MAX && lengths.insert((line.resource, line.event.get().len() / 64)) {
                of.push(line.event.get().to_owned());
            }
        }
    }
    lines
}

fn unzipped(file: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn stream(resource: Resource) -> Stream {
    Stream::new(resource, Place { uid: "11111111-lab".into(), name: "lab".into() })
}

/// A line read in a look, after it, and again.
fn watch(resource: Resource, line: &[u8]) {
    let mut stream = stream(resource);
    stream.begin_look(AT);
    told(stream.event(AT + 1, line));
    stream.listed(AT + 2, "7");
    told(stream.event(AT + 3, line));
    stream.cut(AT + 4);
    told(stream.event(AT + 5, line));
}

/// The objects of these lines, as a page of a list.
fn page(lines: &[String]) -> String {
    let objects = lines.iter().filter_map(|line| {
        #[derive(Deserialize)]
        struct Event {
            object: Box<RawValue>,
        }
        serde_json::from_str::<Event>(line).ok().map(|event| event.object.get().to_owned())
    });
    let items = objects.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"694","continue":"t"}},"items":[{items}]}}"#
    )
}

pub fn all() -> Vec<Parser> {
    let recorded = recorded();
    let mut parsers = Vec::new();
    for (plural, lines) in &recorded {
        let Some(resource) = Resource::from_plural(plural) else { continue };
        let examples = lines.iter().map(String::as_str).chain([ANNOTATED]);
        let parser = Parser::new(resource.plural(), LARGEST, examples, move |line| watch(resource, line));
        match resource {
            Resource::Engine(_) => {
                let parser = Parser { examples: [parser.examples, vec![ENGINE.into()]].concat(), ..parser };
                parsers.push(parser.costing(ENGINE_COST));
            }
            _ => parsers.push(parser),
        }
    }
    let has = |resource: &Resource| parsers.iter().any(|parser| parser.name == resource.plural());
    assert!(Resource::all().all(|resource| has(&resource)), "a resource that nobody recorded");
    for resource in [Resource::Pods, Resource::Deployments] {
        let examples: Vec<String> = recorded[resource.plural()].chunks(3).map(page).collect();
        parsers.push(Parser::new(resource.kind(), LARGEST, examples, move |body| {
            let mut stream = stream(resource);
            stream.begin_look(AT);
            match stream.page(AT, body) {
                Ok(page) => drop(stream.listed(AT, &page.version)),
                broken => told(broken),
            }
        }));
    }
    let answer = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":
        "Expired","details":{"retryAfterSeconds":3},"code":410}"#;
    parsers.push(Parser::new("status", LARGEST, [answer], |body| {
        let refusal = Refusal::of_answer(503, body);
        assert_eq!(refusal.code, 503);
        let _ = Refusal::of_event(&String::from_utf8_lossy(body));
    }));
    let lines = recorded["pods"].iter().take(4).map(|line| line.clone() + "\n").collect::<String>();
    parsers.push(Parser::new("lines", LINE_BYTES_MAX, [lines], |body| {
        let mut lines = Lines::default();
        for piece in body.chunks(1400) {
            lines.push(Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next_line() {
                assert!(!matches!(line, Line::Whole(line) if line.is_empty() || line.len() > LINE_BYTES_MAX));
            }
        }
    }));
    parsers
}
