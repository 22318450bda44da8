//! Keys of limits and tenants, and of the lines in which jobs wait for them.

use super::{
    Key, LIMIT, LIMIT_BUDGET, LIMIT_CHANGE, LIMIT_LINE, LIMIT_REFILL, LIMIT_SPENT, LIMITED, TENANT,
    TENANT_FIRST, TENANT_LINE, TENANTED, lane_of, texts_at, u32_at, u64_at,
};
use crate::ids::{NamespaceId, Place, QueueId, TimeMs};
use crate::queueing::LaneId;

/// What the entries of a line begin with: (limit, key).
pub(crate) fn limited_prefix(ns: NamespaceId, lane: LaneId, (limit, key): (&str, &str)) -> Vec<u8> {
    lane_of(Key::new(LIMITED).namespace(ns), lane).text(limit).text(key).done()
}

pub(crate) fn limited(
    ns: NamespaceId,
    lane: LaneId,
    of: (&str, &str),
    (available_at, place): (TimeMs, Place),
) -> Vec<u8> {
    Key(limited_prefix(ns, lane, of)).u64(available_at.0).u64(place.0).done()
}

pub(crate) fn limit_lines(ns: NamespaceId, limit: &str, key: &str) -> Vec<u8> {
    Key::new(LIMIT_LINE).namespace(ns).text(limit).text(key).done()
}

pub(crate) fn limit_line(ns: NamespaceId, (limit, key): (&str, &str), lane: LaneId) -> Vec<u8> {
    lane_of(Key(limit_lines(ns, limit, key)), lane).done()
}

pub(crate) fn limit(ns: NamespaceId, limit: &str) -> Vec<u8> {
    Key::new(LIMIT).namespace(ns).text(limit).done()
}

pub(crate) fn limit_change(ns: NamespaceId, limit: &str) -> Vec<u8> {
    Key::new(LIMIT_CHANGE).namespace(ns).text(limit).done()
}

pub(crate) fn limit_budget(ns: NamespaceId, limit: &str, key: &str) -> Vec<u8> {
    Key::new(LIMIT_BUDGET).namespace(ns).text(limit).text(key).done()
}

pub(crate) fn limit_refill(at: TimeMs, ns: NamespaceId, limit: &str, key: &str) -> Vec<u8> {
    Key::new(LIMIT_REFILL).u64(at.0).namespace(ns).text(limit).text(key).done()
}

/// What a refill's key says.
pub(crate) fn limit_refill_of(key: &[u8]) -> Option<(TimeMs, NamespaceId, String, String)> {
    let (limit, of) = texts_at(key, 13)?;
    Some((TimeMs(u64_at(key, 1)?), NamespaceId(u32_at(key, 9)?), limit, of))
}

pub(crate) fn limit_spent(ns: NamespaceId, limit: &str, key: &str) -> Vec<u8> {
    Key::new(LIMIT_SPENT).namespace(ns).text(limit).text(key).done()
}

pub(crate) fn tenant(ns: NamespaceId, of: (QueueId, u8), tenant: &str) -> Vec<u8> {
    Key::new(TENANT).namespace(ns).u32(of.0.0).u8(of.1).text(tenant).done()
}

/// What the keys of a tenant's lines in a queue and urgency begin with.
pub(crate) fn tenant_lines(ns: NamespaceId, of: (QueueId, u8), tenant: &str) -> Vec<u8> {
    Key::new(TENANT_LINE).namespace(ns).u32(of.0.0).u8(of.1).text(tenant).done()
}

pub(crate) fn tenant_line(ns: NamespaceId, lane: LaneId, tenant: &str) -> Vec<u8> {
    let lines = Key(tenant_lines(ns, (lane.queue, lane.urgency), tenant));
    lines.u16(lane.part.0).u32(lane.kind.0).done()
}

pub(crate) fn tenanted_prefix(ns: NamespaceId, lane: LaneId, tenant: &str) -> Vec<u8> {
    lane_of(Key::new(TENANTED).namespace(ns), lane).text(tenant).done()
}

/// All that waits in the lines of the tenants of a lane.
pub(crate) fn tenanted_of_lane(ns: NamespaceId, lane: LaneId) -> Vec<u8> {
    lane_of(Key::new(TENANTED).namespace(ns), lane).done()
}

pub(crate) fn tenanted(
    ns: NamespaceId,
    lane: LaneId,
    tenant: &str,
    (available_at, place): (TimeMs, Place),
) -> Vec<u8> {
    Key(tenanted_prefix(ns, lane, tenant)).u64(available_at.0).u64(place.0).done()
}

pub(crate) fn tenant_first(
    ns: NamespaceId,
    queue: QueueId,
    (available_at, place): (TimeMs, Place),
) -> Vec<u8> {
    let key = Key::new(TENANT_FIRST).namespace(ns).u32(queue.0);
    key.u64(available_at.0).u64(place.0).done()
}

