//! Metrics as Prometheus text. Their number is bounded: some queues and namespaces by name, the
//! rest together as `other`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use longshore_engine::{GoneTotals, NamespaceView, QueueView, ShardStats};
use longshore_node::{HistogramView, ShardCounters, ShardNumbers, ShardState, Unavailable};

use super::app::App;
use super::copy_metrics;
use super::figures::Figures;
use super::level_metrics;
use super::series::{Name, OTHER, Series, Shard, Told};
use super::stream_metrics::{self, StreamFigures};

/// The text of an answer to a scrape.
pub(crate) fn text(
    app: &App,
    figures: &mut Figures,
    stats: &[Result<ShardStats, Unavailable>],
    streams: &StreamFigures,
) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    http(&mut page, app);
    workers(&mut page, app);
    let node = app.node.stats();
    page.gauge("longshore_disk_free_bytes", "Free bytes on the disk.", node.disk_free_bytes);
    page.gauge(
        "longshore_disk_level",
        "0 ample, 1 low, 2 refusing, 3 settle only.",
        node.disk as u64,
    );
    page.gauge("longshore_bodies_in_flight_bytes", "Bytes on their way.", node.in_flight_bytes);
    let shards = || node.shards.iter().enumerate();
    for metric in SHARD_METRICS {
        page.by_shard(metric, shards());
    }
    by_word(
        &mut page,
        "longshore_commands_total",
        "Commands taken up, by class.",
        "class",
        &node.shards,
        |it| it.counters.commands_total.to_vec(),
    );
    by_word(
        &mut page,
        "longshore_calls_refused_total",
        "Calls refused as too many waited.",
        "class",
        &node.shards,
        |it| it.counters.refused_full_total.to_vec(),
    );
    by_word(
        &mut page,
        "longshore_rejections_total",
        "Commands refused, by code.",
        "code",
        &node.shards,
        |it| it.counters.rejections_total.iter().map(|(code, count)| (*code, *count)).collect(),
    );
    histogram(
        &mut page,
        "longshore_commit_seconds",
        "From hand-over to durability.",
        &node.shards,
        1e6,
        |it| &it.commit_us,
    );
    histogram(
        &mut page,
        "longshore_group_entries",
        "Entries of a group.",
        &node.shards,
        1.0,
        |it| &it.group_entries,
    );
    let shards = || stats.iter().map(Result::as_ref).enumerate();
    let shards = || shards().filter_map(|(index, it)| Some((index, it.ok()?)));
    for metric in ENGINE_METRICS {
        page.by_shard(metric, shards());
    }
    level_metrics::write(&mut page, stats);
    let max = app.config.metrics_queues_max;
    queues(&mut page, &mut figures.queues, stats, max);
    namespaces(&mut page, &mut figures.namespaces, stats, max);
    stream_metrics::write(&mut page, streams, max);
    if let Some(copies) = &app.copies {
        copy_metrics::write(&mut page, &copies.status.told());
    }
    page.0
}

pub(super) struct Page(String);

impl Page {
    pub(super) fn head(&mut self, name: &str, kind: &str, about: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {about}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn by_shard<'v, V: 'v>(
        &mut self,
        metric: &ShardMetric<V>,
        shards: impl Iterator<Item = (usize, &'v V)>,
    ) {
        self.head(metric.name, metric.kind, metric.about);
        for (index, shard) in shards {
            self.sample(metric.name, &[("shard", &index.to_string())], (metric.value)(shard));
        }
    }

    fn gauge(&mut self, name: &str, about: &str, value: u64) {
        self.head(name, "gauge", about);
        self.sample(name, &[], value);
    }

    pub(super) fn counter(&mut self, name: &str, about: &str, value: u64) {
        self.head(name, "counter", about);
        self.sample(name, &[], value);
    }
}

fn http(page: &mut Page, app: &App) {
    let counts = &app.counts;
    let open = counts.connections.load(Ordering::Relaxed) as u64;
    page.gauge("longshore_http_connections", "Connections open now.", open);
    for (name, about, count) in [
        ("longshore_http_connections_total", "Connections accepted.", &counts.connections_total),
        (
            "longshore_http_connections_refused_total",
            "Connections refused as there were too many.",
            &counts.connections_refused_total,
        ),
        (
            "longshore_http_connections_timed_out_total",
            "Connections ended as their peer was too slow.",
            &counts.connections_timed_out_total,
        ),
        (
            "longshore_http_connections_let_go_total",
            "Connections ended between requests to make room.",
            &counts.connections_let_go_total,
        ),
    ] {
        page.counter(name, about, count.load(Ordering::Relaxed));
    }
    page.counter(
        "longshore_access_failures_total",
        "Attempts to come in that failed.",
        app.access.failures_total(),
    );
    page.counter(
        "longshore_access_denied_total",
        "Requests of accounts that may not do what they asked for.",
        app.access.denials_total(),
    );
    page.head("longshore_http_answers_total", "counter", "Answers by the class of their status.");
    for (class, count) in counts.answers_total.iter().enumerate().skip(1) {
        let label = format!("{class}xx");
        let count = count.load(Ordering::Relaxed);
        page.sample("longshore_http_answers_total", &[("status", &label)], count);
    }
    page.head("longshore_http_requests_in_flight", "gauge", "Requests under way, by class.");
    for (class, requests, _) in app.in_flight() {
        page.sample("longshore_http_requests_in_flight", &[("class", class)], requests);
    }
    let unread = app.answer_bytes();
    page.gauge("longshore_http_answer_bytes", "Bytes of answers not taken yet.", unread);
    page.head("longshore_http_body_bytes", "gauge", "Bytes of bodies held, by class.");
    for (class, _, bytes) in app.in_flight() {
        page.sample("longshore_http_body_bytes", &[("class", class)], bytes);
    }
}

fn workers(page: &mut Page, app: &App) {
    let numbers = app.workers.numbers();
    for (name, about, value) in [
        ("longshore_workers", "Workers whose stream is open.", numbers.connected),
        ("longshore_worker_slots", "Jobs that they run at once.", numbers.concurrency),
        ("longshore_worker_running", "Jobs that they run.", numbers.running),
        ("longshore_worker_waiting", "Jobs that they have not started.", numbers.waiting),
    ] {
        page.gauge(name, about, value);
    }
    let counts = &app.workers;
    let streams = counts.streams_total.load(Ordering::Relaxed);
    page.counter("longshore_worker_streams_total", "Streams of workers opened.", streams);
    let lost = counts.lost_total.load(Ordering::Relaxed);
    page.counter("longshore_workers_lost_total", "Workers that did not come back.", lost);
}

struct ShardMetric<V> {
    name: &'static str,
    kind: &'static str,
    about: &'static str,
    value: fn(&V) -> u64,
}

macro_rules! shard_metrics {
    ($metrics:ident of $of:ty: $($name:literal $kind:literal $about:literal = $value:expr;)*) => {
        const $metrics: &[ShardMetric<$of>] =
            &[$(ShardMetric { name: $name, kind: $kind, about: $about, value: $value },)*];
    };
}

shard_metrics! { SHARD_METRICS of ShardNumbers:
    "longshore_shard_up" "gauge" "1 while the shard serves." =
        |it| u64::from(it.state == ShardState::Serving);
    "longshore_durable_position" "gauge" "The highest durable position." = |it| it.durable;
    "longshore_groups_total" "counter" "Groups committed." = |it| it.counters.groups_total;
    "longshore_journal_bytes_total" "counter" "Bytes of entries committed." =
        |it| it.counters.journal_bytes_total;
    "longshore_fsyncs_total" "counter" "Syncs of the journal." = |it| it.counters.fsyncs_total;
    "longshore_disconnects_total" "counter" "Callers that went away before their answer." =
        |it| it.counters.disconnects_total;
    "longshore_flushes_total" "counter" "Flushes of the state." = |it| it.counters.flushes_total;
    "longshore_compactions_total" "counter" "Compactions of the state." =
        |it| it.counters.compactions_total;
    "longshore_disk_full_total" "counter" "Writes that met a full disk." =
        |it| it.counters.no_space_total;
    "longshore_reads_total" "counter" "Reads of snapshots." = |it| it.counters.reads_total;
    "longshore_replayed_entries" "gauge" "Entries replayed at the start." =
        |it| it.counters.replayed_entries;
    "longshore_replay_milliseconds" "gauge" "How long the replay took." =
        |it| it.counters.replay_ms;
    "longshore_pending_calls" "gauge" "Calls without an answer yet." =
        |it| it.counters.pending_calls;
}

// Of jobs and workers, of schedules, and of what messages could not become.
shard_metrics! { ENGINE_METRICS of ShardStats:
    "longshore_leases" "gauge" "Jobs that a worker has." = |it| it.leases;
    "longshore_waiting_requests" "gauge" "Requests that wait, and streams that take jobs." =
        |it| it.waiting_requests;
    "longshore_sessions" "gauge" "Worker sessions remembered." = |it| it.sessions;
    "longshore_consumers" "gauge" "Workers that asked lately." = |it| it.consumers;
    "longshore_queues" "gauge" "Queues." = |it| it.queues_total;
    "longshore_gates" "gauge" "Gates." = |it| it.gates.0;
    "longshore_holds" "gauge" "Tags that are held." = |it| it.holds;
    "longshore_gates_closed" "gauge" "Gates that are closed." = |it| it.gates.1;
    "longshore_messages_jobs_dropped_total" "counter"
        "Jobs that dead letters, delayed messages and ends of jobs could not become, since the start." =
        |it| it.jobs_dropped;
    "longshore_messages_events_dropped_total" "counter"
        "Events that dead letters and delayed messages could not become, since the start." =
        |it| it.events_dropped;
    "longshore_outcomes_lost_total" "counter"
        "Ends of jobs that were to be published and reached nobody, since the start." =
        |it| it.outcomes_lost;
    "longshore_job_events_untold_total" "counter"
        "Steps of jobs that are no events of `_jobs`, as an entry did not take both, since the start." =
        |it| it.lives_untold;
    "longshore_messages_delayed_lost_total" "counter"
        "Delayed messages that no queue took when their time came, since the start." =
        |it| it.delayed_lost;
    "longshore_schedule_ticks_total" "counter" "Slots that enqueued a job." =
        |it| it.schedules.enqueued;
    "longshore_schedule_missed_total" "counter" "Slots passed over as missed." =
        |it| it.schedules.missed;
    "longshore_schedule_skipped_total" "counter" "Slots passed while earlier jobs went on." =
        |it| it.schedules.skipped;
    "longshore_schedule_refused_total" "counter" "Slots whose job was refused." =
        |it| it.schedules.refused;
    "longshore_schedule_last_lag_milliseconds" "gauge" "How late the last slot fired." =
        |it| it.schedules.last_lag_ms;
}

fn by_word(
    page: &mut Page,
    name: &str,
    about: &str,
    label: &str,
    shards: &[ShardNumbers],
    words: impl Fn(&ShardNumbers) -> Vec<(&'static str, u64)>,
) {
    page.head(name, "counter", about);
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (word, count) in shards.iter().flat_map(words) {
        *sums.entry(word).or_default() += count;
    }
    for (word, count) in sums {
        page.sample(name, &[(label, word)], count);
    }
}

fn histogram(
    page: &mut Page,
    name: &str,
    about: &str,
    shards: &[ShardNumbers],
    scale: f64,
    view: impl Fn(&ShardCounters) -> &HistogramView,
) {
    page.head(name, "histogram", about);
    let (mut buckets, mut count, mut sum) = (BTreeMap::new(), 0, 0);
    for shard in shards {
        let view = view(&shard.counters);
        for (bound, below) in &view.buckets {
            *buckets.entry(*bound).or_insert(0) += below;
        }
        count += view.count;
        sum += view.sum;
    }
    let bucket = format!("{name}_bucket");
    for (bound, below) in buckets {
        page.sample(&bucket, &[("le", &(bound as f64 / scale).to_string())], below);
    }
    page.sample(&bucket, &[("le", "+Inf")], count);
    page.sample(&format!("{name}_sum"), &[], sum as f64 / scale);
    page.sample(&format!("{name}_count"), &[], count);
}

/// A gauge, or a counter with what all that is gone from a shard counted of it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Gauge,
    Counter(fn(&GoneTotals) -> u64),
}

/// Name, kind, meaning, value.
type Metric<V> = (&'static str, Kind, &'static str, fn(&V) -> u64);

/// How many of `metrics` are counters: so many values has the [`Series`] that sums them.
const fn counters<V>(metrics: &[Metric<V>]) -> usize {
    let (mut index, mut count) = (0, 0);
    while index < metrics.len() {
        if matches!(metrics[index].1, Kind::Counter(_)) {
            count += 1;
        }
        index += 1;
    }
    count
}

pub(super) const QUEUE_COUNTERS: usize = counters(QUEUE_METRICS);
pub(super) const NAMESPACE_COUNTERS: usize = counters(NAMESPACE_METRICS);

const QUEUE_METRICS: &[Metric<QueueView>] = &[
    ("longshore_queue_ready", Kind::Gauge, "Jobs that could run.", |it| it.ready),
    ("longshore_queue_scheduled", Kind::Gauge, "Jobs that wait for their time.", |it| it.scheduled),
    ("longshore_queue_retrying", Kind::Gauge, "Jobs that wait for another attempt.", |it| {
        it.retrying
    }),
    (
        "longshore_queue_blocked",
        Kind::Gauge,
        "Jobs that wait behind another of their ordering key, are paused, or have a held tag.",
        |it| it.blocked,
    ),
    ("longshore_queue_held", Kind::Gauge, "Jobs that a stream has and has not started.", |it| {
        it.held
    }),
    ("longshore_queue_running", Kind::Gauge, "Jobs that a worker has otherwise.", |it| it.running),
    ("longshore_queue_dead", Kind::Gauge, "Jobs that failed for good.", |it| it.dead),
    ("longshore_queue_consumers", Kind::Gauge, "Workers that asked lately.", |it| it.consumers),
    ("longshore_queue_unconsumed", Kind::Gauge, "Jobs that wait while nobody asks.", |it| {
        if it.consumers > 0 { 0 } else { it.ready + it.scheduled + it.retrying + it.blocked }
    }),
    ("longshore_queue_unconsumed_kinds", Kind::Gauge, "Kinds that wait while nobody asks.", |it| {
        it.unconsumed_kinds.len() as u64
    }),
    (
        "longshore_queue_oldest_age_milliseconds",
        Kind::Gauge,
        "Age of the oldest ready job.",
        |it| it.oldest_age_ms.unwrap_or(0),
    ),
    (
        "longshore_queue_enqueued_total",
        Kind::Counter(|it| it.enqueued_total),
        "Jobs enqueued.",
        |it| it.enqueued_total,
    ),
    (
        "longshore_queue_succeeded_total",
        Kind::Counter(|it| it.succeeded_total),
        "Jobs that succeeded.",
        |it| it.succeeded_total,
    ),
    (
        "longshore_queue_failed_total",
        Kind::Counter(|it| it.failed_total),
        "Attempts that failed.",
        |it| it.failed_total,
    ),
    ("longshore_queue_died_total", Kind::Counter(|it| it.dead_total), "Jobs that died.", |it| {
        it.dead_total
    }),
];

/// What is shown of one queue or namespace at one shard.
struct Shown<'v, V> {
    shard: usize,
    name: Name,
    /// The oldest come first: the order is the same after a restart.
    order: u64,
    view: &'v V,
}

/// The values of the counters among `metrics`, in their order.
fn totals<V, const N: usize>(metrics: &[Metric<V>], view: &V) -> [u64; N] {
    let mut counters = metrics.iter().filter(|it| matches!(it.1, Kind::Counter(_)));
    std::array::from_fn(|_| counters.next().map_or(0, |(.., value)| value(view)))
}

/// Writes `metrics` of all that is shown: by name, and the rest together.
fn by_name<V, const N: usize>(
    page: &mut Page,
    series: &mut Series<N>,
    (metrics, labels): (&[Metric<V>], &[&str]),
    shown: &[Shown<'_, V>],
    (shards, max): (&[Shard<N>], usize),
) {
    let told = |it: &Shown<'_, V>| Told {
        shard: it.shard,
        name: it.name.clone(),
        order: it.order,
        totals: totals(metrics, it.view),
    };
    series.take(&shown.iter().map(told).collect::<Vec<_>>(), shards, max);
    let mut named: BTreeMap<&Name, Vec<&V>> = BTreeMap::new();
    let mut others = Vec::new();
    for it in shown {
        if series.is_named(&it.name) {
            named.entry(&it.name).or_default().push(it.view);
        } else {
            others.push(it.view);
        }
    }
    let sample = |page: &mut Page, name: &str, (first, second): (&str, &str), value: u64| {
        let values = [first, second];
        let labels: Vec<_> = labels.iter().copied().zip(values).collect();
        page.sample(name, &labels, value);
    };
    let mut counters = 0..N;
    for (name, kind, about, value) in metrics {
        let is_counter = matches!(kind, Kind::Counter(_));
        page.head(name, if is_counter { "counter" } else { "gauge" }, about);
        if is_counter {
            let at = counters.next().unwrap_or_default();
            let of = |totals: [u64; N]| totals.get(at).copied().unwrap_or_default();
            for (of_it, totals) in series.named() {
                sample(page, name, (&of_it.0, &of_it.1), of(totals));
            }
            if let Some(totals) = series.others() {
                sample(page, name, (OTHER, OTHER), of(totals));
            }
            continue;
        }
        // Ages do not add up; of several the highest counts.
        let together = |views: &[&V]| {
            let values = views.iter().map(|view| value(view));
            if name.contains("_age_") { values.max().unwrap_or(0) } else { values.sum() }
        };
        for (of_it, views) in &named {
            sample(page, name, (&of_it.0, &of_it.1), together(views));
        }
        if !others.is_empty() {
            sample(page, name, (OTHER, OTHER), together(&others));
        }
    }
}

/// What each shard says of all that is gone from it.
fn gone<V, const N: usize>(
    stats: &[Result<ShardStats, Unavailable>],
    metrics: &[Metric<V>],
) -> Vec<Shard<N>> {
    let silent = Shard { answered: false, gone: [0; N] };
    let said = |stats: &ShardStats| {
        let mut totals = metrics.iter().filter_map(|(_, kind, ..)| match kind {
            Kind::Gauge => None,
            Kind::Counter(of) => Some(of(&stats.gone)),
        });
        let gone = std::array::from_fn(|_| totals.next().unwrap_or_default());
        Shard { answered: true, gone }
    };
    stats.iter().map(|stats| stats.as_ref().map_or(silent, said)).collect()
}

fn queues(
    page: &mut Page,
    series: &mut Series<QUEUE_COUNTERS>,
    stats: &[Result<ShardStats, Unavailable>],
    max: usize,
) {
    let mut shown = Vec::new();
    for (shard, stats) in stats.iter().enumerate() {
        shown.extend(stats.iter().flat_map(|stats| &stats.queues).map(|it| Shown {
            shard,
            name: (it.namespace.clone(), it.queue.name.clone()),
            order: it.id.0.into(),
            view: &it.queue,
        }));
    }
    let gone = gone(stats, QUEUE_METRICS);
    let what: (&[_], &[_]) = (QUEUE_METRICS, &["namespace", "queue"]);
    by_name(page, series, what, &shown, (&gone, max));
}

const NAMESPACE_METRICS: &[Metric<NamespaceView>] = &[
    ("longshore_outcome_bytes", Kind::Gauge, "Bytes of outcomes kept.", |it| it.outcome_bytes),
    ("longshore_dead_bytes", Kind::Gauge, "Bytes of dead jobs kept.", |it| it.dead_bytes),
    ("longshore_tombstones", Kind::Gauge, "Ids of forgotten jobs.", |it| it.tombstones),
    (
        "longshore_tombstones_dropped_total",
        Kind::Counter(|it| it.tombstones_dropped_total),
        "Ids dropped before their time.",
        |it| it.tombstones_dropped_total,
    ),
];

fn namespaces(
    page: &mut Page,
    series: &mut Series<NAMESPACE_COUNTERS>,
    stats: &[Result<ShardStats, Unavailable>],
    max: usize,
) {
    let mut shown = Vec::new();
    for (shard, stats) in stats.iter().enumerate() {
        shown.extend(stats.iter().flat_map(|stats| &stats.namespaces).map(|view| Shown {
            shard,
            name: (view.name.clone(), String::new()),
            order: view.created_at.0,
            view,
        }));
    }
    let gone = gone(stats, NAMESPACE_METRICS);
    let what: (&[_], &[_]) = (NAMESPACE_METRICS, &["namespace"]);
    by_name(page, series, what, &shown, (&gone, max));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.sample("x", &[("queue", "a\"b\\c\nd")], 3);
        page.sample("y", &[], 4);
        assert_eq!(page.0, "x{queue=\"a\\\"b\\\\c\\nd\"} 3\ny 4\n");
    }
}
