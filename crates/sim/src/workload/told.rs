//! The lives of jobs as a stream: each step is told once, and never without the job that it is
//! about.

use std::collections::BTreeMap;

use longshore_engine::{JobView, LIVES_STREAM};
use longshore_streams::StreamLog;

use super::Check;
use super::fired::shown;
use super::relay::NAMESPACE;

/// The steps that are told of each job, in order.
fn steps(log: &StreamLog) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let entry = log.stream(NAMESPACE, LIVES_STREAM).ok_or("the stream of lives is not there")?;
    for partition in &entry.partitions {
        for event in shown(partition, 0)? {
            let value = event.value.unwrap_or_default();
            let text = String::from_utf8_lossy(&value).into_owned();
            let step = text.split_once("\"type\":\"longshore.job.").map(|(_, rest)| rest);
            let step = step.and_then(|rest| rest.split_once('"')).map(|(step, _)| step);
            let step = step.ok_or_else(|| format!("a step reads as {text}"))?;
            let job = String::from_utf8_lossy(&event.key.unwrap_or_default()).into_owned();
            steps.entry(job).or_default().push(step.to_owned());
        }
    }
    Ok(steps)
}

/// Checks what is told against all jobs that there are. `all_shown` where all events are in their
/// files.
pub(crate) fn check(log: &StreamLog, jobs: &[JobView], all_shown: bool) -> Check {
    let told = steps(log)?;
    let known: BTreeMap<String, &JobView> =
        jobs.iter().map(|view| (view.job.id.to_string(), view)).collect();
    for (job, steps) in &told {
        let Some(view) = known.get(job) else {
            return Err(format!("job {job} is told as {steps:?}, and is not there"));
        };
        if steps.first().is_none_or(|step| step != "enqueued") {
            return Err(format!("job {job} is told as {steps:?}, and enters first"));
        }
        let count = |wanted: &str| steps.iter().filter(|step| *step == wanted).count();
        let state = view.state().name();
        let ended = !view.job.phase.is_unfinished();
        if count("enqueued") > 1 || (ended && count(state) > 1) {
            return Err(format!("job {job} is told as {steps:?}: once is enough"));
        }
        if all_shown && ended && steps.last().is_none_or(|last| last != state) {
            return Err(format!("job {job} is {state}, and is told as {steps:?}"));
        }
    }
    match known.keys().find(|job| all_shown && !told.contains_key(*job)) {
        Some(job) => Err(format!("job {job} is there, and nothing is told of it")),
        None => Ok(()),
    }
}
