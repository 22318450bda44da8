//! Groups: the coordinator with a clock, and those who wait for its answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_engine::ask::{ForgetGroup, GetOffsets, NoteGroups};
use longshore_kafka::group::{Answer, Client, Coordinator, Ticket};
use longshore_kafka::message::groups::{
    DeleteRequest, DescribeRequest, GroupView, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
    ListRequest, SyncRequest, Synced, put_delete, put_describe, put_heartbeat, put_join, put_leave,
    put_list, put_sync,
};
use longshore_kafka::{Header, Reply, codes, consumer_group};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::codes_of::of_coordinator;
use super::face::Face;
use crate::access::{ADMIN, CONSUME, PROGRESS};

/// How often the engine is told which groups have members, and of how many at a time.
const TELL: Duration = Duration::from_secs(600);
const TELL_GROUPS: usize = 500;

/// From this version on a member gets its name before it joins.
const JOIN_WITH_NAME: i16 = 4;

/// The groups of a namespace, of all threads.
#[derive(Debug)]
pub(super) struct Groups {
    inner: Mutex<Inner>,
    start: Instant,
    /// Something may be due earlier than was thought.
    changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) coordinator: Coordinator,
    /// Of groups by KIP-848. A group with members is of one kind.
    pub(super) consumers: consumer_group::Coordinator,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    next_ticket: u64,
}

impl Inner {
    fn next_due_ms(&self) -> Option<u64> {
        let due = [self.coordinator.next_due_ms(), self.consumers.next_due_ms()];
        due.into_iter().flatten().min()
    }

    fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Answer>) {
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

impl Groups {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default(), start: Instant::now(), changed: Notify::new() }
    }

    /// Milliseconds since this face began.
    pub(super) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// No code between lock and unlock panics half-way through a change.
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the coordinator, and tells those whom it concerns.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Inner, u64) -> T) -> T {
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

    /// Has done what time brings about, for as long as it is polled.
    pub(super) async fn keep_time(&self) {
        loop {
            let due_ms = self.inner().next_due_ms();
            let Some(due_ms) = due_ms else {
                self.changed.notified().await;
                continue;
            };
            let at = self.start + Duration::from_millis(due_ms);
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {
                    self.with(|inner, now_ms| {
                        inner.coordinator.tick(now_ms);
                        inner.consumers.tick(now_ms);
                    });
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// The names of all groups with members.
    fn used(&self) -> Vec<String> {
        let inner = self.inner();
        inner.coordinator.names().chain(inner.consumers.names()).cloned().collect()
    }

    fn has_members(&self, group: &str) -> bool {
        let inner = self.inner();
        inner.coordinator.has_members(group) || inner.consumers.has_members(group)
    }

    pub(super) fn may_commit(
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

impl Face {
    pub(super) async fn join(
        &self,
        reply: &mut Reply,
        header: &Header,
        request: JoinRequest,
        host: String,
    ) {
        let client = Client {
            id: header.client_id.clone(),
            host,
            takes_name_first: header.version >= JOIN_WITH_NAME,
        };
        if !self.has(CONSUME, &request.group) {
            let error = codes::GROUP_AUTHORIZATION_FAILED;
            return put_join(reply, header.version, &Joined { error, ..Joined::default() });
        }
        let random = Uuid::now_v7().as_u128();
        let answer = self.groups.with(|inner, now_ms| {
            if inner.consumers.has_members(&request.group) {
                return None;
            }
            let (ticket, answer) = inner.ticket();
            inner.coordinator.join(now_ms, random, ticket, request, client);
            Some(answer)
        });
        let Some(answer) = answer else {
            let error = codes::INCONSISTENT_GROUP_PROTOCOL;
            return put_join(reply, header.version, &Joined { error, ..Joined::default() });
        };
        let joined = match answer.await {
            Ok(Answer::Joined(joined)) => joined,
            _ => Joined { error: codes::COORDINATOR_NOT_AVAILABLE, ..Joined::default() },
        };
        put_join(reply, header.version, &joined);
    }

    pub(super) async fn sync(&self, reply: &mut Reply, version: i16, request: SyncRequest) {
        if !self.has(CONSUME, &request.group) {
            let error = codes::GROUP_AUTHORIZATION_FAILED;
            return put_sync(reply, version, &Synced { error, ..Synced::default() });
        }
        let answer = self.groups.with(|inner, now_ms| {
            let (ticket, answer) = inner.ticket();
            inner.coordinator.sync(now_ms, ticket, &request);
            answer
        });
        let synced = match answer.await {
            Ok(Answer::Synced(synced)) => synced,
            _ => Synced { error: codes::COORDINATOR_NOT_AVAILABLE, ..Synced::default() },
        };
        put_sync(reply, version, &synced);
    }

    pub(super) fn heartbeat(&self, reply: &mut Reply, version: i16, request: &HeartbeatRequest) {
        let HeartbeatRequest { group, generation, member, instance } = request;
        if !self.has(CONSUME, group) {
            return put_heartbeat(reply, version, codes::GROUP_AUTHORIZATION_FAILED);
        }
        let code = self.groups.with(|inner, now_ms| {
            let at = (group.as_str(), *generation);
            inner.coordinator.heartbeat(now_ms, at, member, instance.as_deref())
        });
        put_heartbeat(reply, version, code);
    }

    pub(super) fn leave(&self, reply: &mut Reply, version: i16, request: &LeaveRequest) {
        if !self.has(CONSUME, &request.group) {
            let refused = vec![codes::GROUP_AUTHORIZATION_FAILED; request.members.len()];
            return put_leave(reply, version, request, &refused);
        }
        let results = self.groups.with(|inner, now_ms| {
            let leave = |(member, instance): &(String, Option<String>)| {
                inner.coordinator.leave(now_ms, &request.group, member, instance.as_deref())
            };
            request.members.iter().map(leave).collect::<Vec<_>>()
        });
        put_leave(reply, version, request, &results);
    }

    pub(super) async fn describe_groups(
        &self,
        reply: &mut Reply,
        version: i16,
        mut request: DescribeRequest,
    ) {
        // Each once: a group is told with all of its members.
        let mut told = BTreeSet::new();
        // Of those that it may not look at, an account is told as of those that are not there.
        request.groups.retain(|group| told.insert(group.clone()));
        let mut views = self.groups.inner().coordinator.views(Some(&request.groups));
        for view in &mut views {
            if !self.has(PROGRESS, &view.group) {
                let group = std::mem::take(&mut view.group);
                *view = GroupView { group, state: "Dead", ..GroupView::default() };
                continue;
            }
            // One without members exists for as long as something is remembered of it.
            let is_consumer = self.groups.inner().consumers.has_members(&view.group);
            if view.state == "Dead" && !is_consumer && self.has_offsets(&view.group).await {
                view.state = "Empty";
                "consumer".clone_into(&mut view.protocol_type);
            }
        }
        put_describe(reply, version, &views);
    }

    /// Tells the engine now and then which groups have members, for as long as it is polled: their
    /// offsets are not forgotten by age.
    pub(super) async fn tell_used_groups(self: Arc<Self>) {
        let mut tells = tokio::time::interval(TELL);
        loop {
            tells.tick().await;
            for groups in self.groups.used().chunks(TELL_GROUPS) {
                let told = self.ask(NoteGroups { groups: groups.to_vec() }).await;
                if let Err((_, why)) = told {
                    tracing::debug!(why, "it is not told which groups have members");
                    break;
                }
            }
        }
    }

    async fn has_offsets(&self, group: &str) -> bool {
        let offsets = self.ask(GetOffsets { group: group.to_owned(), of: None }).await;
        offsets.is_ok_and(|offsets| !offsets.is_empty())
    }

    pub(super) fn list_groups(&self, reply: &mut Reply, version: i16, request: &ListRequest) {
        let mut views = self.groups.inner().coordinator.views(None);
        views.extend(self.consumer_group_views());
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|it| it.eq_ignore_ascii_case(name))
        };
        views.retain(|view| among(&request.states, view.state));
        views.retain(|view| self.has(PROGRESS, &view.group));
        views.retain(|view| {
            among(&request.types, if view.is_consumer { "consumer" } else { "classic" })
        });
        put_list(reply, version, &views);
    }

    pub(super) async fn delete_groups(&self, reply: &mut Reply, request: DeleteRequest) {
        let mut results = Vec::new();
        for group in request.groups {
            let code = self.delete_group(&group).await;
            results.push((group, code));
        }
        put_delete(reply, &results);
    }

    async fn delete_group(&self, group: &str) -> i16 {
        if !self.has(ADMIN, group) {
            return codes::GROUP_AUTHORIZATION_FAILED;
        }
        if self.groups.has_members(group) {
            return codes::NON_EMPTY_GROUP;
        }
        let mut any = false;
        loop {
            match self.ask(ForgetGroup { group: group.to_owned() }).await {
                Ok((offsets, more)) => {
                    any |= offsets > 0;
                    if !more {
                        return if any { codes::NONE } else { codes::GROUP_ID_NOT_FOUND };
                    }
                }
                Err(refused) => return of_coordinator(refused),
            }
        }
    }
}
