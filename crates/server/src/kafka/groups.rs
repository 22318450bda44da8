//! Requests about groups of consumers. Their coordinators are in `crate::groups`.

use std::collections::BTreeSet;

use longshore_engine::ask::{ForgetGroup, GetOffsets};
use longshore_kafka::group::{Answer, Client};
use longshore_kafka::message::groups::{
    DeleteRequest, DescribeRequest, GroupView, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
    ListRequest, SyncRequest, Synced, put_delete, put_describe, put_heartbeat, put_join, put_leave,
    put_list, put_sync,
};
use longshore_kafka::{Header, Reply, codes};
use uuid::Uuid;

use super::codes_of::of_coordinator;
use super::face::Face;
use crate::access::{ADMIN, CONSUME, PROGRESS};

/// From this version on a member gets its name before it joins.
const JOIN_WITH_NAME: i16 = 4;

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
