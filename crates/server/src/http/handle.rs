//! One handler per operation: request to command, answer to reply.

mod accounts;
mod admin;
mod backups;
mod gates;
mod groups;
mod health;
mod holds;
mod jobs;
mod kinds;
mod limits;
mod messages;
mod moving;
mod operations;
mod outcome;
mod policies;
mod schedules;
mod slas;
mod streams;
mod transactions;
mod triggers;
mod work;
mod workers;

pub(crate) use accounts::{
    account, accounts, delete_account, drop_token, make_token, put_account, trail,
};
pub(crate) use admin::{namespaces, queue_record, queues};
pub(crate) use kinds::kinds;
pub(crate) use moving::{count as count_moved, moving_of};
pub(crate) use operations::{check_no_limit, count};
pub(crate) use schedules::{schedule_after, schedules, slots};
pub(crate) use streams::any_partition;
pub(crate) use transactions::{check_transaction, settlement_of};

use std::borrow::Borrow;

use hyper::StatusCode;
use longshore_engine::JobId;
use longshore_engine::ask::Ask;

use super::app::Call;
use super::body::Held;
use super::look;
use super::refusal::Refusal;
use super::reply::Reply;
use super::route::Op;
use crate::api::JobIdText;
use crate::workers::Wanted;

/// Gives the request to its handler.
#[expect(clippy::too_many_lines, reason = "it is a table of the operations")]
pub(crate) async fn dispatch(op: Op, call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    match op {
        Op::Enqueue => jobs::enqueue(call, held).await,
        Op::Lease => work::lease(call, held).await,
        Op::Ack | Op::Fail | Op::Snooze | Op::Release | Op::Discard | Op::Interrupt => {
            work::settle_one(op, call).await
        }
        Op::Heartbeat => work::heartbeat(call).await,
        Op::Checkpoint => work::checkpoint(call).await,
        Op::Settle => work::settle(call, held).await,
        Op::GetStatus => Box::pin(jobs::status(call)).await,
        Op::WatchJob => Box::pin(jobs::watch(call)).await,
        Op::GetJob => Box::pin(jobs::get(call)).await,
        Op::GetResult => Box::pin(jobs::result(call)).await,
        Op::ListJobs => Box::pin(jobs::list(call)).await,
        Op::CancelJob => Box::pin(jobs::cancel(call)).await,
        Op::RetryJob => Box::pin(jobs::retry(call)).await,
        Op::RescheduleJob => Box::pin(jobs::reschedule(call)).await,
        Op::PauseJob => Box::pin(jobs::pause(call, true)).await,
        Op::ResumeJob => Box::pin(jobs::pause(call, false)).await,
        Op::ListQueues => Box::pin(admin::list_queues(call)).await,
        Op::GetQueue => Box::pin(admin::get_queue(call)).await,
        Op::PutQueue => Box::pin(admin::put_queue(call)).await,
        Op::DeleteQueue => Box::pin(admin::delete_queue(call)).await,
        Op::PauseQueue => Box::pin(admin::pause(call, true)).await,
        Op::ResumeQueue => Box::pin(admin::pause(call, false)).await,
        Op::PurgeQueue => Box::pin(operations::purge(call)).await,
        Op::RetryDead => Box::pin(operations::retry_dead(call)).await,
        Op::Redrive => Box::pin(moving::redrive(call)).await,
        Op::ListKinds => Box::pin(kinds::list(call)).await,
        Op::GetKind => Box::pin(kinds::get(call)).await,
        Op::PutKind => Box::pin(kinds::put(call)).await,
        Op::ListLimits => Box::pin(limits::list(call)).await,
        Op::GetLimit => Box::pin(limits::get(call)).await,
        Op::PutLimit => Box::pin(limits::put(call)).await,
        Op::DeleteLimit => Box::pin(limits::delete(call)).await,
        Op::ListSlas => Box::pin(slas::list(call)).await,
        Op::GetSla => Box::pin(slas::get(call)).await,
        Op::PutSla => Box::pin(slas::put(call)).await,
        Op::DeleteSla => Box::pin(slas::delete(call)).await,
        Op::ListGates => Box::pin(gates::list(call)).await,
        Op::GetGate => Box::pin(gates::get(call)).await,
        Op::PutGate => Box::pin(gates::put(call)).await,
        Op::CloseGate => Box::pin(gates::close(call)).await,
        Op::OpenGate => Box::pin(gates::open(call)).await,
        Op::DeleteGate => Box::pin(gates::delete(call)).await,
        Op::ListHolds => Box::pin(holds::list(call)).await,
        Op::GetHold => Box::pin(holds::get(call)).await,
        Op::PutHold => Box::pin(holds::put(call)).await,
        Op::DeleteHold => Box::pin(holds::delete(call)).await,
        Op::ChangeJobs => Box::pin(operations::change_jobs(call)).await,
        Op::ListOperations => Box::pin(operations::list(call)).await,
        Op::GetOperation => Box::pin(operations::get(call)).await,
        Op::CancelOperation => Box::pin(operations::cancel(call)).await,
        Op::ListSchedules => Box::pin(schedules::list(call)).await,
        Op::GetSchedule => Box::pin(schedules::get(call)).await,
        Op::PutSchedule => Box::pin(schedules::put(call)).await,
        Op::DeleteSchedule => Box::pin(schedules::delete(call)).await,
        Op::PauseSchedule => Box::pin(schedules::pause(call, true)).await,
        Op::ResumeSchedule => Box::pin(schedules::pause(call, false)).await,
        Op::RunSchedule => Box::pin(schedules::run(call)).await,
        Op::SetNextSlot => Box::pin(schedules::set_next(call)).await,
        Op::NextSlots => Box::pin(schedules::next(call)).await,
        Op::ListNamespaces => Box::pin(admin::list_namespaces(call)).await,
        Op::GetNamespace => Box::pin(admin::get_namespace(call)).await,
        Op::PutNamespace => Box::pin(admin::put_namespace(call)).await,
        Op::DeleteNamespace => Box::pin(admin::delete_namespace(call)).await,
        Op::PublishToExchange => messages::publish(call, held, false).await,
        Op::PublishToQueue => messages::publish(call, held, true).await,
        Op::Transact => transactions::transact(call, held).await,
        Op::Consume => messages::consume(call, held).await,
        Op::SettleMessages => messages::settle(call).await,
        Op::ExtendMessages => messages::extend(call).await,
        Op::PeekMessages => Box::pin(messages::peek(call)).await,
        Op::DeleteMessages => Box::pin(messages::purge(call)).await,
        Op::ListExchanges => Box::pin(messages::list_exchanges(call)).await,
        Op::GetExchange => Box::pin(messages::get_exchange(call)).await,
        Op::PutExchange => Box::pin(messages::put_exchange(call)).await,
        Op::DeleteExchange => Box::pin(messages::delete_exchange(call)).await,
        Op::Bind => Box::pin(messages::bind(call, true)).await,
        Op::ListPolicies => Box::pin(policies::list(call)).await,
        Op::PutPolicy => Box::pin(policies::put(call)).await,
        Op::DeletePolicy => Box::pin(policies::delete(call)).await,
        Op::Unbind => Box::pin(messages::bind(call, false)).await,
        Op::ListBindings => Box::pin(messages::list_bindings(call)).await,
        Op::AppendEvents => Box::pin(streams::append(call, held)).await,
        Op::ReadEvents => Box::pin(streams::read_events(call)).await,
        Op::FollowStream => Box::pin(streams::follow(call)).await,
        Op::ListStreams => streams::list(&call),
        Op::GetStream => streams::get(&call),
        Op::PutStream => Box::pin(streams::put(call)).await,
        Op::DeleteStream => Box::pin(streams::delete(call)).await,
        Op::ReplayStream => Box::pin(triggers::replay(call)).await,
        Op::ListTriggers => triggers::list(&call),
        Op::GetTrigger => triggers::get(&call),
        Op::PutTrigger => Box::pin(triggers::put(call)).await,
        Op::DeleteTrigger => Box::pin(triggers::delete(call)).await,
        Op::ListGroups => Box::pin(groups::list(call)).await,
        Op::GetGroup => Box::pin(groups::get(call)).await,
        Op::PutGroup => Box::pin(groups::put(call)).await,
        Op::DeleteGroup => Box::pin(groups::delete(call)).await,
        Op::ListWorkers => Ok(workers::list(&call)),
        Op::GetWorker => workers::asked(&call, Wanted::Working),
        Op::QuietWorker => workers::asked(&call, Wanted::Quiet),
        Op::TerminateWorker => workers::asked(&call, Wanted::Terminate),
        Op::ListAccounts => Box::pin(accounts::list(call)).await,
        Op::GetAccount => Box::pin(accounts::get(call)).await,
        Op::PutAccount => Box::pin(accounts::put(call)).await,
        Op::DeleteAccount => Box::pin(accounts::delete(call)).await,
        Op::CreateToken => Box::pin(accounts::create_token(call)).await,
        Op::RevokeToken => Box::pin(accounts::revoke_token(call)).await,
        Op::ListAudit => Box::pin(accounts::audit(call)).await,
        Op::BeginBackup => Box::pin(backups::begin(call)).await,
        Op::GetBackup => backups::get(&call),
        Op::ListBackups => Ok(backups::list(&call)),
        Op::Live => Ok(health::live()),
        Op::Ready => Ok(health::ready(&call)),
        Op::Started => Ok(health::started(&call)),
        Op::Metrics => Box::pin(health::metrics(call)).await,
        Op::OpenApi => Ok(health::openapi()),
        Op::ErrorPage => Ok(health::error_page()),
    }
}

/// Asks the node, as [`look::ask`].
async fn ask<C: Ask>(call: &Call<'_>, command: C) -> Result<C::Answer, Refusal> {
    look::ask(call.app, call.namespace, command).await
}

/// `200` with what a command is answered with, as the API shows it.
async fn shown<C, A: ?Sized, T: serde::Serialize>(
    call: &Call<'_>,
    command: C,
    view: impl FnOnce(&A) -> T,
) -> Result<Reply, Refusal>
where
    C: Ask<Answer: Borrow<A>>,
{
    Ok(ok(&view(ask(call, command).await?.borrow())).not_cached())
}

/// `204` once a command has removed something.
async fn removed<C: Ask>(call: &Call<'_>, command: C) -> Result<Reply, Refusal> {
    ask(call, command).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// The job that the path names.
fn job_id(call: &Call<'_>) -> Result<JobId, Refusal> {
    match call.name.parse::<JobIdText>() {
        Ok(id) => Ok(JobId(id.0)),
        Err(_) => Err(Refusal::value("id", super::text::quoted(call.name), JobIdText::EXPECTED)),
    }
}

/// `200` with a value.
fn ok<T: serde::Serialize>(value: &T) -> Reply {
    Reply::of(StatusCode::OK, value)
}
