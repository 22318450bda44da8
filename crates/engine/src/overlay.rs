//! What the earlier parts of a compound command would change for the later ones, so that the
//! command is decided whole before anything is applied. An overlay knows what records use up
//! (names, numbers, ids, room in queues) and nothing of what they mean. A command that is one fact
//! needs none.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{JobId, KindId, NamespaceId, Place, QueueId, TimeMs};
use crate::job::Job;
use crate::moment::Moment;
use crate::queue::QueueSettings;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, Tombstone, keys};
use crate::unique::{UniqueHolder, UniqueUntil};

/// An earlier use of an id; without a fingerprint where the server made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Earlier {
    pub(crate) fingerprint: Option<[u8; 16]>,
}

/// What a command changes of the length of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    entered: u64,
    left: u64,
}

/// The state as it will be once the records of a command are applied, as far as its other parts
/// depend on that.
pub(crate) struct Overlay<'a> {
    pub(crate) state: &'a State,
    pub(crate) ns: NamespaceId,
    pub(crate) moment: Moment,
    records: Vec<Record>,
    new_queues: BTreeSet<&'a str>,
    new_kinds: BTreeSet<(&'a str, u32)>,
    new_gate_sets: BTreeSet<Vec<String>>,
    /// Numbers of sets of gates that no job needed before the command, and whether it gives them
    /// other gates.
    gate_sets: BTreeMap<u16, bool>,
    /// The last number that no job needed and that was given to a set.
    gate_set_given: u16,
    /// Of ids that their clients chose.
    new_ids: BTreeMap<JobId, Earlier>,
    flows: BTreeMap<&'a str, Flow>,
    places: u64,
    /// Locks of unique keys: who has each from here on, where the command changes that.
    uniques: BTreeMap<Vec<u8>, Option<UniqueHolder>>,
    /// Messages that enter queues, and bytes of their bodies.
    messages: BTreeMap<QueueId, (u64, u64)>,
    /// Jobs enter however long their queues are.
    unbounded: bool,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(state: &'a State, ns: NamespaceId, moment: Moment) -> Self {
        Self {
            state,
            ns,
            moment,
            records: Vec::new(),
            new_queues: BTreeSet::new(),
            new_kinds: BTreeSet::new(),
            new_gate_sets: BTreeSet::new(),
            gate_sets: BTreeMap::new(),
            gate_set_given: 0,
            new_ids: BTreeMap::new(),
            flows: BTreeMap::new(),
            places: 0,
            uniques: BTreeMap::new(),
            messages: BTreeMap::new(),
            unbounded: false,
        }
    }

    /// Jobs enter however long their queues are.
    pub(crate) fn without_bounds(mut self) -> Self {
        self.unbounded = true;
        self
    }

    pub(crate) fn reserve(&mut self, records: usize) {
        self.records.reserve(records);
    }

    /// Adds a record that uses up nothing but what was asked for before.
    pub(crate) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The settings of a queue, which is created where it is not there yet.
    pub(crate) fn queue(&mut self, name: &'a str) -> Result<&'a QueueSettings, Rejection> {
        if let Some(known) = self.state.queues.named(self.ns, name) {
            self.state.check_holds_jobs(self.ns, name)?;
            return Ok(&known.settings);
        }
        let settings = QueueSettings::of_none();
        if !self.new_queues.contains(name) {
            let earlier = self.new_queues.len();
            let record =
                self.state.decide_queue_created(self.ns, name, settings.clone(), earlier)?;
            self.record(record);
            self.new_queues.insert(name);
        }
        Ok(settings)
    }

    /// Names a version of a kind where it has no number yet.
    pub(crate) fn kind(&mut self, name: &'a str, version: u32) -> Result<(), Rejection> {
        let known = &self.state.kinds;
        if known.named(self.ns, name, version).is_some()
            || self.new_kinds.contains(&(name, version))
        {
            return Ok(());
        }
        let of_name = self.new_kinds.range((name, 0)..=(name, u32::MAX)).count();
        known.check_versions(self.ns, name, of_name)?;
        let earlier = self.new_kinds.len();
        let (of_namespace, of_shard) = (known.len_of(self.ns) + earlier, known.len() + earlier);
        let room = self.state.limits.kinds_max.check(of_namespace, of_shard);
        room.map_err(|(scope, limit)| Rejection::TooManyKinds { scope, limit })?;
        let id = KindId(self.state.meta.next_kind.0 + earlier as u32);
        self.new_kinds.insert((name, version));
        let namespace = self.ns;
        self.record(Record::KindNamed { namespace, id, name: name.to_owned(), version });
        Ok(())
    }

    /// Numbers a set of gates that has no number yet.
    pub(crate) fn gate_set(&mut self, gates: &[String]) -> Result<(), Rejection> {
        if self.new_gate_sets.contains(gates) {
            return Ok(());
        }
        let known = self.state.gating.set_of(self.ns, gates);
        if let Some(set) = known.filter(|set| self.gate_sets.get(set) != Some(&true)) {
            if self.state.gating.is_unused_set(self.ns, set) {
                self.gate_sets.insert(set, false);
            }
            return Ok(());
        }
        let (namespace, gates) = (self.ns, gates.to_vec());
        let set = self.state.decide_gate_set(namespace, &self.gate_sets, self.gate_set_given)?;
        if self.state.gating.is_unused_set(namespace, set) {
            self.gate_set_given = set;
        }
        self.gate_sets.insert(set, true);
        self.new_gate_sets.insert(gates.clone());
        self.record(Record::GateSetNamed { namespace, set, gates });
        Ok(())
    }

    /// What came of an earlier request with this id that its client chose, be it a part of the same
    /// command.
    pub(crate) fn earlier(&self, id: JobId) -> Option<Earlier> {
        let own = self.new_ids.get(&id).copied();
        own.or_else(|| self.state.earlier(self.ns, id, self.moment.at))
    }

    /// The place of the next job that enters.
    pub(crate) fn next_place(&self) -> Place {
        Place(self.state.meta.next_place.0 + self.places)
    }

    /// A job enters the queue: its place and its id are taken from here on.
    pub(crate) fn enter(&mut self, queue: &'a str, id: JobId, fingerprint: Option<[u8; 16]>) {
        if fingerprint.is_some() {
            self.new_ids.insert(id, Earlier { fingerprint });
        }
        self.flows.entry(queue).or_default().entered += 1;
        self.places += 1;
    }

    /// Adds a record about messages: one that enters queues takes its place from here on.
    pub(crate) fn record_message(&mut self, mut record: Record) {
        match &mut record {
            Record::MessagePublished { place, message, entries, .. } => {
                *place = self.next_place();
                self.places += 1;
                for entry in entries {
                    let (messages, bytes) = self.messages.entry(entry.queue).or_default();
                    *messages += 1;
                    *bytes += message.body.len() as u64;
                }
            }
            Record::MessageDelayed { place, .. } => {
                *place = self.next_place();
                self.places += 1;
            }
            Record::JobEnqueued { namespace, job } => {
                job.place = self.next_place();
                job.id = self.state.message_job_id(*namespace, job.place, self.moment, 1);
                self.places += 1;
            }
            _ => {}
        }
        self.record(record);
    }

    /// Messages that the command has the queue take so far, and bytes of their bodies.
    pub(crate) fn messages_entered(&self, queue: QueueId) -> (u64, u64) {
        self.messages.get(&queue).copied().unwrap_or_default()
    }

    /// Whether a queue of jobs takes one more, behind those that have entered so far.
    pub(crate) fn has_room(&self, name: &str) -> bool {
        let Some(queue) = self.state.queues.named(self.ns, name) else { return true };
        let entered = self.flows.get(name).map_or(0, |flow| flow.entered);
        let length = queue.counts.backlog() + entered;
        queue.settings.max_length.is_none_or(|max_length| length < max_length)
    }

    /// A job that runs ends, which makes room in its queue and lets go what it held until then.
    pub(crate) fn leave(&mut self, job: &'a Job) {
        self.flows.entry(&job.queue).or_default().left += 1;
        if let Some(lock) = &job.options.unique {
            let place = lock.place(self.ns);
            let holds = self.state.unique_holder(self.ns, &place).is_some_and(|it| it.id == job.id);
            if holds && lock.until != UniqueUntil::Forgotten {
                self.uniques.insert(place, None);
            }
        }
    }

    /// Who has the lock of a unique key.
    pub(crate) fn unique_holder(&self, place: &[u8]) -> Option<UniqueHolder> {
        match self.uniques.get(place) {
            Some(known) => *known,
            None => self.state.unique_holder(self.ns, place),
        }
    }

    /// The job that enters has the lock of its key from here on.
    pub(crate) fn enter_unique(&mut self, job: &Job) {
        if let Some(lock) = &job.options.unique {
            let (end, version) = (job.cannot_start_from(), job.options.version);
            let holder = UniqueHolder { id: job.id, waits: true, end, version };
            self.uniques.insert(lock.place(self.ns), Some(holder));
        }
    }

    /// The records, where every queue that something enters has room for it.
    pub(crate) fn into_records(self) -> Result<Vec<Record>, Rejection> {
        for (name, flow) in self.flows.iter().filter(|(_, flow)| flow.entered > 0) {
            let Some(queue) = self.state.queues.named(self.ns, name) else { continue };
            let length = queue.counts.backlog().saturating_sub(flow.left);
            match queue.settings.max_length.filter(|_| !self.unbounded) {
                Some(max_length) if length + flow.entered > max_length => {
                    let queue = (*name).to_owned();
                    return Err(Rejection::QueueFull { queue, length, max_length });
                }
                _ => {}
            }
        }
        Ok(self.records)
    }
}

impl State {
    fn earlier(&self, ns: NamespaceId, id: JobId, now: TimeMs) -> Option<Earlier> {
        if let Some(job) = self.job(ns, id) {
            return Some(Earlier { fingerprint: job.fingerprint });
        }
        let tombstone: Tombstone = self.value(&keys::tombstone(ns, id))?;
        let remembered = tombstone.forget_at > now;
        remembered.then_some(Earlier { fingerprint: Some(tombstone.fingerprint) })
    }
}
