//! The OCI words: parse and print, by table where Docker's rules are odd and by property where they are not.

use knotmeter::image::{Digest, ImageRef, Repository, Tag};
use proptest::prelude::*;

/// 64 hexadecimal digits.
fn hex() -> String {
    "0123456789abcdef".repeat(4)
}

#[test]
fn references_are_normalised_as_docker_does() {
    let hex = hex();
    let digest = format!("sha256:{hex}");
    for (text, expected) in [
        ("nginx".to_owned(), "docker.io/library/nginx:latest".to_owned()),
        ("nginx:1.25".into(), "docker.io/library/nginx:1.25".into()),
        ("library/nginx".into(), "docker.io/library/nginx:latest".into()),
        ("team/web".into(), "docker.io/team/web:latest".into()),
        ("docker.io/nginx".into(), "docker.io/library/nginx:latest".into()),
        ("docker.io/library/nginx".into(), "docker.io/library/nginx:latest".into()),
        ("index.docker.io/nginx".into(), "docker.io/library/nginx:latest".into()),
        ("index.docker.io/team/web:1".into(), "docker.io/team/web:1".into()),
        ("registry-1.docker.io/library/nginx".into(), "docker.io/library/nginx:latest".into()),
        ("localhost/web".into(), "localhost/web:latest".into()),
        ("localhost:5000/web:1".into(), "localhost:5000/web:1".into()),
        ("localhosts/web".into(), "docker.io/localhosts/web:latest".into()),
        ("r.example/web".into(), "r.example/web:latest".into()),
        ("r.example:5000/a/b/c:v1".into(), "r.example:5000/a/b/c:v1".into()),
        ("registry:5000/web".into(), "registry:5000/web:latest".into()),
        // A capital makes the first component a host: paths have none.
        ("Registry/web".into(), "Registry/web:latest".into()),
        ("127.0.0.1:5000/web".into(), "127.0.0.1:5000/web:latest".into()),
        ("[::1]/web".into(), "[::1]/web:latest".into()),
        ("[2001:db8::1]:5000/a/web:1".into(), "[2001:db8::1]:5000/a/web:1".into()),
        // A bare name with a port-like part is a name with a tag.
        ("web:5000".into(), "docker.io/library/web:5000".into()),
        (format!("web@{digest}"), format!("docker.io/library/web@{digest}")),
        (format!("web:1.4@{digest}"), format!("docker.io/library/web:1.4@{digest}")),
        (format!("r.example:5000/web:1.4@{digest}"), format!("r.example:5000/web:1.4@{digest}")),
        ("a__b/c.d/e-f/g--h".into(), "docker.io/a__b/c.d/e-f/g--h:latest".into()),
        // 64 hex digits are an image id alone, and a name like any other below a namespace.
        (format!("team/{hex}"), format!("docker.io/team/{hex}:latest")),
        (hex[..63].to_owned(), format!("docker.io/library/{}:latest", &hex[..63])),
    ] {
        let image: ImageRef = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(image.to_string(), expected, "{text}");
    }
}

#[test]
fn what_docker_refuses_is_refused() {
    let hex = hex();
    for text in [
        "",
        ":",
        "@",
        "/",
        "/web",
        "web/",
        "a//b",
        ":1",
        "web:",
        "web@",
        "web:1:2",
        "web@sha256:ab",
        "web:-a",
        "web:.a",
        "web:a b",
        "web name",
        "Web",
        "team/Web",
        "r.example/Web",
        "a___b",
        "a..b",
        "a-/b",
        "-a/b",
        "a._b",
        "http://r.example/web",
        "r.example:/web",
        "r.example:port/web",
        "r..example/web",
        "-r.example/web",
        "[::1/web",
        "[]/web",
        "[::g]/web",
        "[::1]x/web",
        "[::1]:/web",
        "wéb",
        "web\n",
        "docker.io/",
        "user:pass@r.example/web",
        &hex,
        &format!("web@sha256:{}", hex.to_uppercase()),
        &format!("web@{hex}"),
        &format!("web@sha256:{hex}@sha256:{hex}"),
        &format!("web:{}", "a".repeat(129)),
        &format!("r.example/{}", "a".repeat(246)),
    ] {
        assert!(text.parse::<ImageRef>().is_err(), "{text:?} parsed as {:?}", text.parse::<ImageRef>());
    }
}

#[test]
fn lengths_are_allowed_up_to_their_limit() {
    let tag = "a".repeat(128);
    assert_eq!(tag.parse::<Tag>().unwrap().as_str(), tag);
    let path = "a".repeat(245);
    let repository: Repository = format!("r.example/{path}").parse().unwrap();
    assert_eq!((repository.host(), repository.path(), repository.as_str().len()), ("r.example", &*path, 255));
    // What we add counts too.
    assert!("a".repeat(237).parse::<Repository>().is_ok());
    assert!("a".repeat(238).parse::<Repository>().is_err());
}

#[test]
fn digests_of_other_algorithms_are_kept_and_known_ones_checked() {
    let sha512 = format!("sha512:{}", hex().repeat(2));
    for text in
        [sha512.as_str(), "blake3:abc", "a+b.c_d-e:F=_-9", "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g"]
    {
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    }
    for text in ["sha512:ab", "sha256:", ":ab", "sha256", "SHA256:ab", "a++b:c", "a:b/c", "a:b:c"] {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
    let empty = Digest::of(b"");
    assert_eq!(empty.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(empty.short(), "sha256:e3b0c44298fc");
    assert_eq!("blake3:ab".parse::<Digest>().unwrap().short(), "blake3:ab");
}

fn tag() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
}

fn host() -> impl Strategy<Value = String> {
    let label = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?";
    let name = prop::collection::vec(label, 2..4).prop_map(|labels| labels.join("."));
    let host = prop_oneof![name, Just("localhost".to_owned()), Just("[2001:db8::1]".to_owned())];
    (host, prop::option::of(1u16..)).prop_map(|(host, port)| match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", 1..4)
        .prop_map(|components| components.join("/"))
}

fn digest() -> impl Strategy<Value = String> {
    prop_oneof!["sha256:[0-9a-f]{64}", "sha512:[0-9a-f]{128}", "[a-z]{1,5}9:[A-Za-z0-9=_-]{1,40}"]
}

proptest! {
    #[test]
    fn a_full_reference_prints_as_it_was_written(
        host in host(), path in path(), tag in prop::option::of(tag()), digest in prop::option::of(digest()),
    ) {
        let mut text = format!("{host}/{path}");
        if let Some(tag) = &tag {
            text += &format!(":{tag}");
        }
        if let Some(digest) = &digest {
            text += &format!("@{digest}");
        }
        let image: ImageRef = text.parse().unwrap();
        prop_assert_eq!(image.repository.host(), host);
        prop_assert_eq!(image.repository.path(), path);
        let printed = image.to_string();
        if tag.is_none() && digest.is_none() {
            prop_assert_eq!(&printed, &format!("{text}:latest"));
        } else {
            prop_assert_eq!(&printed, &text);
        }
        prop_assert_eq!(printed.parse::<ImageRef>().unwrap(), image);
    }

    #[test]
    fn normalising_twice_changes_nothing(path in path(), tag in tag()) {
        let once: ImageRef = format!("team/{path}:{tag}").parse().unwrap();
        let twice: ImageRef = once.to_string().parse().unwrap();
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(once.repository.host(), "docker.io");
    }

    #[test]
    fn every_word_survives_json(path in path(), tag in tag(), digest in digest()) {
        let image: ImageRef = format!("r.example/{path}:{tag}@{digest}").parse().unwrap();
        let json = serde_json::to_string(&image).unwrap();
        prop_assert_eq!(serde_json::from_str::<ImageRef>(&json).unwrap(), image.clone());
        let json = serde_json::to_string(&image.repository).unwrap();
        prop_assert_eq!(serde_json::from_str::<Repository>(&json).unwrap(), image.repository);
    }

    #[test]
    fn the_digest_of_bytes_is_what_it_prints(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let digest = Digest::of(&bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[a-zA-Z0-9:@/._\\[\\]-]{0,40}") {
        if let Ok(image) = text.parse::<ImageRef>() {
            prop_assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), image);
        }
    }
}
