//! Settings of schedules, and when the next slot is to be.

use bytes::Bytes;
use longshore_engine::{
    JobId, JobTemplate, Limits, Missed, NamespaceId, NewSchedule, NewUnique, Overlap, Rejection,
    Schedule, ScheduleCommand, ScheduleId, ScheduleState, ScheduleView, Spec, Start,
    TemplateUnique, TimeMs, local_time, next_slots,
};
use longshore_node::wall_now;

use super::Bounds;
use super::enqueue::job_of;
use crate::api::{
    self, DurationText, InstantText, MissedText, NextRequest, OverlapText, ScheduleBody,
};
use crate::http::json::{missing, read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_path_name, quoted};
use crate::http::words;

/// Reads what a schedule is to be.
pub(crate) fn parse_schedule(body: &Bytes, bounds: &Bounds) -> Result<ScheduleCommand, Refusal> {
    schedule_of(read(text_of(body)?)?, body, bounds)
}

/// Checks what a schedule is to be; JSON that does not lie in `body` is copied.
pub(crate) fn schedule_of(
    request: ScheduleBody<'_>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<ScheduleCommand, Refusal> {
    let spec = match (request.cron, request.every) {
        (Some(text), None) => Spec::Cron { text },
        (None, Some(every)) => Spec::Every { period_ms: every.0 },
        (Some(_), Some(every)) => {
            let value = format!("{every}, beside cron");
            return Err(Refusal::value("every", value, "cron or every, not both"));
        }
        (None, None) => return Err(missing("cron", "cron or every")),
    };
    if let (Spec::Every { .. }, Some(zone)) = (&spec, &request.time_zone) {
        let allowed = "a time zone beside cron only: every goes by elapsed time";
        return Err(Refusal::value("time_zone", quoted(zone), allowed));
    }
    let job = template(request.job, body, bounds).map_err(|refusal| refusal.within("job"))?;
    let missed = match request.missed.unwrap_or_default() {
        MissedText::Skip => Missed::Skip,
        MissedText::One => Missed::One,
        MissedText::All => Missed::All,
        MissedText::Within(DurationText(ms)) => Missed::Within { ms },
    };
    let overlap = match request.overlap.unwrap_or_default() {
        OverlapText::Allow => Overlap::Allow,
        OverlapText::Skip => Overlap::Skip,
        OverlapText::QueueOne => Overlap::QueueOne,
        OverlapText::CancelPrevious => Overlap::CancelPrevious,
    };
    let ms = |at: Option<InstantText>| at.map(|at| TimeMs(at.0));
    let settings = NewSchedule {
        zone: request.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        jitter_ms: bounds.duration("jitter", request.jitter, 0)?.unwrap_or(0),
        starts_at: ms(request.starts_at),
        ends_at: ms(request.ends_at),
        missed,
        overlap,
        description: request.description,
        source: request.source,
        ..NewSchedule::new(spec, job)
    };
    Ok(ScheduleCommand::Put { settings: Box::new(settings), paused: request.paused })
}

/// What all jobs of a template have.
pub(super) fn template(
    mut job: api::NewJob<'_>,
    body: &Bytes,
    bounds: &Bounds,
) -> Result<JobTemplate, Refusal> {
    let Some(queue) = job.queue.take() else {
        return Err(missing("queue", words::needed("queue")));
    };
    check_path_name("queue", &queue)?;
    for (field, given) in [
        ("id", job.id.is_some()),
        ("run_at", job.run_at.is_some()),
        ("delay", job.delay.is_some()),
        ("expires_at", job.expires_at.is_some()),
        ("traceparent", job.traceparent.is_some()),
        ("cursor", job.cursor.is_some()),
    ] {
        if given {
            let allowed = "what all jobs of the schedule can have";
            return Err(Refusal::value(field, "given", allowed));
        }
    }
    let text = job.unique.as_ref().map(|unique| {
        serde_json::to_string(unique).expect("what was read as JSON can be written as JSON")
    });
    let mut new = job_of(&queue, job, body, bounds)?;
    new.id = JobId::default();
    let unique = new.unique.take().zip(text).map(|(unique, text)| {
        let NewUnique { key, period_ms, until, on_conflict, spans_queues } = unique;
        Box::new(TemplateUnique { key, until, on_conflict, text, period_ms, spans_queues })
    });
    Ok(JobTemplate { unique, ..JobTemplate::of(queue, new) })
}

/// Reads when the next slot is to be.
pub(crate) fn parse_next(body: &Bytes, bounds: &Bounds) -> Result<Start, Refusal> {
    let NextRequest { after, at } = read(text_of(body)?)?;
    next_start((("in", after), ("at", at)), bounds)?.ok_or_else(|| missing("in", "in or at"))
}

/// A field and its name.
type Field<'n, V> = (&'n str, Option<V>);

/// When a slot is to be, by one of two fields with their names, if by any.
pub(crate) fn next_start(
    ((in_field, after), (at_field, at)): (Field<'_, DurationText>, Field<'_, InstantText>),
    bounds: &Bounds,
) -> Result<Option<Start>, Refusal> {
    if let (Some(at), Some(_)) = (at, after) {
        let value = format!("{at}, beside {in_field}");
        let allowed = format!("{in_field} or {at_field}, not both");
        return Err(Refusal::value(at_field, value, allowed));
    }
    let after = bounds.duration(in_field, after, 0)?.map(Start::After);
    Ok(after.or(bounds.instant(at_field, at)?.map(Start::At)))
}

/// When a schedule would come next, if the server took this body; else why it would not. What
/// depends on the server (its limits, its clock) is told by the server.
pub fn preview_schedule(name: &str, body: &[u8]) -> Result<String, String> {
    let bounds = Bounds::of(&Limits::default());
    let said = |refusal: Refusal| refusal.problem().detail;
    check_path_name("schedule", name).map_err(said)?;
    let body = Bytes::copy_from_slice(body);
    let command = parse_schedule(&body, &bounds).map_err(said)?;
    let ScheduleCommand::Put { settings, .. } = command else { return Err(String::new()) };
    let now = wall_now();
    let zone = settings.zone.clone();
    let (id, namespace) = (ScheduleId(0), NamespaceId(0));
    let (created_at, changed_at) = (now, now);
    let (name, settings) = (name.to_owned(), *settings);
    let schedule = Schedule { id, namespace, name, settings, created_at, changed_at };
    let state = ScheduleState { paused: true, ..ScheduleState::default() };
    let slots = next_slots(&ScheduleView { schedule, state }, now, 1)
        .map_err(|fault| said(Rejection::from(fault).into()))?;
    let next = slots.first().ok_or_else(|| "it names no time that comes".to_owned())?;
    Ok(local_time(next.at, &zone).unwrap_or_default())
}
