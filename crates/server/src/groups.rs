//! Groups of consumers with members, whatever face these speak: the coordinators of each namespace
//! with a clock, and those who wait for their answers. How groups work is `longshore_kafka`'s.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_engine::ask::NoteGroups;
use longshore_kafka::codes;
use longshore_kafka::consumer_group::{self, Client as Heard, Topic};
use longshore_kafka::group::{Answer, Coordinator, Ticket};
use longshore_kafka::message::consumer_groups::{GroupView, Heartbeat, HeartbeatRequest};
use longshore_kafka::message::groups::GroupView as ClassicView;
use longshore_node::Node;
use longshore_streams::StreamLog;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::text::quoted;
use crate::kafka::topic_id;

/// How often the engine is told which groups have members, and of how many at a time.
const TELL: Duration = Duration::from_secs(600);
const TELL_GROUPS: usize = 500;
/// Namespaces of which groups are kept without looking whether they have any.
const NAMESPACES_KEPT: usize = 64;

/// The groups with members of all namespaces. Clones share them: whoever listens for Kafka clients
/// and whoever serves HTTP and gRPC is given the same, or a group would have two coordinators.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroups(Arc<All>);

#[derive(Debug, Default)]
struct All {
    of: Mutex<BTreeMap<String, Arc<Groups>>>,
    /// Something may be due earlier than was thought.
    changed: Arc<Notify>,
    /// Held by who keeps the time.
    keeper: tokio::sync::Mutex<()>,
}

impl ConsumerGroups {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Groups>>> {
        // No code between lock and unlock panics.
        self.0.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups of a namespace.
    pub(crate) fn of(&self, namespace: &str) -> Arc<Groups> {
        let mut all = self.all();
        if let Some(known) = all.get(namespace) {
            return Arc::clone(known);
        }
        if all.len() >= NAMESPACES_KEPT {
            all.retain(|_, groups| Arc::strong_count(groups) > 1 || !groups.used().is_empty());
        }
        let groups = Arc::new(Groups::new(Arc::clone(&self.0.changed)));
        all.insert(namespace.to_owned(), Arc::clone(&groups));
        groups
    }

    /// Does what time brings about, for as long as it is polled. Of several who ask for that one
    /// does it, and the next one once that has gone.
    pub(crate) async fn keep(self, node: Node) {
        let _turn = self.0.keeper.lock().await;
        tokio::join!(self.keep_time(), self.tell_used(&node));
    }

    async fn keep_time(&self) {
        loop {
            let due = self.all().values().filter_map(|groups| groups.next_due()).min();
            let Some(due) = due else {
                self.0.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {
                    let all: Vec<_> = self.all().values().map(Arc::clone).collect();
                    for groups in all {
                        groups.tick();
                    }
                }
                () = self.0.changed.notified() => {}
            }
        }
    }

    /// Tells the engine now and then which groups have members: their offsets are not forgotten by
    /// age.
    async fn tell_used(&self, node: &Node) {
        let mut tells = tokio::time::interval(TELL);
        loop {
            tells.tick().await;
            let used = |(name, groups): (&String, &Arc<Groups>)| (name.clone(), groups.used());
            let all: Vec<_> = self.all().iter().map(used).collect();
            for (namespace, names) in all {
                for groups in names.chunks(TELL_GROUPS) {
                    let command = NoteGroups { groups: groups.to_vec() }.into();
                    if let Err(why) = node.call(&namespace, command).await {
                        tracing::debug!(%why, "it is not told which groups have members");
                        break;
                    }
                }
            }
        }
    }
}

/// The groups of a namespace, of all threads.
#[derive(Debug)]
pub(crate) struct Groups {
    inner: Mutex<Inner>,
    start: Instant,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) coordinator: Coordinator,
    /// Of groups by KIP-848. A group with members is of one kind.
    pub(crate) consumers: consumer_group::Coordinator,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    next_ticket: u64,
}

impl Inner {
    fn next_due_ms(&self) -> Option<u64> {
        let due = [self.coordinator.next_due_ms(), self.consumers.next_due_ms()];
        due.into_iter().flatten().min()
    }

    pub(crate) fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Answer>) {
        self.next_ticket += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(self.next_ticket, sender);
        (Ticket(self.next_ticket), receiver)
    }

    fn deliver(&mut self) {
        for (Ticket(number), answer) in self.coordinator.take_answers() {
            if let Some(waiting) = self.waiting.remove(&number) {
                // Whoever waited may have gone; it asks again, or counts as silent.
                drop(waiting.send(answer));
            }
        }
    }
}

/// A group with members, of either kind.
#[derive(Debug)]
pub(crate) enum Known {
    /// One of the members assigns.
    Classic(ClassicView),
    /// The coordinator does.
    Consumer(GroupView),
}

/// Where a member looks for streams: the streams of its namespace, and what makes ids of theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) log: &'a StreamLog,
    pub(crate) namespace: &'a str,
    pub(crate) store_id: &'a str,
}

impl Streams<'_> {
    fn find(&self, name: &str) -> Option<Topic> {
        let stream = self.log.stream(self.namespace, name)?;
        let id = topic_id(self.store_id, stream.id);
        Some(Topic { id, partitions: i32::try_from(stream.partitions.len()).ok()? })
    }

    /// The id of a stream that is there.
    pub(crate) fn id(&self, name: &str) -> Option<[u8; 16]> {
        Some(self.find(name)?.id)
    }
}

impl Groups {
    fn new(changed: Arc<Notify>) -> Self {
        Self { inner: Mutex::default(), start: Instant::now(), changed }
    }

    /// Milliseconds since there are such groups.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// No code between lock and unlock panics half-way through a change.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the coordinator, and tells those whom it concerns.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Inner, u64) -> T) -> T {
        let mut inner = self.inner();
        let before = inner.next_due_ms();
        let result = act(&mut inner, self.now_ms());
        inner.deliver();
        let earlier = match (before, inner.next_due_ms()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(after)) => after < before,
        };
        drop(inner);
        if earlier {
            self.changed.notify_one();
        }
        result
    }

    fn next_due(&self) -> Option<Instant> {
        Some(self.start + Duration::from_millis(self.inner().next_due_ms()?))
    }

    fn tick(&self) {
        self.with(|inner, now_ms| {
            inner.coordinator.tick(now_ms);
            inner.consumers.tick(now_ms);
        });
    }

    /// The names of all groups with members.
    pub(crate) fn used(&self) -> Vec<String> {
        let inner = self.inner();
        inner.coordinator.names().chain(inner.consumers.names()).cloned().collect()
    }

    pub(crate) fn has_members(&self, group: &str) -> bool {
        let inner = self.inner();
        inner.coordinator.has_members(group) || inner.consumers.has_members(group)
    }

    /// How many members a group has.
    pub(crate) fn members(&self, group: &str) -> usize {
        match self.known(group) {
            None => 0,
            Some(Known::Classic(view)) => view.members.len(),
            Some(Known::Consumer(view)) => view.members.len(),
        }
    }

    /// A group, where it has members.
    pub(crate) fn known(&self, group: &str) -> Option<Known> {
        let inner = self.inner();
        if let Some(view) = inner.consumers.view(group) {
            return Some(Known::Consumer(view));
        }
        if !inner.coordinator.has_members(group) {
            return None;
        }
        let mut views = inner.coordinator.views(Some(&[group.to_owned()]));
        views.pop().map(Known::Classic)
    }

    /// A member of a group in which the coordinator assigns is there, comes or goes.
    pub(crate) fn hear(
        &self,
        request: HeartbeatRequest,
        client: Heard,
        streams: Streams<'_>,
    ) -> Heartbeat {
        let random = Uuid::now_v7().as_u128();
        self.with(|inner, now_ms| {
            if inner.coordinator.has_members(&request.group) {
                let why = "the group has members in which one of them assigns";
                let (error, message) = (codes::GROUP_ID_NOT_FOUND, Some(why.to_owned()));
                return Heartbeat { error, message, ..Heartbeat::default() };
            }
            inner.consumers.heartbeat(now_ms, random, request, client, &|name| streams.find(name))
        })
    }

    /// Whether a member may commit offsets, or whoever is none where it says no generation.
    pub(crate) fn may_commit(
        &self,
        group: &str,
        generation: i32,
        (member, instance): (&str, Option<&str>),
    ) -> i16 {
        self.with(|inner, now_ms| {
            if let Some(code) = inner.consumers.may_commit(group, generation, member) {
                return code;
            }
            inner.coordinator.may_commit(now_ms, (group, generation), member, instance)
        })
    }
}

/// What a coordinator refuses, in the words of HTTP and gRPC.
pub(crate) fn refusal_of(code: i16, group: &str, why: Option<String>) -> Refusal {
    let group = quoted(group);
    match code {
        codes::UNKNOWN_MEMBER_ID | codes::FENCED_MEMBER_EPOCH | codes::FENCED_INSTANCE_ID => {
            let detail = format!("group {group} does not know this member (any more); join again");
            Refusal::new(Code::MemberUnknown, detail).field("member")
        }
        codes::STALE_MEMBER_EPOCH | codes::ILLEGAL_GENERATION | codes::REBALANCE_IN_PROGRESS => {
            let detail = format!("the member of group {group} is at another epoch by now");
            Refusal::new(Code::MemberBehind, detail).field("epoch")
        }
        codes::GROUP_ID_NOT_FOUND => {
            let why = why.unwrap_or_else(|| "it has members of another kind".to_owned());
            Refusal::new(Code::GroupHasMembers, format!("group {group}: {why}")).field("group")
        }
        codes::GROUP_MAX_SIZE_REACHED => {
            let why = why.unwrap_or_else(|| "there are too many members".to_owned());
            Refusal::new(Code::TooManyConsumers, format!("group {group}: {why}")).field("group")
        }
        code => {
            let why = why.unwrap_or_else(|| format!("the code {code} of Kafka's protocol"));
            Refusal::value("group", group, why)
        }
    }
}

/// How far a group with members has read is theirs to say.
pub(crate) fn has_members(group: &str) -> Refusal {
    let detail = format!("group {} has members: they say how far it has read", quoted(group));
    let allowed = "a group without members".to_owned();
    Refusal::new(Code::GroupHasMembers, detail).about("group", quoted(group), allowed)
}
