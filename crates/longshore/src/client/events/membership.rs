//! Being a member of a group: saying so every second, and hearing which partitions are to be read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_proto::v1;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::super::{Client, ClientError};
use super::ask;
use crate::backoff::Backoff;

/// How often a member says that it is there. The server asks for every five seconds: oftener, since
/// partitions change hands with what members say.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a member that leaves says so, at most.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// Epochs that say something else.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;

/// One member of a group, for as long as this is there.
#[derive(Debug)]
pub(super) struct Membership {
    inner: Arc<Inner>,
    keeping: Option<JoinHandle<()>>,
    stop: Option<DropGuard>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    group: String,
    stream: String,
    member: String,
    shared: Mutex<Shared>,
    /// The reader is to look at what it reads.
    changed: Notify,
    /// The server has told something new: whoever was behind may go on.
    told: Notify,
    /// The server is to hear of the reader at once.
    beat: Notify,
}

#[derive(Debug, Default)]
struct Shared {
    epoch: i32,
    /// How often the group has forgotten the member: what was read before is no longer its.
    life: u64,
    /// What is to be read.
    target: BTreeSet<u32>,
    /// What was taken and is not given back yet; some of it may be no target any more.
    held: BTreeSet<u32>,
    /// Why it is no member.
    ended: Option<ClientError>,
}

/// What a member is to read.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Another one than before: whatever was read is no longer its.
    pub(super) life: u64,
    pub(super) target: BTreeSet<u32>,
}

/// Whether a call may be made again later, when the server is there or has room.
pub(super) fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(refusal) => refusal.is_fault || refusal.retry_after.is_some(),
        _ => false,
    }
}

/// Whether the group does not know the member any more.
pub(super) fn is_forgotten(error: &ClientError) -> bool {
    error.code() == Some("member_unknown")
}

impl Membership {
    /// Joins a group for a stream, and stays in it.
    pub(super) fn join(client: &Client, group: &str, stream: &str) -> Self {
        let inner = Arc::new(Inner {
            client: client.clone(),
            group: group.to_owned(),
            stream: stream.to_owned(),
            member: Uuid::now_v7().to_string(),
            shared: Mutex::default(),
            changed: Notify::new(),
            told: Notify::new(),
            beat: Notify::new(),
        });
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(Arc::clone(&inner).keep(stop.clone()));
        Self { inner, keeping: Some(keeping), stop: Some(stop.drop_guard()) }
    }

    /// Leaves the group: others have its partitions at once.
    pub(super) async fn leave(mut self) {
        drop(self.stop.take());
        if let Some(keeping) = self.keeping.take() {
            // It ends by itself, and panics nowhere.
            let _ = keeping.await;
        }
    }

    /// Is ready once there may be something else to read.
    pub(super) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// What is to be read.
    pub(super) fn wanted(&self) -> Result<Wanted, ClientError> {
        let shared = self.inner.shared();
        match &shared.ended {
            Some(error) => Err(error.clone()),
            None => Ok(Wanted { life: shared.life, target: shared.target.clone() }),
        }
    }

    /// Begins to read a partition; not where others are to have it meanwhile.
    pub(super) fn take(&self, life: u64, partition: u32) -> bool {
        let mut shared = self.inner.shared();
        let may = shared.life == life && shared.target.contains(&partition);
        if may {
            shared.held.insert(partition);
        }
        may
    }

    /// Reads no more what others are to read, but for the partition in hand, and has the server
    /// hear of it. Which these are.
    pub(super) fn let_go(&self, life: u64, in_hand: Option<u32>) -> Vec<u32> {
        let mut shared = self.inner.shared();
        // Of another life nothing is held.
        if shared.life != life {
            return Vec::new();
        }
        let gone = shared.held.difference(&shared.target).copied();
        let gone: Vec<u32> = gone.filter(|partition| Some(*partition) != in_hand).collect();
        for partition in &gone {
            shared.held.remove(partition);
        }
        if !gone.is_empty() {
            self.inner.beat.notify_one();
        }
        gone
    }

    /// Whether a partition is still to be read: not where it is no member any more.
    pub(super) fn is_to_read(&self, life: u64, partition: u32) -> bool {
        let shared = self.inner.shared();
        shared.life == life && shared.ended.is_none() && shared.target.contains(&partition)
    }

    /// What to commit as: the name, and the epoch where it is still the same member.
    pub(super) fn stamp(&self, life: u64) -> Option<(String, i32)> {
        let shared = self.inner.shared();
        (shared.life == life).then(|| (self.inner.member.clone(), shared.epoch))
    }

    /// Hears the epoch that the group has by now.
    pub(super) async fn catch_up(&self) {
        self.inner.beat.notify_one();
        // It may have been told just before.
        let _ = timeout(INTERVAL, self.inner.told.notified()).await;
    }

    /// The group has forgotten the member of that life: it joins again.
    pub(super) fn forgotten(&self, life: u64) {
        self.inner.forgotten(life);
        self.inner.beat.notify_one();
    }
}

impl Inner {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        // No code between lock and unlock panics.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut backoff = Backoff::new(INTERVAL, 5 * INTERVAL);
        while !stop.is_cancelled() {
            let (life, request) = self.request();
            let answer = tokio::select! {
                () = stop.cancelled() => break,
                answer = self.say(request) => answer,
            };
            let mut wait = INTERVAL;
            match answer {
                Ok(told) => {
                    backoff.reset();
                    self.hear(life, told);
                }
                Err(error) if is_forgotten(&error) => {
                    tracing::info!(group = self.group, "the group has forgotten its member");
                    self.forgotten(life);
                    continue;
                }
                Err(error) if passes(&error) => {
                    tracing::warn!(group = self.group, %error, "the group is not reached");
                    wait = backoff.next();
                }
                Err(error) => {
                    self.shared().ended = Some(error);
                    return self.changed.notify_one();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.beat.notified() => {}
                () = stop.cancelled() => break,
            }
        }
        let (_, mut request) = self.request();
        // Whoever has not joined has nothing to leave, and nothing is lost where nobody hears it.
        request.epoch = LEAVES;
        let _ = timeout(LEAVE_MAX, self.say(request)).await;
    }

    fn request(&self) -> (u64, v1::HeartbeatGroupRequest) {
        let shared = self.shared();
        // The target too: the reader may take a partition of it while this request is repeated, and
        // the server must not give that one to another member.
        let partitions: Vec<u32> = shared.held.union(&shared.target).copied().collect();
        let owned = v1::StreamPartitions { stream: self.stream.clone(), partitions };
        let request = v1::HeartbeatGroupRequest {
            namespace: self.client.namespace().into(),
            group: self.group.clone(),
            member: self.member.clone(),
            epoch: shared.epoch,
            streams: vec![self.stream.clone()],
            owned: if shared.epoch == JOINS { Vec::new() } else { vec![owned] },
            rebalance_ms: 0,
            client: "longshore-rust".into(),
        };
        (shared.life, request)
    }

    async fn say(
        &self,
        request: v1::HeartbeatGroupRequest,
    ) -> Result<v1::HeartbeatGroupResponse, ClientError> {
        ask!(self.client, heartbeat_group, request)
    }

    fn hear(&self, life: u64, told: v1::HeartbeatGroupResponse) {
        let mut shared = self.shared();
        if shared.life != life {
            return;
        }
        let of = told.assigned.into_iter().filter(|it| it.stream == self.stream);
        let target: BTreeSet<u32> = of.flat_map(|it| it.partitions).collect();
        if shared.target != target || shared.epoch != told.epoch {
            (shared.target, shared.epoch) = (target, told.epoch);
            self.changed.notify_one();
            self.told.notify_one();
        }
    }

    fn forgotten(&self, life: u64) {
        let mut shared = self.shared();
        if shared.life == life {
            // The reader is still to hear why it ended.
            let ended = shared.ended.take();
            *shared = Shared { life: life + 1, ended, ..Shared::default() };
            self.changed.notify_one();
            self.told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let inner = Inner {
            client: Client::new("http://127.0.0.1:1").unwrap(),
            group: "g".to_owned(),
            stream: "s".to_owned(),
            member: "m".to_owned(),
            shared: Mutex::default(),
            changed: Notify::new(),
            told: Notify::new(),
            beat: Notify::new(),
        };
        Membership { inner: Arc::new(inner), keeping: None, stop: None }
    }

    fn told(epoch: i32, partitions: &[u32]) -> v1::HeartbeatGroupResponse {
        let partitions = partitions.to_vec();
        let assigned = vec![v1::StreamPartitions { stream: "s".to_owned(), partitions }];
        v1::HeartbeatGroupResponse { epoch, assigned, ..Default::default() }
    }

    fn owned(membership: &Membership) -> Vec<u32> {
        membership.inner.request().1.owned.remove(0).partitions
    }

    /// A reader that was forgotten after its end waited for ever.
    #[tokio::test]
    async fn whoever_is_forgotten_after_its_end_still_hears_of_that() {
        let it = membership();
        it.inner.hear(0, told(1, &[0]));
        assert!(it.is_to_read(0, 0));
        it.inner.shared().ended = Some(ClientError::NoRuntime);
        assert!(!it.is_to_read(0, 0), "it ends at the next event");
        it.forgotten(0);
        assert!(it.wanted().is_err());
    }

    /// Another member must not get what the reader may take while a heartbeat is repeated.
    #[tokio::test]
    async fn a_heartbeat_owns_what_may_be_taken_and_what_was_not_given_back() {
        let it = membership();
        it.inner.hear(0, told(1, &[3, 5]));
        assert_eq!(owned(&it), [3, 5], "nothing of it is taken yet");
        assert!(it.take(0, 5));
        it.inner.hear(0, told(2, &[3]));
        assert_eq!(owned(&it), [3, 5]);
        assert_eq!(it.let_go(0, Some(5)), [0; 0], "it is in hand");
        assert_eq!(it.let_go(0, None), [5]);
        assert_eq!(owned(&it), [3]);
    }
}
