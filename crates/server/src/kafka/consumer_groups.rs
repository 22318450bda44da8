//! Requests about groups by KIP-848.

use std::collections::BTreeSet;

use longshore_kafka::consumer_group::Client;
use longshore_kafka::message::consumer_groups::{
    GroupView, Heartbeat, HeartbeatRequest, put_describe, put_heartbeat,
};
use longshore_kafka::message::groups::GroupView as Listed;
use longshore_kafka::{Header, Reply, codes};

use super::face::Face;
use crate::access::{CONSUME, PROGRESS};
use crate::groups::Streams;

impl Face {
    /// A member of a group is there, comes or goes.
    pub(super) fn hear_member(
        &self,
        reply: &mut Reply,
        header: &Header,
        request: HeartbeatRequest,
        host: String,
    ) {
        let refused = |error, why: &str| {
            let message = Some(why.to_owned());
            Heartbeat { error, message, ..Heartbeat::default() }
        };
        if !self.has(CONSUME, &request.group) {
            let why = "the account has no role for this group";
            return put_heartbeat(reply, &refused(codes::GROUP_AUTHORIZATION_FAILED, why));
        }
        // What a member cannot fetch nobody else would get.
        if request.topics.iter().flatten().any(|name| !self.has(CONSUME, name)) {
            let why = "the account may not consume all of these topics";
            return put_heartbeat(reply, &refused(codes::TOPIC_AUTHORIZATION_FAILED, why));
        }
        let log = match self.log() {
            Ok(log) => log,
            Err((_, why)) => {
                return put_heartbeat(reply, &refused(codes::COORDINATOR_NOT_AVAILABLE, &why));
            }
        };
        let namespace = self.config.namespace.as_str();
        let streams = Streams { log: &log, namespace, store_id: &self.cluster_id };
        let client = Client { id: header.client_id.clone(), host };
        let told = self.groups.hear(request, client, streams);
        put_heartbeat(reply, &told);
    }

    pub(super) fn describe_consumer_groups(
        &self,
        reply: &mut Reply,
        version: i16,
        mut groups: Vec<String>,
    ) {
        // Each once: a group is told with all of its members.
        let mut told = BTreeSet::new();
        groups.retain(|group| told.insert(group.clone()));
        let mut views = Vec::new();
        for group in groups {
            let may = self.has(PROGRESS, &group);
            let known = may.then(|| self.groups.inner().consumers.view(&group)).flatten();
            views.push(known.unwrap_or_else(|| GroupView {
                error: if may {
                    codes::GROUP_ID_NOT_FOUND
                } else {
                    codes::GROUP_AUTHORIZATION_FAILED
                },
                message: Some("there is no such group with members".to_owned()),
                group,
                state: "Dead",
                ..GroupView::default()
            }));
        }
        put_describe(reply, version, &views);
    }

    /// These groups as they are listed.
    pub(super) fn consumer_group_views(&self) -> Vec<Listed> {
        let inner = self.groups.inner();
        let names = inner.consumers.names();
        let listed = |name: &String| {
            let state = inner.consumers.state(name)?;
            let (group, protocol_type) = (name.clone(), "consumer".to_owned());
            Some(Listed { group, state, protocol_type, is_consumer: true, ..Listed::default() })
        };
        names.filter_map(listed).collect()
    }
}
