//! The switches of the canaries: what they do to the state behind the engine's back.

use bytes::Bytes;
use longshore_engine::query::{Lookup, find_job, group_offsets, peek_messages};
use longshore_engine::wire::{Input, Wire};
use longshore_engine::{
    Checkpoint, Clock, Command, Job, MessageCommand, MessageFilter, MessageVerdict, PublishMessage,
    REPLAY_PREFIX, Request, StreamChange, StreamCommand, Trigger, TriggerCommand, Verdict,
};

use crate::map::{Entries, Image, SimTree};
use crate::node::NAMESPACES;
use crate::workload::gates::GATE_KEY_FIRST;
use crate::workload::limits::SPENT_KEY_FIRST;
use crate::workload::messages::QUEUES;
use crate::workload::scopes::SCOPED;

/// The keys under which the state keeps its own numbers, its index of dead jobs and how far jobs
/// have come, as the engine's catalogue of keys has them.
const META_KEY: &[u8] = &[1];
pub(crate) const DEAD_KEY_FIRST: u8 = 10;
const CHECKPOINT_KEY_FIRST: u8 = 21;

/// How keys of jobs begin, of the first jobs of ordering keys, and of outcomes in the order in
/// which they are forgotten.
const JOB_KEY_FIRST: u8 = 5;
pub(crate) const KEY_HEAD_FIRST: u8 = 9;
pub(crate) const ENDED_KEY_FIRST: u8 = 11;

/// How keys begin of what producers appended last.
pub(crate) const PRODUCER_KEY_FIRST: u8 = 202;

/// How keys of the state of schedules begin.
const SCHEDULE_STATE_KEY_FIRST: u8 = 132;

/// How keys of messages begin, and where in them the order of entry stands, which is the same in
/// all queues that one publish enters.
pub(crate) const MESSAGE_KEY_FIRST: u8 = 100;
const PLACE_AT: usize = 10;

/// How keys of messages begin whose time has not come.
pub(crate) const DELAYED_KEY_FIRST: u8 = 108;

/// How keys of what groups have read begin.
const GROUP_OFFSET_KEY_FIRST: u8 = 203;

/// The number of the namespace in which messages are events, the third one.
const EVENTS_NAMESPACE: u32 = 3;

/// Digits of the numbers of messages that connections publish.
const NUMBER_DIGITS: usize = 13;

/// Which of those numbers are the epoch and the counter of tokens, of how many.
const EPOCH_AT: usize = 1;
const NEXT_TOKEN_AT: usize = 7;
const META_NUMBERS: usize = 10;
/// What ends a structure without fields behind tags.
const END: u8 = 0;

/// Turns interruptions into releases before the engine sees them.
pub(crate) fn release_interrupted(request: &mut Request) {
    let settlements = match &mut request.command {
        Command::SettleJobs(settlements) => settlements,
        Command::LeaseJobs(lease) => &mut lease.settle,
        Command::AddCredit { settle, .. } => settle,
        _ => return,
    };
    for settlement in settlements {
        if matches!(settlement.verdict, Verdict::Interrupt { .. }) {
            settlement.verdict = Verdict::Release;
        }
    }
}

/// Has workers ask for every version of the kinds that they name.
pub(crate) fn widen_versions(request: &mut Request) {
    let kinds = match &mut request.command {
        Command::LeaseJobs(lease) => &mut lease.kinds,
        Command::Subscribe(command) => &mut command.kinds,
        _ => return,
    };
    for range in kinds.iter_mut().flatten() {
        (range.from, range.to) = (0, u32::MAX);
    }
}

/// Takes out of heartbeats what they tell of their runs.
pub(crate) fn drop_progress(request: &mut Request) {
    let Command::ExtendLeases(extensions) = &mut request.command else { return };
    for extension in extensions {
        (extension.progress, extension.progress_text) = (None, None);
    }
}

/// Takes out of new jobs how urgent they are.
pub(crate) fn drop_priorities(request: &mut Request) {
    let Command::EnqueueJobs(enqueue) = &mut request.command else { return };
    for job in &mut enqueue.jobs {
        job.priority = None;
    }
}

/// Makes a state in which jobs do not say how their last runs ended.
pub(crate) fn forget_ends(entries: &mut Entries) {
    for (_, value) in entries.range_mut(vec![JOB_KEY_FIRST]..vec![JOB_KEY_FIRST + 1]) {
        if let Ok(job) = Job::from_bytes(value) {
            *value = Job { ends: Vec::new(), ..job }.to_bytes();
        }
    }
}

/// Takes out of batches how many events of their keys are expected.
pub(crate) fn expect_nothing(request: &mut Request) {
    let Command::Stream(StreamCommand::Append(batches)) = &mut request.command else { return };
    for key in batches.iter_mut().flat_map(|batch| &mut batch.keys) {
        key.expected = None;
    }
}

/// Takes out of messages what faces keep of them, and with it their ordering keys.
pub(crate) fn drop_keys(request: &mut Request) {
    let Command::Messages(MessageCommand::Publish(messages)) = &mut request.command else { return };
    for message in messages {
        message.properties = Bytes::new();
    }
}

/// Makes a state that begins its epochs and tokens anew.
pub(crate) fn forget_tokens(map: &mut Image) {
    let Some(meta) = map.entries.get(META_KEY) else { return };
    let mut input = Input::new(meta);
    let mut numbers = Vec::new();
    for _ in 0..META_NUMBERS {
        numbers.push(u64::take(&mut input).expect("the state's numbers decode"));
    }
    numbers[EPOCH_AT] = 0;
    numbers[NEXT_TOKEN_AT] = 1;
    let mut out = Vec::new();
    for number in &numbers {
        out.extend_from_slice(&number.to_bytes());
    }
    out.push(END);
    map.entries.insert(META_KEY.to_vec(), Bytes::from(out));
}

/// Makes a state whose checkpoints are those of an earlier one, where that had them.
pub(crate) fn keep_checkpoints(entries: &mut Entries, earlier: &Entries) {
    keep_values(CHECKPOINT_KEY_FIRST, entries, earlier);
}

/// Makes a state whose values under keys of one sort are those of an earlier one, where that had
/// them.
pub(crate) fn keep_values(first: u8, entries: &mut Entries, earlier: &Entries) {
    for (key, value) in entries {
        if let Some(older) = earlier.get(key).filter(|_| key.first() == Some(&first)) {
            value.clone_from(older);
        }
    }
}

/// Makes a state with those entries under keys of one sort that an earlier one had and it has no
/// more.
pub(crate) fn keep(first: u8, entries: &mut Entries, earlier: &Entries) {
    for (key, value) in earlier.range(vec![first]..vec![first + 1]) {
        entries.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// Makes a state whose schedules have come as far as in an earlier one, where that had them.
pub(crate) fn keep_schedules(entries: &mut Entries, earlier: &Entries) {
    for (key, value) in entries {
        let older = earlier.get(key).filter(|_| key.first() == Some(&SCHEDULE_STATE_KEY_FIRST));
        if let Some(older) = older {
            value.clone_from(older);
        }
    }
}

/// Makes a state in which groups have read as far as in an earlier one, where that had them.
pub(crate) fn keep_offsets(entries: &mut Entries, earlier: &Entries) {
    for (key, value) in entries {
        let older = earlier.get(key).filter(|_| key.first() == Some(&GROUP_OFFSET_KEY_FIRST));
        if let Some(older) = older {
            value.clone_from(older);
        }
    }
}

/// Makes a state whose checkpoints do not say that their runs came farther.
pub(crate) fn forget_headway(entries: &mut Entries) {
    for (key, value) in entries {
        if key.first() == Some(&CHECKPOINT_KEY_FIRST)
            && let Ok(checkpoint) = Checkpoint::from_bytes(value)
        {
            *value = Checkpoint { moved: false, ..checkpoint }.to_bytes();
        }
    }
}

/// Gives checkpoints the token of whatever lease their job has.
pub(crate) fn honour_stale(map: &SimTree, request: &mut Request, clock: Clock) {
    let Command::CheckpointJobs(told) = &mut request.command else { return };
    for told in told {
        if let Lookup::Found(view) = find_job(map, &request.namespace, told.id, clock.wall)
            && let Some(lease) = view.lease
        {
            told.token = lease.token;
        }
    }
}

/// Has the success of jobs told as their start.
pub(crate) fn tell_no_success(changes: &mut [StreamChange]) {
    for change in changes {
        let StreamChange::Told { events, .. } = change else { continue };
        for told in events {
            let text = String::from_utf8_lossy(&told.value);
            told.value = text.replace(".succeeded\"", ".started\"").into();
        }
    }
}

/// Has whoever brings events to a trigger know how far that has come, and passes the events all the
/// same.
pub(crate) fn believe_bringer(map: &SimTree, request: &mut Request) {
    let Command::Stream(StreamCommand::Trigger(TriggerCommand::Fire(fire))) = &mut request.command
    else {
        return;
    };
    let group = Trigger { name: fire.trigger.clone(), ..Trigger::default() }.group();
    let known = group_offsets(map, &request.namespace, &group, usize::MAX);
    let known = known.into_iter().find(|it| it.partition == fire.partition);
    if let Some(known) = known {
        fire.expected = Some(known.committed.offset);
        fire.next = fire.next.max(known.committed.offset);
    }
}

/// Has the first of some events for a replay become nothing.
pub(crate) fn skip_first_of_replay(request: &mut Request) {
    let Command::Stream(StreamCommand::Trigger(TriggerCommand::Fire(fire))) = &mut request.command
    else {
        return;
    };
    if fire.trigger.starts_with(REPLAY_PREFIX) && fire.events.len() > 1 {
        fire.events.remove(0);
    }
}

/// Makes a state in which what was published since an earlier one is in one queue at most.
pub(crate) fn halve_fanouts(entries: &mut Entries, earlier: &Entries) {
    let mut seen = std::collections::BTreeSet::new();
    entries.retain(|key, _| {
        key.first() != Some(&MESSAGE_KEY_FIRST)
            || earlier.contains_key(key)
            || seen.insert(key.get(PLACE_AT..).unwrap_or_default().to_vec())
    });
}

/// The number of a message that connections published.
fn number_in(value: &[u8]) -> Option<&[u8]> {
    value.windows(NUMBER_DIGITS).find(|digits| digits.iter().all(u8::is_ascii_digit))
}

/// Messages of a state that stood elsewhere in an earlier one: their keys there, and here.
fn moved(entries: &Entries, earlier: &Entries) -> Vec<(Vec<u8>, Vec<u8>)> {
    let range = || vec![MESSAGE_KEY_FIRST]..vec![MESSAGE_KEY_FIRST + 1];
    let gone = earlier.range(range()).filter(|(key, _)| !entries.contains_key(*key));
    let gone: std::collections::BTreeMap<_, _> =
        gone.filter_map(|(key, value)| Some((number_in(value)?, key))).collect();
    let new = entries.range(range()).filter(|(key, _)| !earlier.contains_key(*key));
    let new = new.filter_map(|(key, value)| {
        let before = gone.get(number_in(value)?)?;
        Some(((*before).clone(), key.clone()))
    });
    new.collect()
}

/// Makes a state in which messages that were moved stand where they stood in an earlier one, too.
pub(crate) fn double_moved(entries: &mut Entries, earlier: &Entries) {
    for (before, _) in moved(entries, earlier) {
        let value = earlier[&before].clone();
        entries.insert(before, value);
    }
}

/// Makes a state without the messages that were moved since an earlier one.
pub(crate) fn lose_moved(entries: &mut Entries, earlier: &Entries) {
    for (_, now) in moved(entries, earlier) {
        entries.remove(&now);
    }
}

/// Makes a state in which the gates are closed that were in an earlier one.
pub(crate) fn keep_closed_gates(entries: &mut Entries, earlier: &Entries) {
    /// Where keys of gates say whether these are closed.
    const CLOSED_AT: usize = 5;
    for (key, value) in earlier.range(vec![GATE_KEY_FIRST]..vec![GATE_KEY_FIRST + 1]) {
        let mut other = key.clone();
        if let Some(closed @ 1) = other.get_mut(CLOSED_AT) {
            *closed = 0;
            entries.remove(&other);
            entries.insert(key.clone(), value.clone());
        }
    }
}

/// Makes a state in which limits over queues, kinds and namespaces hold nothing back.
pub(crate) fn lose_spent_scopes(entries: &mut Entries) {
    let scoped = |key: &[u8]| {
        SCOPED.iter().any(|name| key.windows(name.len()).any(|part| part == name.as_bytes()))
    };
    entries.retain(|key, _| key.first() != Some(&SPENT_KEY_FIRST) || !scoped(key));
}

/// Makes a state without what was published since an earlier one to the namespace in which messages
/// are events as well.
pub(crate) fn lose_messages_of_events(entries: &mut Entries, earlier: &Entries) {
    let of = [&[MESSAGE_KEY_FIRST][..], &EVENTS_NAMESPACE.to_be_bytes()].concat();
    entries.retain(|key, _| !key.starts_with(&of) || earlier.contains_key(key));
}

/// Turns what goes back into what is acked and published anew; what does the latter.
pub(crate) fn requeue_at_end(map: &SimTree, request: &mut Request) -> Option<Command> {
    let Command::Messages(MessageCommand::Settle { settlements, .. }) = &mut request.command else {
        return None;
    };
    let mut anew = Vec::new();
    for (tag, verdict) in settlements {
        let pages = QUEUES.into_iter().filter_map(|queue| {
            let all = (100_000, 100_000_000);
            let page =
                peek_messages(map, (NAMESPACES[0], queue), &MessageFilter::default(), None, all)
                    .ok()?;
            Some((queue, page.messages.into_iter().find(|it| it.tag == *tag)?))
        });
        if *verdict == MessageVerdict::Requeue
            && let Some((queue, found)) = pages.into_iter().next()
        {
            *verdict = MessageVerdict::Ack;
            anew.push(PublishMessage {
                routing_key: queue.to_owned(),
                priority: found.message.priority,
                body: found.message.body.clone(),
                ..PublishMessage::default()
            });
        }
    }
    (!anew.is_empty()).then_some(Command::Messages(MessageCommand::Publish(anew)))
}
