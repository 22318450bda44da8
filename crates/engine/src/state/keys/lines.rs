//! Keys of limits and tenants, and of the lines in which jobs wait for them.

use super::{
    Key, LIMIT, LIMIT_BUDGET, LIMIT_CHANGE, LIMIT_LINE, LIMIT_REFILL, LIMIT_SPENT, LIMITED, LINE,
    LINE_UNDER, LINED, TENANT, TENANT_FIRST, TENANT_LINE, TENANTED, lane_of, texts_at, u32_at,
    u64_at,
};
use crate::ids::{KindId, NamespaceId, Place, QueueId, TimeMs};
use crate::limit::{JobLimit, LimitKey};
use crate::queueing::{LaneId, PartId};

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

impl Key {
    fn limits(self, limits: &[JobLimit]) -> Self {
        let key = self.u8(limits.len() as u8);
        limits.iter().fold(key, |key, limit| key.text(&limit.name).text(&limit.key))
    }
}

/// What the entries of a line begin with whose jobs name several keys, or a key and a tenant.
pub(crate) fn lined_prefix(
    ns: NamespaceId,
    lane: LaneId,
    tenant: &str,
    limits: &[JobLimit],
) -> Vec<u8> {
    lane_of(Key::new(LINED).namespace(ns), lane).text(tenant).limits(limits).done()
}

/// The key of an entry, from what those of its line begin with.
pub(crate) fn with_slot(prefix: Vec<u8>, (available_at, place): (TimeMs, Place)) -> Vec<u8> {
    Key(prefix).u64(available_at.0).u64(place.0).done()
}

/// What the keys of the lines of a tenant in a queue and urgency begin with.
pub(crate) fn lines_of(ns: NamespaceId, of: (QueueId, u8), tenant: &str) -> Vec<u8> {
    Key::new(LINE).namespace(ns).u32(of.0.0).u8(of.1).text(tenant).done()
}

pub(crate) fn line(ns: NamespaceId, lane: LaneId, tenant: &str, limits: &[JobLimit]) -> Vec<u8> {
    let lines = Key(lines_of(ns, (lane.queue, lane.urgency), tenant));
    lines.u16(lane.part.0).u32(lane.kind.0).limits(limits).done()
}

/// What the keys begin with that name the lines under a key of a limit.
pub(crate) fn under(of: &LimitKey) -> Vec<u8> {
    Key::new(LINE_UNDER).namespace(of.ns).text(&of.name).text(&of.key).done()
}

/// Those of one lane.
pub(crate) fn lines_under(of: &LimitKey, lane: LaneId) -> Vec<u8> {
    lane_of(Key(under(of)), lane).done()
}

pub(crate) fn line_under(of: &LimitKey, lane: LaneId, stands: (TimeMs, Place)) -> Vec<u8> {
    with_slot(lines_under(of, lane), stands)
}

/// The lane that begins in a key at `at`.
pub(crate) fn lane_at(key: &[u8], at: usize) -> Option<LaneId> {
    let queue = QueueId(u32_at(key, at)?);
    let urgency = *key.get(at + 4)?;
    let part = PartId::at(key, at + 5)?;
    Some(LaneId { queue, urgency, part, kind: KindId(u32_at(key, at + 7)?) })
}
