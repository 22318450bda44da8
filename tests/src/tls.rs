//! A client of TLS on a blocking socket, and the certificates that tests are made with.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::wait::PATIENCE;

/// A connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A file of `tests/certificates`.
pub fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates").join(name)
}

/// The certificate in one of those files.
pub fn certificate(name: &str) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_file(made(&format!("{name}.pem")))?)
}

/// Arguments of `serve` with the certificate of that name for its listeners with TLS.
pub fn shows(name: &str) -> [String; 2] {
    ["pem", "key"].map(|end| {
        let flag = if end == "pem" { "certificate" } else { "key" };
        format!("--tls-{flag}={}", made(&format!("{name}.{end}")).display())
    })
}

/// Shakes hands as `localhost`, with the certificate of that name where one is named, and offers
/// these protocols.
///
/// # Errors
///
/// Either side refuses the other. A refusal of the client's certificate may come later, too.
pub fn connect(address: &str, shown: Option<&str>, protocols: &[&str]) -> Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca")?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(made(&format!("{name}.key")))?;
            builder.with_client_auth_cert(vec![certificate(name)?], key)?
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// What a server answers to `request`, to its end.
///
/// # Errors
///
/// The connection broke before there was anything.
pub fn answer(stream: &mut (impl Read + Write), request: &[u8]) -> Result<String> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Whoever ends a connection over what nobody read may cut its end off.
        Err(error) if !answer.is_empty() && error.kind() != io::ErrorKind::WouldBlock => {}
        read => drop(read.context("no answer")?),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
