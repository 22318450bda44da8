//! TLS: certificates from files, read anew when they change, and the doors that connections come in
//! by. What is spoken behind a door is its face's business.

pub(crate) mod certificate;
mod der;
pub(crate) mod door;
pub(crate) mod exposure;
mod files;
pub(crate) mod stream;

use std::path::PathBuf;

pub use exposure::{Exposed, check_exposure};
pub use files::{Tls, TlsError};

/// The certificates of this server, and those that it asks clients for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsConfig {
    /// The file with this server's certificate and what leads to its authority, in PEM.
    pub certificate: Option<PathBuf>,
    /// The file with the key to it, in PEM.
    pub key: Option<PathBuf>,
    /// The file with the authorities of clients' certificates; without one none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether a client has to show a certificate, where there are authorities for them. Where it
    /// is not set it has to; setting it without authorities is an error.
    pub client_certificates: Option<ClientCertificates>,
    /// Whether plain text is spoken on loopback addresses only.
    pub required: bool,
}

/// What becomes of a client that shows no certificate, where there are authorities for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientCertificates {
    /// Its connection ends.
    #[default]
    Required,
    /// It may say by other means who it is.
    Optional,
}

impl ClientCertificates {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}
