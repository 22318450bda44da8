//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a write that comes again with its
//! key is answered as the first was and does nothing. The engine keeps the answer in the entry of
//! what it tells of, so it is written down when the command is decided: by the handler itself, run
//! once more with the engine's answer at hand.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Either};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use longshore_engine::{
    ANSWER_BYTES_MAX, Answer, Command, CommandKey, KeyedCommand, KindCommand, MessageCommand,
    Render,
};
use sha2::{Digest, Sha256};

use super::app::{Admitted, App, Call};
use super::body::Held;
use super::code::Code;
use super::handle;
use super::json::THE_BODY;
use super::prefer::Preferences;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::Reply;
use super::route::{Found, Op, Route};
use super::text::quoted;

const HEADER: &str = "idempotency-key";
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 255;
/// Bytes of a body: it is read once more while the shard waits.
const BODY_BYTES_MAX: usize = 256 << 10;
/// What of an answer is kept beside its status and body.
const HEADERS: [HeaderName; 3] = [CONTENT_TYPE, LOCATION, CACHE_CONTROL];

/// Keys whose requests are under way in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Mutex<HashSet<[u8; 32]>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Busy(UnderWay, [u8; 32]);

impl UnderWay {
    fn begin(&self, key: [u8; 32]) -> Option<Busy> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        is_new.then(|| Busy(self.clone(), key))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What a request with a key is to its handlers.
#[derive(Debug)]
pub(crate) enum Keyed {
    /// It is asked: the first command that is carried out has the key.
    Asked {
        key: CommandKey,
        render: Render,
        is_used: AtomicBool,
        /// The answer that was kept, where it came before.
        kept: Mutex<Option<Bytes>>,
    },
    /// Its answer is written down.
    Written { key: CommandKey, answer: Mutex<Option<Answer>> },
}

impl Keyed {
    /// A number that is the same whenever the request comes.
    pub(crate) fn number(&self) -> u32 {
        let (Self::Asked { key, .. } | Self::Written { key, .. }) = self;
        let (first, _) = key.key.split_first_chunk().unwrap_or((&[0; 4], &[]));
        u32::from_be_bytes(*first)
    }
}

/// Whether an answer is only written down: then nobody is to hear of it.
pub(super) fn is_written_down(app: &App) -> bool {
    matches!(app.keyed.as_deref(), Some(Keyed::Written { .. }))
}

/// The answer to a command, where it is at hand and only to be written down.
pub(super) fn at_hand(app: &App) -> Option<Result<Answer, Refusal>> {
    let Some(Keyed::Written { answer, .. }) = app.keyed.as_deref() else { return None };
    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    Some(answer.ok_or_else(|| Refusal::new(Code::Internal, "the handler asks more than once")))
}

/// Sends a command to the node: with the request's key, where it has one.
pub(super) async fn send(app: &App, ns: &str, command: Command) -> Result<Answer, Refusal> {
    let asked = app.keyed.as_deref().filter(|_| changes(&command));
    let Some(Keyed::Asked { key, render, is_used, kept }) = asked else {
        return Ok(app.node.call(ns, command).await?);
    };
    if is_used.load(Ordering::Relaxed) {
        let said = "the handler of a request with a key changes more than one thing";
        return Err(Refusal::new(Code::Internal, said));
    }
    let (key, render) = (key.clone(), render.clone());
    let command = Command::Keyed(Box::new(KeyedCommand { key, command, render }));
    match app.node.call(ns, command).await? {
        Answer::Rejected(rejection) => Ok(Answer::Rejected(rejection)),
        Answer::Kept(answer) => {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            Err(Refusal::new(Code::Internal, "the request came before"))
        }
        answer => {
            is_used.store(true, Ordering::Relaxed);
            Ok(answer)
        }
    }
}

/// Whether a command is one of those that a key is for: others of the same request only look.
fn changes(command: &Command) -> bool {
    !matches!(
        command,
        Command::AwaitJob { .. }
            | Command::GetQueue { .. }
            | Command::ListQueues { .. }
            | Command::GetNamespace
            | Command::GetOperation { .. }
            | Command::Messages(MessageCommand::GetQueue { .. } | MessageCommand::Blocked { .. })
            | Command::Kinds(
                KindCommand::List { .. } | KindCommand::Get { .. } | KindCommand::Unserved { .. }
            )
    )
}

/// Why a route takes no key; `None` where it takes one, or changes nothing.
fn refused(op: Op) -> Option<&'static str> {
    match op {
        Op::Lease | Op::Consume => Some("a lease may wait; number the turns of a worker instead"),
        Op::PutAccount | Op::DeleteAccount | Op::CreateToken | Op::RevokeToken => {
            Some("answers about accounts may hold secrets, and are not kept")
        }
        Op::QuietWorker | Op::TerminateWorker => Some("what is said to a worker is not kept"),
        Op::BeginBackup => Some("a copy that is made twice does no harm"),
        Op::DeleteMessages => Some("a queue of messages is emptied bit by bit"),
        Op::PutStream | Op::PutTrigger | Op::PutGroup | Op::DeleteGroup => {
            Some("to say again how it is to be does nothing more")
        }
        // Where it begins is looked up in files, which the shard does not wait for.
        Op::ReplayStream => Some("a replay that is under way is refused a second time"),
        _ => None,
    }
}

/// Refuses a key where it cannot be kept what it promises.
pub(super) fn check_takes_none(app: &App, why: &str) -> Result<(), Refusal> {
    if app.keyed.is_none() { Ok(()) } else { Err(unsupported(why)) }
}

fn unsupported(why: &str) -> Refusal {
    let detail = format!("this request takes no Idempotency-Key: {why}");
    Refusal::new(Code::IdempotencyUnsupported, detail).field("Idempotency-Key")
}

/// Refuses a bulk whose answer would be too large to be kept.
pub(super) fn check_answer(app: &App, bytes: usize) -> Result<(), Refusal> {
    // Beside the body there is a status and a few headers.
    let max = ANSWER_BYTES_MAX - 1024;
    if app.keyed.is_none() || bytes <= max {
        return Ok(());
    }
    let detail = format!(
        "with an Idempotency-Key the answer may have {max} bytes, and that of so many jobs may have \
         {bytes}; send fewer at a time, or give each an id"
    );
    Err(Refusal::new(Code::BodyTooLarge, detail).field(THE_BODY))
}

/// The key of a request: a string of RFC 8941, or the same without quotes.
fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let text = first.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let sound = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let is_sound = !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(sound);
    if given.next().is_some() || !is_sound {
        let shown = quoted(&String::from_utf8_lossy(first.as_bytes()));
        let allowed = format!("one key of 1 to {KEY_BYTES_MAX} visible characters of ASCII");
        return Err(Refusal::value("Idempotency-Key", shown, allowed));
    }
    Ok(Some(key))
}

/// SHA-256 of parts, each with its length.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn cut(hash: [u8; 32]) -> [u8; 16] {
    let (first, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    *first
}

/// A request as its handler is given it once more.
struct Again {
    app: App,
    route: &'static Route,
    namespace: String,
    name: String,
    query: Option<String>,
    body: Bytes,
}

impl Again {
    /// The answer as it is kept: empty where it cannot be.
    fn write(&self, key: &CommandKey, answer: &Answer) -> Bytes {
        let answer = Mutex::new(Some(answer.clone()));
        let keyed = Some(Arc::new(Keyed::Written { key: key.clone(), answer }));
        let app = self.app.with_key(keyed);
        let Ok(query) = Query::parse(self.route, self.query.as_deref()) else {
            return Bytes::new();
        };
        let call = Call {
            app: &app,
            namespace: &self.namespace,
            name: &self.name,
            query,
            preferences: Preferences::default(),
            last_event_id: None,
            body: self.body.clone(),
            place: None,
        };
        // It waits for nothing: what it asks is at hand.
        match handle::dispatch(self.route.op, call, None).now_or_never() {
            Some(Ok(reply)) => written(reply),
            Some(Err(refusal)) if refusal.code() != Code::Internal => written(refusal.into()),
            _ => Bytes::new(),
        }
    }
}

/// Status, headers and body: lines, an empty one, and the body.
fn written(reply: Reply) -> Bytes {
    let (head, body) = reply.into_response().into_parts();
    let Either::Left(mut body) = body else { return Bytes::new() };
    let mut text = format!("{}\n", head.status.as_u16());
    for name in HEADERS {
        if let Some(value) = head.headers.get(&name).and_then(|value| value.to_str().ok()) {
            text.extend([name.as_str(), ": ", value, "\n"]);
        }
    }
    text.push('\n');
    let mut bytes = text.into_bytes();
    if let Some(Some(Ok(frame))) = body.frame().now_or_never() {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    bytes.into()
}

/// The answer that was kept. Of one that was too large there is nothing but that it was.
fn read(kept: &Bytes) -> Reply {
    let end = kept.windows(2).position(|two| two == b"\n\n");
    let head = end.and_then(|end| std::str::from_utf8(kept.get(..end)?).ok());
    let (Some(end), Some(head)) = (end, head) else {
        return Reply::empty(StatusCode::NO_CONTENT).replayed();
    };
    let mut lines = head.split('\n');
    let status = lines.next().and_then(|line| line.parse::<u16>().ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    let mut reply = Reply::of_parts(status.unwrap_or(StatusCode::OK), kept.slice(end + 2..));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let Some(name) = HEADERS.into_iter().find(|it| it.as_str() == name) {
            reply = reply.header(name, value);
        }
    }
    reply.replayed()
}

impl App {
    /// Answers a request that has come in: once for its key, where it has one.
    pub(super) async fn call_once(
        &self,
        (found, query_text): (&Found<'_>, Option<&str>),
        query: Query<'_>,
        headers: &HeaderMap,
        (body, held, admitted): (Bytes, Option<Held>, Admitted),
    ) -> Result<Reply, Refusal> {
        let key = if found.route.method == "GET" { None } else { key_of(headers)? };
        let Some(text) = key else {
            return self.call(found, query, headers, (body, held, admitted)).await;
        };
        if let Some(why) = refused(found.route.op) {
            return Err(unsupported(why));
        }
        if body.len() > BODY_BYTES_MAX {
            let value = format!("{} bytes", body.len());
            let allowed = format!("at most {BODY_BYTES_MAX} bytes with an Idempotency-Key");
            let detail = format!("the body has {value}; allowed: {allowed}");
            return Err(Refusal::new(Code::BodyTooLarge, detail).about(THE_BODY, value, allowed));
        }
        let (who, route) = (self.who.name().as_bytes(), found.route);
        let (namespace, name) = (found.namespace.as_bytes(), found.name.as_bytes());
        let at = [route.method.as_bytes(), route.path.as_bytes(), name];
        let scope = [&[who, namespace][..], &at[..], &[text.as_bytes()]].concat();
        let key = CommandKey {
            owner: cut(hash(&[who, namespace])),
            key: hash(&scope),
            content: cut(hash(&[query_text.unwrap_or_default().as_bytes(), &body])),
        };
        let Some(_busy) = self.under_way.begin(key.key) else {
            let detail = format!("the request with the key {} is under way", quoted(text));
            return Err(Refusal::new(Code::IdempotencyInProgress, detail).retry_after_s(1));
        };
        let app = self.keyed(key, (found, query_text), &body);
        let answer = app.call(found, query, headers, (body, held, admitted)).await;
        let kept = match app.keyed.as_deref() {
            Some(Keyed::Asked { kept, .. }) => {
                kept.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
            _ => None,
        };
        match kept {
            Some(kept) => Ok(read(&kept)),
            None => answer,
        }
    }

    /// The same for a request with a key.
    fn keyed(
        &self,
        key: CommandKey,
        (found, query): (&Found<'_>, Option<&str>),
        body: &Bytes,
    ) -> Self {
        let again = Again {
            app: self.clone(),
            route: found.route,
            namespace: Cow::into_owned(found.namespace.clone()),
            name: Cow::into_owned(found.name.clone()),
            query: query.map(str::to_owned),
            body: body.clone(),
        };
        let of = key.clone();
        let render = Render::new(move |answer| again.write(&of, answer));
        let (is_used, kept) = (AtomicBool::new(false), Mutex::new(None));
        let keyed = Some(Arc::new(Keyed::Asked { key, render, is_used, kept }));
        self.with_key(keyed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_string_with_or_without_quotes() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, value.parse().unwrap());
            }
            key_of(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(of(&[]).unwrap(), None);
        for text in ["8e03978e", "\"8e03978e\"", " \"8e03978e\" "] {
            assert_eq!(of(&[text]).unwrap().as_deref(), Some("8e03978e"), "{text}");
        }
        for odd in ["", "\"\"", "a b", "\"a", "a\\b"] {
            assert!(of(&[odd]).is_err(), "{odd:?}");
        }
        assert!(of(&["a", "a"]).is_err());
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let reply = Reply::json(StatusCode::ACCEPTED, "{}\n\n").location("/v1/status/7");
        let (head, mut body) = read(&written(reply)).into_response().into_parts();
        assert_eq!(head.status, StatusCode::ACCEPTED);
        assert_eq!(head.headers[LOCATION], "/v1/status/7");
        assert_eq!(head.headers["idempotent-replayed"], "true");
        let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "{}\n\n");
        for odd in ["", "200", "x\n\n", "\u{0}"] {
            let _ = read(&Bytes::from(odd)).into_response();
        }
    }
}
