//! Service levels as they are set.

use bytes::Bytes;
use longshore_engine::{SlaGoal, SlaSettings, SlaTarget};

use super::Bounds;
use super::schedule::template;
use crate::api::{SlaBody, SlaTargetText};
use crate::http::json::{missing, read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::check_name;

/// Reads the settings of a level.
pub(crate) fn parse_sla(body: &Bytes, bounds: &Bounds) -> Result<SlaSettings, Refusal> {
    sla_of(read(text_of(body)?)?, body, bounds)
}

/// Checks the settings of a level; JSON that does not lie in `bytes` is copied.
pub(crate) fn sla_of(
    body: SlaBody<'_>,
    bytes: &Bytes,
    bounds: &Bounds,
) -> Result<SlaSettings, Refusal> {
    let target = match body.on {
        SlaTargetText::Queue(name) => SlaTarget::Queue { name },
        SlaTargetText::Kind(name) => SlaTarget::Kind { name },
        SlaTargetText::Schedule(name) => SlaTarget::Schedule { name },
    };
    let (SlaTarget::Queue { name } | SlaTarget::Kind { name } | SlaTarget::Schedule { name }) =
        &target;
    check_name("on", name)?;
    let ms = |name, span| bounds.duration(name, span, 1);
    let goals = (
        ms("started_within", body.started_within)?,
        ms("done_within", body.done_within)?,
        ms("at_least_every", body.at_least_every)?,
    );
    let goal = match goals {
        (Some(within_ms), None, None) => SlaGoal::StartedWithin { within_ms },
        (None, Some(within_ms), None) => SlaGoal::DoneWithin { within_ms },
        (None, None, Some(within_ms)) => SlaGoal::AtLeastEvery { within_ms },
        (None, None, None) => {
            return Err(missing("started_within", "started_within, done_within or at_least_every"));
        }
        _ => {
            let allowed = "one of started_within, done_within and at_least_every";
            return Err(Refusal::value("started_within", "more than one", allowed));
        }
    };
    let share = body.share.unwrap_or(0.99);
    if !(0.0001..=0.9999).contains(&share) {
        return Err(Refusal::value("share", share, "a number from 0.0001 to 0.9999"));
    }
    #[expect(clippy::cast_sign_loss, reason = "it is not negative, by the bounds above")]
    let share = (share * 10_000.0).round() as u32;
    let breach = body.breach.map(|job| template(job, bytes, bounds));
    let breach = breach.transpose().map_err(|refusal| refusal.within("breach"))?;
    Ok(SlaSettings { target, goal, share, breach: breach.map(Box::new) })
}
