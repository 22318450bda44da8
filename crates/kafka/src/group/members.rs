//! Members come, come back, and go.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Answer, BYTES_MAX, Client, Coordinator, ENTRY_BYTES, GROUPS_MAX, Group, MEMBERS_MAX, Member,
    PROTOCOLS_MAX, SESSION_MS_MAX, SESSION_MS_MIN, State, Ticket,
};
use crate::codes;
use crate::message::groups::{JoinRequest, Joined, MemberView, SyncRequest, Synced};

/// An error code, and the member that it is told to.
type JoinError = (i16, String);

impl Coordinator {
    pub(super) fn try_join(
        &mut self,
        now_ms: u64,
        random: u128,
        ticket: Ticket,
        request: JoinRequest,
        client: Client,
    ) -> Result<(), JoinError> {
        let refused = |error| (error, request.member.clone());
        if request.group.is_empty() {
            return Err(refused(codes::INVALID_GROUP_ID));
        }
        if !(SESSION_MS_MIN..=SESSION_MS_MAX).contains(&request.session_timeout_ms) {
            return Err(refused(codes::INVALID_SESSION_TIMEOUT));
        }
        let protocols = 1..=PROTOCOLS_MAX;
        if !protocols.contains(&request.protocols.len()) || request.protocol_type.is_empty() {
            return Err(refused(codes::INCONSISTENT_GROUP_PROTOCOL));
        }
        let asks = asked_bytes(&request, &client);
        let full = !self.groups.contains_key(&request.group) && self.groups.len() >= GROUPS_MAX;
        if full || self.bytes + asks > BYTES_MAX {
            return Err(refused(codes::GROUP_MAX_SIZE_REACHED));
        }
        if !request.member.is_empty() && !self.groups.contains_key(&request.group) {
            return Err(refused(codes::UNKNOWN_MEMBER_ID));
        }
        let new = || Group::new(&request.group, request.protocol_type.clone());
        let group = self.groups.entry(request.group.clone()).or_insert_with(new);
        group.join(now_ms, random, ticket, request, client, &mut self.answers)
    }

    /// A member asks what it gets, and the leader says who gets what. The answer comes with the
    /// ticket.
    pub fn sync(&mut self, now_ms: u64, ticket: Ticket, request: &SyncRequest) {
        let answers = &mut Vec::new();
        let left = BYTES_MAX.saturating_sub(self.bytes);
        let group = self.known(&request.group, &request.member, request.instance.as_deref());
        let done = group.and_then(|group| group.sync(now_ms, ticket, (request, left), answers));
        self.answers.append(answers);
        self.settle(&request.group);
        if let Err(error) = done {
            let synced = Synced { error, ..Synced::default() };
            self.answers.push((ticket, Answer::Synced(synced)));
        }
    }

    /// A member goes, by its name or that of its instance. Answers an error code.
    pub fn leave(&mut self, now_ms: u64, name: &str, member: &str, instance: Option<&str>) -> i16 {
        let Some(group) = self.groups.get_mut(name) else { return codes::UNKNOWN_MEMBER_ID };
        let id = match instance {
            Some(instance) => match group.instances.get(instance) {
                None => return codes::UNKNOWN_MEMBER_ID,
                Some(id) if !member.is_empty() && id != member => {
                    return codes::FENCED_INSTANCE_ID;
                }
                Some(id) => id.clone(),
            },
            None => member.to_owned(),
        };
        if !group.forget_name(&id) && !group.members.contains_key(&id) {
            return codes::UNKNOWN_MEMBER_ID;
        }
        group.remove(&id, &mut self.answers);
        group.rebalance(now_ms, &mut self.answers);
        self.settle(name);
        codes::NONE
    }
}

impl Group {
    fn join(
        &mut self,
        now_ms: u64,
        random: u128,
        ticket: Ticket,
        request: JoinRequest,
        client: Client,
        answers: &mut Vec<(Ticket, Answer)>,
    ) -> Result<(), JoinError> {
        let refused = |error| (error, request.member.clone());
        if self.members.is_empty() {
            self.protocol_type.clone_from(&request.protocol_type);
        }
        if self.protocol_type != request.protocol_type || !self.is_shared(&request) {
            return Err(refused(codes::INCONSISTENT_GROUP_PROTOCOL));
        }
        let known = request.instance.as_ref().and_then(|it| self.instances.get(it)).cloned();
        let mut id = request.member.clone();
        if id.is_empty() {
            id = name_of(&request, &client, random);
            if let Some(known) = known {
                // The instance is there again, under another name; the old one is powerless.
                self.rename(&known, &id, answers);
            } else if request.instance.is_none() && client.takes_name_first {
                if self.members.len() + self.named.len() >= MEMBERS_MAX {
                    return Err(refused(codes::GROUP_MAX_SIZE_REACHED));
                }
                let session_ms = u64::try_from(request.session_timeout_ms).unwrap_or_default();
                self.give_name(&id, now_ms + session_ms);
                return Err((codes::MEMBER_ID_REQUIRED, id));
            }
        } else if known.is_some_and(|known| known != id) {
            return Err(refused(codes::FENCED_INSTANCE_ID));
        } else if !self.forget_name(&id) && !self.members.contains_key(&id) {
            return Err(refused(codes::UNKNOWN_MEMBER_ID));
        }
        if !self.members.contains_key(&id) && self.members.len() >= MEMBERS_MAX {
            return Err(refused(codes::GROUP_MAX_SIZE_REACHED));
        }
        self.take(now_ms, ticket, &id, request, client, answers);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str, answers: &mut Vec<(Ticket, Answer)>) {
        let Some(mut member) = self.take_member(from) else { return };
        let error = codes::FENCED_INSTANCE_ID;
        if let Some(ticket) = member.joining.take() {
            let joined = Joined { error, member: from.to_owned(), ..Joined::default() };
            answers.push((ticket, Answer::Joined(joined)));
        }
        if let Some(ticket) = member.syncing.take() {
            answers.push((ticket, Answer::Synced(Synced { error, ..Synced::default() })));
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), to.to_owned());
        }
        if self.leader == from {
            to.clone_into(&mut self.leader);
        }
        self.put_member(to, member);
    }

    /// Takes the member in, and says what follows from it.
    fn take(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        id: &str,
        request: JoinRequest,
        client: Client,
        answers: &mut Vec<(Ticket, Answer)>,
    ) {
        let JoinRequest { instance, protocols, .. } = request;
        let protocols = kept(protocols);
        let known = self.take_member(id);
        let same = known.as_ref().is_some_and(|member| member.protocols == protocols);
        let assignment = known.as_ref().map(|member| member.assignment.clone()).unwrap_or_default();
        if let Some(older) = known.as_ref().and_then(|member| member.joining) {
            // It asked again over another connection.
            let error = codes::UNKNOWN_MEMBER_ID;
            let joined = Joined { error, member: id.to_owned(), ..Joined::default() };
            answers.push((older, Answer::Joined(joined)));
        }
        let former = known.as_ref().and_then(|member| member.instance.clone());
        if let Some(former) = former.filter(|former| Some(former) != instance.as_ref()) {
            self.forget_instance(&former, id);
        }
        if let Some(older) = known.and_then(|member| member.syncing) {
            // It joins instead of waiting for what it gets.
            let error = codes::REBALANCE_IN_PROGRESS;
            answers.push((older, Answer::Synced(Synced { error, ..Synced::default() })));
        }
        if let Some(instance) = &instance {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        let millis = |ms: i32| u64::try_from(ms).unwrap_or_default();
        let session_ms = millis(request.session_timeout_ms);
        let rebalance_ms = millis(request.rebalance_timeout_ms);
        let member = Member {
            instance,
            client,
            session_ms,
            rebalance_ms,
            protocols,
            assignment,
            expires_ms: now_ms + session_ms,
            joining: Some(ticket),
            syncing: None,
        };
        self.put_member(id, member);
        let repeats = match self.state {
            State::Completing => same,
            State::Stable => same && self.leader != id,
            State::Preparing { .. } => false,
        };
        if repeats {
            // Its answer was lost: the generation stands.
            let joined = self.joined(id);
            if let Some(member) = self.members.get_mut(id) {
                member.joining = None;
            }
            answers.push((ticket, Answer::Joined(joined)));
        } else {
            self.rebalance(now_ms, answers);
        }
    }

    fn sync(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        (request, bytes_left): (&SyncRequest, usize),
        answers: &mut Vec<(Ticket, Answer)>,
    ) -> Result<(), i16> {
        if self.generation != request.generation {
            return Err(codes::ILLEGAL_GENERATION);
        }
        match self.state {
            State::Preparing { .. } => return Err(codes::REBALANCE_IN_PROGRESS),
            State::Completing | State::Stable => {}
        }
        let completing = self.state == State::Completing;
        let assigns = completing && self.leader == request.member;
        let given: BTreeMap<&str, &Bytes> = if assigns {
            request.assignments.iter().map(|(to, what)| (to.as_str(), what)).collect()
        } else {
            BTreeMap::new()
        };
        let asks: usize =
            self.members.keys().filter_map(|id| given.get(id.as_str())).map(|it| it.len()).sum();
        if asks > bytes_left {
            return Err(codes::UNKNOWN_SERVER_ERROR);
        }
        if let Some(member) = self.members.get_mut(&request.member) {
            member.heard(now_ms);
            let older = member.syncing.replace(ticket);
            if let Some(older) = older {
                let error = codes::UNKNOWN_MEMBER_ID;
                answers.push((older, Answer::Synced(Synced { error, ..Synced::default() })));
            }
        }
        if assigns {
            for (id, member) in &mut self.members {
                let given = given.get(id.as_str());
                let before = member.assignment.len();
                // A copy of its own: a slice would keep the whole request.
                member.assignment = given.map(|it| Bytes::copy_from_slice(it)).unwrap_or_default();
                self.bytes = self.bytes - before + member.assignment.len();
            }
            self.state = State::Stable;
        }
        if self.state == State::Stable {
            self.answer_syncs(now_ms, answers);
        }
        Ok(())
    }

    fn answer_syncs(&mut self, now_ms: u64, answers: &mut Vec<(Ticket, Answer)>) {
        for member in self.members.values_mut() {
            let Some(ticket) = member.syncing.take() else { continue };
            member.heard(now_ms);
            let synced = Synced {
                error: codes::NONE,
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            };
            answers.push((ticket, Answer::Synced(synced)));
        }
    }

    /// A member is no more. Whoever waited for it hears that.
    pub(super) fn remove(&mut self, id: &str, answers: &mut Vec<(Ticket, Answer)>) {
        let Some(member) = self.take_member(id) else { return };
        let error = codes::UNKNOWN_MEMBER_ID;
        if let Some(ticket) = member.joining {
            let joined = Joined { error, member: id.to_owned(), ..Joined::default() };
            answers.push((ticket, Answer::Joined(joined)));
        }
        if let Some(ticket) = member.syncing {
            answers.push((ticket, Answer::Synced(Synced { error, ..Synced::default() })));
        }
        if let Some(instance) = member.instance {
            self.forget_instance(&instance, id);
        }
        if self.leader == id {
            self.leader.clear();
        }
    }

    /// A member is this instance no more, unless another one is by now.
    fn forget_instance(&mut self, instance: &str, id: &str) {
        if self.instances.get(instance).is_some_and(|of| of == id) {
            self.instances.remove(instance);
        }
    }
}

impl Member {
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub(super) fn view(&self, id: &str, protocol: &str) -> MemberView {
        MemberView {
            member: id.to_owned(),
            instance: self.instance.clone(),
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}

/// What a join asks to be kept.
fn asked_bytes(request: &JoinRequest, client: &Client) -> usize {
    let protocols = request.protocols.iter().map(|(name, it)| 2 * name.len() + it.len());
    let instance = request.instance.as_ref().map_or(0, String::len);
    let texts = request.group.len() + request.protocol_type.len();
    let client = client.id.len() + client.host.len();
    protocols.sum::<usize>() + texts + 3 * (instance + client) + 3 * ENTRY_BYTES
}

/// The protocols of a request, each once, in memory of their own: a slice of the request would
/// keep all of it.
fn kept(protocols: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
    let mut kept: Vec<(String, Bytes)> = Vec::with_capacity(protocols.len());
    for (name, metadata) in protocols {
        if kept.iter().all(|(other, _)| *other != name) {
            kept.push((name, Bytes::copy_from_slice(&metadata)));
        }
    }
    kept
}

/// A name that nobody has.
fn name_of(request: &JoinRequest, client: &Client, random: u128) -> String {
    let what = request.instance.as_ref().unwrap_or(&client.id);
    format!("{what}-{random:032x}")
}
