//! Metrics of second copies.

use longshore_backup::Told;
use longshore_node::wall_now;

use super::metrics::Page;

/// What is told of copies that are sent all the time.
pub(super) fn write(page: &mut Page, told: &Told) {
    if told.to.is_none() {
        return;
    }
    let name = "longshore_ship_lag_seconds";
    page.head(name, "gauge", "How old what was not sent of the journal may be; 0 for all sent.");
    for shard in &told.shards {
        page.sample(name, &[("shard", &shard.shard.to_string())], shard.lag.as_secs_f64());
    }
    let name = "longshore_ship_lag_bytes";
    page.head(name, "gauge", "Bytes of the journal that were not sent, about.");
    for shard in &told.shards {
        page.sample(name, &[("shard", &shard.shard.to_string())], shard.lag_bytes);
    }
    let name = "longshore_ship_base_age_seconds";
    if let Some(base) = told.bases.last() {
        page.head(name, "gauge", "Seconds since the last base was made.");
        page.sample(name, &[], wall_now().0.saturating_sub(base.taken_ms) / 1000);
    }
    let name = "longshore_ship_refused";
    page.head(name, "gauge", "1 where another server sends to the same place.");
    page.sample(name, &[], u8::from(told.refused));
    for (name, about, value) in [
        ("longshore_ship_pieces_total", "Pieces of the journal sent.", told.pieces_total),
        ("longshore_ship_bytes_total", "Bytes of pieces and files sent.", told.bytes_total),
        ("longshore_ship_failures_total", "Attempts to send that failed.", told.failures_total),
        (
            "longshore_ship_let_go_total",
            "Times that journal was given back before it was sent.",
            told.let_go_total,
        ),
    ] {
        page.counter(name, about, value);
    }
}
