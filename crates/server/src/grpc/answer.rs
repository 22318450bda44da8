//! From one request over HTTP/2 to the service that it names. What is no gRPC is told so.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, Response, Uri};
use longshore_engine::driver::Class;
use longshore_proto::FILE_DESCRIPTOR_SET;
use longshore_proto::v1::accounts_server::AccountsServer;
use longshore_proto::v1::admin_server::AdminServer;
use longshore_proto::v1::blockers_server::BlockersServer;
use longshore_proto::v1::jobs_server::JobsServer;
use longshore_proto::v1::levels_server::LevelsServer;
use longshore_proto::v1::messages_server::MessagesServer;
use longshore_proto::v1::schedules_server::SchedulesServer;
use longshore_proto::v1::streams_server::StreamsServer;
use longshore_proto::v1::workers_server::WorkersServer;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code as Grpc, Status};

use super::accounts::AccountsFace;
use super::admin::AdminFace;
use super::arriving::{Arriving, InTime};
use super::control::ControlFace;
use super::jobs::JobsFace;
use super::levels::LevelsFace;
use super::messages::MessagesFace;
use super::refusal::{coded, status_of};
use super::schedules::SchedulesFace;
use super::streams::StreamsFace;
use super::workers::WorkersFace;
use super::{Face, needs};
use crate::http::admit;
use crate::http::code::Code;
use crate::http::guard;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::quoted;

/// Where HTTP says that there is nothing.
const SERVICES: &str = "longshore.v1.Accounts, longshore.v1.Admin, longshore.v1.Blockers, \
    longshore.v1.Jobs, \
    longshore.v1.Levels, longshore.v1.Messages, longshore.v1.Schedules, longshore.v1.Streams, \
    longshore.v1.Workers and gRPC server reflection";

/// Answers one request.
#[expect(clippy::too_many_lines, reason = "it is a table of the services")]
pub(super) async fn answer(face: Arc<Face>, request: Request<Incoming>) -> Response<Body> {
    if !is_grpc(&request) {
        return no_grpc(&request);
    }
    let face = match let_in(face, request.uri(), request.headers()).await {
        Ok(face) => face,
        Err(refusal) => return status_of(&refusal).into_http(),
    };
    let (service, method) = named(request.uri());
    let bytes_max = face.app.config.body_bytes_max as usize;
    let class = if method.starts_with("Enqueue") || method == "Transact" || method == "AppendEvents"
    {
        Class::Publish
    } else {
        Class::Settle
    };
    let in_time = match method {
        "Work" | "EnqueueStream" => InTime::EachMessage,
        _ => InTime::TheOnlyMessage,
    };
    let (held, time_max) = (face.app.holds_nothing_yet(class), face.app.config.body_timeout);
    let arriving = |request: Request<Incoming>| {
        request.map(|inner| Arriving::new(inner, held, in_time, time_max))
    };
    match service {
        "longshore.v1.Jobs" => {
            let request = arriving(request);
            let mut jobs = JobsServer::new(JobsFace(face)).max_decoding_message_size(bytes_max);
            told(jobs.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Schedules" => {
            let request = arriving(request);
            let face = SchedulesFace(face);
            let mut schedules = SchedulesServer::new(face).max_decoding_message_size(bytes_max);
            told(schedules.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Accounts" => {
            let request = arriving(request);
            let accounts = AccountsServer::new(AccountsFace(face));
            let mut accounts = accounts.max_decoding_message_size(bytes_max);
            told(accounts.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Admin" => {
            let request = arriving(request);
            let mut admin = AdminServer::new(AdminFace(face)).max_decoding_message_size(bytes_max);
            told(admin.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Blockers" => {
            let request = arriving(request);
            let control = BlockersServer::new(ControlFace(face));
            let mut control = control.max_decoding_message_size(bytes_max);
            told(control.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Levels" => {
            let request = arriving(request);
            let levels = LevelsServer::new(LevelsFace(face));
            let mut levels = levels.max_decoding_message_size(bytes_max);
            told(levels.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Messages" => {
            let request = arriving(request);
            let messages = MessagesServer::new(MessagesFace(face));
            let mut messages = messages.max_decoding_message_size(bytes_max);
            told(messages.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Streams" => {
            let request = arriving(request);
            let streams = StreamsServer::new(StreamsFace(face));
            let mut streams = streams.max_decoding_message_size(bytes_max);
            told(streams.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "longshore.v1.Workers" => {
            let request = arriving(request);
            let workers = WorkersServer::new(WorkersFace(face));
            let mut workers = workers.max_decoding_message_size(bytes_max);
            told(workers.call(request).await.unwrap_or_else(|never| match never {}))
        }
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
            Box::pin(reflect(service.ends_with("v1.ServerReflection"), request)).await
        }
        other => no_service(other),
    }
}

/// There is no service of that name.
fn no_service(named: &str) -> Response<Body> {
    let named = quoted(named);
    let detail = format!("there is no service {named} here; there are {SERVICES}");
    coded(Status::unimplemented(detail)).into_http()
}

/// The service and the method that a path names.
fn named(uri: &Uri) -> (&str, &str) {
    let path = uri.path();
    path.trim_start_matches('/').split_once('/').unwrap_or((path, ""))
}

/// Lets somebody in, in a server that asks who it is.
async fn let_in(face: Arc<Face>, uri: &Uri, headers: &HeaderMap) -> Result<Arc<Face>, Refusal> {
    let (anywhere, is_tls) = (face.app.access.is_required(), face.app.peer.is_tls);
    guard::check_authority(uri, headers, guard::Reached { anywhere, is_tls })?;
    let Some(app) = admit::by_headers(&face.app, headers).await? else { return Ok(face) };
    let (service, method) = named(uri);
    needs::check(&app, service, method)?;
    let (earlier, stopping) = (face.earlier, face.stopping.clone());
    let account = face.account.clone();
    Ok(Arc::new(Face { app: Arc::new(app), earlier, stopping, account }))
}

/// Gives an answer that the library made its code.
fn told(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Grpc::Ok => coded(status).into_http(),
        _ => response,
    }
}

/// Asked seldom, so that it is put together each time.
async fn reflect(is_v1: bool, request: Request<Incoming>) -> Response<Body> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
    let broken = |error: tonic_reflection::server::Error| {
        tracing::error!(%error, "the descriptors cannot be used");
        tonic::Status::internal("the descriptors cannot be used").into_http()
    };
    if is_v1 {
        match builder.build_v1() {
            Ok(mut service) => service.call(request).await.unwrap_or_else(|never| match never {}),
            Err(error) => broken(error),
        }
    } else {
        match builder.build_v1alpha() {
            Ok(mut service) => service.call(request).await.unwrap_or_else(|never| match never {}),
            Err(error) => broken(error),
        }
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(hyper::header::HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The answer to a request of plain HTTP.
fn no_grpc<B>(request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    let refusal = if path.starts_with("/longshore.v1.") || path.starts_with("/grpc.") {
        let kind = request.headers().get(CONTENT_TYPE);
        let shown = kind.map_or_else(
            || "missing".to_owned(),
            |kind| quoted(&String::from_utf8_lossy(kind.as_bytes())),
        );
        let allowed = "application/grpc";
        let detail = format!("Content-Type is {shown}; it has to be {allowed}");
        let refusal = Refusal::new(Code::MediaTypeRefused, detail);
        refusal.about("Content-Type", shown, allowed.into())
    } else {
        let detail = format!(
            "over HTTP/2 there are only {SERVICES}; ask for {} over HTTP/1.1",
            quoted(path)
        );
        Refusal::new(Code::RouteUnknown, detail)
    };
    Reply::from(refusal).into_response().map(Body::new)
}
