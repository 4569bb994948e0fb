//! What registries answer, and the file with the logins for them.

use std::time::Instant;

use knotmeter::observation::Time;
use knotmeter::observers::registry::challenge::{self, Challenge, may_know_password};
use knotmeter::observers::registry::created::Claims;
use knotmeter::observers::registry::credentials::docker::DockerConfig;
use knotmeter::observers::registry::manifest::{self, Manifest, PLATFORMS_MAX};
use knotmeter::observers::registry::{link, page};
use knotmeter::observers::schedule::retry_after::{self, RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use knotmeter::observers::schedule::{Pulls, Quota, Rate};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Parser, told};

const DIGEST: &str = "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf";
/// hyper takes no longer head than this of a connection.
const HEADER: usize = 400 << 10;
/// `Limits::manifest_bytes`, and a part of `Limits::page_bytes`.
const BODY: usize = 4 << 20;
const RECEIVED: Time = Time(1_795_255_205_000);

/// A header with this value, as far as HTTP lets it through.
fn header(name: &'static str, value: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in value.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

pub fn all() -> Vec<Parser> {
    let pages = [
        r#"{"name":"team/web","tags":["1.0.0","1.1.0","latest","main-abc"]}"#,
        r#"{"name":"team/web","tags":null}"#,
        r#"{"child":["x"],"manifest":{"sha256:aa":{"tag":["z"],"timeUploadedMs":"1"}},"name":"a","tags":["b","\u0061"]}"#,
    ];
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":
        "application/vnd.oci.image.manifest.v1+json","digest":"{DIGEST}","size":1,"platform":{{"os":"linux",
        "architecture":"arm64","variant":"v8"}}}},{{"digest":"{DIGEST}","platform":{{"os":"unknown","architecture":
        "unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}}],"annotations":
        {{"org.opencontainers.image.created":"2026-11-21T10:00:00Z"}}}}"#
    );
    let image = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{DIGEST}",
        "size":1}},"layers":[{{"digest":"{DIGEST}","size":5}}],"annotations":{{"knotmeter.dev/synthetic":"true"}}}}"#
    );
    let config = r#"{"created":"2026-11-21T10:00:00.123Z","architecture":"amd64","os":"linux","config":{"Labels":
        {"org.opencontainers.image.revision":"abc","org.opencontainers.image.source":"https://g/x","n":null}},
        "history":[{"created_by":"x"}]}"#;
    let docker_config = r#"{"auths":{"https://r.example/v2/":{"auth":"dXNlcjpwYXNzd29yZA=="},"index.docker.io/v1/":
        {"username":"a","password":"b"},"r.example/team":{"identitytoken":"t"}},"credsStore":"x","credHelpers":{"h":"y"}}"#;
    vec![
        Parser::new("page", BODY, pages, |body| {
            let read = page::parse(body, 1000);
            if let Ok((names, _)) = &read {
                assert!(names.len() <= 1000 && names.iter().count() == names.len());
            }
            told(read);
        }),
        Parser::new("manifest", BODY, [&*index, &image], |body| {
            if let Manifest::Index { children, .. } = manifest::parse(body) {
                assert!(children.len() <= PLATFORMS_MAX);
            }
        }),
        Parser::new("config", BODY, [config], |body| {
            let config = manifest::parse_config(body);
            let claims = Claims { labels: vec![config.labels], config_created: config.created };
            assert!(claims.created(RECEIVED).is_none_or(|at| at.is_known()));
            for text in [claims.revision(), claims.source()].into_iter().flatten() {
                assert!(text.len() <= 512 && !text.chars().any(char::is_control));
            }
        }),
        Parser::of_text(
            "link",
            HEADER,
            [
                r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
                r#"<a>; rel="prev", <b>; title="x, <y>; rel=next"; rel="last next""#,
            ],
            |text| {
                if let Some(target) = link::next(text) {
                    assert!(text.contains(target));
                }
            },
        ),
        Parser::new(
            "challenge",
            HEADER,
            [
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull""#,
                r#"Basic realm="a \"b\" c", Bearer realm=https://auth.example/"#,
                "Negotiate\nBasic realm=x\nBearer error=invalid_token",
            ],
            |value| {
                for plain_http in [false, true] {
                    if let Ok(Challenge::Bearer { realm, .. }) =
                        challenge::parse(&header("www-authenticate", value), plain_http)
                    {
                        let safe = realm.scheme() == "https" || plain_http && realm.scheme() == "http";
                        assert!(safe, "{realm}");
                    }
                }
            },
        ),
        Parser::of_text(
            "realm_host",
            HEADER,
            ["auth.docker.io", "example.co.uk", "10.0.0.1", "[::1]"],
            |text| {
                let near = may_know_password("registry-1.docker.io", text);
                assert!(!near || text.to_ascii_lowercase().ends_with("docker.io"), "{text:?}");
                assert!(may_know_password(text, text));
            },
        ),
        Parser::new("retry_after", HEADER, ["120", "Sat, 21 Nov 2026 10:02:05 GMT", "0", " 7 "], |value| {
            let wait = retry_after::wait(&header("retry-after", value), 1, RECEIVED);
            assert!((RETRY_AFTER_MIN..=RETRY_AFTER_MAX).contains(&wait), "{wait:?}");
        }),
        Parser::new(
            "rate_limit",
            HEADER,
            [
                "100;w=21600",
                r#""p";q=100;w=60, "other";q=1;w=1"#,
                "limit=100, remaining=9, reset=5",
                "0;w=0",
                "1795255300",
            ],
            |value| {
                for name in ["ratelimit-policy", "ratelimit", "ratelimit-limit", "x-ratelimit-reset"] {
                    let begin = Instant::now();
                    let quota = Quota::read(&header(name, value), RECEIVED);
                    let (mut pulls, mut rate) = (Pulls::new(true), Rate::new(begin));
                    pulls.learn(quota, begin);
                    rate.accepted(quota, begin);
                    rate.refused(quota, begin);
                    for _ in 0..20 {
                        pulls.take(begin);
                    }
                    assert!(rate.left(begin).is_none_or(|(now, each)| now.is_finite() && each > 0.0));
                }
            },
        ),
        Parser::new("docker_config", BODY, [docker_config], |text| {
            for config in [DockerConfig::parse(text), DockerConfig::parse_entries(text)] {
                if let Ok(config) = &config {
                    for host in ["r.example", "docker.io"] {
                        told(config.login(host, "team/web"));
                        let _ = (config.helper(host), config.store());
                    }
                }
                told(config);
            }
        }),
    ]
}
