//! The service of schedules. Each call does what its sibling over HTTP does.

use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::ask::DeleteSchedule;
use longshore_engine::driver::Class;
use longshore_engine::{ScheduleCommand, Start, TimeMs};
use longshore_proto::v1;
use longshore_proto::v1::schedule_settings::When;
use longshore_proto::v1::schedules_server::Schedules;
use longshore_proto::v1::set_next_slot_request::Next;
use tonic::{Request, Response, Status};

use super::admin::{page_size, record, some};
use super::job_in::api_job;
use super::{Face, namespace_of};
use crate::api::{
    DurationText, InstantText, MISSED_EXPECTED, OverlapText, ScheduleBody, ScheduleRecord,
};
use crate::http::handle::{schedule_after, schedules, slots};
use crate::http::json::missing;
use crate::http::look::ask;
use crate::http::parse::{Bounds, schedule_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_path_name, quoted};

/// The service on one connection.
pub(super) struct SchedulesFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

/// Slots in one answer, at most.
const SLOTS_MAX: u32 = 1000;

fn told(of: &ScheduleRecord<'_>) -> v1::Schedule {
    let last = of.last.as_ref();
    v1::Schedule {
        name: of.name.clone(),
        paused: of.paused,
        next_at_unix_ms: of.next.as_ref().map(|next| next.at.0),
        last_slot_unix_ms: last.map(|last| last.slot.0),
        last_outcome: last.map(|last| last.outcome.clone()).unwrap_or_default(),
        last_job: last.and_then(|last| last.job).map(|id| id.to_string()).unwrap_or_default(),
        enqueued_total: of.enqueued_total,
        missed_total: of.missed_total,
        skipped_total: of.skipped_total,
        refused_total: of.refused_total,
        record: record(of),
    }
}

fn settings(of: Option<v1::ScheduleSettings>, bounds: &Bounds) -> Result<ScheduleCommand, Refusal> {
    let of = of.unwrap_or_default();
    let job = of.job.ok_or_else(|| missing("job", "the job of each slot"))?;
    let (cron, every) = match of.when {
        Some(When::Cron(cron)) => (Some(cron), None),
        Some(When::EveryMs(ms)) => (None, Some(DurationText(ms))),
        None => (None, None),
    };
    let overlap = |word: &str| {
        let known = OverlapText::ALL.into_iter().find(|known| known.as_str() == word);
        let allowed = OverlapText::ALL.map(OverlapText::as_str).join(", ");
        known.ok_or_else(|| Refusal::value("overlap", quoted(word), allowed))
    };
    let missed = |text: &str| {
        text.parse().map_err(|_| Refusal::value("missed", quoted(text), MISSED_EXPECTED))
    };
    let body = ScheduleBody {
        cron,
        every,
        time_zone: some(&of.time_zone).map(str::to_owned),
        job: api_job(&job).map_err(|refusal| refusal.within("job"))?,
        jitter: (of.jitter_ms > 0).then_some(DurationText(of.jitter_ms)),
        starts_at: of.starts_at_unix_ms.map(InstantText),
        ends_at: of.ends_at_unix_ms.map(InstantText),
        missed: some(&of.missed).map(missed).transpose()?,
        overlap: some(&of.overlap).map(overlap).transpose()?,
        description: some(&of.description).map(str::to_owned),
        source: some(&of.source).map(str::to_owned),
        paused: of.paused,
    };
    schedule_of(body, &Bytes::new(), bounds)
}

impl SchedulesFace {
    async fn after(
        &self,
        namespace: &str,
        name: &str,
        command: ScheduleCommand,
    ) -> Result<ScheduleRecord<'static>, Refusal> {
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        schedule_after(&self.0.app, namespace_of(namespace)?, name, command).await
    }

    async fn one(
        &self,
        of: &v1::ScheduleRequest,
        command: ScheduleCommand,
    ) -> Answered<v1::Schedule> {
        let record = self.after(&of.namespace, &of.name, command).await?;
        self.0.read(told(&record))
    }
}

#[tonic::async_trait]
impl Schedules for SchedulesFace {
    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Answered<v1::ListSchedulesResponse> {
        let of = request.into_inner();
        let namespace = namespace_of(&of.namespace)?;
        let limit = page_size(of.limit)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let page = schedules(&self.0.app, namespace, some(&of.cursor), limit).await?;
        self.0.read(v1::ListSchedulesResponse {
            schedules: page.schedules.iter().map(told).collect(),
            next: page.next.unwrap_or_default(),
        })
    }

    async fn get_schedule(&self, request: Request<v1::ScheduleRequest>) -> Answered<v1::Schedule> {
        self.one(request.get_ref(), ScheduleCommand::Get).await
    }

    async fn put_schedule(
        &self,
        request: Request<v1::PutScheduleRequest>,
    ) -> Answered<v1::Schedule> {
        let v1::PutScheduleRequest { namespace, name, settings: of } = request.into_inner();
        let command = settings(of, &self.0.app.bounds)?;
        self.one(&v1::ScheduleRequest { namespace, name }, command).await
    }

    async fn delete_schedule(
        &self,
        request: Request<v1::ScheduleRequest>,
    ) -> Answered<v1::DeleteScheduleResponse> {
        let v1::ScheduleRequest { namespace, name } = request.into_inner();
        check_path_name("schedule", &name)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        ask(&self.0.app, namespace_of(&namespace)?, DeleteSchedule { name }).await?;
        Ok(Response::new(v1::DeleteScheduleResponse {}))
    }

    async fn pause_schedule(
        &self,
        request: Request<v1::ScheduleRequest>,
    ) -> Answered<v1::Schedule> {
        self.one(request.get_ref(), ScheduleCommand::Pause).await
    }

    async fn resume_schedule(
        &self,
        request: Request<v1::ScheduleRequest>,
    ) -> Answered<v1::Schedule> {
        self.one(request.get_ref(), ScheduleCommand::Resume).await
    }

    async fn run_schedule(
        &self,
        request: Request<v1::ScheduleRequest>,
    ) -> Answered<v1::RunScheduleResponse> {
        let of = request.into_inner();
        let record = self.after(&of.namespace, &of.name, ScheduleCommand::Run).await?;
        let job = record.job.map(|id| id.to_string()).unwrap_or_default();
        self.0.read(v1::RunScheduleResponse { schedule: Some(told(&record)), job })
    }

    async fn set_next_slot(
        &self,
        request: Request<v1::SetNextSlotRequest>,
    ) -> Answered<v1::Schedule> {
        let v1::SetNextSlotRequest { namespace, name, next } = request.into_inner();
        let start = match next {
            Some(Next::InMs(ms)) => Start::After(ms),
            Some(Next::AtUnixMs(ms)) => Start::At(TimeMs(ms)),
            None => return Err(missing("next", "in_ms or at_unix_ms").into()),
        };
        let of = v1::ScheduleRequest { namespace, name };
        self.one(&of, ScheduleCommand::SetNext(start)).await
    }

    async fn list_slots(
        &self,
        request: Request<v1::ListSlotsRequest>,
    ) -> Answered<v1::ListSlotsResponse> {
        let of = request.into_inner();
        let most = match of.limit {
            0 => 10,
            limit if limit <= SLOTS_MAX => limit,
            limit => return Err(Refusal::value("limit", limit, "0 to 1000").into()),
        };
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let namespace = namespace_of(&of.namespace)?;
        let slots = slots(&self.0.app, namespace, &of.name, most as usize).await?.slots;
        let told = slots.into_iter().map(|slot| v1::Slot {
            at_unix_ms: slot.at.0,
            due_unix_ms: slot.due.0,
            local: slot.local.unwrap_or_default(),
        });
        self.0.read(v1::ListSlotsResponse { slots: told.collect() })
    }
}
