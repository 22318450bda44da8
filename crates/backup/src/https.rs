//! HTTP and TLS as places are spoken to: `object_store` brings its own client only together with a
//! second stack of both. One request at a time on a connection, idle ones are used again.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long connecting may take, the handshake of TLS included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, once the request was sent.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Idle connections kept to one host.
const IDLE_MAX: usize = 4;

type Sender = SendRequest<HttpRequestBody>;

/// Makes clients that trust the authorities of the system, or of `SSL_CERT_FILE`.
#[derive(Debug)]
pub(crate) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client { tls: tls().map_err(generic)?, idle: Mutex::default() };
        Ok(HttpClient::new(client))
    }
}

fn generic(source: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "TLS", source: Box::new(source) }
}

fn tls() -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        // A store that is spoken to in the open needs none; one with TLS says what is missing.
        tracing::warn!("the system has no authorities for certificates");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A client with its idle connections, by scheme and host.
struct Client {
    tls: TlsConnector,
    idle: Mutex<HashMap<String, Vec<Sender>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpService for Client {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = std::mem::take(request.uri_mut());
        let (place, host) = place_of(&uri)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|error| failed(HttpErrorKind::Unknown, error))?;
        if !request.headers().contains_key(HOST) {
            let host = HeaderValue::try_from(host.as_str());
            let host = host.map_err(|error| failed(HttpErrorKind::Unknown, error))?;
            request.headers_mut().insert(HOST, host);
        }
        let mut sender = match self.take(&place) {
            Some(sender) => sender,
            None => self.connect(&uri).await.map_err(|e| failed(HttpErrorKind::Connect, e))?,
        };
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, sender.send_request(request)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| {
                let kind = if error.is_closed() || error.is_canceled() {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Interrupted
                };
                failed(kind, error)
            })?,
            Err(error) => return Err(failed(HttpErrorKind::Timeout, error)),
        };
        self.put_back(place, sender);
        Ok(answer_of(answer))
    }
}

fn answer_of(answer: Response<Incoming>) -> HttpResponse {
    answer.map(|body| {
        HttpResponseBody::new(body.map_err(|error| failed(HttpErrorKind::Interrupted, error)))
    })
}

fn failed(kind: HttpErrorKind, error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(kind, error)
}

/// Scheme and authority, and what the header `Host` says.
fn place_of(uri: &Uri) -> Result<(String, String), HttpError> {
    let odd = || failed(HttpErrorKind::Unknown, io::Error::other(format!("no address: {uri}")));
    let authority = uri.authority().ok_or_else(odd)?;
    let scheme = uri.scheme_str().filter(|it| ["http", "https"].contains(it)).ok_or_else(odd)?;
    let host = match (scheme, uri.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => authority.host().to_owned(),
        (_, Some(port)) => format!("{}:{port}", authority.host()),
    };
    Ok((format!("{scheme}://{authority}"), host))
}

impl Client {
    /// An idle connection. One whose last answer was not read to its end is not used again.
    fn take(&self, place: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(place)?;
        senders.retain(|sender| !sender.is_closed());
        let ready = senders.iter().position(SendRequest::is_ready)?;
        Some(senders.swap_remove(ready))
    }

    fn put_back(&self, place: String, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(place).or_default();
        senders.retain(|sender| !sender.is_closed());
        if senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }

    async fn connect(&self, uri: &Uri) -> io::Result<Sender> {
        let connecting = self.connect_now(uri);
        let done = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
        done.unwrap_or_else(|_| {
            let why = format!("no connection within {} s", CONNECT_TIME_MAX.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }

    async fn connect_now(&self, uri: &Uri) -> io::Result<Sender> {
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await?;
        stream.set_nodelay(true)?;
        if !is_tls {
            return begin(stream).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        begin(self.tls.connect(name, stream).await?).await
    }
}

async fn begin(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<Sender> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a place for copies has ended");
        }
    });
    Ok(sender)
}
