//! What this server shows and demands, from files that may change while it runs.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};

use super::certificate::Certificate;
use super::{ClientCertificates, TlsConfig};
use crate::sparse::Sparse;

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a file, far more than authorities of the whole world take.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// A certificate that ends sooner is told as a warning, when it is loaded and then every day.
const SOON_DAYS: i64 = 14;
const TOLD_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// What is agreed on inside, where both ends name it, with clients of AMQP and Kafka. They name
/// nothing; a browser that was sent here names what it speaks, and is not let in, or what it sends
/// would be taken for theirs (the attack ALPACA).
const SILENT: &[u8] = b"longshore";

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A key of the configuration is missing.
    #[error("{wanted} is not set, and {because}")]
    Missing {
        /// The key.
        wanted: &'static str,
        /// What needs it.
        because: &'static str,
    },
    /// A file cannot be read.
    #[error("{key}: cannot read {}: {error}", path.display())]
    Unreadable {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key}: {} {why}", path.display())]
    Unusable {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What is spoken inside, where both ends say it while they shake hands (RFC 7301).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Inside {
    /// HTTP/1.1, and HTTP/2 for who offers nothing else.
    Http,
    /// HTTP/1.1 alone.
    Http1,
    /// Nothing is said.
    Silent,
}

/// TLS as it is now.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    loaded: RwLock<Loaded>,
    pub(super) failures: Sparse,
}

#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_certificates: ClientCertificates,
}

#[derive(Debug)]
struct Loaded {
    digest: [u8; 32],
    shown: Option<Shown>,
    http: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    silent: Arc<ServerConfig>,
}

/// The certificate of this server.
#[derive(Clone, Debug)]
struct Shown {
    subject: String,
    ends: jiff::Timestamp,
}

/// What the looks at the files have found that is not taken over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Found {
    /// What the last look found; it may be half written.
    seen: Option<[u8; 32]>,
    /// What cannot be used, so that it is told only once.
    refused: Option<[u8; 32]>,
}

/// What the files held when they were read together.
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";
const CLIENT_CA: &str = "tls.client_ca";

impl Tls {
    /// Reads the files. `None` where no certificate is set.
    ///
    /// # Errors
    ///
    /// Only part of what is needed is set, or a file does not hold what it should.
    pub fn load(config: &TlsConfig) -> Result<Option<Arc<Self>>, TlsError> {
        let (certificate, key) = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) if config.client_ca.is_none() && config.client_certificates.is_none() => {
                return Ok(None);
            }
            (None, _) => {
                let because = "the other keys of TLS mean nothing without it";
                return Err(TlsError::Missing { wanted: CERTIFICATE, because });
            }
            (_, None) => {
                let because = "tls.certificate means nothing without it";
                return Err(TlsError::Missing { wanted: KEY, because });
            }
        };
        if config.client_ca.is_none() && config.client_certificates.is_some() {
            let because = "tls.client_certificates means nothing without it";
            return Err(TlsError::Missing { wanted: CLIENT_CA, because });
        }
        let client_certificates = config.client_certificates.unwrap_or_default();
        let files =
            Files { certificate, key, client_ca: config.client_ca.clone(), client_certificates };
        let texts = files.read()?;
        let loaded = files.load(&texts)?;
        loaded.tell(&files.certificate);
        let loaded = RwLock::new(loaded);
        Ok(Some(Arc::new(Self { files, loaded, failures: Sparse::default() })))
    }

    /// The same, where something that is to be encrypted needs it.
    ///
    /// # Errors
    ///
    /// As [`Tls::load`], and where no certificate is set.
    pub fn load_for(config: &TlsConfig, because: &'static str) -> Result<Arc<Self>, TlsError> {
        Self::load(config)?.ok_or(TlsError::Missing { wanted: CERTIFICATE, because })
    }

    pub(super) fn config(&self, inside: Inside) -> Arc<ServerConfig> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(match inside {
            Inside::Http => &loaded.http,
            Inside::Http1 => &loaded.http1,
            Inside::Silent => &loaded.silent,
        })
    }

    /// Looks at the files again and again. What is new, and the same at two looks, holds for
    /// connections from then on; where that cannot be used, what was there stays, and it is told
    /// once. That the certificate ends soon is told every day.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut found, mut told_at) = (Found::default(), Instant::now());
        loop {
            looks.tick().await;
            let tls = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || tls.look(found)).await;
            // It is cancelled only where the runtime ends.
            let Ok(looked) = looked else { return };
            found = looked;
            if told_at.elapsed() >= TOLD_EVERY {
                told_at = Instant::now();
                let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
                loaded.tell(&self.files.certificate);
            }
        }
    }

    /// Takes over what has changed and is the same as at the last look: whoever writes the files in
    /// place may be halfway through, and half a list of authorities is a list. What was found.
    fn look(&self, before: Found) -> Found {
        let digest = |texts: &Result<Texts, TlsError>| match texts {
            Ok(texts) => texts.digest(),
            Err(error) => Sha256::digest(error.to_string().as_bytes()).into(),
        };
        let texts = self.files.read();
        let now = digest(&texts);
        let current = self.loaded.read().unwrap_or_else(PoisonError::into_inner).digest;
        if now == current {
            return Found::default();
        }
        let seen = Some(now);
        if before.refused == seen || before.seen != seen {
            return Found { seen, ..before };
        }
        match texts.and_then(|texts| self.files.load(&texts)) {
            Ok(loaded) => {
                loaded.tell(&self.files.certificate);
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!("the files of TLS have changed: new connections get what is new");
                Found::default()
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "the files of TLS have changed and cannot be used: what was there before stays"
                );
                Found { seen, refused: seen }
            }
        }
    }
}

impl Files {
    fn read(&self) -> Result<Texts, TlsError> {
        Ok(Texts {
            certificate: read(CERTIFICATE, &self.certificate)?,
            key: read(KEY, &self.key)?,
            client_ca: self.client_ca.as_ref().map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }

    fn load(&self, texts: &Texts) -> Result<Loaded, TlsError> {
        let odd =
            |key, path: &Path, why: String| TlsError::Unusable { key, path: path.into(), why };
        let chain = certificates(&texts.certificate)
            .map_err(|why| odd(CERTIFICATE, &self.certificate, why))?;
        let key = PrivateKeyDer::from_pem_slice(&texts.key)
            .map_err(|error| odd(KEY, &self.key, format!("holds no key in PEM: {error}")))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| odd(CERTIFICATE, &self.certificate, error.to_string()))?;
        let builder = match (&self.client_ca, &texts.client_ca) {
            (Some(path), Some(text)) => {
                let odd = |why| odd(CLIENT_CA, path, why);
                let mut roots = RootCertStore::empty();
                for authority in certificates(text).map_err(odd)? {
                    roots.add(authority).map_err(|error| odd(error.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match self.client_certificates {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| odd(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let shown = chain.first().and_then(Shown::read);
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let why = format!("cannot be used with {}: {error}", self.key.display());
            odd(CERTIFICATE, &self.certificate, why)
        })?;
        if self.client_ca.is_some() {
            // A connection that goes on with an earlier one shows no certificate: it would be let
            // in after the end of the one that was shown then.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else if let Ok(ticketer) = ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        let inside = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Loaded {
            digest: texts.digest(),
            shown,
            // HTTP/2 is for gRPC, whose clients offer nothing else. Others would rather have it,
            // and find no routes there.
            http: inside(&[b"http/1.1", b"h2"]),
            http1: inside(&[b"http/1.1"]),
            silent: inside(&[SILENT]),
        })
    }
}

impl Shown {
    fn read(leaf: &CertificateDer<'_>) -> Option<Self> {
        let Certificate { subject, ends, .. } = Certificate::read(leaf)?;
        Some(Self { subject, ends: ends? })
    }
}

impl Loaded {
    /// Says which certificate is shown, and whether it ends soon.
    fn tell(&self, path: &Path) {
        let Some(Shown { subject, ends }) = &self.shown else { return };
        let days = ends.duration_since(jiff::Timestamp::now()).as_hours() / 24;
        let path = path.display();
        if days < SOON_DAYS {
            tracing::warn!(
                %path, subject, %ends, "the certificate of this server ends soon or has ended"
            );
        } else {
            tracing::info!(%path, subject, %ends, "this certificate is shown");
        }
    }
}

impl Texts {
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        for text in [&self.certificate[..], &self.key, client_ca] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut text = Vec::new();
        // A pipe would be waited for.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let read = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
        let fits = read as u64 <= FILE_BYTES_MAX;
        if fits { Ok(text) } else { Err(io::Error::other("it is larger than 4 MiB")) }
    };
    read().map_err(|error| TlsError::Unreadable { key, path: path.to_owned(), error })
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("is not PEM: {error}"))?;
    if certificates.is_empty() {
        Err("holds no certificate in PEM".into())
    } else {
        Ok(certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/certificates").join(name)
    }

    fn config(folder: &Path) -> TlsConfig {
        for name in ["server.pem", "server.key", "ca.pem"] {
            std::fs::copy(made(name), folder.join(name)).unwrap();
        }
        TlsConfig {
            certificate: Some(folder.join("server.pem")),
            key: Some(folder.join("server.key")),
            client_ca: Some(folder.join("ca.pem")),
            ..TlsConfig::default()
        }
    }

    #[test]
    fn what_is_missing_or_broken_is_told_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let whole = config(folder.path());
        assert!(Tls::load(&whole).unwrap().is_some());
        assert!(Tls::load(&TlsConfig::default()).unwrap().is_none());
        let told = |config: &TlsConfig| Tls::load(config).unwrap_err().to_string();
        let said = told(&TlsConfig { key: None, ..whole.clone() });
        assert!(said.starts_with("tls.key is not set"), "{said}");
        let required = Some(ClientCertificates::Required);
        let unasked = TlsConfig { client_ca: None, client_certificates: required, ..whole.clone() };
        let said = told(&unasked);
        assert!(said.starts_with("tls.client_ca is not set"), "{said}");
        let said = told(&TlsConfig { certificate: None, ..whole.clone() });
        assert!(said.starts_with("tls.certificate is not set"), "{said}");
        let said = told(&TlsConfig { certificate: Some("absent.pem".into()), ..whole.clone() });
        assert!(said.starts_with("tls.certificate: cannot read absent.pem"), "{said}");
        let said = told(&TlsConfig { certificate: whole.key.clone(), ..whole.clone() });
        assert!(said.contains("holds no certificate"), "{said}");
        let said = told(&TlsConfig { key: whole.certificate.clone(), ..whole.clone() });
        assert!(said.starts_with("tls.key: ") && said.contains("holds no key"), "{said}");
        std::fs::copy(made("renewed.key"), folder.path().join("server.key")).unwrap();
        let said = told(&whole);
        assert!(said.contains("cannot be used with"), "{said}");
    }

    #[test]
    fn a_change_of_the_files_is_taken_over_unless_it_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls::load(&config(folder.path())).unwrap().unwrap();
        let copy = |from: &str, to: &str| {
            std::fs::copy(made(from), folder.path().join(to)).unwrap();
        };
        let first = tls.config(Inside::Silent);
        let nothing = Found::default();
        assert_eq!(tls.look(nothing), nothing);
        assert!(Arc::ptr_eq(&first, &tls.config(Inside::Silent)));
        copy("renewed.pem", "server.pem");
        let once = tls.look(nothing);
        assert!(once.seen.is_some() && once.refused.is_none(), "it may be half written");
        let refused = tls.look(once);
        assert!(refused.refused.is_some(), "the key is that of another certificate");
        assert_eq!(tls.look(refused), refused);
        assert!(Arc::ptr_eq(&first, &tls.config(Inside::Silent)));
        std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
        let gone = tls.look(tls.look(refused));
        assert!(gone.refused.is_some() && gone != refused);
        copy("ca.pem", "ca.pem");
        copy("renewed.key", "server.key");
        let once = tls.look(gone);
        assert!(Arc::ptr_eq(&first, &tls.config(Inside::Silent)), "two looks have to agree");
        assert_eq!(tls.look(once), nothing);
        assert!(!Arc::ptr_eq(&first, &tls.config(Inside::Silent)));
    }
}
