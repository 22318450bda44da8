//! Members that do what they are told, silent ones, and instances that come back.

use super::*;

/// Topics `a` with four partitions and `b` with two.
fn find(name: &str) -> Option<Topic> {
    match name {
        "a" => Some(Topic { id: [1; 16], partitions: 4 }),
        "b" => Some(Topic { id: [2; 16], partitions: 2 }),
        _ => None,
    }
}

/// A client that does what it is told.
#[derive(Debug)]
struct Consumer {
    id: &'static str,
    instance: Option<String>,
    topics: Vec<String>,
    assignor: Option<String>,
    epoch: i32,
    has: BTreeSet<Part>,
}

impl Consumer {
    fn new(id: &'static str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|name| (*name).to_owned()).collect();
        Self { id, instance: None, topics, assignor: None, epoch: 0, has: BTreeSet::new() }
    }

    fn request(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group: "g".to_owned(),
            member: self.id.to_owned(),
            epoch: self.epoch,
            instance: self.instance.clone(),
            rebalance_timeout_ms: 10_000,
            topics: Some(self.topics.clone()),
            assignor: self.assignor.clone(),
            owned: Some(by_topic(&self.has)),
            ..HeartbeatRequest::default()
        }
    }

    fn beat(&mut self, all: &mut Coordinator, now_ms: u64) -> Heartbeat {
        let told = all.heartbeat(now_ms, 7, self.request(), Client::default(), &find);
        if told.error == codes::NONE {
            self.epoch = told.epoch;
            if let Some(assignment) = &told.assignment {
                let parts = assignment.iter();
                self.has = parts
                    .flat_map(|it| it.partitions.iter().map(|index| (it.id, *index)))
                    .collect();
            }
        }
        told
    }
}

/// Lets all beat some rounds; at no time do two have the same partition.
fn settle(all: &mut Coordinator, consumers: &mut [Consumer], now_ms: u64) {
    for _ in 0..4 {
        for at in 0..consumers.len() {
            assert_eq!(consumers[at].beat(all, now_ms).error, codes::NONE);
            let mut seen = BTreeSet::new();
            for part in consumers.iter().flat_map(|it| &it.has) {
                assert!(seen.insert(*part), "two members have {part:?}");
            }
        }
    }
    assert_eq!(all.state("g"), Some("Stable"));
}

#[test]
fn partitions_move_from_who_has_them_only_once_they_are_given_back() {
    let mut all = Coordinator::default();
    let mut one = Consumer::new("one", &["a", "b"]);
    one.beat(&mut all, 0);
    assert_eq!(one.has.len(), 6);
    let mut two = Consumer::new("two", &["a", "b"]);
    two.beat(&mut all, 0);
    assert!(two.has.is_empty(), "the first one still has all");
    let before = one.has.clone();
    let told = one.beat(&mut all, 0);
    assert_eq!((one.has.len(), told.epoch), (3, 1), "it gives back first");
    assert!(one.has.is_subset(&before));
    assert!(two.beat(&mut all, 0).assignment.unwrap().is_empty());
    one.beat(&mut all, 0);
    assert_eq!(one.epoch, 2);
    two.beat(&mut all, 0);
    assert_eq!(two.has.len(), 3);
    let mut consumers = [one, two, Consumer::new("three", &["a", "b"])];
    settle(&mut all, &mut consumers, 0);
    assert!(consumers.iter().all(|it| it.has.len() == 2));
}

#[test]
fn what_a_member_has_stays_with_it_and_topics_are_shared_by_who_wants_them() {
    let mut all = Coordinator::default();
    let mut consumers = [Consumer::new("one", &["a"]), Consumer::new("two", &["b", "nothing"])];
    settle(&mut all, &mut consumers, 0);
    assert_eq!((consumers[0].has.len(), consumers[1].has.len()), (4, 2));
    consumers[1].topics.push("a".to_owned());
    let before = consumers[0].has.clone();
    settle(&mut all, &mut consumers, 0);
    assert_eq!((consumers[0].has.len(), consumers[1].has.len()), (2, 4));
    assert!(consumers[0].has.is_subset(&before));
}

#[test]
fn ranges_are_consecutive_and_in_the_order_of_members() {
    let mut all = Coordinator::default();
    let mut consumers = [Consumer::new("one", &["a", "b"]), Consumer::new("two", &["a", "b"])];
    for consumer in &mut consumers {
        consumer.assignor = Some("range".to_owned());
    }
    settle(&mut all, &mut consumers, 0);
    let first = BTreeSet::from([([1; 16], 0), ([1; 16], 1), ([2; 16], 0)]);
    assert_eq!(consumers[0].has, first);
    assert_eq!(all.view("g").unwrap().assignor, "range");
    consumers[0].assignor = Some("mine".to_owned());
    assert_eq!(consumers[0].beat(&mut all, 0).error, codes::UNSUPPORTED_ASSIGNOR);
}

#[test]
fn epochs_fence_and_an_answer_that_was_lost_is_given_again() {
    let mut all = Coordinator::default();
    let mut consumers = [Consumer::new("one", &["a"]), Consumer::new("two", &["a"])];
    settle(&mut all, &mut consumers, 0);
    let [one, two] = &mut consumers;
    two.epoch += 1;
    assert_eq!(two.beat(&mut all, 0).error, codes::FENCED_MEMBER_EPOCH);
    assert_eq!(all.may_commit("g", one.epoch, "one"), Some(codes::NONE));
    assert_eq!(all.may_commit("g", one.epoch - 1, "one"), Some(codes::STALE_MEMBER_EPOCH));
    assert_eq!(all.may_commit("g", one.epoch, "three"), Some(codes::UNKNOWN_MEMBER_ID));
    assert_eq!(all.may_commit("other", 1, "one"), None);
    let (epoch, has) = (one.epoch, one.has.clone());
    two.epoch = LEAVES;
    assert_eq!(two.beat(&mut all, 0).error, codes::NONE);
    one.beat(&mut all, 0);
    assert!(one.epoch > epoch && one.has.len() == 4);
    (one.epoch, one.has) = (epoch, has);
    let silent = HeartbeatRequest { owned: None, topics: None, ..one.request() };
    let told = all.heartbeat(0, 7, silent, Client::default(), &find);
    assert_eq!(told.error, codes::FENCED_MEMBER_EPOCH, "it would never hear what it lacks");
    let told = one.beat(&mut all, 0);
    assert_eq!(told.error, codes::NONE, "the answer was lost, and it says what it had");
    assert_eq!(one.has.len(), 4);
    one.epoch = 1;
    assert_eq!(one.beat(&mut all, 0).error, codes::FENCED_MEMBER_EPOCH);
}

#[test]
fn who_is_silent_or_gives_nothing_back_is_gone() {
    let mut all = Coordinator::default();
    let mut one = Consumer::new("one", &["a"]);
    one.beat(&mut all, 0);
    let mut two = Consumer::new("two", &["a"]);
    two.beat(&mut all, 1000);
    one.beat(&mut all, 1000);
    assert_eq!(one.has.len(), 2);
    assert_eq!(all.next_due_ms(), Some(11_000), "it has to give back within its time");
    // It is heard, and says nothing of what it has.
    let silent = HeartbeatRequest { owned: None, topics: None, ..one.request() };
    all.heartbeat(9000, 7, silent, Client::default(), &find);
    all.tick(11_000);
    two.beat(&mut all, 11_000);
    assert_eq!(two.has.len(), 4);
    assert_eq!(one.beat(&mut all, 11_000).error, codes::UNKNOWN_MEMBER_ID);
    all.tick(11_000 + SESSION_MS);
    assert!(!all.has_members("g") && all.bytes == 0 && all.next_due_ms().is_none());
}

#[test]
fn an_instance_that_comes_back_has_what_it_had() {
    let mut all = Coordinator::default();
    let mut consumers = [Consumer::new("one", &["a"]), Consumer::new("two", &["a"])];
    consumers[0].instance = Some("i".to_owned());
    settle(&mut all, &mut consumers, 0);
    let mut again = Consumer::new("three", &["a"]);
    again.instance = Some("i".to_owned());
    assert_eq!(again.beat(&mut all, 0).error, codes::UNRELEASED_INSTANCE_ID);
    let (had, epoch) = (consumers[0].has.clone(), consumers[1].epoch);
    consumers[0].epoch = LEAVES_FOR_NOW;
    assert_eq!(consumers[0].beat(&mut all, 0).error, codes::NONE);
    consumers[1].beat(&mut all, 0);
    assert_eq!((consumers[1].epoch, consumers[1].has.len()), (epoch, 2), "nothing moves");
    again.beat(&mut all, 0);
    assert_eq!(again.has, had);
    consumers[0].epoch = epoch;
    assert_eq!(consumers[0].beat(&mut all, 0).error, codes::FENCED_INSTANCE_ID);
}

#[test]
fn who_only_says_that_it_is_there_is_heard_however_much_others_take() {
    let mut all = Coordinator::default();
    let mut consumers = [Consumer::new("one", &["a"])];
    settle(&mut all, &mut consumers, 0);
    let [one] = &mut consumers;
    all.bytes = super::BYTES_MAX;
    let mut two = Consumer::new("two", &["a"]);
    assert_eq!(two.beat(&mut all, 0).error, codes::GROUP_MAX_SIZE_REACHED);
    let there = HeartbeatRequest { owned: None, topics: None, ..one.request() };
    let told = all.heartbeat(0, 7, there, Client::default(), &find);
    assert_eq!(told.error, codes::NONE);
    let long = HeartbeatRequest { group: "g".repeat(256), ..two.request() };
    let told = all.heartbeat(0, 7, long, Client::default(), &find);
    assert_eq!(told.error, codes::INVALID_REQUEST);
    one.epoch = LEAVES;
    one.beat(&mut all, 0);
    assert!(all.bytes < super::BYTES_MAX && all.names().next().is_none(), "its bytes are free");
}

/// Each heartbeat walked all members of all groups to find when the next one is due.
#[test]
fn a_heartbeat_looks_at_no_other_member() {
    let mut all = Coordinator::default();
    let mut consumers = [Consumer::new("one", &["a"]), Consumer::new("two", &["a"])];
    settle(&mut all, &mut consumers, 0);
    let due = all.next_due_ms().unwrap();
    assert!(due <= SESSION_MS);
    for consumer in &mut consumers {
        consumer.beat(&mut all, due - 1);
    }
    assert_eq!(all.next_due_ms(), Some(due), "it is not looked who is due later");
    all.tick(due);
    assert_eq!(all.next_due_ms(), Some(due - 1 + SESSION_MS), "but then");
    all.tick(due - 1 + SESSION_MS);
    assert!(!all.has_members("g") && all.bytes == 0 && all.next_due_ms().is_none());
}
