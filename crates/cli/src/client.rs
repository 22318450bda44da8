//! Requests to a server as commands make them: paths with the namespace, JSON both ways, and
//! every refusal as an error for the person who meets it. It repeats nothing by itself.

use std::fmt::Write;
use std::io;
use std::path::Path;

use longshore_server::api::{JobFault, Problem};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::failure::{Failure, Kind};
use crate::http::{Connection, Reply, Target};
use crate::output::{self, Format, Table, note};
use crate::tls::Tls;

/// Where `longshore dev` and `longshore serve` listen unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7077";
const DEFAULT_PORT: &str = "7077";
/// With TLS the port of the web: what is reached from elsewhere stands behind it.
const HTTPS_PORT: &str = "443";

/// A server and a namespace in it.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    namespace: Option<String>,
    /// The value of `Authorization`.
    authorization: Option<String>,
    /// A connection that no request uses, kept alive.
    idle: Mutex<Option<Connection>>,
}

/// What went wrong with a request.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No answer: not connected, or the connection broke. The request may have had its effect.
    Away(io::Error),
    /// An answer that says no.
    Refused(Refusal),
}

/// An answer that says no.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The permanent code, empty where the answer is not from Longshore.
    pub(crate) code: String,
    pub(crate) message: String,
    /// The field at fault, empty where it is none.
    pub(crate) field: String,
    pub(crate) retry_after_s: Option<u64>,
    /// What is wrong with each job of a bulk.
    pub(crate) faults: Vec<JobFault>,
}

impl Client {
    /// `server` is `http://host:port`, `host:port` or `https://host:port`.
    pub(crate) fn new(server: &str, namespace: Option<&str>) -> Result<Self, Failure> {
        Self::trusting(server, namespace, None)
    }

    /// The same; with TLS the authorities in the file are trusted, or else those of the system.
    pub(crate) fn trusting(
        server: &str,
        namespace: Option<&str>,
        ca: Option<&Path>,
    ) -> Result<Self, Failure> {
        let namespace = namespace.filter(|name| *name != "default").map(str::to_owned);
        let target = target_of(server, ca)?;
        Ok(Self { target, namespace, authorization: None, idle: Mutex::new(None) })
    }

    /// A client of a server, in the default namespace.
    pub(crate) fn of(target: Target) -> Self {
        Self { target, namespace: None, authorization: None, idle: Mutex::new(None) }
    }

    /// The same in another namespace.
    #[must_use]
    pub(crate) fn within(self, namespace: &str) -> Self {
        let namespace = Some(namespace).filter(|name| *name != "default").map(str::to_owned);
        Self { namespace, ..self }
    }

    /// The same with a token, where there is one.
    #[must_use]
    pub(crate) fn with_token(self, token: Option<&str>) -> Self {
        self.authorized(token.map(|token| format!("Bearer {token}")))
    }

    /// The same with this value of `Authorization`, where there is one.
    #[must_use]
    pub(crate) fn authorized(self, authorization: Option<String>) -> Self {
        Self { authorization, ..self }
    }

    /// The value of `Authorization`.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Another client of the same server, with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        let (target, namespace) = (self.target.clone(), self.namespace.clone());
        let authorization = self.authorization.clone();
        Self { target, namespace, authorization, idle: Mutex::new(None) }
    }

    /// The address, as a URL.
    pub(crate) fn url(&self) -> String {
        self.target.url()
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// The path of something in the namespace; `rest` begins with a slash.
    pub(crate) fn path(&self, rest: &str) -> String {
        match &self.namespace {
            None => format!("/v1{rest}"),
            Some(namespace) => format!("/v1/namespaces/{}{rest}", segment(namespace)),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.ask("GET", path, None).await.map(|reply| reply.body).map_err(|it| self.failure(it))
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.ask("DELETE", path, None).await.map(|reply| reply.body).map_err(|it| self.failure(it))
    }

    /// Puts without anything to say.
    pub(crate) async fn put_nothing(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.ask("PUT", path, None).await.map(|reply| reply.body).map_err(|it| self.failure(it))
    }

    pub(crate) async fn put<B: Serialize>(&self, path: &str, body: &B) -> Result<Vec<u8>, Failure> {
        self.send("PUT", path, body).await
    }

    pub(crate) async fn post<B: Serialize>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Vec<u8>, Failure> {
        self.send("POST", path, body).await
    }

    /// Posts without anything to say.
    pub(crate) async fn post_nothing(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.ask("POST", path, None).await.map(|reply| reply.body).map_err(|it| self.failure(it))
    }

    async fn send<B: Serialize>(
        &self,
        method: &str,
        path: &str,
        body: &B,
    ) -> Result<Vec<u8>, Failure> {
        let body = to_json(body);
        let reply = self.ask(method, path, Some(&body)).await;
        reply.map(|reply| reply.body).map_err(|fault| self.failure(fault))
    }

    /// Sends a request. Answers from 400 on are faults, others are replies.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Reply, Fault> {
        let mut idle = self.idle.lock().await;
        if let Some(mut connection) = idle.take().filter(Connection::is_usable) {
            match connection.request(method, path, &[], body).await {
                Ok(reply) => {
                    *idle = Some(connection);
                    return answer_of(reply);
                }
                // The server closed it meanwhile, or is another one; reading again is harmless.
                Err(_) if method == "GET" => {}
                Err(error) => return Err(Fault::Away(error)),
            }
        }
        let connection = Connection::open(&self.target).await.map_err(Fault::Away)?;
        let mut connection = connection.authorized(self.authorization());
        let reply = connection.request(method, path, &[], body).await.map_err(Fault::Away)?;
        *idle = Some(connection);
        answer_of(reply)
    }

    /// Reads a list, page after page; `each` gives where the next one begins.
    pub(crate) async fn pages(
        &self,
        path: &str,
        parameters: &[(&str, Option<&str>)],
        mut each: impl FnMut(&[u8]) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<()> {
        let mut cursor = None::<String>;
        loop {
            let further = [("cursor", cursor.as_deref())];
            let path = format!("{path}{}", query(&[parameters, &further].concat()));
            cursor = each(&self.get(&path).await?)?;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Prints a list of the namespace: each page as the server's JSON, or all of them as one table.
    /// `rows` puts a page there; where nothing came, `none` is said, or only the headings.
    pub(crate) async fn print_list(
        &self,
        format: Format,
        (path, parameters): (&str, &[(&str, Option<&str>)]),
        (mut table, none): (Table, &str),
        mut rows: impl FnMut(&[u8], &mut Table) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<()> {
        let print = |body: &[u8]| {
            if format == Format::Json {
                output::json_text(body)?;
            }
            rows(body, &mut table)
        };
        self.pages(&self.path(path), parameters, print).await?;
        if format == Format::Table && table.is_empty() && !none.is_empty() {
            note(none);
        } else if format == Format::Table {
            table.print()?;
        }
        Ok(())
    }

    /// A fault as it is shown.
    pub(crate) fn failure(&self, fault: Fault) -> Failure {
        match fault {
            Fault::Away(error) => {
                let message = format!("no answer from the server at {}: {error}", self.url());
                let is_untrusted = self.target.tls.is_some()
                    && error.kind() == io::ErrorKind::InvalidData
                    && error.to_string().contains("certificate");
                Failure::new(Kind::Unavailable, message).hint(if is_untrusted {
                    "name a file with the authority of the server's certificate with --ca or \
                     LONGSHORE_CA"
                } else {
                    "start one with `longshore dev`, or name another with --server or \
                     LONGSHORE_SERVER"
                })
            }
            Fault::Refused(refusal) => refusal.failure(),
        }
    }
}

impl Refusal {
    fn kind(&self) -> Kind {
        match self.status {
            404 | 410 => Kind::NotFound,
            429 | 502..=504 => Kind::Unavailable,
            400..=499 => Kind::Refused,
            _ => Kind::Other,
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        self.kind() == Kind::Unavailable
    }

    pub(crate) fn failure(&self) -> Failure {
        let code = if self.code.is_empty() { String::new() } else { format!(" ({})", self.code) };
        let (first, rest) =
            self.message.split_at(self.message.find('\n').unwrap_or(self.message.len()));
        let failure = Failure::new(self.kind(), format!("{first}{code}{rest}"));
        if self.status == 401 {
            let hint = "give a token with --token-file, LONGSHORE_TOKEN_FILE or LONGSHORE_TOKEN";
            return failure.hint(hint);
        }
        match self.retry_after_s {
            Some(seconds) => failure.hint(format!("try again in {seconds} s")),
            None => failure,
        }
    }
}

fn answer_of(reply: Reply) -> Result<Reply, Fault> {
    if reply.status < 400 { Ok(reply) } else { Err(Fault::Refused(refusal_of(&reply))) }
}

fn refusal_of(reply: &Reply) -> Refusal {
    let problem = serde_json::from_slice::<Problem>(&reply.body);
    let (code, message) = match &problem {
        Ok(problem) => words_of(problem),
        Err(_) => (String::new(), format!("the server answered {}", reply.status)),
    };
    let (field, faults) = problem.map(|it| (it.field, it.faults)).unwrap_or_default();
    let (status, retry_after_s) = (reply.status, reply.retry_after_s);
    Refusal { status, code, message, field: field.unwrap_or_default(), retry_after_s, faults }
}

/// The code and the message of a problem.
fn words_of(problem: &Problem) -> (String, String) {
    let detail = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let mut message = detail.clone();
    for fault in problem.faults.iter().take(3) {
        let _ = write!(message, "\n  job {}: {} ({})", fault.index, fault.detail, fault.code);
    }
    if problem.faults.len() > 3 {
        let _ = write!(message, "\n  ... and {} more", problem.faults.len() - 3);
    }
    (problem.code.clone(), message)
}

/// The JSON of a value that is made here, which always has one.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("bodies have string keys and no failing serializers")
}

/// What an answer says, for a table; none where it was printed as the server's JSON.
pub(crate) fn told<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    format: Format,
) -> anyhow::Result<Option<T>> {
    match format {
        Format::Json => output::json_text(body).map(|()| None).map_err(Into::into),
        Format::Table => Ok(Some(read(body)?)),
    }
}

/// Reads an answer of the server.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("cannot read the answer of the server: {error}");
        Failure::new(Kind::Other, message)
            .hint("is it a Longshore server of this version? `longshore --version`")
    })
}

fn target_of(server: &str, ca: Option<&Path>) -> Result<Target, Failure> {
    let Some(rest) = server.strip_prefix("https://") else {
        let host = host_of(server, DEFAULT_PORT)?;
        // Whoever names authorities means TLS, and a token would go out before anybody says no.
        if ca.is_some() && !is_loopback(&host) {
            let hint = format!("write https://{host}, or leave --ca and LONGSHORE_CA out");
            let message = format!("server \"{server}\" is without TLS, and an authority is named");
            return Err(Failure::usage(message).hint(hint));
        }
        return Ok(Target { host, tls: None });
    };
    let host = host_of(rest, HTTPS_PORT)?;
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    let tls = Tls::new(name, ca)?;
    Ok(Target { host, tls: Some(tls) })
}

/// Whether a host with its port is this machine: nobody else hears what is sent there.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let address = bare.parse::<std::net::IpAddr>();
    bare.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn host_of(server: &str, default_port: &str) -> Result<String, Failure> {
    let unusable = |why: &str| {
        Failure::usage(format!("server \"{server}\" {why}"))
            .hint(format!("write it like http://{DEFAULT_LISTEN}"))
    };
    let host = server.strip_prefix("http://").unwrap_or(server);
    let host = host.strip_suffix('/').unwrap_or(host);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@".contains(c);
    if host.is_empty() || host.contains(odd) {
        return Err(unusable("is no address"));
    }
    let port = host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
    match port {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(host.to_owned()),
        Some((_, port)) => Err(unusable(&format!("has the port \"{port}\""))),
        None => Ok(format!("{host}:{default_port}")),
    }
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    // As whole segments these mean other folders.
    if text == "." || text == ".." { text.replace('.', "%2E") } else { text }
}

/// A query of the parameters that have a value.
pub(crate) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let known = parameters
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", segment(value))));
    let known: Vec<_> = known.collect();
    if known.is_empty() { String::new() } else { format!("?{}", known.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (server, host) in [
            ("http://127.0.0.1:7077", "127.0.0.1:7077"),
            ("http://127.0.0.1:7077/", "127.0.0.1:7077"),
            ("localhost:80", "localhost:80"),
            ("localhost", "localhost:7077"),
            ("http://[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:7077"),
        ] {
            assert_eq!(target_of(server, None).unwrap().host, host);
        }
        let odd = ["", "https://", "https://a b", "http://", "a:port", "a:99999", "http://a/b"];
        for server in odd {
            assert_eq!(target_of(server, None).unwrap_err().kind, Kind::Usage, "{server}");
        }
    }

    #[test]
    fn servers_with_tls() {
        let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/certificates/ca.pem");
        for (server, url) in [
            ("https://jobs.example", "https://jobs.example:443"),
            ("https://[::1]:7443/", "https://[::1]:7443"),
        ] {
            assert_eq!(Client::trusting(server, None, Some(&ca)).unwrap().url(), url);
        }
        for plain in ["jobs.example", "http://jobs.example:7443", "10.0.0.1", "[2001:db8::1]:7"] {
            let refused = Client::trusting(plain, None, Some(&ca)).unwrap_err();
            assert_eq!(refused.kind, Kind::Usage, "{plain}");
            assert!(refused.message.contains("without TLS"), "{}", refused.message);
        }
        for here in ["localhost", "http://127.0.0.1:7077", "[::1]:7077"] {
            assert!(Client::trusting(here, None, Some(&ca)).is_ok(), "{here}");
        }
        let absent = Client::trusting("https://a", None, Some(Path::new("absent.pem")));
        assert!(absent.unwrap_err().message.contains("absent.pem"));
    }

    #[test]
    fn names_in_paths() {
        assert_eq!(segment("a-b_c.d"), "a-b_c.d");
        assert_eq!(segment("a/b c%"), "a%2Fb%20c%25");
        assert_eq!(segment(".."), "%2E%2E");
        let client = Client::new("localhost", Some("my shop")).unwrap();
        assert_eq!(client.path("/queues"), "/v1/namespaces/my%20shop/queues");
        assert_eq!(Client::new("localhost", None).unwrap().path("/jobs"), "/v1/jobs");
        assert_eq!(query(&[("a", Some("x y")), ("b", None), ("c", Some("1"))]), "?a=x%20y&c=1");
        assert_eq!(query(&[("b", None)]), "");
    }
}
