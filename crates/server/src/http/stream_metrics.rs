//! What metrics tell of streams and of groups that read them. Their number is bounded: the first
//! streams and groups by name, the rest together as `other`.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_engine::query;
use longshore_engine::{ReadOffset, Reader};
use longshore_streams::StreamLog;

use super::app::App;
use super::metrics::Page;
use super::series::OTHER;

/// Partitions of groups that one scrape looks at, all groups together.
const PARTITIONS_MAX: usize = 20_000;

/// What there is to tell.
#[derive(Debug, Default)]
pub(crate) struct StreamFigures {
    /// By namespace and stream: partitions, events, bytes, events ever.
    streams: Vec<(String, String, [u64; 4])>,
    /// Rounds of compaction, and bytes that they freed.
    compacted: [u64; 2],
    /// By namespace, group and stream: events that it has yet to read.
    lag: BTreeMap<(String, String, String), u64>,
}

const METRICS: [(&str, &str); 4] = [
    ("longshore_stream_partitions", "Partitions of a stream."),
    ("longshore_stream_events", "Events that are kept."),
    ("longshore_stream_bytes", "Bytes of the files of a stream."),
    ("longshore_stream_end", "Events that were ever appended: the sum of its partitions' ends."),
];

/// Looks at all streams and groups. What cannot be asked now is left out.
pub(crate) async fn look(app: &App) -> StreamFigures {
    let mut figures = StreamFigures::default();
    let mut left = PARTITIONS_MAX;
    for log in app.node.stream_logs() {
        for (sum, more) in figures.compacted.iter_mut().zip(log.compacted()) {
            *sum += more;
        }
        let mut namespaces = Vec::new();
        for stream in log.all() {
            let ends = stream.partitions.iter().map(|partition| partition.ends());
            let (events, end) =
                ends.fold((0, 0), |(events, sum), (start, end)| (events + end - start, sum + end));
            let bytes = stream.partitions.iter().map(|partition| partition.len_bytes()).sum();
            let values = [stream.partitions.len() as u64, events, bytes, end];
            figures.streams.push((stream.namespace.clone(), stream.name.clone(), values));
            if namespaces.last() != Some(&stream.namespace) {
                namespaces.push(stream.namespace.clone());
            }
        }
        for namespace in namespaces {
            left = look_at_groups(app, &log, &namespace, left, &mut figures).await;
        }
    }
    figures
}

/// The groups of a namespace, up to so many partitions; how many are left for others.
async fn look_at_groups(
    app: &App,
    log: &Arc<StreamLog>,
    namespace: &str,
    mut left: usize,
    figures: &mut StreamFigures,
) -> usize {
    let (name, max) = (namespace.to_owned(), app.config.metrics_queues_max);
    let look = move |reader: &dyn Reader, _| {
        let (names, _) = query::group_names(reader, &name, None, max).unwrap_or_default();
        let mut found: Vec<(String, Vec<ReadOffset>)> = Vec::new();
        for group in names {
            let offsets = query::group_offsets(reader, &name, &group, left);
            left -= offsets.len().min(left);
            found.push((group, offsets));
            if left == 0 {
                break;
            }
        }
        (found, left)
    };
    let Ok((groups, left)) = app.node.read(namespace, look).await else { return left };
    for (group, offsets) in groups {
        for of in offsets {
            let stream = log.stream(namespace, &of.stream);
            let partition = stream.as_ref().and_then(|it| it.partitions.get(of.partition as usize));
            let Some((start, end)) = partition.map(|partition| partition.ends()) else { continue };
            let lag = end.saturating_sub(of.committed.offset.max(start));
            let key = (namespace.to_owned(), group.clone(), of.stream);
            *figures.lag.entry(key).or_default() += lag;
        }
    }
    left
}

/// Writes them, `max` streams and `max` groups' streams by name.
pub(super) fn write(page: &mut Page, figures: &StreamFigures, max: usize) {
    for (index, (name, about)) in METRICS.into_iter().enumerate() {
        page.head(name, "gauge", about);
        let mut others = 0_u64;
        for (at, (namespace, stream, values)) in figures.streams.iter().enumerate() {
            let value = values.get(index).copied().unwrap_or_default();
            if at < max {
                page.sample(name, &[("namespace", namespace), ("stream", stream)], value);
            } else {
                others += value;
            }
        }
        if figures.streams.len() > max {
            page.sample(name, &[("namespace", OTHER), ("stream", OTHER)], others);
        }
    }
    let [rounds, freed] = figures.compacted;
    page.counter("longshore_stream_compactions_total", "Rounds of compaction.", rounds);
    let about = "Bytes of streams that compaction freed.";
    page.counter("longshore_stream_compacted_bytes_total", about, freed);
    let name = "longshore_group_lag";
    page.head(name, "gauge", "Events of a stream that a group has yet to read.");
    let mut others = 0_u64;
    for (at, ((namespace, group, stream), lag)) in figures.lag.iter().enumerate() {
        if at < max {
            let labels = [("namespace", &**namespace), ("group", group), ("stream", stream)];
            page.sample(name, &labels, lag);
        } else {
            others += lag;
        }
    }
    if figures.lag.len() > max {
        page.sample(name, &[("namespace", OTHER), ("group", OTHER), ("stream", OTHER)], others);
    }
}
