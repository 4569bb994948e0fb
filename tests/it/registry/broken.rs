//! Connections that break: certificates that are wrong, and answers that end in the middle.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use knotmeter::observation::{Fact, Interests, LookFailure};
use knotmeter::observers::registry::Limits;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::fake::{Fake, ok, page};
use super::{Watching, registry, ring};

/// Ends its server with the test.
struct Server {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An authority of this test.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of this test");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A registry with one repository behind TLS, whose certificate is for this name, and old where that is wanted.
async fn with_certificate(
    issuer: Option<&CertifiedIssuer<'static, KeyPair>>,
    name: &str,
    expired: bool,
) -> Server {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    if expired {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, &**issuer),
        None => params.self_signed(&key),
    };
    let chain = vec![CertificateDer::from(certificate.unwrap())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else { return };
                let mut asked = [0; 4096];
                let _ = connection.read(&mut asked).await;
                let _ = connection.write_all(&whole(&page(["1.0.0"]))).await;
                let _ = connection.shutdown().await;
            });
        }
    });
    Server { address, task: task.abort_handle() }
}

/// A whole answer, byte for byte.
fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_and_the_rest_goes_on() {
    ring();
    let server = with_certificate(None, "localhost", false).await;
    let well = Fake::start(|_, _| ok(page(["a"]))).await;
    let mut broken = registry(&format!("localhost:{}", server.address.port()), &["shop/web"]);
    broken.plain_http = false;
    let registries = vec![broken, registry(&well.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    let (failure, message) = watching.look_failed().await;
    assert_eq!(failure, LookFailure::Network);
    assert!(message.starts_with(&format!("localhost:{}/shop/web: ", server.address.port())), "{message}");
    assert!(message.contains("certificate"), "{message}");
    for _ in 0..3 {
        watching.look_completed().await;
    }
}

#[tokio::test]
async fn each_wrong_certificate_has_a_sentence_of_its_own() {
    ring();
    let (ours, other) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, ours.pem()).unwrap();
    for (issuer, name, expired, words) in [
        (Some(&ours), "localhost", false, None),
        (Some(&ours), "localhost", true, Some("expired")),
        (Some(&ours), "registry.example", false, Some("not valid for name")),
        (Some(&other), "localhost", false, Some("certificate")),
        (None, "localhost", false, Some("certificate")),
    ] {
        let server = with_certificate(issuer, name, expired).await;
        let repository = format!("localhost:{}/shop/web", server.address.port());
        // Which authorities are trusted is the environment's word, so it is asked of a process of its own.
        let mut command = Command::new(env!("CARGO_BIN_EXE_knotmeter"));
        command.args(["scan", &repository]).env("SSL_CERT_FILE", &trusted).env_remove("SSL_CERT_DIR");
        command.current_dir(folder.path()).stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        match words {
            None => assert!(ended.status.success(), "{name}: {said}"),
            Some(words) => {
                assert_eq!(ended.status.code(), Some(3), "{said}");
                assert!(said.contains(&repository) && said.contains(words), "{said}");
            }
        }
    }
}

/// How an answer ends before its end.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Closed,
    Reset,
}

/// Writes a part of an answer, and ends the connection.
async fn answer_in_part(connection: &mut TcpStream, answer: &[u8], bytes: usize, end: End) {
    let mut asked = [0; 4096];
    let _ = connection.read(&mut asked).await;
    let _ = connection.write_all(&answer[..bytes]).await;
    if end == End::Reset {
        // Whatever has not arrived is thrown away, and the peer is told so.
        let _ = connection.set_zero_linger();
    }
}

/// A registry that answers as told; the number counts connections from 0.
async fn raw(answer: impl Fn(usize) -> (Vec<u8>, Option<(usize, End)>) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let task = tokio::spawn(async move {
        let mut number = 0;
        while let Ok((mut connection, _)) = listener.accept().await {
            let (answer, cut) = answer(number);
            number += 1;
            tokio::spawn(async move {
                let (bytes, end) = cut.unwrap_or((answer.len(), End::Closed));
                answer_in_part(&mut connection, &answer, bytes.min(answer.len()), end).await;
            });
        }
    });
    Server { address, task: task.abort_handle() }
}

#[tokio::test]
async fn an_answer_that_ends_in_its_middle_is_the_networks_fault_and_is_asked_again() {
    ring();
    let body = page((0..200).map(|number| format!("1.0.{number}")));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for answer in [whole(&body), chunked.into_bytes()] {
        for end in [End::Closed, End::Reset] {
            for bytes in [30, answer.len() - 1] {
                let answer = answer.clone();
                let server = raw(move |number| (answer.clone(), (number < 1).then_some((bytes, end)))).await;
                let registries = vec![registry(&server.address.to_string(), &["shop/web"])];
                let mut watching = Watching::start(registries, Interests::default(), Limits::default());
                let (failure, message) = watching.look_failed().await;
                assert_eq!(failure, LookFailure::Network, "after {bytes} bytes: {message}");
                assert!(!message.contains("1.0."), "nothing is quoted: {message}");
                assert_eq!(watching.tags_listed().await.len(), 200);
            }
        }
    }
}

#[tokio::test]
async fn answers_cut_at_any_byte_remove_nothing_and_add_nothing_twice() {
    ring();
    // Every second connection is cut, each at another byte; from some time on there is a tag more.
    let tags = Arc::new(Mutex::new((0..300).map(|number| format!("1.0.{number}")).collect::<Vec<_>>()));
    let seen = tags.clone();
    let server = raw(move |number| {
        let answer = whole(&page(seen.lock().unwrap().iter()));
        let bytes = number.wrapping_mul(7919) % answer.len();
        let end = if number % 4 == 1 { End::Closed } else { End::Reset };
        (answer, (number % 2 == 1).then_some((bytes, end)))
    })
    .await;
    let registries = vec![registry(&server.address.to_string(), &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    assert_eq!(watching.tags_listed().await.len(), 300);
    for look in 0..6 {
        if look == 3 {
            tags.lock().unwrap().push("2.0.0".into());
        }
        watching.look_completed().await;
    }
    let failed = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::LookFailed { .. })).count();
    assert!(failed >= 3, "{failed}");
    assert!(watching.absent_tags().is_empty());
    let listed = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::TagsListed { .. })).count();
    assert_eq!(listed, 1);
}
