//! Service levels as they are told.

use longshore_engine::{SlaGoal, SlaTarget, SlaView};

use super::view::{instant, template};
use crate::api::{DurationText, SlaBody, SlaRecord, SlaTargetText, SlaWindowRecord};

/// A minute: what windows are counted in.
const MINUTE_MS: u64 = 60_000;

/// A level as it is told.
pub(crate) fn sla(view: &SlaView) -> SlaRecord<'static> {
    let SlaView { name, sla, .. } = view;
    let settings = &sla.settings;
    let on = match settings.target.clone() {
        SlaTarget::Queue { name } => SlaTargetText::Queue(name),
        SlaTarget::Kind { name } => SlaTargetText::Kind(name),
        SlaTarget::Schedule { name } => SlaTargetText::Schedule(name),
    };
    let (mut started_within, mut done_within, mut at_least_every) = (None, None, None);
    let goal = match settings.goal {
        SlaGoal::StartedWithin { .. } => &mut started_within,
        SlaGoal::DoneWithin { .. } => &mut done_within,
        SlaGoal::AtLeastEvery { .. } => &mut at_least_every,
    };
    *goal = Some(DurationText(settings.goal.within_ms()));
    let share = f64::from(settings.share) / 10_000.0;
    SlaRecord {
        name: name.clone(),
        settings: SlaBody {
            on,
            started_within,
            done_within,
            at_least_every,
            share: Some(share),
            breach: settings.breach.as_deref().map(template),
        },
        since: instant(sla.since),
        breached_since: sla.breached_at.map(instant),
        breaches_total: sla.breaches,
        windows: windows(view, share),
        late: view.late,
        at_risk: view.at_risk,
        oldest: view.oldest_ms.map(DurationText),
        running: view.running,
        arrivals_per_second: (view.arrivals_per_second * 1000.0).round() / 1000.0,
        #[expect(clippy::cast_sign_loss, reason = "a mean of spans is not negative")]
        mean_run: view.run_ms.map(|ms| DurationText(ms.round() as u64)),
        workers_needed: view.workers_needed,
    }
}

fn windows(view: &SlaView, share: f64) -> Vec<SlaWindowRecord> {
    let windows = SlaView::WINDOWS.into_iter().zip(&view.windows);
    let told = windows.map(|(minutes, count)| {
        // What waits for too long already has missed: with no worker at all, nothing is measured.
        let (of, missed) = (count.measured + view.late, count.missed + view.late);
        let known = of > 0;
        let missed = missed as f64 / of.max(1) as f64;
        SlaWindowRecord {
            over: DurationText(minutes * MINUTE_MS),
            measured: count.measured,
            missed: count.missed,
            attained: known.then_some(1.0 - missed),
            burn_rate: known.then_some(missed / (1.0 - share)),
            worst: DurationText(count.worst_ms),
        }
    });
    told.collect()
}
