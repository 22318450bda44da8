//! Which queues a worker asks for, over how many sessions: one for all, and one more for each
//! queue with a limit of its own, so that its jobs hold up no others.

use longshore_proto::v1;

/// Queues that share a session.
#[derive(Debug, PartialEq)]
pub(super) struct Lane {
    /// What tells it from the worker's other lanes; empty for the main one.
    pub(super) suffix: String,
    pub(super) queues: Vec<v1::QueueWish>,
    pub(super) concurrency: u32,
}

/// A queue that a worker wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) queue: String,
    pub(super) weight: u32,
    pub(super) limit: Option<u32>,
}

pub(super) fn lanes(wishes: &[Wish], concurrency: u32) -> Vec<Lane> {
    let wish = |it: &Wish| v1::QueueWish { queue: it.queue.clone(), weight: it.weight };
    let main: Vec<_> = wishes.iter().filter(|it| it.limit.is_none()).map(wish).collect();
    let mut lanes = Vec::new();
    if !main.is_empty() {
        lanes.push(Lane { suffix: String::new(), queues: main, concurrency });
    }
    for limited in wishes {
        if let Some(limit) = limited.limit {
            lanes.push(Lane {
                suffix: format!("/{}", limited.queue),
                queues: vec![v1::QueueWish { queue: limited.queue.clone(), weight: 0 }],
                concurrency: limit.min(concurrency),
            });
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_with_a_limit_has_a_lane_of_its_own() {
        let wish = |queue: &str, limit| Wish { queue: queue.into(), weight: 0, limit };
        let found = lanes(&[wish("a", None), wish("thumbs", Some(2)), wish("b", None)], 8);
        let told: Vec<_> = found
            .iter()
            .map(|lane| (lane.suffix.as_str(), lane.queues.len(), lane.concurrency))
            .collect();
        assert_eq!(told, [("", 2, 8), ("/thumbs", 1, 2)]);
    }
}
