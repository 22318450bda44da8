//! What is handed out next, of many queues: in the right order, and at a cost that follows from
//! what is handed out.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::*;
use crate::ids::{KindId, NamespaceId, Place, QueueId};
use crate::map::{OrderedMap, Reader};
use crate::queueing::Room;
use crate::state::keys;

/// A map that remembers what was removed, as a tree of an LSM does, and counts what it passes.
#[derive(Debug, Default)]
pub(super) struct Grave {
    map: BTreeMap<Vec<u8>, Option<Bytes>>,
    /// Entries of lanes and messages that were passed, removed ones too.
    pub(super) passed: Cell<usize>,
    /// Keys of which the value was asked for.
    pub(super) gets: Cell<usize>,
    puts: usize,
}

impl Reader for Grave {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.gets.set(self.gets.get() + 1);
        self.map.get(key).cloned().flatten()
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        if from >= to {
            return;
        }
        for (key, value) in self.map.range(from.to_vec()..to.to_vec()) {
            let counts = [keys::LANE, keys::MESSAGE].contains(&key[0]);
            self.passed.set(self.passed.get() + usize::from(counts));
            if let Some(value) = value
                && visit(key, value).is_break()
            {
                return;
            }
        }
    }
}

impl OrderedMap for Grave {
    fn put(&mut self, _position: Position, key: &[u8], value: Option<&[u8]>) {
        self.puts += 1;
        self.map.insert(key.to_vec(), value.map(Bytes::copy_from_slice));
    }

    fn seal(&mut self, _position: Position) {}
}

/// A shard of which only the turn matters.
pub(super) struct Bench {
    pub(super) turn: Turn,
    pub(super) clock: Clock,
    next: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::start(Grave::default(), Position::START, TimeMs(1_000_000))
    }

    fn start(map: Grave, position: Position, wall: TimeMs) -> Self {
        let recovery = Recovery::begin(map, position, Limits::default()).unwrap();
        let clock = Clock { wall, mono: MonoMs(0), random: 0 };
        let mut bench = Self { turn: recovery.start(clock, &["default"]), clock, next: 1 };
        bench.turn.seal();
        bench
    }

    pub(super) fn map(&self) -> &Grave {
        self.turn.state.map().downcast_ref().unwrap()
    }

    /// The next life of the shard. Ids go on: the jobs of this one are still there.
    pub(super) fn restart(mut self) -> Self {
        self.turn.seal();
        let position = self.turn.position();
        let map = std::mem::take(self.turn.state.complete_map().downcast_mut::<Grave>().unwrap());
        Self { next: self.next, ..Self::start(map, position, self.clock.wall) }
    }

    pub(super) fn send(&mut self, command: Command) {
        let reply_to = ReplyTo(self.next);
        self.next += 1;
        let request = Request { namespace: "default".to_owned(), reply_to, command };
        self.turn.submit(request, self.clock);
        self.turn.seal();
    }

    pub(super) fn call(&mut self, command: Command) -> Answer {
        self.send(command);
        let Some(Effect::Reply { answer, .. }) = self.answers().pop() else { panic!("no answer") };
        answer
    }

    pub(super) fn answers(&mut self) -> Vec<Effect> {
        let position = self.turn.position();
        self.turn.committed(position)
    }

    pub(super) fn tick(&mut self, ms: u64) -> bool {
        self.clock.wall = self.clock.wall.plus(ms);
        self.clock.mono = self.clock.mono.plus(ms);
        let more = self.turn.tick(self.clock);
        self.turn.seal();
        more
    }

    fn job(&mut self, kind: &str) -> NewJob {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        NewJob::new(JobId(bytes), kind, "[]")
    }

    fn fill(&mut self, queue: &str, jobs: usize) {
        let jobs = (0..jobs).map(|_| self.job("k")).collect();
        let command = EnqueueJobs { queue: queue.to_owned(), jobs };
        assert!(matches!(self.call(Command::EnqueueJobs(command)), Answer::Enqueued(_)));
    }

    fn lease(&mut self, wish: LeaseJobs) -> Vec<Delivery> {
        match self.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ns(&self) -> NamespaceId {
        self.turn.state.namespaces.named("default").unwrap()
    }

    fn looked(&self, pattern: &QueuePattern, kinds: Option<&[KindId]>, want: usize) -> usize {
        let at = self.clock.wall;
        let offer = self.turn.state.offer(self.ns(), pattern, kinds, (at, want));
        assert_eq!(offer.jobs.len(), want);
        offer.looked
    }

    /// What a scan of all lanes finds for a wish.
    fn scanned(&self, wish: &LeaseJobs) -> Vec<JobId> {
        let state = &self.turn.state;
        let mut ids = Vec::new();
        for pattern in &wish.queues {
            let mut found: Vec<((u8, TimeMs, Place), JobId)> = Vec::new();
            state.scan(&[keys::LANE], &[keys::LANE + 1], &mut |key, value| {
                let queue = state.queues.get(QueueId(keys::u32_at(key, 5).unwrap())).unwrap();
                let kind = state.kinds.name(KindId(keys::u32_at(key, 12).unwrap())).unwrap();
                let at = TimeMs(keys::u64_at(key, 16).unwrap());
                let asked = match &wish.kinds {
                    Some(kinds) => kinds.iter().any(|asked| asked.kind == *kind),
                    None => !kind.starts_with(crate::job::RESERVED_KIND_PREFIX),
                };
                let open = pattern.matches(&queue.name) && !queue.settings.paused;
                if open && asked && at <= self.clock.wall {
                    let place = Place(keys::u64_at(key, 24).unwrap());
                    found.push(((key[9], at, place), JobId(value[..].try_into().unwrap())));
                }
                ControlFlow::Continue(())
            });
            found.sort_unstable();
            found.retain(|(_, id)| !ids.contains(id));
            ids.extend(found.into_iter().map(|(_, id)| id));
        }
        ids.truncate(wish.max);
        ids
    }
}

fn all(prefix: &str) -> QueuePattern {
    QueuePattern::Prefix(prefix.to_owned())
}

#[test]
fn a_lease_of_all_queues_looks_at_what_it_answers() {
    let mut bench = Bench::new();
    for queue in 0..9_000 {
        bench.fill(&format!("{}.{queue}", ["a", "b", "c"][queue % 3]), 2);
    }
    let kind = bench.turn.state.kinds.named(bench.ns(), "k", 0).unwrap();
    for pattern in [all(""), all("b."), all("c.77")] {
        for kinds in [None, Some(&[kind][..])] {
            let one = bench.looked(&pattern, kinds, 1);
            assert!(one < 200, "{one} looks for one job of {pattern:?}");
            let ten = bench.looked(&pattern, kinds, 10);
            assert!(ten < 600, "{ten} looks for ten jobs of {pattern:?}");
        }
    }
    let exact = bench.looked(&QueuePattern::Exactly("a.3".to_owned()), None, 2);
    assert!(exact < 60, "{exact} looks in one queue");
    let jobs = bench.lease(LeaseJobs { max: 10, queues: vec![all("b.")], ..wish() });
    let queues: Vec<_> = jobs.iter().map(|job| job.queue.as_str()).collect();
    let first = ["b.1", "b.1", "b.4", "b.4", "b.7", "b.7", "b.10", "b.10", "b.13", "b.13"];
    assert_eq!(queues, first, "in the order in which they came");
}

/// Each queue had all before it looked at again, so that many queues with little were cut short.
#[test]
fn a_lease_that_names_many_queues_looks_at_each_of_them_once() {
    let mut bench = Bench::new();
    let names = (0..256).map(|queue| format!("q{queue}"));
    for name in names.clone() {
        bench.fill(&name, 1);
    }
    let queues = names.map(QueuePattern::Exactly).collect();
    let before = bench.turn.looked;
    let jobs = bench.lease(LeaseJobs { max: 1000, queues, ..wish() });
    let looked = bench.turn.looked - before;
    assert!(jobs.len() == 256 && looked < 256 * 20, "{looked} looks for {} jobs", jobs.len());
}

/// A job of a queue that was looked at already may start, since one behind it has ended.
#[test]
fn what_the_end_of_a_job_lets_go_is_found_in_a_queue_before_it() {
    let mut bench = Bench::new();
    let keyed = |job| NewJob { ordering_key: Some("k".to_owned()), ..job };
    let first = NewJob { expiry: Some(Start::After(5)), ..keyed(bench.job("k")) };
    let second = keyed(bench.job("k"));
    for (queue, job) in [("late", first), ("early", second)] {
        let command = EnqueueJobs { queue: queue.to_owned(), jobs: vec![job] };
        assert!(matches!(bench.call(Command::EnqueueJobs(command)), Answer::Enqueued(_)));
    }
    bench.clock.wall = bench.clock.wall.plus(10);
    bench.clock.mono = bench.clock.mono.plus(10);
    let queues = ["early", "late"].map(|name| QueuePattern::Exactly(name.to_owned())).to_vec();
    let jobs = bench.lease(LeaseJobs { max: 9, queues, ..wish() });
    assert_eq!(jobs.iter().map(|job| job.queue.as_str()).collect::<Vec<_>>(), ["early"]);
}

#[test]
fn memory_does_not_grow_with_lanes() {
    let mut bench = Bench::new();
    let room = Room { of_lane: 64, extra: 1_000 };
    bench.turn.state.lanes.set_room(room);
    // In turns: what is full when it comes is kept out as it comes, and cuts nothing back.
    for round in 0..20 {
        for queue in 0..300 {
            bench.fill(&format!("q{queue}"), 5);
        }
        let (lanes, entries) = bench.turn.state.lanes.in_memory();
        assert!(entries <= lanes + room.extra, "{entries} entries in round {round}");
    }
    let (lanes, entries) = bench.turn.state.lanes.in_memory();
    assert!(lanes == 300 && entries <= lanes + room.extra, "{entries} entries");
    let mut bench = bench.restart();
    let (_, entries) = bench.turn.state.lanes.in_memory();
    assert!(entries <= 300 * 4, "{entries} entries after a start");
    bench.turn.state.lanes.set_room(room);
    for _ in 0..30 {
        let jobs = bench.lease(LeaseJobs { max: 1_000, queues: vec![all("")], ..wish() });
        assert_eq!(jobs.len(), 1_000);
        let (lanes, entries) = bench.turn.state.lanes.in_memory();
        let most = lanes + room.extra + room.of_lane * 2;
        assert!(entries <= most, "{entries} entries of {lanes} lanes");
    }
    assert_eq!(bench.turn.state.lanes.in_memory(), (0, 0));
}

/// What an offer read of a lane and nobody took was kept, and counted against all other lanes.
#[test]
fn what_an_offer_reads_and_nobody_takes_is_cut_back() {
    let mut bench = Bench::new();
    for queue in 0..20 {
        bench.fill(&format!("q{queue}"), 40);
    }
    let mut bench = bench.restart();
    bench.turn.state.lanes.set_room(Room { of_lane: 64, extra: 10 });
    let moment = (bench.turn.state.now(), 800);
    assert_eq!(bench.turn.state.offer(bench.ns(), &all(""), None, moment).jobs.len(), 800);
    let (_, read) = bench.turn.state.lanes.in_memory();
    assert!(read > 700, "{read} entries are read");
    bench.tick(1);
    let (lanes, left) = bench.turn.state.lanes.in_memory();
    assert!(left <= lanes + 10, "{left} entries of {lanes} lanes are left");
}

/// Each time a lane held more than its head it was noted anew, and never taken off the list.
#[test]
fn lanes_that_come_and_go_leave_nothing_in_memory() {
    let mut bench = Bench::new();
    for _ in 0..1_000 {
        bench.fill("q", 2);
        assert_eq!(bench.lease(LeaseJobs { max: 2, queues: vec![all("")], ..wish() }).len(), 2);
    }
    let warm = bench.turn.state.lanes.warm_count();
    assert!(warm < 100, "{warm} lanes are listed, and none is left");
}

#[test]
fn a_start_takes_no_more_memory_for_lanes_than_there_is() {
    let mut bench = Bench::new();
    for part in 0..12_usize {
        let jobs = (0..10_000).map(|n| {
            let lane = (part * 10_000 + n) % 24_000;
            let priority = Some((lane % 240) as u8);
            NewJob { priority, ..bench.job(&format!("k{}", lane / 240)) }
        });
        let command = EnqueueJobs { queue: "q".to_owned(), jobs: jobs.collect() };
        bench.call(Command::EnqueueJobs(command));
    }
    let before = bench.turn.state.lanes.in_memory();
    let mut bench = bench.restart();
    let after = bench.turn.state.lanes.in_memory();
    let most = 24_000 + Room::default().extra;
    for (lanes, entries) in [before, after] {
        assert!(lanes == 24_000 && entries <= most, "{entries} entries of {lanes} lanes");
    }
    assert_eq!(bench.lease(LeaseJobs { max: 1_000, ..wish() }).len(), 1_000);
}

#[test]
fn what_was_removed_is_not_read_again_and_again() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        bench.fill("q", 2_000);
    }
    let mut bench = bench.restart();
    let before = bench.map().passed.get();
    let mut jobs = 0;
    loop {
        let some = bench.lease(LeaseJobs { max: 7, ..wish() });
        jobs += some.len();
        if some.is_empty() {
            break;
        }
    }
    let passed = bench.map().passed.get() - before;
    assert_eq!(jobs, 20_000);
    assert!(passed < 2 * jobs, "{passed} entries of the tree for {jobs} jobs");
}

#[test]
fn pausing_a_queue_moves_no_entry() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.fill("q", 10_000);
    }
    bench.fill("r", 1);
    let jobs: Vec<_> = (0..5).map(|_| bench.job("other")).collect();
    let later = jobs.into_iter().map(|job| NewJob { start: Some(Start::After(50)), ..job });
    let command = EnqueueJobs { queue: "q".to_owned(), jobs: later.collect() };
    bench.call(Command::EnqueueJobs(command));
    let before = bench.map().puts;
    bench.call(Command::PauseQueue { queue: "q".to_owned(), paused: true });
    let all_queues = || LeaseJobs { max: 9, queues: vec![all("")], ..wish() };
    let jobs = bench.lease(all_queues());
    assert_eq!(jobs.iter().map(|job| job.queue.as_str()).collect::<Vec<_>>(), ["r"]);
    bench.tick(60);
    assert!(bench.lease(LeaseJobs { max: 9, ..wish() }).is_empty());
    bench.call(Command::PauseQueue { queue: "q".to_owned(), paused: false });
    let puts = bench.map().puts - before;
    assert!(puts < 20, "{puts} keys changed");
    let jobs = bench.lease(LeaseJobs { kinds: Some(vec!["other".into()]), max: 9, ..wish() });
    assert_eq!(jobs.len(), 5, "what became due meanwhile");
    assert_eq!(bench.lease(all_queues()).len(), 9);
}

#[test]
fn many_lanes_that_become_due_at_once_come_forward_over_several_turns() {
    let mut bench = Bench::new();
    for queue in 0..1_000 {
        let job = NewJob { start: Some(Start::After(500)), ..bench.job("k") };
        let command = EnqueueJobs { queue: format!("q{queue}"), jobs: vec![job] };
        bench.call(Command::EnqueueJobs(command));
    }
    let waits = LeaseJobs { max: 1_000, queues: vec![all("")], wait_ms: 5_000, ..wish() };
    bench.send(Command::LeaseJobs(Box::new(waits)));
    assert!(bench.answers().is_empty());
    assert_eq!(bench.turn.next_wake_ms(bench.clock), Some(500));
    assert!(bench.tick(500), "more is due than one turn takes");
    let answers = bench.answers();
    let Some(Effect::Reply { answer: Answer::Leased { jobs, .. }, .. }) = answers.first() else {
        panic!("{answers:?}")
    };
    assert_eq!(jobs.len(), 256);
    while bench.tick(0) {}
    let rest = bench.lease(LeaseJobs { max: 1_000, queues: vec![all("")], ..wish() });
    assert_eq!(rest.len(), 744);
}

#[test]
fn what_was_due_waits_for_its_time_again_where_wall_time_steps_back() {
    let mut bench = Bench::new();
    let job = NewJob { start: Some(Start::After(1_000)), ..bench.job("k") };
    let command = EnqueueJobs { queue: "q".to_owned(), jobs: vec![job] };
    bench.call(Command::EnqueueJobs(command));
    bench.clock.wall = bench.clock.wall.plus(1_000);
    bench.call(Command::GetQueue { queue: "q".to_owned() });
    bench.clock.wall = TimeMs(bench.clock.wall.0 - 1_000);
    let waits = LeaseJobs { wait_ms: 5_000, ..wish() };
    bench.send(Command::LeaseJobs(Box::new(waits)));
    assert!(bench.answers().is_empty());
    bench.tick(999);
    assert!(bench.answers().is_empty());
    bench.tick(1);
    assert_eq!(bench.answers().len(), 1);
}

/// Numbers that are the same in every run (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

fn some_wish(random: &mut Random) -> LeaseJobs {
    let pattern = |random: &mut Random| match random.below(6) {
        0 => all(""),
        1 => all("a"),
        2 => all("a.1"),
        3 => all("zz"),
        _ => QueuePattern::Exactly(random.one(&["a.1", "a.11", "b.2", "c"]).to_owned()),
    };
    let queues = (0..=random.below(2)).map(|_| pattern(random)).collect();
    let kinds = match random.below(4) {
        0 => Some(vec!["k".into()]),
        1 => Some(vec!["l".into(), "k".into(), "longshore.m".into(), "never".into()]),
        _ => None,
    };
    LeaseJobs { queues, kinds, max: 1 + random.below(12), ..wish() }
}

fn some_command(bench: &mut Bench, random: &mut Random, held: &mut Vec<Delivery>) -> Command {
    let queue = random.one(&["a.1", "a.11", "a.2", "b", "b.2", "c"]).to_owned();
    match random.below(12) {
        0 => Command::PauseQueue { queue, paused: true },
        1 | 2 => Command::PauseQueue { queue, paused: false },
        3 | 4 if !held.is_empty() => {
            let job = held.swap_remove(random.below(held.len()));
            let verdict = match random.below(3) {
                0 => Verdict::Release,
                1 => Verdict::Snooze { delay_ms: 5 },
                _ => ack(),
            };
            Command::SettleJobs(vec![Settlement { id: job.id, token: job.token, verdict }])
        }
        5 => {
            let bytes = (1 + random.below(bench.next as usize) as u64).to_be_bytes();
            let mut id = [0; 16];
            id[8..].copy_from_slice(&bytes);
            Command::CancelJob { id: JobId(id), force: false }
        }
        _ => {
            let count = 1 + random.below(9);
            let jobs = (0..count).map(|_| {
                let kind = random.one(&["k", "l", "longshore.m"]);
                let start =
                    random.one(&[None, None, Some(Start::After(7)), Some(Start::After(40))]);
                let priority = Some(random.one(&[0, 0, 5]));
                NewJob { priority, start, ..bench.job(kind) }
            });
            Command::EnqueueJobs(EnqueueJobs { queue, jobs: jobs.collect() })
        }
    }
}

#[test]
fn a_lease_gets_what_a_scan_of_all_lanes_finds() {
    for seed in 0..20 {
        let (mut bench, mut random) = (Bench::new(), Random(seed));
        let mut held = Vec::new();
        for step in 0..600 {
            let room = Room { of_lane: 5, extra: random.below(12) };
            bench.turn.state.lanes.set_room(room);
            let command = some_command(&mut bench, &mut random, &mut held);
            bench.call(command);
            if random.below(8) == 0 {
                bench.tick(random.below(9) as u64);
            }
            if random.below(50) == 0 {
                bench = bench.restart();
                bench.turn.state.lanes.set_room(room);
            }
            let wish = some_wish(&mut random);
            let expected = bench.scanned(&wish);
            let jobs = bench.lease(wish.clone());
            let found: Vec<_> = jobs.iter().map(|job| job.id).collect();
            assert_eq!(found, expected, "seed {seed}, step {step}, {wish:?}");
            held.extend(jobs);
            bench.turn.state.lanes.in_memory();
        }
    }
}
