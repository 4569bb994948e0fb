//! Whom to trust in TLS, and who we are there.
//!
//! Certificates are parsed once, not once for each client: there are two clients a registry, and hundreds of
//! registries.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Tls;
use crate::image::Digest;

/// The bundle of a whole system is a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Extra bundles remembered. A shop has one or two authorities of its own.
const BUNDLES_MAX: usize = 64;

/// What the system trusts: `SSL_CERT_FILE`, `SSL_CERT_DIR`, else where the system keeps it.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(|| "none is installed".into(), ToString::to_string);
        tracing::warn!(
            "this system trusts no certificate authority ({why}): https fails; install ca-certificates, or set \
             SSL_CERT_FILE"
        );
    }
    Arc::new(store)
});

/// The system's and those of a file, by the file's content.
static BUNDLES: LazyLock<Mutex<HashMap<Digest, Arc<RootCertStore>>>> = LazyLock::new(Mutex::default);

/// The settings of a client. Files are read now.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn client(tls: &Tls) -> Result<ClientConfig, String> {
    let roots = match &tls.ca_file {
        None => SYSTEM.clone(),
        Some(file) => with_bundle(file)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut client = match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(&read(certificate)?, certificate)?;
            let private = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|_| format!("{} holds no private key in PEM", key.display()))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| {
                format!("{} and {} do not fit together: {error}", certificate.display(), key.display())
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(client)
}

/// Changes with the files and with what is in them. A file that cannot be read is as good as empty.
#[must_use]
pub fn version(tls: &Tls) -> Digest {
    let files = [&tls.ca_file, &tls.certificate_file, &tls.key_file];
    let held =
        files.map(|file| file.as_ref().map(|file| (file, read(file).ok().map(|text| Digest::of(&text)))));
    Digest::of(format!("{held:?}").as_bytes())
}

fn with_bundle(file: &Path) -> Result<Arc<RootCertStore>, String> {
    let text = read(file)?;
    let name = Digest::of(&text);
    let mut bundles = BUNDLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = bundles.get(&name) {
        return Ok(store.clone());
    }
    let mut store = RootCertStore::clone(&SYSTEM);
    for certificate in certificates(&text, file)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if bundles.len() >= BUNDLES_MAX {
        bundles.clear();
    }
    let store = Arc::new(store);
    bundles.insert(name, store.clone());
    Ok(store)
}

fn certificates(text: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(format!("{} holds no certificates in PEM", file.display())),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let size = std::fs::metadata(file).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown} is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read(file).map_err(|error| format!("{shown}: {error}"))
}
