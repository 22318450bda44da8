//! How many jobs a worker runs at a time, as service levels need it: `--autoscale MIN..MAX`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use longshore_server::WorkerPatience;
use longshore_server::api::{QueueRecord, SlaList, SlaRecord, SlaTargetText};
use tokio::sync::watch;
use tokio::time::sleep;

use super::CONCURRENCY_MAX;
use super::worker::Settings;
use crate::client::{Client, read, segment};
use crate::output::note;

/// From so many jobs at a time to so many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Range {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (min, max) = text.split_once("..")?;
            Some(Self { min: min.parse().ok()?, max: max.parse().ok()? })
        };
        let range = read().ok_or("it has to be two numbers, as in 1..20")?;
        let sound = 1 <= range.min && range.min <= range.max && range.max <= CONCURRENCY_MAX;
        let allowed = || {
            format!("MIN has to be 1 or more, MAX no less than MIN and {CONCURRENCY_MAX} at most")
        };
        sound.then_some(range).ok_or_else(allowed)
    }
}

/// How many jobs run at a time now.
pub(crate) type Scale = watch::Receiver<usize>;

fn is_meant(pattern: &str, queue: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => queue.starts_with(prefix),
        None => pattern == queue,
    }
}

/// Whether a level is about what this worker takes: one of a kind, where it takes only some.
fn is_own(sla: &SlaRecord<'_>, settings: &Settings) -> bool {
    match &sla.settings.on {
        SlaTargetText::Queue(name) => settings.queues.iter().any(|it| is_meant(it, name)),
        SlaTargetText::Kind(name) => {
            settings.kinds.as_ref().is_some_and(|kinds| kinds.contains(name))
                || settings.versions.iter().any(|of| of.kind == *name)
        }
        SlaTargetText::Schedule(_) => false,
    }
}

/// Of what the levels need together, the most demanding of each queue and kind, the share of one of
/// the workers that ask for that queue; for a kind, of those of the worker's queue that has the
/// most. None where that is not known.
fn needed(
    slas: &[SlaRecord<'_>],
    settings: &Settings,
    workers: &BTreeMap<String, u64>,
) -> Option<u64> {
    let own = slas.iter().filter(|sla| is_own(sla, settings));
    let mut by_target: BTreeMap<String, u64> = BTreeMap::new();
    for sla in own {
        let Some(needed) = sla.workers_needed else { continue };
        let workers = match &sla.settings.on {
            SlaTargetText::Queue(name) => workers.get(name),
            _ => workers.values().max(),
        };
        let share = needed.div_ceil(workers.copied().unwrap_or(1).max(1));
        let most = by_target.entry(format!("{:?}", sla.settings.on)).or_default();
        *most = (*most).max(share);
    }
    by_target.values().copied().reduce(u64::saturating_add)
}

/// Follows the levels until it is dropped, with a look at them `every` so often. More is taken at
/// once, fewer only once that was so for six looks.
pub(super) async fn follow(
    client: Client,
    settings: Settings,
    (range, scale, every): (Range, watch::Sender<usize>, Duration),
    quiet: bool,
) {
    let mut patience = WorkerPatience::default();
    loop {
        if let Some(wanted) = look(&client, &settings).await {
            let wanted = usize::try_from(wanted).unwrap_or(range.max);
            let wanted = wanted.clamp(range.min, range.max);
            let before = *scale.borrow();
            if let Some(wanted) = patience.next(before, wanted) {
                scale.send_replace(wanted);
                if !quiet {
                    note(&format!("runs {wanted} jobs at a time from now on, {before} before"));
                }
            }
        }
        sleep(every).await;
    }
}

/// What is needed of this worker; none where the server does not say.
async fn look(client: &Client, settings: &Settings) -> Option<u64> {
    let body = client.get(&client.path("/sla")).await.ok()?;
    let list: SlaList<'_> = read(&body).ok()?;
    let mut queues = BTreeSet::new();
    for sla in list.slas.iter().filter(|sla| is_own(sla, settings)) {
        match &sla.settings.on {
            SlaTargetText::Queue(name) => {
                queues.insert(name.clone());
            }
            _ => queues.extend(settings.queues.iter().filter(|it| !it.ends_with('*')).cloned()),
        }
    }
    let mut workers = BTreeMap::new();
    for name in queues {
        let path = client.path(&format!("/queues/{}", segment(&name)));
        if let Ok(body) = client.get(&path).await
            && let Ok(queue) = read::<QueueRecord>(&body)
        {
            workers.insert(name, queue.consumers);
        }
    }
    needed(&list.slas, settings, &workers)
}

#[cfg(test)]
mod tests {
    use longshore_server::api::DurationText;

    use super::*;

    fn settings() -> Settings {
        Settings {
            queues: vec!["mail".to_owned(), "calls.*".to_owned()],
            weights: BTreeMap::new(),
            kinds: None,
            versions: Vec::new(),
            concurrency: 1,
            scale: None,
            lease: None,
            grace: Duration::ZERO,
            name: "w".to_owned(),
        }
    }

    fn slas(of: &[(&str, u64)]) -> SlaList<'static> {
        let within = DurationText::seconds(30).to_string();
        let sla = |(queue, needed): &(&str, u64)| {
            serde_json::json!({
                "name": "x", "settings": {"on": {"queue": queue}, "started_within": within},
                "since": "2026-01-01T00:00:00Z", "breaches_total": 0, "windows": [], "late": 0,
                "at_risk": 0, "running": 0, "arrivals_per_second": 0.5, "workers_needed": needed,
            })
        };
        let list = serde_json::json!({"slas": of.iter().map(sla).collect::<Vec<_>>()});
        let text: &'static str = Box::leak(list.to_string().into_boxed_str());
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn queues_of_the_worker_are_summed_and_shared_among_its_like() {
        let list = slas(&[("mail", 6), ("mail", 4), ("calls.eu", 5), ("other", 90)]);
        let workers = |of: &[(&str, u64)]| {
            of.iter().map(|(queue, count)| ((*queue).to_owned(), *count)).collect()
        };
        let needed_by = |of| needed(&list.slas, &settings(), &workers(of));
        assert_eq!(needed_by(&[]), Some(11));
        assert_eq!(needed_by(&[("mail", 4), ("calls.eu", 4)]), Some(4));
        assert_eq!(needed_by(&[("mail", 6), ("calls.eu", 1)]), Some(6), "each by its own");
        assert_eq!(needed(&slas(&[("other", 3)]).slas, &settings(), &workers(&[])), None);
    }

    #[test]
    fn fewer_are_run_only_as_the_largest_look_of_a_while_says() {
        let mut patience = WorkerPatience::default();
        assert_eq!(patience.next(4, 9), Some(9), "more at once");
        assert_eq!(patience.next(9, 9), None);
        for wanted in [2, 7, 1, 1, 1] {
            assert_eq!(patience.next(9, wanted), None);
        }
        assert_eq!(patience.next(9, 1), Some(7));
        assert_eq!(patience.next(7, 1), None, "and then it begins anew");
    }

    #[test]
    fn a_range_grows() {
        assert_eq!("1..20".parse(), Ok(Range { min: 1, max: 20 }));
        for bad in ["0..3", "5..4", "1..", "3", "1..9999", "a..b"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }
}
