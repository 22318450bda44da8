//! The hello: who a worker is and what it wants, each field within its bounds.

use longshore_engine::{HeldLease, Holder, KindRange, Limits, QueuePattern};
use longshore_proto::v1;

use crate::api::{DurationText, KindVersions};
use crate::grpc::job_in::lease;
use crate::grpc::namespace_of;
use crate::http::code::Code;
use crate::http::parse::{Bounds, kind_ranges, pattern};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, quoted};
use crate::workers::Facts;

/// Jobs that a worker has and has given credit for, together.
pub(super) const HELD_MAX: usize = 10_000;

const LABELS_MAX: usize = 32;
const QUEUES_MAX: usize = 256;
const CONCURRENCY_MAX: u32 = 100_000;
const WEIGHT_MAX: u32 = 1_000_000;

/// What a worker wants.
#[derive(Debug)]
pub(in crate::grpc) struct Wish {
    pub(super) namespace: String,
    pub(super) holder: Holder,
    /// None: all but reserved ones.
    pub(super) kinds: Option<Vec<KindRange>>,
    /// With weights: all 0 for strict order, else none.
    pub(super) queues: Vec<(QueuePattern, u32)>,
    pub(super) lease_ms: Option<u64>,
    /// Leases that it holds from the stream before.
    pub(super) held: Vec<HeldLease>,
}

/// Reads a hello.
pub(in crate::grpc) fn read(
    hello: v1::Hello,
    limits: &Limits,
    bounds: &Bounds,
) -> Result<(Wish, Facts), Refusal> {
    let namespace = namespace_of(&hello.namespace)?.to_owned();
    check_name("name", &hello.name)?;
    check_name("session", &hello.session)?;
    for (field, text) in [("host", &hello.host), ("software", &hello.software)] {
        check_text(field, text)?;
    }
    count("labels", hello.labels.len(), 0, LABELS_MAX)?;
    for (name, value) in &hello.labels {
        check_name("labels", name)?;
        check_text("labels", value)?;
    }
    let versions = hello.versions.into_iter();
    let versions =
        versions.map(|v1::KindVersions { kind, from, to }| KindVersions { kind, from, to });
    let versions: Vec<_> = versions.collect();
    let kinds = kind_ranges(&hello.kinds, &versions, bounds)?;
    if !(1..=CONCURRENCY_MAX).contains(&hello.concurrency) {
        let allowed = format!("1 to {CONCURRENCY_MAX}");
        return Err(Refusal::value("concurrency", hello.concurrency, allowed));
    }
    if let Some(lease_ms) = hello.lease_ms.filter(|it| !limits.lease_ms.contains(it)) {
        let [min, max] =
            [limits.lease_ms.start(), limits.lease_ms.end()].map(|ms| DurationText(*ms));
        return Err(Refusal::value("lease_ms", lease_ms, format!("{min} to {max}")));
    }
    let wish = Wish {
        namespace,
        holder: Holder { worker: hello.name, session: hello.session },
        kinds,
        queues: queues(&hello.queues)?,
        lease_ms: hello.lease_ms,
        held: held(&hello.held)?,
    };
    let mut labels: Vec<_> = hello.labels.into_iter().collect();
    labels.sort_unstable();
    let facts = Facts {
        host: hello.host,
        pid: hello.pid,
        software: hello.software,
        labels,
        kinds: hello.kinds,
        versions,
        queues: hello.queues.into_iter().map(|wish| (wish.queue, wish.weight)).collect(),
        concurrency: hello.concurrency,
        account: None,
    };
    Ok((wish, facts))
}

fn check_text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() { Ok(()) } else { check_name(field, text) }
}

fn count(field: &str, count: usize, min: usize, max: usize) -> Result<(), Refusal> {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    Err(Refusal::value(field, format!("{count} of them"), format!("{min} to {max}")))
}

fn queues(wishes: &[v1::QueueWish]) -> Result<Vec<(QueuePattern, u32)>, Refusal> {
    count("queues", wishes.len(), 1, QUEUES_MAX)?;
    let weighted = wishes.iter().filter(|wish| wish.weight > 0).count();
    if weighted != 0 && weighted != wishes.len() {
        let detail = "some queues have a weight and some have none; \
                      give all one for a draw, or none for strict order";
        return Err(Refusal::new(Code::ValueRefused, detail).field("queues"));
    }
    let one = |(index, wish): (usize, &v1::QueueWish)| {
        if wish.weight > WEIGHT_MAX {
            let field = format!("queues[{index}].weight");
            return Err(Refusal::value(&field, wish.weight, format!("0 to {WEIGHT_MAX}")));
        }
        Ok((pattern(index, wish.queue.clone())?, wish.weight))
    };
    wishes.iter().enumerate().map(one).collect()
}

fn held(named: &[v1::HeldLease]) -> Result<Vec<HeldLease>, Refusal> {
    count("held", named.len(), 0, HELD_MAX)?;
    let one = |(index, held): (usize, &v1::HeldLease)| {
        let (id, token) = lease(&held.id, &held.token).map_err(|_| {
            let value = format!("{} with {}", quoted(&held.id), quoted(&held.token));
            Refusal::value(&format!("held[{index}]"), value, "an id and a token of a delivery")
        })?;
        Ok(HeldLease { id, token, started: held.started })
    };
    named.iter().enumerate().map(one).collect()
}
