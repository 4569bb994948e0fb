//! The pure parts: text in, text out.

use knotmeter::observation::Time;
use knotmeter::observers::registry::address::{Guard, Inside, Reach};
use knotmeter::observers::registry::challenge::{self, Challenge, may_know_password};
use knotmeter::observers::registry::created::{Claims, Labels};
use knotmeter::observers::registry::credentials::docker::DockerConfig;
use knotmeter::observers::registry::credentials::{Login, Secret};
use knotmeter::observers::registry::known::looks_mutable;
use knotmeter::observers::registry::manifest::{self, Manifest};
use knotmeter::observers::registry::{link, page};
use reqwest::header::{HeaderMap, HeaderValue};

#[test]
fn the_next_link_is_taken_as_written() {
    for (header, expected) in [
        (r#"</v2/a/tags/list?last=b&n=2>; rel="next""#, Some("/v2/a/tags/list?last=b&n=2")),
        ("<https://r.example/x?next_page=gAAA%3D>; rel=next", Some("https://r.example/x?next_page=gAAA%3D")),
        (r#"<a>; rel="prev", <b>; title="x, <y>; rel=next"; rel="last next""#, Some("b")),
        (r#"<a>; REL="NEXT""#, Some("a")),
        (r#"<a>; rel="prev"; rel="next""#, None),
        (r#"<a>; title="rel=next""#, None),
        ("<a>", None),
        ("<a; rel=next", None),
        ("", None),
    ] {
        assert_eq!(link::next(header), expected, "{header}");
    }
}
fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).into(), Some((*value).into()))).collect()
}

#[test]
fn a_build_time_that_cannot_be_true_is_refused() {
    let seen = Time::from_rfc3339("2026-11-05T12:00:00Z").unwrap();
    for (claim, expected) in [
        ("2026-11-05T11:59:00Z", Some("2026-11-05T11:59:00.000Z")),
        ("2026-11-05T13:59:00.25+02:00", Some("2026-11-05T11:59:00.250Z")),
        ("2000-01-01T00:00:00Z", Some("2000-01-01T00:00:00.000Z")),
        // Inside the skew a build machine's clock runs ahead; beyond, it is wrong.
        ("2026-11-05T12:05:00Z", Some("2026-11-05T12:05:00.000Z")),
        ("2026-11-05T12:05:01Z", None),
        ("2099-01-01T00:00:00Z", None),
        ("1999-12-31T23:59:59Z", None),
        ("1980-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ] {
        let claims = Claims { labels: vec![], config_created: Some(claim.into()) };
        assert_eq!(claims.created(seen).map(|at| at.to_string()).as_deref(), expected, "{claim}");
    }
}

#[test]
fn the_index_outranks_the_manifest_and_a_refused_claim_gives_way() {
    let seen = Time::from_rfc3339("2026-11-05T12:00:00Z").unwrap();
    let created = "org.opencontainers.image.created";
    let claims = Claims {
        labels: vec![
            labels(&[(created, "1970-01-01T00:00:00Z")]),
            labels(&[("org.label-schema.build-date", "2026-01-01T00:00:00Z")]),
            labels(&[(created, "2026-02-02T00:00:00Z")]),
        ],
        config_created: Some("2026-03-03T00:00:00Z".into()),
    };
    assert_eq!(claims.created(seen), Time::from_rfc3339("2026-01-01T00:00:00Z"));
}

#[test]
fn older_label_names_and_hostile_values_are_known() {
    let claims = Claims {
        labels: vec![
            labels(&[
                ("org.opencontainers.image.revision", "a\nb"),
                ("org.opencontainers.image.source", &"x".repeat(513)),
            ]),
            labels(&[("org.label-schema.vcs-ref", "abc123"), ("org.label-schema.vcs-url", "https://g/x")]),
        ],
        config_created: None,
    };
    assert_eq!(claims.revision().as_deref(), Some("abc123"));
    assert_eq!(claims.source().as_deref(), Some("https://g/x"));
}

#[test]
fn only_tags_are_read_of_a_page_and_what_is_no_tag_is_counted() {
    for (body, expected, invalid) in [
        (r#"{"name":"a","tags":["b","a","b"]}"#, vec!["a", "b"], 0),
        (r#"{"name":"a","tags":null}"#, vec![], 0),
        (r#"{"name":"a"}"#, vec![], 0),
        (r#"{"tags":[]}"#, vec![], 0),
        (
            r#"{"child":["x"],"manifest":{"sha256:aa":{"tag":["z"],"timeUploadedMs":"1"}},"tags":["a"]}"#,
            vec!["a"],
            0,
        ),
        (r#"{"tags":["ok",".bad","",null,1,-1,1.5,true,["x"],{"y":1},"a b","\u0061"]}"#, vec!["a", "ok"], 10),
    ] {
        let (tags, skipped) = page::parse(body.as_bytes(), 100).unwrap();
        let tags: Vec<&str> = tags.iter().collect();
        assert_eq!((tags, skipped), (expected, invalid), "{body}");
    }
}

#[test]
fn a_page_that_is_no_page_is_refused_without_quoting_it() {
    for body in
        ["", "[]", "null", "{", r#"{"tags":"secret"}"#, r#"{"tags":{"secret":1}}"#, r#"{"tags":[]}secret"#]
    {
        let error = page::parse(body.as_bytes(), 100).unwrap_err().to_string();
        assert!(error.contains("not the JSON it should be") && !error.contains("secret"), "{body}: {error}");
    }
    let nested = format!(r#"{{"x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let (tags, skipped) = page::parse(nested.as_bytes(), 100).unwrap();
    assert!(tags.is_empty() && skipped == 0, "depth costs no stack");
    let many = format!(r#"{{"tags":[{}]}}"#, vec![r#""a""#; 101].join(","));
    let error = page::parse(many.as_bytes(), 100).unwrap_err().to_string();
    assert!(error.contains("more tags than the limit of 100"), "{error}");
}

#[test]
fn challenges_are_read_as_registries_write_them() {
    let bearer = |realm: &str, service: Option<&str>| {
        Ok(Challenge::Bearer { realm: realm.parse().unwrap(), service: service.map(str::to_owned) })
    };
    for (header, expected) in [
        (
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            bearer("https://auth.docker.io/token", Some("registry.docker.io")),
        ),
        (
            r#"bearer  service=x , realm="https://a.example/t?x=\"1\"""#,
            bearer("https://a.example/t?x=\"1\"", Some("x")),
        ),
        (r#"Basic realm="a, Bearer realm=b""#, Ok(Challenge::Basic)),
        (r#"Basic realm="x", Bearer realm="https://a.example/t""#, bearer("https://a.example/t", None)),
        ("Basic", Ok(Challenge::Basic)),
        ("Negotiate", Err(challenge::Unusable::NoneKnown)),
        ("", Err(challenge::Unusable::NoneKnown)),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", HeaderValue::from_str(header).unwrap());
        assert_eq!(challenge::parse(&headers, false), expected, "{header}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("www-authenticate", HeaderValue::from_static(r#"Bearer realm="http://a.example/t""#));
    assert!(matches!(challenge::parse(&headers, false), Err(challenge::Unusable::Realm(_))));
    assert!(challenge::parse(&headers, true).is_ok());
}

#[test]
fn a_password_is_told_only_to_the_family_of_its_registry() {
    for (registry, realm, told) in [
        ("registry-1.docker.io", "auth.docker.io", true),
        ("registry.gitlab.com", "gitlab.com", true),
        ("ghcr.io", "ghcr.io", true),
        ("GHCR.io", "ghcr.IO", true),
        ("127.0.0.1", "127.0.0.1", true),
        ("registry.example.co.uk", "auth.example.co.uk", true),
        ("a.co.uk", "b.co.uk", false),
        ("registry.example.com", "evil.test", false),
        ("docker.io.evil.test", "auth.docker.io", false),
        ("10.0.0.1", "11.0.0.1", false),
        ("[::1]", "[::2]", false),
        ("registry", "auth", false),
    ] {
        assert_eq!(may_know_password(registry, realm), told, "{registry} -> {realm}");
    }
}

fn login(text: &[u8], host: &str, path: &str) -> Result<Option<Login>, String> {
    Ok(DockerConfig::parse(text)?.login(host, path)?.map(|(_, login)| login))
}

#[test]
fn the_longest_key_that_fits_a_repository_counts() {
    let config = br#"{"auths": {
        "r.example": {"username": "host", "password": "p"},
        "r.example/team": {"username": "team", "password": "p"},
        "https://r.example/v2/team/web/": {"username": "web", "password": "p"},
        "*.cloud.example": {"username": "star", "password": "p"},
        "eu.cloud.example/team": {"username": "eu", "password": "p"},
        "index.docker.io/library": {"username": "library", "password": "p"},
        "only.example/team": {"username": "only", "password": "p"}
    }}"#;
    for (host, path, user) in [
        ("r.example", "", Some("host")),
        ("r.example", "other/web", Some("host")),
        ("r.example", "team/api", Some("team")),
        ("r.example", "team/web", Some("web")),
        ("r.example", "team/web/debug", Some("web")),
        ("r.example", "teamwork/web", Some("host")),
        ("eu.cloud.example", "other/web", Some("star")),
        ("eu.cloud.example", "team/web", Some("eu")),
        ("a.eu.cloud.example", "team/web", None),
        ("cloud.example", "team/web", None),
        ("docker.io", "library/nginx", Some("library")),
        ("docker.io", "team/nginx", None),
        ("only.example", "team/web", Some("only")),
        ("only.example", "other/web", None),
        ("r.example:5000", "team/web", None),
    ] {
        let found = login(config, host, path).unwrap().map(|login| match login {
            Login::Password { user, .. } => user,
            Login::Identity(_) => panic!("no such login"),
        });
        assert_eq!(found.as_deref(), user, "{host}/{path}");
    }
}

#[test]
fn logins_are_found_under_every_spelling_of_their_host_and_no_other() {
    let config = br#"{"auths": {
        "https://index.docker.io/v1/": {"auth": "dTpwOnE="},
        "quay.io/team": {"auth": "dTpw"},
        "ghcr.io": {"username": "u", "password": "p"},
        "r.example:5000": {"identitytoken": "t", "auth": ""},
        "broken.example": {"auth": "!"},
        "empty.example": {}
    }, "credsStore": "desktop"}"#;
    let password = |user: &str, password: &str| {
        Ok(Some(Login::Password { user: user.into(), password: Secret::new(password) }))
    };
    for (host, expected) in [
        ("docker.io", password("u", "p:q")),
        ("ghcr.io", password("u", "p")),
        ("r.example:5000", Ok(Some(Login::Identity(Secret::new("t"))))),
        ("r.example", Ok(None)),
        ("quay.io", Ok(None)),
        ("empty.example", Ok(None)),
        ("broken.example", Err("`auth` of broken.example is not the base64 of user:password".into())),
    ] {
        assert_eq!(login(config, host, ""), expected, "{host}");
    }
    assert!(!format!("{:?}", login(config, "docker.io", "")).contains("p:q"));
    assert!(!format!("{:?}", DockerConfig::parse(config).unwrap()).contains("p:q"));
    assert!(!login(br#"{"auths": "hunter2"}"#, "a", "").unwrap_err().contains("hunter2"));
}

#[test]
fn manifests_are_told_apart_by_shape_and_attestations_left_out() {
    let digest = |n: u8| format!("sha256:{}", format!("{n:02x}").repeat(32));
    let index = serde_json::json!({"schemaVersion": 2, "annotations": null, "manifests": [
        {"digest": digest(1), "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
        {"digest": digest(2), "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": digest(3), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"digest": "rubbish", "platform": null},
        {"digest": digest(4), "platform": null, "mediaType": "application/vnd.oci.image.index.v1+json"},
    ]});
    let Manifest::Index { children, .. } = manifest::parse(index.to_string().as_bytes()) else {
        panic!("an index")
    };
    let children: Vec<String> = children
        .iter()
        .map(|child| format!("{} {:?} {}", child.digest.short(), child.platform, child.is_index))
        .collect();
    assert_eq!(
        children,
        [r#"sha256:010101010101 Some("linux/arm/v7") false"#, "sha256:040404040404 None true",]
    );
    for unknown in ["", "{}", "[]", r#"{"schemaVersion":1,"fsLayers":[]}"#, r#"{"manifests": 3}"#] {
        assert_eq!(manifest::parse(unknown.as_bytes()), Manifest::Unknown, "{unknown}");
    }
    assert_eq!(manifest::parse_config(b"chart: yes"), manifest::Config::default());
}

#[test]
fn addresses_that_nobody_named_are_refused() {
    use Reach::{Anywhere, Machine, Private, Public};
    for (address, allowed) in [
        ("93.184.216.34", vec![Anywhere, Machine, Private, Public]),
        ("2606:4700::1", vec![Anywhere, Machine, Private, Public]),
        ("10.1.2.3", vec![Anywhere, Machine, Private]),
        ("::ffff:192.168.0.1", vec![Anywhere, Machine, Private]),
        ("100.64.0.1", vec![Anywhere, Machine, Private]),
        ("fd12::1", vec![Anywhere, Machine, Private]),
        ("64:ff9b::10.1.2.3", vec![Anywhere, Machine, Private]),
        ("64:ff9b::93.184.216.34", vec![Anywhere, Machine, Private, Public]),
        ("64:ff9b::169.254.169.254", vec![Anywhere]),
        ("127.0.0.1", vec![Anywhere, Machine]),
        ("::1", vec![Anywhere, Machine]),
        ("::ffff:127.0.0.1", vec![Anywhere, Machine]),
        ("0.0.0.0", vec![Anywhere, Machine]),
        ("169.254.169.254", vec![Anywhere]),
        ("fe80::1", vec![Anywhere]),
        ("fd00:ec2::254", vec![Anywhere]),
        ("100.100.100.200", vec![Anywhere]),
        // The others of the clouds: WireServer, Oracle's, Google's and Pod Identity's.
        ("168.63.129.16", vec![Anywhere]),
        ("192.0.0.192", vec![Anywhere]),
        ("fd20:ce::254", vec![Anywhere]),
        ("fd00:ec2::23", vec![Anywhere]),
        // An address inside of another.
        ("2002:7f00:1::1", vec![Anywhere, Machine]),
        ("2002:a9fe:a9fe::", vec![Anywhere]),
        ("2002:5db8:d822::1", vec![Anywhere, Machine, Private, Public]),
        ("::10.1.2.3", vec![Anywhere, Machine, Private]),
        ("::", vec![Anywhere, Machine]),
        ("64:ff9b:1::1", vec![Anywhere, Machine, Private]),
        ("198.19.0.1", vec![Anywhere, Machine, Private]),
        ("198.20.0.1", vec![Anywhere, Machine, Private, Public]),
    ] {
        let reaches: Vec<Reach> = [Anywhere, Machine, Private, Public]
            .into_iter()
            .filter(|reach| reach.allows(address.parse().unwrap()))
            .collect();
        assert_eq!(reaches, allowed, "{address}");
    }
}

#[test]
fn only_a_registry_inside_may_send_us_inside() {
    let away = |host: &str| {
        let inside = Inside::of(&format!("https://{host}/").parse().unwrap());
        (Guard::AwayFrom(inside.clone()), inside)
    };
    assert_eq!(away("10.1.2.3:5000").0.reach(), Reach::Private);
    assert_eq!(away("93.184.216.34").0.reach(), Reach::Public);
    let (guard, inside) = away("registry.example");
    assert_eq!(guard.reach(), Reach::Public, "not known yet");
    for (addresses, expected) in [
        (vec!["10.1.2.3", "fd12::1"], Reach::Private),
        (vec!["93.184.216.34", "10.1.2.3"], Reach::Public),
        (vec![], Reach::Public),
    ] {
        inside.learn(addresses.iter().map(|address| address.parse().unwrap()));
        assert_eq!(guard.reach(), expected, "{addresses:?}");
    }
}

#[test]
fn names_tell_which_tags_are_moved() {
    for tag in ["latest", "main", "1", "1.4", "v2", "stable", "3.19-alpine", "prod", "feature-x"] {
        assert!(looks_mutable(tag), "{tag}");
    }
    for tag in ["1.4.2", "v1.4.2-rc.1", "build-20261105", "main-3f2a9bc", "20261105.1", "a1b2c3d4"] {
        assert!(!looks_mutable(tag), "{tag}");
    }
}
