//! Who may hurry us, and whose time is believed.

use knotmeter::config::HookKind;
use knotmeter::observation::Time;
use knotmeter::observers::hooks::{Head, Refused};
use proptest::prelude::*;

use super::{OLD_SECRET, RECEIVED, SECRET, headers, hook, sign};

const BODY: &str =
    r#"{"git": "https://git.example/fleet.git", "branch": "main", "time": "2026-11-21T10:00:04.5Z"}"#;

fn taken(
    kind: HookKind,
    path_secret: Option<&str>,
    pairs: &[(&str, &str)],
    body: &str,
) -> Result<usize, Refused> {
    let (hooks, _folder) = hook(kind);
    let headers = headers(pairs);
    let head = Head { hook: "here", path_secret, headers: &headers };
    hooks.admit(head)?;
    hooks.take(head, body.as_bytes(), Time(RECEIVED)).map(|triggers| triggers.len())
}

#[test]
fn a_signature_holds_for_its_body_and_either_secret() {
    for secret in [SECRET, OLD_SECRET] {
        let signature = format!("sha256={}", sign(secret, BODY.as_bytes()));
        assert_eq!(taken(HookKind::Hint, None, &[("x-signature", &signature)], BODY), Ok(1));
        let other = BODY.replace("main", "evil");
        assert_eq!(
            taken(HookKind::Hint, None, &[("x-signature", &signature)], &other),
            Err(Refused::Unproven)
        );
    }
    let wrong = sign("another-secret", BODY.as_bytes());
    assert_eq!(taken(HookKind::Hint, None, &[("x-signature", &wrong)], BODY), Err(Refused::Unproven));
}

#[test]
fn each_kind_wants_its_own_proof() {
    let signature = sign(SECRET, BODY.as_bytes());
    let bearer = format!("Bearer {SECRET}");
    let none: &[(&str, &str)] = &[];
    let unproven = Err(Refused::Unproven);
    for kind in [HookKind::Github, HookKind::Ghcr] {
        assert_eq!(taken(kind, None, &[("x-hub-signature-256", &signature)], BODY), Ok(0));
        assert_eq!(taken(kind, Some(SECRET), &[("authorization", SECRET)], BODY), unproven);
    }
    for name in ["x-gitea-signature", "x-forgejo-signature", "x-hub-signature-256"] {
        assert_eq!(taken(HookKind::Gitea, None, &[(name, &signature)], BODY), Ok(0));
    }
    assert_eq!(taken(HookKind::Bitbucket, None, &[("x-hub-signature", &signature)], BODY), Ok(0));
    assert_eq!(taken(HookKind::Bitbucket, None, &[("x-hub-signature-256", &signature)], BODY), unproven);
    assert_eq!(taken(HookKind::Gitlab, None, &[("x-gitlab-token", OLD_SECRET)], "{}"), Ok(0));
    assert_eq!(taken(HookKind::Gitlab, None, &[("x-gitlab-token", &signature)], "{}"), unproven);
    for value in [SECRET, &*bearer] {
        assert_eq!(
            taken(HookKind::Distribution, None, &[("authorization", value)], r#"{"events": []}"#),
            Ok(0)
        );
        assert_eq!(taken(HookKind::Hint, None, &[("authorization", value)], BODY), Ok(1));
    }
    assert_eq!(taken(HookKind::Distribution, Some(SECRET), none, r#"{"events": []}"#), unproven);
    let event = r#"{"involvedObject": {"kind": "GitRepository"}}"#;
    assert_eq!(taken(HookKind::Generic, Some(SECRET), none, event), Ok(1));
    assert_eq!(taken(HookKind::Generic, None, &[("authorization", SECRET)], event), unproven);
    assert_eq!(taken(HookKind::Generic, Some("only-for-this-tes"), none, event), unproven);
    assert_eq!(taken(HookKind::GenericHmac, Some(SECRET), none, event), unproven);
    assert_eq!(
        taken(HookKind::GenericHmac, None, &[("x-signature", &sign(SECRET, event.as_bytes()))], event),
        Ok(1)
    );
}

#[test]
fn a_repeated_delivery_is_known_by_its_id_and_by_its_body() {
    let (hooks, _folder) = hook(HookKind::Github);
    let deliver = |id: &str, body: &str| {
        let signature = sign(SECRET, body.as_bytes());
        let headers = headers(&[
            ("x-hub-signature-256", &signature),
            ("x-github-event", "push"),
            ("x-github-delivery", id),
        ]);
        let head = Head { hook: "here", path_secret: None, headers: &headers };
        hooks.take(head, body.as_bytes(), Time(RECEIVED)).map(|triggers| triggers.len())
    };
    let push = |after: &str| {
        let after = after.repeat(40);
        format!(
            r#"{{"ref": "refs/heads/main", "after": "{after}", "repository": {{"full_name": "shop/fleet"}}}}"#
        )
    };
    assert_eq!(deliver("one", &push("a")), Ok(1));
    assert_eq!(deliver("one", &push("b")), Err(Refused::Repeated));
    // The header is not signed: whoever replays can write another.
    assert_eq!(deliver("two", &push("a")), Err(Refused::Repeated));
    assert_eq!(deliver("three", &push("c")), Ok(1));
}

#[test]
fn a_secret_can_be_missing_short_or_changed() {
    let (hooks, folder) = hook(HookKind::Hint);
    let bearer = headers(&[("authorization", SECRET)]);
    let head = Head { hook: "here", path_secret: None, headers: &bearer };
    assert_eq!(hooks.admit(head), Ok(()));
    assert_eq!(hooks.admit(Head { hook: "there", ..head }), Err(Refused::Unknown));
    let shown = format!("{hooks:?}");
    assert!(!shown.contains(SECRET) && !shown.contains(OLD_SECRET), "{shown}");
    for bad in ["", "short\n", "\n\n"] {
        let file = folder.path().join("bad");
        std::fs::write(&file, bad).unwrap();
        let hook = knotmeter::config::Hook {
            name: "here".into(),
            kind: HookKind::Hint,
            expect_in: Vec::new(),
            secret_file: Some(file),
            oidc: None,
            registry: None,
        };
        let hooks = knotmeter::observers::hooks::Hooks::new(&[hook]);
        assert_eq!(hooks.admit(head), Err(Refused::NoSecret), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_other_signature_holds(digits in "[0-9a-f]{0,70}", body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let (hooks, _folder) = hook(HookKind::GenericHmac);
        let headers = headers(&[("x-signature", &digits)]);
        let head = Head { hook: "here", path_secret: None, headers: &headers };
        prop_assert_eq!(hooks.take(head, &body, Time(RECEIVED)), Err(Refused::Unproven));
    }
}
