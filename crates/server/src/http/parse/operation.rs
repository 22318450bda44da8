//! Which jobs are meant, and what is done with all of them.

use bytes::Bytes;
use longshore_engine::{JobAction, JobFilter, JobsChange, TimeMs};

use crate::api::{
    DurationText, InstantText, JobActionText, JobFilterBody, OperationRequest, StateText,
};
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, quoted};
use crate::http::view;

/// Reads what is to be done with which jobs.
pub(crate) fn parse_operation(body: &Bytes, now: TimeMs) -> Result<JobsChange, Refusal> {
    jobs_change(read(text_of(body)?)?, now)
}

/// Checks what is to be done with which jobs: each field of an action stands with that one alone.
pub(crate) fn jobs_change(request: OperationRequest, now: TimeMs) -> Result<JobsChange, Refusal> {
    let OperationRequest { action, filter, limit, to_queue, priority, force } = request;
    let of_others = [
        ("to_queue", to_queue.is_some() && action != JobActionText::Move, "move"),
        ("priority", priority.is_some() && action != JobActionText::SetPriority, "set_priority"),
        ("force", force && action != JobActionText::Cancel, "cancel"),
    ];
    if let Some((field, _, with)) = of_others.into_iter().find(|(_, odd, _)| *odd) {
        let value = format!("given with {}", action.as_str());
        return Err(Refusal::value(field, value, format!("{field} with {with} only")));
    }
    if limit == Some(0) {
        return Err(Refusal::value("limit", 0, "at least 1"));
    }
    let missing = |field, allowed| Refusal::value(field, "nothing", allowed);
    let action = match action {
        JobActionText::Retry => JobAction::Retry,
        JobActionText::Cancel => JobAction::Cancel { force },
        JobActionText::Remove => JobAction::Remove,
        JobActionText::Move => {
            let queue = to_queue.ok_or_else(|| missing("to_queue", "the name of a queue"))?;
            check_name("to_queue", &queue)?;
            JobAction::Move { queue }
        }
        JobActionText::SetPriority => {
            let priority = priority.ok_or_else(|| missing("priority", "0 to 9"))?;
            JobAction::SetPriority { priority }
        }
    };
    let filter = job_filter("filter.", filter, now)?;
    Ok(JobsChange { filter, action, limit }.normal())
}

/// Checks which jobs are meant. `within`: what the names of its fields begin with.
pub(crate) fn job_filter(
    within: &str,
    body: JobFilterBody,
    now: TimeMs,
) -> Result<JobFilter, Refusal> {
    let JobFilterBody {
        queue,
        state,
        kind,
        tag,
        ordering_key,
        tenant,
        error,
        text,
        older_than,
        newer_than,
        before,
        since,
    } = body;
    let named = |field: &str, name: Option<String>| match name {
        Some(name) => check_name(&format!("{within}{field}"), &name).map(|()| Some(name)),
        None => Ok(None),
    };
    let instant = |(age_name, age): (&str, Option<DurationText>), (name, at)| {
        let at: Option<InstantText> = at;
        if let (Some(age), Some(_)) = (age, at) {
            let (field, value) = (format!("{within}{age_name}"), format!("{age}, beside {name}"));
            return Err(Refusal::value(&field, value, format!("{age_name} or {name}, not both")));
        }
        let ago = age.map(|age| TimeMs(now.0.saturating_sub(age.0)));
        Ok(at.map(|at| TimeMs(at.0)).or(ago))
    };
    let some = |field: &str, text: Option<String>| match text {
        Some(text) if text.is_empty() => {
            Err(Refusal::value(&format!("{within}{field}"), "\"\"", "at least one byte"))
        }
        text => Ok(text),
    };
    Ok(JobFilter {
        queue: named("queue", queue)?,
        state: state.map(view::state_of),
        kind: named("kind", kind)?,
        tag: named("tag", tag)?,
        ordering_key: named("ordering_key", ordering_key)?,
        tenant: named("tenant", tenant)?,
        error: some("error", error)?,
        text: some("text", text)?,
        before: instant(("older_than", older_than), ("before", before))?,
        since: instant(("newer_than", newer_than), ("since", since))?,
    })
}

/// The state that a word stands for.
pub(crate) fn state_word(word: &str) -> Result<StateText, Refusal> {
    let found = StateText::ALL.into_iter().find(|state| state.as_str() == word);
    found.ok_or_else(|| {
        Refusal::value("state", quoted(word), StateText::ALL.map(StateText::as_str).join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<JobsChange, &str>) {
        let parsed = parse_operation(&Bytes::copy_from_slice(body.as_bytes()), TimeMs(100_000));
        let parsed = parsed.map_err(|refusal| refusal.problem().field.unwrap_or_default());
        assert_eq!(parsed, expected.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn what_is_asked_for_is_read_whole() {
        let filter = JobFilter {
            queue: Some("mails".into()),
            state: Some(longshore_engine::JobState::Dead),
            error: Some("Timeout".into()),
            text: Some("acme".into()),
            before: Some(TimeMs(40_000)),
            since: Some(TimeMs(1000)),
            ..JobFilter::default()
        };
        check(
            "{\"action\":\"retry\",\"filter\":{\"queue\":\"mails\",\"state\":\"dead\",\
             \"error\":\"Timeout\",\"text\":\"acme\",\"older_than\":\"1m\",\
             \"since\":\"1970-01-01T00:00:01Z\"},\"limit\":3}",
            Ok(JobsChange { filter, action: JobAction::Retry, limit: Some(3) }),
        );
        let dead =
            JobFilter { state: Some(longshore_engine::JobState::Dead), ..JobFilter::default() };
        check(
            "{\"action\":\"remove\",\"filter\":{}}",
            Ok(JobsChange { filter: dead, action: JobAction::Remove, limit: None }),
        );
    }

    #[test]
    fn what_fits_no_action_is_refused() {
        for (body, field) in [
            ("{\"action\":\"retry\"}", "filter"),
            ("{\"action\":\"move\",\"filter\":{}}", "to_queue"),
            ("{\"action\":\"retry\",\"filter\":{},\"to_queue\":\"a\"}", "to_queue"),
            ("{\"action\":\"set_priority\",\"filter\":{}}", "priority"),
            ("{\"action\":\"set_priority\",\"filter\":{},\"priority\":10}", "priority"),
            ("{\"action\":\"remove\",\"filter\":{},\"force\":true}", "force"),
            ("{\"action\":\"retry\",\"filter\":{},\"limit\":0}", "limit"),
            ("{\"action\":\"retry\",\"filter\":{\"text\":\"\"}}", "filter.text"),
            ("{\"action\":\"retry\",\"filter\":{\"queue\":\"\"}}", "filter.queue"),
            (
                "{\"action\":\"retry\",\"filter\":{\"older_than\":\"1m\",\
                 \"before\":\"2026-01-01T00:00:00Z\"}}",
                "filter.older_than",
            ),
        ] {
            check(body, Err(field));
        }
    }
}
