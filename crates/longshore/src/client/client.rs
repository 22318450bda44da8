//! The client itself: a connection that is shared and made again by itself.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use longshore_proto::v1::admin_client::AdminClient;
use longshore_proto::v1::blockers_client::BlockersClient;
use longshore_proto::v1::jobs_client::JobsClient;
use longshore_proto::v1::levels_client::LevelsClient;
use longshore_proto::v1::schedules_client::SchedulesClient;
use longshore_proto::v1::workers_client::WorkersClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use super::bearer::{Bearer, Way};
use super::call::Bounds;
use super::enqueue::{GrpcEnqueue, RecordEnqueue};
use super::held::{HeldCalls, Place};
use super::{ClientError, EnqueueCall, EnqueueService, Enqueued};
use crate::testing::Recorder;

/// The way to a server. Clones share one connection, which is made with the first call and again
/// whenever it has broken; a call that meets that is repeated until its deadline. Waits and watches
/// have connections of their own, one for 200 of them, so that they hold up nothing else.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// None where a recorder stands for the server.
    pub(super) channel: Option<Channel>,
    /// What calls bring.
    pub(super) bearer: Bearer,
    /// For calls that the server holds.
    held: Option<HeldCalls>,
    pub(super) namespace: String,
    pub(super) bounds: Bounds,
    pub(super) enqueue: EnqueueService,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.inner.bounds.url)
            .field("namespace", &self.inner.namespace)
            .finish_non_exhaustive()
    }
}

type Wrap = Box<dyn FnOnce(EnqueueService) -> EnqueueService + Send>;

/// Puts a [`Client`] together.
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    url: String,
    namespace: String,
    token: Option<String>,
    attempt: Duration,
    deadline: Duration,
    /// Authorities in PEM, or why they cannot be had.
    ca: Option<Result<Vec<u8>, String>>,
    layers: Vec<Wrap>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("url", &self.url).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The token of an account, where the server asks who comes in. Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With an `https` URL: the authorities that the server's certificate may be from, in PEM, and
    /// no others. Default: those that the system trusts. With an `http` URL of another machine the
    /// client is not built: it would send in plain text what was meant to be encrypted.
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Ok(pem.into()));
        self
    }

    /// How long one attempt of a call may take. Default: 10 s.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt = timeout;
        self
    }

    /// How long a call may take with all its attempts. Default: 30 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Wraps a tower layer around each enqueue. The first one that is added is the outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<EnqueueService> + Send + 'static,
        L::Service: Service<EnqueueCall, Response = Enqueued, Error = ClientError>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<EnqueueCall>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |inner| BoxCloneSyncService::new(layer.layer(inner))));
        self
    }

    /// Builds it. Nothing is connected yet. Needs a tokio runtime around it.
    pub fn build(self) -> Result<Client, ClientError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ClientError::NoRuntime);
        }
        let address = |reason: String| ClientError::Address { url: self.url.clone(), reason };
        let endpoint =
            Endpoint::from_shared(self.url.clone()).map_err(|error| address(error.to_string()))?;
        let endpoint = match endpoint.uri().scheme_str() {
            // Whoever names authorities means TLS, and a token would go out before anybody says no.
            Some("http") if self.ca.is_some() && !is_loopback(endpoint.uri().host()) => {
                let reason = "it is without TLS, and an authority is named: write https://";
                return Err(address(reason.to_owned()));
            }
            Some("http") => endpoint,
            Some("https") => {
                let tls = ClientTlsConfig::new();
                let tls = match self.ca {
                    None => tls.with_native_roots(),
                    Some(ca) => tls.ca_certificate(authority(ca).map_err(address)?),
                };
                endpoint.tls_config(tls).map_err(|error| address(error.to_string()))?
            }
            _ => return Err(address("its scheme is neither http nor https".to_owned())),
        };
        let attempt = self.attempt.min(self.deadline);
        let endpoint = endpoint
            .connect_timeout(attempt.min(Duration::from_secs(5)))
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(15))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        let bearer = Bearer::of(self.token.as_deref())?;
        let channel = endpoint.connect_lazy();
        let bounds = Bounds { url: self.url.clone(), attempt, deadline: self.deadline };
        let base =
            EnqueueService::new(GrpcEnqueue::new(bearer.over(channel.clone()), bounds.clone()));
        let ways = Some((channel, HeldCalls::new(endpoint)));
        let ways = (ways, bearer);
        Ok(Client::assemble(ways, self.namespace, bounds, base, self.layers))
    }

    /// Builds one without a server: a [`Recorder`] keeps what is enqueued.
    pub fn build_recording(self, recorder: &Recorder) -> Client {
        let bounds = Bounds { url: self.url, attempt: self.attempt, deadline: self.deadline };
        let base = EnqueueService::new(RecordEnqueue(recorder.clone()));
        Client::assemble((None, Bearer::default()), self.namespace, bounds, base, self.layers)
    }
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:7077`, or with TLS
    /// `https://jobs.example:7443`. Nothing is connected yet.
    pub fn new(url: impl Into<String>) -> Result<Self, ClientError> {
        Self::builder(url).build()
    }

    /// A client of what the surroundings name: the server `LONGSHORE_SERVER`, or else
    /// `http://127.0.0.1:7077`, and the namespace `LONGSHORE_NAMESPACE`, or else `default`, with
    /// the token `LONGSHORE_TOKEN`, or else that of the file `LONGSHORE_TOKEN_FILE`, if any. With
    /// an `https` URL the authorities in the file `LONGSHORE_CA` are trusted, or else those of the
    /// system. The command line reads the same; `longshore work --exec` hands the server and the
    /// namespace to what it runs, which inherits the variables with a token.
    pub fn from_env() -> Result<Self, ClientError> {
        Self::from_variables(std::env::var_os)
    }

    fn from_variables(
        variables: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, ClientError> {
        let text = |variable: &'static str, default: &str| match variables(variable) {
            // The shell's way to say that it is not set.
            None => Ok(default.to_owned()),
            Some(value) if value.is_empty() => Ok(default.to_owned()),
            Some(value) => value.into_string().map_err(|_| ClientError::Variable { variable }),
        };
        let url = text("LONGSHORE_SERVER", "http://127.0.0.1:7077")?;
        let mut builder = Self::builder(url).namespace(text("LONGSHORE_NAMESPACE", "default")?);
        builder.ca = variables("LONGSHORE_CA").filter(|path| !path.is_empty()).map(|path| {
            std::fs::read(&path)
                .map_err(|error| format!("LONGSHORE_CA: {}: {error}", path.display()))
        });
        let given = text("LONGSHORE_TOKEN", "")?;
        if !given.is_empty() {
            return builder.token(given).build();
        }
        match variables("LONGSHORE_TOKEN_FILE").filter(|path| !path.is_empty()) {
            None => builder.build(),
            Some(path) => {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| ClientError::TokenFile {
                    path: path.into(),
                    reason: error.to_string(),
                })?;
                builder.token(text.trim()).build()
            }
        }
    }

    /// The same, with more to say.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        let url: String = url.into();
        // What people write without it is clear enough.
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        ClientBuilder {
            url,
            namespace: "default".to_owned(),
            token: None,
            attempt: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            ca: None,
            layers: Vec::new(),
        }
    }

    fn assemble(
        (ways, bearer): (Option<(Channel, HeldCalls)>, Bearer),
        namespace: String,
        bounds: Bounds,
        base: EnqueueService,
        layers: Vec<Wrap>,
    ) -> Self {
        let enqueue = layers.into_iter().rev().fold(base, |inner, wrap| wrap(inner));
        let (channel, held) = ways.unzip();
        Self { inner: Arc::new(Inner { channel, bearer, held, namespace, bounds, enqueue }) }
    }

    /// The namespace that it works in.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.inner.bounds.url
    }

    /// The connection whose calls bring the client's token.
    pub(crate) fn way(&self) -> Option<Way> {
        self.channel().map(|channel| self.inner.bearer.over(channel))
    }

    /// The connection, for whatever this crate has no function for: see `longshore_proto`. Calls on
    /// it bring no token. None where a recorder stands for the server.
    pub fn channel(&self) -> Option<Channel> {
        self.inner.channel.clone()
    }

    pub(super) fn jobs(&self) -> Result<JobsClient<Way>, ClientError> {
        let client = JobsClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    /// The same for a call that the server holds, and its place, to be kept until it is over.
    pub(super) fn held_jobs(&self) -> Result<(JobsClient<Way>, Place), ClientError> {
        let held = self.inner.held.as_ref().ok_or_else(|| self.has_no_server())?;
        let (channel, place) = held.place();
        let channel = self.inner.bearer.over(channel);
        Ok((JobsClient::new(channel).max_decoding_message_size(usize::MAX), place))
    }

    pub(super) fn control(&self) -> Result<BlockersClient<Way>, ClientError> {
        let client = BlockersClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    pub(super) fn admin(&self) -> Result<AdminClient<Way>, ClientError> {
        let client = AdminClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    pub(super) fn levels(&self) -> Result<LevelsClient<Way>, ClientError> {
        let client = LevelsClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    pub(super) fn schedules(&self) -> Result<SchedulesClient<Way>, ClientError> {
        let client = SchedulesClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    pub(super) fn workers(&self) -> Result<WorkersClient<Way>, ClientError> {
        let client = WorkersClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    pub(super) fn connected(&self) -> Result<Way, ClientError> {
        self.way().ok_or_else(|| self.has_no_server())
    }

    fn has_no_server(&self) -> ClientError {
        ClientError::Address {
            url: self.url().to_owned(),
            reason: "this client records what is enqueued and has no server".to_owned(),
        }
    }
}

/// Whether a host is this machine: nobody else hears what is sent there.
fn is_loopback(host: Option<&str>) -> bool {
    let host = host.unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<std::net::IpAddr>();
    bare.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Authorities that are in PEM: what is not would be taken for none, and no server be trusted.
fn authority(ca: Result<Vec<u8>, String>) -> Result<Certificate, String> {
    const BEGINS: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let pem = ca?;
    let has_any = pem.windows(BEGINS.len()).any(|part| part == BEGINS);
    if has_any { Ok(Certificate::from_pem(pem)) } else { Err("the authority is not in PEM".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_authority_means_tls() {
        let pem = "-----BEGIN CERTIFICATE-----\n";
        for plain in ["jobs.example:7443", "http://jobs.example", "http://10.0.0.1:1"] {
            let said = Client::builder(plain).ca(pem).token("t").build().unwrap_err().to_string();
            assert!(said.contains("write https://"), "{said}");
        }
        for here in ["localhost:1", "http://127.0.0.1:7077", "http://[::1]:7077"] {
            assert!(Client::builder(here).ca(pem).build().is_ok(), "{here}");
        }
        let said = Client::builder("https://a").ca("no PEM").build().unwrap_err().to_string();
        assert!(said.contains("is not in PEM"), "{said}");
    }

    #[tokio::test]
    async fn a_client_of_what_the_surroundings_name() {
        let of = |server: &str, namespace: &str| {
            let (server, namespace) = (server.to_owned(), namespace.to_owned());
            Client::from_variables(move |variable| match variable {
                "LONGSHORE_SERVER" => Some(server.clone().into()),
                "LONGSHORE_CA" => None,
                _ => Some(namespace.clone().into()),
            })
        };
        let named = of("jobs.example:7000", "shop").unwrap();
        assert_eq!((named.url(), named.namespace()), ("http://jobs.example:7000", "shop"));
        for unset in [of("", ""), Client::from_variables(|_| None)] {
            let client = unset.unwrap();
            assert_eq!((client.url(), client.namespace()), ("http://127.0.0.1:7077", "default"));
        }
        assert!(matches!(of("ftp://x", ""), Err(ClientError::Address { .. })));
        let absent = Client::from_variables(|variable| match variable {
            "LONGSHORE_SERVER" => Some("https://jobs.example".into()),
            "LONGSHORE_CA" => Some("absent.pem".into()),
            _ => None,
        });
        let said = absent.unwrap_err().to_string();
        assert!(said.contains("LONGSHORE_CA: absent.pem"), "{said}");
        let no_file = Client::from_variables(|variable| match variable {
            "LONGSHORE_TOKEN_FILE" => Some("/nowhere/token".into()),
            _ => None,
        });
        assert!(matches!(no_file, Err(ClientError::TokenFile { .. })));
        for odd in ["", "two words", "line\n", "\u{e4}"] {
            let built = Client::builder("x:1").token(odd).build();
            assert!(matches!(built, Err(ClientError::Token)), "{odd:?}");
        }
    }
}
