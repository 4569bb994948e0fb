//! TLS in front of a server that speaks plain HTTP on loopback, with certificates made for the test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority of our own, and a client's certificate of it, as files.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let authority = Self { folder, issuer: Issuer::new(params, key), certificate };
        let mut params = CertificateParams::new(vec!["knotmeter".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let client = params.signed_by(&key, &authority.issuer).unwrap();
        std::fs::write(authority.client_certificate(), client.pem()).unwrap();
        std::fs::write(authority.client_key(), key.serialize_pem()).unwrap();
        authority
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn client_certificate(&self) -> PathBuf {
        self.folder.path().join("client.pem")
    }

    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }

    /// A server's settings for these names.
    pub fn server(&self, names: &[&str], wants_clients: Clients) -> ServerConfig {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match wants_clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Known => {
                let mut roots = RootCertStore::empty();
                roots.add(self.certificate.der().clone()).unwrap();
                let known = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(known.build().unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

/// Whom a server lets in.
#[derive(Clone, Copy)]
pub enum Clients {
    Anybody,
    /// Who has a certificate of the same authority.
    Known,
}

/// The server; it ends with the test.
pub struct TlsFront {
    pub address: SocketAddr,
    pub authority: Authority,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsFront {
    pub async fn start(behind: SocketAddr, names: &[&str]) -> Self {
        Self::for_clients(behind, names, Clients::Anybody).await
    }

    pub async fn for_clients(behind: SocketAddr, names: &[&str], clients: Clients) -> Self {
        let authority = Authority::new();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(names, clients)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // Who does not trust us goes away.
                    let Ok(mut front) = acceptor.accept(socket).await else { return };
                    let mut behind = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut front, &mut behind).await;
                });
            }
        });
        Self { address, authority, task }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }
}

/// An HTTP proxy that leads every host to one server; it ends with the test.
pub struct Proxy {
    pub url: String,
    /// What it was asked to connect to.
    pub asked: Arc<std::sync::Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let log = log.clone();
                connections.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = socket.read_u8().await else { return };
                        head.push(byte);
                    }
                    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                    log.lock().unwrap().push(line);
                    let mut behind = TcpStream::connect(to).await.unwrap();
                    if socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
                        let _ = tokio::io::copy_bidirectional(&mut socket, &mut behind).await;
                    }
                });
            }
        });
        Self { url, asked, task }
    }
}
