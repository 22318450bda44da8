//! Lives of groups: who gets what generation, who waits, who is fenced.

use super::*;
use crate::message::groups::SyncRequest;

#[derive(Default)]
struct Bench {
    coordinator: Coordinator,
    now_ms: u64,
    tickets: u64,
}

impl Bench {
    fn join(&mut self, member: &str, instance: Option<&str>, protocol: &str) -> Ticket {
        self.tickets += 1;
        let (ticket, random) = (Ticket(self.tickets), u128::from(self.tickets));
        let request = JoinRequest {
            group: "g".into(),
            session_timeout_ms: 100,
            rebalance_timeout_ms: 300,
            member: member.into(),
            instance: instance.map(Into::into),
            protocol_type: "consumer".into(),
            protocols: vec![(protocol.into(), Bytes::from_static(b"topics"))],
        };
        let client =
            Client { id: "c".into(), host: "h".into(), takes_name_first: instance.is_none() };
        self.coordinator.join(self.now_ms, random, ticket, request, client);
        ticket
    }

    fn sync(&mut self, generation: i32, member: &str, given: &[(&str, &'static str)]) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let assignments =
            given.iter().map(|(to, what)| ((*to).into(), Bytes::from(*what))).collect();
        let (group, member, instance) = ("g".into(), member.into(), None);
        let request = SyncRequest { group, generation, member, instance, assignments };
        self.coordinator.sync(self.now_ms, ticket, &request);
        ticket
    }

    fn joined(&mut self) -> Vec<Joined> {
        let answers = self.coordinator.take_answers().into_iter();
        let joined = answers.filter_map(|(_, answer)| match answer {
            Answer::Joined(joined) => Some(joined),
            Answer::Synced(_) => None,
        });
        joined.collect()
    }

    fn synced(&mut self) -> Vec<(i16, Bytes)> {
        let answers = self.coordinator.take_answers().into_iter();
        let synced = answers.filter_map(|(_, answer)| match answer {
            Answer::Synced(synced) => Some((synced.error, synced.assignment)),
            Answer::Joined(_) => None,
        });
        synced.collect()
    }

    fn heartbeat(&mut self, generation: i32, member: &str) -> i16 {
        self.coordinator.heartbeat(self.now_ms, ("g", generation), member, None)
    }

    /// Joins as clients do: with the name that it is given.
    fn enter(&mut self) -> String {
        self.join("", None, "range");
        let named = self.joined().pop().unwrap();
        assert_eq!(named.error, codes::MEMBER_ID_REQUIRED);
        self.join(&named.member, None, "range");
        named.member
    }

    /// Two members in a stable group, the leader first.
    fn pair(&mut self) -> (String, String) {
        let first = self.enter();
        assert_eq!(self.joined()[0].generation, 1);
        self.sync(1, &first, &[(&first, "all")]);
        assert_eq!(self.synced(), [(0, Bytes::from_static(b"all"))]);
        let second = self.enter();
        assert_eq!(self.joined(), [], "the first one has to join again");
        assert_eq!(self.heartbeat(1, &first), codes::REBALANCE_IN_PROGRESS);
        self.join(&first, None, "range");
        let joined = self.joined();
        assert_eq!(joined.len(), 2);
        for joined in joined {
            assert_eq!((joined.generation, joined.leader), (2, first.clone()));
            assert_eq!(joined.members.len(), if joined.member == first { 2 } else { 0 });
        }
        self.sync(2, &second, &[]);
        assert_eq!(self.synced(), [], "the leader has not said who gets what");
        self.sync(2, &first, &[(&first, "a"), (&second, "b")]);
        let mut synced = self.synced();
        synced.sort();
        assert_eq!(synced, [(0, Bytes::from_static(b"a")), (0, Bytes::from_static(b"b"))]);
        (first, second)
    }
}

#[test]
fn members_share_a_generation_and_get_what_the_leader_says() {
    let mut bench = Bench::default();
    let (first, second) = bench.pair();
    assert_eq!((bench.heartbeat(2, &first), bench.heartbeat(2, &second)), (0, 0));
    assert_eq!(bench.heartbeat(1, &first), codes::ILLEGAL_GENERATION);
    assert_eq!(bench.heartbeat(2, "nobody"), codes::UNKNOWN_MEMBER_ID);
    let commit = |bench: &mut Bench, generation, member: &str| {
        bench.coordinator.may_commit(0, ("g", generation), member, None)
    };
    assert_eq!(commit(&mut bench, 2, &second), codes::NONE);
    assert_eq!(commit(&mut bench, 1, &second), codes::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut bench, -1, ""), codes::UNKNOWN_MEMBER_ID, "beside the group");
    let free = bench.coordinator.may_commit(0, ("other", -1), "", None);
    assert_eq!(free, codes::NONE, "whoever is in no group");
}

#[test]
fn whoever_is_silent_or_late_goes_and_the_others_go_on() {
    let mut bench = Bench::default();
    let (first, second) = bench.pair();
    bench.now_ms = 90;
    assert_eq!(bench.heartbeat(2, &first), 0);
    assert_eq!(bench.coordinator.next_due_ms(), Some(100));
    bench.now_ms = 100;
    bench.coordinator.tick(100);
    assert_eq!(bench.heartbeat(2, &second), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat(2, &first), codes::REBALANCE_IN_PROGRESS);
    bench.join(&first, None, "range");
    assert_eq!(bench.joined()[0].generation, 3);
    bench.sync(3, &first, &[(&first, "all")]);
    bench.synced();
    let late = bench.enter();
    bench.now_ms = 150;
    assert_eq!(bench.heartbeat(3, &first), codes::REBALANCE_IN_PROGRESS);
    for now_ms in [240, 330, 399] {
        bench.now_ms = now_ms;
        bench.coordinator.tick(now_ms);
        bench.heartbeat(3, &first);
    }
    assert_eq!(bench.joined(), []);
    bench.coordinator.tick(400);
    let joined = bench.joined();
    assert_eq!((joined.len(), &joined[0].leader), (1, &late), "the first one came too late");
}

#[test]
fn leaving_begins_a_rebalance_and_the_last_one_takes_the_group_along() {
    let mut bench = Bench::default();
    let (first, second) = bench.pair();
    assert_eq!(bench.coordinator.leave(0, "g", &first, None), codes::NONE);
    assert_eq!(bench.coordinator.leave(0, "g", &first, None), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat(2, &second), codes::REBALANCE_IN_PROGRESS);
    bench.join(&second, None, "range");
    assert_eq!(bench.joined()[0].leader, second);
    assert_eq!(bench.coordinator.leave(0, "g", &second, None), codes::NONE);
    assert!(!bench.coordinator.has_members("g"));
    assert_eq!(bench.coordinator.views(Some(&["g".into()]))[0].state, "Dead");
    assert_eq!(bench.coordinator.views(None), []);
}

#[test]
fn an_instance_that_comes_back_fences_its_older_self() {
    let mut bench = Bench::default();
    bench.join("", Some("i"), "range");
    let old = bench.joined().pop().unwrap();
    assert_eq!(old.error, 0);
    bench.join("", Some("i"), "range");
    let new = bench.joined().pop().unwrap();
    assert!(new.error == 0 && new.member != old.member);
    let beat = |bench: &mut Bench, joined: &Joined| {
        bench.coordinator.heartbeat(0, ("g", joined.generation), &joined.member, Some("i"))
    };
    assert_eq!(beat(&mut bench, &old), codes::FENCED_INSTANCE_ID);
    assert_eq!(beat(&mut bench, &new), codes::NONE);
    bench.join(&old.member, Some("i"), "range");
    assert_eq!(bench.joined()[0].error, codes::FENCED_INSTANCE_ID);
}

#[test]
fn whoever_shares_no_protocol_is_refused() {
    let mut bench = Bench::default();
    bench.pair();
    bench.join("", None, "other");
    assert_eq!(bench.joined()[0].error, codes::INCONSISTENT_GROUP_PROTOCOL);
    bench.join("made up", None, "range");
    assert_eq!(bench.joined()[0].error, codes::UNKNOWN_MEMBER_ID);
}

fn join_as(bench: &mut Bench, member: &str, protocols: Vec<(String, Bytes)>) -> Ticket {
    bench.tickets += 1;
    let (ticket, random) = (Ticket(bench.tickets), u128::from(bench.tickets));
    let request = JoinRequest {
        group: "g".into(),
        session_timeout_ms: 100,
        rebalance_timeout_ms: 300,
        member: member.into(),
        instance: None,
        protocol_type: "consumer".into(),
        protocols,
    };
    let client = Client { id: "c".into(), host: "h".into(), takes_name_first: true };
    bench.coordinator.join(bench.now_ms, random, ticket, request, client);
    ticket
}

#[test]
fn a_member_that_joins_again_while_it_waits_for_its_share_is_told_so() {
    let mut bench = Bench::default();
    let first = bench.enter();
    bench.coordinator.take_answers();
    bench.sync(1, &first, &[(&first, "all")]);
    bench.coordinator.take_answers();
    let second = bench.enter();
    bench.join(&first, None, "range");
    bench.coordinator.take_answers();
    // The second one waits for the leader, and asks for the generation that it has once more.
    let waiting = bench.sync(2, &second, &[]);
    assert_eq!(bench.coordinator.take_answers(), []);
    bench.join(&second, None, "range");
    let answers = bench.coordinator.take_answers();
    let synced = answers.iter().find(|(ticket, _)| *ticket == waiting);
    let error = codes::REBALANCE_IN_PROGRESS;
    let told = Answer::Synced(Synced { error, ..Synced::default() });
    assert_eq!(synced.map(|(_, answer)| answer), Some(&told));
}

#[test]
fn names_that_nobody_uses_and_protocols_are_bounded() {
    let mut bench = Bench::default();
    let many = |count: usize| {
        let name = |index| (format!("p{index}"), Bytes::from_static(b"m"));
        (0..count).map(name).collect::<Vec<_>>()
    };
    join_as(&mut bench, "", many(PROTOCOLS_MAX + 1));
    assert_eq!(bench.joined()[0].error, codes::INCONSISTENT_GROUP_PROTOCOL);
    for _ in 0..MEMBERS_MAX {
        join_as(&mut bench, "", many(1));
    }
    let named = bench.joined();
    assert!(named.iter().all(|joined| joined.error == codes::MEMBER_ID_REQUIRED));
    join_as(&mut bench, "", many(1));
    assert_eq!(bench.joined()[0].error, codes::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn what_groups_keep_is_counted_whole_and_let_go_with_them() {
    let mut bench = Bench::default();
    let request = Bytes::from(vec![7; 10_000]);
    let protocols = || vec![("range".to_owned(), request.slice(4..8))];
    join_as(&mut bench, "", protocols());
    let name = bench.joined()[0].member.clone();
    let named = bench.coordinator.bytes;
    assert!(named >= 2 * ENTRY_BYTES, "a group and a name: {named}");
    join_as(&mut bench, &name, protocols());
    let joined = bench.joined();
    let kept = &joined[0].members[0].metadata;
    assert_eq!(kept[..], [7; 4]);
    assert!(!request.as_ptr_range().contains(&kept.as_ptr()), "the request is not kept");
    let before = bench.coordinator.bytes;
    bench.sync(1, &name, &[(&name, "0123456789"), ("nobody", "x")]);
    assert_eq!(bench.coordinator.bytes, before + 10);
    // Joining again counts it once.
    join_as(&mut bench, &name, protocols());
    assert_eq!(bench.coordinator.bytes, before + 10);
    assert_eq!(bench.coordinator.leave(bench.now_ms, "g", &name, None), codes::NONE);
    assert_eq!(bench.coordinator.bytes, 0);
}

#[test]
fn the_protocol_that_most_like_best_of_those_that_all_speak_is_taken() {
    let mut bench = Bench::default();
    let of = |names: &[&str]| {
        names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect::<Vec<_>>()
    };
    let speaks = [of(&["a", "x", "b", "x"]), of(&["b", "x", "c"]), of(&["x", "b", "d"])];
    let mut names = Vec::new();
    for protocols in &speaks {
        join_as(&mut bench, "", protocols.clone());
        names.push(bench.joined()[0].member.clone());
    }
    for (name, protocols) in names.iter().zip(&speaks) {
        join_as(&mut bench, name, protocols.clone());
    }
    let joined = bench.joined();
    assert_eq!(joined.len(), 3);
    assert_eq!(joined[0].protocol, "x", "two of three like it best of \"x\" and \"b\"");
    join_as(&mut bench, "", of(&["d"]));
    assert_eq!(bench.joined()[0].error, codes::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn a_member_that_takes_another_instance_leaves_the_former_to_others() {
    let mut bench = Bench::default();
    bench.join("", Some("i0"), "range");
    let member = bench.joined().pop().unwrap().member;
    for instance in ["i1", "i2", "i3"] {
        bench.join(&member, Some(instance), "range");
        assert_eq!(bench.joined().pop().unwrap().error, 0);
    }
    let group = bench.coordinator.groups.get("g").unwrap();
    assert_eq!(group.instances.keys().collect::<Vec<_>>(), ["i3"]);
}

/// Each heartbeat walked all members of all groups to find when the next one is due.
#[test]
fn a_heartbeat_looks_at_no_other_member() {
    let mut bench = Bench::default();
    let (first, second) = bench.pair();
    bench.now_ms = 90;
    assert_eq!([bench.heartbeat(2, &first), bench.heartbeat(2, &second)], [0, 0]);
    assert_eq!(bench.coordinator.next_due_ms(), Some(100), "it is not looked who is due later");
    bench.coordinator.tick(100);
    assert_eq!(bench.coordinator.next_due_ms(), Some(190), "but then");
    bench.now_ms = 150;
    assert_eq!([bench.heartbeat(2, &first), bench.heartbeat(2, &second)], [0, 0]);
    bench.coordinator.tick(250);
    assert!(!bench.coordinator.has_members("g"));
    assert_eq!(bench.coordinator.next_due_ms(), None);
}
