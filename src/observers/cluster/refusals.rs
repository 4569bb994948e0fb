//! What registries, runtimes and the API server say no with, as closed sets.
//!
//! A message names the image too, so every piece of text that is looked for holds a blank: no image's name does.

use crate::observation::{Refuser, Waiting};

/// The registry asks for a login, or forbids it. Docker Hub and its kin say so of repositories that do not exist, too.
const DENIED: [&str; 10] = [
    "pull access denied",
    "authorization failed",
    "authentication required",
    "no basic auth credentials",
    "failed to authorize:",
    "unauthorized: ",
    "denied: ",
    "401 Unauthorized",
    "403 Forbidden",
    "code = PermissionDenied",
];
const NOT_FOUND: [&str; 5] =
    ["code = NotFound", ": not found", ": manifest unknown", ": name unknown", "404 Not Found"];
/// No connection, or an answer that is none.
const DOWN: [&str; 17] = [
    ": connection refused",
    ": connection reset",
    ": no such host",
    ": no route to host",
    ": network is unreachable",
    ": i/o timeout",
    "context deadline exceeded",
    "Client.Timeout exceeded",
    "TLS handshake timeout",
    ": EOF",
    "server misbehaving",
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "429 Too Many Requests",
    "toomanyrequests: ",
];

/// Characters of a message that are kept: as many as of a condition of an engine.
const SAYS_CHARS_MAX: usize = 500;

/// Why a pull fails, as containerd, CRI-O and the registries tell it through the kubelet.
pub(super) fn pull_class(message: &str) -> Waiting {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // What cannot ask for a token has not been let in, whatever the status; a server that is down lets nobody in.
    if has(&DOWN) {
        Waiting::PullRegistryDown
    } else if has(&DENIED) {
        Waiting::PullDenied
    } else if has(&NOT_FOUND) {
        Waiting::PullNotFound
    } else {
        Waiting::ImagePull
    }
}

/// What a pull fails with: while it waits for the next try a kubelet repeats it behind its own words, or says no more
/// than that it waits.
pub(super) fn pull_words(message: &str) -> &str {
    match message.strip_prefix("Back-off pulling image ") {
        Some(waits) => waits.split_once("\": ErrImagePull: ").map_or("", |(_, words)| words),
        None => message,
    }
}

/// Why pods are refused, without the name of one: that is another with each try.
pub(super) fn refusal(message: &str) -> &str {
    match message.strip_prefix("pods \"") {
        Some(named) => named.split_once("\" is forbidden: ").map_or(message, |(_, words)| words),
        None => message,
    }
}

/// As much of a message as is kept.
pub(super) fn words_of(message: &str) -> String {
    message.chars().take(SAYS_CHARS_MAX).collect()
}

/// Who refuses pods, as the API server tells it in the condition `ReplicaFailure`.
pub(super) fn refuser(message: &str) -> Option<Refuser> {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["exceeded quota: ", "failed quota: "]) {
        Some(Refuser::Quota)
    } else if has(&["admission webhook ", "denied the request", "denied request", "violates PodSecurity "]) {
        Some(Refuser::Admission)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pull_is_told_by_the_words_of_runtimes_and_registries() {
        for (class, message) in [
            // As a kubelet 1.36 with containerd 2.3 reported them.
            (
                Waiting::PullNotFound,
                "rpc error: code = NotFound desc = failed to pull and unpack image \"127.0.0.1:5000/shop/cart:2.4.1\": failed to resolve image: 127.0.0.1:5000/shop/cart:2.4.1: not found",
            ),
            (
                Waiting::PullDenied,
                "failed to pull and unpack image \"127.0.0.1:5001/private/vault:1.1.0\": failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
            ),
            (
                Waiting::PullRegistryDown,
                "failed to pull and unpack image \"r.io/a:1\": failed to resolve image: failed to do request: Head \"http://r.io/v2/a/manifests/1\": dial tcp 10.0.0.1:5000: connect: connection refused",
            ),
            // Others, as they write it.
            (
                Waiting::PullDenied,
                "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token?scope=x: 403 Forbidden",
            ),
            (
                Waiting::PullNotFound,
                "initializing source docker://quay.io/team/web:9: reading manifest 9 in quay.io/team/web: manifest unknown",
            ),
            (
                Waiting::PullRegistryDown,
                "failed to pull and unpack image \"r.io/a:1\": unexpected status from HEAD request to http://r.io/v2/a/manifests/1: 503 Service Unavailable",
            ),
            (
                Waiting::ImagePull,
                "failed to pull and unpack image \"r.io/a:1\": failed to extract layer sha256:ab: write /x: no space left on device",
            ),
            // No words of its own, but a name.
            (Waiting::ImagePull, "Back-off pulling image \"r.io/denied/unauthorized:not-found\""),
            (Waiting::ImagePull, ""),
        ] {
            assert_eq!(pull_class(message), class, "{message}");
        }
    }

    #[test]
    fn words_are_kept_without_what_changes_with_each_try() {
        let failed = "failed to pull and unpack image \"r.io/a:1\": r.io/a:1: not found";
        assert_eq!(pull_words(failed), failed);
        let waits = format!("Back-off pulling image \"r.io/a:1\": ErrImagePull: {failed}");
        assert_eq!(pull_words(&waits), failed);
        assert_eq!(pull_words("Back-off pulling image \"r.io/a:1\""), "");
        let quota = "exceeded quota: compute, requested: pods=1, used: pods=3, limited: pods=3";
        assert_eq!(refusal(&format!("pods \"api-8cb95b58-49xzx\" is forbidden: {quota}")), quota);
        assert_eq!(
            refusal("admission webhook \"a.b\" denied the request: no"),
            "admission webhook \"a.b\" denied the request: no"
        );
        assert_eq!(words_of(&"é".repeat(600)).chars().count(), SAYS_CHARS_MAX);
    }

    #[test]
    fn who_refuses_pods_is_told_by_the_words_of_the_api_server() {
        for (who, message) in [
            (
                Some(Refuser::Quota),
                "pods \"api-8cb95b58b-49xzx\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=3, limited: pods=3",
            ),
            (
                Some(Refuser::Admission),
                "admission webhook \"signatures.invalid\" denied the request: no signature",
            ),
            (
                Some(Refuser::Admission),
                "pods \"web-1\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
            ),
            (
                None,
                "pods \"web-1\" is forbidden: error looking up service account prod/web: serviceaccount \"web\" not found",
            ),
        ] {
            assert_eq!(refuser(message), who, "{message}");
        }
    }
}
