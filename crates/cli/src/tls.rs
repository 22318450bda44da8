//! TLS as commands speak it to a server: whose certificates are trusted.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::Failure;

/// How long a server that accepts the connection may take to shake hands.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// The authorities that are trusted, and the name that the server has to prove.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// For the server at `host`, a name or an address without its port. The authorities of the file
    /// are trusted and no others; without one, those of the system.
    pub(crate) fn new(host: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Failure::usage(format!("no certificate is for the name \"{host}\"")))?;
        let roots = match ca {
            Some(path) => roots_of(path)?,
            None => system_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::usage(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let shaking = self.connector.connect(self.name.clone(), stream);
        let done = tokio::time::timeout(HANDSHAKE_TIME_MAX, shaking).await;
        done.unwrap_or_else(|_| {
            let why = "no handshake of TLS within 10 s";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, Failure> {
    let unusable =
        |why: String| Failure::usage(format!("the authorities of {}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&text) {
        let authority = authority.map_err(|error| unusable(error.to_string()))?;
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("no certificate in PEM".into())) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Failure::usage("this system has no list of authorities that it trusts")
            .hint("name a file with the server's with --ca or LONGSHORE_CA"));
    }
    Ok(roots)
}
