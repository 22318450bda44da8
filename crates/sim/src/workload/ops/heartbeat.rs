//! Heartbeats: a lease that ended is powerless.

use longshore_engine::{Answer, Delivery, Extension};

use super::session;
use crate::random::Random;
use crate::workload::Check;
use crate::workload::shadow::Shadow;

/// A run that is to be the only one of its job mostly says how far it is.
pub(crate) fn sample(random: &mut Random, job: &Delivery) -> Extension {
    let tells = if job.at_most_once { 80 } else { 30 };
    Extension {
        id: job.id,
        token: job.token,
        lease_ms: random.maybe(20, |random| 1000 + random.below(40_000)),
        progress: random.maybe(tells, |random| random.below(10_000) as u16),
        progress_text: None,
    }
}

pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    extensions: &[Extension],
    answer: &Answer,
) -> Check {
    let Answer::Extended(extended) = answer else { return Ok(()) };
    for (extension, result) in extensions.iter().zip(extended) {
        let told = shadow.job((namespace, extension.id));
        let granted = told.and_then(|told| told.grants.get(&extension.token));
        let ended = granted.and_then(|granted| granted.told.clone());
        if let (Ok(_), Some(end)) = (result, ended) {
            let Extension { id, token, .. } = extension;
            return Err(format!("lease {token} of {id} was {end:?} and was extended"));
        }
        session::started(shadow, namespace, (extension.id, extension.token), result)?;
        let reports = extension.progress.is_some() || extension.progress_text.is_some();
        if let Some(granted) = shadow.granted(namespace, extension.id, extension.token) {
            granted.reported |= result.is_ok() && reports;
        }
    }
    Ok(())
}
