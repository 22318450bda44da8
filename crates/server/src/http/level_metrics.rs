//! Metrics of service levels, of limits at dispatch, of versions of kinds and of tenants, by their
//! names: as many of each as a shard tells. And what became of unique jobs.

use std::collections::BTreeMap;
use std::fmt::Display;

use longshore_engine::{KindView, LimitRule, LimitView, ShardStats, SlaView};
use longshore_node::Unavailable;

use super::metrics::Page;
use super::sla_view::sla;
use crate::api::SlaWindowRecord;

type Stats<'s> = &'s [Result<ShardStats, Unavailable>];
/// Its name, what it says, and its value.
type Gauge<V, N> = (&'static str, &'static str, fn(&V) -> Option<N>);

const SLA_METRICS: [Gauge<SlaView, f64>; 6] = [
    (
        "longshore_sla_workers_needed",
        "Workers of one job at a time that a service level needs now.",
        |it| it.workers_needed.map(|needed| needed as f64),
    ),
    ("longshore_sla_breached", "1 where a service level is breached.", |it| {
        Some(f64::from(u8::from(it.sla.breached_at.is_some())))
    }),
    ("longshore_sla_late", "Jobs that wait and missed their service level, up to 100.", |it| {
        Some(it.late as f64)
    }),
    (
        "longshore_sla_at_risk",
        "Jobs that wait with less than half of their time, up to 100.",
        |it| Some(it.at_risk as f64),
    ),
    ("longshore_sla_oldest_seconds", "How long the oldest job waits.", |it| {
        it.oldest_ms.map(|ms| ms as f64 / 1e3)
    }),
    ("longshore_sla_arrivals_per_second", "Jobs that come, over about five minutes.", |it| {
        Some(it.arrivals_per_second)
    }),
];

const LIMIT_METRICS: [Gauge<LimitView, u64>; 4] = [
    ("longshore_limit_running", "Jobs that run and that a limit counts.", |it| {
        matches!(it.settings.rule, LimitRule::Concurrency { .. }).then_some(it.running)
    }),
    ("longshore_limit_concurrency", "How many a limit lets run at a time, of each key.", |it| {
        match it.settings.rule {
            LimitRule::Concurrency { max } => Some(max),
            _ => None,
        }
    }),
    ("longshore_limit_waiting", "Jobs that wait behind a limit, up to 1000.", |it| {
        Some(it.waiting)
    }),
    ("longshore_limit_spent_keys", "Keys that a limit holds back, up to 1000.", |it| {
        Some(it.spent)
    }),
];

const KIND_METRICS: [Gauge<KindView, u64>; 3] = [
    ("longshore_kind_waiting", "Jobs of a version of a kind that wait, whatever for.", |it| {
        Some(it.waiting)
    }),
    ("longshore_kind_running", "Jobs of a version of a kind that a worker has.", |it| {
        Some(it.running)
    }),
    ("longshore_kind_workers", "Sessions of workers that run a version of a kind.", |it| {
        it.consumers
    }),
];

/// Versions of kinds of which something waits or runs; 0 stands for none.
fn kinds(page: &mut Page, all: &[&(String, KindView)]) {
    for (name, about, value) in &KIND_METRICS {
        page.head(name, "gauge", about);
        for (namespace, view) in all {
            let version = view.version.to_string();
            let labels = [
                ("namespace", namespace.as_str()),
                ("kind", view.name.as_str()),
                ("version", version.as_str()),
            ];
            if let Some(value) = value(view) {
                page.sample(name, &labels, value);
            }
        }
    }
}

pub(super) fn write(page: &mut Page, stats: Stats<'_>) {
    let slas = || stats.iter().flatten().flat_map(|shard| &shard.slas);
    let limits = || stats.iter().flatten().flat_map(|shard| &shard.limits);
    if slas().next().is_some() {
        breaches(page, slas());
        gauges(page, &SLA_METRICS, "sla", || slas().map(|(ns, it)| (ns, &it.name, it)));
        shares(page, slas());
    }
    if limits().next().is_some() {
        gauges(page, &LIMIT_METRICS, "limit", || limits().map(|(ns, it)| (ns, &it.name, it)));
    }
    let all: Vec<_> = stats.iter().flatten().flat_map(|shard| &shard.kinds).collect();
    if !all.is_empty() {
        kinds(page, &all);
    }
    conflicts(page, stats);
    tenants(page, stats);
}

/// How often new jobs met another one with their unique key.
fn conflicts(page: &mut Page, stats: Stats<'_>) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (policy, outcome, count) in stats.iter().flatten().flat_map(|it| it.conflicts.told()) {
        *sums.entry((policy, outcome)).or_default() += count;
    }
    let name = "longshore_unique_conflicts_total";
    let about = "Jobs of requests that met another one with their unique key, since the start.";
    page.head(name, "counter", about);
    for ((policy, outcome), count) in sums {
        page.sample(name, &[("policy", policy), ("outcome", outcome)], count);
    }
}

/// Tenants: how many there are, and their jobs.
fn tenants(page: &mut Page, stats: Stats<'_>) {
    type Metric = (&'static str, &'static str, &'static str, fn(&ShardStats) -> u64);
    let metrics: [Metric; 3] = [
        (
            "longshore_tenants",
            "gauge",
            "Tenants with jobs that have not ended, each once per queue and priority.",
            |shard| shard.tenants.tenants,
        ),
        ("longshore_tenant_jobs", "gauge", "Jobs of tenants that have not ended.", |shard| {
            shard.tenants.jobs
        }),
        (
            "longshore_tenant_jobs_started_total",
            "counter",
            "Jobs with a tenant that were handed out, since the start.",
            |shard| shard.tenanted_started,
        ),
    ];
    for (name, sort, about, value) in metrics {
        page.head(name, sort, about);
        for (index, shard) in stats.iter().enumerate() {
            if let Ok(shard) = shard {
                page.sample(name, &[("shard", &index.to_string())], value(shard));
            }
        }
    }
}

/// A gauge of each, by namespace and name.
fn gauges<'v, V: 'v, N: Display, I: Iterator<Item = (&'v String, &'v String, &'v V)>>(
    page: &mut Page,
    metrics: &[Gauge<V, N>],
    label: &'static str,
    all: impl Fn() -> I,
) {
    for (name, about, value) in metrics {
        page.head(name, "gauge", about);
        for (namespace, own, view) in all() {
            if let Some(value) = value(view) {
                page.sample(name, &[("namespace", namespace), (label, own)], value);
            }
        }
    }
}

/// How often levels were breached: what began and ended between two looks is told, too.
fn breaches<'v>(page: &mut Page, slas: impl Iterator<Item = &'v (String, SlaView)>) {
    let name = "longshore_sla_breaches_total";
    page.head(name, "counter", "How often a service level was breached, since it is as it is.");
    for (namespace, it) in slas {
        page.sample(name, &[("namespace", namespace), ("sla", &it.name)], it.sla.breaches);
    }
}

/// What was kept, and how fast what may be missed is used up, by window.
fn shares<'v>(page: &mut Page, slas: impl Iterator<Item = &'v (String, SlaView)>) {
    let told: Vec<_> = slas.map(|(namespace, view)| (namespace, sla(view))).collect();
    let shares: [Gauge<SlaWindowRecord, f64>; 2] = [
        ("longshore_sla_attained", "The share of jobs that kept a service level.", |it| {
            it.attained
        }),
        (
            "longshore_sla_burn_rate",
            "The share that missed a service level, divided by the share that may.",
            |it| it.burn_rate,
        ),
    ];
    for (name, about, share) in shares {
        page.head(name, "gauge", about);
        for (namespace, it) in &told {
            for window in &it.windows {
                let over = window.over.to_string();
                let labels =
                    [("namespace", namespace.as_str()), ("sla", &it.name), ("over", &over)];
                if let Some(value) = share(window) {
                    page.sample(name, &labels, value);
                }
            }
        }
    }
}
